"""Two runs side by side: what came out differently, what may be the reason, and what is equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.records import CriterionRecord, Record, is_measured, key_of, read_records
from engine.report.causes import KINDS, NOTHING, Cause, find_causes
from engine.report.history import Run, find_records_file, gather_run
from engine.report.words import VerdictSymbol, find_record_symbol, sort_records
from engine.text import format_interval

WEIGHTS = {
    "drift": "contrary to the record",
    "error": "in error",
    "reversed": "with another verdict",
    "decided": "decided in one run and not in the other",
    "measured": "with a verdict in one run only",
    "disjoint": "with the same verdict, from intervals that do not overlap",
    "amended": "under amended criteria",
    "outcome": "with the same verdict and another outcome",
}
"""Kinds of change, the heaviest first, in words that follow a number of items."""

_DECIDED = ("supported", "partly supported", "refuted")
_JUDGED = (*_DECIDED, "inconclusive")


@dataclass(frozen=True, kw_only=True)
class EstimateChange:
    """An estimate that differs between the runs. disjoint: its intervals have no point in common."""

    name: str
    before: str
    after: str
    disjoint: bool


@dataclass(frozen=True, kw_only=True)
class Change:
    """An item that came out differently. kind: one of WEIGHTS."""

    kind: str
    before: Record
    after: Record
    estimates: tuple[EstimateChange, ...]
    causes: tuple[Cause, ...]

    @property
    def verdicts(self) -> tuple[VerdictSymbol, VerdictSymbol]:
        return find_record_symbol(self.before), find_record_symbol(self.after)

    @property
    def equal(self) -> tuple[str, ...]:
        """The kinds of cause that do not differ; none where only one run measured the item."""
        if not (is_measured(self.before) and is_measured(self.after)):
            return ()
        differing = {cause.kind for cause in self.causes}
        return tuple(kind for kind in KINDS if kind not in differing)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs. shared, measured: how many items both have, and both measured.

    same_numbers, moved: estimates of shared items that are equal, and that moved within overlapping intervals.
    differing: for each kind of cause, the number of items measured in both in which it differs. verdicts_changed:
    shared items with another verdict.
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
        return sum(change.verdicts[0] != change.verdicts[1] for change in self.changes)


def read_side(path: Path) -> Run:
    """The run in a records file or a report folder, named by the last two parts of its path.

    Raises LedgerError for a file that is missing or holds no records.
    """
    file = find_records_file(path)
    return gather_run(read_records(file), "/".join(file.absolute().parts[-2:]))


def compare_runs(before: Run, after: Run) -> Comparison:
    """What changed from one run to the other, the heaviest change first. Equal runs give equal comparisons."""
    # Of records that share a key, the first in sorted order counts.
    one, two = ({key_of(r): r for r in reversed(sort_records(run.records))} for run in (before, after))
    shared = [(old, two[key_of(old)]) for old in sort_records(one.values()) if key_of(old) in two]
    changes: list[Change] = []
    measured = same_numbers = moved = 0
    differing: dict[str, int] = dict.fromkeys(KINDS, 0)
    for old, new in shared:
        causes = find_causes(old, new)
        if is_measured(old) and is_measured(new):
            measured += 1
            for kind in {cause.kind for cause in causes}:
                differing[kind] += 1
        # Criteria that ask for one estimate share its numbers, so the first of each name speaks for all.
        olds, news = ({c.estimate: c for c in reversed(r.criteria) if c.value is not None} for r in (old, new))
        estimates: list[EstimateChange] = []
        for name in sorted({*olds, *news}):
            change = _compare_estimates(name, olds.get(name), news.get(name))
            if change is not None:
                estimates.append(change)
            if name in olds and name in news:
                same_numbers += change is None
                moved += change is not None and not change.disjoint
        if kind := _weigh(old, new, estimates, causes):
            changes.append(Change(kind=kind, before=old, after=new, estimates=tuple(estimates), causes=causes))
    return Comparison(
        before=before,
        after=after,
        changes=tuple(sorted(changes, key=lambda change: list(WEIGHTS).index(change.kind))),
        only_before=tuple(sort_records(r for key, r in one.items() if key not in two)),
        only_after=tuple(sort_records(r for key, r in two.items() if key not in one)),
        shared=len(shared),
        measured=measured,
        same_numbers=same_numbers,
        moved=moved,
        differing=differing,
    )


def _compare_estimates(name: str, old: CriterionRecord | None, new: CriterionRecord | None) -> EstimateChange | None:
    """None where both runs have the same numbers."""
    numbers = [(c.value, c.low, c.high) if c else None for c in (old, new)]
    if repr(numbers[0]) == repr(numbers[1]):  # unlike ==, this finds NaN equal to itself
        return None
    one, two = (format_interval(*n) if n else NOTHING for n in numbers)
    if one == two:  # numbers that round to the same are shown whole
        one, two = (f"{n[0]!r} [{n[1]!r}, {n[2]!r}]" if n else NOTHING for n in numbers)
    disjoint = False
    if old and new:
        # Without an interval nothing says how far a number may move by itself, as in its last digits.
        low, high, other_low, other_high = old.low, old.high, new.low, new.high
        if low is not None and high is not None and other_low is not None and other_high is not None:
            disjoint = high < other_low or other_high < low
    return EstimateChange(name=name, before=one, after=two, disjoint=disjoint)


def _weigh(before: Record, after: Record, estimates: Sequence[EstimateChange], causes: Sequence[Cause]) -> str | None:
    """The kind of an item's change; None where nothing about it is worth a line."""
    for alarm in ("drift", "error"):
        if (before.outcome == alarm) != (after.outcome == alarm):
            return alarm
    was, now = find_record_symbol(before).word, find_record_symbol(after).word
    if was != now:
        if was in _DECIDED and now in _DECIDED:
            return "reversed"
        return "decided" if was in _JUDGED and now in _JUDGED else "measured"
    if any(estimate.disjoint for estimate in estimates):
        return "disjoint"
    if any(cause.what == "criteria" for cause in causes):
        return "amended"
    return "outcome" if before.outcome != after.outcome else None
