"""Records as one flat table, in CSV for spreadsheets or in Parquet for data frames."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.errors import LedgerError, MissingError, UsageError, explain
from engine.files import STANDARD_OUTPUT, write_whole
from engine.records import CriterionRecord, Record
from engine.report.marks import sort_records
from engine.text import write_plain

LONGEST_CELL = 32_000
"""Characters of a CSV cell: a spreadsheet spills what is beyond 32,767 into other cells."""

_FORMULA = frozenset("=+-@＝＋－＠")
_EXACT = 2**53
"""Integers up to here are exact as doubles."""

Cell = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Rows under named columns, each of one type ('text', 'integer', 'number' or 'flag'). Any cell may be None."""

    columns: dict[str, str]
    rows: tuple[tuple[Cell, ...], ...]


_ITEM = {"claim": "text", "subject": "text", "protocol": "text"}
_STATE = {
    "section": "text",
    "tier": "text",
    "effort": "text",
    "outcome": "text",
    "ruling": "text",
    "registration": "text",
}
_ORIGIN = {
    "measured_at": "text",
    "commit": "text",
    "dirty": "flag",
    "machine": "text",
    "device": "text",
    "gpu": "text",
    "tf32": "flag",
    "dtype": "text",
    "threads": "integer",
    "session_began": "text",
    "session_commit": "text",
    "session_dirty": "flag",
    "numerics": "integer",
}
_ESTIMATE = {
    "criterion": "text",
    "role": "text",
    "because": "text",
    "estimate": "text",
    "value": "number",
    "low": "number",
    "high": "number",
    "region_low": "number",
    "region_high": "number",
    "n": "integer",
    "counts": "text",
    "method": "text",
    "criterion_ruling": "text",
    "criterion_sentence": "text",
}
_DETAIL = {
    "statement": "text",
    "estimand": "text",
    "document": "text",
    "pilot_seen": "flag",
    "registered_at": "text",
    "registered_commit": "text",
    "registration_note": "text",
    "subject_note": "text",
    "sentence": "text",
    "recorded_ruling": "text",
    "recorded_date": "text",
    "recorded_reason": "text",
    "notes": "text",
    "settings": "text",
    "sources": "text",
    "versions": "text",
    "measurements": "text",
    "cost_s": "number",
    "command": "text",
}
_RUN = {"table": "text", "kind": "text", "row": "integer", "column": "text", "number": "number", "text": "text"}


def export_estimates(records: Sequence[Record]) -> Sheet:
    """A row for each criterion of each item, with the estimate that was held against it."""
    rows = ((*_item(r), *_state(r), *_estimate(c), *_origin(r)) for r in sort_records(records) for c in r.criteria)
    return Sheet(columns=_ITEM | _STATE | _ESTIMATE | _ORIGIN, rows=tuple(rows))


def export_items(records: Sequence[Record]) -> Sheet:
    """A row for each item, those that were skipped as well. What has several parts is JSON in its cell."""
    rows = ((*_item(r), *_state(r), *_detail(r), *_origin(r)) for r in sort_records(records))
    return Sheet(columns=_ITEM | _STATE | _DETAIL | _ORIGIN, rows=tuple(rows))


def export_runs(records: Sequence[Record]) -> Sheet:
    """A row for each cell of the tables behind the verdicts, with its table, row (from 1) and column.

    Numbers stand in `number`, text in `text`; a cell with neither is an empty one.
    """
    rows = (
        (*_item(r), table.title, table.kind, number, column, *_split(cell))
        for r in sort_records(records)
        for table in r.tables
        for number, row in enumerate(table.rows, 1)
        for column, cell in zip(table.columns, row, strict=False)
    )
    return Sheet(columns=_ITEM | _RUN, rows=tuple(rows))


SHEETS: dict[str, Callable[[Sequence[Record]], Sheet]] = {
    "estimates": export_estimates,
    "items": export_items,
    "runs": export_runs,
}
"""What can be exported."""


def _item(r: Record) -> tuple[Cell, ...]:
    return r.claim, r.subject, r.protocol


def _state(r: Record) -> tuple[Cell, ...]:
    return r.section, r.tier, r.effort, r.outcome, r.ruling, r.registration.status if r.registration else None


