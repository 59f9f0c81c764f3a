"""What the page shows, arranged from records: claims in order, items in order, the words of each verdict."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from engine.records import SENSITIVITY, CriterionRecord, Record, Table, find_headline, key_of
from engine.report.charts import ChartView, draw_charts
from engine.report.charts.panels import Row, finite, read_rows
from engine.report.charts.vega import Render, render_inline
from engine.report.history import Run, date_record, read_moment, trend_table
from engine.report.intervals import Scale, draw, draw_small, fit_scale
from engine.report.marks import MARKS, OUTCOMES, VerdictSymbol, find_mark, mark_record, sort_records
from engine.report.token_film import draw_films

FILMED_ITEMS = 12
"""Items of a claim whose decoded tokens the page shows; those of the others are in records.jsonl alone."""


MANY_ITEMS = 1500
"""Beyond these a page holds a line for each item: with a drawing and tables for each, browsers take long to open it."""


@dataclass(frozen=True, kw_only=True)
class FindingView:
    """A criterion with its mark and drawing."""

    record: CriterionRecord
    mark: VerdictSymbol
    picture: Markup


@dataclass(frozen=True, kw_only=True)
class ItemView:
    """An item with its anchor, its verdict and drawings.

    line: where its record stands in the sorted records, from 1. was: the verdict's word in the run before.
    """

    record: Record
    line: int
    anchor: str
    mark: VerdictSymbol
    headline: CriterionRecord | None
    small: Markup
    findings: tuple[FindingView, ...]
    films: Markup
    was: str | None
    amended: bool

    @property
    def has_content(self) -> bool:
        """Whether there is more to tell than why there is nothing: an estimate, a measurement or an error."""
        estimated = any(c.value is not None for c in self.record.criteria)
        return estimated or bool(self.record.arms) or self.record.outcome == "error"

    @property
    def pictured(self) -> bool:
        """Whether any of its criteria could be drawn."""
        return any(f.picture and f.record.value is not None for f in self.findings)

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables behind it that say more than the page says elsewhere."""
        return tuple(t for t in self.record.tables if t.kind not in ("film", SENSITIVITY))

    @property
    def variants(self) -> tuple[Table, ...]:
        """What becomes of the verdict when one choice of the experiment is made otherwise."""
        return tuple(t for t in self.record.tables if t.kind == SENSITIVITY)


