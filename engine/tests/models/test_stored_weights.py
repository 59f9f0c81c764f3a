"""Every tensor in a folder's weights is computed with as it is stored, or the model is refused by the tensor's name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.models import find_subject
from engine.tests.folders import add_weights, change, change_weights, load_logits, logits, refuse
from engine.tests.tiny_models import make_gpt2, make_llama, save

HEADS = "model.layers.0.self_attn"


@pytest.fixture(name="gpt2")
def provide_gpt2(tmp_path: Path) -> Path:
    return save(tmp_path / "model", make_gpt2())


@pytest.fixture(name="llama")
def provide_llama(tmp_path: Path) -> Path:
    return save(tmp_path / "model", make_llama())


LEFT_OVER = {
    "a bias of queries": (f"{HEADS}.q_proj.bias", (8,)),
    "a bias of keys": (f"{HEADS}.k_proj.bias", (4,)),
    "a bias in the net": ("model.layers.1.mlp.up_proj.bias", (12,)),
    "a norm of queries": (f"{HEADS}.q_norm.weight", (4,)),
    "a bias of the head": ("lm_head.bias", (258,)),
    "an adapter": (f"{HEADS}.q_proj.lora_A.default.weight", (2, 8)),
    "a scale of int8 weights": (f"{HEADS}.q_proj.SCB", (8,)),
    "a scale of fp8 weights": (f"{HEADS}.q_proj.weight_scale", (1,)),
    "another model's block": ("model.layers.2.input_layernorm.weight", (8,)),
    "a router": ("model.layers.0.block_sparse_moe.gate.weight", (2, 8)),
    "a name with its prefix twice": ("model.model.norm.weight", (8,)),
    "a name that ends like a buffer": ("model.extra.rotary_emb.inv_freq", (2,)),
}


@pytest.mark.parametrize(("name", "shape"), LEFT_OVER.values(), ids=LEFT_OVER)
def test_a_tensor_that_llama_has_no_place_for_is_refused_by_name(
    name: str, shape: tuple[int, ...], llama: Path
) -> None:
    change_weights(llama, lambda own: own | {name: torch.full(shape, 0.5)})
    refuse(llama, f"{name}, which the configuration has no place for")


@pytest.mark.parametrize(
    "name",
    [
        "transformer.h.0.attn.c_attn.lora_A.weight",
        "transformer.h.0.crossattention.c_attn.weight",
        "transformer.h.0.crossattention.bias",
        "transformer.h.0.attn.biases",
        "transformer.h.2.ln_1.bias",
        "multiple_choice_head.summary.weight",
        "score.weight",
    ],
)
def test_a_tensor_that_gpt2_has_no_place_for_is_refused_by_name(name: str, gpt2: Path) -> None:
    change_weights(gpt2, lambda own: own | {name: torch.ones(8, 8)})
    refuse(gpt2, f"{name}, which the configuration has no place for")


def test_a_pickles_left_over_bias_is_refused_too(llama: Path) -> None:
    own = load_file(llama / "model.safetensors") | {f"{HEADS}.q_proj.bias": torch.ones(8)}
    (llama / "model.safetensors").unlink()
    torch.save(own, llama / "pytorch_model.bin")
    refuse(llama, f"{HEADS}.q_proj.bias, which the configuration has no place for")


def test_biases_that_the_configuration_asks_for_are_computed_with(tmp_path: Path) -> None:
    saved: Any = make_llama(attention_bias=True, mlp_bias=True)
    with torch.no_grad():
        for name, parameter in saved.named_parameters():
            if name.endswith("bias"):
                parameter.fill_(0.3)
    assert torch.equal(load_logits(save(tmp_path / "model", saved)), logits(saved))


def test_a_checkpoint_of_a_training_is_refused_for_what_else_it_holds(llama: Path) -> None:
    own = load_file(llama / "model.safetensors")
    before = load_logits(llama)
    (llama / "model.safetensors").unlink()
    torch.save({"state_dict": own, "step": 5}, llama / "pytorch_model.bin")
    refuse(llama, "pytorch_model.bin that holds more than tensors", "take the model's own out of it")
    torch.save(torch.load(llama / "pytorch_model.bin")["state_dict"], llama / "pytorch_model.bin")  # the remedy
    assert torch.equal(load_logits(llama), before)


def causal_mask(dtype: torch.dtype, size: int = 16) -> torch.Tensor:
    return torch.ones(size, size).tril().to(dtype)[None, None]


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "base_model.model.", "model."])
def test_a_prefix_of_all_names_is_refused_with_the_remedy_that_works(prefix: str, gpt2: Path) -> None:
    before = load_logits(gpt2)
    change_weights(gpt2, lambda own: {f"{prefix}{name}": tensor for name, tensor in own.items()})
    refuse(gpt2, f"rename the tensors: take {prefix!r} from the beginning of each name")
    change_weights(gpt2, lambda own: {name.removeprefix(prefix): tensor for name, tensor in own.items()})
    assert torch.equal(load_logits(gpt2), before)


def test_doing_without_a_tensor_is_no_remedy_where_others_are_lost(gpt2: Path) -> None:
    change_weights(gpt2, lambda own: {k: v for k, v in own.items() if "ln_f" not in k} | {"extra": torch.ones(2)})
    assert "save it again" not in refuse(gpt2, "extra, which", "name a whole model: transformer.ln_f.bias is not there")


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.bool], ids=str)
def test_the_mask_and_its_number_that_older_versions_stored_change_nothing(dtype: torch.dtype, gpt2: Path) -> None:
    before = load_logits(gpt2)
    number = torch.tensor(-1e4).to(torch.bfloat16 if dtype == torch.bool else torch.float32)
    buffers = {"attn.bias": causal_mask(dtype), "attn.masked_bias": number}
    # The hub's own GPT-2 is stored without its prefix, and with these.
    change_weights(
        gpt2,
        lambda own: (
            {name.removeprefix("transformer."): tensor for name, tensor in own.items()}
            | {f"h.{k}.{name}": tensor for k in (0, 1) for name, tensor in buffers.items()}
        ),
    )
    assert torch.equal(load_logits(gpt2), before)


@pytest.mark.parametrize(
    "mask",
    [torch.ones(1, 1, 16, 16), causal_mask(torch.float32, 8), torch.ones(24)],
    ids=["sees ahead", "short", "bias"],
)
def test_another_mask_under_that_name_is_refused(mask: torch.Tensor, gpt2: Path) -> None:
    add_weights(gpt2, transformer__h__0__attn__bias=mask)
    refuse(gpt2, "transformer.h.0.attn.bias, which the configuration has no place for")


@pytest.mark.parametrize("name", ["model.rotary_emb.inv_freq", "rotary_emb.inv_freq", f"{HEADS}.rotary_emb.inv_freq"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_the_frequencies_that_older_versions_stored_change_nothing(name: str, dtype: torch.dtype, llama: Path) -> None:
    before = load_logits(llama)
    change_weights(llama, lambda own: own | {name: torch.tensor([1.0, 0.01]).to(dtype)})  # 10000 ** -0 and ** -1/2
    assert torch.equal(load_logits(llama), before)


def test_other_frequencies_under_that_name_are_refused(llama: Path) -> None:
    change_weights(llama, lambda own: own | {"model.rotary_emb.inv_freq": torch.tensor([1.0, 0.02])})
    refuse(llama, "model.rotary_emb.inv_freq, which the configuration has no place for")


def test_a_head_that_differs_from_the_embedding_it_is_tied_to_is_refused(llama: Path) -> None:
    add_weights(llama, lm_head__weight=torch.ones(258, 8))
    refuse(llama, "an lm_head.weight that differs from the embedding", "tie_word_embeddings")
    change(llama / "config.json", tie_word_embeddings=False)  # the remedy
    model = find_subject(f"local:{llama}").model(torch.float32)
    assert torch.equal(model.get_output_embeddings().weight, torch.ones(258, 8))


def test_a_head_that_is_the_embedding_is_taken_for_it(llama: Path) -> None:
    before = load_logits(llama)
    change_weights(llama, lambda own: own | {"lm_head.weight": own["model.embed_tokens.weight"].clone()})
    assert torch.equal(load_logits(llama), before)


def test_an_untied_model_without_a_head_is_refused(llama: Path) -> None:
    change(llama / "config.json", tie_word_embeddings=False)
    refuse(llama, "no lm_head.weight")


def test_a_tensor_under_two_names_is_refused(gpt2: Path) -> None:
    add_weights(gpt2, ln_f__weight=torch.zeros(8))
    refuse(gpt2, "ln_f.weight and transformer.ln_f.weight, two names of one tensor")


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32, torch.float8_e4m3fn, torch.bool], ids=str)
def test_numbers_that_a_cast_would_corrupt_are_refused(dtype: torch.dtype, llama: Path) -> None:
    name = f"{HEADS}.q_proj.weight"
    change_weights(llama, lambda own: own | {name: torch.ones(8, 8).to(dtype)})
    refuse(llama, f"{name} stored as ", "float64, float32, float16 or bfloat16")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_other_precisions_are_read_as_they_are(dtype: torch.dtype, llama: Path) -> None:
    own = load_file(llama / "model.safetensors")
    change_weights(llama, lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()})
    model = find_subject(f"local:{llama}").model(torch.float32)
    assert all(torch.equal(model.get_parameter(name), own[name].to(dtype).float()) for name in own)


def test_a_tensor_of_another_shape_is_refused(gpt2: Path) -> None:
    add_weights(gpt2, transformer__ln_f__weight=torch.ones(9))
    refuse(gpt2, "transformer.ln_f.weight of shape (9,) where the configuration has (8,)")


def split(folder: Path) -> tuple[Path, Path, dict[str, str]]:
    """The folder's weights in two files with an index of them."""
    own = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(own)
    files = [folder / f"model-0000{k}-of-00002.safetensors" for k in (1, 2)]
    halves = [names[::2], names[1::2]]
    for file, half in zip(files, halves, strict=True):
        save_file({name: own[name] for name in half}, file, metadata={"format": "pt"})
    places = {name: file.name for file, half in zip(files, halves, strict=True) for name in half}
    write_index(folder, places)
    return files[0], files[1], places


