"""A progress bar over arms, weighted by what each is expected to cost, with about how long it will still take."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from tqdm import tqdm

from engine.arms.arm import Arm
from engine.running.costs import estimate_cost
from engine.running.scheduler import NoProgress, Progress, label
from engine.text import duration

INTERVAL_S, QUIET_INTERVAL_S = 0.2, 20.0
"""Least time between two states on a terminal, and between two lines where there is none, such as a CI log."""

BEAT_S, QUIET_BEAT_S = 1.0, 60.0
"""Most time that passes without one while long arms run, on a terminal and elsewhere."""

LEAST_LEFT = 0.05
"""Share of its expected cost that an arm under way always counts as having before it."""


STARTING_S = 10.0
"""What the first arms take beyond their own time: processes begin, and models are read."""

OVERRUN = 0.25
"""Share of the time taken so far that an arm is thought to need yet, at least: the longer it has been, the longer."""


class _Lines:
    """Standard error for a log: each state of the bar on a line of its own."""

    def write(self, text: str) -> None:
        sys.stderr.write(text.replace("\r", "\n"))

    def flush(self) -> None:
        sys.stderr.flush()


def _unheard() -> suppress:
    """Standard error that is closed, or on a full disk, costs lines and no measurement."""
    return suppress(OSError, ValueError)


class _Steady(tqdm):  # pyright: ignore[reportMissingTypeArgument] (it takes none when it runs)
    """Timed by a clock that cannot be set back: a bar would stand still, and tell of less than no time."""

    monitor_interval = 0  # no thread of its own that looks after it: nothing here is counted by iterations

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._time = time.monotonic
        self.start_t = self.last_print_t = self._time()


class Bar:
    """One bar a session; its length is the expected seconds of the arms asked for so far and of those foreseen.

    An arm under way counts as done by the time that it has taken, as far as it is expected to take.
    """

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._done, self._asked, self._foreseen = 0, 0, 0
        self._asked_s, self._done_s = 0.0, 0.0
        self._foreseen_s, self._compared_s, self._took_s = 0.0, STARTING_S, STARTING_S
        self._running: dict[Arm, float] = {}
        terminal = sys.stderr.isatty()
        self._interval_s, self._beat_s = (INTERVAL_S, BEAT_S) if terminal else (QUIET_INTERVAL_S, QUIET_BEAT_S)
        self._shown_at, self._label = -float("inf"), ""
        self._lock, self._closed = threading.RLock(), threading.Event()

    def expect(self, arms: Sequence[Arm]) -> None:
        if not arms:
            return
        with self._lock:
            self._asked += len(arms)
            self._asked_s += seconds_of(arms)
            if self._bar is None:
                with _unheard():
                    self._bar = self._open()
            self._stretch(0.0)

    def _open(self) -> tqdm[Any]:
        bar = _Steady(
            total=0,
            file=sys.stderr if sys.stderr.isatty() else _Lines(),
            bar_format="{desc} {percentage:3.0f}% |{bar:20}| {elapsed} gone{postfix}",
        )
        self._closed = threading.Event()
        threading.Thread(target=self._beat, args=(self._closed,), name="progress", daemon=True).start()
        return bar

    def _beat(self, closed: threading.Event) -> None:
        while not closed.wait(self._beat_s):
            self._show()

    def forecast(self, arms: Sequence[Arm]) -> None:
        with self._lock:
            self._foreseen, self._foreseen_s = len(arms), seconds_of(arms)
            self._stretch(self._foreseen_s)

    def _stretch(self, foreseen_s: float) -> None:
        if self._bar is not None:
            self._bar.total = max(self._asked_s + foreseen_s, self._done_s)
            self._show()

    @property
    def share(self) -> float:
        """How much of what is expected is done."""
        return self._count_s() / self._bar.total if self._bar is not None else 0.0

    @property
    def left_s(self) -> float:
        """About how long it will still take: what runs now needs at least that, whatever was expected of it.

        What arms took that have finished, beside what was expected of them, corrects what is expected of the rest.
        """
        now, pace = time.monotonic(), self._took_s / self._compared_s
        start_s = STARTING_S if self._took_s == STARTING_S else 0.0
        running: list[float] = []
        expected_s = 0.0
        for arm, began in self._running.items():
            gone, whole = now - began, estimate_cost(arm).seconds
            expected_s += whole
            running.append(max(start_s + pace * whole - gone, OVERRUN * gone))
        waiting_s = max(0.0, self._asked_s - self._done_s - expected_s) + self._foreseen_s
        return max(max(running, default=0.0), (sum(running) + pace * waiting_s) / max(1, len(running)))

    def _count_s(self) -> float:
        """Expected seconds of what was done, and of what was done of what is under way."""
        now = time.monotonic()
        begun = (
            min(now - began, (1 - LEAST_LEFT) * estimate_cost(arm).seconds) for arm, began in self._running.items()
        )
        return self._done_s + sum(begun)

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
            if began is not None and elapsed_s:  # not where it was stored, or failed
                self._took_s += time.monotonic() - began
                self._compared_s += expected_s
            self._show()

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            if self._bar is not None:
                self._set()
                with _unheard():
                    self._bar.close()
                self._bar = None
            self._running.clear()

    def _show(self) -> None:
        """Write the state as it is now, unless the last one was written a moment ago."""
        with self._lock:
            now = time.monotonic()
            if self._bar is not None and now - self._shown_at >= self._interval_s:
                self._shown_at = now
                self._set()
                with _unheard():
                    # Not refresh(): cut short by an error it keeps the library's own lock, for which all would wait.
                    self._bar.display()

    def _set(self) -> None:
        if self._bar is not None:
            self._bar.set_description_str(f"measuring {self._done}/{self._asked + self._foreseen} arms", refresh=False)
            over = self._done == self._asked + self._foreseen
            words = ["done" if over else f"about {duration(self.left_s)} left", *([self._label] if self._label else [])]
            self._bar.set_postfix_str(", ".join(words), refresh=False)
            self._bar.n = min(self._count_s(), self._bar.total)  # a sum of floats may pass the total by a rounding


def seconds_of(arms: Sequence[Arm]) -> float:
    """What arms are expected to take, one after the other."""
    return sum(estimate_cost(arm).seconds for arm in arms)


def make_progress(*, quiet: bool) -> Progress:
    """A bar, or silence for a worker whose output nobody sees."""
    return NoProgress() if quiet else Bar()
