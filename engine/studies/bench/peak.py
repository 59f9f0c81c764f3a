"""Memory that one way of a contest takes above what its weights and inputs do, in a process of its own.

python -m engine.studies.bench.peak TITLE literal|engine|floor
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from threading import Event, Thread

import psutil

EVERY_S = 0.002
"""Between two looks at the process's size."""


def measure_apart(title: str, way: str) -> float:
    """Megabytes that a way takes at its peak. Raises CalledProcessError when the process fails."""
    command = [sys.executable, "-m", "engine.studies.bench.peak", title, way]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def watch(run: Callable[[], object]) -> int:
    """Most bytes by which the process grew while `run` ran."""
    process, done = psutil.Process(), Event()
    before = most = process.memory_info().rss

    def look() -> None:
        nonlocal most
        while not done.wait(EVERY_S):
            most = max(most, process.memory_info().rss)

    watcher = Thread(target=look)
    watcher.start()
    try:
        run()
    finally:
        done.set()
        watcher.join()
    return max(most, process.memory_info().rss) - before


if __name__ == "__main__":
    from engine.studies.bench.contests import CONTESTS

    title, way = sys.argv[1:]
    ways = CONTESTS[title].prepare()
    print(f"{watch(getattr(ways, way)) / 1e6:.0f}")
