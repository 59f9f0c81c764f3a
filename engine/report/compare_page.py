"""A comparison in words: sentences for both, lines for the terminal, one page that opens offline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from engine.records import Record, is_measured
from engine.report.causes import KINDS
from engine.report.compare import WEIGHTS, Change, Comparison
from engine.report.history import Run
from engine.report.marks import mark_record
from engine.report.pages import render_page, write_page
from engine.text import write_plain

PAGE = "compare.html"


def render_comparison(comparison: Comparison) -> str:
    """One self-contained page without a script: equal comparisons give equal bytes."""
    return render_page(
        "compare.html.j2",
        comparison=comparison,
        sides=[
            ("A", comparison.before, describe_run(comparison.before)),
            ("B", comparison.after, describe_run(comparison.after)),
        ],
        groups=[(words, [c for c in comparison.changes if c.kind == kind]) for kind, words in WEIGHTS.items()],
        only=[("A", _sort_measured(comparison.only_before)), ("B", _sort_measured(comparison.only_after))],
        changed=describe_changes(comparison),
        equal=describe_equal(comparison),
        marked=mark_record,
        measured=is_measured,
    )


def write_comparison(comparison: Comparison, folder: Path) -> Path:
    """Write compare.html, whole or not at all. Raises LedgerError when the folder cannot be written."""
    return write_page(render_comparison(comparison), folder / PAGE)


def describe_run(run: Run) -> str:
    """How many items a run has, and which session it is."""
    measured = sum(map(is_measured, run.records))
    session = f"; {run.began}, commit {run.commit[:12]}{', dirty' if run.dirty else ''}" if run.began else ""
    return f"{_count(len(run.records), 'item')}, {measured} measured{session}"


def describe_changes(comparison: Comparison) -> str:
    """What changed, counted, or that nothing did."""
    counts = Counter(change.kind for change in comparison.changes)
    words = [f"{_count(counts[kind], 'item')} {what}" for kind, what in WEIGHTS.items() if counts[kind]]
    sides = (("A", comparison.only_before), ("B", comparison.only_after))
    words += [f"{_count(len(only), 'item')} only in {side}" for side, only in sides if only]
    if words:
        return f"{_join(words)}."
    if not comparison.shared:
        return "Neither run has an item."
    return f"Nothing changed: {_all(comparison.shared, 'item')} of both runs came to the same verdict."


def describe_equal(comparison: Comparison) -> str:
    """What is equal, in a sentence or two."""
    c = comparison
    if not c.shared:
        return "No item is in both."
    sentences = [f"{c.shared - c.verdicts_changed} of {_count(c.shared, 'item')} in both have the same verdict."]
    if c.same_numbers or c.moved:
        sentences.append(
            f"Of their estimates, {c.same_numbers} are equal and {c.moved} moved within overlapping intervals."
        )
    if c.measured:
        equal = [kind for kind in KINDS if not c.differing[kind]]
        other = [f"{kind} in {count}" for kind, count in c.differing.items() if count]
        words = [f"{_join(equal)} the same throughout"] if equal else []
        words += [f"differences of {_join(other)}"] if other else []
        sentences.append(f"Of the {_count(c.measured, 'item')} measured in both: {'; '.join(words)}.")
    return " ".join(sentences)


def write_lines(comparison: Comparison) -> list[str]:
    """The comparison for a terminal: visible characters only, whatever the records hold."""
    sides = (("A", comparison.before), ("B", comparison.after))
    lines = [f"{side}  {run.source}: {describe_run(run)}" for side, run in sides]
    lines += [describe_changes(comparison), describe_equal(comparison)]
    for change in comparison.changes:
        lines += ["", *_write_change(change)]
    for side, only in (("A", comparison.only_before), ("B", comparison.only_after)):
        if only:
            lines += ["", *_write_only(side, only)]
    return [write_plain(line, 1200) for line in lines]


def _write_change(change: Change) -> list[str]:
    was, now = change.marks
    words = f"{was.word} → {now.word}" if was != now else f"{now.word}, {WEIGHTS[change.kind]}"
    outcomes = (change.before.outcome, change.after.outcome)
    told = f" ({' → '.join(outcomes)})" if change.kind in ("drift", "outcome") else ""
    lines = [f"{_name(change.after)}: {words}{told}"]
    for shift in change.shifts:
        lines.append(f"    {shift.estimate}: {shift.before} → {shift.after}{'; no overlap' if shift.apart else ''}")
    for side, record in (("A", change.before), ("B", change.after)):
        if was != now and not is_measured(record):
            lines.append(f"    {side}: {write_plain(record.sentence)}")
    for cause in change.causes:
        lines.append(f"    {cause.kind.upper():<9}  {cause.what}: {_shorten(cause.before)} → {_shorten(cause.after)}")
    if change.equal:
        lines.append(f"    equal: {', '.join(kind.upper() for kind in change.equal)}")
    return lines


def _write_only(side: str, records: Sequence[Record]) -> list[str]:
    measured = [record for record in records if is_measured(record)]
    lines = [f"only in {side}: {_name(record)}: {mark_record(record).word}" for record in measured]
    if rest := len(records) - len(measured):
        lines.append(f"only in {side}: {_count(rest, 'item')} that {'was' if rest == 1 else 'were'} not measured")
    return lines


def _sort_measured(records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=lambda record: not is_measured(record))


def _shorten(text: str) -> str:
    return write_plain(text, 160)


def _name(record: Record) -> str:
    return f"{record.claim}  {write_plain(record.subject, 80)} · {write_plain(record.protocol, 40)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _all(number: int, noun: str) -> str:
    return f"the one {noun}" if number == 1 else f"all {number} {noun}s"


def _join(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
