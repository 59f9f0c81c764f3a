"""Records: for each item of a session the claim, the verdict, the numbers and where they come from.

They are plain JSON data. The report, comparisons and exports read nothing else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from engine.errors import LedgerError, explain
from engine.files import read_whole, write_whole

SCHEMA = 1


def _number_from_json(value: Any) -> Any:
    return {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}.get(value, value) if isinstance(value, str) else value


def _number_to_json(value: float) -> float | str:
    return float(value) if math.isfinite(value) else str(value)


def _cell_to_json(value: str | int | float | None) -> str | int | float | None:
    return _number_to_json(value) if isinstance(value, float) else value


Number = Annotated[float, BeforeValidator(_number_from_json), PlainSerializer(_number_to_json, when_used="json")]
"""A float whose infinities survive JSON as the words 'inf' and '-inf'."""

_WORDS = ("inf", "-inf", "nan")
_Cell = Annotated[str | int | float | None, PlainSerializer(_cell_to_json, when_used="json")]
_Rows = tuple[tuple[_Cell, ...], ...]


def _restore_numbers(rows: _Rows) -> _Rows:
    """Read 'inf' as a number in columns of numbers. In columns with other text, or without numbers, it stays text."""
    columns = {k for row in rows for k, cell in enumerate(row) if isinstance(cell, str) and cell in _WORDS}
    for k in tuple(columns):
        cells = [row[k] for row in rows if k < len(row) and row[k] is not None]
        texts = [cell for cell in cells if isinstance(cell, str)]
        if len(texts) == len(cells) or any(text not in _WORDS for text in texts):
            columns.remove(k)
    if not columns:
        return rows
    return tuple(tuple(_number_from_json(c) if k in columns else c for k, c in enumerate(row)) for row in rows)


@dataclass(frozen=True, kw_only=True)
class CriterionRecord:
    """A criterion, its region, and the estimate it was judged by (None if that was not run).

    none_low, none_high: the values that count as no effect, with the reason why so many; None where none is declared.
    figure: the document's own; None where it has none.
    """

    text: str
    role: str
    because: str
    estimate: str
    region_low: Number
    region_high: Number
    value: Number | None
    low: Number | None
    high: Number | None
    n: int | None
    counts: str
    method: str
    ruling: str
    sentence: str
    none_low: Number | None = None
    none_high: Number | None = None
    none_because: str = ""
    figure: Number | None = None


SENSITIVITY = "sensitivity"
"""Kind of a table that the report shows separately from the raw numbers."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Numbers behind a verdict, in rows of plain cells.

    kind: the chart that the report draws from it, by its name in engine.report.charts; '' draws none.
    """

    title: str
    columns: tuple[str, ...]
    rows: Annotated[_Rows, AfterValidator(_restore_numbers)]
    note: str = ""
    kind: str = ""


@dataclass(frozen=True, kw_only=True)
class SeeAlso:
    """Another claim that a reader of one should see, and what it adds."""

    claim: str
    words: str


@dataclass(frozen=True, kw_only=True)
class RecordedVerdict:
    """A verdict on record, with its date and reason.

    before: what was on record until the criterion was amended; '' where nothing was.
    """

    ruling: str
    date: str
    reason: str
    before: str = ""


@dataclass(frozen=True, kw_only=True)
class Registration:
    """Whether the criteria of an item were fixed beforehand. status: registered, amended or exploratory.

    date, commit: of the first registration; '' without one (or without git). why: what was amended, what makes the item
    exploratory, or that measurements are older; '' if there is nothing to add.
    """

    status: str
    date: str = ""
    commit: str = ""
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where numbers come from: code, packages, machine, threads.

    gpu: its model; '' without one. tf32: whether float32 products may have used TensorFloat-32; None without a GPU.
    """

    commit: str
    dirty: bool
    versions: dict[str, str]
    device: str
    machine: str
    threads: int
    dtype: str
    measured_at: str
    gpu: str = ""
    tf32: bool | None = None

    @property
    def named_device(self) -> str:
        """The device with its model, such as 'cuda, NVIDIA H200', and whether TF32 was allowed."""
        return ", ".join([self.device, *([self.gpu] if self.gpu else []), *(["TF32 allowed"] if self.tf32 else [])])


@dataclass(frozen=True, kw_only=True)
class Session:
    """The session that judged. Its measurements may be older, and come from other code.

    began: ISO 8601. commit, dirty: of the code that judged. numerics: version of the numerics of its measurements;
    None in older records. part: whether it was asked for a part of the items, or ended early. dealt: how many items all
    slices have together, if it had one slice of several; else 0.
    """

    began: str
    commit: str
    dirty: bool
    numerics: int | None = None
    part: bool = False
    dealt: int = 0


