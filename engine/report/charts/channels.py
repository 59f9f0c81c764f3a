"""What drawings share: axes that fit their values, colours of arms, tooltips, and layers by kind of row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from engine.report.charts.panels import Row, trim
from engine.report.charts.theme import INK, SERIES
from engine.report.ticks import choose_linear_ticks, choose_log_ticks


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis with a place for every number: on a logarithmic one, zero and infinity lie at its ends, off the scale.

    zero, infinite: these places; None where no value needs them.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool = False
    zero: float | None = None
    infinite: float | None = None

    def place(self, value: float) -> float | int:
        """The coordinate of a number, never outside the axis."""
        if self.zero is not None and value <= 0:
            return trim(self.zero)
        if math.isinf(value):
            return trim(self.infinite if self.infinite is not None and value > 0 else self.low)
        return trim(min(max(value, self.low), self.high))

    def share(self, value: float) -> float:
        """How far along the axis a number lies, from 0 to 1."""
        low, at, high = self.low, self.place(value), self.high
        if self.logarithmic:
            low, at, high = math.log(low), math.log(at), math.log(high)
        return (at - low) / (high - low)

    def x(self, title: str | None, field: str = "x", *, format: str = "~g", **settings: Any) -> alt.X:
        """The channel of a field along the axis. format: of numbers, as d3 writes it; settings: of Vega-Lite's axis."""
        return alt.X(f"{field}:Q", scale=self._scale(), axis=self._axis(title, format, settings))

    def y(self, title: str | None, field: str = "y", *, format: str = "~g", **settings: Any) -> alt.Y:
        """See x."""
        return alt.Y(f"{field}:Q", scale=self._scale(), axis=self._axis(title, format, settings))

    def _scale(self) -> alt.Scale:
        domain = [self.low, self.high]
        if self.logarithmic:
            return alt.Scale(type="log", domain=domain, nice=False)
        return alt.Scale(domain=domain, nice=False, zero=False)

    def _axis(self, title: str | None, format: str, settings: dict[str, Any]) -> alt.Axis:
        shown = f"format(datum.value,'{format}')"
        if self.logarithmic and self.low < 1e-4:
            shown = f"datum.value<1e-4?format(datum.value,'~e'):{shown}"
        if self.infinite is not None:
            shown = f"datum.value>{self.infinite * 0.99:.6g}?'∞':{shown}"
        if self.zero is not None:
            shown = f"datum.value<{self.zero * 1.01:.6g}?'0':{shown}"
        ends = [end for end in (self.zero, self.infinite) if end is not None]
        ticks = sorted({trim(t) for t in (*self.ticks, *ends)})
        return alt.Axis(values=ticks, labelExpr=shown, title=title, **settings)


def fit_log(values: Iterable[float], *, most: int = 6, also: Sequence[float] = ()) -> Axis:
    """A logarithmic axis that holds all values and `also`. most: ticks that there is room for."""
    given = list(values)
    positive = [v for v in (*given, *also) if v > 0 and math.isfinite(v)] or [1.0]
    low, high = min(positive), max(positive)
    room = max((high / low) ** 0.06, 1.15)
    zero = low / room**2.5 if any(v <= 0 for v in given) else None
    infinite = high * room**2.5 if any(v == math.inf for v in given) else None
    return Axis(
        low=_round_out(zero / 1.05 if zero else low / room, up=False),
        high=_round_out(infinite * 1.05 if infinite else high * room, up=True),
        ticks=choose_log_ticks(low / room**0.5, high * room**0.5, most),
        logarithmic=True,
        zero=None if zero is None else float(f"{zero:.4g}"),
        infinite=None if infinite is None else float(f"{infinite:.4g}"),
    )


def _round_out(value: float, *, up: bool) -> float:
    """Round to four digits, outwards, so that everything inside stays inside."""
    short = float(f"{value:.4g}")
    return short * (1.001 if up else 0.999) if (short < value) == up else short


