"""Where still drawings are made: in processes of their own, beside the rest of the page's work.

The drawing library is most of a report's time, has one worker a process, and lets nothing else run in it meanwhile.
What is drawn is the same wherever it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, Queue
from threading import Thread
from typing import Any, Self

WORTH_A_PROCESS = 8
"""Jobs for which processes are begun: each takes as long to begin as some four drawings take."""

OVENS = 2
"""Processes at most, each about 150 MB."""

Job = dict[str, Any]
Fire = Callable[[Job], Callable[[], str]]
"""Takes a job and gives back what to call for its result."""


def work(job: Job) -> str:
    """One job: {'spec', 'config', 'version'} into SVG, or {'script', 'version'} into a bundle that holds Vega too."""
    import vl_convert

    if "script" in job:
        return vl_convert.javascript_bundle(job["script"], vl_version=job["version"])
    return vl_convert.vegalite_to_svg(
        job["spec"], vl_version=job["version"], config=job["config"], allowed_base_urls=[]
    )


def fire_when_asked(job: Job) -> Callable[[], str]:
    """Without a kiln: the job is done here, when its result is asked for."""
    return lambda: work(job)


class Kiln:
    """Takes jobs while it is open; each is given back as something to call for the result, which waits for it.

    jobs: about how many there will be. A few are done here.
    """

    def __init__(self, jobs: int) -> None:
        self._far = jobs >= WORTH_A_PROCESS
        self._waiting: Queue[tuple[Job, Future[str]] | None] = Queue()
        self._threads = [Thread(target=self._serve) for _ in range(OVENS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._drop()
        for _thread in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def fire(self, job: Job) -> Callable[[], str]:
        """Begin a job. Calling what comes back gives its result, or raises what the drawing library raised."""
        future: Future[str] = Future()
        self._waiting.put((job, future))
        return future.result

    def _drop(self) -> None:
        """Nobody waits any more: what has not been begun is not begun."""
        with suppress(Empty):
            while (taken := self._waiting.get_nowait()) is not None:
                taken[1].cancel()

    def _serve(self) -> None:
        oven = _begin() if self._far else None
        number = 0
        while (taken := self._waiting.get()) is not None:
            job, future = taken
            try:
                number += 1
                answer = _hand_over(number, job, oven) if oven is not None else None
                if oven is not None and answer is None:
                    _dismiss(oven)  # it has failed or lost count: what it says next would be of another job
                    oven = None
                future.set_result(answer or work(job))
            except BaseException as error:
                future.set_exception(error)
        if oven is not None:
            _dismiss(oven)


def _hand_over(number: int, job: Job, oven: subprocess.Popen[str]) -> str | None:
    """The result of a job done by another process, '' where the job failed; None where the process did."""
    assert oven.stdin is not None
    assert oven.stdout is not None
    try:
        oven.stdin.write(json.dumps([number, job]) + "\n")
        oven.stdin.flush()
        match json.loads(oven.stdout.readline()):
            case [answered, str(answer)] if answered == number:
                return answer
            case _:
                return None
    except (OSError, ValueError):
        return None


def _dismiss(oven: subprocess.Popen[str]) -> None:
    oven.kill()
    oven.communicate()


def _begin() -> subprocess.Popen[str] | None:
    """A process that draws, apart from the keyboard's interrupts; None where none can be begun."""
    # As a file, for it needs nothing of the engine, which would take longer to import than the drawing library.
    command = [sys.executable, "-P", __file__]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            env=environment,
            start_new_session=True,
        )
    except OSError:
        return None


def serve() -> None:
    """Answer jobs, a line of JSON each, until there are no more: what a process of its own does."""
    for line in sys.stdin:
        number, job = json.loads(line)
        try:
            answer = work(job)
        except Exception:
            answer = ""  # asked again in the first process, whose error is then the one that is raised
        sys.stdout.write(json.dumps([number, answer]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
