"""Hit times: iterations until the bound is reached, right-censored at a cap, and the ratio of two arms' medians."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import DeclarationError, explain
from engine.statistics.estimate import Estimate
from engine.statistics.looks import ONLY, Look
from engine.statistics.resampling import (
    count_resamples,
    draw_weights,
    find_design_effect,
    find_level,
    find_rank_interval,
    label_codes,
    percentile_interval,
    weighted_medians,
)


@dataclass(frozen=True, kw_only=True)
class HitTimes:
    """First iteration inside the bound, for each run of one arm.

    hits: [runs], None for a run without a hit by the cap, or one that diverged before.
    cap: iterations of every run. diverged: [runs], whether its numbers became infinite or nan. A run that diverged
    after its hit counts as a hit, as the first event counts.
    Raises DeclarationError if the lengths differ, the cap is below 1, or a hit lies outside 0 to cap.
    """

    hits: tuple[int | None, ...]
    cap: int
    diverged: tuple[bool, ...]

    def __post_init__(self) -> None:
        if len(self.hits) != len(self.diverged):
            raise _misdeclared(
                f"{len(self.hits)} hits and {len(self.diverged)} flags",
                "one flag a run",
                "pass both for every run",
            )
        if self.cap < 1:
            raise _misdeclared(f"a cap of {self.cap}", "1 or more", "give every run an iteration")
        outside = [hit for hit in self.hits if hit is not None and not 0 <= hit <= self.cap]
        if outside:
            raise _misdeclared(f"a hit at {outside[0]}", f"0 to the cap {self.cap}", "pass None for a censored run")

    @property
    def lost(self) -> int:
        """Number of runs that diverged without a hit."""
        return sum(gone and hit is None for hit, gone in zip(self.hits, self.diverged, strict=True))

    @property
    def censored(self) -> int:
        """Number of runs that reached the cap without a hit."""
        return sum(hit is None for hit in self.hits) - self.lost

    @property
    def times(self) -> NDArray[np.float64]:
        """[runs], inf for a run without a hit.

        Censoring happens only at the common cap. So below the cap, ordering both censored and diverged runs last
        gives the cumulative incidence of hits.
        """
        return np.array([math.inf if hit is None else hit for hit in self.hits], dtype=np.float64)


def median_hit(times: HitTimes) -> float:
    """First iteration by which at least half of the runs had hit; inf if the cap came first, nan without runs.

    Divergence is a competing event, not censoring: a run that diverged first never hits.
    Source: Kaplan & Meier 1958; Aalen & Johansen 1978 (competing events).
    """
    if not times.hits:
        return math.nan
    once = np.ones((1, len(times.hits)), dtype=np.int64)
    return float(weighted_medians(times.times, once)[0])


def median_ratio(
    name: str,
    slow: HitTimes,
    fast: HitTimes,
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int,
    resamples: int | None = None,
    look: Look = ONLY,
) -> Estimate:
    """Median hit of the slow arm over that of the fast arm, with a bootstrap over pairs.

    Before the last look the interval is that of order statistics, which assumes nothing about the distributions.

    slow, fast: paired by index, with the same cap. clusters: [pairs], resampled first if labels differ.
    A median that was not reached is only known to exceed the cap: the interval is open on that side, and the value is
    the known bound, or nan. Fewer pairs than the look needs (six) give [0, ∞].
    Raises DeclarationError if caps or numbers of runs differ. Source: Efron 1981 (censored bootstrap).
    """
    _check_pairs(name, slow, fast)
    n = len(slow.hits)
    codes = label_codes(name, clusters, n)
    lows, highs = _ratio_bounds(np.array([median_hit(slow)]), np.array([median_hit(fast)]), slow.cap)
    value, caveat = _known_value(float(lows[0]), float(highs[0]))
    drawn = "bootstrap over clusters, then pairs" if len(set(codes)) > 1 else "bootstrap over pairs"
    if n < look.fewest:
        low, high, caveat = 0.0, math.inf, f", fewer than {look.fewest} pairs have no interval{caveat}"
    elif not look.final or _count_effective(slow, fast, codes) < ONLY.fewest:
        low, high, drawn = *_rank_ratio(slow, fast, codes, look.alpha), "order statistics of each arm"
    else:
        level = find_level(look.alpha, _count_effective(slow, fast, codes))
        count = resamples or count_resamples(level)
        weights = draw_weights(np.random.default_rng(seed), codes, count)  # [resamples, pairs]
        slow_medians, fast_medians = (weighted_medians(arm.times, weights) for arm in (slow, fast))
        low, high = percentile_interval(*_ratio_bounds(slow_medians, fast_medians, slow.cap), level)
        # With few clusters a percentile interval can exclude the full sample's own ratio.
        low, high = (low, high) if math.isnan(value) else (min(low, value), max(high, value))
    method = f"Kaplan–Meier median ratio, {drawn}{caveat}{_unreached(slow, fast)}{look.text}"
    return Estimate(
        name=name,
        value=value,
        low=low,
        high=high,
        n=n,
        counts="pairs",
        method=method,
        scale="log",
        alpha=look.alpha,
    )


def _count_effective(slow: HitTimes, fast: HitTimes, codes: NDArray[np.intp]) -> float:
    """The effective number of independent pairs, by the arm with the larger design effect."""
    sides = [(arm.times <= median_hit(arm)).astype(np.float64) for arm in (slow, fast)]
    return len(codes) / max(find_design_effect(side, codes) for side in sides)


def _rank_ratio(slow: HitTimes, fast: HitTimes, codes: NDArray[np.intp], alpha: float) -> tuple[float, float]:
    """Intervals of order statistics for each arm's median, at alpha/2 each, and the extreme ratios of their ends."""
    (slow_low, slow_high), (fast_low, fast_high) = (
        find_rank_interval(arm.times, codes, alpha / 2) for arm in (slow, fast)
    )
    if -math.inf in (slow_low, fast_low):  # too few independent units for order statistics
        return 0.0, math.inf
    lows, _ = _ratio_bounds(np.array([slow_low]), np.array([fast_high]), slow.cap)
    _, highs = _ratio_bounds(np.array([slow_high]), np.array([fast_low]), slow.cap)
    return float(lows[0]), float(highs[0])


