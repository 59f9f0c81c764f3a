"""Shares of units, with Wilson's interval and a design effect for units that share a cluster."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from engine.errors import DeclarationError, explain
from engine.statistics.estimate import Estimate, Z
from engine.statistics.resampling import label_codes


def proportion(
    name: str, successes: Sequence[bool], *, clusters: Sequence[Hashable] | None = None, counts: str = "units"
) -> Estimate:
    """Share of units that succeeded, with Wilson's interval on the effective number of units.

    successes: [units]. clusters: [units], what units share, such as a model seed; a single label says
    nothing about clustering and counts as none. No units give the interval [0, 1].
    Raises DeclarationError when the two differ in length. Source: Wilson 1927; Kish 1965 (design effect).
    """
    outcomes = np.asarray(successes, dtype=np.float64)  # [units]
    n = len(outcomes)
    effect = _design_effect(outcomes, label_codes(name, clusters, n)) if n else 1.0
    value = float(outcomes.mean()) if n else math.nan
    low, high = wilson_interval(value, n / effect) if n else (0.0, 1.0)
    method = f"Wilson, design effect {effect:.1f}"
    return Estimate(name=name, value=value, low=low, high=high, n=n, counts=counts, method=method, scale="proportion")


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


def wilson_interval(rate: float, units: float) -> tuple[float, float]:
    """Wilson's 95 % interval for a rate seen in so many effective units. Source: Wilson 1927."""
    shrink = 1 + Z**2 / units
    centre = (rate + Z**2 / (2 * units)) / shrink
    half = Z * math.sqrt(rate * (1 - rate) / units + Z**2 / (4 * units**2)) / shrink
    # The ends at rates 0 and 1 are exactly 0 and 1; rounding must not move them.
    low = 0.0 if rate == 0 else max(0.0, centre - half)
    high = 1.0 if rate == 1 else min(1.0, centre + half)
    return low, high


def _design_effect(outcomes: np.ndarray, codes: np.ndarray) -> float:
    """Cluster-robust variance of the mean over the binomial one, at least 1.

    outcomes, codes: [units]. Both variances carry their small-sample factor, so that clusters of one give 1.
    """
    n, groups = len(outcomes), int(codes.max()) + 1
    deviations = outcomes - outcomes.mean()
    binomial = float(deviations @ deviations) / (n - 1) / n if n > 1 else 0.0
    if groups < 2 or binomial == 0:
        return 1.0
    sums = np.bincount(codes, weights=deviations)  # [clusters]
    robust = groups / (groups - 1) * float(sums @ sums) / n**2
    return max(1.0, robust / binomial)
