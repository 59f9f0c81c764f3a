"""GGUF files: their header, read with bounds checked at every step, and what in it would make the model wrong.

The usual reader trusts the counts in a file, so that one flipped bit can keep it busy for hours; the one here reads
nothing past the end. transformers' reader takes the fields and tensors that it knows and skips all others silently,
scaled positions and biases among them. A file with something that would be skipped is refused, unless it is harmless.

Source: the GGUF specification, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from engine.files import read_once
from engine.models.families import FAMILIES, GgufNames
from engine.models.subject import refusal
from engine.text import shorten

OLDEST_VERSION, NEWEST_VERSION = 2, 3
LEAST_BYTES = 24
MOST_DIMENSIONS = 8
STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""struct's format of a value, by the number of its type. Strings and arrays carry their own length."""

Value = str | int | float | bool | None
"""A field's value; None for a list."""

FETCH_FILE = "fetch the file again"
USE_FOLDER = "name the model's folder in transformers' format instead"

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
"""Values of a family's other fields that change nothing."""

KNOWN_SPLITS = frozenset({"gpt-2", "gpt2", "default", "smollm"})
"""Ways to split text into words that give the same tokens as the reader's default way.

SmolLM's differs only in splitting digits, and its vocabulary has no token of two digits.
"""


class MalformedGguf(ValueError):
    """What is wrong with a GGUF file, as half a sentence."""