@dataclass(frozen=True, kw_only=True)
class SeeAlsoView:
    """What another claim on the page adds. figures: its searches' counts, in words."""

    words: str
    claim: str
    anchor: str
    figures: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ClaimView:
    """A claim with its items and charts; criteria: the conditions that its items share."""

    record: Record
    anchor: str
    criteria: tuple[CriterionRecord, ...]
    items: tuple[ItemView, ...]
    charts: tuple[ChartView, ...]
    beyond: SeeAlsoView | None = None

    @property
    def asks(self) -> str:
        """Its conditions in a line."""
        return "; ".join(dict.fromkeys(c.text for c in self.criteria))

    @property
    def skipped(self) -> int:
        return sum(item.record.outcome == "skipped" for item in self.items)

    @property
    def tally(self) -> tuple[tuple[VerdictSymbol, int], ...]:
        """How many of its items carry each mark."""
        return count_marks([self])


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Items that differ from an earlier run, which began at `since`. gone: those that only it had."""

    since: str
    changed: tuple[ItemView, ...]
    new: tuple[ItemView, ...]
    gone: tuple[Record, ...]


_OWN_IDS = ("top", "overview", "filters", "shown", "matrix", "how-to-read", "claims", "skipped", "changes", "theme")
"""What the page itself is linked and styled by: a claim of that name gets another."""


class _Anchors:
    """Ids that a link can name, each given once."""

    def __init__(self) -> None:
        self._given: Counter[str] = Counter(_OWN_IDS)

    def name(self, *parts: str) -> str:
        words = (re.sub(r"[^A-Za-z0-9.]+", "-", p[:60]).strip("-.") for p in parts)
        base = "_".join(w or "x" for w in words)
        self._given[base] += 1
        return base if self._given[base] == 1 else f"{base}_{self._given[base]}"


def are_many(records: Sequence[Record]) -> bool:
    """Whether there are more items than a page can draw one by one."""
    return len(records) > MANY_ITEMS


def arrange_claims(
    records: Sequence[Record],
    previous: Sequence[Record] = (),
    history: Sequence[Run] = (),
    render: Render = render_inline,
) -> tuple[ClaimView, ...]:
    """One view per claim, in the natural order of their ids. render: draws their charts.

    The items of more than MANY_ITEMS records come without drawings and films of their own.
    """
    anchors, before = _Anchors(), {key_of(r): r for r in previous}
    groups: dict[str, list[tuple[int, Record]]] = {}
    for line, record in enumerate(sort_records(records), 1):
        groups.setdefault(record.claim, []).append((line, record))
    drawn = not are_many(records)
    views = [_arrange_claim(group, anchors, before, history, render, drawn=drawn) for group in groups.values()]
    return tuple(replace(view, beyond=find_see_also(view.record, views)) for view in views)


def find_see_also(record: Record, views: Sequence[ClaimView]) -> SeeAlsoView | None:
    """What another claim on the page adds to this one; None where it names none or that is not on the page."""
    if record.beyond is None:
        return None
    other = next((view for view in views if view.record.claim == record.beyond.claim), None)
    if other is None:
        return None
    figures = tuple(figure for item in other.items for figure in count_recoveries(item.record))
    return SeeAlsoView(words=record.beyond.words, claim=record.beyond.claim, anchor=other.anchor, figures=figures)


def count_recoveries(record: Record) -> list[str]:
    """Of each group of searches, how many prompts the first and the best recovered, in words."""
    found: list[str] = []
    for table in (t for t in record.tables if t.kind == "searches"):
        groups: dict[str, list[Row]] = {}
        for row in read_rows(table):
            groups.setdefault(str(row.get("group")), []).append(row)
        for group, rows in groups.items():
            rated = [(rate, row) for row in rows if (rate := finite(row.get("exact rate"))) is not None]
            if len(rated) > 1:
                best = max(rated, key=lambda pair: pair[0])
                ends = "; ".join(f"{row['search']}: {_count(row, rate)}" for rate, row in (rated[0], best))
                found.append(f"{record.subject}, {group}. {ends}.")
    return found


def _count(row: Row, rate: float) -> str:
    prompts = finite(row.get("prompts")) or 0
    return f"{round(rate * prompts)} of {round(prompts)} prompts exactly"


def _arrange_claim(
    group: Sequence[tuple[int, Record]],
    anchors: _Anchors,
    before: dict[tuple[str, str, str], Record],
    history: Sequence[Run],
    render: Render,
    *,
    drawn: bool,
) -> ClaimView:
    # One axis per estimate for all items of a claim: drawings that stand above each other can be compared.
    records = [record for _, record in group]
    by_estimate: dict[str, list[CriterionRecord]] = {}
    for criterion in (c for record in records for c in record.criteria):
        by_estimate.setdefault(criterion.estimate, []).append(criterion)
    scales = {name: fit_scale(criteria) if drawn else None for name, criteria in by_estimate.items()}
    shared = {(c.text, c.role, c.because): c for record in records for c in record.criteria}
    anchor = anchors.name(records[0].claim)
    trend = trend_table(records, history)
    filmed = [line for line, r in group if any(t.kind == "film" for t in r.tables)]
    filmed = filmed[:FILMED_ITEMS] if drawn else []
    return ClaimView(
        record=records[0],
        anchor=anchor,
        criteria=tuple(shared.values()),
        items=tuple(
            _arrange_item(line, r, anchors, scales, before.get(key_of(r)), filmed=line in filmed) for line, r in group
        ),
        charts=draw_charts(records, anchor, (trend,) if trend else (), render),
    )


def _arrange_item(
    line: int,
    record: Record,
    anchors: _Anchors,
    scales: dict[str, Scale | None],
    before: Record | None,
    *,
    filmed: bool,
) -> ItemView:
    headline = find_headline(record)
    marks = [find_mark(c.ruling) for c in record.criteria]
    findings = tuple(
        FindingView(record=c, mark=m, picture=draw(c, scales[c.estimate], kind=m.kind))
        for c, m in zip(record.criteria, marks, strict=True)
    )
    asked_of_it = [c for c in record.criteria if headline and c.estimate == headline.estimate]
    mark = mark_record(record)
    asked = {c.text for c in before.criteria} if before else set[str]()
    return ItemView(
        record=record,
        line=line,
        anchor=anchors.name(*key_of(record)),
        mark=mark,
        headline=headline,
        small=draw_small(asked_of_it, scales[headline.estimate], kind=mark.kind) if headline else Markup(),
        findings=findings,
        films=draw_films(record) if filmed else Markup(),
        was=None if before is None else mark_record(before).word,
        amended=bool(asked and record.criteria) and asked != {c.text for c in record.criteria},
    )


def find_changes(claims: Sequence[ClaimView], previous: Sequence[Record]) -> Changes | None:
    """What differs from the run before; None without one."""
    if not previous:
        return None
    items = [i for c in claims for i in c.items]
    now = {key_of(i.record) for i in items}
    return Changes(
        since=max(map(date_record, previous), key=read_moment, default=""),
        changed=tuple(i for i in items if i.was is not None and (i.was != i.mark.word or i.amended)),
        new=tuple(i for i in items if i.was is None),
        gone=tuple(r for r in sort_records(previous) if key_of(r) not in now),
    )


def count_marks(claims: Sequence[ClaimView]) -> tuple[tuple[VerdictSymbol, int], ...]:
    """How many items carry each mark, in the order of MARKS and without zeros."""
    counts = Counter(item.mark for claim in claims for item in claim.items)
    known = [m for m in MARKS.values() if counts[m]]
    others = sorted((m for m in counts if m not in known), key=lambda m: m.word)
    return tuple((m, counts[m]) for m in (*known, *others))


def count_outcomes(records: Sequence[Record]) -> tuple[tuple[str, int], ...]:
    """How many items had each of pytest's outcomes, in words."""
    counts = Counter(r.outcome for r in records)
    order = [*(o for o in OUTCOMES if counts[o]), *sorted(o for o in counts if o not in OUTCOMES)]
    return tuple((OUTCOMES.get(o, o), counts[o]) for o in order)


def group_skipped(claims: Sequence[ClaimView]) -> tuple[tuple[str, tuple[ItemView, ...]], ...]:
    """Skipped items by their reason."""
    groups: dict[str, list[ItemView]] = {}
    for item in (i for c in claims for i in c.items if i.record.outcome == "skipped"):
        groups.setdefault(item.record.sentence, []).append(item)
    return tuple((reason, tuple(items)) for reason, items in groups.items())
