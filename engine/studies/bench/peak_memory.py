"""How much memory one variant of a case takes beyond its weights and inputs, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from threading import Event, Thread

import psutil

from engine.studies.bench.cases import CASES

INTERVAL_S = 0.002
"""Between two readings of the process's size."""


def measure_peak_mb(title: str, variant: str) -> float:
    """Megabytes at the peak of one variant of a case. The process is new, so no other variant's memory counts."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure_case, title, variant).result()


def _measure_case(title: str, variant: str) -> float:
    return float(round(watch_growth(getattr(CASES[title].prepare(), variant)) / 1e6))


def watch_growth(run: Callable[[], object]) -> int:
    """Most bytes by which this process grew while `run` ran."""
    process, done = psutil.Process(), Event()
    before = most = process.memory_info().rss

    # The operating system's own peak would include what preparing the case took, so a thread reads the size meanwhile.
    def watch() -> None:
        nonlocal most
        while not done.wait(INTERVAL_S):
            most = max(most, process.memory_info().rss)

    watcher = Thread(target=watch)
    watcher.start()
    try:
        run()
    finally:
        done.set()
        watcher.join()
    return max(most, process.memory_info().rss) - before
