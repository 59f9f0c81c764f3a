"""What a session leaves behind for each item: the claim, the verdict, the numbers, where they came from.

Plain data that JSON holds whole; the report, the comparison and the exports read nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, TypeAdapter, ValidationError

from engine.errors import LedgerError, explain

SCHEMA = 1


def _number_from_json(value: Any) -> Any:
    return {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}.get(value, value) if isinstance(value, str) else value


def _number_to_json(value: float) -> float | str:
    return float(value) if math.isfinite(value) else str(value)


Number = Annotated[float, BeforeValidator(_number_from_json), PlainSerializer(_number_to_json, when_used="json")]
"""A float whose infinities survive JSON as the words 'inf' and '-inf'."""


@dataclass(frozen=True, kw_only=True)
class CriterionRecord:
    """A criterion, its region, and the estimate that was held against it (None where it was not run)."""

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


@dataclass(frozen=True, kw_only=True)
class Table:
    """Numbers that stand behind a verdict, in rows of plain cells.

    kind: what the report draws from it, by the name of a drawing in engine.report.charts; '' draws nothing.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | Number | None, ...], ...]
    note: str = ""
    kind: str = ""


@dataclass(frozen=True, kw_only=True)
class OnRecord:
    """A verdict that was committed before, with its date and reason."""

    ruling: str
    date: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where numbers come from: code, packages, machine, threads."""

    commit: str
    dirty: bool
    versions: dict[str, str]
    device: str
    machine: str
    threads: int
    dtype: str
    measured_at: str


@dataclass(frozen=True, kw_only=True)
class Session:
    """The session that judged: measurements may be older than it, and come from other code.

    began: ISO 8601. commit, dirty: of the code that judged.
    """

    began: str
    commit: str
    dirty: bool


@dataclass(frozen=True, kw_only=True)
class Record:
    """One item of a session: claim × subject × protocol.

    outcome: passed, xfailed, finding, drift, inconclusive, not run, skipped or error.
    ruling: the verdict's word, None where there is none (skipped, error).
    sentence: the verdict with its numbers, or why there is none.
    settings: what was run, in words and numbers. sources: model fingerprints by subject.
    arms: digests of the measurements behind it. cost_s: what those took when they were measured.
    provenance: where the latest of them was measured. session: which session judged.
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
    on_record: OnRecord | None = None
    settings: dict[str, str] = field(default_factory=dict[str, str])
    sources: dict[str, str] = field(default_factory=dict[str, str])
    command: str
    tables: tuple[Table, ...] = ()
    arms: tuple[str, ...] = ()
    cost_s: Number = 0.0
    provenance: Provenance | None = None
    session: Session | None = None


RECORD = TypeAdapter(Record)


def write_records(records: list[Record], path: Path) -> None:
    """Write one JSON object a line, whole or not at all. Raises LedgerError when the folder cannot be written."""
    lines = b"".join(RECORD.dump_json(record) + b"\n" for record in records)
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(lines)
        unfinished.replace(path)
    except OSError as error:
        raise LedgerError(
            explain(
                who="report",
                got=f"{path.parent}: {error.strerror}",
                expected="a folder that can be written",
                remedy="choose another with --report-dir",
            )
        ) from error


def read_records(path: Path) -> list[Record]:
    """Records in the order they were written. Raises LedgerError for a file that is missing or not ours."""
    try:
        lines = path.read_bytes().splitlines()
        return [RECORD.validate_json(line) for line in lines if line.strip()]
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
