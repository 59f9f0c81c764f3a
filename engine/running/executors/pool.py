"""Runs several arms at once, each in a process of its own, within a budget of memory.

The budget decides how many arms run at once and in which order, never what an arm computes: its batches and its
number of threads are the same whatever runs beside it.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import inf
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any, Literal

from engine.arms.arm import Arm, name_arm
from engine.arms.measurement import Measurement
from engine.errors import EngineError, EscapedError, explain, no_exits
from engine.models.devices import VISIBLE
from engine.running.costs import PROCESS_BYTES, gpu_bytes, group_of, host_bytes
from engine.running.executors.base import ATTEMPTS, DoesNotFitError, dead_error
from engine.running.waiting import Needs, Waiting

LEAVING_S = 5.0
"""Time for a process that has closed its pipe to exit."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU that workers may use. name: as in CUDA_VISIBLE_DEVICES. bytes: what all workers may take of it."""

    name: str
    bytes: float


class Process:
    """A worker process and the pipe to it. It is spawned: a fork of a process that has used threads may hang.

    gpu: the only GPU it sees; None leaves it what this process sees.
    """

    def __init__(self, threads: int, gpu: str | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, threads, gpu), daemon=True)
        with _blocking_sigint():
            self._process.start()
        theirs.close()

    def measure(self, arm: Arm) -> Measurement:
        """Wait for an arm's measurement. Raises the experiment's error, or EOFError when the process died."""
        try:
            self._pipe.send(arm)
            found = self._pipe.recv()
        except OSError as error:
            raise EOFError(str(error)) from error
        if isinstance(found, Exception):
            raise found
        return found

    def end(self) -> int | None:
        """Kill the process. Returns the exit code if it had exited by itself (-n: killed by signal n), else None."""
        self._process.join(timeout=0)
        left = self._process.exitcode
        self._process.kill()
        self._process.join()
        return left

    def collect(self) -> int | None:
        """The exit code of a process that has closed its pipe and is about to exit."""
        self._process.join(timeout=LEAVING_S)
        return self.end()


@dataclass(kw_only=True, eq=False)
class _Worker:
    """A process (none before its first arm), the arm it is measuring, and the last one, whose model it still holds."""

    gpu: Gpu | None = None
    process: Process | None = None
    arm: Arm | None = None
    last: Arm | None = None

    @property
    def held(self) -> Arm | None:
        """The arm whose memory it takes now: an idle worker still holds its last model."""
        return self.arm or self.last

    @property
    def bytes(self) -> float:
        """Host memory it takes."""
        return host_bytes(self.held) if self.held is not None else PROCESS_BYTES

    def end(self) -> None:
        if self.process is not None:
            self.process.end()


