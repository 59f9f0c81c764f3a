"""Set up a process that renders charts: it prints nothing, and it ends when the process that started it does.

`vega.py` runs this file by its path, since importing `engine` takes longer than four drawings.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from threading import Thread

SET_PARENT_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux's prctl."""


def set_up() -> None:
    """Silence this process, and tie its life to its parent's."""
    # Ctrl-C is for the session, which ends its workers. Besides, a busy Linux shares its processors out by sessions.
    if sys.platform != "win32":
        os.setsid()
    # Left alone, a worker would wait for its next job for ever: it holds the writing end of the queue that it reads.
    Thread(target=follow_parent, daemon=True).start()
    if sys.platform == "linux":
        # The thread above does not run while a drawing holds the GIL. The kernel needs no thread.
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # V8 writes a page where it runs out of memory; the report has one line
        os.dup2(nowhere, stream)


def follow_parent() -> None:
    """Wait for the end of the parent, and end."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
    os._exit(1)


if __name__ == "__main__":
    set_up()
