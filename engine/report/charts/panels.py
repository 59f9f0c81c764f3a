"""Tables of records as panels to draw: their rows and numbers, capped, with text that is safe to show.

Needs no Altair.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from engine.records import Record, Table
from engine.text import write_plain

PANELS = 9
"""The most panels of one chart."""

ROWS = 8000
"""The most rows of a table that are read."""

ARMS = 12
"""The most arms of a claim that are drawn."""

_HUGE = 1e150
"""Larger numbers are drawn as infinite, and numbers below its inverse as zero: axes would overflow."""

_INHERITED = frozenset(
    {
        *("constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString", "toString"),
        *("valueOf", "__proto__", "__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__"),
    }
)
"""Names that every JavaScript object has. Vega keeps marks in objects by name and stumbles over these, so that they are
drawn in quotes."""

Row = dict[str, object]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The rows of one subject and protocol, by column name."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Panels:
    """The panels of one chart. not_drawn: how many more there are."""

    shown: tuple[Panel, ...]
    not_drawn: int = 0

    def split(self, *columns: str) -> list[tuple[Panel, str, list[Row]]]:
        """Each panel's rows in groups, with the group's name: the labels in these columns, joined."""
        return [
            (panel, ", ".join(names), rows)
            for panel in self.shown
            for names, rows in list(group_by(panel.rows, *columns).items())[:ARMS]
        ]


@lru_cache(maxsize=8192, typed=True)
def label(text: object, limit: int = 40) -> str:
    """A text as a label: cut, without invisible characters, harmless to Vega."""
    plain = str(text)
    shown = write_plain(plain[:limit]) + ("…" if len(plain) > limit else "")
    return f"‘{shown}’" if shown in _INHERITED else shown


def number(cell: object) -> float | None:
    """A cell as a number, infinite where it is too large for an axis; None where it is no number."""
    if not isinstance(cell, int | float) or cell != cell:
        return None
    if abs(cell) > _HUGE:
        return math.copysign(math.inf, 1 if cell > 0 else -1)
    return 0.0 if abs(cell) < 1 / _HUGE else float(cell)


def finite(cell: object) -> float | None:
    """A cell as a finite number; None where it is none."""
    value = number(cell)
    return None if value is None or math.isinf(value) else value


def read_numbers(
    rows: Iterable[Row], *columns: str, read: Callable[[object], float | None] = finite
) -> list[tuple[Row, *tuple[float, ...]]]:
    """The rows that have a number in each of these columns, with these numbers. read: `finite`, or `number`."""
    found = [(row, [read(row[column]) for column in columns]) for row in rows]
    return [(row, *(v for v in values if v is not None)) for row, values in found if None not in values]


def trim(value: float) -> float | int:
    """Round to four significant digits, as an integer where that is equal: the shortest form in JSON."""
    short = float(f"{value:.4g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def gather_panels(records: Sequence[Record], kind: str, columns: tuple[str, ...]) -> Panels:
    """A panel for each record with tables of this kind that have these columns, in the order of the records."""
    found: list[Panel] = []
    names: Counter[str] = Counter()
    not_drawn = 0
    for record in records:
        tables = [t for t in record.tables if t.kind == kind and t.rows and set(columns) <= set(t.columns)]
        if len(found) >= PANELS:
            not_drawn += bool(tables)
        elif rows := tuple(row for t in tables for row in read_rows(t)):
            name = f"{label(record.subject, 36)} · {label(record.protocol, 24)}"
            names[name] += 1
            name = name if names[name] == 1 else f"{name} ({names[name]})"
            found.append(Panel(name=name, rows=rows))
    return Panels(shown=tuple(found), not_drawn=not_drawn)


def read_rows(table: Table) -> Iterator[Row]:
    """The rows of a table by column name, without those of the wrong length."""
    for row in table.rows[:ROWS]:
        if len(row) == len(table.columns):
            yield dict(zip(table.columns, row, strict=True))


def group_by(rows: Sequence[Row], *columns: str) -> dict[tuple[str, ...], list[Row]]:
    """Rows by their labels in these columns, in the order of first occurrence."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(label(row[c]) for c in columns), []).append(row)
    return groups


def in_every_panel(rows: Sequence[Row], **cells: object) -> list[Row]:
    """A row with these cells for each panel that has rows, such as for a line that stands in all of them."""
    return [{"p": name} | cells for name in dict.fromkeys(row["p"] for row in rows)]


def pick_evenly(items: Sequence[T], most: int) -> Sequence[T]:
    """At most so many of the items, evenly spaced, both ends among them. most: at least 2."""
    return items if len(items) <= most else [items[round(k * (len(items) - 1) / (most - 1))] for k in range(most)]
