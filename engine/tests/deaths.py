"""Workers that die in place of measuring. A process that runs one of them loads no library first."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


def leave(pipe: Connection[Any, Any], threads: int, gpu: str | None) -> None:
    """As a library does that calls exit."""
    pipe.recv()
    os._exit(7)


def abort(pipe: Connection[Any, Any], threads: int, gpu: str | None) -> None:
    pipe.recv()
    os.abort()


def be_killed(pipe: Connection[Any, Any], threads: int, gpu: str | None) -> None:
    pipe.recv()
    os.kill(os.getpid(), signal.SIGKILL)


def use_up_the_time(pipe: Connection[Any, Any], threads: int, gpu: str | None) -> None:
    pipe.recv()
    resource.setrlimit(resource.RLIMIT_CPU, (1, 60))
    while True:
        pass


DEATHS: dict[str, tuple[Callable[..., None], str, str]] = {
    "a library's exit": (leave, "exit code 7", "see what it wrote to standard error, or try --executor inline"),
    "an abort": (abort, "SIGABRT", "see what it wrote to standard error, or try --executor inline"),
    "a kill": (be_killed, "SIGKILL", "look for the system's out-of-memory killer, or try --executor inline"),
    "a limit of time": (use_up_the_time, "SIGXCPU", "raise the limit of processor time (ulimit -t)"),
}
