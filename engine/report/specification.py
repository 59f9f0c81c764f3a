"""What becomes of a verdict when one choice of the experiment is made otherwise: a picture with a row a choice."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.records import SENSITIVITY, CriterionRecord, Record, find_headline
from engine.report.intervals import Axis, IntervalView, arrange_interval, fit_axis
from engine.report.standing import DECISIVE
from engine.report.words import VerdictSymbol, find_symbol

_NUMBER = r"(−?∞|-?\d+(?:\.\d+)?(?:e-?\d+)?)"
_ESTIMATE = rf" = {_NUMBER}(?: \[{_NUMBER}, {_NUMBER}\])?(?![\d.e])"
"""How an estimate is written in a sensitivity table, behind its name: 'ratio = 3.09 [2.15, 3.9] (n = 12 pairs)'."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One experiment: what was chosen otherwise ('' as declared), its verdict, and its estimate where it has one."""

    factor: str
    choice: str
    verdict: VerdictSymbol
    picture: IntervalView | None


@dataclass(frozen=True, kw_only=True)
class Specification:
    """The choices of one item, by their estimate; those without one come last. note: of the tables they are from."""

    record: Record
    estimate: str
    choices: tuple[Choice, ...]
    axis: Axis
    note: str

    @property
    def title(self) -> str:
        """What the picture shows, in a sentence."""
        others = [choice.verdict.word for choice in self.choices if choice.factor]
        decided = sum(word in DECISIVE for word in others)
        total = f"{len(others)} other set-up{'' if len(others) == 1 else 's'}"
        if self.record.ruling not in DECISIVE:
            told = f"{decided or 'none'} of {total} {'decides' if decided <= 1 else 'decide'} it"
            return f"Does one choice decide it? It is undecided as declared; {told}."
        turned = self.turned
        told = f"{turned or 'none'} of {total} {'comes' if turned <= 1 else 'come'} to another verdict"
        left = len(others) - decided
        more = f", and {left} {'is' if left == 1 else 'are'} undecided" if left else ""
        return f"Does one choice decide it? {'Yes' if turned else 'No'}: {told}{more}."

    @property
    def turned(self) -> int:
        """How many other set-ups come to another decisive verdict."""
        words = [choice.verdict.word for choice in self.choices if choice.factor]
        return sum(word in DECISIVE and word != self.record.ruling for word in words)


def arrange_specification(record: Record) -> Specification | None:
    """The picture of an item's sensitivity table; None without one, or where no estimate in it can be drawn."""
    headline = find_headline(record)
    if headline is None or headline.value is None:
        return None
    rows: list[tuple[str, str, str, CriterionRecord | None]] = [("", "as declared", record.ruling or "", headline)]
    tables = [t for t in record.tables if t.kind == SENSITIVITY]
    for table in tables:
        for row in (row for row in table.rows if len(row) == len(table.columns) >= 4):
            factor, choice, estimates, verdict = map(str, row[:4])
            rows.append((factor, choice, verdict, read_estimate(estimates, headline)))
    asking = [c for c in record.criteria if c.estimate == headline.estimate]
    drawn = [criterion for *_, criterion in rows if criterion is not None]
    axis = fit_axis([_drop_zero_ends(criterion) for criterion in (*asking, *drawn)])
    if len(drawn) < 2 or axis is None:
        return None
    rows.sort(key=_rank)
    choices: list[Choice] = []
    for factor, choice, verdict, criterion in rows:
        symbol = find_symbol(verdict)
        criteria = _replace_estimate(asking, criterion) if criterion else []
        picture = arrange_interval(criteria, axis, symbol.css_class) if criteria else None
        choices.append(Choice(factor=factor, choice=choice, verdict=symbol, picture=picture))
    note = " ".join(dict.fromkeys(table.note for table in tables if table.note))
    return Specification(record=record, estimate=headline.estimate, choices=tuple(choices), axis=axis, note=note)


def _rank(row: tuple[str, str, str, CriterionRecord | None]) -> tuple[bool, float, str, str]:
    value = row[3].value if row[3] else None
    known = value is not None and not math.isnan(value)
    return not known, float(value) if known and value is not None else 0.0, row[0], row[1]


def _drop_zero_ends(c: CriterionRecord) -> CriterionRecord:
    """The criterion without an interval that ends at 0, where its value is a positive one: no logarithm has a 0."""
    ends_at_zero = c.low is not None and c.value is not None and c.low == 0 < c.value and c.region_low > 0
    return replace(c, low=None) if ends_at_zero else c


def _replace_estimate(asking: Sequence[CriterionRecord], own: CriterionRecord) -> list[CriterionRecord]:
    return [replace(c, value=own.value, low=own.low, high=own.high, ruling=own.ruling) for c in asking] or [own]


def read_estimate(text: str, like: CriterionRecord) -> CriterionRecord | None:
    """The estimate of the same name as `like` in a cell of a sensitivity table; None where the cell has none."""
    found = re.search(rf"(?:^|; ){re.escape(like.estimate)}{_ESTIMATE}", text)
    if found is None:
        return None
    value, low, high = (None if number is None else _read(number) for number in found.groups())
    return replace(like, value=value, low=low, high=high)


def _read(number: str) -> float:
    return {"∞": math.inf, "−∞": -math.inf}.get(number) or float(number)
