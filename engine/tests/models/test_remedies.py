"""What a refusal of a model on disk says to do, done: the model is then accepted."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from engine.errors import SubjectError
from engine.models import find_subject
from engine.tests.folders import change, change_weights, load_logits, logits, refuse
from engine.tests.models.test_hub_cache import GPT2, lay
from engine.tests.tiny_models import make_gpt2, make_llama, save, write_gguf


def find_named(line: str) -> str:
    """The subject that a refusal says to name."""
    named = re.search(r"; .*?(local:\S+)$", line)
    assert named is not None, line
    return named[1]


def test_a_folder_of_the_hubs_cache_says_which_snapshot_to_name(tmp_path: Path) -> None:
    saved = make_gpt2()
    snapshot = lay(tmp_path, GPT2, saved)  # pyright: ignore[reportArgumentType]
    older = save(snapshot.with_name("0" * 40), make_gpt2(initializer_range=0.5))
    (older / "config.json").touch()
    line = refuse(snapshot.parents[1], "a folder of the hub's cache")
    assert find_named(line) == f"local:{snapshot}"  # the one that its main branch points to
    assert torch.allclose(logits(find_subject(find_named(line)).model(torch.float32)), logits(saved), atol=1e-6)


def test_a_cache_without_a_main_branch_names_the_newest_snapshot(tmp_path: Path) -> None:
    snapshot = lay(tmp_path, GPT2, make_gpt2())  # pyright: ignore[reportArgumentType]
    (snapshot.parents[1] / "refs" / "main").unlink()
    assert find_named(refuse(snapshot.parents[1], "a folder of the hub's cache")) == f"local:{snapshot}"


def test_a_folder_of_checkpoints_says_to_name_one(tmp_path: Path) -> None:
    saved = save(tmp_path / "run" / "checkpoint-500", make_llama())
    assert find_named(refuse(tmp_path / "run", "a folder without config.json")) == f"local:{saved}"
    load_logits(saved)


def test_a_snapshot_whose_name_is_not_utf8_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "refs").mkdir()
    (tmp_path / "run" / "refs" / "main").write_bytes(b"\xff")
    refuse(tmp_path / "run", "a folder without config.json")


def write_adapter(folder: Path, base: Path) -> dict[str, torch.Tensor]:
    """A LoRA adapter of rank 2 for the first queries, as peft lays it down. Returns its two matrices."""
    folder.mkdir()
    stem = "base_model.model.model.layers.0.self_attn.q_proj"
    drawn = {"A": torch.full((2, 8), 0.5), "B": torch.full((8, 2), 0.25)}
    named = {f"{stem}.lora_{name}.weight": matrix for name, matrix in drawn.items()}
    save_file(named, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
    change(folder / "adapter_config.json", **settings, layers_to_transform=[0], base_model_name_or_path=str(base))
    return drawn


@pytest.mark.parametrize("how", ["by hand", "by peft"])
def test_an_adapter_that_was_merged_is_computed_with(how: str, tmp_path: Path) -> None:
    base = save(tmp_path / "base", make_llama(initializer_range=0.5))
    adapter, merged = tmp_path / "adapter", tmp_path / "merged"
    drawn = write_adapter(adapter, base)
    refuse(adapter, "an adapter (adapter_config.json) without its model", "peft.AutoPeftModelForCausalLM")
    name = "model.layers.0.self_attn.q_proj.weight"
    # Two, the adapter's factor over its rank, times the product of its matrices.
    expected = load_file(base / "model.safetensors")[name] + 2 * drawn["B"] @ drawn["A"]
    if how == "by peft":
        peft: Any = pytest.importorskip("peft", reason="runs where peft is installed, which merges")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peft.AutoPeftModelForCausalLM.from_pretrained(adapter).merge_and_unload().save_pretrained(merged)
    else:
        save(merged, make_llama())
        change_weights(merged, lambda _: load_file(base / "model.safetensors") | {name: expected})
    model = find_subject(f"local:{merged}").model(torch.float32)
    torch.testing.assert_close(model.get_parameter(name), expected)
    assert not torch.allclose(logits(model), load_logits(base), atol=1e-3)


def test_a_model_whose_adapter_was_moved_away_is_computed_without_it(tmp_path: Path) -> None:
    base = save(tmp_path / "base", make_llama())
    before = load_logits(base)
    write_adapter(tmp_path / "adapter", base)
    for path in list((tmp_path / "adapter").iterdir()):
        path.rename(base / path.name)
    refuse(base, "an adapter (adapter_config.json) beside a model", "move it elsewhere, or merge it")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (base / name).rename(tmp_path / "adapter" / name)
    assert torch.equal(load_logits(base), before)


def test_an_unsupported_family_says_what_can_be_named(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", make_gpt2())
    change(folder / "config.json", model_type="bert")
    line = refuse(folder, "type bert", "a decoder-only language model", "CONTRIBUTING.md")
    named = re.search(r"\((\S+) is one\)", line)
    assert named is not None
    assert find_subject(named[1]).family == "llama"
    contributing = Path(__file__).resolve().parents[3] / "CONTRIBUTING.md"
    assert "**A new family**" in contributing.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "right"),
    [("model.fp16.safetensors", "model.safetensors"), ("pytorch_model.fp16.bin", "pytorch_model.bin")],
)
def test_weights_of_a_variant_are_read_under_their_plain_name(name: str, right: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "model", make_llama())
    before = load_logits(folder)
    if name.endswith(".bin"):
        torch.save(load_file(folder / "model.safetensors"), folder / name)
        (folder / "model.safetensors").unlink()
    else:
        (folder / "model.safetensors").rename(folder / name)
    refuse(folder, f"no weights but {name}", f"rename it to {right}")
    (folder / name).rename(folder / right)
    assert torch.equal(load_logits(folder), before)


OTHER_FORMATS = [
    "consolidated.00.pth",
    "consolidated.safetensors",
    "tf_model.h5",
    "flax_model.msgpack",
    "rust_model.ot",
    "model.onnx",
    "model.ckpt",
]


@pytest.mark.parametrize("name", OTHER_FORMATS)
def test_weights_of_another_format_say_to_save_the_model_in_transformers_format(name: str, tmp_path: Path) -> None:
    saved = make_llama()
    folder = save(tmp_path / "model", saved)
    (folder / "model.safetensors").rename(folder / name)
    refuse(folder, f"no weights but {name}", "fetch the same model's model.safetensors, or convert it and save it")
    saved.save_pretrained(folder)
    assert torch.equal(load_logits(folder), logits(saved))


def test_a_shard_that_is_absent_can_be_fetched(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", make_llama())
    whole, shard = folder / "model.safetensors", folder / "model-00001-of-00001.safetensors"
    places = dict.fromkeys(load_file(whole), shard.name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    whole.rename(tmp_path / "elsewhere")
    refuse(folder, f"no {shard.name}", f"fetch {shard.name}")
    (tmp_path / "elsewhere").rename(shard)
    load_logits(folder)


def test_quantized_weights_are_accepted_once_they_are_de_quantized(tmp_path: Path) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="runs where bitsandbytes can be imported")
    assert bitsandbytes is not None
    from transformers import BitsAndBytesConfig

    plain = save(tmp_path / "plain", make_llama())
    plan = BitsAndBytesConfig(load_in_8bit=True)
    quantized: Any = AutoModelForCausalLM.from_pretrained(plain, quantization_config=plan, device_map={"": "cpu"})
    folder = tmp_path / "quantized"
    quantized.save_pretrained(folder)
    line = refuse(folder, "quantized weights", "de-quantize the model and save it")
    call = line.partition("save it: ")[2]
    call = call.replace("NEW-FOLDER", "new").replace("FOLDER", "folder")
    new = tmp_path / "new"
    eval(call, {"AutoModelForCausalLM": AutoModelForCausalLM, "folder": folder, "new": new})  # noqa: S307 (the remedy itself)
    # Eight bits a weight: within a half of a 127th of a row's largest.
    own, found = load_file(plain / "model.safetensors"), find_subject(f"local:{new}").model(torch.float32)
    name = "model.layers.0.mlp.up_proj.weight"
    bound = own[name].abs().amax(1, keepdim=True) / 127
    assert bool(((found.get_parameter(name) - own[name]).abs() <= bound).all())


def test_a_gguf_file_that_was_saved_as_a_folder_is_computed_the_same_and_can_be_quantized(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", make_llama())
    with pytest.raises(SubjectError, match="save the model with save_pretrained and name the folder"):
        find_subject(f"local-int8:{path}")
    folder = tmp_path / "model"
    plan = GgufConfig(dequantize=True)
    AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name, quantization_config=plan).save_pretrained(
        folder
    )
    AutoTokenizer.from_pretrained(tmp_path, gguf_file=path.name).save_pretrained(folder)
    assert torch.equal(load_logits(folder), load_logits(path))
    assert find_subject(f"local-int8:{folder}").id == f"local-int8:{folder}"


def test_a_folder_that_holds_a_gguf_file_is_read_by_the_files_name(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", make_llama())
    line = refuse(tmp_path, "a folder, expected the GGUF file in it")
    assert find_named(line) == f"local:{path}"
    find_subject(find_named(line)).model(torch.float32)


@pytest.mark.parametrize("entry", ["attention_bias", "mlp_bias"])
def test_left_over_biases_are_computed_with_once_the_configuration_asks_for_them(entry: str, tmp_path: Path) -> None:
    saved: Any = make_llama(**{entry: True})
    with torch.no_grad():
        for name, parameter in saved.named_parameters():
            if name.endswith("bias"):
                parameter.fill_(0.3)
    folder = save(tmp_path / "model", saved)
    change(folder / "config.json", **{entry: False})
    refuse(folder, ".bias, which the configuration has no place for", f'write "{entry}": true into config.json')
    change(folder / "config.json", **{entry: True})
    assert torch.equal(load_logits(folder), logits(saved))


def test_a_model_is_accepted_once_it_is_saved_without_what_it_has_no_place_for(tmp_path: Path) -> None:
    saved = make_llama()
    folder = save(tmp_path / "model", saved)
    change_weights(folder, lambda own: own | {"model.layers.0.self_attn.q_norm.weight": torch.ones(4)})
    refuse(folder, "load this one and save it again (save_pretrained) to do without")
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder)
    assert torch.equal(load_logits(folder), logits(saved))


def test_a_folder_saved_again_is_accepted(tmp_path: Path) -> None:
    saved = make_gpt2()
    folder = save(tmp_path / "model", saved)
    (folder / "config.json").write_text("{not json")
    refuse(folder, "save it again with save_pretrained")
    saved.save_pretrained(folder)
    load_logits(folder)