def fit_linear(values: Iterable[float], *, most: int = 5) -> Axis:
    """A linear axis over finite values, with round ticks."""
    known = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(known), max(known)
    room = (high - low) * 0.05 or max(abs(high) * 0.1, 0.5)
    low, high = low - room, high + room
    return Axis(low=low, high=high, ticks=choose_linear_ticks(low, high, most))


SHARE = Axis(low=-0.03, high=1.03, ticks=(0, 0.5, 1))
"""For shares, with room at both ends for half a mark."""


def fit_steps(values: Iterable[float], *, most: int = 5) -> Axis:
    """An axis of iterations: logarithmic, with a place for 0, unless they span less than a factor of 8."""
    given = list(values)
    positive = [v for v in given if v > 0] or [1.0]
    if max(positive) / min(positive) < 8:
        return fit_linear([0.0, *positive])
    return fit_log(given, most=most)


def name_rows(names: Sequence[str], *, font_px: int = 12) -> alt.Y:
    """The channel of the field 'g': a row for each name, from the top down."""
    return alt.Y("g:N", sort=list(names), title=None, axis=alt.Axis(labelColor=INK, labelFontSize=font_px, grid=False))


FIXED = ("trained", "untrained")
"""Arms of many claims, which have the first colours wherever they are."""


@dataclass(frozen=True, kw_only=True)
class Arms:
    """The arms of a claim. Each has the same colour in all of its charts; 'trained' and 'untrained' in all claims."""

    names: tuple[str, ...]

    def colour(self, rows: Iterable[Row], *, symbol: str | None = "stroke") -> alt.Color:
        """The channel of the field 'a' for the arms in these rows. symbol: of the legend; None leaves it out."""
        drawn = self._find_drawn(rows)
        # A legend of one entry says nothing: a single arm is named elsewhere in its chart.
        legend = alt.Legend(symbolType=symbol, columns=4) if symbol and len(drawn) > 1 else None
        shades = [SERIES[self._place(name) % len(SERIES)] for name in drawn]
        return alt.Color("a:N", scale=alt.Scale(domain=drawn, range=shades), legend=legend)

    def dash(self, rows: Iterable[Row]) -> dict[str, Any]:
        """The channel of dashes as an argument of encode; empty unless arms have to share a colour."""
        if max(map(self._place, self.names), default=0) < len(SERIES):
            return {}
        drawn = self._find_drawn(rows)
        dashes = [[1, 0] if self._place(name) < len(SERIES) else [5, 3] for name in drawn]
        return {"strokeDash": alt.StrokeDash("a:N", scale=alt.Scale(domain=drawn, range=dashes))}

    def _find_drawn(self, rows: Iterable[Row]) -> list[str]:
        """The claim's arms in its order, then names that are no arm of it."""
        named = dict.fromkeys(str(row["a"]) for row in rows if "a" in row)
        return [name for name in self.names if name in named] + [name for name in named if name not in self.names]

    def _place(self, name: str) -> int:
        if name in FIXED:
            return FIXED.index(name)
        others = [other for other in self.names if other not in FIXED]
        taken = len(FIXED) if len(others) < len(self.names) else 0
        return taken + others.index(name) if name in others else 0


def tell(**titles: str | tuple[str, str]) -> list[alt.Tooltip]:
    """Tooltips by field, in this order: a title, or a title and the format of a number."""
    tips: list[alt.Tooltip] = []
    for field, named in titles.items():
        title, format = (named, alt.Undefined) if isinstance(named, str) else named
        tips.append(alt.Tooltip(f"{field}:{'Q' if field in NUMERIC else 'N'}", title=title, format=format))
    return tips


NUMERIC = ("x", "y", "i")
"""Fields of rows that hold numbers; all others hold words."""


def layer_of(kind: str) -> alt.Chart:
    """A layer of the rows whose field 'k' is this kind."""
    return alt.Chart().transform_filter(alt.FieldEqualPredicate(field="k", equal=kind))
