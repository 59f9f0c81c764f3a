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
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any, Literal

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.errors import EngineError, EscapedError, explain, no_exits
from engine.models.devices import VISIBLE
from engine.running.costs import PROCESS_BYTES, gpu_bytes, group_of, host_bytes
from engine.running.executors.base import DoesNotFitError
from engine.running.waiting import Needs, Waiting

ATTEMPTS = 2
"""Times that an arm is tried when the process under it dies."""

LEAVING_S = 5.0
"""For a process that has closed its pipe to be gone."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One that workers may use. name: as CUDA_VISIBLE_DEVICES has it. bytes: what they may take of it together."""

    name: str
    bytes: float


class Process:
    """A process of its own, started afresh (a forked copy of one that has used threads may hang), with one pipe.

    gpu: the one that it sees; None leaves it what this process sees.
    """

    def __init__(self, threads: int, gpu: str | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, threads, gpu), daemon=True)
        with _interrupts_held_back():
            self._process.start()
        theirs.close()

    def measure(self, arm: Arm) -> Measurement:
        """Wait for an arm's measurement. Raises the experiment's error, or EOFError when the process has died."""
        try:
            self._pipe.send(arm)
            found = self._pipe.recv()
        except OSError as error:
            raise EOFError(str(error)) from error
        if isinstance(found, Exception):
            raise found
        return found

    def end(self) -> int | None:
        """End it now, whatever it is at. Returns the exit code that it had left with by itself; None where it had not.

        A signal's number is negative.
        """
        self._process.join(timeout=0)
        left = self._process.exitcode
        self._process.kill()
        self._process.join()
        return left

    def bury(self) -> int | None:
        """The exit code of one whose pipe has closed: it is about to leave, if nothing keeps it."""
        self._process.join(timeout=LEAVING_S)
        return self.end()


@dataclass(kw_only=True, eq=False)
class _Worker:
    """A process (none before its first arm), what it is measuring, and what it measured last and still holds."""

    gpu: Gpu | None = None
    process: Process | None = None
    arm: Arm | None = None
    last: Arm | None = None

    @property
    def held(self) -> Arm | None:
        """Whose memory it takes now: idle, it still holds what its last arm was measured with."""
        return self.arm or self.last

    @property
    def bytes(self) -> float:
        """What it takes of the host's memory."""
        return host_bytes(self.held) if self.held is not None else PROCESS_BYTES

    def end(self) -> None:
        if self.process is not None:
            self.process.end()


