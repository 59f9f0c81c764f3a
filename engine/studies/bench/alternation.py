"""Several ways of one piece of work timed in turns, so that whatever else the machine does falls on all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter
from typing import Any

import psutil
import torch

from engine.ledger.provenance import current_provenance

Seconds = dict[str, list[float]]


def alternate(benchmark: Any, ways: Mapping[str, Callable[[], object]], *, measured: str, rounds: int) -> Seconds:
    """Seconds of each way in each round, after one round to warm up; `measured` is the one that the plugin tables.

    A round goes through the other ways in their order, then through the measured one.
    """
    seconds: Seconds = {name: [] for name in ways}

    def run_others() -> None:
        for name, run in ways.items():
            if name != measured:
                began = perf_counter()
                run()
                seconds[name].append(perf_counter() - began)

    benchmark.pedantic(ways[measured], setup=run_others, rounds=rounds, warmup_rounds=1)
    found = {name: taken[-rounds:] for name, taken in seconds.items()}
    return found | {measured: list(benchmark.stats.stats.data)}


def time_passes(run: Callable[[], object], passes: int) -> list[float]:
    """Seconds of each of some passes, out of turn and without one to warm up."""
    taken: list[float] = []
    for _ in range(passes):
        began = perf_counter()
        run()
        taken.append(perf_counter() - began)
    return taken


def take_ratio(above: list[float], below: list[float]) -> float:
    """Median of the ratios of the rounds: a slow minute slows both sides of a round."""
    return median(one / other for one, other in zip(above, below, strict=True))


def describe_machine() -> dict[str, Any]:
    """What the figures were taken on; the load tells whether anything else ran."""
    seen = current_provenance(dtype="float32", device="cpu", threads=torch.get_num_threads())
    return {
        "machine": seen.machine,
        "cores": psutil.cpu_count(),
        "threads": seen.threads,
        "versions": dict(seen.versions),
        "commit": seen.commit,
        "dirty": seen.dirty,
        "load": round(psutil.getloadavg()[0], 2),
    }
