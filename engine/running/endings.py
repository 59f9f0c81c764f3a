"""Early endings of a session or command: Ctrl-C, a signal of a queue or a closed terminal, a limit of processor time.

Each is turned into an interruption, so that what was measured is judged and reported. Further
signals are ignored meanwhile.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

from engine.errors import EngineError, UsageError, explain

NAMES = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGBREAK")
"""Signals that end a process unless it handles them: queues send TERM, and USR1 or USR2 some time before it; the others
come from closed terminals, limits of processor time, Ctrl-\\ and Ctrl-Break."""

WORDS = {
    "SIGTERM": "as queues and `kill` send it",
    "SIGHUP": "its terminal was closed",
    "SIGXCPU": "its allowance of processor time is used up, `ulimit -t`",
}

BURST_S = 3.0
"""Signals that follow the first within this time belong to the same ending: queues and terminals send several."""

RESEND_S = 0.05
"""Until a signal that came within a finalizer is sent again."""

PATIENCE = 2
"""Presses of Ctrl-C that are ignored while a session ends; the next one ends it at once."""

EARLY_S = 10
"""Seconds of processor time before a limit at which the session ends: at the limit itself the system kills it."""


def _in_finalizer(frame: FrameType | None) -> bool:
    """Whether an object is being finalized in a frame or in one that called it."""
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def explain_fault(error: Exception) -> str:
    """One line for an error that ends a session."""
    if isinstance(error, EngineError):
        return str(error)
    got = f"{type(error).__name__}: {error}"
    return explain(who="session", got=got, expected="to go on", remedy="see the traceback on standard error")


def check_interpreter() -> None:
    """Raises UsageError if Python drops docstrings: transformers builds parts of its models from them."""
    if sys.flags.optimize > 1:
        got, remedy = "a Python that drops docstrings", "leave out -OO and PYTHONOPTIMIZE=2"
        raise UsageError(explain(who="session", got=got, expected="one that keeps them", remedy=remedy))


class Ended(KeyboardInterrupt):
    """A signal asked the process to end. name: such as 'SIGTERM'."""

    def __init__(self, name: str) -> None:
        super().__init__(explain_ending(name))
        self.name = name


def explain_ending(name: str) -> str:
    """The signal in words: 'ended by SIGHUP (its terminal was closed)'."""
    return f"ended by {name}" + (f" ({WORDS[name]})" if name in WORDS else "")


class Endings:
    """A context in which signals that would end this process raise Ended in its main thread; Ctrl-C raises as always.

    Signals that have another handler, or that are ignored (as under nohup), stay as they are. Outside the main thread
    nothing changes.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._limit: tuple[int, int] | None = None
        self._held, self._presses = False, 0
        self._raised_at, self._closed_at = -float("inf"), float("inf")
        self.name: str | None = None
        """The signal that ended this process, such as 'SIGTERM'; None if none has."""

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def listen(self) -> None:
        """Install the handlers, once."""
        if self._before or threading.current_thread() is not threading.main_thread():
            return
        numbers = [signal.SIGINT, *(getattr(signal, name) for name in NAMES if hasattr(signal, name))]
        for number in numbers:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                self._before[number] = signal.signal(number, self._handle)
        if sys.platform != "win32":
            self._move_limit()

    @property
    def listening(self) -> bool:
        return bool(self._before)

    def hold(self) -> None:
        """Ignore further signals: what was measured is being judged and reported."""
        self._held = True

    def close(self) -> None:
        """Restore the handlers. After an ending this waits until the process exits, so that it keeps its exit code."""
        self._closed_at = time.monotonic()
        if self.name is None:
            for number, handler in self._before.items():
                signal.signal(number, handler)
            self._before.clear()
        else:
            atexit.register(self._ignore_all)
        if self._limit is not None:
            import resource

            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_CPU, self._limit)
        self._limit = None

    @property
    def exit_code(self) -> int:
        """Exit code of a command that a signal ended, by the shells' convention: 130 after Ctrl-C."""
        return 128 + signal.Signals[self.name or "SIGINT"]

    def _handle(self, number: int, frame: FrameType | None) -> None:
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
        if _in_finalizer(frame):
            # Python drops whatever a finalizer raises, and the signal would be lost: it is sent again in a moment.
            threading.Timer(RESEND_S, os.kill, (os.getpid(), number)).start()
            return
        self._raised_at, self.name = now, name
        raise KeyboardInterrupt if number == signal.SIGINT else Ended(name)

    def _ignore_all(self) -> None:
        """Ignore signals at exit: the interpreter drops all handlers, and a signal would kill a finished process."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def _move_limit(self) -> None:
        """Have SIGXCPU sent some time before the limit of processor time, at which the system kills the process."""
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
        end = min((limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY), default=None)
        if end is None or signal.SIGXCPU not in self._before:
            return
        early = max(1, end - min(EARLY_S, end // 3))
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CPU, (early, hard))
            self._limit = (soft, hard)
