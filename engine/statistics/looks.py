"""Interim looks: when a claim may be decided early, and the error that each look may spend."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from engine.errors import DeclarationError, explain

ALPHA = 0.05
"""Error of an interval, over all looks together."""

EARLY = 0.004
"""Part of ALPHA that all earlier looks spend together: so small that 36 of 36 still lies above 0.9 at the last look."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """A moment at which a claim may be decided, by the units measured so far.

    number: from 1. of: how many looks are planned. as_last: use the last look's level on the units measured so far, to
    see whether more could decide.
    The errors of all looks add up to 0.05 (Bonferroni), whatever the dependence between them: 0.004 in equal parts
    before the last, the rest at the last.
    Raises DeclarationError if the number is not among the planned ones.
    Source: Haybittle 1971, Peto et al. 1976 (a strict rule early leaves the last look nearly whole).
    """

    number: int = 1
    of: int = 1
    as_last: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise DeclarationError(
                explain(
                    who="look",
                    got=f"look {self.number} of {self.of}",
                    expected="a number from 1 to the planned looks",
                    remedy="plan more looks or count from 1",
                )
            )

    @property
    def last(self) -> bool:
        return self.number == self.of

    @property
    def final(self) -> bool:
        """Whether intervals have the last look's level."""
        return self.last or self.as_last

    @property
    def alpha(self) -> float:
        """Error of an interval at this look."""
        if self.of == 1:
            return ALPHA
        return ALPHA - EARLY if self.final else EARLY / (self.of - 1)

    @property
    def fewest(self) -> int:
        """Fewest pairs for which an interval is given."""
        return count_fewest(self.alpha)

    @property
    def text(self) -> str:
        """The look, for an estimate's method; '' if there is only one."""
        return f"; look {self.number} of {self.of}, {100 * (1 - self.alpha):.3g} %" if self.of > 1 else ""


ONLY = Look()
"""A single look, at all units."""


def find_z(alpha: float) -> float:
    return NormalDist().inv_cdf(1 - alpha / 2)


def count_fewest(alpha: float) -> int:
    """Fewest pairs for which a two-sided sign test can reach alpha: its smallest p is 2/2ⁿ."""
    return math.ceil(1 - math.log2(alpha))
