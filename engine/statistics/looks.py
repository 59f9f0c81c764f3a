"""When a claim may be decided before all of its units are in, and what that costs its intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from engine.errors import DeclarationError, explain

ALPHA = 0.05
"""How often an interval may miss, over all looks together."""

EARLY = 0.004
"""The part of it that all looks before the last may spend: so little that 36 of 36 still clear 0.9 at the last."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One of the moments at which a claim may be decided, by all units that are in by then.

    number: from 1. of: how many are planned. as_last: ask what the last look would say of the units that are in, to
    see whether more could decide.
    The errors of all looks add up to 0.05 (Bonferroni), however the estimates of two looks hang together: 0.004 in
    equal parts before the last, the rest at the last.
    Raises DeclarationError when the number is not among the planned ones.
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
        """Whether intervals are those of the last look."""
        return self.last or self.as_last

    @property
    def alpha(self) -> float:
        """How often an interval of this look may miss."""
        if self.of == 1:
            return ALPHA
        return ALPHA - EARLY if self.final else EARLY / (self.of - 1)

    @property
    def fewest(self) -> int:
        """Pairs below which no interval is given."""
        return count_fewest(self.alpha)

    @property
    def text(self) -> str:
        """What an estimate's method says of the look; nothing where there is only one."""
        return f"; look {self.number} of {self.of}, {100 * (1 - self.alpha):.3g} %" if self.of > 1 else ""


ONLY = Look()
"""A single look, at all units."""


def find_z(alpha: float) -> float:
    return NormalDist().inv_cdf(1 - alpha / 2)


def count_fewest(alpha: float) -> int:
    """Pairs whose signs, flipped at random, can reach a two-sided p of alpha: at the least it is 2/2ⁿ."""
    return math.ceil(1 - math.log2(alpha))
