"""Two of a kind on one axis: protocols, trained and untrained models, models, and this run beside the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from engine.records import CriterionRecord, Record, find_headline, key_of
from engine.report.intervals import Axis, IntervalView, arrange_interval, fit_axis
from engine.report.models import order_models
from engine.report.standing import is_trained
from engine.report.views import ClaimView
from engine.report.words import VerdictSymbol, find_record_symbol, sort_records
from engine.text import format_interval

MOST_MODELS, MOST_SIDES = 40, 250
"""Models on one axis, of more the first by size; and readings that a group shows."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One reading: what it is of, its verdict, and the estimate in words and drawn."""

    name: str
    verdict: VerdictSymbol
    words: str
    picture: IntervalView | None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Readings of one estimate of a claim, on one axis. differ: whether their verdicts do."""

    claim: ClaimView
    of: str
    estimate: str
    sides: tuple[Side, ...]
    axis: Axis
    differ: bool


@dataclass(frozen=True, kw_only=True)
class PairGroup:
    """One way of comparing. transitions: how many pairs went from one verdict to another, where sides are ordered."""

    id: str
    title: str
    empty: str
    pairs: tuple[Pair, ...]
    transitions: tuple[tuple[VerdictSymbol, VerdictSymbol, int], ...] = ()

    def show(self, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """The first of them, as many as the page has room for."""
        sides = 0
        for number, pair in enumerate(pairs):
            sides += len(pair.sides)
            if sides > MOST_SIDES:
                return pairs[:number]
        return pairs

    @property
    def differing(self) -> tuple[Pair, ...]:
        return tuple(pair for pair in self.pairs if pair.differ)

    @property
    def equal(self) -> tuple[Pair, ...]:
        return tuple(pair for pair in self.pairs if not pair.differ)


def arrange_pairs(claims: Sequence[ClaimView], previous: Sequence[Record]) -> tuple[PairGroup, ...]:
    """All comparisons that the records allow. previous: the run before."""
    order = order_models([item.record for claim in claims for item in claim.items])
    places = {name: k for k, name in enumerate(order)}

    def collect(find: Callable[[list[Record]], Iterator[tuple[str, list[tuple[str, Record]]]]]) -> tuple[Pair, ...]:
        pairs: list[Pair] = []
        for claim in claims:
            records = [item.record for item in claim.items if item.record.ruling]
            for of, sides in find(sorted(records, key=lambda r: places[r.subject])):
                pair = _pair(claim, of, sides)
                if pair is not None:
                    pairs.append(pair)
        return tuple(pairs)

    before = {key_of(record): record for record in sort_records(previous)}

    def runs(records: list[Record]) -> Iterator[tuple[str, list[tuple[str, Record]]]]:
        for record in records:
            if (old := before.get(key_of(record))) is not None:
                yield f"{record.subject} · {record.protocol}", [("before", old), ("now", record)]

    over_time = collect(runs)
    return (
        PairGroup(
            id="protocols",
            title="Two protocols",
            empty="No claim was measured on one model under two protocols.",
            pairs=collect(_by_protocol),
        ),
        PairGroup(
            id="training",
            title="Trained and untrained",
            empty="No claim was measured on a trained model and on its untrained twin.",
            pairs=collect(_by_training),
        ),
        PairGroup(
            id="across",
            title="Models, by size",
            empty="No claim was measured on two trained models.",
            pairs=collect(_by_model),
        ),
        PairGroup(
            id="runs",
            title="This run and the one before",
            empty="No test was estimated in both runs."
            if previous
            else "There is no earlier run to compare with. lm-claims report compare A B compares any two.",
            pairs=over_time,
            transitions=_count_transitions(over_time),
        ),
    )


def _by_protocol(records: list[Record]) -> Iterator[tuple[str, list[tuple[str, Record]]]]:
    for model in dict.fromkeys(record.subject for record in records):
        yield model, [(record.protocol, record) for record in records if record.subject == model]


def _by_training(records: list[Record]) -> Iterator[tuple[str, list[tuple[str, Record]]]]:
    for record in records:
        twins = [r for r in records if r.protocol == record.protocol and _names_twin(record.subject, r.subject)]
        if is_trained(record) and twins:
            yield f"{record.subject} · {record.protocol}", [("trained", record), ("untrained", twins[0])]


def _names_twin(trained: str, other: str) -> bool:
    return other.partition(":")[0] == f"{trained}-untrained"


def _by_model(records: list[Record]) -> Iterator[tuple[str, list[tuple[str, Record]]]]:
    for protocol in dict.fromkeys(record.protocol for record in records):
        own = [r for r in records if r.protocol == protocol and is_trained(r)]
        yield protocol, [(record.subject, record) for record in own[:MOST_MODELS]]


def _pair(claim: ClaimView, of: str, sides: Sequence[tuple[str, Record]]) -> Pair | None:
    """Sides that share the estimate that the first one's verdict turns on; None where fewer than two have it."""
    names = [c.estimate for _, record in sides if (c := find_headline(record)) is not None and c.value is not None]
    if not names:
        return None
    read = [(name, record, criteria) for name, record in sides if (criteria := _read(record, names[0]))]
    axis = fit_axis([c for _, _, criteria in read for c in criteria])
    if len(read) < 2 or axis is None:
        return None
    drawn: list[Side] = []
    for name, record, criteria in read:
        verdict, c = find_record_symbol(record), criteria[0]
        picture = arrange_interval(criteria, axis, verdict.css_class)
        drawn.append(Side(name=name, verdict=verdict, words=format_interval(c.value, c.low, c.high), picture=picture))
    differ = len({side.verdict for side in drawn}) > 1
    return Pair(claim=claim, of=of, estimate=names[0], sides=tuple(drawn), axis=axis, differ=differ)


def _read(record: Record, estimate: str) -> list[CriterionRecord]:
    return [c for c in record.criteria if c.estimate == estimate and c.value is not None]


def _count_transitions(pairs: Sequence[Pair]) -> tuple[tuple[VerdictSymbol, VerdictSymbol, int], ...]:
    steps = [(pair.sides[0].verdict, pair.sides[-1].verdict) for pair in pairs]
    ordered = sorted(dict.fromkeys(steps), key=lambda step: (-steps.count(step), step[0].word, step[1].word))
    return tuple((was, now, steps.count((was, now))) for was, now in ordered)
