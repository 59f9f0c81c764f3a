"""Progress over arms on standard error, weighted by their expected cost, with an estimate of the time that is left."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from engine.arms.arm import Arm
from engine.running.costs import estimate_cost
from engine.running.scheduler import NoProgress, label
from engine.running.scheduler import Progress as ProgressReceiver
from engine.text import duration

INTERVAL_S, LOG_INTERVAL_S = 0.2, 20.0
"""Least time between two updates: of the bar on a terminal, and of lines where there is none, such as a CI log."""

BEAT_S, LOG_BEAT_S = 1.0, 60.0
"""Most time between two updates while long arms run, on a terminal and in a log."""

LEAST_LEFT = 0.05
"""Share of its expected cost that a running arm always counts as still having to do."""

STARTING_S = 10.0
"""What the first arms take beyond their own time: processes start, and models are loaded."""

OVERRUN = 0.25
"""A running arm is expected to need at least this share of the time it has taken so far."""


class ProgressBar:
    """One bar a session, as long as the expected seconds of the arms asked for so far and of those forecast.

    A running arm counts as done by the time it has taken, up to the time it is expected to take. The bar is timed by
    the monotonic clock, which nobody can set back.
    """

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._live = console.is_terminal and not console.is_dumb_terminal
        self._interval_s, self._beat_s = (INTERVAL_S, BEAT_S) if self._live else (LOG_INTERVAL_S, LOG_BEAT_S)
        self._bar: Progress | None = None
        self._done, self._asked, self._forecast = 0, 0, 0
        self._asked_s, self._done_s, self._forecast_s = 0.0, 0.0, 0.0
        self._compared_s, self._took_s = STARTING_S, STARTING_S
        self._running: dict[Arm, float] = {}
        self._opened_at: float | None = None
        self._shown_at, self._label = -float("inf"), ""
        # Reentrant: a signal's handler may close the bar in the middle of an update.
        self._lock, self._closed = threading.RLock(), threading.Event()

    def expect(self, arms: Sequence[Arm]) -> None:
        if not arms:
            return
        with self._lock:
            self._asked += len(arms)
            self._asked_s += seconds_of(arms)
            if self._opened_at is None:
                self._opened_at, self._closed = time.monotonic(), threading.Event()
                threading.Thread(target=self._beat, args=(self._closed,), name="progress", daemon=True).start()
            self._show()

    def forecast(self, arms: Sequence[Arm]) -> None:
        with self._lock:
            self._forecast, self._forecast_s = len(arms), seconds_of(arms)
            self._show()

    def begin(self, arm: Arm) -> None:
        with self._lock:
            self._running[arm] = time.monotonic()
            self._label = label(arm)
            self._show()

    def finish(self, arm: Arm, elapsed_s: float) -> None:
        with self._lock:
            began, expected_s = self._running.pop(arm, None), estimate_cost(arm).seconds
            self._done += 1
            self._done_s += expected_s
            if began is not None and elapsed_s:  # neither stored nor failed
                self._took_s += time.monotonic() - began
                self._compared_s += expected_s
            self._show()

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            if self._opened_at is not None:
                self._show(now=True)
                if self._bar is not None:
                    with suppress(OSError, ValueError):
                        self._bar.stop()
                self._bar = self._opened_at = None
            self._running.clear()

    @property
    def share(self) -> float:
        """How much of what is expected is done, from 0 to 1."""
        now = time.monotonic()
        begun_s = sum(
            min(now - began, (1 - LEAST_LEFT) * estimate_cost(arm).seconds) for arm, began in self._running.items()
        )
        whole_s = max(self._asked_s + self._forecast_s, self._done_s)
        return min(1.0, (self._done_s + begun_s) / whole_s) if whole_s > 0 else 0.0

    @property
    def left_s(self) -> float:
        """About how long it will still take.

        The time that finished arms took, over what was expected of them, corrects what is expected of the others.
        A running arm that has passed its expected time is never about to end: it needs a share of its time again.
        """
        now, pace = time.monotonic(), self._took_s / self._compared_s
        start_s = STARTING_S if self._took_s == STARTING_S else 0.0
        running: list[float] = []
        expected_s = 0.0
        for arm, began in self._running.items():
            gone, whole = now - began, estimate_cost(arm).seconds
            expected_s += whole
            running.append(max(start_s + pace * whole - gone, OVERRUN * gone))
        waiting_s = max(0.0, self._asked_s - self._done_s - expected_s) + self._forecast_s
        # What waits is shared by as many workers as run now; the longest running arm is a lower limit.
        return max(max(running, default=0.0), (sum(running) + pace * waiting_s) / max(1, len(running)))

    def _describe(self) -> str:
        """The arm that began last of those under way, and how far it is if it says so."""
        running = next(reversed(self._running), None)
        if running is None:
            return self._label
        return ": ".join(filter(None, [label(running), running.describe_progress()]))

    def _beat(self, closed: threading.Event) -> None:
        while not closed.wait(self._beat_s):
            with self._lock:
                if not closed.is_set():
                    self._show()

    def _show(self, *, now: bool = False) -> None:
        """Update the bar or write a line, unless the last update was a moment ago. now: in any case."""
        moment = time.monotonic()
        if self._opened_at is None or (not now and moment - self._shown_at < self._interval_s):
            return
        self._shown_at = moment
        arms = self._asked + self._forecast
        count = f"measuring {self._done}/{arms} arms {self.share:4.0%}"
        left = "done" if self._done == arms else f"about {duration(self.left_s)} left"
        rest = ", ".join(filter(None, [f"{duration(moment - self._opened_at)} elapsed", left, self._describe()]))
        # A closed standard error, or one on a full disk, costs lines and no measurement.
        with suppress(OSError, ValueError):
            if not self._live:
                sys.stderr.write(f"{count}, {rest}\n")
                sys.stderr.flush()
                return
            if self._bar is None:
                self._bar = Progress(
                    TextColumn("{task.description}", markup=False),
                    BarColumn(bar_width=20),
                    TextColumn("{task.fields[rest]}", markup=False, table_column=Column(no_wrap=True)),
                    console=Console(stderr=True),
                    auto_refresh=False,  # its own thread would die of a full disk, with a traceback
                    redirect_stdout=False,
                    redirect_stderr=False,
                )
                self._bar.add_task("", total=1.0, rest="")
                self._bar.start()
            self._bar.update(self._bar.task_ids[0], description=count, completed=self.share, rest=rest)
            self._bar.refresh()


def seconds_of(arms: Sequence[Arm]) -> float:
    """What arms are expected to take, one after the other."""
    return sum(estimate_cost(arm).seconds for arm in arms)


def make_progress(*, quiet: bool) -> ProgressReceiver:
    """A bar, or nothing for a worker whose output nobody sees."""
    return NoProgress() if quiet else ProgressBar()
