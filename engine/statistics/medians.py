"""Medians of measured values, with a bootstrap over units."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from engine.errors import DeclarationError, explain
from engine.statistics.estimate import Estimate, Scale
from engine.statistics.resampling import (
    FEWEST_PAIRS,
    draw_weights,
    label_codes,
    percentile_interval,
    weighted_medians,
)


def median(
    name: str,
    values: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int,
    resamples: int = 4000,
    counts: str = "units",
    scale: Scale = "log",
) -> Estimate:
    """Median of values, with a percentile bootstrap over units (clusters first, where labels differ).

    values: [units]; the median is the smallest value that at least half of them do not exceed, so that an infinite
    one is ranked and never averaged. scale: 'log' for ratios, whose interval has no end below 0.
    Fewer than six units leave the whole line. Raises DeclarationError for NaN, or a ratio below 0.
    Source: Efron 1979; Davison & Hinkley 1997 for two stages.
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
    if n < FEWEST_PAIRS:
        low, high, method = least, math.inf, f"median, fewer than {FEWEST_PAIRS} units have no interval"
    else:
        medians = weighted_medians(outcomes, draw_weights(np.random.default_rng(seed), codes, resamples))
        low, high = percentile_interval(medians, medians)
        low, high = min(low, value), max(high, value)
        drawn = "clusters, then units" if len(set(codes)) > 1 else "units"
        method = f"median, bootstrap over {drawn}"
    return Estimate(name=name, value=value, low=low, high=high, n=n, counts=counts, method=method, scale=scale)
