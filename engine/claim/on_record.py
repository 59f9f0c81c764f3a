"""Verdicts on record, and the outcome of a new verdict compared with them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from pydantic import TypeAdapter

from engine.claim.criteria import DECISIVE, Ruling
from engine.claim.verdict import Verdict
from engine.errors import LedgerError, explain
from engine.files import find_nearest, parse_toml, read_whole
from engine.records import RecordedVerdict

Key = tuple[str, str, str]
"""claim, subject, protocol"""


class Outcome(StrEnum):
    """The outcome of an item. All but the last are about the claim; an error is the suite's."""

    PASSED = "passed"
    XFAILED = "xfailed"
    FINDING = "finding"
    DRIFT = "drift"
    INCONCLUSIVE = "inconclusive"
    NOT_RUN = "not run"
    NOT_TESTED = "not tested"
    SKIPPED = "skipped"
    ERROR = "error"


RED_WHEN_STRICT = frozenset({Outcome.FINDING, Outcome.INCONCLUSIVE, Outcome.NOT_RUN})


def classify_outcome(verdict: Verdict, on_record: RecordedVerdict | None) -> Outcome:
    """The outcome of a verdict, given the one on record."""
    if verdict.ruling is Ruling.NOT_RUN:
        return Outcome.NOT_RUN
    if verdict.ruling is Ruling.NOT_TESTED:
        return Outcome.NOT_TESTED
    if verdict.ruling is Ruling.INCONCLUSIVE:
        return Outcome.INCONCLUSIVE
    # An undecided record cannot be contradicted.
    if on_record is None or on_record.ruling not in DECISIVE:
        return Outcome.PASSED if verdict.supported else Outcome.FINDING
    if on_record.ruling != verdict.ruling:
        return Outcome.DRIFT
    return Outcome.PASSED if verdict.supported else Outcome.XFAILED


_ROWS = TypeAdapter(list[dict[str, str]])
_FIELDS = {"claim", "subject", "protocol", "ruling", "date", "reason"}


def read_verdicts(path: Path) -> Mapping[Key, RecordedVerdict]:
    """Verdicts on record by claim, subject and protocol. Raises LedgerError that names the wrong entry."""
    try:
        document = parse_toml(read_whole(path).decode())
        rows = _ROWS.validate_python(document.get("verdict", []))
    except (OSError, ValueError, RecursionError) as error:  # a number of 5,000 digits raises no TOMLDecodeError
        got = getattr(error, "strerror", None) or str(error)
        raise LedgerError(
            explain(who=str(path), got=got, expected="TOML with [[verdict]] tables", remedy="fix the file")
        ) from error
    found: dict[Key, RecordedVerdict] = {}
    for number, row in enumerate(rows, 1):
        key = (row.get("claim", ""), row.get("subject", ""), row.get("protocol", ""))
        if set(row) - {"before"} != _FIELDS or row["ruling"] not in set(Ruling) or key in found:
            raise LedgerError(
                explain(
                    who=f"{path}, entry {number}",
                    got=f"{sorted(row)} for {'/'.join(key)}, ruling {row.get('ruling')!r}",
                    expected=f"{sorted(_FIELDS)} (and 'before') once an item, ruling one of {', '.join(Ruling)}",
                    remedy="fix the entry",
                )
            )
        found[key] = RecordedVerdict(
            ruling=row["ruling"], date=row["date"], reason=row["reason"], before=row.get("before", "")
        )
    return found


def find_verdicts(claim_file: Path, root: Path) -> Mapping[Key, RecordedVerdict]:
    """The nearest verdicts.toml at or above a claim's folder, up to `root`; empty without one."""
    path = find_nearest("verdicts.toml", claim_file, root)
    return read_verdicts(path) if path else {}
