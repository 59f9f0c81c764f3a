"""What the page shows of each claim and item, arranged from records."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from engine.records import SENSITIVITY, CriterionRecord, Record, Table, find_headline, is_measured, key_of
from engine.report.answers import write_answer
from engine.report.charts import ChartView, draw_charts
from engine.report.charts.panels import Row, finite, read_rows
from engine.report.charts.vega import Render, render_inline
from engine.report.history import Run, trend_table
from engine.report.intervals import Axis, IntervalView, arrange_interval, fit_axis
from engine.report.specification import Specification, arrange_specification
from engine.report.standing import DECISIVE, ClaimStanding, find_standing, is_trained
from engine.report.token_film import FilmsView, arrange_films
from engine.report.words import VerdictSymbol, find_record_symbol, find_symbol, sort_records

FILMED_ITEMS = 12
"""Items of a claim whose decoded tokens the page shows; those of the others are only in records.jsonl."""

MANY_ITEMS = 24
"""With more measured items than these, a claim's page has one line for each: with tables for each it would be long."""


@dataclass(frozen=True, kw_only=True)
class FindingView:
    """A criterion with its verdict and picture."""

    record: CriterionRecord
    verdict: VerdictSymbol
    picture: IntervalView | None


@dataclass(frozen=True, kw_only=True)
class ItemView:
    """An item with its anchor, verdict and drawings.

    line: of its record in the sorted records, from 1. picture: of its headline estimate. was: its verdict's word in
    the run before, None where that run lacks the item. amended: whether its criteria differ from that run's.
    """

    record: Record
    line: int
    anchor: str
    verdict: VerdictSymbol
    headline: CriterionRecord | None
    picture: IntervalView | None
    findings: tuple[FindingView, ...]
    films: FilmsView | None
    specification: Specification | None
    was: str | None
    amended: bool

    @property
    def has_content(self) -> bool:
        """Whether it has an estimate, a measurement or an error to show, not only a reason why it has none."""
        estimated = any(c.value is not None for c in self.record.criteria)
        return estimated or bool(self.record.arms) or self.record.outcome == "error"

    @property
    def pictured(self) -> tuple[FindingView, ...]:
        """The criteria with an estimate that can be drawn."""
        return tuple(f for f in self.findings if f.picture and f.record.value is not None)

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables of raw numbers: all but those that the page shows elsewhere."""
        return tuple(t for t in self.record.tables if t.kind not in ("film", SENSITIVITY))

    @property
    def variants(self) -> tuple[Table, ...]:
        """How the verdict changes when one choice of the experiment is made otherwise."""
        return tuple(t for t in self.record.tables if t.kind == SENSITIVITY)


@dataclass(frozen=True, kw_only=True)
class SeeAlsoView:
    """Where another claim says more. figures: what its searches recovered, in words."""

    words: str
    claim: str
    view: ClaimView
    figures: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class HeroView:
    """One estimate on every model and under every protocol where a verdict turns on it."""

    estimate: str
    axis: Axis
    items: tuple[ItemView, ...]


@dataclass(frozen=True, kw_only=True)
class ClaimView:
    """A claim with its items and charts.

    record: of the first item. criteria: of all items, each once. heroes: for each estimate that a verdict turns on, its
    readings on one axis.
    """

    record: Record
    anchor: str
    criteria: tuple[CriterionRecord, ...]
    items: tuple[ItemView, ...]
    charts: tuple[ChartView, ...]
    standing: ClaimStanding
    heroes: tuple[HeroView, ...] = ()
    see_also: SeeAlsoView | None = None

    @property
    def question(self) -> str:
        """Its heading: the question, or the statement where a record has none."""
        return self.record.question or self.record.statement

    @property
    def answer(self) -> tuple[str, str]:
        return write_answer(self.standing)

    @property
    def specifications(self) -> tuple[Specification, ...]:
        """What other set-ups make of its verdicts, decided ones first."""
        found = [item.specification for item in self.items if item.specification]
        return tuple(sorted(found, key=lambda spec: spec.record.ruling not in DECISIVE))

    @property
    def first_row(self) -> Record:
        """The row that its standing rests on first; the first of all where none was measured."""
        return next(iter((*self.standing.decided, *self.standing.open)), self.record)

    @property
    def condensed(self) -> bool:
        """Whether its items have a line each."""
        return are_many([item.record for item in self.items])

    @property
    def idle(self) -> int:
        """How many of its items have nothing to show but a reason."""
        return sum(not item.has_content for item in self.items)


_PAGE_IDS = (
    "estimates",  # the data of a whole run lie beside those of each claim
    *("top", "main", "overview", "findings", "task", "ours", "models", "how", "data", "about-run"),
    "filters",
    "shown",
    "matrix",
    "how-to-read",
    "figures",
    "claims",
    "skipped",
    "changes",
    "theme",
)
"""Ids that the page itself uses: a claim of that name gets another."""


class _Anchors:
    """Ids that a link can name, each given once."""

    def __init__(self) -> None:
        self._given: Counter[str] = Counter(_PAGE_IDS)

    def name(self, *parts: str) -> str:
        words = (re.sub(r"[^A-Za-z0-9.]+", "-", p[:60]).strip("-.") for p in parts)
        base = "_".join(w or "x" for w in words)
        # Pages are named by them, and to some file systems two names that differ in case alone are one.
        self._given[base.casefold()] += 1
        count = self._given[base.casefold()]
        return base if count == 1 else f"{base}_{count}"


def are_many(records: Sequence[Record]) -> bool:
    """Whether a claim has more measured items than its page shows one by one."""
    return sum(map(is_measured, records)) > MANY_ITEMS


def arrange_claims(
    records: Sequence[Record],
    previous: Sequence[Record] = (),
    history: Sequence[Run] = (),
    render: Render = render_inline,
) -> tuple[ClaimView, ...]:
    """One view per claim, in the natural order of their ids. render: draws their charts.

    The items of a claim with more than MANY_ITEMS measured ones come without films.
    """
    anchors, before = _Anchors(), {key_of(r): r for r in previous}
    claims: dict[str, list[tuple[int, Record]]] = {}
    for line, record in enumerate(sort_records(records), 1):
        claims.setdefault(record.claim, []).append((line, record))
    views: list[ClaimView] = []
    for lines in claims.values():
        own = [record for _, record in lines]
        drawn = not are_many(own)
        # All items of a claim share one axis per estimate, so that pictures above each other can be compared.
        by_estimate: dict[str, list[CriterionRecord]] = {}
        for criterion in (c for record in own for c in record.criteria):
            by_estimate.setdefault(criterion.estimate, []).append(criterion)
        axes = {name: fit_axis(criteria) for name, criteria in by_estimate.items()}
        filmed = [line for line, record in lines if any(t.kind == "film" for t in record.tables)][:FILMED_ITEMS]
        anchor, trend = anchors.name(own[0].claim), trend_table(own, history)
        items: list[ItemView] = []
        for line, record in lines:
            films = arrange_films(record) if drawn and line in filmed else None
            items.append(_arrange_item(record, line, anchors.name(*key_of(record)), axes, films, before))
        views.append(
            ClaimView(
                record=own[0],
                anchor=anchor,
                standing=find_standing(own),
                heroes=_arrange_heroes(items, axes),
                criteria=tuple({(c.text, c.role, c.because): c for r in own for c in r.criteria}.values()),
                items=tuple(items),
                charts=draw_charts(own, anchor, (trend,) if trend else (), render),
            )
        )
    return tuple(replace(view, see_also=_find_see_also(view.record, views)) for view in views)


def _arrange_item(
    record: Record,
    line: int,
    anchor: str,
    axes: dict[str, Axis | None],
    films: FilmsView | None,
    previous: dict[tuple[str, str, str], Record],
) -> ItemView:
    verdict, headline, before = find_record_symbol(record), find_headline(record), previous.get(key_of(record))
    findings: list[FindingView] = []
    for c in record.criteria:
        own = find_symbol(c.ruling)
        picture = arrange_interval([c], axes[c.estimate], own.css_class)
        findings.append(FindingView(record=c, verdict=own, picture=picture))
    # The picture of the first screen holds the headline against every criterion that asks for its estimate.
    picture = None
    if headline:
        asking = [c for c in record.criteria if c.estimate == headline.estimate]
        picture = arrange_interval(asking, axes[headline.estimate], verdict.css_class)
    asked = {c.text for c in before.criteria} if before else set[str]()
    return ItemView(
        record=record,
        line=line,
        anchor=anchor,
        verdict=verdict,
        headline=headline,
        picture=picture,
        findings=tuple(findings),
        films=films,
        specification=arrange_specification(record),
        was=None if before is None else find_record_symbol(before).word,
        amended=bool(asked and record.criteria) and asked != {c.text for c in record.criteria},
    )


def _arrange_heroes(items: Sequence[ItemView], axes: dict[str, Axis | None]) -> tuple[HeroView, ...]:
    groups: dict[str, list[ItemView]] = {}
    for item in items:
        if item.picture and item.headline and item.headline.value is not None and item.record.ruling:
            groups.setdefault(item.headline.estimate, []).append(item)
    return tuple(
        HeroView(estimate=name, axis=axis, items=tuple(sorted(own, key=_rank)))
        for name, own in groups.items()
        if (axis := axes[name]) is not None
    )


def _rank(item: ItemView) -> tuple[bool, int, str]:
    """Trained models first, then by size."""
    return not is_trained(item.record), item.record.parameters or 0, item.record.subject


def _find_see_also(record: Record, views: Sequence[ClaimView]) -> SeeAlsoView | None:
    """The claim that says more, as this record names it; None where it names none or that is not on the page."""
    if record.beyond is None:
        return None
    other = next((view for view in views if view.record.claim == record.beyond.claim), None)
    if other is None:
        return None
    figures = tuple(figure for item in other.items for figure in count_recoveries(item.record))
    return SeeAlsoView(words=record.beyond.words, claim=record.beyond.claim, view=other, figures=figures)


def count_recoveries(record: Record) -> Iterator[str]:
    """In words, for each group of searches: how many prompts the first and the best search recovered exactly."""
    for group, *ends, prompts in count_exact(record):
        counts = [f"{name}: {exact} of {prompts} prompts exactly" for name, exact in ends]
        yield f"{record.subject}, {group}. {'; '.join(counts)}."


def count_exact(record: Record) -> Iterator[tuple[str, tuple[str, int], tuple[str, int], int]]:
    """For each group of searches: the first and the best one with their exact prompts, and how many prompts both had.

    Groups whose ends have different numbers of prompts are left out, as are those of a single search.
    """
    for table in (t for t in record.tables if t.kind == "searches"):
        groups: dict[str, list[tuple[float, Row]]] = {}
        for row in read_rows(table):
            rate = finite(row.get("exact rate"))
            if rate is not None and row.get("search") is not None:
                groups.setdefault(str(row.get("group")), []).append((rate, row))
        for group, rated in groups.items():
            if len(rated) < 2:  # nothing to compare
                continue
            ends = (rated[0], max(rated, key=lambda pair: pair[0]))
            one, two = (round(finite(row.get("prompts")) or 0) for _, row in ends)
            if one == two and one:
                first, best = ((str(row["search"]), round(rate * one)) for rate, row in ends)
                yield group, first, best, one
