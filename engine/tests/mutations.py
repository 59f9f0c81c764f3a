"""Inputs for fuzzing: valid files with a few things in them changed, and what has no sense at all."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from engine.tests.report.test_hostile_report import HOSTILE

DEEP, LONG = "a list in a list in a list", "a number of very many digits"
"""Stand for what Python itself would not write: brackets without end, and more digits than it reads."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 2**31, 2**63, -(2**64), 10**400),
    *(0.0, -0.0, 0.5, 5e-324, 1.7e308, float("inf"), float("-inf"), float("nan")),
    *("", "inf", "-inf", "nan", "0", "1e999", "true", "null", "C90", "page", "supported", "2026-01-02", "x" * 3000),
    *("../../etc/passwd", "/etc/passwd", "a\0b", "\ud800", "\udcff", "\x1b[31m\n", DEEP, LONG),
    *(text for text in HOSTILE.values() if len(text) < 1000),
    *([], {}, [[]], [None], {"": None}, {"__class__": "x"}, [1, "two", 3.0], {"kind": "inversion"}),
)
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=20),
    st.sampled_from([value for value in VALUES if isinstance(value, str)]),
)
ODD = st.one_of(st.sampled_from(VALUES), st.integers(), st.floats(), TEXTS)

Place = tuple[Any, Any]
"""A list or an object, and which of its entries is meant."""


def list_places(value: Any) -> Iterator[Place]:
    """Every entry of a JSON document, however deep."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield value, key
        yield from list_places(entry)


@st.composite
def change_document(draw: st.DrawFn, documents: Sequence[Any]) -> Any:
    """One of the documents with up to three of its entries replaced, left out, renamed, repeated or exchanged."""
    document = copy.deepcopy(draw(st.sampled_from(documents)))
    for _ in range(draw(st.integers(0, 3))):
        places = list(list_places(document))
        if not places:
            break
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        how = draw(st.sampled_from(("replace", "replace", "drop", "rename", "repeat", "exchange")))
        if how == "replace":
            holder[key] = copy.deepcopy(draw(ODD))
        elif how == "exchange":
            other, place = places[draw(st.integers(0, len(places) - 1))]
            holder[key] = copy.deepcopy(other[place])
        elif how == "drop":
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif how == "rename":
            holder[draw(TEXTS)] = holder.pop(key)
    return document


def write_json(document: Any, *, plain: bool = False) -> bytes:
    """JSON, with half characters, NaN and brackets without end where the document asks for them."""
    text = json.dumps(document, ensure_ascii=plain, separators=(",", ":") if plain else None)
    text = text.replace(f'"{DEEP}"', "[" * 3000 + "]" * 3000).replace(f'"{LONG}"', "9" * 5000)
    return text.encode("utf-8", "surrogatepass")


@st.composite
def damage(draw: st.DrawFn, files: Sequence[bytes], *, first: int | None = None) -> bytes:
    """One of the files with up to three of its bytes or parts flipped, cut off, overwritten, left out or repeated.

    first: only so many bytes from the beginning are hit.
    """
    content = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, min(len(content), first or len(content)) - 1)))
        how = draw(st.sampled_from(("flip", "flip", "write", "insert", "drop", "repeat", "cut")))
        if how == "cut":
            del content[at:]
        elif how == "drop":
            del content[at : at + draw(st.integers(1, 40))]
        elif how == "repeat":
            part = content[at : at + draw(st.integers(1, 40))]
            content[at:at] = part * draw(st.integers(1, 3))
        elif how == "insert":
            content[at:at] = draw(st.binary(min_size=1, max_size=9))
        elif how == "write":
            new = draw(st.binary(min_size=1, max_size=9))
            content[at : at + len(new)] = new
        elif content:
            content[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(content)


@st.composite
def mix(draw: st.DrawFn, often: st.SearchStrategy[bytes], seldom: st.SearchStrategy[bytes]) -> bytes:
    """The one four times in five, the other once."""
    return draw(often if draw(st.integers(0, 4)) else seldom)


def fuzz_json(documents: Sequence[Any], *, lines: bool = False) -> st.SearchStrategy[bytes]:
    """Files of JSON: documents changed as such, damaged as bytes, both, or none; and bytes of no kind.

    lines: several documents, one a line.
    """
    written = [write_json(document) for document in documents]
    changed = st.builds(
        lambda document, plain: write_json(document, plain=plain), change_document(documents), st.booleans()
    )
    if lines:
        changed = st.lists(changed, max_size=3).map(b"\n".join)
    return mix(changed, st.one_of(damage(written), st.binary(max_size=60)))


NUMBERS = (0, 1, 2, 7, 8, 255, 2**16, 2**31 - 1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)


@st.composite
def change_gguf(draw: st.DrawFn, file: bytes, names: Sequence[bytes]) -> bytes:
    """A GGUF file in which a count, a length, a type or a value beside one of the names is another number."""
    content = bytearray(file)
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(names))
        # Before a name stands its length; behind it type and value, or dimensions; at 8 and 16 the two counts.
        start = file.index(name)
        at = draw(
            st.sampled_from((8, 16, start - 8, start + len(name), *(start + len(name) + k for k in (4, 8, 12, 20))))
        )
        size = draw(st.sampled_from((4, 8)))
        number = draw(st.one_of(st.sampled_from(NUMBERS), st.integers(0, 40), st.integers(0, 2**64 - 1)))
        content[at : at + size] = number.to_bytes(8, "little")[:size]
    return bytes(content)


NO_TOML = ("0", "-1", "9" * 5000, "inf", "nan", "1e999", "2026-01-02", "07:32:00", "true", "[]", "{}", "[" * 3000)
"""Values that are none of the expected ones, and some that nobody could read."""


@st.composite
def write_toml(draw: st.DrawFn, sound: Mapping[str, Sequence[str]], heads: Sequence[str]) -> bytes:
    """A TOML file of tables, most of which have the expected keys with one of their expected values, as written."""
    quoted = TEXTS.map(lambda text: json.dumps(text, ensure_ascii=False))
    value = st.one_of(
        st.sampled_from([v for values in sound.values() for v in values]), st.sampled_from(NO_TOML), quoted
    )
    key = st.one_of(st.sampled_from(list(sound)), quoted)
    plain = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in sound.items()})
    table = st.one_of(plain, st.tuples(plain, st.dictionaries(key, value, max_size=2)).map(lambda p: p[0] | p[1]))
    tables = draw(st.lists(st.tuples(st.sampled_from(heads), table), max_size=3))
    text = "\n".join("\n".join([head, *(f"{k} = {v}" for k, v in rows.items())]) for head, rows in tables)
    return text.encode("utf-8", "surrogatepass")
