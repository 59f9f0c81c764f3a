"""What shows a descent: told what is going on, it draws it on a terminal or writes it to a log."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol as Interface
from typing import Self, TextIO

from engine.invert.film import LEGEND, Film, write_frame, write_target
from engine.planning import duration
from engine.report.text import write_plain
from engine.results import Snapshot

QUIET_S = 15.0
"""Between two lines about progress in a log."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A labelled sentence. verbatim: to be copied from the terminal as it is."""

    label: str
    text: str
    style: str = ""
    verbatim: bool = False


class View(Interface):
    """Told in this order: a stage begins and advances, a film opens and grows, the end is told."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def say(self, sentence: str) -> None:
        """A sentence of its own."""
        ...

    def begin(self, label: str, total: int | None = None, *, early: bool = False) -> None:
        """What takes time now. total: its iterations, None where it has none. early: it may end before them."""
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

    def tell(self, lines: list[Line]) -> None:
        """The end."""
        ...


def explain_left(*, early: bool) -> str:
    """What a time that is left is. early: what is timed ends sooner once it has what it looks for."""
    return "left at most" if early else "left"


class Lines:
    """A view for logs and pipes: plain lines without escape codes."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._label, self._total, self._left = "", 0, ""
        self._began = self._said = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._out.flush()

    def say(self, sentence: str) -> None:
        print(write_plain(sentence, limit=10_000), file=self._out, flush=True)

    def begin(self, label: str, total: int | None = None, *, early: bool = False) -> None:
        self._label, self._total, self._left = label, total or 0, explain_left(early=early)
        self._began = self._said = time.monotonic()
        self.say(label)

    def advance(self, iteration: int) -> None:
        now = time.monotonic()
        if now - self._said < QUIET_S or not iteration:
            return
        self._said = now
        left = (now - self._began) * (self._total - iteration) / iteration
        self.say(f"{self._label}: iteration {iteration} of {self._total}, about {duration(left)} {self._left}")

    def open(self, film: Film) -> None:
        self.say(LEGEND)
        self.say(f"prompt {write_target(film)}")

    def show(self, film: Film, snapshot: Snapshot) -> None:
        self.say(write_frame(film, snapshot))

    def tell(self, lines: list[Line]) -> None:
        for line in lines:
            self.say(f"{line.label:<9}{line.text}")
