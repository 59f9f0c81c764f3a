"""Axes that fit their values: logarithmic, linear, shares and steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from engine.report.charts.panels import trim
from engine.report.ticks import choose_linear_ticks, choose_log_ticks


@dataclass(frozen=True, kw_only=True)
class Scale:
    """An axis that has a place for every number: on a logarithmic one, zero and infinity stand apart at its ends."""

    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool = False
    zero: float | None = None
    infinite: float | None = None

    def place(self, value: float) -> float | int:
        """Where a number is drawn: itself, within the axis; zero and what is infinite at their own marks."""
        if self.zero is not None and value <= 0:
            return trim(self.zero)
        if math.isinf(value):
            return trim(self.infinite if self.infinite is not None and value > 0 else self.low)
        return trim(min(max(value, self.low), self.high))

    def share(self, value: float) -> float:
        """How far along the axis a number is drawn, from 0 to 1."""
        low, at, high = self.low, self.place(value), self.high
        if self.logarithmic:
            low, at, high = math.log(low), math.log(at), math.log(high)
        return (at - low) / (high - low)

    def scale(self) -> alt.Scale:
        domain = [self.low, self.high]
        if self.logarithmic:
            return alt.Scale(type="log", domain=domain, nice=False)
        return alt.Scale(domain=domain, nice=False, zero=False)

    def axis(self, title: str | None, **settings: Any) -> alt.Axis:
        words = settings.pop("format", "~g")
        shown = f"format(datum.value,'{words}')"
        if self.logarithmic and self.low < 1e-4:
            shown = f"datum.value<1e-4?format(datum.value,'~e'):{shown}"
        if self.infinite is not None:
            shown = f"datum.value>{self.infinite * 0.99:.6g}?'∞':{shown}"
        if self.zero is not None:
            shown = f"datum.value<{self.zero * 1.01:.6g}?'0':{shown}"
        ends = [x for x in (self.zero, self.infinite) if x is not None]
        ticks = sorted({trim(t) for t in (*self.ticks, *ends)})
        return alt.Axis(values=ticks, labelExpr=shown, title=title, **settings)


def fit_log(values: Iterable[float], *, most: int = 6, also: Sequence[float] = ()) -> Scale:
    """A logarithmic axis over the positive values and `also`. most: ticks that there is room for."""
    given = list(values)
    positive = [v for v in (*given, *also) if v > 0 and math.isfinite(v)] or [1.0]
    low, high = min(positive), max(positive)
    room = max((high / low) ** 0.06, 1.15)
    zero = low / room**2.5 if any(v <= 0 for v in given) else None
    infinite = high * room**2.5 if any(v == math.inf for v in given) else None
    return Scale(
        low=_round_out(zero / 1.05 if zero else low / room, up=False),
        high=_round_out(infinite * 1.05 if infinite else high * room, up=True),
        ticks=choose_log_ticks(low / room**0.5, high * room**0.5, most),
        logarithmic=True,
        zero=None if zero is None else float(f"{zero:.4g}"),
        infinite=None if infinite is None else float(f"{infinite:.4g}"),
    )


def _round_out(value: float, *, up: bool) -> float:
    """Four digits, away from what lies inside."""
    short = float(f"{value:.4g}")
    return short * (1.001 if up else 0.999) if (short < value) == up else short


def fit_linear(values: Iterable[float], *, most: int = 5) -> Scale:
    """A linear axis over finite values, with round ticks."""
    known = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(known), max(known)
    room = (high - low) * 0.05 or max(abs(high) * 0.1, 0.5)
    low, high = low - room, high + room
    return Scale(low=low, high=high, ticks=choose_linear_ticks(low, high, most))


SHARE = Scale(low=-0.03, high=1.03, ticks=(0, 0.5, 1))
"""An axis for shares, with room for the marks at its ends."""


def fit_steps(values: Iterable[float], *, most: int = 5) -> Scale:
    """An axis for iterations: logarithmic, with a place for the start, unless they span little."""
    given = list(values)
    positive = [v for v in given if v > 0] or [1.0]
    if max(positive) / min(positive) < 8:
        return fit_linear([0.0, *positive])
    return fit_log(given, most=most)
