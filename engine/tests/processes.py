"""The worker processes of an executor, as the system sees them."""

from __future__ import annotations

import time

import psutil
import pytest

LOADED_S = 3.0
"""Processor time that loading the libraries never takes, so that a worker beyond it is measuring."""


def find_worker(after_s: float = LOADED_S) -> psutil.Process | None:
    """The process below this one that measures, the pool's or Ray's."""
    for child in psutil.Process().children(recursive=True):
        try:
            words = " ".join(child.cmdline())
            if ("spawn_main" in words or "ray::measure" in words) and sum(child.cpu_times()[:2]) > after_s:
                return child
        except psutil.Error:  # it ended meanwhile
            continue
    return None


def kill_worker(patience_s: float = 240) -> None:
    """Kill the process that measures, and return once it is dead."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if (worker := find_worker()) is not None:
            worker.kill()
            # Not waited for: the system tells a process's exit code once, and the pool is to hear it.
            while not has_ended(worker):
                time.sleep(0.01)
            return
        time.sleep(0.1)
    pytest.fail("no process was measuring")


def has_ended(process: psutil.Process) -> bool:
    """Whether it is gone, or dead and not yet collected by its parent."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
