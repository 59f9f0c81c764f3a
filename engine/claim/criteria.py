"""Criteria: conditions on estimates, each with the region of values for which it holds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Literal

from engine.errors import DeclarationError, explain
from engine.statistics import Estimate, n_to_decide

Scope = Literal["every", "trained", "trained GPT-2", "gpt2-xl", "gpt2-mini-d256"]
"""The subjects on which a criterion is judged. Its estimate is shown on all."""

Role = Literal["only", "direction", "magnitude"]


class Ruling(StrEnum):
    """What an experiment says about a claim; each member fits into a sentence."""

    SUPPORTED = "supported"
    PARTLY = "partly supported"
    REFUTED = "refuted"
    INCONCLUSIVE = "inconclusive"
    NOT_RUN = "not run at this effort"
    NOT_TESTED = "not tested on this model"


DECISIVE = frozenset({Ruling.SUPPORTED, Ruling.PARTLY, Ruling.REFUTED})


@dataclass(frozen=True, kw_only=True)
class Region:
    """The values of an estimand for which a criterion holds: an interval, each end open or closed."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def contains(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def rule(self, low: float, high: float) -> Ruling:
        """Supported if the interval [low, high] lies inside the region, refuted if outside, else inconclusive."""
        if self.contains(low) and self.contains(high):
            return Ruling.SUPPORTED
        beyond = low > self.high or (low == self.high and self.open_high)
        short = high < self.low or (high == self.low and self.open_low)
        return Ruling.REFUTED if beyond or short else Ruling.INCONCLUSIVE


@dataclass(frozen=True)
class Criterion:
    """One condition on one estimate. Its subclasses say for which values it holds.

    estimate: the name of the estimate. because: why this condition, for the reader. role: 'direction' or
    'magnitude' in a claim with both kinds, else 'only'. on: the subjects on which it is judged.
    least: the smallest effect of interest, for a condition whose bound means *no effect*: an effect below it is none,
    whatever its sign. For a ratio it is a factor around the bound, else a distance from it. least_because: why so much.
    """

    estimate: str
    because: str = field(kw_only=True)
    role: Role = field(default="only", kw_only=True)
    on: Scope = field(default="every", kw_only=True)
    least: float | None = field(default=None, kw_only=True)
    least_because: str = field(default="", kw_only=True)

    @property
    def region(self) -> Region:
        """The values for which the condition holds."""
        raise TypeError(f"{type(self).__name__} has no region; use Above, AtLeast, Below, AtMost or Within")

    @property
    def text(self) -> str:
        """The condition as a reader writes it, such as 'ratio > 100'."""
        raise TypeError(f"{type(self).__name__} has no text; use Above, AtLeast, Below, AtMost or Within")

    @property
    def edges(self) -> list[float]:
        """Finite ends of the region."""
        return [edge for edge in (self.region.low, self.region.high) if math.isfinite(edge)]

    def no_effect(self, estimate: Estimate) -> Region | None:
        """The values that are no effect of interest, ends included; None where no smallest effect is declared.

        Raises DeclarationError for a ratio whose smallest effect is no factor.
        """
        return None

    def rule(self, estimate: Estimate) -> Ruling:
        """Refuted if the interval holds no effect of interest; else by its place in, out of or across the region."""
        none = self.no_effect(estimate)
        if none is not None and none.contains(estimate.low) and none.contains(estimate.high):
            return Ruling.REFUTED
        return self.region.rule(estimate.low, estimate.high)

    def count_to_decide(self, estimate: Estimate) -> int | None:
        """Units that would decide, if value and spread stayed: more than `estimate.n`, or None if none would."""
        none, needed = self.no_effect(estimate), [n_to_decide(estimate, self.edges)]
        if none is not None and none.contains(estimate.value):
            needed.append(n_to_decide(estimate, [none.low, none.high]))
        found = [n for n in needed if n is not None]
        return min(found) if found else None

    def expect(self, estimate: Estimate) -> Ruling:
        """The ruling once there are units enough, if the value stays."""
        none = self.no_effect(estimate)
        if none is not None and none.contains(estimate.value):
            return Ruling.REFUTED
        return Ruling.SUPPORTED if self.region.contains(estimate.value) else Ruling.REFUTED


@dataclass(frozen=True)
class OneSided(Criterion):
    """A comparison with one bound. sign: of the comparison, as a reader writes it.

    Raises DeclarationError for a smallest effect of interest that is none, or has no reason.
    """

    sign: ClassVar[Literal[">", "≥", "<", "≤"]]
    bound: float = math.nan

    def __post_init__(self) -> None:
        if self.least is not None and not 0 < self.least < math.inf:
            got, remedy = f"least={self.least:g}", "leave it out where no effect is too small to count"
            expected = "a smallest effect above 0"
            raise DeclarationError(explain(who=f"criterion {self.estimate}", got=got, expected=expected, remedy=remedy))
        if (self.least is None) == bool(self.least_because):
            got = "a reason without a size" if self.least is None else f"least={self.least:g} without a reason"
            expected, remedy = "least and least_because together", "say where the size comes from"
            raise DeclarationError(explain(who=f"criterion {self.estimate}", got=got, expected=expected, remedy=remedy))

    @property
    def region(self) -> Region:
        if self.sign in (">", "≥"):
            return Region(low=self.bound, open_low=self.sign == ">")
        return Region(high=self.bound, open_high=self.sign == "<")

    @property
    def text(self) -> str:
        return f"{self.estimate} {self.sign} {self.bound:g}"

    def no_effect(self, estimate: Estimate) -> Region | None:
        if self.least is None:
            return None
        if estimate.scale == "log":
            if self.least <= 1 or self.bound <= 0:
                got = f"least={self.least:g} around {self.bound:g} for a ratio"
                expected, remedy = "a factor above 1 around a bound above 0", "least=1.5 is half as much again"
                who = f"criterion {self.estimate}"
                raise DeclarationError(explain(who=who, got=got, expected=expected, remedy=remedy))
            return Region(low=self.bound / self.least, high=self.bound * self.least)
        return Region(low=self.bound - self.least, high=self.bound + self.least)


class Above(OneSided):
    """Strictly greater than the bound."""

    tag: ClassVar[str] = "Above"
    sign = ">"


class AtLeast(OneSided):
    """Greater than or equal to the bound."""

    tag: ClassVar[str] = "AtLeast"
    sign = "≥"


class Below(OneSided):
    """Strictly less than the bound."""

    tag: ClassVar[str] = "Below"
    sign = "<"


class AtMost(OneSided):
    """Less than or equal to the bound."""

    tag: ClassVar[str] = "AtMost"
    sign = "≤"


@dataclass(frozen=True)
class Within(Criterion):
    """Between two bounds, ends included."""

    tag: ClassVar[str] = "Within"
    low: float = math.nan
    high: float = math.nan

    @property
    def region(self) -> Region:
        return Region(low=self.low, high=self.high)

    @property
    def text(self) -> str:
        return f"{self.low:g} ≤ {self.estimate} ≤ {self.high:g}"
