"""Two runs side by side: what came out otherwise, what may be the reason, and what is equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.records import CriterionRecord, Record, is_measured, key_of, read_records
from engine.report.causes import KINDS, NOTHING, Cause, find_causes
from engine.report.history import Run, find_file, gather_run
from engine.report.marks import VerdictSymbol, mark_record, sort_records
from engine.text import format_interval

WEIGHTS = {
    "drift": "contrary to the record",
    "error": "in error",
    "reversed": "with another verdict",
    "decided": "decided in one run and not in the other",
    "measured": "with a verdict in one run only",
    "apart": "with the same verdict, from intervals that do not overlap",
    "amended": "under amended criteria",
    "outcome": "with the same verdict and another outcome",
}
"""Kinds of change, the heaviest first, as they follow on a number of items."""

_DECIDED = ("supported", "partly supported", "refuted")
_JUDGED = (*_DECIDED, "inconclusive")
_ALARMS = ("drift", "error")
"""Outcomes that are kinds of change, too, wherever one run has them and the other has not."""


@dataclass(frozen=True, kw_only=True)
class EstimateChange:
    """An estimate that is not the same in both runs. apart: its intervals have no point in common."""

    estimate: str
    before: str
    after: str
    apart: bool


@dataclass(frozen=True, kw_only=True)
class Change:
    """An item that came out otherwise. kind: one of WEIGHTS."""

    kind: str
    before: Record
    after: Record
    shifts: tuple[EstimateChange, ...]
    causes: tuple[Cause, ...]

    @property
    def marks(self) -> tuple[VerdictSymbol, VerdictSymbol]:
        return mark_record(self.before), mark_record(self.after)

    @property
    def equal(self) -> tuple[str, ...]:
        """The kinds of cause that do not differ; none where only one run measured the item."""
        if not (is_measured(self.before) and is_measured(self.after)):
            return ()
        differing = {cause.kind for cause in self.causes}
        return tuple(kind for kind in KINDS if kind not in differing)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs. shared: items that both have. same_numbers, moved: estimates of theirs that are equal, and that moved
    with overlapping intervals. differing: items, of those measured in both, in which each kind of cause differs.
    """

    before: Run
    after: Run
    changes: tuple[Change, ...]
    only_before: tuple[Record, ...]
    only_after: tuple[Record, ...]
    shared: int
    measured: int
    same_numbers: int
    moved: int
    differing: dict[str, int]

    @property
    def verdicts_changed(self) -> int:
        """Items whose verdict's word is another."""
        return sum(change.marks[0] != change.marks[1] for change in self.changes)


def read_side(path: Path) -> Run:
    """The run in a records file or a report folder, named by the last two parts of its path.

    Raises LedgerError for a file that is missing or not ours.
    """
    file = find_file(path)
    return gather_run(read_records(file), "/".join(file.absolute().parts[-2:]))


def compare_runs(before: Run, after: Run) -> Comparison:
    """What changed from one run to the other, the heaviest change first. Equal runs give equal comparisons."""
    one, two = ({key_of(r): r for r in reversed(sort_records(run.records))} for run in (before, after))
    pairs = [(record, two[key_of(record)]) for record in sort_records(one.values()) if key_of(record) in two]
    causes = [find_causes(*pair) for pair in pairs]
    shifts = [_find_shifts(*pair) for pair in pairs]
    changes = [
        Change(kind=kind, before=b, after=a, shifts=moved, causes=why)
        for (b, a), moved, why in zip(pairs, shifts, causes, strict=True)
        if (kind := _weigh(b, a, moved, why))
    ]
    both = [(pair, why) for pair, why in zip(pairs, causes, strict=True) if all(map(is_measured, pair))]
    moved = [shift for found in shifts for shift in found if NOTHING not in (shift.before, shift.after)]
    return Comparison(
        before=before,
        after=after,
        changes=tuple(sorted(changes, key=lambda change: list(WEIGHTS).index(change.kind))),
        only_before=tuple(sort_records(r for key, r in one.items() if key not in two)),
        only_after=tuple(sort_records(r for key, r in two.items() if key not in one)),
        shared=len(pairs),
        measured=len(both),
        same_numbers=sum(_count_estimates(*pair) for pair in pairs) - len(moved),
        moved=sum(not shift.apart for shift in moved),
        differing={kind: sum(any(c.kind == kind for c in why) for _, why in both) for kind in KINDS},
    )


def _weigh(before: Record, after: Record, shifts: Sequence[EstimateChange], causes: Sequence[Cause]) -> str | None:
    """The kind of an item's change, None where nothing about it is worth a word."""
    was, now = mark_record(before).word, mark_record(after).word
    outcomes = before.outcome, after.outcome
    alarms = [alarm for alarm in _ALARMS if (before.outcome == alarm) != (after.outcome == alarm)]
    if alarms:
        return alarms[0]
    if was != now:
        if was in _DECIDED and now in _DECIDED:
            return "reversed"
        return "decided" if was in _JUDGED and now in _JUDGED else "measured"
    if any(shift.apart for shift in shifts):
        return "apart"
    if any(cause.what == "criteria" for cause in causes):
        return "amended"
    return "outcome" if outcomes[0] != outcomes[1] else None


def _gather_estimates(record: Record) -> dict[str, CriterionRecord]:
    """A record's estimates by name: criteria that ask one estimate share its numbers."""
    return {c.estimate: c for c in reversed(record.criteria) if c.value is not None}


def _count_estimates(before: Record, after: Record) -> int:
    return len(_gather_estimates(before).keys() & _gather_estimates(after).keys())


def _find_shifts(before: Record, after: Record) -> tuple[EstimateChange, ...]:
    one, two = _gather_estimates(before), _gather_estimates(after)
    names = sorted({*one, *two})
    return tuple(shift for name in names if (shift := _shift(name, one.get(name), two.get(name))))


def _shift(name: str, before: CriterionRecord | None, after: CriterionRecord | None) -> EstimateChange | None:
    numbers = [(c.value, c.low, c.high) if c else None for c in (before, after)]
    if repr(numbers[0]) == repr(numbers[1]):  # in which NaN equals itself
        return None
    one, two = (format_interval(*n) if n else NOTHING for n in numbers)
    if one == two:
        one, two = (f"{n[0]!r} [{n[1]!r}, {n[2]!r}]" if n else NOTHING for n in numbers)
    apart = before is not None and after is not None and _are_apart(before, after)
    return EstimateChange(estimate=name, before=one, after=two, apart=apart)


def _are_apart(before: CriterionRecord, after: CriterionRecord) -> bool:
    (low, high), (other_low, other_high) = _find_ends(before), _find_ends(after)
    return high < other_low or other_high < low


def _find_ends(c: CriterionRecord) -> tuple[float, float]:
    """Its interval; the value alone where it has none."""
    assert c.value is not None
    return c.value if c.low is None else c.low, c.value if c.high is None else c.high
