"""Shares of units: Wilson's and the exact interval, and a confidence sequence at interim looks."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from engine.errors import DeclarationError, explain
from engine.statistics.binomial import share_interval
from engine.statistics.estimate import Estimate, exact_value
from engine.statistics.looks import EARLY, ONLY, Look
from engine.statistics.resampling import find_design_effect, label_codes

TINY = 1e-12
"""Distance from 0 and 1 within which no end of a confidence sequence is searched."""


def proportion(
    name: str,
    successes: Sequence[bool],
    *,
    clusters: Sequence[Hashable] | None = None,
    counts: str = "units",
    look: Look = ONLY,
) -> Estimate:
    """Share of units that succeeded, with an interval on the effective number of units.

    At the last look it is the wider of Wilson's interval and the exact one; before, the beta-binomial confidence
    sequence, which holds at all interim looks together. successes: [units]. clusters: [units], such as model seeds; a
    single label says nothing about clustering and counts as none. No units give [0, 1].
    Raises DeclarationError if the two differ in length. Source: Kish 1965 (design effect).
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
    """Share of a whole population, counted exhaustively, so that both ends equal the value.

    Raises DeclarationError if there is nothing to count, or more successes than units.
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
    return exact_value(name, successes / total, total, counts=counts, method="exhaustive count")


def find_sequence_interval(rate: float, units: float, alpha: float) -> tuple[float, float]:
    """A confidence sequence for a rate, valid at every n at once: what a uniform mixture does not beat 1/alpha : 1.

    The likelihood of the outcomes averaged over all rates, divided by their likelihood at a rate p, is a martingale if
    p is true. It ever exceeds 1/alpha with probability at most alpha (Ville).
    Source: Robbins 1970; Howard et al. 2021.
    """
    # Imported here: scipy takes longer to load than a claim to declare.
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
