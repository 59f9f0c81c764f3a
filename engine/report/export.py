"""Records as flat tables: a row for each item, for each criterion, or for each cell of the tables behind them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from engine.records import CriterionRecord, Record
from engine.report.words import sort_records
from engine.sheets import Cell, Sheet

_EXACT = 2**53
"""Integers up to here are exact as doubles."""

# A column's name, its type, and where a record holds it; 'json' is text that holds several parts. A part that a
# record lacks leaves its cells empty.
_ITEM = {"claim": ("text", "claim"), "subject": ("text", "subject"), "protocol": ("text", "protocol")}
_STATE = {
    "section": ("text", "section"),
    "tier": ("text", "tier"),
    "effort": ("text", "effort"),
    "outcome": ("text", "outcome"),
    "ruling": ("text", "ruling"),
    "registration": ("text", "registration.status"),
}
_CRITERION = {
    "criterion": ("text", "text"),
    "role": ("text", "role"),
    "because": ("text", "because"),
    "estimate": ("text", "estimate"),
    "value": ("number", "value"),
    "low": ("number", "low"),
    "high": ("number", "high"),
    "region_low": ("number", "region_low"),
    "region_high": ("number", "region_high"),
    "n": ("integer", "n"),
    "counts": ("text", "counts"),
    "method": ("text", "method"),
    "criterion_ruling": ("text", "ruling"),
    "criterion_sentence": ("text", "sentence"),
}
_DETAIL = {
    "statement": ("text", "statement"),
    "estimand": ("text", "estimand"),
    "document": ("text", "document"),
    "pilot_seen": ("flag", "pilot_seen"),
    "registered_at": ("text", "registration.date"),
    "registered_commit": ("text", "registration.commit"),
    "registration_note": ("text", "registration.why"),
    "subject_note": ("text", "subject_note"),
    "sentence": ("text", "sentence"),
    "recorded_ruling": ("text", "on_record.ruling"),
    "recorded_date": ("text", "on_record.date"),
    "recorded_reason": ("text", "on_record.reason"),
    "notes": ("json", "notes"),
    "settings": ("json", "settings"),
    "sources": ("json", "sources"),
    "versions": ("json", "provenance.versions"),
    "measurements": ("json", "arms"),
    "cost_s": ("number", "cost_s"),
    "command": ("text", "command"),
}
_ORIGIN = {
    "measured_at": ("text", "provenance.measured_at"),
    "commit": ("text", "provenance.commit"),
    "dirty": ("flag", "provenance.dirty"),
    "machine": ("text", "provenance.machine"),
    "device": ("text", "provenance.device"),
    "gpu": ("text", "provenance.gpu"),
    "tf32": ("flag", "provenance.tf32"),
    "dtype": ("text", "provenance.dtype"),
    "threads": ("integer", "provenance.threads"),
    "session_began": ("text", "session.began"),
    "session_commit": ("text", "session.commit"),
    "session_dirty": ("flag", "session.dirty"),
    "numerics": ("integer", "session.numerics"),
}
_RUN = {"table": "text", "kind": "text", "row": "integer", "column": "text", "number": "number", "text": "text"}

_Columns = dict[str, tuple[str, str]]


def _read(source: Record | CriterionRecord, columns: _Columns) -> tuple[Cell, ...]:
    cells: list[Cell] = []
    for kind, path in columns.values():
        value: Any = source
        for name in path.split("."):
            value = None if value is None else getattr(value, name)
        if kind == "json":
            value = json.dumps({} if value is None else value, ensure_ascii=False, sort_keys=True)
        cells.append(value)
    return tuple(cells)


def _name_types(*parts: _Columns) -> dict[str, str]:
    return {name: "text" if kind == "json" else kind for part in parts for name, (kind, _) in part.items()}


def export_estimates(records: Sequence[Record]) -> Sheet:
    """A row for each criterion of each item, with the estimate that was judged by it."""
    rows = (
        (*_read(record, _ITEM | _STATE), *_read(criterion, _CRITERION), *_read(record, _ORIGIN))
        for record in sort_records(records)
        for criterion in record.criteria
    )
    return Sheet(columns=_name_types(_ITEM, _STATE, _CRITERION, _ORIGIN), rows=tuple(rows))


def export_items(records: Sequence[Record]) -> Sheet:
    """A row for each item, skipped ones included. A cell with several parts holds them as JSON."""
    columns = _ITEM | _STATE | _DETAIL | _ORIGIN
    rows = (_read(record, columns) for record in sort_records(records))
    return Sheet(columns=_name_types(columns), rows=tuple(rows))


def export_runs(records: Sequence[Record]) -> Sheet:
    """A row for each cell of the tables behind the verdicts, with its table, row (from 1) and column.

    Numbers stand in `number`, text in `text`; an empty cell has neither.
    """
    rows: list[tuple[Cell, ...]] = []
    for record in sort_records(records):
        item = _read(record, _ITEM)
        for table in record.tables:
            for number, row in enumerate(table.rows, 1):
                for column, cell in zip(table.columns, row, strict=False):
                    rows.append((*item, table.title, table.kind, number, column, *_split(cell)))
    return Sheet(columns=_name_types(_ITEM) | _RUN, rows=tuple(rows))


def _split(cell: Cell) -> tuple[Cell, Cell]:
    """A cell as number and text, one of them None."""
    if isinstance(cell, str):
        return None, cell
    if isinstance(cell, int) and abs(cell) > _EXACT:
        return None, str(cell)  # a double would change it
    return cell, None


SHEETS: dict[str, Callable[[Sequence[Record]], Sheet]] = {
    "estimates": export_estimates,
    "items": export_items,
    "runs": export_runs,
}
"""What can be exported."""
