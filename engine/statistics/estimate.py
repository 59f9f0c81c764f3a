"""One number with its interval, and how many units would settle a question about it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from engine.errors import DeclarationError, explain
from engine.statistics.binomial import units_to_clear
from engine.statistics.looks import ALPHA

MOST_UNITS = 1_000_000
MOST_DECIMALS = 9

Scale = Literal["linear", "log", "proportion", "exact"]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What was estimated, between which ends it lies, and what is behind it.

    value: the point estimate; nan where nothing was observed, a bound where a median was not reached.
    low, high: the interval, which holds the value; either end may be infinite.
    n: the units behind it, named by `counts`. scale: how the interval shrinks as n grows.
    alpha: how often the interval may miss at its look; all looks together may miss as often as a single one.
    effect: units behind each effective unit of a proportion.
    Raises DeclarationError when the ends are nan, crossed, or leave the value outside.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    counts: str = "units"
    method: str
    scale: Scale
    alpha: float = ALPHA
    effect: float = 1.0

    def __post_init__(self) -> None:
        ordered = self.low <= self.high
        held = math.isnan(self.value) or self.low <= self.value <= self.high
        if not (ordered and held):
            raise DeclarationError(
                explain(
                    who=f"estimate {self.name}",
                    got=f"{self.value} in [{self.low}, {self.high}]",
                    expected="low ≤ value ≤ high",
                    remedy="widen the interval until it holds the value",
                )
            )

    @property
    def is_open(self) -> bool:
        """Whether the interval is everything that the estimate could be."""
        least = {"linear": -math.inf, "log": 0.0, "proportion": 0.0, "exact": math.nan}[self.scale]
        return self.low == least and self.high == math.inf

    @property
    def text(self) -> str:
        """The estimate as a reader writes it, such as 'ratio = 12.3 [8.1, ∞] (n = 12 pairs)'."""
        if self.scale == "exact":
            return f"{self.name} = {_number(self.value)} (all {self.n:,} {self.counts})"
        value = "unknown" if math.isnan(self.value) else f"= {_number(self.value)}"
        interval = f"[{_number(self.low)}, {_number(self.high)}]"
        return f"{self.name} {value} {interval} (n = {self.n:,} {self.counts})"


def n_to_decide(estimate: Estimate, edges: list[float]) -> int | None:
    """Units at which an interval around the same value would hold none of the edges it holds now.

    A proportion is asked of its own interval at the same rate and the same design effect; elsewhere the
    side that faces the edge shrinks with 1/√n, on the logarithm for a ratio. Returns the present n when no
    edge is held, and None when no n up to a million would do: the value sits on an edge, is unknown or
    exact, or that side has no finite width.
    """
    held = [edge for edge in edges if math.isfinite(edge) and estimate.low <= edge <= estimate.high]
    if not held:
        return estimate.n
    if estimate.scale == "exact" or not math.isfinite(estimate.value):
        return None
    asked = max(_units_to_clear(estimate, edge) for edge in held)
    if asked >= MOST_UNITS:
        return None
    # Strictly more: at the asked number itself the interval still ends on the edge, which it then holds.
    # A whole number that rounding left a hair short must not pass for the one below it.
    return max(math.floor(asked * (1 + 1e-12)), estimate.n) + 1


def _units_to_clear(estimate: Estimate, edge: float) -> float:
    """Number of units at which the interval's facing side ends on the edge; inf where it never does."""
    if edge == estimate.value:
        return math.inf
    if estimate.scale == "proportion":
        return estimate.effect * units_to_clear(estimate.value, edge, estimate.alpha) if estimate.n else math.inf
    end = estimate.low if edge < estimate.value else estimate.high
    value = estimate.value
    if estimate.scale == "log":
        if min(value, edge, end) <= 0:
            return math.inf
        value, edge, end = math.log(value), math.log(edge), math.log(end)
    if estimate.n < 2 or math.isinf(end):
        return math.inf
    return estimate.n * ((value - end) / (value - edge)) ** 2


def _number(number: float) -> str:
    """Three significant digits; more next to one, so that a share short of all never reads as all."""
    if math.isinf(number):
        return "∞" if number > 0 else "-∞"
    if abs(number) >= 999.5:
        return f"{number:,.0f}"
    gap = abs(1 - number)
    if 10.0**-MOST_DECIMALS <= gap < 0.01:
        return f"{number:.{max(3, math.ceil(-math.log10(gap)))}f}"
    return f"{number + 0.0:.3g}"
