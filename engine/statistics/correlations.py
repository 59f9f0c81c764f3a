"""Rank correlations of medians over conditions, within clusters."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import DeclarationError, explain
from engine.statistics.estimate import Estimate
from engine.statistics.looks import ONLY, Look
from engine.statistics.resampling import (
    count_resamples,
    find_level,
    label_codes,
    percentile_interval,
    weighted_medians,
)

FEWEST_CONDITIONS = 3


def rank_correlation(
    name: str,
    first: Sequence[Sequence[float]],
    second: Sequence[Sequence[float]],
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int,
    resamples: int | None = None,
    look: Look = ONLY,
) -> Estimate:
    """Spearman's ρ over conditions between the medians of two readings: within each cluster, then their mean.

    first, second: [conditions, units], possibly infinite, the same units in every condition. clusters: [units].
    Infinite medians tie. Where all medians of a cluster are equal on a side, its ρ is unknown: the value is nan, and
    the interval holds all that it may be. The interval is a bootstrap over units within clusters, in which a unit is
    drawn with all of its readings: it holds for these clusters. Fewer than six units in a cluster, and every look
    before the last, have no interval.
    Raises DeclarationError for NaN, fewer than three conditions, or rows of different lengths.
    Source: Spearman 1904; Davison & Hinkley 1997, section 3.2 (stratified resampling).
    """
    lengths = {len(row) for row in (*first, *second)}
    if len(first) != len(second) or len(first) < FEWEST_CONDITIONS or len(lengths) > 1:
        got = f"{len(first)} and {len(second)} conditions of {', '.join(map(str, sorted(lengths)))} units"
        expected = f"as many of each, at least {FEWEST_CONDITIONS}, all of the same units"
        raise DeclarationError(
            explain(who=f"rank_correlation {name}", got=got, expected=expected, remedy="read every unit in each")
        )
    sides = [np.asarray(side, dtype=np.float64) for side in (first, second)]  # [conditions, units] each
    if any(np.isnan(side).any() for side in sides):
        got, remedy = "NaN", "check how runs that diverged are scored"
        raise DeclarationError(explain(who=f"rank_correlation {name}", got=got, expected="numbers", remedy=remedy))
    (n,) = lengths
    codes = label_codes(name, clusters, n)
    groups = [np.flatnonzero(codes == group) for group in range(int(codes.max()) + 1)] if n else []

    def correlate(weights: list[NDArray[np.int64]]) -> NDArray[np.float64]:
        """ρ of each cluster by its weights, nan if unknown: [resamples, units] each → [clusters, resamples]."""
        found = [
            _spearman(*(np.stack([weighted_medians(row[own], w) for row in side], axis=1) for side in sides))
            for own, w in zip(groups, weights, strict=True)
        ]
        return np.stack(found)

    value = float(correlate([np.ones((1, len(own)), dtype=np.int64) for own in groups]).mean()) if n else math.nan
    fewest = min(map(len, groups), default=0)
    method = f"Spearman's ρ of medians over {len(first)} conditions, mean of {len(groups)} clusters"
    if fewest < ONLY.fewest:
        # Open before the last look: what more units will bring cannot be told from so few.
        low, high = (-1.0, 1.0) if look.last else (-math.inf, math.inf)
        method = f"{method}; fewer than {ONLY.fewest} units in a cluster have no interval"
    elif not look.final:
        low, high, method = -math.inf, math.inf, f"{method}; no interval before the last look"
    else:
        level = find_level(look.alpha, fewest)
        count = resamples or count_resamples(level)
        rng = np.random.default_rng(seed)
        drawn = correlate([rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=count) for own in groups])
        least, most = (np.where(np.isnan(drawn), end, drawn).mean(axis=0) for end in (-1.0, 1.0))
        low, high = percentile_interval(least, most, level)
        low, high = (low, high) if math.isnan(value) else (min(low, value), max(high, value))
        method = f"{method}; bootstrap over units within clusters"
    return Estimate(
        name=name,
        value=value,
        low=low,
        high=high,
        n=n,
        counts="units",
        method=method + look.text,
        scale="linear",
        alpha=look.alpha,
    )


def _spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """ρ of each row, nan where a side is all equal: [resamples, conditions] each → [resamples]. Ties share a rank."""
    # Imported here: scipy takes longer to load than a claim to declare.
    from scipy.stats import rankdata

    ranks: list[Any] = [rankdata(side, axis=1) for side in (first, second)]
    x, y = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    size = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    return np.divide((x * y).sum(axis=1), size, out=np.full_like(size, math.nan), where=size > 0)
