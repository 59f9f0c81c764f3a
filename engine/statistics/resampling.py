"""The bootstrap's resamples, as how often each unit was drawn, and the interval read from them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.errors import DeclarationError, explain

# Signs flipped at random give a two-sided p of 2 / 2^n at the least, which is below 0.05 from six pairs on.
FEWEST_PAIRS = 6


def label_codes(who: str, clusters: Sequence[Hashable] | None, n: int) -> NDArray[np.intp]:
    """Labels as numbers from 0 in order of appearance; without labels all units are of one cluster.

    Returns [units]. Raises DeclarationError when there is not one label a unit.
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
    """How often each unit is drawn in each resample, in two stages where there are clusters.

    codes: [units], cluster of each unit. Returns [resamples, units].
    Clusters are drawn first, then as many units within each as it was drawn times its size; with one
    cluster that is the plain bootstrap. Source: Davison & Hinkley 1997, section 3.8 (strategy 2).
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
    """Smallest value that at least half of the weight does not exceed, for each row of weights.

    values: [units], possibly infinite. weights: [resamples, units]. Returns [resamples].
    """
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[:, order], axis=1)
    first = np.argmax(2 * reached >= reached[:, -1:], axis=1)  # [resamples]
    return values[order][first]


def percentile_interval(lows: NDArray[np.float64], highs: NDArray[np.float64]) -> tuple[float, float]:
    """The 2.5 % point of the low ends and the 97.5 % point of the high ends, each rounded outwards.

    lows, highs: [resamples], equal where a resample has one value. Infinite ends are ranked, never averaged.
    """
    last = len(lows) - 1
    low = np.sort(lows)[math.floor(0.025 * last)]
    high = np.sort(highs)[math.ceil(0.975 * last)]
    return float(low), float(high)
