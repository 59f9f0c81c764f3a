"""Means of paired differences, with intervals that keep their width on degenerate data."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.errors import DeclarationError, explain
from engine.statistics.binomial import wilson_interval
from engine.statistics.estimate import Estimate
from engine.statistics.looks import ONLY, Look
from engine.statistics.resampling import (
    count_resamples,
    draw_weights,
    find_design_effect,
    find_level,
    label_codes,
    percentile_interval,
)

FEWEST = ONLY.fewest
"""Independent pairs below which there is too little to resample."""

FEW = 12
"""Pairs below which alpha is halved, since every method misses more often than it says there."""


def paired_mean(
    name: str,
    differences: Sequence[float],
    *,
    bounds: tuple[float, float] | None,
    clusters: Sequence[Hashable] | None = None,
    seed: int,
    resamples: int | None = None,
    counts: str = "pairs",
    look: Look = ONLY,
) -> Estimate:
    """Mean of paired differences, with a bootstrap over pairs, or before the last look with Student's interval.

    differences: [pairs]. bounds: the least and greatest possible difference; None without limits.
    clusters: [pairs], resampled first if labels differ. Fewer pairs than the look needs (six) give the bounds
    themselves. If fewer than that differ from 0, the interval covers what unseen pairs could still bring.
    Raises DeclarationError for a difference that is not finite or lies outside the bounds.
    Source: Efron 1987 (BCa); Davison & Hinkley 1997 for two stages.
    """
    values = np.asarray(differences, dtype=np.float64)  # [pairs]
    limits = bounds or (-math.inf, math.inf)
    _check_differences(name, values, limits)
    n = len(values)
    codes = label_codes(name, clusters, n)
    value = min(max(float(values.mean()), limits[0]), limits[1]) if n else math.nan
    if n < look.fewest:
        low, high, method = *limits, f"mean, fewer than {look.fewest} pairs have no interval"
    elif np.ptp(values) <= 1e-12 * np.abs(values).max():
        low, high, method = *_degenerate_interval(value, n, limits, look), "mean, Wilson on pairs that could differ"
    else:
        alpha = look.alpha if n >= FEW else look.alpha / 2
        if look.final:
            low, high, method = _bootstrap_interval(values, codes, np.random.default_rng(seed), resamples, alpha)
        else:
            low, high, method = *_student_interval(values, codes, alpha), "mean, Student"
        # A pair without a difference has no sign: too few with one cannot tell a direction.
        if np.count_nonzero(values) < look.fewest and bounds is not None:
            least, most = _degenerate_interval(value, n, limits, look)
            low, high, method = min(low, least), max(high, most), f"{method}, Wilson on pairs that could differ"
        low, high = max(min(low, value), limits[0]), min(max(high, value), limits[1])
    return Estimate(
        name=name,
        value=value,
        low=low,
        high=high,
        n=n,
        counts=counts,
        method=method + look.text,
        scale="linear",
        alpha=look.alpha,
    )


def geometric_ratio(
    name: str,
    more: Sequence[float],
    less: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int,
    look: Look = ONLY,
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
    mean = paired_mean(name, logs, bounds=None, clusters=clusters, seed=seed, look=look)
    return Estimate(
        name=name,
        value=math.exp(mean.value),
        low=math.exp(mean.low),
        high=math.exp(mean.high),
        n=mean.n,
        counts=mean.counts,
        method=f"geometric {mean.method}",
        scale="log",
        alpha=mean.alpha,
    )


def _student_interval(values: NDArray[np.float64], codes: NDArray[np.intp], alpha: float) -> tuple[float, float]:
    """Student's interval on the effective number of pairs. Source: Student 1908; Kish 1965 (design effect)."""
    # Imported here: scipy takes longer to load than a claim to declare.
    from scipy.stats import t

    effect = find_design_effect(values, codes)
    error = float(values.std(ddof=1)) * math.sqrt(effect / len(values))
    reach = float(t.ppf(1 - alpha / 2, _count_effective(values, codes) - 1)) * error
    return float(values.mean()) - reach, float(values.mean()) + reach


def _count_effective(values: NDArray[np.float64], codes: NDArray[np.intp]) -> float:
    """The effective number of independent pairs, at least two."""
    return max(len(values) / find_design_effect(values, codes), 2.0)


def _bootstrap_interval(
    values: NDArray[np.float64],
    codes: NDArray[np.intp],
    rng: np.random.Generator,
    resamples: int | None,
    alpha: float,
) -> tuple[float, float, str]:
    """BCa over pairs, or percentiles of the two-stage bootstrap over clusters, at levels for small samples.

    Source: Efron 1987 (BCa); Davison & Hinkley 1997 for two stages; Hesterberg 2015 for the levels.
    """
    from scipy.stats import bootstrap

    effective, groups = _count_effective(values, codes), int(codes.max()) + 1
    if effective < FEWEST:
        return *_student_interval(values, codes, alpha), "mean, Student on the few clusters"
    level = find_level(alpha, effective)
    count = resamples or count_resamples(level)
    if groups > 1:
        weights = draw_weights(rng, codes, count)  # [resamples, pairs]
        means = weights @ values / weights.sum(axis=1)
        low, high = percentile_interval(means, means, level)
        kind = "bootstrap over clusters, then pairs"
    else:
        found = bootstrap((values,), np.mean, n_resamples=count, method="BCa", confidence_level=1 - level, rng=rng)
        low, high = float(found.confidence_interval.low), float(found.confidence_interval.high)
        kind = "BCa bootstrap over pairs"
    # The bootstrap handles skewed values, Student's interval few of them: take the wider on each side.
    least, most = _student_interval(values, codes, alpha)
    return min(low, least), max(high, most), f"mean, wider of {kind} and Student"


def _degenerate_interval(value: float, n: int, limits: tuple[float, float], look: Look) -> tuple[float, float]:
    """Interval for a mean when all pairs gave the same difference, which no resampling can widen.

    A share of pairs up to Wilson's upper end for 0 of n could differ, by as much as the limits allow.
    """
    if math.isinf(limits[0]) or math.isinf(limits[1]):
        return limits
    share = wilson_interval(0.0, n, look.alpha)[1]
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
