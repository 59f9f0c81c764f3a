"""Render Vega-Lite to SVG in worker processes.

vl-convert is single-threaded and holds the GIL, so that only other processes can render while the page is put
together. It aborts its process when memory runs out: there this costs one drawing, and never the page.
"""

from __future__ import annotations

import hashlib
import json
import re
import runpy
import signal
import sys
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Never, Self

from engine.errors import LedgerError
from engine.files import cache_folder, write_whole

MAX_PROCESSES = 2

JOBS_FOR_TWO = 8
"""Jobs from which a second process pays: starting one takes as long as about four drawings."""

ATTEMPTS = 2
"""How often a job is tried when the process under it dies: earlier drawings may have used up the first one's memory."""

MAX_LOST = 2
"""Jobs in a row that ended every process they were given; after these no other is tried, as each takes seconds."""

TIMEOUT_S = 60.0
"""A process that finishes no job for this long hangs."""

MAX_MESSAGE = 400
"""Characters of an error message of vl-convert."""

Job = Callable[[], str]
"""One call of vl-convert that can be pickled."""

Render = Callable[[Job], Callable[[], str]]
"""Takes a job and returns a function that waits for its result, or raises DrawingError where there is none."""

_SCRIPT_END = re.compile(r"</(?=script)|<!--", re.IGNORECASE)


class DrawingError(Exception):
    """A drawing that could not be made, with the reason that vl-convert or the system gives."""


class _WorkerDiedError(Exception):
    """The process under a job ended or hung, or none could be started."""


def render_inline(job: Job) -> Callable[[], str]:
    """Run the job in this process when its result is asked for. For a few drawings, where no page can be lost."""

    def render() -> str:
        try:
            return job()
        except Exception as error:
            raise DrawingError(describe_error(error)) from error

    return render


class VegaRenderer:
    """Renders jobs in worker processes until its `with` block ends, and the workers with it. For one thread.

    jobs: about how many there will be.
    """

    def __init__(self, jobs: int) -> None:
        self._processes = MAX_PROCESSES if jobs >= JOBS_FOR_TWO else 1
        self._shared: _Pool | None = None
        self._single: _Pool | None = None
        self._broken, self._closed = False, False
        self._lost, self._reason = 0, "the report was given up"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        for pool in (self._shared, self._single):
            if pool is not None:
                pool.close()

    def submit(self, job: Job) -> Callable[[], str]:
        """Start a job; see Render."""
        pool, future = None, None
        if not self._broken:
            try:
                pool = self._shared = self._shared or _Pool(self._processes)
                future = pool.start(job)
            except _WorkerDiedError:
                self._broken = True

        def wait() -> str:
            if pool is not None and future is not None:
                try:
                    return pool.wait(future)
                except _WorkerDiedError:
                    self._broken = True
            # A pool breaks as a whole, and does not say by which job. Each one that it left undone is repeated alone.
            return self._render_alone(job)

        return wait

    def _render_alone(self, job: Job) -> str:
        for _ in range(ATTEMPTS):
            if self._closed or self._lost >= MAX_LOST:
                raise DrawingError(self._reason)
            try:
                self._single = self._single or _Pool(1)
                result = self._single.wait(self._single.start(job))
            except _WorkerDiedError as error:
                self._single, self._reason = None, str(error)
            else:
                self._lost = 0
                return result
        self._lost += 1
        raise DrawingError(self._reason)


