"""Tables of records as panels to draw: rows of known cells, capped, with other people's text made fit to show."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from engine.records import Record, Table
from engine.text import write_plain

PANELS = 9
"""The most panels of one chart."""

ROWS = 8000
"""The most rows of a table that are looked at."""

ARMS = 12
"""The most arms of a claim that are drawn."""

_BEYOND = 1e150
"""Numbers above this are drawn as infinite, below its inverse as zero: axes overflow there."""

_INHERITED = frozenset(
    {
        *("constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString", "toString"),
        *("valueOf", "__proto__", "__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__"),
    }
)
"""Names that every JavaScript object has: Vega keeps what it draws by name, stumbles over these, and gets quotes."""

Row = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """What one subject and protocol have to show: rows by column name."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Panels:
    """The panels of one chart. left: how many more there are that are not drawn."""

    shown: tuple[Panel, ...]
    left: int = 0

    def keep(self, rows: Sequence[Row]) -> Panels:
        """The panels that have something to show: whose names stand in the rows' field 'p'."""
        drawn = {row["p"] for row in rows}
        return Panels(shown=tuple(panel for panel in self.shown if panel.name in drawn), left=self.left)

    def split(self, *columns: str) -> list[tuple[Panel, str, list[Row]]]:
        """Every panel's groups of rows, by their name: the labels in these columns."""
        return [
            (panel, ", ".join(names), rows)
            for panel in self.shown
            for names, rows in list(group_by(panel.rows, *columns).items())[:ARMS]
        ]


@lru_cache(maxsize=8192, typed=True)
def label(text: object, limit: int = 40) -> str:
    """A text as a label: visible, cut, harmless."""
    plain = str(text)
    shown = write_plain(plain[:limit]) + ("…" if len(plain) > limit else "")
    return f"‘{shown}’" if shown in _INHERITED else shown


def number(cell: object) -> float | None:
    """A cell as a number that an axis can hold, infinite where it cannot; None where it is none."""
    if not isinstance(cell, int | float) or cell != cell:
        return None
    if abs(cell) > _BEYOND:
        return math.copysign(math.inf, 1 if cell > 0 else -1)
    return 0.0 if abs(cell) < 1 / _BEYOND else float(cell)


def finite(cell: object) -> float | None:
    """A cell as a number; None where it is none or is not finite."""
    value = number(cell)
    return None if value is None or math.isinf(value) else value


def trim(value: float) -> float | int:
    """Four significant digits, without a fraction where there is none: the shortest that JSON can say."""
    short = float(f"{value:.4g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def gather_panels(records: Sequence[Record], kind: str, columns: tuple[str, ...]) -> Panels:
    """The tables of a kind that have these columns, by subject and protocol, in the order of the records."""
    found: list[Panel] = []
    names: Counter[str] = Counter()
    left = 0
    for record in records:
        tables = [t for t in record.tables if t.kind == kind and t.rows and set(columns) <= set(t.columns)]
        if len(found) >= PANELS:
            left += bool(tables)
        elif rows := tuple(row for t in tables for row in read_rows(t)):
            name = f"{label(record.subject, 36)} · {label(record.protocol, 24)}"
            names[name] += 1
            name = name if names[name] == 1 else f"{name} ({names[name]})"
            found.append(Panel(name=name, columns=tables[0].columns, rows=rows))
    return Panels(shown=tuple(found), left=left)


def read_rows(table: Table) -> Iterator[Row]:
    """The rows of a table by column name; those of another length are no rows of it."""
    for row in table.rows[:ROWS]:
        if len(row) == len(table.columns):
            yield dict(zip(table.columns, row, strict=True))


def group_by(rows: Sequence[Row], *columns: str) -> dict[tuple[str, ...], list[Row]]:
    """Rows by the labels in some columns, in their first order."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(label(row[c]) for c in columns), []).append(row)
    return groups