class Pool:
    """Up to `workers` processes of `threads` threads each, which together take at most `budget_bytes`.

    The budget leaves out this process. gpus: workers are spread over them evenly, and stay within the memory of each.
    Arms of one group (the same weights) go to one worker, so that a model is loaded once; within a group the costliest
    goes first. Arms that need more than half of the budget start early: in the end no arm may be small enough to run
    beside them. A worker that dies costs its arm one more attempt, and nothing else.
    """

    def __init__(self, *, workers: int, threads: int, budget_bytes: float, gpus: Sequence[Gpu] = ()) -> None:
        self._most, self._threads, self._budget, self._gpus = workers, threads, budget_bytes, tuple(gpus)
        self._workers: list[_Worker] = []
        self._chosen: _Worker | None = None
        self._attendants = ThreadPoolExecutor(max_workers=workers)
        self._closing = False

    def choose(self, waiting: Waiting) -> Arm | None:
        """The next arm for an idle worker, if it fits now. Raises DoesNotFitError for one that never will."""
        for needs in waiting.list_new():
            self._refuse(needs)
        if len(self._workers) == self._most and not self._idle():
            return None
        for needs in self._rank(waiting):
            for worker in self._find_workers(needs.arm):
                if self._make_room(needs.arm, worker):
                    self._chosen = worker
                    return needs.arm
        return None

    def submit(self, arm: Arm) -> Future[Measurement]:
        """Start the arm that was chosen."""
        assert self._chosen is not None
        worker, self._chosen = self._chosen, None
        if worker not in self._workers:
            self._workers.append(worker)
        worker.arm = arm
        return self._attendants.submit(self._attend, worker, arm)

    def shutdown(self) -> None:
        """Kill all workers, and give up what they are measuring. An interrupt meanwhile leaves none alive."""
        self._closing = True
        with ExitStack() as parts:  # they run in reverse order
            parts.callback(self._begin_anew)
            parts.callback(self._attendants.shutdown)
            for worker in self._workers:
                parts.callback(worker.end)

    def _begin_anew(self) -> None:
        self._workers.clear()
        self._attendants, self._closing = ThreadPoolExecutor(max_workers=self._most), False

    def _refuse(self, needs: Needs) -> None:
        arm, least = needs.arm, needs.gpu_bytes
        largest = max((gpu.bytes for gpu in self._gpus), default=inf)
        if needs.host_bytes > self._budget:
            got, most, remedy = (
                needs.host_bytes,
                "(--memory, or what is free)",
                "raise --memory or use a larger machine",
            )
            expected = self._budget
        elif least > largest:
            got, most, remedy = least, "on one GPU", "spread it over all by --executor inline, or use a larger GPU"
            expected = largest
        else:
            return
        raise DoesNotFitError(
            arm,
            explain(
                who=name_arm(arm),
                got=f"a need of about {got / 1e9:.1f} GB of memory",
                expected=f"at most {expected / 1e9:.1f} GB {most}",
                remedy=remedy,
            ),
        )

    def _idle(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.arm is None]

    def _rank(self, waiting: Waiting) -> list[Needs]:
        """Arms in order of preference.

        First those whose weights an idle worker holds, then those of groups that no worker is measuring. Within these:
        large arms before small ones, the costliest group first, and in a group the costliest arm.
        """
        served = {group_of(worker.arm) for worker in self._workers if worker.arm is not None}
        at_home = {group_of(worker.last) for worker in self._idle() if worker.last is not None}

        def rank(needs: Needs) -> tuple[bool, bool, bool, float, float]:
            group, small = needs.group, needs.host_bytes <= self._budget / 2
            return (group not in at_home, group in served, small, -waiting.seconds_of(group), -needs.seconds)

        return sorted(waiting.list_costliest(), key=rank)

    def _find_workers(self, arm: Arm) -> list[_Worker]:
        """Workers for an arm, best first: an idle one that holds its weights, else a new one, else any idle one.

        A new worker may replace an idle one, whose GPU may be too small.
        """
        idle = self._idle()
        at_home = [w for w in idle if w.last is not None and group_of(w.last) == group_of(arm)]
        new = [_Worker(gpu=gpu) for gpu in sorted(self._gpus, key=self._count)] or [_Worker()]
        more = len(self._workers) < self._most
        if at_home and not (at_home[0].gpu and at_home[0].gpu.bytes < gpu_bytes(arm)):
            return at_home[:1] + (new if more and self._gpus else [])  # its GPU may be full now
        return new if more else idle + new

    def _count(self, gpu: Gpu) -> int:
        return sum(worker.gpu == gpu for worker in self._workers)

    def _make_room(self, arm: Arm, worker: _Worker) -> bool:
        """Whether the arm fits now. Ends idle workers that hold models, as far as that makes it fit."""
        staying = [other for other in self._workers if other is not worker]
        going: list[_Worker] = []
        for other in [other for other in staying if other.arm is None]:
            if (over := self._find_excess(arm, worker, staying)) and (over == "host" or other.gpu == worker.gpu):
                staying.remove(other)
                going.append(other)
        if self._find_excess(arm, worker, staying):
            return False
        for other in going:
            self._workers.remove(other)
            other.end()
        return True

    def _find_excess(self, arm: Arm, worker: _Worker, staying: Sequence[_Worker]) -> Literal["host", "gpu"] | None:
        """Whose memory would not suffice if this worker measured the arm beside the workers that stay."""
        if len(staying) == self._most or host_bytes(arm) + sum(other.bytes for other in staying) > self._budget:
            return "host"
        beside = [other.held for other in staying if other.gpu == worker.gpu]
        taken = sum(gpu_bytes(held) for held in beside if held is not None)
        return "gpu" if worker.gpu is not None and gpu_bytes(arm) + taken > worker.gpu.bytes else None

    def _begin(self, worker: _Worker, arm: Arm) -> Process:
        """A process for a worker. Raises EngineError if the system refuses one."""
        try:
            return Process(self._threads, worker.gpu and worker.gpu.name)
        except OSError as error:
            raise EngineError(
                explain(
                    who=name_arm(arm),
                    got=f"no process to measure it in ({error.strerror})",
                    expected="one",
                    remedy="raise the limits of open files and processes (ulimit -n, -u), or try --executor inline",
                )
            ) from error

    def _attend(self, worker: _Worker, arm: Arm) -> Measurement:
        """Have an arm measured, again if its process dies."""
        left: int | None = None
        try:
            for _ in range(ATTEMPTS):
                worker.process = worker.process or self._begin(worker, arm)
                try:
                    if self._closing:
                        raise EOFError("started while the pool shut down")
                    return worker.process.measure(arm)
                except EOFError:
                    left = worker.process.collect() if not self._closing else worker.process.end()
                    worker.process = None
                    if self._closing:
                        raise
            raise dead_error(arm, "a process", name_death(left), explain_death(left))
        finally:
            worker.last, worker.arm = (arm if worker.process is not None else None), None


