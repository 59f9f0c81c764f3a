"""What the page says of a whole run: counts, changes, facts, and the first screen's table of claims and subjects."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.records import CriterionRecord, Provenance, Record, explain_part, find_headline, is_measured, key_of
from engine.report.history import date_record, read_moment
from engine.report.intervals import IntervalView, arrange_interval, fit_axis
from engine.report.models import order_models
from engine.report.standing import OWN_MODELS, STANDINGS, ClaimStanding, Standing, is_trained
from engine.report.views import ClaimView, ItemView
from engine.report.words import (
    OUTCOMES,
    STATUSES,
    SYMBOLS,
    VerdictSymbol,
    find_symbol,
    name_models,
    read_status,
    sort_records,
    write_registration,
)

MOST_MODELS = 8
"""With more measured models than this, the table of claims counts verdicts instead of showing a square a test."""


MOST_LINKED = 400
"""Measured tests up to which each square is a link of its own; of more, the claim's link leads to them."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One claim on one model. items: its tests that were measured or failed. idle: protocols that were not run."""

    items: tuple[ItemView, ...]
    idle: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A claim. document: the document's figure in words. ours: the estimate that its first verdict turns on."""

    claim: ClaimView
    cells: tuple[Cell, ...]
    counts: tuple[tuple[VerdictSymbol, int], ...]
    document: str
    ours: CriterionRecord | None


@dataclass(frozen=True, kw_only=True)
class Section:
    """Claims of one section of the document. ours: whether the suite adds them."""

    title: str
    ours: bool
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class ClaimsTable:
    """Claims × models. models: of the columns, trained ones first, by size; () where they are too many for columns.

    waiting: models of which nothing was measured. linked: whether each square is a link, which takes more room.
    """

    linked: bool
    models: tuple[str, ...]
    waiting: tuple[str, ...]
    sections: tuple[Section, ...]


def arrange_claims_table(claims: Sequence[ClaimView]) -> ClaimsTable:
    """The claims by section, the document's first."""
    records = [item.record for claim in claims for item in claim.items]
    measured = {item.record.subject for claim in claims for item in claim.items if item.has_content}
    order = order_models(records)
    models = tuple(model for model in order if model in measured)
    columns = models if len(models) <= MOST_MODELS else ()
    sections: dict[tuple[bool, str], list[Row]] = {}
    for claim in claims:
        cells: list[Cell] = []
        for model in columns:
            own = [item for item in claim.items if item.record.subject == model]
            shown = tuple(item for item in own if item.has_content)
            idle = tuple(item.record.protocol for item in own if not item.has_content)
            cells.append(Cell(items=shown, idle=idle))
        rows = claim.standing.decided or claim.standing.open
        headline = find_headline(rows[0]) if rows else None
        row = Row(
            claim=claim,
            cells=tuple(cells),
            counts=count_verdicts([claim]),
            document=claim.record.document,
            ours=headline if headline is not None and headline.value is not None else None,
        )
        sections.setdefault((claim.standing.ours, claim.record.section), []).append(row)
    return ClaimsTable(
        linked=sum(map(is_measured, records)) <= MOST_LINKED,
        models=columns,
        waiting=tuple(model for model in order if model not in measured),
        sections=tuple(
            Section(title=title, ours=ours, rows=tuple(rows))
            for (ours, title), rows in sorted(sections.items(), key=lambda pair: pair[0][0])
        ),
    )


