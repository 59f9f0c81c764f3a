"""Flat tables as files: CSV for spreadsheets, Parquet for data frames."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.errors import LedgerError, MissingError, UsageError, explain
from engine.files import STANDARD_OUTPUT, write_whole
from engine.text import write_plain

LONGEST_CELL = 32_000
"""Characters of a CSV cell: a spreadsheet spills a cell of more than 32,767 into other cells."""

_FORMULA = frozenset("=+-@＝＋－＠")
"""Characters that make a spreadsheet calculate the cell that begins with them."""

Cell = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Rows under named columns, each of one type ('text', 'integer', 'number' or 'flag'). Any cell may be None."""

    columns: dict[str, str]
    rows: tuple[tuple[Cell, ...], ...]


def write_export(sheet: Sheet, path: Path) -> None:
    """Write the sheet, whole or not at all, in the format that the file's name asks for; CSV to standard output.

    Raises UsageError for a name that ends in neither .csv nor .parquet, MissingError without pyarrow, LedgerError when
    the file cannot be written.
    """
    formats = {".csv": write_csv, ".parquet": write_parquet}
    write = write_csv if path == STANDARD_OUTPUT else formats.get(path.suffix.lower())
    if write is None:
        got, expected = f"--out {path.name}", "a name that ends in .csv or .parquet"
        raise UsageError(explain(who="export", got=got, expected=expected, remedy="rename the file"))
    write_whole(path, write(sheet), who="export")


def write_csv(sheet: Sheet) -> bytes:
    """UTF-8 with a header. Numbers keep every digit, infinities are inf and -inf, and a missing value is empty.

    Text is made inert: invisible characters become escapes, and an apostrophe precedes what a spreadsheet would
    calculate.
    """
    import pandas

    # Cells come as finished text: pandas would write an integer as a float wherever its column has a gap.
    written = [[_write_cell(cell) for cell in row] for row in sheet.rows]
    frame: Any = pandas.DataFrame(written, columns=pandas.Index(list(sheet.columns)), dtype=object)
    return frame.to_csv(index=False, lineterminator="\n").encode()


def _write_cell(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    return _write_text(cell) if isinstance(cell, str) else repr(cell)


@lru_cache(maxsize=4096)  # the rows of a table share most of their text
def _write_text(cell: str) -> str:
    text = write_plain(cell, LONGEST_CELL)
    return f"'{text}" if text.lstrip()[:1] in _FORMULA else text


def write_parquet(sheet: Sheet) -> bytes:
    """Parquet with a type for each column, and text as it is. Raises MissingError without pyarrow."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        got, expected = "no pyarrow", "it, to write .parquet"
        remedy = "pip install 'lm-claims[parquet]', or write .csv"
        raise MissingError(explain(who="export", got=got, expected=expected, remedy=remedy)) from error
    # pyarrow has neither stubs nor annotations. A data frame on the way would turn NaN into a missing value.
    arrow: Any = pyarrow
    parquet: Any = pyarrow.parquet
    types = {"text": arrow.string(), "integer": arrow.int64(), "number": arrow.float64(), "flag": arrow.bool_()}
    schema = arrow.schema([(name, types[kind]) for name, kind in sheet.columns.items()])
    columns = zip(*sheet.rows, strict=True) if sheet.rows else ((),) * len(schema)
    try:
        arrays = [arrow.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)]
    except (OverflowError, arrow.ArrowException) as error:
        got, expected = f"{error}", "numbers of 64 bits"
        remedy = "the file was not written by this program; write .csv to keep its numbers"
        raise LedgerError(explain(who="export", got=got, expected=expected, remedy=remedy)) from error
    sink = io.BytesIO()
    parquet.write_table(arrow.Table.from_arrays(arrays, schema=schema), sink)
    return sink.getvalue()
