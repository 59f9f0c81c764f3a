"""Round numbers along an axis, for charts and for the pictures of intervals."""

from __future__ import annotations

import math


def choose_linear_ticks(low: float, high: float, most: int) -> tuple[float, ...]:
    """At most so many multiples of a round step, from `low` to `high`."""
    power = math.floor(math.log10((high - low) / most))
    steps = (float(f"{m}e{k}") for k in (power, power + 1) for m in (1, 2, 5))
    # An end that is a multiple itself is a tick, whatever its quotient rounds to.
    step, multiples = next(
        (step, multiples)
        for step in steps
        if len(multiples := range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)) <= most
    )
    return tuple(float(f"{k * step:.15g}") for k in multiples)


def choose_log_ticks(low: float, high: float, most: int) -> tuple[float, ...]:
    """Powers of ten from `low` to `high`, with round numbers between them as far as about `most` ticks allow."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    stride = 1 + (last - first) // (most + 1)
    ticks: list[float] = []
    for mantissas in ((1, 2, 5), (1, 3), (1,)) if stride == 1 else ((1,),):
        ticks = [float(f"{m}e{k}") for k in range(first, last + 1) if not k % stride for m in mantissas]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= most:
            break
    # Over less than a decade, powers leave an axis bare: round numbers at equal steps say more.
    return tuple(ticks) if len(ticks) > 2 else choose_linear_ticks(low, high, min(most, 4))