@dataclass(frozen=True, kw_only=True)
class GgufTensor:
    """shape: in GGUF's order, columns first. kind: the number of its storage type. start: where its bytes begin."""

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int
    bytes: int

    @property
    def weights(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class GgufHeader:
    """architecture: general.architecture, "" in a later part of a split file. fields: by name.

    end: the number of bytes before the header's end.
    """

    architecture: str
    fields: Mapping[str, Value]
    tensors: tuple[GgufTensor, ...]
    end: int

    @property
    def weights(self) -> int:
        """How many numbers all tensors hold together."""
        return sum(tensor.weights for tensor in self.tensors)


class _Cursor:
    """A position in the file that only moves forward, and never past the end."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self.at, self.size = data, 0, len(data)

    def skip(self, count: int) -> int:
        """Move on by `count` bytes. Returns where they begin."""
        start = self.at
        if count > self.size - start:
            raise MalformedGguf(f"a header that ends early, at byte {start}")
        self.at = start + count
        return start

    def take(self, count: int) -> bytes:
        start = self.skip(count)
        return self._data[start : self.at]

    def unpack(self, layout: str) -> int | float | bool:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def uint32(self) -> int:
        return int(self.unpack("<I"))

    def uint64(self) -> int:
        return int(self.unpack("<Q"))

    def text(self) -> str:
        raw = self.take(self.uint64())
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedGguf(f"text that is not UTF-8 before byte {self.at}") from None

    def repeat(self, count: int) -> range:
        """A range over things of at least a byte each. Python's own would fail for the largest counts."""
        if count > self.size - self.at:
            raise MalformedGguf(f"a count of {count} in a file of {self.size} bytes")
        return range(count)


def read_gguf_header(path: Path) -> GgufHeader:
    """The header, if the bytes of every tensor lie inside the file. Raises MalformedGguf, OSError."""
    if path.stat().st_size < LEAST_BYTES:
        raise MalformedGguf("a file too short for a header")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        cursor = _Cursor(data)
        if cursor.take(4) != b"GGUF":
            raise MalformedGguf("a file that does not begin with GGUF")
        version = cursor.uint32()
        if not OLDEST_VERSION <= version <= NEWEST_VERSION:
            raise MalformedGguf(f"GGUF version {version}")
        tensor_count, field_count = cursor.uint64(), cursor.uint64()

        fields: dict[str, Value] = {}
        for _ in cursor.repeat(field_count):
            name, value = _read_field(cursor)
            if name in fields:
                raise MalformedGguf("a header with two fields of one name")
            fields[name] = value
        # If a model is split over several files, only the first has an architecture.
        architecture = fields.get("general.architecture", "" if "split.count" in fields else None)
        if not isinstance(architecture, str):
            raise MalformedGguf("a header without general.architecture")
        alignment = fields.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
            raise MalformedGguf(f"an alignment of {alignment!r}")

        tensors = [_read_tensor(cursor) for _ in cursor.repeat(tensor_count)]
        if not tensors:
            raise MalformedGguf("a file without tensors")
        # The tensors' bytes begin at the next multiple of the alignment; their own starts count from there.
        start = -(-cursor.at // alignment) * alignment
        placed = tuple(replace(tensor, start=start + tensor.start) for tensor in tensors)
        for tensor in placed:
            if (end := tensor.start + tensor.bytes) > cursor.size:
                raise MalformedGguf(f"{cursor.size} bytes where tensor {tensor.name[:60]!r} needs {end}")
        return GgufHeader(architecture=architecture, fields=fields, tensors=placed, end=cursor.at)


def _read_field(cursor: _Cursor) -> tuple[str, Value]:
    def layout(kind: int) -> str:
        if kind not in SCALARS:
            raise MalformedGguf(f"a value of unknown type {kind} at {name[:60]!r}")
        return f"<{SCALARS[kind]}"

    name, kind = cursor.text(), cursor.uint32()
    if kind == STRING:
        return name, cursor.text()
    if kind != ARRAY:
        return name, cursor.unpack(layout(kind))
    # Arrays hold vocabularies and the like, which the library reads: they are only checked for their extent.
    inner, count = cursor.uint32(), cursor.uint64()
    if inner == STRING:
        for _ in cursor.repeat(count):
            cursor.skip(cursor.uint64())
    else:
        cursor.skip(count * struct.calcsize(layout(inner)))
    return name, None


def _read_tensor(cursor: _Cursor) -> GgufTensor:
    """A tensor whose start counts from where the tensors' bytes begin."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    name, dimensions = cursor.text(), cursor.uint32()
    if not 0 < dimensions <= MOST_DIMENSIONS:
        raise MalformedGguf(f"{dimensions} dimensions of tensor {name[:60]!r}")
    shape = [cursor.uint64() for _ in range(dimensions)]
    kind, offset = cursor.uint32(), cursor.uint64()
    try:
        block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except (ValueError, KeyError):
        raise MalformedGguf(f"unknown storage {kind} of tensor {name[:60]!r}") from None
    if shape[0] % block:
        raise MalformedGguf(f"rows of {shape[0]} weights in blocks of {block} in tensor {name[:60]!r}")
    size = prod(shape) // block * block_bytes
    return GgufTensor(name=name, shape=tuple(shape), kind=kind, start=offset, bytes=size)


def read_supported_header(who: str, path: Path) -> GgufHeader:
    """The header of a file that is a whole model of a supported family and computes as transformers reads it.

    Raises SubjectError for the first thing that the reader would skip, or that would make it guess.
    """
    try:
        header = read_once(read_gguf_header, path)
    except (MalformedGguf, OSError) as error:
        raise refusal(who, str(error), "a whole GGUF file", FETCH_FILE) from error
    fields = header.fields

    # A whole model, in one file.
    if fields.get("general.type", "model") != "model" or any(name.startswith("adapter.") for name in fields):
        got = f"a file of type {shorten(str(fields.get('general.type')))}"
        raise refusal(who, got, "a whole model", "name the file of the model that it belongs to")
    if _whole_number(fields.get("split.count", 0)) > 1:
        got, remedy = f"one of {fields['split.count']} files", "join them: llama-gguf-split --merge FIRST-FILE NEW-FILE"
        raise refusal(who, got, "the whole model in one file", remedy)

    # Fields of the family. Others belong to the file itself (general, tokenizer …) or are notes of whoever made it.
    names = find_names(who, header.architecture)
    family = header.architecture
    for field in names.required:
        if fields.get(f"{family}.{field}") is None:
            raise refusal(who, f"a header without a number for {family}.{field}", "the model's sizes", USE_FOLDER)
    for name, value in fields.items():
        beginning, _, field = name.partition(".")
        if beginning == family and not _is_harmless(field, value, header):
            got = f"{shorten(name)} = {shorten(str(value))}"
            raise refusal(who, got, "only fields that transformers reads", USE_FOLDER)

    # Tensors: those of the blocks, those around them, and factors of positions that are all 1.
    blocks = _whole_number(fields[f"{family}.block_count"])
    for tensor in header.tensors:
        block = names.block_tensors.fullmatch(tensor.name)
        if tensor.name in names.other_tensors or (block and int(block[1]) < blocks):
            continue
        if tensor.name in names.ignored_if_ones and tensor.kind == 0:  # 0 is float32
            import numpy as np

            if (np.fromfile(path, "<f4", tensor.weights, offset=tensor.start) == 1).all():
                continue
        got = f"{shorten(tensor.name)}, which transformers would skip"
        raise refusal(who, got, "only tensors that it reads", USE_FOLDER)
    return header


def find_names(who: str, architecture: str) -> GgufNames:
    """What a file of a family may hold. Raises SubjectError for a family of which no such file is read."""
    names = FAMILIES[architecture].gguf if architecture in FAMILIES else None
    if names is None:
        got = f"a GGUF file of a model of family {shorten(repr(architecture))}"
        read = " or ".join(f"{family.name} ({key})" for key, family in FAMILIES.items() if family.gguf is not None)
        raise refusal(who, got, f"one of {read}", USE_FOLDER)
    return names


def _is_harmless(field: str, value: Value, header: GgufHeader) -> bool:
    """Whether a field of the family is read as it is meant, or means nothing."""
    family, fields = header.architecture, header.fields
    names = FAMILIES[family].gguf
    assert names is not None
    if field in (*names.required, *names.optional):
        return value is not None
    if field.startswith("rope.scaling.") and fields.get(f"{family}.rope.scaling.type") == "none":
        return True
    if field == "attention.sliding_window":
        # A window as long as the context hides nothing.
        return value == 0 or _whole_number(value) >= _whole_number(fields[f"{family}.context_length"])
    if field in ("attention.key_length", "attention.value_length"):
        # A head's size, which the reader takes from the other sizes.
        heads = max(1, _whole_number(fields[f"{family}.attention.head_count"]))
        head_size = _whole_number(fields[f"{family}.embedding_length"]) // heads
        return value == fields.get(f"{family}.rope.dimension_count", head_size)
    return field in NEUTRAL and value in NEUTRAL[field]


def _whole_number(value: Value) -> int:
    """A number as an int; 0 for anything else, and for what is beyond any size."""
    return int(value) if isinstance(value, int | float) and abs(value) < 2**63 else 0


def check_gguf_tokenizer(who: str, fields: Mapping[str, Value]) -> None:
    """Raises SubjectError if transformers' reader would split text otherwise than the file says."""
    try:
        from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
    except ImportError:
        splits = KNOWN_SPLITS
    else:
        splits = KNOWN_SPLITS | frozenset(GGUF_PRE_TOKENIZER_SPLITS)
    model, split = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre")
    if model == "gpt2" and split is not None and split not in splits:
        got = f"a tokenizer that splits words as {shorten(str(split))}"
        raise refusal(who, got, "a way that transformers knows", USE_FOLDER)
    if model == "llama" and fields.get("tokenizer.ggml.add_space_prefix") is False:
        raise refusal(
            who, "a tokenizer that puts no space before a text", "one that transformers can build", USE_FOLDER
        )


def complete_settings(header: GgufHeader, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that transformers read of a header, with what it left out: the MLP's width and special tokens."""
    completed, fields = dict(settings), header.fields
    if (width := find_names("GGUF", header.architecture).mlp_width) is not None:
        completed[width] = completed.pop("feed_forward_length", None)
    completed["bos_token_id"] = fields.get("tokenizer.ggml.bos_token_id")
    # A text may end with either of these two tokens.
    ends = {fields.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot")}
    ids = sorted(end for end in ends if isinstance(end, int))
    completed["eos_token_id"] = ids[0] if len(ids) == 1 else ids or None
    return completed
