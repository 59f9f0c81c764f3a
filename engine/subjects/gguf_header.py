"""What a GGUF file says of itself, read with bounds checked at every step.

The usual reader trusts the counts in the file, so that one flipped bit can keep it busy for hours; this one
reads nothing past the end. Source: the GGUF specification, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

OLDEST_VERSION, NEWEST_VERSION = 2, 3
LEAST_BYTES = 24
MOST_DIMENSIONS = 8
UINT32, STRING, ARRAY = 4, 8, 9
SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, UINT32: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value by its type's number; strings and arrays carry their own length."""


class MalformedGguf(ValueError):
    """What is wrong with a GGUF file, as half a sentence."""


@dataclass(frozen=True, kw_only=True)
class GgufHeader:
    """architecture: general.architecture. weights: numbers in all tensors together."""

    architecture: str
    weights: int


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

    def uint32(self) -> int:
        return struct.unpack("<I", self.take(4))[0]

    def uint64(self) -> int:
        return struct.unpack("<Q", self.take(8))[0]

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
    values = dict(_field(cursor) for _ in range(_bounded(fields, cursor)))
    architecture = values.get("general.architecture")
    if not isinstance(architecture, str):
        raise MalformedGguf("a header without general.architecture")
    alignment = values.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
        raise MalformedGguf(f"an alignment of {alignment!r}")
    shapes = [_tensor(cursor) for _ in range(_bounded(tensors, cursor))]
    _check_extent(shapes, start=-(-cursor.at // alignment) * alignment, size=cursor.size)
    return GgufHeader(architecture=architecture, weights=sum(shape.weights for shape in shapes))


def _bounded(count: int, cursor: _Cursor) -> int:
    """A count of things that take at least a byte each. Without this, range() would refuse the largest."""
    if count > cursor.size - cursor.at:
        raise MalformedGguf(f"a count of {count} in a file of {cursor.size} bytes")
    return count


def _field(cursor: _Cursor) -> tuple[str, str | int | None]:
    """Key and value; the value only where it is text or a uint32."""
    key, kind = cursor.text(), cursor.uint32()
    if kind == STRING:
        return key, cursor.text()
    if kind == UINT32:
        return key, cursor.uint32()
    if kind == ARRAY:
        inner, count = cursor.uint32(), cursor.uint64()
        if inner == STRING:
            for _ in range(_bounded(count, cursor)):
                cursor.skip(cursor.uint64())
        else:
            cursor.skip(count * _scalar_bytes(inner, key))
        return key, None
    cursor.skip(_scalar_bytes(kind, key))
    return key, None


def _scalar_bytes(kind: int, key: str) -> int:
    if kind not in SCALAR_BYTES:
        raise MalformedGguf(f"a value of unknown type {kind} at {key[:60]!r}")
    return SCALAR_BYTES[kind]


@dataclass(frozen=True, kw_only=True)
class _Tensor:
    name: str
    weights: int
    offset: int
    bytes: int


def _tensor(cursor: _Cursor) -> _Tensor:
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
    weights = prod(shape)
    return _Tensor(name=name, weights=weights, offset=offset, bytes=weights // block * block_bytes)


def _check_extent(tensors: list[_Tensor], *, start: int, size: int) -> None:
    if not tensors:
        raise MalformedGguf("a file without tensors")
    for tensor in tensors:
        end = start + tensor.offset + tensor.bytes
        if end > size:
            raise MalformedGguf(f"{size} bytes where tensor {tensor.name[:60]!r} needs {end}")
