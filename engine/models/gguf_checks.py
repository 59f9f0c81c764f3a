"""What a GGUF file asks for that its reader would pass over: a reason to refuse it, unless it changes nothing.

The reader takes the fields and tensors that it knows and skips the rest without a word, scaled positions and biases
among them. Whoever wrote the file meant them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.models.families import FAMILIES
from engine.models.gguf import GgufHeader, GgufTensor, Value
from engine.models.refusals import refusal
from engine.text import shorten

REMEDY = "name the model's folder in transformers' format instead"

NEUTRAL: Mapping[str, tuple[Value, ...]] = {
    "rope.scaling.type": ("none",),
    "rope.scaling.factor": (0, 1),
    "rope.scaling.finetuned": (False, True),
    "rope.scale_linear": (0, 1),
    "expert_count": (0,),
    "expert_used_count": (0,),
    "leading_dense_block_count": (0,),
    "attention.causal": (True,),
    "attention.clamp_kqv": (0,),
    "attention.max_alibi_bias": (0,),
    "logit_scale": (0, 1),
    "use_parallel_residual": (False,),
    "tensor_data_layout": ("",),
}
"""Values of other fields that ask for nothing."""

FILES_OWN = ("general", "tokenizer", "quantize", "split")
"""Beginnings of names that belong to the file. Others than these and the architecture are notes of whoever made it."""

PLAIN_SPLITS = frozenset({"gpt-2", "gpt2", "default", "smollm"})
"""Ways to cut text into words that the reader's own way equals; SmolLM's vocabulary has no token of two digits."""


def check_whole(who: str, header: GgufHeader) -> None:
    """Raises SubjectError unless the file is a model, and all of it."""
    fields = header.fields
    if fields.get("general.type", "model") != "model" or any(name.startswith("adapter.") for name in fields):
        got = f"a file of type {shorten(str(fields.get('general.type')))}"
        raise refusal(who, got, "a whole model", "name the file of the model that it belongs to")
    if _number(fields.get("split.count", 0)) > 1:
        got, remedy = f"one of {fields['split.count']} files", "join them: llama-gguf-split --merge FIRST-FILE NEW-FILE"
        raise refusal(who, got, "the whole model in one file", remedy)


def check_gguf(who: str, path: Path, header: GgufHeader) -> None:
    """Raises SubjectError for the first thing that a file of a supported family asks for and the reader passes over."""
    family, names, fields = header.architecture, FAMILIES[header.architecture].gguf, header.fields
    for field in names.needed:
        if fields.get(f"{family}.{field}") is None:
            raise refusal(who, f"a header without one number {family}.{field}", "the model's sizes", REMEDY)
    for name, value in fields.items():
        beginning, _, rest = name.partition(".")
        if beginning == family and not _changes_nothing(rest, value, header):
            raise refusal(who, f"{shorten(name)} = {shorten(str(value))}", "only what its reader computes", REMEDY)
    blocks = _number(fields[f"{family}.block_count"])
    for tensor in header.tensors:
        block = names.block.fullmatch(tensor.name)
        if tensor.name in names.whole or (block and int(block[1]) < blocks):
            continue
        if tensor.name in names.ones and _all_ones(path, tensor):
            continue
        raise refusal(who, f"{shorten(tensor.name)}, which its reader passes over", "only tensors that it uses", REMEDY)


def complete_settings(header: GgufHeader, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the library read of a header, with what it left out: the width inside the blocks, and special tokens."""
    found, fields = dict(settings), header.fields
    if (width := FAMILIES[header.architecture].gguf.width) is not None:
        found[width] = found.pop("feed_forward_length", None)
    tokens = {name: fields.get(f"tokenizer.ggml.{name}") for name in ("bos_token_id", "eos_token_id", "eot_token_id")}
    ends = sorted({end for end in (tokens["eos_token_id"], tokens["eot_token_id"]) if isinstance(end, int)})
    found["bos_token_id"] = tokens["bos_token_id"]
    found["eos_token_id"] = ends[0] if len(ends) == 1 else ends or None
    return found


def _changes_nothing(field: str, value: Value, header: GgufHeader) -> bool:
    family, fields = header.architecture, header.fields
    names = FAMILIES[family].gguf
    if field in (*names.needed, *names.optional):
        return value is not None
    if field.startswith("rope.scaling.") and fields.get(f"{family}.rope.scaling.type") == "none":
        return True
    if field == "attention.sliding_window":
        # A window that no prompt outgrows hides nothing.
        return value == 0 or _number(value) >= _number(fields[f"{family}.context_length"])
    if field in ("attention.key_length", "attention.value_length"):
        each = _number(fields[f"{family}.embedding_length"]) // max(
            1, _number(fields[f"{family}.attention.head_count"])
        )
        return value == fields.get(f"{family}.rope.dimension_count", each)
    return field in NEUTRAL and value in NEUTRAL[field]


def check_words(who: str, fields: Mapping[str, Value]) -> None:
    """Raises SubjectError where the reader would cut text otherwise than the file says."""
    model, way = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre")
    if model == "gpt2" and way is not None and way not in PLAIN_SPLITS | _known_splits():
        raise refusal(who, f"a tokenizer that cuts words as {shorten(str(way))}", "a way that its reader knows", REMEDY)
    if model == "llama" and fields.get("tokenizer.ggml.add_space_prefix") is False:
        raise refusal(who, "a tokenizer without a space before text", "one that its reader can build", REMEDY)


def _known_splits() -> frozenset[str]:
    """The ways that the library's reader can cut text."""
    try:
        from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
    except ImportError:
        return frozenset()
    return frozenset(GGUF_PRE_TOKENIZER_SPLITS)


def _number(value: Value) -> int:
    return int(value) if isinstance(value, int | float) and abs(value) < 2**63 else 0


def _all_ones(path: Path, tensor: GgufTensor) -> bool:
    """Whether a tensor's numbers, plain float32 ones, are all 1: positions scaled by them are as they were."""
    import numpy as np

    if tensor.kind != 0:
        return False
    return bool((np.fromfile(path, "<f4", tensor.weights, offset=tensor.start) == 1).all())