class _Pool:
    """Worker processes that end together: when one dies or hangs, the others are ended, too."""

    def __init__(self, processes: int) -> None:
        worker = str(Path(__file__).with_name("worker.py"))
        try:
            self._executor = ProcessPoolExecutor(
                processes, get_context("spawn"), initializer=runpy.run_path, initargs=(worker, None, "__main__")
            )
        except (OSError, RuntimeError) as error:  # the system has no more pipes, or no semaphores
            raise _WorkerDiedError(f"no process to draw in: {error}") from error
        self._finished = 0

    def start(self, job: Job) -> Future[str]:
        """Queue a job, which starts a process while there are fewer than allowed."""
        # A new process inherits the mask, so that Ctrl-C reaches only the session, which then ends its workers.
        # It would also import this session's main module: pytest, or a script that renders a report at its top level.
        main, masks = sys.modules["__main__"], hasattr(signal, "pthread_sigmask")  # Windows has no masks
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else ()
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            future = self._executor.submit(job)
        except (OSError, RuntimeError) as error:  # no more processes, no more threads, or a broken pool
            self.close()
            raise _WorkerDiedError(f"no process to draw in: {error}") from error
        finally:
            sys.modules["__main__"] = main
            if masks:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        future.add_done_callback(self._count)
        return future

    def _count(self, _: Future[str]) -> None:
        self._finished += 1

    def wait(self, future: Future[str]) -> str:
        """A job's result. Raises DrawingError where vl-convert makes none."""
        while True:
            finished = self._finished
            try:
                return future.result(TIMEOUT_S)
            except TimeoutError as error:
                # Other jobs may have been ahead in the queue. If none of them was finished either, none ever will be.
                if self._finished == finished:
                    self.close()
                    raise _WorkerDiedError(f"the process that draws hung for {TIMEOUT_S:g} s") from error
            except (BrokenProcessPool, CancelledError) as error:
                raise _WorkerDiedError(f"the process that draws died ({self.close()})") from error
            except Exception as error:
                raise DrawingError(describe_error(error)) from error

    def close(self) -> str:
        """End the processes, whatever they do. Returns in words how the first one ended."""
        # There is no public way to end a pool's processes before Python 3.14.
        processes = list((self._executor._processes or {}).values())  # pyright: ignore[reportPrivateUsage]
        for process in processes:
            process.kill()
        with suppress(RuntimeError):  # there is nothing to shut down where its thread could not start
            self._executor.shutdown(cancel_futures=True)
        for process in processes:
            process.join()
        code = processes[0].exitcode if processes else None
        if code is None or code >= 0:
            return f"exit code {code}"
        return signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"


def describe_error(error: Exception) -> str:
    """The error in one line, without the backtrace that Rust adds."""
    words = f"{type(error).__name__}: {error}".partition("Stack backtrace:")[0]
    return " ".join(words.split())[:MAX_MESSAGE]


def read_bundle(render: Render = render_inline) -> Callable[[], str]:
    """The one script that makes charts interactive: Vega, Vega-Lite, their embedding, and `charts.js`.

    Returns a function that gives JavaScript which can stand in a script element, or raises DrawingError. The script
    requests nothing. Vega's expressions are interpreted (`ast`) and never compiled: the page needs no unsafe-eval.
    """
    try:
        import vl_convert

        from engine.report.charts.theme import CONFIG, VEGA_LITE

        own = files("engine.report").joinpath("charts.js").read_text(encoding="utf-8")
        own = own.replace("__CONFIG__", json.dumps(CONFIG))
        made_of = json.dumps([own, VEGA_LITE, version("vl-convert-python"), _SCRIPT_END.pattern])
        # Bundling takes longer than twenty drawings, and its result only changes with what it is made of.
        kept = cache_folder() / f"charts-{hashlib.sha256(made_of.encode()).hexdigest()}.js"
        with suppress(OSError, UnicodeDecodeError):
            script = kept.read_text(encoding="utf-8")
            return lambda: script
        wait = render(partial(vl_convert.javascript_bundle, own, vl_version=VEGA_LITE))
    except Exception as error:  # the report is more than its charts
        return fail(describe_error(error))

    def bundle() -> str:
        # Only strings and regular expressions hold these. There, a backslash before the second character is harmless.
        script = _SCRIPT_END.sub(lambda end: f"{end[0][0]}\\{end[0][1:]}", wait())
        with suppress(LedgerError):  # without a cache that can be written, the next report bundles again
            write_whole(kept, script.encode(), who="charts")
        return script

    return bundle


def fail(reason: str) -> Callable[[], Never]:
    """The result of a job that could not even be declared."""

    def wait() -> Never:
        raise DrawingError(reason)

    return wait