@dataclass(frozen=True, kw_only=True)
class Record:
    """One item of a session: claim × subject × protocol.

    outcome: passed, xfailed, finding, drift, inconclusive, not run, skipped or error.
    ruling: the verdict's word, None where there is none (skipped, error).
    sentence: the verdict with its numbers, or why there is none.
    settings: what was run, in words and numbers. sources: model fingerprints by subject.
    arms: digests of the measurements behind it. cost_s: what those took when they were measured.
    provenance: where the latest of them was measured. session: which session judged.
    registration: None where the record is older than registrations, or an error kept it from being known.
    beyond: which claim says more. generalizes: whether the subject is another model than the one that the document's
    claim is about. counts_untrained: whether untrained rows count for the claim's standing.
    question: the statement as a question. quote: a few of the document's own words. Both are '' in older records.
    parameters: of the whole model; None where nobody counted.
    """

    schema: int = SCHEMA
    claim: str
    section: str
    statement: str
    estimand: str
    document: str
    notes: tuple[str, ...]
    pilot_seen: bool
    subject: str
    subject_note: str
    tier: str
    protocol: str
    effort: str
    outcome: str
    ruling: str | None
    sentence: str
    criteria: tuple[CriterionRecord, ...] = ()
    on_record: RecordedVerdict | None = None
    settings: dict[str, str] = field(default_factory=dict[str, str])
    sources: dict[str, str] = field(default_factory=dict[str, str])
    command: str
    tables: tuple[Table, ...] = ()
    arms: tuple[str, ...] = ()
    cost_s: Number = 0.0
    generalizes: bool = False
    counts_untrained: bool = False
    provenance: Provenance | None = None
    session: Session | None = None
    registration: Registration | None = None
    beyond: SeeAlso | None = None
    question: str = ""
    quote: str = ""
    parameters: int | None = None


RECORD = TypeAdapter(Record)


def key_of(record: Record) -> tuple[str, str, str]:
    """The key of an item, equal in every run."""
    return record.claim, record.subject, record.protocol


def explain_part(records: Sequence[Record]) -> str:
    """A sentence on what the records leave out of their run; '' if they are complete."""
    sessions = [(key_of(record), record.session) for record in records]
    shares: dict[int, set[tuple[str, str, str]]] = {}
    for key, session in sessions:
        if session is not None and session.dealt:
            shares.setdefault(session.dealt, set()).add(key)
    for dealt, keys in shares.items():
        if len(keys) < dealt:
            return f"These are {len(keys)} of the {dealt} items of all slices of this run."
    if records and all(session is not None and session.part for _, session in sessions):
        return "The session was asked for a part of the items, or ended early."
    return ""


def is_measured(record: Record) -> bool:
    """Whether anything was measured for it, whatever its verdict."""
    return bool(record.arms) or any(c.value is not None for c in record.criteria)


def find_headline(record: Record) -> CriterionRecord | None:
    """The first criterion whose ruling equals the verdict; otherwise the first with an estimate."""
    estimated = [c for c in record.criteria if c.value is not None]
    ruling = "refuted" if record.ruling == "partly supported" else record.ruling
    return next((c for c in (*estimated, *record.criteria) if c.ruling == ruling), next(iter(record.criteria), None))


def dump_record(record: Record) -> bytes:
    """One line of JSON."""
    try:
        return RECORD.dump_json(record)
    except PydanticSerializationError:
        # A lone surrogate, which a file name may contain, is not valid UTF-8: replace it by a question mark.
        plain = RECORD.dump_python(record, mode="json")
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def write_records(records: list[Record], path: Path) -> None:
    """Write one JSON object a line, atomically. Raises LedgerError if the folder cannot be written."""
    lines = b"".join(dump_record(record) + b"\n" for record in records)
    write_whole(path, lines, remedy="choose another with --report-dir")


def read_records(path: Path) -> list[Record]:
    """Records in the order they were written. A repeated line counts once.

    Raises LedgerError for a file that is missing or holds no records.
    """
    try:
        lines = dict.fromkeys(read_whole(path).splitlines())
        records = [RECORD.validate_json(line) for line in lines if line.strip()]
    except OSError as error:
        raise LedgerError(
            explain(
                who="records",
                got=f"{path}: {error.strerror}",
                expected="a records.jsonl file",
                remedy="run pytest claims first",
            )
        ) from error
    except ValidationError as error:
        raise LedgerError(
            explain(
                who="records",
                got=f"{path} with {error.error_count()} unreadable fields",
                expected=f"records of schema {SCHEMA}",
                remedy="render with the version that wrote it",
            )
        ) from error
    if strange := {record.schema for record in records} - {SCHEMA}:
        raise LedgerError(
            explain(
                who="records",
                got=f"{path} with records of schema {min(strange)}",
                expected=f"records of schema {SCHEMA}",
                remedy="render with the version that wrote it",
            )
        )
    return records


CHOICES = ("1st", "2nd", "3rd", "4th", "5th")
