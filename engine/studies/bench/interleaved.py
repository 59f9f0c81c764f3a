"""Time several variants of one piece of work in turns, so that the machine's slow moments fall on all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter
from typing import Any

import psutil

Seconds = dict[str, list[float]]
"""Seconds of each round, by variant."""


def time_once(run: Callable[[], object]) -> float:
    began = perf_counter()
    run()
    return perf_counter() - began


def time_interleaved(
    benchmark: Any, variants: Mapping[str, Callable[[], object]], *, measured: str, rounds: int
) -> Seconds:
    """Seconds of each variant in each round, after one round to warm up.

    measured: the variant that pytest-benchmark itself times, saves and compares. A round runs the other variants in
    their order, then this one. The load of the machine is kept beside its times.
    """
    seconds: Seconds = {name: [] for name in variants}

    def run_others() -> None:
        for name, run in variants.items():
            if name != measured:
                seconds[name].append(time_once(run))

    benchmark.pedantic(variants[measured], setup=run_others, rounds=rounds, warmup_rounds=1)
    benchmark.extra_info["load"] = round(psutil.getloadavg()[0], 2)
    # The plugin calls `setup` in its round to warm up, too: those first seconds do not count.
    timed = {name: taken[-rounds:] for name, taken in seconds.items()}
    return timed | {measured: list(benchmark.stats.stats.data)}


def median_ratio(numerators: list[float], denominators: list[float]) -> float:
    """Median of the ratios within each round: a slow moment slows both sides of its round."""
    return median(above / below for above, below in zip(numerators, denominators, strict=True))
