"""What a GGUF file says of itself, read with bounds checked at every step.

The usual reader trusts the counts in the file, so that one flipped bit can keep it busy for hours; this one
reads nothing past the end. Source: the GGUF specification, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

OLDEST_VERSION, NEWEST_VERSION = 2, 3
LEAST_BYTES = 24
MOST_DIMENSIONS = 8
STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""How a value is stored, by its type's number; strings and arrays carry their own length."""

Value = str | int | float | bool | None
"""What a field says; None where it is a list."""


class MalformedGguf(ValueError):
    """What is wrong with a GGUF file, as half a sentence."""


@dataclass(frozen=True, kw_only=True)
class GgufTensor:
    """shape: as GGUF orders it, columns first. kind: the number of its storage. start: where its bytes begin."""

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

    end: where the header ends, in bytes.
    """

    architecture: str
    fields: Mapping[str, Value]
    tensors: tuple[GgufTensor, ...]
    end: int

    @property
    def weights(self) -> int:
        """Numbers in all tensors together."""
        return sum(tensor.weights for tensor in self.tensors)


def read_gguf_header(path: Path) -> GgufHeader:
    """The header, once every tensor is known to lie inside the file. Raises MalformedGguf, OSError."""
    if path.stat().st_size < LEAST_BYTES:
        raise MalformedGguf("a file too short for a header")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _read(_Cursor(data))


class _Cursor:
    """A place in the file that only moves forward, and never past the end."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self.at, self.size = data, 0, len(data)

    def skip(self, count: int) -> int:
        """Move on by `count` bytes; returns where they begin."""
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


def _read(cursor: _Cursor) -> GgufHeader:
    if cursor.take(4) != b"GGUF":
        raise MalformedGguf("a file that does not begin with GGUF")
    version = cursor.uint32()
    if not OLDEST_VERSION <= version <= NEWEST_VERSION:
        raise MalformedGguf(f"GGUF version {version}")
    tensors, fields = cursor.uint64(), cursor.uint64()
    said = [_field(cursor) for _ in range(_bounded(fields, cursor))]
    values = dict(said)
    if len(values) < len(said):
        raise MalformedGguf("a header that says something twice")
    # Of a model that is split over several files, the first alone says what it is.
    architecture = values.get("general.architecture", "" if "split.count" in values else None)
    if not isinstance(architecture, str):
        raise MalformedGguf("a header without general.architecture")
    alignment = values.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
        raise MalformedGguf(f"an alignment of {alignment!r}")
    found = [_tensor(cursor) for _ in range(_bounded(tensors, cursor))]
    end, start = cursor.at, -(-cursor.at // alignment) * alignment
    placed = tuple(replace(tensor, start=start + tensor.start) for tensor in found)
    _check_extent(placed, size=cursor.size)
    return GgufHeader(architecture=architecture, fields=values, tensors=placed, end=end)


def _bounded(count: int, cursor: _Cursor) -> int:
    """A count of things that take at least a byte each. Without this, range() would refuse the largest."""
    if count > cursor.size - cursor.at:
        raise MalformedGguf(f"a count of {count} in a file of {cursor.size} bytes")
    return count


def _field(cursor: _Cursor) -> tuple[str, Value]:
    key, kind = cursor.text(), cursor.uint32()
    if kind == STRING:
        return key, cursor.text()
    if kind == ARRAY:
        inner, count = cursor.uint32(), cursor.uint64()
        if inner == STRING:
            for _ in range(_bounded(count, cursor)):
                cursor.skip(cursor.uint64())
        else:
            cursor.skip(count * struct.calcsize(_scalar(inner, key)))
        return key, None
    return key, cursor.unpack(_scalar(kind, key))


def _scalar(kind: int, key: str) -> str:
    if kind not in SCALARS:
        raise MalformedGguf(f"a value of unknown type {kind} at {key[:60]!r}")
    return f"<{SCALARS[kind]}"


def _tensor(cursor: _Cursor) -> GgufTensor:
    """A tensor whose start is counted from where the tensors begin."""
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


def _check_extent(tensors: Sequence[GgufTensor], *, size: int) -> None:
    if not tensors:
        raise MalformedGguf("a file without tensors")
    for tensor in tensors:
        end = tensor.start + tensor.bytes
        if end > size:
            raise MalformedGguf(f"{size} bytes where tensor {tensor.name[:60]!r} needs {end}")
