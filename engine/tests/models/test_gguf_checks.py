"""What a GGUF file says and holds is computed with, known to change nothing, or a reason to refuse it by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from engine.models import find_subject
from engine.models.gguf import MalformedGguf, read_gguf_header
from engine.tests.folders import load_logits, logits, refuse
from engine.tests.tiny_models import make_gpt2, make_llama, save, write_gguf

MODELS = {"gpt2": make_gpt2, "llama": make_llama}

PASSED_OVER = {
    "a bias of queries": ("llama", "blk.0.attn_q.bias", (8,)),
    "a bias of the net": ("llama", "blk.1.ffn_up.bias", (12,)),
    "a norm of queries": ("llama", "blk.0.attn_q_norm.weight", (4,)),
    "a norm after attention": ("llama", "blk.0.post_attention_norm.weight", (8,)),
    "scaled positions": ("llama", "rope_freqs.weight", (2,)),
    "long positions": ("llama", "rope_factors_long.weight", (2,)),
    "experts": ("llama", "blk.0.ffn_gate_exps.weight", (8, 12, 2)),
    "a third block": ("llama", "blk.2.attn_norm.weight", (8,)),
    "a bias of the head": ("llama", "output.bias", (258,)),
    "a norm of embeddings": ("gpt2", "token_embd_norm.weight", (8,)),
    "types of tokens": ("gpt2", "token_types.weight", (2, 8)),
    "a gate": ("gpt2", "blk.0.ffn_gate.weight", (8, 32)),
}


@pytest.mark.parametrize(("family", "name", "shape"), PASSED_OVER.values(), ids=PASSED_OVER)
def test_a_tensor_that_the_reader_passes_over_is_refused_by_name(
    family: str, name: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", MODELS[family](), tensors={name: torch.full(shape, 0.5)})
    refuse(path, f"'{name}', which transformers would skip", "name the model's folder")


def test_positions_that_are_scaled_by_one_are_not_scaled(tmp_path: Path) -> None:
    written = make_llama()
    path = write_gguf(tmp_path / "tiny.gguf", written, tensors={"rope_freqs.weight": torch.ones(2)})
    # Logits below 1 out of two blocks of width 8: some dozens of roundings of 6e-8.
    torch.testing.assert_close(load_logits(path), logits(written), rtol=0, atol=1e-6)


REFUSED: dict[str, tuple[str, Any]] = {
    "a kind of scaled positions": ("llama.rope.scaling.type", "yarn"),
    "a factor of positions": ("llama.rope.scaling.factor", 8.0),
    "the older factor": ("llama.rope.scale_linear", 4.0),
    "a window": ("llama.attention.sliding_window", 4),
    "a scale of logits": ("llama.logit_scale", 0.0625),
    "a cap of logits": ("llama.final_logit_softcapping", 30.0),
    "experts": ("llama.expert_count", 8),
    "sight of what follows": ("llama.attention.causal", False),
    "a scale of attention": ("llama.attention.scale", 0.5),
    "keys of another width": ("llama.attention.key_length", 8),
    "part of a head turned": ("llama.rope.dimension_count", 2),
    "a scale of embeddings": ("llama.embedding_scale", 12.0),
    "another norm": ("llama.attention.layer_norm_epsilon", 0.1),
    "another layout": ("llama.tensor_data_layout", "Meta AI original pth"),
    "heads for each block": ("llama.attention.head_count_kv", [1, 2]),
    "a field of tomorrow": ("llama.an_entry_of_tomorrow", 1),
}


@pytest.mark.parametrize(("name", "value"), REFUSED.values(), ids=REFUSED)
def test_a_field_that_the_reader_passes_over_is_refused_by_name(name: str, value: Any, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", make_llama(), fields={name: value})
    refuse(path, "weights that fit" if name == "llama.rope.dimension_count" else name)


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("llama", "attention.head_count_kv"),
        ("llama", "attention.layer_norm_rms_epsilon"),
        ("llama", "context_length"),
        ("gpt2", "attention.layer_norm_epsilon"),
        ("gpt2", "context_length"),
    ],
)
def test_a_file_without_a_size_is_refused_rather_than_read_with_a_default(
    family: str, name: str, tmp_path: Path
) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", MODELS[family](), fields={f"{family}.{name}": None})
    refuse(path, f"a header without a number for {family}.{name}")


HARMLESS: dict[str, Any] = {
    "llama.rope.scaling.type": "none",
    "llama.attention.sliding_window": 16,
    "llama.expert_count": 0,
    "llama.attention.key_length": 4,
    "llama.attention.value_length": 4,
    "llama.rope.dimension_count": 4,
    "llama.attention.causal": True,
    "general.quantization_version": 2,
    "general.base_model.0.repo_url": "file:///etc/passwd",
    "quantize.imatrix.file": "/nowhere/imatrix.dat",
    "somebody.made_by": "hand",
    "split.count": 0,
    "tokenizer.chat_template": "{{ messages }}",
    "tokenizer.ggml.padding_token_id": 257,
}


@pytest.mark.parametrize("name", HARMLESS)
def test_a_field_that_asks_for_nothing_changes_nothing(name: str, tmp_path: Path) -> None:
    written = make_llama()
    path = write_gguf(tmp_path / "tiny.gguf", written, fields={name: HARMLESS[name]})
    torch.testing.assert_close(load_logits(path), logits(written), rtol=0, atol=1e-6)


def test_a_head_of_its_own_is_computed_with(tmp_path: Path) -> None:
    written = make_llama(tie_word_embeddings=False)
    path = write_gguf(tmp_path / "tiny.gguf", written, tensors={"output.weight": written.lm_head.weight})
    torch.testing.assert_close(load_logits(path), logits(written), rtol=0, atol=1e-6)


def test_the_width_inside_gpt2s_blocks_is_the_files(tmp_path: Path) -> None:
    written = make_gpt2(n_inner=12)
    path = write_gguf(tmp_path / "tiny.gguf", written, fields={"gpt2.feed_forward_length": 12})
    assert find_subject(f"local:{path}").config().n_inner == 12
    torch.testing.assert_close(load_logits(path), logits(written), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "ends"),
    [
        ({}, 257),
        ({"tokenizer.ggml.eos_token_id": 7}, 7),
        ({"tokenizer.ggml.eot_token_id": 5}, [5, 257]),
        ({"tokenizer.ggml.eos_token_id": None}, None),
    ],
    ids=["as written", "another", "two", "none"],
)
def test_the_tokens_that_end_a_text_are_the_files(fields: dict[str, Any], ends: object, tmp_path: Path) -> None:
    # The reader leaves the library's own default, which is another token of this vocabulary.
    path = write_gguf(tmp_path / "tiny.gguf", make_llama(), fields=fields)
    config = find_subject(f"local:{path}").config()
    assert (config.eos_token_id, config.bos_token_id) == (ends, 257)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tokenizer.ggml.pre": "a-way-of-tomorrow"}, "a tokenizer that splits words as 'a-way-of-tomorrow'"),
        (
            {"tokenizer.ggml.model": "llama", "tokenizer.ggml.add_space_prefix": False},
            "a tokenizer that puts no space before a text",
        ),
    ],
    ids=["words", "space"],
)
def test_a_tokenizer_that_the_reader_would_build_otherwise_is_refused(
    fields: dict[str, Any], words: str, tmp_path: Path
) -> None:
    refuse(write_gguf(tmp_path / "tiny.gguf", make_llama(), fields=fields), words)


def test_a_field_said_twice_is_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", make_llama(), fields={"llama.rope.freq_basf": 5.0})
    content = path.read_bytes()
    path.write_bytes(content.replace(b"llama.rope.freq_basf", b"llama.rope.freq_base"))
    with pytest.raises(MalformedGguf, match="two fields of one name"):
        read_gguf_header(path)


def test_an_adapter_as_a_gguf_file_is_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "lora.gguf", make_llama(), fields={"general.type": "adapter"})
    refuse(path, "a file of type 'adapter'", "name the file of the model that it belongs to")
    load_logits(write_gguf(tmp_path / "model.gguf", make_llama()))  # the remedy


def write_split(folder: Path, model: Any) -> list[Path]:
    """The model in two files as llama.cpp splits one: the first alone says of what family it is."""
    whole = gguf.GGUFReader(write_gguf(folder / "whole.gguf", model))
    own = {tensor.name: torch.from_numpy(np.array(tensor.data)) for tensor in whole.tensors}
    paths = [folder / f"part-0000{k}-of-00002.gguf" for k in (1, 2)]
    for k, path in enumerate(paths):
        writer = gguf.GGUFWriter(path, "llama")
        if k:
            del writer.kv_data[0]["general.architecture"]
        writer.add_uint16("split.no", k)
        writer.add_uint16("split.count", 2)
        for tensor in list(own)[k::2]:
            writer.add_tensor(tensor, own[tensor].numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return paths


@pytest.mark.parametrize("part", [0, 1], ids=["first", "second"])
def test_a_part_of_a_split_file_is_refused_with_the_command_that_joins_them(part: int, tmp_path: Path) -> None:
    path = write_split(tmp_path, make_llama())[part]
    refuse(path, "one of 2 files", "llama-gguf-split --merge FIRST-FILE NEW-FILE")
    # What that command writes says that it was split into 0 files.
    joined = write_gguf(tmp_path / "joined.gguf", make_llama(), fields={"split.count": 0, "split.no": 0})
    torch.testing.assert_close(load_logits(joined), logits(make_llama()), rtol=0, atol=1e-6)


def test_a_folder_in_transformers_format_is_the_remedy_for_what_a_gguf_file_cannot_say(tmp_path: Path) -> None:
    biased: Any = make_llama(attention_bias=True)
    with torch.no_grad():
        biased.model.layers[0].self_attn.q_proj.bias.fill_(0.5)
    stored = {"blk.0.attn_q.bias": biased.model.layers[0].self_attn.q_proj.bias}
    refuse(
        write_gguf(tmp_path / "tiny.gguf", biased, tensors=stored), "name the model's folder in transformers' format"
    )
    assert torch.equal(load_logits(save(tmp_path / "model", biased)), logits(biased))
