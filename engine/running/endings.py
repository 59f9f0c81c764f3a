"""What ends a session or command before it is done: Ctrl-C, the signal of a queue or a closed terminal, a limit.

Each is an interruption, so that what was measured by then is judged and reported; while that is done others wait.
"""

from __future__ import annotations

import atexit
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

from engine.errors import EngineError, UsageError, explain

NAMES = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGBREAK")
"""Signals that end a process unless it listens: of queues (TERM, and USR1 or 2 some time before it), closed terminals,
limits of processor time, Ctrl-\\ and Ctrl-Break."""

WORDS = {
    "SIGTERM": "as queues and `kill` send it",
    "SIGHUP": "its terminal was closed",
    "SIGXCPU": "its allowance of processor time is used up, `ulimit -t`",
}

BURST_S = 3.0
"""Signals that follow the first so soon are of the same ending: queues and terminals send several."""

PATIENCE = 2
"""Times that Ctrl-C is waited with while an ending is under way; the next one ends it at once."""

EARLY_S = 10
"""Seconds of processor time before its end at which a limit is told: at the end itself the system kills."""


def explain_fault(error: Exception) -> str:
    """The line of an error that ends a session, and may be ours."""
    if isinstance(error, EngineError):
        return str(error)
    got = f"{type(error).__name__}: {error}"
    return explain(who="session", got=got, expected="to go on", remedy="see where on standard error")


def check_interpreter() -> None:
    """Raises UsageError where Python drops docstrings, of which transformers makes parts of its models."""
    if sys.flags.optimize > 1:
        got, remedy = "a Python that drops docstrings", "leave -OO and PYTHONOPTIMIZE=2 out"
        raise UsageError(explain(who="session", got=got, expected="one that keeps them", remedy=remedy))


class Ended(KeyboardInterrupt):
    """A signal that ends the process was sent. name: as 'SIGTERM'."""

    def __init__(self, name: str) -> None:
        super().__init__(explain_ending(name))
        self.name = name


def explain_ending(name: str) -> str:
    """The signal in words: 'ended by SIGHUP (its terminal was closed)'."""
    return f"ended by {name}" + (f" ({WORDS[name]})" if name in WORDS else "")


class Endings:
    """While it is entered, signals that would end this process raise Ended in its main thread, and Ctrl-C as always.

    Those that something else listens to, or that are ignored as under nohup, are left alone; so is everything in
    another thread than the main one.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._limit: tuple[int, int] | None = None
        self._held, self._presses = False, 0
        self._raised_at, self._closed_at = -float("inf"), float("inf")
        self.name: str | None = None
        """The signal that ended this process, as 'SIGTERM'; None where none has."""

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def listen(self) -> None:
        """Begin to listen; once is enough."""
        if self._before or threading.current_thread() is not threading.main_thread():
            return
        numbers = [signal.SIGINT, *(getattr(signal, name) for name in NAMES if hasattr(signal, name))]
        for number in numbers:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                self._before[number] = signal.signal(number, self._hear)
        if sys.platform != "win32":
            self._hear_of_the_limit()

    @property
    def listening(self) -> bool:
        return bool(self._before)

    def hold(self) -> None:
        """Let further signals wait: what was measured is being judged and reported."""
        self._held = True

    def close(self) -> None:
        """Leave everything as it was; after an ending a moment later, so that the process leaves with its own code."""
        self._closed_at = time.monotonic()
        if self.name is None:
            for number, handler in self._before.items():
                signal.signal(number, handler)
            self._before.clear()
        else:
            atexit.register(self._leave)
        if self._limit is not None:
            import resource

            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_CPU, self._limit)
        self._limit = None

    @property
    def exit_code(self) -> int:
        """Of a command that a signal has ended, as shells have it: 130 after Ctrl-C."""
        return 128 + signal.Signals[self.name or "SIGINT"]

    def _hear(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._closed_at > BURST_S:
            signal.signal(number, self._before[number])
            signal.raise_signal(number)
            return
        name = signal.Signals(number).name
        if self._held or now - self._raised_at < BURST_S:
            self._presses += number == signal.SIGINT
            if self._presses > PATIENCE:
                self._presses = 0
                raise KeyboardInterrupt
            return
        self._raised_at, self.name = now, name
        raise KeyboardInterrupt if number == signal.SIGINT else Ended(name)

    def _leave(self) -> None:
        """As the interpreter ends it gives every handler up, and the process would die of a signal, its work done."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def _hear_of_the_limit(self) -> None:
        """Be told of a limit on processor time before its end, where a process can do nothing any more."""
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
        end = min((limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY), default=None)
        if end is None or signal.SIGXCPU not in self._before:
            return
        early = max(1, end - min(EARLY_S, end // 3))
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CPU, (early, hard))
            self._limit = (soft, hard)