class Pool:
    """Up to `workers` processes of `threads` threads; together they take at most `budget_bytes`, this process aside.

    gpus: those that workers are dealt out to, evenly; each takes no more of its own than there is, beside the others.
    Arms of one group (the same weights) go to one worker, so that a model is loaded once; within a group the costliest
    goes first. Arms that need more than half of the budget begin early: at the end none may be small enough to run
    beside them. A worker that dies costs its arm one more attempt, and nothing else.
    """

    def __init__(self, *, workers: int, threads: int, budget_bytes: float, gpus: Sequence[Gpu] = ()) -> None:
        self._most, self._threads, self._budget, self._gpus = workers, threads, budget_bytes, tuple(gpus)
        self._workers: list[_Worker] = []
        self._chosen: _Worker | None = None
        self._attendants = ThreadPoolExecutor(max_workers=workers)
        self._resting = False

    def choose(self, waiting: Waiting) -> Arm | None:
        """The next arm for an idle worker, if there is room for it. Raises DoesNotFitError for one that never fits."""
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
        """Begin an arm that was chosen."""
        assert self._chosen is not None
        worker, self._chosen = self._chosen, None
        if worker not in self._workers:
            self._workers.append(worker)
        worker.arm = arm
        return self._attendants.submit(self._attend, worker, arm)

    def shutdown(self) -> None:
        """Send all workers home; what they are measuring is given up."""
        self._resting = True
        for worker in self._workers:
            worker.end()
        self._attendants.shutdown()
        self._workers.clear()
        self._attendants, self._resting = ThreadPoolExecutor(max_workers=self._most), False

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
                who=f"{arm.kind} on {group_of(arm)[0]}",
                got=f"a need of about {got / 1e9:.1f} GB of memory",
                expected=f"at most {expected / 1e9:.1f} GB {most}",
                remedy=remedy,
            ),
        )

    def _idle(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.arm is None]

    def _rank(self, waiting: Waiting) -> list[Needs]:
        """Arms in the order of preference: of groups that an idle worker holds, then of those that no worker has; in
        them what is large before what is small, the costliest group first, and in a group the costliest arm.
        """
        served = {group_of(worker.arm) for worker in self._workers if worker.arm is not None}
        at_home = {group_of(worker.last) for worker in self._idle() if worker.last is not None}

        def rank(needs: Needs) -> tuple[bool, bool, bool, float, float]:
            group, small = needs.group, needs.host_bytes <= self._budget / 2
            return (group not in at_home, group in served, small, -waiting.seconds_of(group), -needs.seconds)

        return sorted(waiting.list_costliest(), key=rank)

    def _find_workers(self, arm: Arm) -> list[_Worker]:
        """Those that may have an arm, best first: the one that holds its weights, else new ones, else any idle one.

        A new one beside as many as there may be takes an idle one's place, whose GPU may be too small.
        """
        idle = self._idle()
        at_home = [w for w in idle if w.last is not None and group_of(w.last) == group_of(arm)]
        new = [_Worker(gpu=gpu) for gpu in sorted(self._gpus, key=self._count)] or [_Worker()]
        more = len(self._workers) < self._most
        if at_home and not (at_home[0].gpu and at_home[0].gpu.bytes < gpu_bytes(arm)):
            return at_home[:1] + (new if more and self._gpus else [])  # its GPU may be full at present
        return new if more else idle + new

    def _count(self, gpu: Gpu) -> int:
        return sum(worker.gpu == gpu for worker in self._workers)

    def _make_room(self, arm: Arm, worker: _Worker) -> bool:
        """Whether the arm fits now; idle workers that hold models are sent home for it."""
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
        """What would not suffice, were the arm measured by this worker beside those that stay."""
        if len(staying) == self._most or host_bytes(arm) + sum(other.bytes for other in staying) > self._budget:
            return "host"
        beside = [other.held for other in staying if other.gpu == worker.gpu]
        taken = sum(gpu_bytes(held) for held in beside if held is not None)
        return "gpu" if worker.gpu is not None and gpu_bytes(arm) + taken > worker.gpu.bytes else None

    def _begin(self, worker: _Worker, arm: Arm) -> Process:
        """A process for a worker. Raises EngineError where the system gives none."""
        try:
            return Process(self._threads, worker.gpu and worker.gpu.name)
        except OSError as error:
            raise EngineError(
                explain(
                    who=f"{arm.kind} on {group_of(arm)[0]}",
                    got=f"no process to measure it in ({error.strerror})",
                    expected="one",
                    remedy="raise the limits of open files and processes (ulimit -n, -u), or try --executor inline",
                )
            ) from error

    def _attend(self, worker: _Worker, arm: Arm) -> Measurement:
        """Have an arm measured, once more where the process under it dies."""
        left: int | None = None
        try:
            for _ in range(ATTEMPTS):
                worker.process = worker.process or self._begin(worker, arm)
                try:
                    if self._resting:
                        raise EOFError("started while all were sent home")
                    return worker.process.measure(arm)
                except EOFError:
                    left = worker.process.bury() if not self._resting else worker.process.end()
                    worker.process = None
                    if self._resting:
                        raise
            raise EngineError(
                explain(
                    who=f"{arm.kind} on {group_of(arm)[0]}",
                    got=f"a process that died {ATTEMPTS} times while it was measured ({name_death(left)})",
                    expected="a measurement",
                    remedy=explain_death(left),
                )
            )
        finally:
            worker.last, worker.arm = (arm if worker.process is not None else None), None


def name_death(left: int | None) -> str:
    """How a process left: 'SIGKILL', 'exit code 3'."""
    if left is None or left >= 0:
        return f"exit code {left}" if left is not None else "its pipe closed"
    try:
        return signal.Signals(-left).name
    except ValueError:
        return f"signal {-left}"


def explain_death(left: int | None) -> str:
    """What to do about it."""
    match name_death(left):
        case "SIGKILL":
            return "look for the system's out-of-memory killer, or try --executor inline"
        case "SIGXCPU":
            return "raise the limit of processor time (ulimit -t)"
        case _:
            return "see what it wrote to standard error, or try --executor inline"


@contextmanager
def _interrupts_held_back() -> Generator[None]:
    """What is started inherits it: Ctrl-C reaches it as well, before it can say that interrupts are the session's."""
    resource_tracker.ensure_running()  # else it is started together with the first process, and lifts the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(pipe: Connection[Any, Any], threads: int, gpu: str | None = None) -> None:
    """In a process of its own: measure what comes through the pipe until it closes."""
    if gpu is not None:
        os.environ[VISIBLE] = gpu  # read when CUDA is first used, which nothing has done yet
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # interrupts are the session's
    threading.Thread(target=_follow_parent, daemon=True).start()
    from tqdm import tqdm

    from engine.models.loaded import release_memory
    from engine.running.executors.inline import Inline

    # By itself tqdm makes a lock for all processes, a semaphore that stays behind when this one is killed.
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
    """Die with the session: an orphan would go on measuring for nobody."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def run_picklable(run: Callable[[Arm], Measurement], arm: Arm) -> Measurement | Exception:
    """In another process: a measurement, or the error as it can be sent, with where it was raised."""
    try:
        with no_exits():
            return run(arm)
    except (Exception, KeyboardInterrupt) as error:  # Ctrl-C is the session's: this one is a library's
        error.add_note(traceback.format_exc())
        error.__cause__ = error.__context__ = None
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes: some errors can't be made again)
        except Exception:
            return RuntimeError("".join(traceback.format_exception(error)))
        return error if isinstance(error, Exception) else EscapedError.of(error)
