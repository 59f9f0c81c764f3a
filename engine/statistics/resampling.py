"""Bootstrap resamples as weights of units, intervals read from them, and design effects."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.errors import DeclarationError, explain
from engine.statistics.looks import ALPHA

FEWEST_RESAMPLES = 4000


def label_codes(who: str, clusters: Sequence[Hashable] | None, n: int) -> NDArray[np.intp]:
    """Cluster labels as numbers from 0, in order of appearance. Without labels all units form one cluster.

    Returns [units]. Raises DeclarationError unless there is one label for each unit.
    """
    if clusters is None:
        return np.zeros(n, dtype=np.intp)
    if len(clusters) != n:
        raise DeclarationError(
            explain(
                who=who,
                got=f"{len(clusters)} cluster labels",
                expected=f"one for each of {n}",
                remedy="label every unit, or pass no clusters",
            )
        )
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(label, len(seen)) for label in clusters], dtype=np.intp)


def draw_weights(rng: np.random.Generator, codes: NDArray[np.intp], resamples: int) -> NDArray[np.int64]:
    """How often each unit is drawn in each resample, in two stages if there are clusters.

    codes: [units], cluster of each unit. Returns [resamples, units].
    Clusters are drawn first. Then a cluster drawn k times gives k times its size of units. With one cluster this is
    the plain bootstrap. Source: Davison & Hinkley 1997, section 3.8 (strategy 2).
    """
    groups = int(codes.max()) + 1
    drawn = rng.multinomial(groups, np.full(groups, 1 / groups), size=resamples)  # [resamples, clusters]
    weights = np.zeros((resamples, len(codes)), dtype=np.int64)
    for group in range(groups):
        members = np.flatnonzero(codes == group)
        share = np.full(len(members), 1 / len(members))
        weights[:, members] = rng.multinomial(drawn[:, group] * len(members), share)
    return weights


def weighted_medians(values: NDArray[np.float64], weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weighted median of each row of weights: the smallest value that at least half of the weight does not exceed.

    values: [units], possibly infinite. weights: [resamples, units]. Returns [resamples].
    """
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[:, order], axis=1)
    first = np.argmax(2 * reached >= reached[:, -1:], axis=1)  # [resamples]
    return values[order][first]


def percentile_interval(
    lows: NDArray[np.float64], highs: NDArray[np.float64], alpha: float = ALPHA
) -> tuple[float, float]:
    """The alpha/2 percentile of the lower bounds and the 1 - alpha/2 percentile of the upper ones, rounded outwards.

    lows, highs: [resamples], equal if a resample has one value. Infinite values are ranked, never averaged.
    """
    last = len(lows) - 1
    low = np.sort(lows)[math.floor(alpha / 2 * last)]
    high = np.sort(highs)[math.ceil((1 - alpha / 2) * last)]
    return float(low), float(high)


def find_rank_interval(values: NDArray[np.float64], codes: NDArray[np.intp], alpha: float) -> tuple[float, float]:
    """Interval of order statistics for the population's median, whatever the distribution; possibly infinite.

    values: [units], possibly infinite. codes: [units], their clusters. It misses with probability at most alpha: fewer
    than k independent units fall below the median as rarely as fewer than k tosses show heads. Source: Thompson 1936.
    """
    # Imported here: scipy takes longer to load than a claim to declare.
    from scipy.stats import binom

    middle = weighted_medians(values, np.ones((1, len(values)), dtype=np.int64))[0]
    independent = math.floor(len(values) / find_design_effect((values <= middle).astype(np.float64), codes))
    k = int(binom.ppf(alpha / 2, independent, 0.5))  # fewer than k heads have a probability below alpha/2
    if k < 1:
        return -math.inf, math.inf
    # With fewer effective units than values, cut off the same share of the values.
    rank = max(1, math.floor(k / independent * len(values)))
    ordered = np.sort(values)
    return float(ordered[rank - 1]), float(ordered[-rank])


def find_level(alpha: float, effective: float) -> float:
    """The level at which to read a bootstrap's percentiles, so that they miss as often as alpha says.

    Percentiles are too narrow by the ratio of Student's to the normal quantile, and by √(n/(n − 1)).
    effective: independent units. Source: Hesterberg 2015, section 3.
    """
    from scipy.stats import norm, t

    reach = math.sqrt(effective / (effective - 1)) * float(t.ppf(1 - alpha / 2, effective - 1))
    return 2 * float(norm.sf(reach))


def count_resamples(level: float) -> int:
    """Resamples that leave at least twenty beyond either end of the interval; at least FEWEST_RESAMPLES."""
    return max(FEWEST_RESAMPLES, math.ceil(40 / level))


LEAST_ALIKE = 0.05
"""Smallest intraclass correlation that is assumed within clusters, since a handful of clusters cannot show less."""


def find_design_effect(outcomes: NDArray[np.float64], codes: NDArray[np.intp]) -> float:
    """Cluster-robust variance of the mean over that of as many independent units, at least 1.

    outcomes, codes: [units]. Both variances have their small-sample factor, so that clusters of one unit give 1. If
    units share clusters and differ, it is at least the effect of a correlation of 0.05 within clusters.
    Source: Kish 1965.
    """
    n, groups = len(outcomes), int(codes.max()) + 1
    deviations = outcomes - outcomes.mean()
    plain = float(deviations @ deviations) / (n - 1) / n if n > 1 else 0.0
    if groups < 2 or plain == 0:
        return 1.0
    sums = np.bincount(codes, weights=deviations)  # [clusters]
    robust = groups / (groups - 1) * float(sums @ sums) / n**2
    return max(1.0 + (n / groups - 1) * LEAST_ALIKE, robust / plain)
