"""Small drawings of an interval against the region in which a criterion holds.

Every x is a percentage of the width, so a drawing fills its column while its text keeps its size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from engine.records import CriterionRecord
from engine.text import format_number, write_plain

LOG_FROM = 50.0
"""Positive values that span more than this factor get a logarithmic axis."""

MARGIN = 7.0
"""Percent of the width that is left free on either side of the outermost value."""

_BEYOND = 1e150
"""Numbers above this are drawn as infinite, below its inverse as zero: their differences overflow."""

_BAND = Markup('<rect class="region" x="{:.2f}%" y="{}" width="{:.2f}%" height="{}"/>')
_EDGE = Markup('<line class="{3}" x1="{0:.2f}%" x2="{0:.2f}%" y1="{1}" y2="{2}"/>')
_WHISKER = Markup('<line class="whisker" x1="{:.2f}%" x2="{:.2f}%" y1="{y}" y2="{y}"/>')
_CAP = Markup('<line class="whisker" x1="{0:.2f}%" x2="{0:.2f}%" y1="{1}" y2="{2}"/>')
_DOT = Markup('<circle class="dot" cx="{:.2f}%" cy="{}" r="{}"/>')
_ARROW = Markup('<svg class="arrow" x="{:.2f}%" y="{}"><path d="{}"/></svg>')
_TICK = Markup('<line class="axis" x1="{0:.2f}%" x2="{0:.2f}%" y1="38" y2="42"/><text x="{0:.2f}%" y="55">{1}</text>')
_AXIS = Markup('<line class="axis" x1="0%" x2="100%" y1="38" y2="38"/>')
_FRAME = Markup('<svg class="picture {}" role="img" aria-label="{}" width="100%" height="{}">{}</svg>')


@dataclass(frozen=True, kw_only=True)
class Scale:
    """An axis from `low` to `high`, linear or logarithmic."""

    low: float
    high: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Percent of the width at which `value` lies; what lies beyond the axis is put on its end."""
        if value <= self.low:
            return MARGIN if value > -_BEYOND else 0.0
        if value >= self.high:
            return 100.0 - MARGIN if value < _BEYOND else 100.0
        low, at, high = (math.log(x) if self.logarithmic else x for x in (self.low, value, self.high))
        return MARGIN + (100.0 - 2 * MARGIN) * (at - low) / (high - low)


def _is_drawable(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and abs(value) < _BEYOND


def fit_scale(criteria: Iterable[CriterionRecord]) -> Scale | None:
    """The axis that holds every finite estimate, interval end and region edge; None where there is none."""
    numbers = [
        float(x)
        for c in criteria
        for x in (c.value, c.low, c.high, c.region_low, c.region_high)
        if x is not None and _is_drawable(x)
    ]
    if not numbers:
        return None
    low, high = min(numbers), max(numbers)
    size = max(abs(low), abs(high))
    if high - low <= max(1e-12 * size, 1 / _BEYOND):
        room = 0.1 * size if size > 1 / _BEYOND else 0.5
        return Scale(low=low - room, high=high + room)
    return Scale(low=low, high=high, logarithmic=low > 0 and high / low > LOG_FROM)


def choose_ticks(scale: Scale, most: int = 7) -> tuple[tuple[float, str], ...]:
    """Round numbers on the axis with their labels, at most `most`."""
    return _choose_log_ticks(scale, most) if scale.logarithmic else _choose_linear_ticks(scale, most)


def _choose_log_ticks(scale: Scale, most: int) -> tuple[tuple[float, str], ...]:
    first, last = math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high))
    stride = 1 + (last - first) // most
    candidates = [(1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)] if stride == 1 else [(1.0,)]
    values: list[float] = []
    for mantissas in candidates:
        powers = [float(f"{m}e{k}") for k in range(first, last + 1, stride) for m in mantissas]
        values = [p for p in powers if scale.low <= p <= scale.high]
        if len(values) <= most:
            break
    return tuple((v, format_number(v)) for v in values)