def name_death(left: int | None) -> str:
    """How a process ended: 'SIGKILL', 'exit code 3'."""
    if left is None or left >= 0:
        return f"exit code {left}" if left is not None else "its pipe closed"
    try:
        return signal.Signals(-left).name
    except ValueError:
        return f"signal {-left}"


def explain_death(left: int | None) -> str:
    """What to do about a process that ended so."""
    match name_death(left):
        case "SIGKILL":
            return "look for the system's out-of-memory killer, or try --executor inline"
        case "SIGXCPU":
            return "raise the limit of processor time (ulimit -t)"
        case _:
            return "see what it wrote to standard error, or try --executor inline"


@contextmanager
def _blocking_sigint() -> Generator[None]:
    """Block SIGINT while a child starts.

    The child inherits the mask, so that Ctrl-C cannot kill it before it ignores SIGINT itself.
    """
    resource_tracker.ensure_running()  # it would start together with the first child, and lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(pipe: Connection[Any, Any], threads: int, gpu: str | None = None) -> None:
    """The worker process: measure what comes through the pipe until it closes."""
    if gpu is not None:
        os.environ[VISIBLE] = gpu  # read at the first use of CUDA, which is still to come
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the session handles interrupts
    threading.Thread(target=_follow_parent, daemon=True).start()
    from tqdm import tqdm

    from engine.models.loaded import release_memory
    from engine.running.executors.inline import Inline

    # transformers loads weights under tqdm, which by default makes a semaphore that outlives a killed process.
    tqdm.set_lock(threading.RLock())
    executor = Inline(threads=threads, gpus=() if gpu is None else (0,))
    while True:
        try:
            arm = pipe.recv()
        except EOFError:
            return
        pipe.send(run_picklable(executor.run, arm))
        release_memory()


def _follow_parent() -> None:
    """Exit when the session's process ends: an orphan would go on measuring for nobody."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def run_picklable(run: Callable[[Arm], Measurement], arm: Arm) -> Measurement | Exception:
    """Run in a worker: a measurement, or the error in a form that can be sent, with its traceback."""
    try:
        with no_exits():
            return run(arm)
    except (Exception, KeyboardInterrupt) as error:  # Ctrl-C is ignored here: this one comes from a library
        error.add_note(traceback.format_exc())
        error.__cause__ = error.__context__ = None
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes; some errors cannot be unpickled)
        except Exception:
            return RuntimeError("".join(traceback.format_exception(error)))
        return error if isinstance(error, Exception) else EscapedError.of(error)
