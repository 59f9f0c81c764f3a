"""A progress bar over arms, weighted by what each is expected to cost, with the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from engine.arms import Arm
from engine.campaign import Progress, Silent, label
from engine.costs import estimate_cost

QUIET_INTERVAL_S = 20.0
"""Between two lines where the output is no terminal, such as a CI log."""


class _Lines:
    """Standard error for a log: each state of the bar on a line of its own."""

    def write(self, text: str) -> None:
        sys.stderr.write(text.replace("\r", "\n"))

    def flush(self) -> None:
        sys.stderr.flush()


class _Steady(tqdm):  # pyright: ignore[reportMissingTypeArgument] (it takes none when it runs)
    """Timed by a clock that cannot be set back: a bar would stand still, and tell of less than no time."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._time = time.monotonic
        self.start_t = self.last_print_t = self._time()


class Bar:
    """One bar a session; its length is the expected seconds of the arms asked for so far and of those foreseen."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._done, self._asked, self._foreseen = 0, 0, 0
        self._asked_s = 0.0

    def expect(self, arms: Sequence[Arm]) -> None:
        if not arms:
            return
        self._asked += len(arms)
        self._asked_s += seconds_of(arms)
        if self._bar is None:
            terminal = sys.stderr.isatty()
            interval = 0.2 if terminal else QUIET_INTERVAL_S
            self._bar = _Steady(
                total=0,
                file=sys.stderr if terminal else _Lines(),
                bar_format="{desc} {percentage:3.0f}% |{bar:20}| {elapsed} gone, {remaining} left {postfix}",
                mininterval=interval,
                maxinterval=interval,
                smoothing=0,  # the last arms' speed says little: some wait for memory, and several run at once
            )
        self._stretch(0.0)

    def foresee(self, arms: Sequence[Arm]) -> None:
        self._foreseen = len(arms)
        self._stretch(seconds_of(arms))

    def _stretch(self, foreseen_s: float) -> None:
        if self._bar is not None:
            self._bar.total = max(self._asked_s + foreseen_s, self._bar.n)
            self._describe()

    @property
    def share(self) -> float:
        """How much of what is expected is done."""
        return self._bar.n / self._bar.total if self._bar is not None else 0.0

    def begin(self, arm: Arm) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(label(arm), refresh=sys.stderr.isatty())

    def finish(self, arm: Arm, elapsed_s: float) -> None:
        self._done += 1
        if self._bar is not None:
            self._describe()
            # A sum of floats may pass the total by a rounding.
            self._bar.update(min(estimate_cost(arm).seconds, self._bar.total - self._bar.n))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _describe(self) -> None:
        if self._bar is not None:
            self._bar.set_description_str(f"measuring {self._done}/{self._asked + self._foreseen} arms", refresh=False)


def seconds_of(arms: Sequence[Arm]) -> float:
    """What arms are expected to take, one after the other."""
    return sum(estimate_cost(arm).seconds for arm in arms)


def make_progress(*, quiet: bool) -> Progress:
    """A bar, or silence for a worker whose output nobody sees."""
    return Silent() if quiet else Bar()