def _choose_linear_ticks(scale: Scale, most: int) -> tuple[tuple[float, str], ...]:
    power = math.floor(math.log10((scale.high - scale.low) / most))
    steps = (m * 10.0**k for k in (power, power + 1) for m in (1, 2, 5))
    step, first, last = next(
        (step, first, last)
        for step in steps
        for first, last in [(math.ceil(scale.low / step - 1e-9), math.floor(scale.high / step + 1e-9))]
        if last - first < most
    )
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    values = [i * step for i in range(first, last + 1)]
    largest = max(abs(v) for v in (*values, step))
    plain = decimals <= 6 and largest < 1e6
    digits = 2 + math.floor(math.log10(largest) - math.log10(step) + 1e-9)  # as many as tell a step from the next
    return tuple((v, f"{v:.{decimals}f}" if plain else f"{v:.{max(digits, 3)}g}") for v in values)


def describe(criterion: CriterionRecord) -> str:
    """The drawing in words, for those who do not see it."""
    where = f"{write_plain(criterion.text)}: {write_plain(criterion.ruling)}"
    if criterion.value is None:
        return f"{where}; no estimate"
    if criterion.low is None or criterion.high is None:
        return f"{where}; estimate {format_number(criterion.value)}"
    ends = f"{format_number(criterion.low)} to {format_number(criterion.high)}"
    return f"{where}; estimate {format_number(criterion.value)}, 95 % interval {ends}"


def draw(criterion: CriterionRecord, scale: Scale | None, *, kind: str) -> Markup:
    """The interval and its estimate on a labelled axis; the region shaded. kind: the verdict's class."""
    if scale is None:
        return Markup()
    ticks = Markup().join(_TICK.format(scale.place(v), label) for v, label in choose_ticks(scale))
    body = _draw_region(criterion, scale, top=4, bottom=38) + _AXIS + ticks
    body += _draw_estimate(criterion, scale, y=21, reach=6, radius=5)
    return _FRAME.format(kind, describe(criterion), 60, body)


def draw_small(criteria: Sequence[CriterionRecord], scale: Scale | None, *, kind: str) -> Markup:
    """One estimate against the regions of all its criteria, without an axis and one line high.

    Regions lie on top of each other: where several conditions hold, the shade is deeper.
    """
    if scale is None:
        return Markup()
    body = Markup().join(_draw_region(c, scale, top=0, bottom=20) for c in criteria)
    criterion = criteria[0]
    body += _draw_estimate(criterion, scale, y=10, reach=4, radius=4)
    return _FRAME.format(f"small {kind}", "; ".join(map(describe, criteria)), 20, body)


def _draw_region(criterion: CriterionRecord, scale: Scale, *, top: int, bottom: int) -> Markup:
    left, right = scale.place(criterion.region_low), scale.place(criterion.region_high)
    band = _BAND.format(left, top, right - left, bottom - top)
    edges = [x for x in (criterion.region_low, criterion.region_high) if _is_drawable(x)]
    kind = "edge point" if criterion.region_low == criterion.region_high else "edge"
    return band + Markup().join(_EDGE.format(scale.place(x), top, bottom, kind) for x in dict.fromkeys(edges))


def _draw_estimate(criterion: CriterionRecord, scale: Scale, *, y: int, reach: int, radius: int) -> Markup:
    drawn = Markup()
    low, high = criterion.low, criterion.high
    if low is not None and high is not None and not math.isnan(low) and not math.isnan(high):
        drawn += _WHISKER.format(scale.place(low), scale.place(high), y=y)
        drawn += _draw_end(low, scale, y=y, reach=reach) + _draw_end(high, scale, y=y, reach=reach)
    if criterion.value is not None and _is_drawable(criterion.value):
        drawn += _DOT.format(scale.place(criterion.value), y, radius)
    return drawn


def _draw_end(value: float, scale: Scale, *, y: int, reach: int) -> Markup:
    """A cap where the interval ends, an arrowhead where it does not."""
    if _is_drawable(value):
        return _CAP.format(scale.place(value), y - reach, y + reach)
    tail = -1.5 * reach if value > 0 else 1.5 * reach
    return _ARROW.format(scale.place(value), y, f"M{tail:g} {-reach}L0 0L{tail:g} {reach}Z")