def list_filters(claims: Sequence[ClaimView]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What the page can be filtered by: each filter's name with its values."""
    items = [item for claim in claims for item in claim.items if item.has_content]
    return (
        ("standing", tuple(dict.fromkeys(claim.standing.symbol.word for claim in claims))),
        ("verdict", tuple(dict.fromkeys(item.verdict.word for item in items))),
        ("subject", tuple(sorted({item.record.subject for item in items}))),
        ("protocol", tuple(sorted({item.record.protocol for item in items}))),
        ("section", tuple(dict.fromkeys(claim.record.section for claim in claims))),
    )


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Items that differ from an earlier run, which began at `since`. gone: items that only that run has."""

    since: str
    changed: tuple[ItemView, ...]
    new: tuple[ItemView, ...]
    gone: tuple[Record, ...]


def find_changes(claims: Sequence[ClaimView], previous: Sequence[Record]) -> Changes | None:
    """What differs from the run before; None without one."""
    if not previous:
        return None
    items = [i for c in claims for i in c.items]
    now = {key_of(i.record) for i in items}
    return Changes(
        since=max(map(date_record, previous), key=read_moment, default=""),
        changed=tuple(i for i in items if i.was is not None and (i.was != i.verdict.word or i.amended)),
        new=tuple(i for i in items if i.was is None),
        gone=tuple(r for r in sort_records(previous) if key_of(r) not in now),
    )


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """The distinct machines, commits, dates and packages behind the records, sorted.

    subjects: each with its note. cost_s: of all measurements that the records name; one that two items share counts
    twice. part: what the records leave out of their run, '' for a whole one.
    """

    machines: tuple[str, ...]
    commits: tuple[str, ...]
    measured: tuple[str, ...]
    precision: tuple[str, ...]
    packages: tuple[str, ...]
    efforts: tuple[str, ...]
    subjects: tuple[tuple[str, str], ...]
    protocols: tuple[str, ...]
    cost_s: float
    part: str


def gather_facts(records: Sequence[Record]) -> RunFacts:
    """The facts of a run, from its records."""
    known = [r.provenance for r in records if r.provenance is not None]
    moments = sorted(p.measured_at for p in known)
    ends = (moments[0], moments[-1]) if moments else ()
    return RunFacts(
        machines=_sort_distinct(f"{p.machine} ({p.named_device})" for p in known),
        commits=_sort_distinct(map(_name_commit, known)),
        measured=tuple(dict.fromkeys(map(_cut_to_minute, ends))),
        precision=_sort_distinct(f"{p.dtype}, {p.threads} thread{'' if p.threads == 1 else 's'}" for p in known),
        packages=_sort_distinct(f"{name} {version}" for p in known for name, version in p.versions.items()),
        efforts=_sort_distinct(r.effort for r in records),
        subjects=tuple(sorted({(r.subject, r.subject_note) for r in records})),
        protocols=_sort_distinct(r.protocol for r in records),
        cost_s=math.fsum(r.cost_s for r in records),
        part=explain_part(records),
    )


def _sort_distinct(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(words)))


def _name_commit(provenance: Provenance) -> str:
    return provenance.commit[:12] + (", dirty: with uncommitted changes" if provenance.dirty else "")


def _cut_to_minute(moment: str) -> str:
    """'2026-11-24 09:12' of an ISO 8601 moment; anything else as it is."""
    day, _, time = moment.partition("T")
    return f"{day} {time[:5]}" if time else moment


def count_verdicts(claims: Sequence[ClaimView]) -> tuple[tuple[VerdictSymbol, int], ...]:
    """How many items have each verdict."""
    counts = _count((item.verdict.word for claim in claims for item in claim.items), SYMBOLS)
    return tuple((find_symbol(word), count) for word, count in counts)


def count_outcomes(records: Sequence[Record]) -> tuple[tuple[str, int], ...]:
    """How many items had each of pytest's outcomes, in words."""
    counts = _count((record.outcome for record in records), OUTCOMES)
    return tuple((OUTCOMES.get(outcome, outcome), count) for outcome, count in counts)


def count_registrations(records: Sequence[Record]) -> tuple[tuple[str, int], ...]:
    """How many items have each registration status."""
    return _count((record.registration.status for record in records if record.registration), STATUSES)


def _count(words: Iterable[str], known: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """How often each word occurs: known words in their order, then the others by name."""
    counts = Counter(words)
    order = dict.fromkeys((*known, *sorted(counts)))
    return tuple((word, counts[word]) for word in order if counts[word])


def list_registrations(claim: ClaimView) -> tuple[tuple[str, int], ...]:
    """How the items of a claim are registered: each sentence once, with its number of items.

    Skipped items count only where none was measured. Records that are older than registrations say nothing.
    """
    known = [item.record.registration for item in claim.items if item.has_content]
    known = known or [item.record.registration for item in claim.items]
    return tuple(Counter(write_registration(one) for one in known if one is not None).items())


def group_unregistered(claims: Sequence[ClaimView]) -> tuple[tuple[str, tuple[ClaimView, ...]], ...]:
    """Claims with an item that is not as registered, by what it is instead, in words."""
    groups = [
        (words, tuple(claim for claim in claims if any(read_status(item.record) == status for item in claim.items)))
        for status, words in STATUSES.items()
        if status != "registered"
    ]
    return tuple((words, group) for words, group in groups if group)


def group_skipped(claims: Sequence[ClaimView]) -> tuple[tuple[str, tuple[ItemView, ...]], ...]:
    """Skipped items by their reason."""
    groups: dict[str, list[ItemView]] = {}
    for item in (i for c in claims for i in c.items if i.record.outcome == "skipped"):
        groups.setdefault(item.record.sentence, []).append(item)
    return tuple((reason, tuple(items)) for reason, items in groups.items())


_PHRASES = {
    Standing.HOLDS: ("holds", "hold"),
    Standing.IN_PART: ("holds in part", "hold in part"),
    Standing.DEPENDS: ("depends on model or protocol", "depend on model or protocol"),
    Standing.DOES_NOT_HOLD: ("does not hold", "do not hold"),
    Standing.OPEN: ("cannot be told yet", "cannot be told yet"),
    Standing.UNTESTED: ("is not tested", "are not tested"),
}


@dataclass(frozen=True, kw_only=True)
class StandingGroup:
    """The claims of one standing, each with what it rests on."""

    symbol: VerdictSymbol
    claims: tuple[tuple[ClaimView, ClaimStanding], ...]


@dataclass(frozen=True, kw_only=True)
class RollUp:
    """What a run comes to, counted in claims.

    document: whether any of the claims is one of the document's. sentence: all counts.
    warning, caveat: which models it rests on, where the document's own are not behind every claim; else ''.
    groups: of the document's claims, and of any that users add. ours: those that the suite adds, in no count.
    """

    document: bool
    sentence: str
    warning: str
    caveat: str
    groups: tuple[StandingGroup, ...]
    ours: tuple[StandingGroup, ...]


def roll_up(claims: Sequence[ClaimView]) -> RollUp | None:
    """One standing a claim, grouped and counted; None without claims."""
    found = [(claim, claim.standing) for claim in claims]
    counted = [(claim, standing) for claim, standing in found if not standing.ours]
    if not found:
        return None
    groups = _group(counted)
    phrases = [
        f"{len(group.claims)} {_PHRASES[group.claims[0][1].standing][len(group.claims) > 1]}" for group in groups
    ]
    listed = " and ".join([", ".join(phrases[:-1]), phrases[-1]] if len(phrases) > 1 else phrases)
    number = f"{len(counted)} claim{'' if len(counted) == 1 else 's'}"
    measured = [record for _, standing in counted for record in (*standing.decided, *standing.open)]
    own = not counted or all(standing.on_own_model for _, standing in counted if standing.decided or standing.open)
    models = name_models(record for record in measured if is_trained(record))
    if any(record.subject in OWN_MODELS for record in measured):
        warning = "Not every claim was measured on the document's own model."
        caveat = f"It is about trained GPT-2. The trained models that were measured: {models}."
    else:
        warning = "Not yet on the document's own model."
        caveat = (
            f"It is about trained GPT-2, which was not measured here. The trained models that were: {models or 'none'}."
        )
    return RollUp(
        document=any(re.fullmatch(r"C\d\d", claim.record.claim) for claim, _ in counted),
        sentence=f"Of {number}, {listed}." if counted else "",
        warning="" if own or not measured else warning,
        caveat="" if own or not measured else caveat,
        groups=groups,
        ours=_group([pair for pair in found if pair[1].ours]),
    )


def _group(found: Sequence[tuple[ClaimView, ClaimStanding]]) -> tuple[StandingGroup, ...]:
    groups = [
        StandingGroup(symbol=symbol, claims=tuple(pair for pair in found if pair[1].standing is standing))
        for standing, symbol in STANDINGS.items()
    ]
    return tuple(group for group in groups if group.claims)


@dataclass(frozen=True, kw_only=True)
class FigureRow:
    """One estimate that the document gives a figure for, on one model under one protocol."""

    item: ItemView
    criterion: CriterionRecord
    picture: IntervalView


def list_figures(claims: Sequence[ClaimView]) -> tuple[tuple[ClaimView, str, tuple[FigureRow, ...]], ...]:
    """What the document says beside what was measured: by claim and estimate, rows on one axis each.

    Of a claim about trained models, the trained ones alone.
    """
    found: list[tuple[ClaimView, str, tuple[FigureRow, ...]]] = []
    for claim in claims:
        about_trained = any(is_trained(item.record) for item in claim.items)
        rows: dict[str, list[tuple[ItemView, CriterionRecord]]] = {}
        for item in claim.items:
            if about_trained and not is_trained(item.record):
                continue
            for criterion in {c.estimate: c for c in item.record.criteria if c.figure is not None}.values():
                if criterion.value is not None and math.isfinite(criterion.value):
                    rows.setdefault(criterion.estimate, []).append((item, criterion))
        # One of them: that on which most verdicts turn. The others are on the claim's page.
        turned_on = {name: sum(_decides(i, c) for i, c in pairs) for name, pairs in rows.items()}
        for name in sorted(rows, key=lambda name: -turned_on[name])[:1]:
            axis = fit_axis([criterion for _, criterion in rows[name]])
            # The colour is the condition's own: a claim may fail for another one.
            pictures = [(i, c, arrange_interval([c], axis, find_symbol(c.ruling).css_class)) for i, c in rows[name]]
            drawn = tuple(FigureRow(item=i, criterion=c, picture=p) for i, c, p in pictures if p is not None)
            found.append((claim, name, drawn))
    return tuple(found)


def count_conditions(claim: ClaimView) -> int:
    """Most conditions that a measured test of the claim is judged by: the pictured one may not be what decides it."""
    return max(
        (sum(c.ruling != "" for c in item.record.criteria) for item in claim.items if item.has_content), default=0
    )


def _decides(item: ItemView, criterion: CriterionRecord) -> bool:
    """Whether the condition has the item's verdict, as far as one condition can have it."""
    return criterion.ruling == item.record.ruling or item.record.ruling == "partly supported"
