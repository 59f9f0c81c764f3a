"""Means of paired differences, with intervals that never close on degenerate data."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.errors import DeclarationError, explain
from engine.statistics.estimate import Estimate
from engine.statistics.proportions import wilson_interval
from engine.statistics.resampling import FEWEST_PAIRS, draw_weights, label_codes, percentile_interval


def paired_mean(
    name: str,
    differences: Sequence[float],
    *,
    bounds: tuple[float, float] | None,
    clusters: Sequence[Hashable] | None = None,
    seed: int,
    resamples: int = 4000,
    counts: str = "pairs",
) -> Estimate:
    """Mean of paired differences, with a bootstrap over pairs.

    differences: [pairs]. bounds: what a difference can be at least and at most, None where it has no limits.
    clusters: [pairs], drawn first where labels differ. Fewer than six pairs leave the bounds themselves; where fewer
    than six are other than 0, the interval holds what unseen ones could still bring.
    Raises DeclarationError for a difference that is not finite or lies outside the bounds.
    Source: Efron 1987 (BCa); Davison & Hinkley 1997 for two stages.
    """
    values = np.asarray(differences, dtype=np.float64)  # [pairs]
    limits = bounds or (-math.inf, math.inf)
    _check_differences(name, values, limits)
    n = len(values)
    codes = label_codes(name, clusters, n)
    value = min(max(float(values.mean()), limits[0]), limits[1]) if n else math.nan
    if n < FEWEST_PAIRS:
        low, high, method = *limits, f"mean, fewer than {FEWEST_PAIRS} pairs have no interval"
    elif np.ptp(values) <= 1e-12 * np.abs(values).max():
        low, high, method = *_degenerate_interval(value, n, limits), "mean, Wilson on pairs that could differ"
    else:
        low, high, method = _bootstrap_interval(values, codes, np.random.default_rng(seed), resamples)
        # A pair without a difference has no sign: so few that have one cannot tell a direction.
        if np.count_nonzero(values) < FEWEST_PAIRS and bounds is not None:
            least, most = _degenerate_interval(value, n, limits)
            low, high, method = min(low, least), max(high, most), f"{method}, Wilson on pairs that could differ"
        low, high = max(min(low, value), limits[0]), min(max(high, value), limits[1])
    return Estimate(name=name, value=value, low=low, high=high, n=n, counts=counts, method=method, scale="linear")


def geometric_ratio(
    name: str,
    more: Sequence[float],
    less: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int,
) -> Estimate:
    """Geometric mean of paired ratios, with the bootstrap of `paired_mean` on their logarithms.

    more, less: [pairs], all above 0. Raises DeclarationError when they differ in number or one is not above 0.
    """
    if len(more) != len(less) or min((*more, *less), default=1) <= 0:
        raise DeclarationError(
            explain(
                who=f"geometric_ratio {name}",
                got=f"{len(more)} and {len(less)} values, the least {min((*more, *less), default=math.nan):g}",
                expected="pairs of values above 0",
                remedy="measure both on the same units",
            )
        )
    logs = [math.log(a / b) for a, b in zip(more, less, strict=True)]
    mean = paired_mean(name, logs, bounds=None, clusters=clusters, seed=seed)
    return Estimate(
        name=name,
        value=math.exp(mean.value),
        low=math.exp(mean.low),
        high=math.exp(mean.high),
        n=mean.n,
        counts=mean.counts,
        method=f"geometric {mean.method}",
        scale="log",
    )


def _bootstrap_interval(
    values: NDArray[np.float64], codes: NDArray[np.intp], rng: np.random.Generator, resamples: int
) -> tuple[float, float, str]:
    """BCa over pairs, or percentiles of the two-stage bootstrap where there are clusters."""
    if codes.max() > 0:
        weights = draw_weights(rng, codes, resamples)  # [resamples, pairs]
        means = weights @ values / weights.sum(axis=1)
        return *percentile_interval(means, means), "mean, bootstrap over clusters, then pairs"
    # Imported where it is used: it takes longer to load than a claim to declare.
    from scipy.stats import bootstrap

    found = bootstrap((values,), np.mean, n_resamples=resamples, method="BCa", rng=rng).confidence_interval
    return float(found.low), float(found.high), "mean, BCa bootstrap over pairs"


def _degenerate_interval(value: float, n: int, limits: tuple[float, float]) -> tuple[float, float]:
    """Interval for a mean when all pairs gave the same difference, which no resampling can widen.

    Up to Wilson's upper end for 0 of n, a share of pairs could differ, by as much as the limits allow.
    """
    if math.isinf(limits[0]) or math.isinf(limits[1]):
        return limits
    share = wilson_interval(0.0, n)[1]
    return value - share * (value - limits[0]), value + share * (limits[1] - value)


def _check_differences(name: str, values: NDArray[np.float64], limits: tuple[float, float]) -> None:
    if not limits[0] < limits[1]:
        raise DeclarationError(
            explain(
                who=f"paired_mean {name}",
                got=f"bounds {limits}",
                expected="a low bound below the high one",
                remedy="order them, or pass None",
            )
        )
    wrong = values[~np.isfinite(values) | (values < limits[0]) | (values > limits[1])]
    if len(wrong):
        raise DeclarationError(
            explain(
                who=f"paired_mean {name}",
                got=f"a difference of {wrong[0]}",
                expected=f"finite values from {limits[0]} to {limits[1]}",
                remedy="check the bounds, and how runs that diverged are scored",
            )
        )
