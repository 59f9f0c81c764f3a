"""An estimate with its interval, and how many units would decide a criterion on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from engine.errors import DeclarationError, explain
from engine.statistics.binomial import units_to_clear
from engine.statistics.looks import ALPHA

MOST_UNITS = 1_000_000
MOST_DECIMALS = 9

Scale = Literal["linear", "log", "proportion", "exact"]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A point estimate, its interval, and the units behind it.

    value: nan if nothing was observed, a bound if a median was not reached.
    low, high: the interval, which contains the value. Either end may be infinite.
    n: number of units, named by `counts`. scale: how the interval shrinks as n grows.
    alpha: error of the interval at its look. All looks together keep the error of a single one.
    effect: design effect of a proportion: units for each effective unit.
    values: the least and the greatest value over choices that no number of units can tell apart, such as step sizes
    that tuning could as well have chosen; None where there is one choice.
    Raises DeclarationError if the ends are nan, crossed, or exclude the value.
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
    values: tuple[float, float] | None = None

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
        """Whether the interval covers every possible value."""
        least = {"linear": -math.inf, "log": 0.0, "proportion": 0.0, "exact": math.nan}[self.scale]
        return self.low == least and self.high == math.inf

    @property
    def text(self) -> str:
        """The estimate in words, such as 'ratio = 12.3 [8.1, ∞] (n = 12 pairs)'."""
        if self.scale == "exact":
            return f"{self.name} = {_number(self.value)} (all {self.n:,} {self.counts})"
        value = "unknown" if math.isnan(self.value) else f"= {_number(self.value)}"
        interval = f"[{_number(self.low)}, {_number(self.high)}]"
        return f"{self.name} {value} {interval} (n = {self.n:,} {self.counts})"


def exact_value(name: str, value: float, n: int, *, counts: str, method: str = "exact") -> Estimate:
    """A number that all n units determine, such as the worst of them: both ends equal it."""
    return Estimate(name=name, value=value, low=value, high=value, n=n, counts=counts, method=method, scale="exact")


def hold_choices(chosen: Estimate, others: Sequence[Estimate], what: str) -> Estimate:
    """The chosen estimate, with an interval that also holds those at equally good choices. what: what was chosen."""
    if not others:
        return chosen
    every = [chosen, *others]
    values = [one.value for one in every if not math.isnan(one.value)]
    return replace(
        chosen,
        low=min(one.low for one in every),
        high=max(one.high for one in every),
        method=f"{chosen.method}; over {len(every)} choices of {what}",
        values=(min(values), max(values)) if values else None,
    )


def n_to_decide(estimate: Estimate, edges: list[float]) -> int | None:
    """Units at which an interval around the same value would contain none of the edges it contains now.

    For a proportion, its own interval is recomputed at the same rate and design effect. Otherwise the side that faces
    the edge shrinks with 1/√n, on the logarithm for a ratio. Returns the present n if no edge is inside, and None if
    no n up to a million would do: the value is on an edge, unknown or exact, that side is infinite, or choices that no
    n can tell apart lie on both sides of the edge.
    """
    held = [edge for edge in edges if math.isfinite(edge) and estimate.low <= edge <= estimate.high]
    if not held:
        return estimate.n
    if estimate.scale == "exact" or not math.isfinite(estimate.value):
        return None
    if estimate.values is not None and any(estimate.values[0] <= edge <= estimate.values[1] for edge in held):
        return None
    asked = max(_units_to_clear(estimate, edge) for edge in held)
    if asked >= MOST_UNITS:
        return None
    # Strictly more: at exactly this number the interval still ends on the edge, and contains it.
    # The factor keeps rounding from turning a whole number into the one below.
    return max(math.floor(asked * (1 + 1e-12)), estimate.n) + 1


def _units_to_clear(estimate: Estimate, edge: float) -> float:
    """Units at which the side of the interval that faces the edge ends on it; inf if it never does."""
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
    """Three significant digits, or more next to one, so that a share below 1 never reads 1."""
    if math.isinf(number):
        return "∞" if number > 0 else "-∞"
    if abs(number) >= 999.5:
        return f"{number:,.0f}"
    gap = abs(1 - number)
    if 10.0**-MOST_DECIMALS <= gap < 0.01:
        return f"{number:.{max(3, math.ceil(-math.log10(gap)))}f}"
    return f"{number + 0.0:.3g}"
