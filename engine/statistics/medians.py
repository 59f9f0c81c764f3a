"""Medians of measured values, with intervals of order statistics."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from engine.errors import DeclarationError, explain
from engine.statistics.estimate import Estimate, Scale
from engine.statistics.looks import ONLY, Look
from engine.statistics.resampling import find_rank_interval, label_codes, weighted_medians


def median(
    name: str,
    values: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    counts: str = "units",
    scale: Scale = "log",
    look: Look = ONLY,
) -> Estimate:
    """Median of values, with the interval of order statistics, which assumes nothing about the distribution.

    values: [units]. The median is the smallest value that at least half of them do not exceed, so that infinite values
    are ranked and never averaged. clusters: [units]. scale: 'log' for ratios, whose interval has no end below 0.
    Fewer units than the look needs (six) give the whole line. Raises DeclarationError for NaN, or a ratio below 0.
    Source: Thompson 1936.
    """
    wrong = [value for value in values if math.isnan(value) or (scale == "log" and value < 0)]
    if wrong:
        raise DeclarationError(
            explain(
                who=f"median {name}",
                got=f"a value of {wrong[0]}",
                expected="numbers, none below 0 where they are ratios",
                remedy="check how runs that diverged are scored",
            )
        )
    n = len(values)
    least = 0.0 if scale == "log" else -math.inf
    codes = label_codes(name, clusters, n)
    outcomes = np.asarray(values, dtype=np.float64)
    value = float(weighted_medians(outcomes, np.ones((1, n), dtype=np.int64))[0]) if n else math.nan
    low, high, method = least, math.inf, f"median, fewer than {look.fewest} units have no interval"
    if n >= look.fewest:
        low, high = find_rank_interval(outcomes, codes, look.alpha)
        low, method = max(low, least), "median, order statistics"
    return Estimate(
        name=name,
        value=value,
        low=low,
        high=high,
        n=n,
        counts=counts,
        method=method + look.text,
        scale=scale,
        alpha=look.alpha,
    )
