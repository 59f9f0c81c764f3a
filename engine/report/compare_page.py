"""A comparison in words: in sentences, in lines for the terminal, and on one page that opens offline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from engine.errors import say_count
from engine.records import Record, is_measured
from engine.report.causes import KINDS
from engine.report.compare import WEIGHTS, Comparison
from engine.report.history import Run
from engine.report.pages import render_page, write_page
from engine.report.words import find_record_symbol
from engine.text import write_plain

PAGE = "runs.html"


def render_comparison(comparison: Comparison) -> str:
    """One self-contained page without a script: equal comparisons give equal bytes."""
    sides = (("A", comparison.before), ("B", comparison.after))
    only = (("A", comparison.only_before), ("B", comparison.only_after))
    return render_page(
        "runs.html.j2",
        sides=[(side, run, describe_run(run)) for side, run in sides],
        groups=[(words, [c for c in comparison.changes if c.kind == kind]) for kind, words in WEIGHTS.items()],
        only=[(side, sorted(records, key=lambda record: not is_measured(record))) for side, records in only],
        changed=describe_changes(comparison),
        equal=describe_equal(comparison),
        find_symbol=find_record_symbol,
        measured=is_measured,
    )


def write_comparison(comparison: Comparison, folder: Path) -> Path:
    """Write runs.html, whole or not at all. Raises LedgerError when the folder cannot be written."""
    return write_page(render_comparison(comparison), folder / PAGE)


def describe_run(run: Run) -> str:
    """How many items a run has, and which session it is."""
    measured = sum(map(is_measured, run.records))
    session = f"; {run.began}, commit {run.commit[:12]}{', dirty' if run.dirty else ''}" if run.began else ""
    return f"{say_count(len(run.records), 'item')}, {measured} measured{session}"


def describe_changes(comparison: Comparison) -> str:
    """The number of changes of each kind, or that nothing changed."""
    counts = Counter(change.kind for change in comparison.changes)
    words = [f"{say_count(counts[kind], 'item')} {what}" for kind, what in WEIGHTS.items() if counts[kind]]
    sides = (("A", comparison.only_before), ("B", comparison.only_after))
    words += [f"{say_count(len(only), 'item')} only in {side}" for side, only in sides if only]
    if words:
        return f"{_join(words)}."
    if not comparison.shared:
        return "Neither run has an item."
    items = "the one item" if comparison.shared == 1 else f"all {comparison.shared} items"
    return f"Nothing changed: {items} of both runs came to the same verdict."


def describe_equal(comparison: Comparison) -> str:
    """What is equal, in a sentence or two."""
    c = comparison
    if not c.shared:
        return "No item is in both."
    sentences = [f"{c.shared - c.verdicts_changed} of {say_count(c.shared, 'item')} in both have the same verdict."]
    if c.same_numbers or c.moved:
        sentences.append(
            f"Of their estimates, {c.same_numbers} are equal and {c.moved} moved within overlapping intervals."
        )
    if c.measured:
        equal = [kind for kind in KINDS if not c.differing[kind]]
        other = [f"{kind} in {count}" for kind, count in c.differing.items() if count]
        words = [f"{_join(equal)} the same throughout"] if equal else []
        words += [f"differences of {_join(other)}"] if other else []
        sentences.append(f"Of the {say_count(c.measured, 'item')} measured in both: {'; '.join(words)}.")
    return " ".join(sentences)


def write_lines(comparison: Comparison) -> list[str]:
    """The comparison for a terminal: visible characters only, whatever the records hold."""
    sides = (("A", comparison.before), ("B", comparison.after))
    lines = [f"{side}  {run.source}: {describe_run(run)}" for side, run in sides]
    lines += [describe_changes(comparison), describe_equal(comparison)]
    for change in comparison.changes:
        was, now = change.verdicts
        verdicts = f"{was.word} → {now.word}" if was != now else f"{now.word}, {WEIGHTS[change.kind]}"
        outcomes = f" ({change.before.outcome} → {change.after.outcome})"
        lines += ["", f"{_name(change.after)}: {verdicts}{outcomes if change.kind in ('drift', 'outcome') else ''}"]
        for estimate in change.estimates:
            overlap = "; no overlap" if estimate.disjoint else ""
            lines.append(f"    {estimate.name}: {estimate.before} → {estimate.after}{overlap}")
        for side, record in (("A", change.before), ("B", change.after)):
            if was != now and not is_measured(record):
                lines.append(f"    {side}: {write_plain(record.sentence)}")
        for cause in change.causes:
            old, new = write_plain(cause.before, 160), write_plain(cause.after, 160)
            lines.append(f"    {cause.kind.upper():<9}  {cause.what}: {old} → {new}")
        if change.equal:
            lines.append(f"    equal: {', '.join(kind.upper() for kind in change.equal)}")
    for side, only in (("A", comparison.only_before), ("B", comparison.only_after)):
        measured = [record for record in only if is_measured(record)]
        if only:
            lines.append("")
        lines += [f"only in {side}: {_name(record)}: {find_record_symbol(record).word}" for record in measured]
        if rest := len(only) - len(measured):
            verb = "was" if rest == 1 else "were"
            lines.append(f"only in {side}: {say_count(rest, 'item')} that {verb} not measured")
    return [write_plain(line, 1200) for line in lines]


def _name(record: Record) -> str:
    return f"{record.claim}  {write_plain(record.subject, 80)} · {write_plain(record.protocol, 40)}"


def _join(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
