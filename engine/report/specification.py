"""What becomes of a verdict when one choice of the experiment is made otherwise: a picture with a row a choice."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.records import SENSITIVITY, CriterionRecord, Record, find_headline
from engine.report.intervals import Axis, IntervalView, arrange_interval, fit_axis
from engine.report.standing import DECISIVE, REFUTED
from engine.report.words import VerdictSymbol, find_symbol

_NUMBER = r"(−?∞|-?[\d.]+(?:e-?\d+)?)"
_ESTIMATE = re.compile(rf"(?P<name>[^=;]+) = {_NUMBER}(?: \[{_NUMBER}, {_NUMBER}\])?")
"""How an estimate is written in a sensitivity table: 'ratio = 3.09 [2.15, 3.9] (n = 12 pairs)'."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One experiment: what was chosen otherwise ('' as declared), its verdict and its estimate."""

    factor: str
    choice: str
    verdict: VerdictSymbol
    words: str
    picture: IntervalView | None


@dataclass(frozen=True, kw_only=True)
class Specification:
    """The choices of one item, by their estimate. turned: how many of them come to another decisive verdict."""

    record: Record
    estimate: str
    choices: tuple[Choice, ...]
    axis: Axis
    turned: int

    @property
    def title(self) -> str:
        """What the picture shows, in a sentence."""
        others = sum(bool(choice.factor) for choice in self.choices)
        if self.record.ruling not in DECISIVE:
            decided = sum(choice.verdict.word in DECISIVE for choice in self.choices)
            return f"Does one choice decide it? It is undecided as declared; {decided} of {others} others decide it."
        if not self.turned:
            return f"Does one choice decide it? No: none of {others} other set-ups turns the verdict."
        which = "one" if self.turned == 1 else str(self.turned)
        return f"Does one choice decide it? Yes: {which} of {others} other set-ups turns the verdict."


def arrange_specification(record: Record) -> Specification | None:
    """The picture of an item's sensitivity table; None without one, or where no estimate in it can be drawn."""
    headline = find_headline(record)
    if headline is None or headline.value is None:
        return None
    rows: list[tuple[str, str, str, CriterionRecord]] = [("", "as declared", record.ruling or "", headline)]
    for table in (t for t in record.tables if t.kind == SENSITIVITY and len(t.columns) >= 4):
        for factor, choice, estimates, verdict, *_ in table.rows:
            found = read_estimate(str(estimates), headline)
            if found is not None:
                rows.append((str(factor), str(choice), str(verdict), found))
    asking = [c for c in record.criteria if c.estimate == headline.estimate]
    axis = fit_axis([*asking, *map(_drop_zero_ends, (criterion for *_, criterion in rows))])
    if len(rows) < 2 or axis is None:
        return None
    rows.sort(key=lambda row: (math.inf if row[3].value is None else float(row[3].value), row[0], row[1]))
    choices: list[Choice] = []
    for factor, choice, verdict, criterion in rows:
        symbol = find_symbol(verdict)
        criteria = _replace_estimate(asking, criterion)
        picture = arrange_interval(criteria, axis, symbol.css_class)
        choices.append(Choice(factor=factor, choice=choice, verdict=symbol, words=criterion.sentence, picture=picture))
    turned = sum(
        verdict in DECISIVE and record.ruling in DECISIVE and (verdict == REFUTED) != (record.ruling == REFUTED)
        for _, _, verdict, _ in rows
    )
    return Specification(record=record, estimate=headline.estimate, choices=tuple(choices), axis=axis, turned=turned)


def _drop_zero_ends(c: CriterionRecord) -> CriterionRecord:
    """The criterion without an interval that ends at 0, where its value is a positive one: no logarithm has a 0."""
    ends_at_zero = c.low is not None and c.value is not None and c.low == 0 < c.value and c.region_low > 0
    return replace(c, low=None) if ends_at_zero else c


def _replace_estimate(asking: Sequence[CriterionRecord], own: CriterionRecord) -> list[CriterionRecord]:
    return [replace(c, value=own.value, low=own.low, high=own.high, ruling=own.ruling) for c in asking] or [own]


def read_estimate(text: str, like: CriterionRecord) -> CriterionRecord | None:
    """The estimate of the same name as `like` in a cell of a sensitivity table; None where the cell has none."""
    for found in _ESTIMATE.finditer(text):
        if found["name"].strip() == like.estimate:
            value, low, high = (None if number is None else _read(number) for number in found.groups()[1:])
            return replace(like, value=value, low=low, high=high, sentence=found[0].strip())
    return None


def _read(number: str) -> float:
    return {"∞": math.inf, "−∞": -math.inf}.get(number) or float(number)
