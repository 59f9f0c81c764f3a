"""Secondary estimates beside a ratio of median hits, which decide nothing: a model of the times, restricted means."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from engine.statistics.estimate import Estimate
from engine.statistics.hit_times import HitTimes
from engine.statistics.looks import ALPHA, ONLY
from engine.statistics.resampling import count_resamples, draw_weights, label_codes, percentile_interval

FEWEST_HITS = 3
"""Fewest hits in each arm for a model of their times."""

EARLIEST = 0.5
"""Replaces a hit at iteration 0, which has no logarithm."""


def secondary_estimates(
    name: str, slow: HitTimes, fast: HitTimes, *, clusters: Sequence[Hashable] | None = None, seed: int
) -> tuple[Estimate, ...]:
    """The accelerated-failure-time ratio and the ratio of restricted means, each if it can be computed.

    slow, fast: paired by index, with the same cap. Both treat a run that diverged as censored at the cap.
    Source: Wei 1992 (accelerated failure time); Royston & Parmar 2013 (restricted mean).
    """
    model = fit_failure_times(f"{name}, accelerated failure time", slow, fast)
    mean = compare_restricted_means(f"{name}, restricted means", slow, fast, clusters=clusters, seed=seed)
    return tuple(estimate for estimate in (model, mean) if estimate is not None)


def fit_failure_times(name: str, slow: HitTimes, fast: HitTimes) -> Estimate | None:
    """Factor by which a Weibull model stretches the fast arm's times to the slow arm's, with a sandwich interval.

    None with too few hits, or if no fit is found. The model ignores the pairing of runs.
    """
    if min(sum(hit is not None for hit in arm.hits) for arm in (slow, fast)) < FEWEST_HITS:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries warn about each other
        return _fit(name, slow, fast)


def _fit(name: str, slow: HitTimes, fast: HitTimes) -> Estimate | None:
    # Imported here: they take longer to load than a claim to declare.
    import pandas
    from lifelines import WeibullAFTFitter
    from lifelines.exceptions import ConvergenceError

    table = pandas.DataFrame(
        {
            "time": [max(arm.cap if hit is None else hit, EARLIEST) for arm in (slow, fast) for hit in arm.hits],
            "hit": [hit is not None for arm in (slow, fast) for hit in arm.hits],
            "slow": [float(arm is slow) for arm in (slow, fast) for _ in arm.hits],
        }
    )
    try:
        found: Any = WeibullAFTFitter().fit(table, duration_col="time", event_col="hit", robust=True)
    except (ConvergenceError, np.linalg.LinAlgError):
        return None
    row = found.summary.loc[("lambda_", "slow")]
    value, low, high = (float(row[key]) for key in ("exp(coef)", "exp(coef) lower 95%", "exp(coef) upper 95%"))
    if not all(map(math.isfinite, (value, low, high))):
        return None
    method = "Weibull accelerated failure time, sandwich errors, pairs not modelled"
    return Estimate(
        name=name, value=value, low=low, high=high, n=len(slow.hits), counts="pairs", method=method, scale="log"
    )


def compare_restricted_means(
    name: str, slow: HitTimes, fast: HitTimes, *, clusters: Sequence[Hashable] | None = None, seed: int
) -> Estimate | None:
    """Mean iterations up to the shared cap, slow over fast, with a bootstrap over pairs. None with too few pairs.

    A run without a hit counts the cap, which is what 'restricted' means.
    """
    n = len(slow.hits)
    if n < ONLY.fewest:
        return None
    times = [np.maximum(np.minimum(arm.times, arm.cap), EARLIEST) for arm in (slow, fast)]
    weights = draw_weights(np.random.default_rng(seed), label_codes(name, clusters, n), count_resamples(ALPHA))
    above, below = (weights @ one for one in times)
    low, high = percentile_interval(above / below, above / below)
    value = float(times[0].mean() / times[1].mean())
    return Estimate(
        name=name,
        value=value,
        low=min(low, value),
        high=max(high, value),
        n=n,
        counts="pairs",
        method=f"ratio of mean iterations up to {slow.cap}, bootstrap over pairs",
        scale="log",
    )
