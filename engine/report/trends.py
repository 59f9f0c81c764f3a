"""The estimates of a run's claims over the kept runs: one small line an item."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from engine.report.history import Run, trend_table
from engine.report.intervals import MARGIN, Axis
from engine.report.views import ClaimView
from engine.report.words import VerdictSymbol, find_symbol
from engine.text import format_number

HEIGHT = 34.0
"""Of a line's picture, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run: its moment, the verdict and the estimate, and where its mark is (percent from the left, pixels down)."""

    when: str
    verdict: VerdictSymbol
    words: str
    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class Trend:
    """One item over the runs. changed: whether its verdict did."""

    claim: ClaimView
    item: str
    estimate: str
    points: tuple[Point, ...]

    @property
    def changed(self) -> bool:
        return len({point.verdict for point in self.points}) > 1


def arrange_trends(claims: Sequence[ClaimView], history: Sequence[Run]) -> tuple[Trend, ...]:
    """Every item that two runs or more measured, those whose verdict changed first."""
    trends: list[Trend] = []
    for claim in claims:
        table = trend_table([item.record for item in claim.items], history)
        for item, rows in groupby(table.rows if table else (), key=lambda row: str(row[0])):
            read = [(str(row[1]), str(row[2]), float(row[3] or 0), str(row[6])) for row in rows if _is_finite(row[3])]
            if len(read) > 1:
                trends.append(_draw(claim, item, read))
    return tuple(sorted(trends, key=lambda trend: not trend.changed))


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _draw(claim: ClaimView, item: str, read: Sequence[tuple[str, str, float, str]]) -> Trend:
    values = [value for _, _, value, _ in read]
    low, high = min(values), max(values)
    room = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
    axis = Axis(low=low - room, high=high + room)
    points = [
        Point(
            when=when[:16].replace("T", " "),
            verdict=find_symbol(ruling),
            words=format_number(value),
            x=MARGIN + (100 - 2 * MARGIN) * place / (len(read) - 1),
            y=round(HEIGHT * (1 - axis.place(value) / 100), 1),
        )
        for place, (when, _, value, ruling) in enumerate(read)
    ]
    return Trend(claim=claim, item=item, estimate=read[-1][1], points=tuple(points))
