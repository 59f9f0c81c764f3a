"""Small pictures of an interval and of the region in which a criterion holds: where everything in them lies.

interval.html.j2 draws them. Every x is a percentage of the width, so a picture fills its column while its text keeps
its size. Vega would take 25 to 60 ms for each, as long as everything else on the page together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from engine.records import CriterionRecord
from engine.report.ticks import choose_linear_ticks, choose_log_ticks
from engine.text import format_number, write_plain

LOG_FROM = 50.0
"""Positive values that span more than this factor get a logarithmic axis."""

MARGIN = 7.0
"""Percent of the width that stays free on either side of the outermost value."""

MOST_TICKS = 7

LABEL_ROOM = 34
"""Characters that the labels below a picture have room for, on a phone as well."""

_BEYOND = 1e150
"""Numbers above this are drawn as infinite, numbers below its inverse as zero: their differences overflow."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A linear or logarithmic axis from `low` to `high`. share: whether nothing lies beyond 0 and 1."""

    low: float
    high: float
    logarithmic: bool = False
    share: bool = False

    def place(self, value: float) -> float:
        """Percent of the width at which `value` lies. A value beyond the axis lies at its end, infinity at the edge."""
        if value <= self.low:
            return MARGIN if value > -_BEYOND or (self.share and self.low == 0) else 0.0
        if value >= self.high:
            return 100.0 - MARGIN if value < _BEYOND or (self.share and self.high == 1) else 100.0
        low, at, high = (math.log(x) if self.logarithmic else x for x in (self.low, value, self.high))
        return MARGIN + (100.0 - 2 * MARGIN) * (at - low) / (high - low)

    def label_ticks(self, room: int = LABEL_ROOM) -> tuple[tuple[float, str], ...]:
        """Round numbers on the axis with their labels, which have so many characters in all."""
        labels = self._label(MOST_TICKS)
        for most in range(MOST_TICKS - 1, 2, -1):
            if sum(len(label) + 1 for _, label in labels) <= room:
                break
            labels = self._label(most) or labels
        return labels

    def _label(self, most: int) -> tuple[tuple[float, str], ...]:
        if self.logarithmic:
            return tuple((tick, format_number(tick)) for tick in choose_log_ticks(self.low, self.high, most))
        ticks = choose_linear_ticks(self.low, self.high, most)
        if len(ticks) < 2:
            return ()
        step, largest = math.log10(ticks[1] - ticks[0]), max(map(abs, ticks))
        decimals = max(0, -math.floor(step + 1e-9))
        if decimals <= 6 and largest < 1e6:
            return tuple((tick, f"{tick:.{decimals}f}") for tick in ticks)
        digits = 2 + math.floor(math.log10(largest) - step + 1e-9)  # enough to tell one tick from the next
        return tuple((tick, f"{tick:.{max(digits, 3)}g}") for tick in ticks)


@dataclass(frozen=True, kw_only=True)
class Region:
    """Where a criterion holds. edges: its finite ends. none: the ends of what counts as no effect.

    All are percentages of the width.
    """

    left: float
    width: float
    edges: tuple[float, ...]
    none: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class IntervalEnd:
    """An end of an interval, in percent of the width. arrow: -1 or 1 where it is unbounded that way, else 0."""

    at: float
    arrow: int


@dataclass(frozen=True, kw_only=True)
class IntervalView:
    """One estimate and the regions of the criteria that ask for it, ready to be drawn.

    words: the picture in words. css_class: of the verdict. ends: both or none. value: in percent of the width, None
    where it is missing or not finite. figure: the document's own, likewise.
    """

    words: str
    css_class: str
    regions: tuple[Region, ...]
    ends: tuple[IntervalEnd, ...]
    value: float | None
    axis: Axis
    figure: float | None = None

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Where the axis has a tick, in percent of the width, and its label."""
        return tuple((self.axis.place(tick), label) for tick, label in self.axis.label_ticks())


def _is_drawable(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and abs(value) < _BEYOND


def fit_axis(criteria: Sequence[CriterionRecord]) -> Axis | None:
    """The axis that holds every finite estimate, interval end and region edge; None where there is none."""
    numbers = [
        float(x)
        for c in criteria
        for x in (c.value, c.low, c.high, c.region_low, c.region_high, c.none_low, c.none_high, c.figure)
        if x is not None and _is_drawable(x)
    ]
    if not numbers:
        return None
    low, high = min(numbers), max(numbers)
    # What lies between 0 and 1 everywhere, its ends included, is a share: no axis of one goes beyond them.
    ends = [float(x) for c in criteria for x in (c.value, c.low, c.high) if x is not None]
    share = all(0 <= x <= 1 for x in ends) and low >= 0 and high <= 1 and (1 in ends or 0 in ends)
    size = max(abs(low), abs(high))
    if high - low <= max(1e-12 * size, 1 / _BEYOND):  # a single number gets room around it
        room = 0.1 * size if size > 1 / _BEYOND else 0.5
        low, high = low - room, high + room
        return Axis(low=max(low, 0.0), high=min(high, 1.0), share=True) if share else Axis(low=low, high=high)
    return Axis(low=low, high=high, logarithmic=low > 0 and high / low > LOG_FROM, share=share)


def arrange_interval(criteria: Sequence[CriterionRecord], axis: Axis | None, css_class: str) -> IntervalView | None:
    """The picture of one estimate, with the regions of all the criteria that ask for it; None without an axis."""
    if axis is None:
        return None
    regions: list[Region] = []
    for c in criteria:
        left, right = axis.place(c.region_low), axis.place(c.region_high)
        edges = dict.fromkeys(x for x in (c.region_low, c.region_high) if _is_drawable(x))
        none = None if c.none_low is None or c.none_high is None else (axis.place(c.none_low), axis.place(c.none_high))
        regions.append(Region(left=left, width=right - left, edges=tuple(map(axis.place, edges)), none=none))
    c = criteria[0]
    ends: list[IntervalEnd] = []
    if c.low is not None and c.high is not None and not math.isnan(c.low) and not math.isnan(c.high):
        for end in (c.low, c.high):
            arrow = 0 if _is_drawable(end) else 1 if end > 0 else -1
            ends.append(IntervalEnd(at=axis.place(end), arrow=arrow))
    value = axis.place(c.value) if c.value is not None and _is_drawable(c.value) else None
    return IntervalView(
        words="; ".join(map(_describe, criteria)),
        css_class=css_class,
        regions=tuple(regions),
        ends=tuple(ends),
        value=value,
        axis=axis,
        figure=axis.place(c.figure) if c.figure is not None and _is_drawable(c.figure) else None,
    )


def _describe(c: CriterionRecord) -> str:
    """A criterion and its estimate in words, for readers who do not see the picture."""
    verdict = f"{write_plain(c.text)}: {write_plain(c.ruling)}"
    if c.value is None:
        return f"{verdict}; no estimate"
    estimate = f"{verdict}; estimate {format_number(c.value)}"
    if c.low is None or c.high is None:
        return estimate
    estimate += f", 95 % interval {format_number(c.low)} to {format_number(c.high)}"
    if c.figure is not None:
        estimate += f"; the document's figure is {format_number(c.figure)}"
    if c.none_low is None:
        return estimate
    return f"{estimate}; {format_number(c.none_low)} to {format_number(c.none_high)} is no effect that counts"
