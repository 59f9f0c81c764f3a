"""Drives the items of a session through their rounds: gather arms, take what is stored, measure the rest.

An arm that two items ask for is measured once. Every measurement is stored the moment it exists.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Protocol as Interface

from filelock import FileLock

from engine.arms.arm import Arm, all_kinds, weights_of
from engine.arms.measurement import Measurement, digest_of
from engine.arms.settings import DescentSettings, StackSettings
from engine.arms.stacks import SentenceNet, TokenNet
from engine.claim.claim import Claim
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.errors import DeclarationError, LedgerError, SubjectError, explain, explain_replaced, no_exits
from engine.ledger import Ledger
from engine.running.costs import group_of
from engine.running.executors.base import DoesNotFitError, Executor
from engine.running.interim_looks import evaluate_item
from engine.running.waiting import Waiting

POLL_S = 0.5
"""Between two looks at arms that another session is measuring."""


class Progress(Interface):
    """Told how far a round is."""

    def expect(self, arms: Sequence[Arm]) -> None:
        """More arms are to be measured."""
        ...

    def forecast(self, arms: Sequence[Arm]) -> None:
        """These, or others like them, will be asked for later; what was foreseen before no longer counts."""
        ...

    def begin(self, arm: Arm) -> None: ...

    def finish(self, arm: Arm, elapsed_s: float) -> None: ...

    def close(self) -> None: ...


class NoProgress:
    """Progress that nobody watches."""

    def expect(self, arms: Sequence[Arm]) -> None: ...

    def forecast(self, arms: Sequence[Arm]) -> None: ...

    def begin(self, arm: Arm) -> None: ...

    def finish(self, arm: Arm, elapsed_s: float) -> None: ...

    def close(self) -> None: ...


@dataclass(kw_only=True, eq=False)
class ItemRun:
    """One item on its way: its rounds so far, and in the end its evidence or the error that stopped it.

    entries: of the arms that it asks for. missing: how many of them it waits for.
    """

    claim: Claim
    trial: Trial
    asked: Sequence[Arm] = ()
    evidence: Evidence | None = None
    error: Exception | None = None
    entries: list[ArmEntry] = field(default_factory=list["ArmEntry"], repr=False)
    missing: int = field(default=0, repr=False)
    _rounds: Rounds | None = field(default=None, repr=False)

    @property
    def done(self) -> bool:
        return self.evidence is not None or self.error is not None

    def advance(self, given: Sequence[Measurement] | None) -> None:
        """Send the round's measurements (None at the start) and note what is asked next."""
        try:
            with no_exits():
                if self._rounds is None:
                    self._rounds = evaluate_item(self.claim, self.trial)
                    self.asked = next(self._rounds)
                else:
                    assert given is not None
                    self.asked = self._rounds.send(given)
                check_kinds(self.claim.id, self.asked)
        except StopIteration as end:
            self.evidence = end.value
        except Exception as error:
            self.error = error

    def fail(self, error: Exception) -> None:
        self.error = error


def check_kinds(claim: str, arms: Sequence[object]) -> None:
    """Raises DeclarationError for an arm of a kind that has no folder in the engine: nothing could store it."""
    known = all_kinds()
    strange = next((arm for arm in arms if type(arm) not in known), None)
    if strange is not None:
        kinds = ", ".join(kind.__name__ for kind in known)
        remedy = "give it a folder in engine/experiments, as CONTRIBUTING.md shows"
        got = f"an arm of a kind of its own, {type(strange).__name__}"
        raise DeclarationError(explain(who=f"claim {claim}", got=got, expected=f"one of {kinds}", remedy=remedy))


Forecast = Callable[[ItemRun], Sequence[Arm]]
"""The arms of a job's later rounds, as far as they can be told before it has run."""


def _no_forecast(job: ItemRun) -> Sequence[Arm]:
    return ()


class ArmState(Enum):
    """Where an arm stands."""

    WAITING = "waiting for its turn"
    ELSEWHERE = "measured by another session"
    RUNNING = "under way"
    MEASURED = "measured"
    FAILED = "failed"


@dataclass(kw_only=True, eq=False)
class ArmEntry:
    """An arm that was asked for. jobs: those that wait for it."""

    arm: Arm
    digest: str
    state: ArmState = ArmState.WAITING
    measurement: Measurement | None = None
    error: Exception | None = None
    jobs: list[ItemRun] = field(default_factory=list[ItemRun])


