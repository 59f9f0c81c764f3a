"""Intervals for the rate of a binomial outcome, on an effective number of units that need not be whole."""

from __future__ import annotations

import math
from typing import Any

from engine.statistics.looks import ALPHA, find_z


def share_interval(rate: float, units: float, alpha: float = ALPHA) -> tuple[float, float]:
    """The wider of Wilson's interval and the exact one; Wilson's alone if all or none succeeded.

    Wilson's interval keeps its level on average over rates, but not at each: with 24 units it misses a rate of one
    half in 6.4 % of all samples instead of 5.
    """
    low, high = wilson_interval(rate, units, alpha)
    if rate in (0, 1):
        return low, high
    least, most = exact_interval(rate, units, alpha)
    return min(low, least), max(high, most)


def wilson_interval(rate: float, units: float, alpha: float = ALPHA) -> tuple[float, float]:
    """Wilson's interval. Source: Wilson 1927."""
    z = find_z(alpha)
    shrink = 1 + z**2 / units
    centre = (rate + z**2 / (2 * units)) / shrink
    half = z * math.sqrt(rate * (1 - rate) / units + z**2 / (4 * units**2)) / shrink
    # At rates 0 and 1 an end is exactly 0 or 1; rounding must not move it.
    low = 0.0 if rate == 0 else max(0.0, centre - half)
    high = 1.0 if rate == 1 else min(1.0, centre + half)
    return low, high


def exact_interval(rate: float, units: float, alpha: float = ALPHA) -> tuple[float, float]:
    """The exact interval: rates at which so many successes, or so few, have a probability of at least alpha/2.

    Source: Clopper and Pearson 1934; on effective units, which need not be whole: Korn and Graubard 1998.
    """
    # Imported here: scipy takes longer to load than a claim to declare.
    from scipy.special import betaincinv

    inverse: Any = betaincinv
    yes, no = rate * units, (1 - rate) * units
    low = float(inverse(yes, no + 1, alpha / 2)) if rate > 0 else 0.0
    high = float(inverse(yes + 1, no, 1 - alpha / 2)) if rate < 1 else 1.0
    return low, high


def units_to_clear(rate: float, edge: float, alpha: float) -> float:
    """Effective units at which `share_interval` around the rate ends on the edge; inf on the edge itself."""
    if rate == edge:
        return math.inf
    # Wilson's interval solved for n.
    wilson = find_z(alpha) ** 2 * edge * (1 - edge) / (rate - edge) ** 2
    if rate in (0, 1) or wilson == 0:
        return wilson
    from scipy.optimize import brentq

    end = 0 if edge < rate else 1

    def excess(units: float) -> float:
        return exact_interval(rate, units, alpha)[end] - edge

    # The exact end lies less than a unit's share beyond Wilson's, so that it is never this much later.
    most = 2 * wilson + 4 / abs(rate - edge)
    if excess(wilson) * excess(most) >= 0:
        return wilson
    exact: Any = brentq(excess, wilson, most)
    return float(exact)
