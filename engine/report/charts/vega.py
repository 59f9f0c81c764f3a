"""Where still drawings are made: in processes of their own, beside the rest of the page's work.

The drawing library is most of a report's time, has one worker a process, lets nothing else run in it meanwhile, and
ends the process that it is in where it finds no memory. What cannot be drawn costs its picture, never the page.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, Queue
from threading import Lock, Thread
from typing import Any, Self

WORTH_TWO = 8
"""Jobs for which a second process is begun: each takes as long to begin as some four drawings take."""

ATTEMPTS = 2
"""Times that a job is tried when the process under it dies: what was drawn in it before may have been the cause."""

LOST = 2
"""Jobs in a row for which all attempts died, after which no more are tried: each costs seconds."""

LONGEST = 400
"""Characters of what the library says."""

LEAVING_S = 5.0
"""For a process that has stopped answering to be gone."""

Job = dict[str, Any]
Fire = Callable[[Job], Callable[[], str]]
"""Takes a job and gives back what to call for its result."""


class DrawingError(Exception):
    """A drawing that could not be made, with what the library or the system said."""


def work(job: Job) -> str:
    """One job: {'spec', 'config', 'version'} into SVG, or {'script', 'version'} into a bundle that holds Vega too."""
    import vl_convert

    if "script" in job:
        return vl_convert.javascript_bundle(job["script"], vl_version=job["version"])
    return vl_convert.vegalite_to_svg(
        job["spec"], vl_version=job["version"], config=job["config"], allowed_base_urls=[]
    )


class Oven:
    """A process that draws, begun for the first job and again where it has died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._number, self._lost, self._why = 0, 0, ""
        self._lock = Lock()

    def do(self, job: Job) -> str:
        """The result of a job. Raises DrawingError where the library makes none, or the process dies each time."""
        with self._lock:
            if self._lost >= LOST:
                raise DrawingError(self._why)
            for _ in range(ATTEMPTS):
                answer = self._hand_over(job)
                if answer is not None:
                    self._lost = 0
                    done, words = answer
                    if done:
                        return words
                    raise DrawingError(words)
            self._lost += 1
            raise DrawingError(self._why)

    def _hand_over(self, job: Job) -> tuple[bool, str] | None:
        """Whether a job was done, and its result or why not; None where the process failed, for the reason noted."""
        self._number += 1
        try:
            process = self._process = self._process or _begin()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps([self._number, job]) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            match json.loads(line):
                case [number, bool(done), str(words)] if number == self._number:
                    return done, words
                case _:
                    self._why = "the process that draws lost count"  # what it says next would be of another job
        except (OSError, ValueError) as error:
            self._why = f"the process that draws cannot be begun: {error}" if self._process is None else ""
        left = self.dismiss(LEAVING_S)
        self._why = self._why or f"the process that draws died ({_name_death(left)})"
        return None

    def dismiss(self, patience_s: float = 0.0) -> int | None:
        """End the process. Returns the exit code that it had left with by itself, waiting so long for it."""
        process, self._process = self._process, None
        if process is None:
            return None
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
        left = process.poll()
        process.kill()
        process.communicate()
        return left


_ALONE = Oven()
atexit.register(_ALONE.dismiss)


def fire_when_asked(job: Job) -> Callable[[], str]:
    """Without a kiln: the job is done when its result is asked for, in one process for all such jobs."""
    return lambda: _ALONE.do(job)


class Kiln:
    """Takes jobs while it is open; each is given back as something to call for the result, which waits for it.

    jobs: about how many there will be.
    """

    def __init__(self, jobs: int) -> None:
        self._waiting: Queue[tuple[Job, Future[str]] | None] = Queue()
        self._threads = [Thread(target=self._serve) for _ in range(2 if jobs >= WORTH_TWO else 1)]

    def __enter__(self) -> Self:
        begun: list[Thread] = []
        for thread in self._threads:
            with suppress(RuntimeError):  # no more threads: one serves as well, and without any all is done when asked
                thread.start()
                begun.append(thread)
        self._threads = begun
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._drop()
        for _thread in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def fire(self, job: Job) -> Callable[[], str]:
        """Begin a job. Calling what comes back gives its result, or raises DrawingError where there is none."""
        if not self._threads:
            return fire_when_asked(job)
        future: Future[str] = Future()
        self._waiting.put((job, future))
        return future.result

    def _drop(self) -> None:
        """Nobody waits any more: what has not been begun is not begun."""
        with suppress(Empty):
            while (taken := self._waiting.get_nowait()) is not None:
                taken[1].cancel()

    def _serve(self) -> None:
        oven = Oven()
        while (taken := self._waiting.get()) is not None:
            job, future = taken
            try:
                future.set_result(oven.do(job))
            except BaseException as error:
                future.set_exception(error)
        oven.dismiss()


def _name_death(left: int | None) -> str:
    if left is None or left >= 0:
        return "it stopped answering" if left is None else f"exit code {left}"
    try:
        return signal.Signals(-left).name
    except ValueError:
        return f"signal {-left}"


def _begin() -> subprocess.Popen[str]:
    """A process that draws, apart from the keyboard's interrupts. Raises OSError where none can be begun."""
    # As a file, for it needs nothing of the engine, which would take longer to import than the drawing library.
    command = [sys.executable, "-P", __file__]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command,
        stdin=pipe,
        stdout=pipe,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        env=environment,
        start_new_session=True,
    )


def serve() -> None:
    """Answer jobs, a line of JSON each, until there are no more: what a process of its own does."""
    for line in sys.stdin:
        number, job = json.loads(line)
        try:
            answer = [number, True, work(job)]
        except Exception as error:
            said = f"{type(error).__name__}: {error}".partition("Stack backtrace:")[0]
            answer = [number, False, " ".join(said.split())[:LONGEST]]
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