class Scheduler:
    """Measures what jobs ask for, with one ledger and one executor.

    Several arms may be under way at once. A job goes on as soon as its own arms are there, whatever others wait for.
    All that is known of an arm is its entry; a job counts the entries that it waits for, so that nothing is searched.
    fresh_since: stored measurements older than this moment (ISO 8601, UTC), or of the future, are not used; '' uses
    all.
    forecast: for the progress alone.
    """

    def __init__(
        self,
        ledger: Ledger,
        make_executor: Callable[[], Executor],
        *,
        progress: Progress,
        fresh_since: str = "",
        forecast: Forecast = _no_forecast,
    ) -> None:
        self.ledger = ledger
        self._make_executor, self._executor = make_executor, None
        self._progress, self._fresh_since, self._forecast = progress, fresh_since, forecast
        self._entries: dict[str, ArmEntry] = {}
        self._waiting = Waiting()
        self._in_line: dict[int, ArmEntry] = {}
        self._elsewhere: list[ArmEntry] = []
        self._running: dict[Future[Measurement], tuple[ArmEntry, FileLock]] = {}
        self._ready: deque[ItemRun] = deque()
        self._ahead: dict[ItemRun, dict[str, Arm]] = {}
        self._sources: dict[str, str] = {}
        self._unstored: LedgerError | None = None
        self._answering: ItemRun | None = None

    def run(self, jobs: Iterable[ItemRun]) -> None:
        """Bring every job to its evidence or its error.

        Raises LedgerError when a measurement cannot be stored: the next ones would be measured for nothing. Jobs that
        could be answered by then have their evidence.
        """
        asked = [job for job in jobs if not job.done]
        try:
            for job in asked:
                job.advance(None)
            going = self._ask(asked)
            while True:
                # Answer first: what jobs ask for next may be stored already, and then nothing has to be measured.
                while self._ready:
                    answered: list[ItemRun] = []
                    while self._ready:
                        answered.append(job := self._ready.popleft())
                        self._answer(job)
                    going += self._ask(answered) - len(answered)
                if self._unstored is not None and any(not job.done or job.error is self._unstored for job in asked):
                    raise self._unstored
                if not going:
                    return
                self._begin_some()
                if self._unstored is None and not self._ready:
                    self._await_one()
        finally:
            self._stop()
            # Cut short, what has come in by now is enough for some; the one that was cut itself has no answer.
            for job in self._ready:
                if job is not self._answering:
                    self._answer(job)
            self._ready.clear()

    def look_up(self, arm: Arm) -> Measurement | None:
        """A stored measurement that may be used."""
        stored = self.ledger.get(arm)
        if stored is None or not self._fresh_since:
            return stored
        # Of the future is only what a clock that went wrong has dated.
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return stored if self._fresh_since <= stored.provenance.measured_at <= now else None

    def _ask(self, jobs: Iterable[ItemRun]) -> int:
        """Note what jobs ask for: take what is stored, and put the rest in line. How many jobs are not done."""
        missing: list[ArmEntry] = []
        going = 0
        for job in jobs:
            self._ahead.pop(job, None)
            if job.done:
                continue
            going += 1
            job.entries = [self._find(arm, missing) for arm in job.asked]
            open_ = {e.digest: e for e in job.entries if e.state not in (ArmState.MEASURED, ArmState.FAILED)}
            job.missing = 0 if any(entry.state is ArmState.FAILED for entry in job.entries) else len(open_)
            if job.missing == 0:
                self._ready.append(job)
                continue
            for entry in open_.values():
                entry.jobs.append(job)
            if all(arm.assume() is not None for arm in job.asked):
                self._ahead[job] = {digest_of(arm): arm for arm in self._forecast(job)}
        if missing:
            self._put_in_line(missing)
        return going

    def _find(self, arm: Arm, missing: list[ArmEntry]) -> ArmEntry:
        """The entry of an arm; a new one that is not stored is among the missing, too."""
        digest = digest_of(arm)
        entry = self._entries.get(digest)
        if entry is not None:
            return entry
        entry = self._entries[digest] = ArmEntry(arm=arm, digest=digest)
        try:
            with no_exits():
                self._check_source(arm)
                entry.measurement = self.look_up(arm)
        except Exception as error:
            entry.state, entry.error = ArmState.FAILED, error
            return entry
        if entry.measurement is not None:
            entry.state = ArmState.MEASURED
        else:
            missing.append(entry)
        return entry

    def _put_in_line(self, missing: list[ArmEntry]) -> None:
        """Let arms wait for their turn, those that share weights together, and tell the progress of them."""
        missing.sort(key=lambda entry: group_of(entry.arm))
        for entry in missing:
            self._in_line[id(entry.arm)] = entry
            self._waiting.add(entry.arm)
        self._progress.expect([entry.arm for entry in missing])
        ahead = {digest: arm for foreseen in self._ahead.values() for digest, arm in foreseen.items()}
        states = {digest: entry.state for digest in ahead if (entry := self._entries.get(digest)) is not None}
        self._progress.forecast([arm for digest, arm in ahead.items() if states.get(digest) is not ArmState.MEASURED])

    def _check_source(self, arm: Arm) -> None:
        """Raises SubjectError where other weights were asked for by the same name: no verdict may rest on both."""
        subject, source = weights_of(arm)
        first = self._sources.setdefault(subject, source)
        if source != first:
            raise SubjectError(explain_replaced(subject, got=source, expected=first))

    def _answer(self, job: ItemRun) -> None:
        """Give a job what it asked for, or the error of the first arm that failed."""
        self._answering = job
        failed = next((entry.error for entry in job.entries if entry.error is not None), None)
        if failed is not None:
            job.fail(failed)
        else:
            found = [entry.measurement for entry in job.entries]
            job.advance([measurement for measurement in found if measurement is not None])
        self._answering = None

    def _settle(
        self, entry: ArmEntry, *, measurement: Measurement | None = None, error: Exception | None = None
    ) -> None:
        """Note an arm's outcome, and which jobs it was the last one for."""
        entry.measurement, entry.error = measurement, error
        entry.state = ArmState.MEASURED if measurement is not None else ArmState.FAILED
        for job in entry.jobs:
            if job.missing > 0:
                job.missing = 0 if error is not None else job.missing - 1
                if job.missing == 0:
                    self._ready.append(job)
        entry.jobs.clear()

    def _begin_some(self) -> None:
        """Begin as many arms as the executor takes."""
        while len(self._waiting) and self._unstored is None:
            self._executor = self._executor or self._make_executor()
            try:
                arm = self._executor.choose(self._waiting)
            except DoesNotFitError as refused:
                self._waiting.take_out(refused.arm)
                self._settle(self._in_line[id(refused.arm)], error=refused)
                self._progress.finish(refused.arm, 0.0)
                continue
            if arm is None:
                return
            self._waiting.take_out(arm)
            self._begin(self._executor, self._in_line[id(arm)])

    def _begin(self, executor: Executor, entry: ArmEntry) -> None:
        """Measure an arm, unless another session measures it, or has by now."""
        try:
            lock = self.ledger.try_lock(entry.arm)
        except LedgerError as error:
            self._unstored = error
            self._settle(entry, error=error)
            return
        if lock is None:
            entry.state = ArmState.ELSEWHERE
            self._elsewhere.append(entry)
            return
        entry.state = ArmState.RUNNING
        self._progress.begin(entry.arm)
        try:
            # Another session may have measured it while this one waited.
            stored = self.look_up(entry.arm)
        except LedgerError as error:
            self._release(entry, lock, error=error)
            return
        if stored is not None:
            self._release(entry, lock, measurement=stored)
            return
        # Known before it is submitted: an executor that measures at once may be interrupted at it.
        self._running[placeholder := Future[Measurement]()] = (entry, lock)
        submitted = executor.submit(entry.arm)
        del self._running[placeholder]
        self._running[submitted] = (entry, lock)
        if submitted.done():  # stored before the next one is begun
            self._finish(submitted)

    def _await_one(self) -> None:
        """Wait until an arm that is under way has an outcome, or one that another session measures may have."""
        if self._running:
            done, _ = wait(self._running, timeout=POLL_S if self._elsewhere else None, return_when=FIRST_COMPLETED)
            for future in done:
                self._finish(future)
        elif self._elsewhere:
            time.sleep(POLL_S)
        for entry in self._elsewhere:
            entry.state = ArmState.WAITING
            self._waiting.add(entry.arm)
        self._elsewhere.clear()

    def _finish(self, future: Future[Measurement]) -> None:
        """Store an outcome; an arm that failed leaves the others alone."""
        entry, lock = self._running.pop(future)
        try:
            measurement = future.result()
            try:
                self.ledger.put(measurement)
            except LedgerError as error:
                self._unstored = error
                raise
        except Exception as error:
            self._release(entry, lock, error=error)
            return
        except BaseException:
            lock.release()
            self._forget(entry)
            raise
        self._release(entry, lock, measurement=measurement, elapsed_s=measurement.elapsed_s)

    def _release(
        self,
        entry: ArmEntry,
        lock: FileLock,
        *,
        measurement: Measurement | None = None,
        error: Exception | None = None,
        elapsed_s: float = 0.0,
    ) -> None:
        """Let other sessions have an arm again, with its outcome noted."""
        self._settle(entry, measurement=measurement, error=error)
        lock.release()
        self._progress.finish(entry.arm, elapsed_s)

    def _stop(self) -> None:
        """Keep what has come in by now, and give up what has not."""
        for future in [future for future in self._running if future.done()]:
            self._finish(future)
        if self._executor is not None:
            self._executor.shutdown()
        for entry, lock in self._running.values():
            lock.release()
            self._forget(entry)
        for entry in [*self._elsewhere, *(self._in_line[id(arm)] for arm in self._waiting)]:
            self._forget(entry)
        self._running.clear()
        self._elsewhere.clear()
        self._waiting = Waiting()
        self._in_line.clear()
        self._progress.close()

    def _forget(self, entry: ArmEntry) -> None:
        """Nothing is known of it yet: another run looks again."""
        self._entries.pop(entry.digest, None)


def label(arm: Arm) -> str:
    """A few words for a progress line."""
    settings = getattr(arm, "settings", None)
    if not isinstance(settings, StackSettings):
        return f"{arm.kind} {getattr(arm, 'subject', '')}"
    stack = settings.stack
    if isinstance(stack, SentenceNet):
        what = "narrow net" if stack.narrow else "wide net"
    elif isinstance(stack, TokenNet):
        what = f"token net{f' d={stack.d_model}' if stack.d_model else ''}"
    else:
        what = f"{stack.blocks}b{'+h' if stack.head else ''}"
    length = f" N={settings.iterations}" if isinstance(settings, DescentSettings) else ""
    return f"{arm.kind} {settings.subject} {what} {settings.protocol.name}{length}"
