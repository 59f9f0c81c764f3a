"""What shows a descent: told what is going on, it draws it on a terminal or writes it to a log."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol as Interface
from typing import Self, TextIO

from engine.commands.invert.token_view import LEGEND, Film, write_frame, write_target
from engine.experiments.inversion.arm import Snapshot
from engine.running.progress import OVERRUN
from engine.text import duration, write_plain

QUIET_S = 15.0
"""Between two lines about progress in a log."""


@dataclass(frozen=True, kw_only=True)
class SummaryLine:
    """A labelled sentence. verbatim: to be copied from the terminal as it is."""

    label: str
    text: str
    style: str = ""
    verbatim: bool = False


@dataclass(kw_only=True)
class ProgressStage:
    """Something that takes time. total: its iterations, None where it has none.

    expected_s: a guess at all of them, until the first look.
    """

    label: str
    total: int | None = None
    expected_s: float = 0.0
    began: float = field(default_factory=time.monotonic)
    moved: float = 0.0
    done: int = 0

    def move(self, iteration: int) -> None:
        """Note that an iteration has been reached."""
        self.done, self.moved = iteration, time.monotonic()

    def left(self) -> str:
        """About how long it will still take, in words, at the pace so far; no bound, whatever it may end by."""
        now, total = time.monotonic(), self.total or 0
        if not self.done:
            seconds = self.began + self.expected_s - now
            return f"about {duration(seconds)} left" if seconds >= 1 else "longer than expected"
        since = now - self.moved
        seconds = (self.moved - self.began) * (total - self.done) / self.done - since
        if self.done < total:  # a look that is overdue will not come at once
            seconds = max(seconds, since * OVERRUN)
        return f"about {duration(seconds)} left" if seconds >= 1 else "almost done"


class View(Interface):
    """Told in this order: a stage begins and advances, a film opens and grows, the end is told."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def say(self, sentence: str) -> None:
        """A sentence of its own."""
        ...

    def begin(self, stage: ProgressStage) -> None:
        """What takes time now."""
        ...

    def advance(self, iteration: int) -> None:
        """How far it is."""
        ...

    def open(self, film: Film) -> None:
        """The prompt's tokens. The film's curve may be read at each `advance` from here on."""
        ...

    def show(self, film: Film, snapshot: Snapshot) -> None:
        """One more frame."""
        ...

    def tell(self, lines: list[SummaryLine]) -> None:
        """The end."""
        ...


class Lines:
    """A view for logs and pipes: plain lines without escape codes."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._stage, self._said = ProgressStage(label=""), 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._out.flush()

    def say(self, sentence: str) -> None:
        print(write_plain(sentence, limit=10_000), file=self._out, flush=True)

    def begin(self, stage: ProgressStage) -> None:
        self._stage, self._said = stage, time.monotonic()
        self.say(f"{stage.label}, {stage.left()}" if stage.expected_s else stage.label)

    def advance(self, iteration: int) -> None:
        stage = self._stage
        stage.move(iteration)
        if stage.moved - self._said >= QUIET_S:
            self._said = stage.moved
            self.say(f"{stage.label}: iteration {iteration} of {stage.total}, {stage.left()}")

    def open(self, film: Film) -> None:
        self.say(LEGEND)
        self.say(f"prompt {write_target(film)}")

    def show(self, film: Film, snapshot: Snapshot) -> None:
        self.say(write_frame(film, snapshot))

    def tell(self, lines: list[SummaryLine]) -> None:
        for line in lines:
            self.say(f"{line.label:<9}{line.text}")