def write_index(folder: Path, places: dict[str, str]) -> None:
    document = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(document), encoding="utf-8")


def test_a_tensor_in_another_file_than_its_index_says_is_refused(llama: Path) -> None:
    first, second, places = split(llama)
    name = next(iter(places))
    write_index(llama, places | {name: second.name})
    refuse(llama, f"'{name}' in {first.name}, expected it in {second.name}")


def test_a_tensor_in_two_files_is_refused(llama: Path) -> None:
    first, second, places = split(llama)
    name = next(name for name, file in places.items() if file == first.name)
    own = load_file(second) | {name: torch.zeros_like(load_file(first)[name])}
    save_file(own, second, metadata={"format": "pt"})
    refuse(llama, f"'{name}' in {first.name} and in {second.name}, expected each tensor once")


def test_a_tensor_that_no_file_of_the_index_holds_is_refused(llama: Path) -> None:
    first, _, places = split(llama)
    write_index(llama, places | {"model.layers.7.bias": first.name})
    refuse(llama, "no 'model.layers.7.bias'")


def test_a_tensor_that_the_index_does_not_list_is_used_or_refused_like_any_other(llama: Path) -> None:
    before = load_logits(llama)
    _, second, places = split(llama)
    unlisted = next(name for name, file in places.items() if file == second.name)
    write_index(llama, {name: file for name, file in places.items() if name != unlisted})
    assert torch.equal(load_logits(llama), before)
    save_file(load_file(second) | {"extra.bias": torch.ones(3)}, second, metadata={"format": "pt"})
    refuse(llama, "extra.bias, which the configuration has no place for")


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_two_sets_of_weights_of_one_format_are_refused(ending: str, llama: Path) -> None:
    stem = "model" if ending == "safetensors" else "pytorch_model"
    if ending == "bin":
        torch.save(load_file(llama / "model.safetensors"), llama / f"{stem}.bin")
        (llama / "model.safetensors").unlink()
    index = llama / f"{stem}.{ending}.index.json"
    index.write_text(json.dumps({"weight_map": {"model.norm.weight": f"{stem}.{ending}"}}))
    refuse(llama, f"both {stem}.{ending} and {index.name}", "delete the one that is out of date")
    index.unlink()  # the remedy
    load_logits(llama)
