"""Shares of units: Wilson's and the exact interval, a confidence sequence at early looks, a design effect."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from engine.errors import DeclarationError, explain
from engine.statistics.binomial import share_interval
from engine.statistics.estimate import Estimate
from engine.statistics.looks import EARLY, ONLY, Look
from engine.statistics.resampling import find_design_effect, label_codes

TINY = 1e-12
"""Nearest to 0 and 1 that an end of a confidence sequence is looked for."""


def proportion(
    name: str,
    successes: Sequence[bool],
    *,
    clusters: Sequence[Hashable] | None = None,
    counts: str = "units",
    look: Look = ONLY,
) -> Estimate:
    """Share of units that succeeded, with an interval on the effective number of units.

    The wider of Wilson's interval and the exact one at the last look; before it the beta-binomial confidence sequence,
    which holds at all early looks together. successes: [units]. clusters: [units], what units share, such as a model
    seed; a single label says nothing about clustering and counts as none. No units give the interval [0, 1].
    Raises DeclarationError when the two differ in length. Source: Kish 1965 (design effect).
    """
    outcomes = np.asarray(successes, dtype=np.float64)  # [units]
    n = len(outcomes)
    effect = find_design_effect(outcomes, label_codes(name, clusters, n)) if n else 1.0
    value = float(outcomes.mean()) if n else math.nan
    interval = share_interval if look.final else find_sequence_interval
    low, high = interval(value, n / effect, look.alpha if look.final else EARLY) if n else (0.0, 1.0)
    kind = "wider of Wilson and exact" if look.final else "beta-binomial confidence sequence"
    method = f"{kind}, design effect {effect:.1f}{look.text}"
    return Estimate(
        name=name,
        value=value,
        low=low,
        high=high,
        n=n,
        counts=counts,
        method=method,
        scale="proportion",
        alpha=look.alpha,
        effect=effect,
    )


def exact_share(name: str, successes: int, total: int, counts: str = "tokens") -> Estimate:
    """Share of a whole population that was counted out, so that both ends are the value.

    Raises DeclarationError when there is nothing to count, or more successes than units.
    """
    if not 0 <= successes <= total or total == 0:
        raise DeclarationError(
            explain(
                who=f"exact_share {name}",
                got=f"{successes} of {total}",
                expected="0 ≤ successes ≤ total and a total above 0",
                remedy="count over at least one of the population",
            )
        )
    share = successes / total
    return Estimate(
        name=name,
        value=share,
        low=share,
        high=share,
        n=total,
        counts=counts,
        method="exhaustive count",
        scale="exact",
    )


def find_sequence_interval(rate: float, units: float, alpha: float) -> tuple[float, float]:
    """The rates that a uniform mixture has not beaten 1/alpha to one: a confidence sequence, valid at every n at once.

    The likelihood of the outcomes averaged over all rates, over their likelihood at one rate p, is a martingale if p
    is true, and exceeds 1/alpha at any time with a probability of alpha at most (Ville).
    Source: Robbins 1970; Howard et al. 2021.
    """
    # Imported where it is used: it takes longer to load than a claim to declare.
    from scipy.optimize import brentq

    yes, no = rate * units, (1 - rate) * units
    # log of the mixture's likelihood: ∫ p^yes (1 − p)^no dp = B(yes + 1, no + 1)
    least = math.lgamma(yes + 1) + math.lgamma(no + 1) - math.lgamma(units + 2) + math.log(alpha)

    def excess(p: float) -> float:
        return yes * math.log(p) + no * math.log1p(-p) - least

    if rate in (0, 1):
        end = math.exp(least / units)
        return (end, 1.0) if rate == 1 else (0.0, 1 - end)
    low: Any = brentq(excess, TINY, rate)
    high: Any = brentq(excess, rate, 1 - TINY)
    return float(low), float(high)