def _estimate(c: CriterionRecord) -> Iterator[Cell]:
    yield from (c.text, c.role, c.because, c.estimate, c.value, c.low, c.high, c.region_low, c.region_high)
    yield from (c.n, c.counts, c.method, c.ruling, c.sentence)


def _detail(r: Record) -> Iterator[Cell]:
    yield from (r.statement, r.estimand, r.document, r.pilot_seen)
    yield from (r.registration.date, r.registration.commit, r.registration.why) if r.registration else (None,) * 3
    yield from (r.subject_note, r.sentence)
    yield from (r.on_record.ruling, r.on_record.date, r.on_record.reason) if r.on_record else (None,) * 3
    versions = r.provenance.versions if r.provenance else {}
    yield from (_write_json(part) for part in (r.notes, r.settings, r.sources, versions, r.arms))
    yield from (r.cost_s, r.command)


def _origin(r: Record) -> Iterator[Cell]:
    p, s = r.provenance, r.session
    if p is None:
        yield from (None,) * 9
    else:
        yield from (p.measured_at, p.commit, p.dirty, p.machine, p.device, p.gpu, p.tf32, p.dtype, p.threads)
    yield from (s.began, s.commit, s.dirty, s.numerics) if s else (None,) * 4


def _write_json(part: object) -> str:
    return json.dumps(part, ensure_ascii=False, sort_keys=True)


def _split(cell: Cell) -> tuple[Cell, Cell]:
    if isinstance(cell, str):
        return None, cell
    if isinstance(cell, int) and abs(cell) > _EXACT:
        return None, str(cell)  # a double would change it
    return cell, None


def write_export(sheet: Sheet, path: Path) -> None:
    """Write the sheet in the format that the file's name asks for, whole or not at all; CSV to standard output.

    Raises UsageError for another name than .csv or .parquet, MissingError without pyarrow, LedgerError for the disk's
    refusal.
    """
    formats = {".csv": write_csv, ".parquet": write_parquet}
    write = write_csv if path == STANDARD_OUTPUT else formats.get(path.suffix.lower())
    if write is None:
        got, expected = f"--out {path.name}", "a name that ends in .csv or .parquet"
        raise UsageError(explain(who="export", got=got, expected=expected, remedy="name the file so"))
    write_whole(path, write(sheet), who="export")


def write_csv(sheet: Sheet) -> bytes:
    """UTF-8 with a header. Numbers have every digit, infinities are inf and -inf, an empty cell has no value.

    Text is made inert: invisible characters as escapes, an apostrophe before what a spreadsheet would calculate.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(sheet.columns)
    writer.writerows([_write_cell(cell) for cell in row] for row in sheet.rows)
    return file.getvalue().encode()


def _write_cell(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if not isinstance(cell, str):
        return repr(cell)
    return _write_text(cell)


@lru_cache(maxsize=4096)
def _write_text(cell: str) -> str:
    """Rows of one table share most of their text."""
    text = write_plain(cell, LONGEST_CELL)
    return f"'{text}" if text.lstrip()[:1] in _FORMULA else text


def write_parquet(sheet: Sheet) -> bytes:
    """Parquet with a type for each column and text as it is. Raises MissingError without pyarrow."""
    try:
        # Without stubs or annotations of its own.
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        got, expected = "no pyarrow", "it for a file that ends in .parquet"
        remedy = "pip install 'lm-claims[parquet]', or write .csv"
        raise MissingError(explain(who="export", got=got, expected=expected, remedy=remedy)) from error
    arrow: Any = pyarrow
    types = {"text": arrow.string(), "integer": arrow.int64(), "number": arrow.float64(), "flag": arrow.bool_()}
    schema = arrow.schema([(name, types[kind]) for name, kind in sheet.columns.items()])
    columns = zip(*sheet.rows, strict=True) if sheet.rows else ((),) * len(schema)
    try:
        arrays = [arrow.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)]
    except (OverflowError, arrow.ArrowException) as error:
        got, expected = f"{error}", "numbers of 64 bits"
        remedy = "these records are not ours, or write .csv"
        raise LedgerError(explain(who="export", got=got, expected=expected, remedy=remedy)) from error
    sink = io.BytesIO()
    parquet: Any = pyarrow.parquet
    parquet.write_table(arrow.Table.from_arrays(arrays, schema=schema), sink)
    return sink.getvalue()