def _ratio_bounds(
    slow: NDArray[np.float64], fast: NDArray[np.float64], cap: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bounds on slow/fast, where a median of inf means only 'beyond the cap'.

    slow, fast: [resamples]. Returns the lower and the upper bounds, [resamples] each.
    A fast median of 0 (a start inside the bound) stands for less than one iteration, so that there is no upper bound.
    """
    least = np.minimum(slow, cap) / np.maximum(fast, 1)  # x / inf is 0
    known = np.isfinite(slow) & (fast > 0)
    most = np.full_like(slow, math.inf)
    np.divide(slow, np.minimum(fast, cap), out=most, where=known)
    return least, most


def _known_value(low: float, high: float) -> tuple[float, str]:
    if low == high:
        return low, ""
    if low > 0 and math.isinf(high):
        return low, ", the value is at least this"
    return (math.nan, "") if math.isinf(high) or math.isnan(low) else (high, ", the value is at most this")


def _unreached(slow: HitTimes, fast: HitTimes) -> str:
    """How many runs of each arm have no hit and why; '' if all have one."""
    words = [
        f"; {arm} arm: {times.censored} censored at {times.cap}, {times.lost} diverged"
        for arm, times in (("slow", slow), ("fast", fast))
        if any(hit is None for hit in times.hits)
    ]
    return "".join(words)


def _check_pairs(name: str, slow: HitTimes, fast: HitTimes) -> None:
    who = f"median_ratio {name}"
    if slow.cap != fast.cap:
        raise _misdeclared(f"caps {slow.cap} and {fast.cap}", "the same cap", "measure both arms to one cap", who)
    if len(slow.hits) != len(fast.hits):
        raise _misdeclared(
            f"{len(slow.hits)} slow and {len(fast.hits)} fast runs",
            "pairs",
            "run both arms on the same units",
            who,
        )


def _misdeclared(got: str, expected: str, remedy: str, who: str = "hit times") -> DeclarationError:
    return DeclarationError(explain(who=who, got=got, expected=expected, remedy=remedy))
