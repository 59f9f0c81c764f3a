"""How charts look: colours by the page's custom properties, sizes, axes.

Vega writes colours into the drawing as it is given them, so `var(--s1)` follows the page's theme without a script.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from engine.report.charts.reading import trim

INK, SOFT, LINE, PAPER = "var(--ink)", "var(--soft)", "var(--line)", "var(--paper)"
SERIES = tuple(f"var(--s{k})" for k in range(1, 7))
FONT = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica Neue, Arial, sans-serif"

CONFIG: dict[str, Any] = {
    "background": "transparent",
    # The figure says in its label what it shows; thousands of labelled marks would say nothing.
    "aria": False,
    "font": FONT,
    # Room for a reader's font that is wider than the one that was measured with.
    "padding": {"left": 12, "right": 10, "top": 2, "bottom": 2},
    "view": {"stroke": None},
    "axis": {
        "domainColor": SOFT,
        "tickColor": SOFT,
        "gridColor": LINE,
        "labelColor": SOFT,
        "titleColor": SOFT,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "tickSize": 4,
        # Labels come cut: to measure them against a limit takes as long as all the rest of a drawing.
        "labelLimit": 0,
        "titleLimit": 0,
    },
    "axisY": {"domain": False, "ticks": False, "labelPadding": 6},
    "header": {
        "labelColor": INK,
        "labelFontSize": 12,
        "labelFontWeight": 600,
        "labelAnchor": "start",
        "labelPadding": 6,
        "labelLimit": 0,
        "title": None,
    },
    "title": {
        "color": INK,
        "fontSize": 12,
        "fontWeight": 600,
        "anchor": "start",
        "frame": "group",
        "offset": 8,
        "limit": 0,
    },
    "legend": {
        "orient": "top",
        "title": None,
        "labelColor": INK,
        "labelFontSize": 12,
        "labelLimit": 0,
        "symbolStrokeWidth": 2.5,
        "symbolOpacity": 1,
        "columnPadding": 18,
        "offset": 10,
    },
    "line": {"strokeCap": "round", "strokeJoin": "round"},
}


@dataclass(frozen=True, kw_only=True)
class Arms:
    """The arms of a claim, each with one colour in all of its charts."""

    names: tuple[str, ...]

    def colour(self, drawn: Iterable[str], *, symbol: str | None = "stroke") -> alt.Color:
        """The channel of the field 'a'. drawn: the arms of this chart; symbol: of the legend, None for none."""
        own = self._own(drawn)
        # One arm alone is named where it is drawn; a legend would have nothing to tell apart.
        legend = alt.Legend(symbolType=symbol, columns=4) if symbol and len(own) > 1 else None
        return alt.Color("a:N", scale=alt.Scale(domain=own, range=[self._shade(n) for n in own]), legend=legend)

    def dash(self, drawn: Iterable[str]) -> dict[str, Any]:
        """The channel of dashes for arms that have to share a colour, by its name; none where none has to."""
        if len(self.names) <= len(SERIES):
            return {}
        own = self._own(drawn)
        dashes = [[1, 0] if self._place(n) < len(SERIES) else [5, 3] for n in own]
        return {"strokeDash": alt.StrokeDash("a:N", scale=alt.Scale(domain=own, range=dashes))}

    def _own(self, drawn: Iterable[str]) -> list[str]:
        """Those of the claim in its order, then what is no arm of it."""
        asked = dict.fromkeys(drawn)
        return [name for name in self.names if name in asked] + [name for name in asked if name not in self.names]

    def _shade(self, name: str) -> str:
        return SERIES[self._place(name) % len(SERIES)]

    def _place(self, name: str) -> int:
        return self.names.index(name) if name in self.names else 0


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
        ticks=_log_ticks(low / room**0.5, high * room**0.5, most),
        logarithmic=True,
        zero=None if zero is None else float(f"{zero:.4g}"),
        infinite=None if infinite is None else float(f"{infinite:.4g}"),
    )


def _round_out(value: float, *, up: bool) -> float:
    """Four digits, away from what lies inside."""
    short = float(f"{value:.4g}")
    return short * (1.001 if up else 0.999) if (short < value) == up else short


def _log_ticks(low: float, high: float, most: int) -> tuple[float, ...]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    stride = 1 + (last - first) // (most + 1)
    ticks: list[float] = []
    for mantissas in ((1, 2, 5), (1, 3), (1,)) if stride == 1 else ((1,),):
        ticks = [float(f"{m}e{k}") for k in range(first, last + 1) if not k % stride for m in mantissas]
        ticks = [t for t in ticks if low <= t <= high]
        if len(ticks) <= most:
            break
    # Over less than a decade powers leave an axis bare: there round numbers at equal steps say more.
    return tuple(ticks) if len(ticks) > 2 else _linear_ticks(low, high, min(most, 4))


def fit_linear(values: Iterable[float], *, most: int = 5) -> Scale:
    """A linear axis over finite values, with round ticks."""
    known = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(known), max(known)
    room = (high - low) * 0.05 or max(abs(high) * 0.1, 0.5)
    low, high = low - room, high + room
    return Scale(low=low, high=high, ticks=_linear_ticks(low, high, most))


def _linear_ticks(low: float, high: float, most: int) -> tuple[float, ...]:
    """At most so many multiples of a round step from `low` to `high`."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(power * m for m in (1, 2, 5, 10, 20) if (high - low) / (power * m) <= most)
    first, last = math.ceil(low / step), math.floor(high / step)
    return tuple(trim(step * k) for k in range(first, last + 1))


SHARE = Scale(low=-0.03, high=1.03, ticks=(0, 0.5, 1))
"""An axis for shares, with room for the marks at its ends."""


def fit_steps(values: Iterable[float], *, most: int = 5) -> Scale:
    """An axis for iterations: logarithmic, with a place for the start, unless they span little."""
    given = list(values)
    positive = [v for v in given if v > 0] or [1.0]
    if max(positive) / min(positive) < 8:
        return fit_linear([0.0, *positive])
    return fit_log(given, most=most)
