"""Drives the items of a session through their rounds: gather arms, take what is stored, measure the rest.

An arm that two items ask for is measured once. Every measurement is stored the moment it exists.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
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
from engine.running.executors.base import Executor, RefusedError
from engine.running.interim_looks import run_whole

POLL_S = 0.5
"""Between two looks at arms that another session is measuring."""


class Progress(Interface):
    """Told how far a round is."""

    def expect(self, arms: Sequence[Arm]) -> None:
        """More arms are to be measured."""
        ...

    def foresee(self, arms: Sequence[Arm]) -> None:
        """These, or others like them, will be asked for later; what was foreseen before no longer counts."""
        ...

    def begin(self, arm: Arm) -> None: ...

    def finish(self, arm: Arm, elapsed_s: float) -> None: ...

    def close(self) -> None: ...


class Silent:
    """Progress that nobody watches."""

    def expect(self, arms: Sequence[Arm]) -> None: ...

    def foresee(self, arms: Sequence[Arm]) -> None: ...

    def begin(self, arm: Arm) -> None: ...

    def finish(self, arm: Arm, elapsed_s: float) -> None: ...

    def close(self) -> None: ...


@dataclass(kw_only=True)
class Job:
    """One item on its way: its rounds so far, and in the end its evidence or the error that stopped it."""

    claim: Claim
    trial: Trial
    asked: Sequence[Arm] = ()
    evidence: Evidence | None = None
    error: Exception | None = None
    _rounds: Rounds | None = field(default=None, repr=False)

    @property
    def done(self) -> bool:
        return self.evidence is not None or self.error is not None

    def advance(self, given: Sequence[Measurement] | None) -> None:
        """Send the round's measurements (None at the start) and note what is asked next."""
        try:
            with no_exits():
                if self._rounds is None:
                    self._rounds = run_whole(self.claim, self.trial)
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


Foresee = Callable[[Job], Sequence[Arm]]
"""The arms of a job's later rounds, as far as they can be told before it has run."""


def _blind(job: Job) -> Sequence[Arm]:
    return ()


class Campaign:
    """Measures what jobs ask for, with one ledger and one executor.

    Several arms may be under way at once. A job goes on as soon as its own arms are there, whatever others wait for.
    fresh_since: stored measurements older than this moment (ISO 8601, UTC), or of the future, are not used; '' uses
    all.
    foresee: for the progress alone.
    """

    def __init__(
        self,
        ledger: Ledger,
        make_executor: Callable[[], Executor],
        *,
        progress: Progress,
        fresh_since: str = "",
        foresee: Foresee = _blind,
    ) -> None:
        self.ledger = ledger
        self._make_executor, self._executor = make_executor, None
        self._progress, self._fresh_since, self._foresee = progress, fresh_since, foresee
        self._ahead: dict[int, Sequence[Arm]] = {}
        self._known: dict[str, Measurement] = {}
        self._sources: dict[str, str] = {}
        self._unstored: LedgerError | None = None
        self._answering: Job | None = None
        self._failed: dict[str, Exception] = {}
        self._waiting: dict[str, Arm] = {}
        self._elsewhere: dict[str, Arm] = {}
        self._running: dict[Future[Measurement], tuple[Arm, FileLock]] = {}

    def run(self, jobs: Iterable[Job]) -> None:
        """Bring every job to its evidence or its error.

        Raises LedgerError when a measurement cannot be stored: the next ones would be measured for nothing. Jobs that
        could be answered by then have their evidence.
        """
        going = asked = [job for job in jobs if not job.done]
        for job in going:
            job.advance(None)
        try:
            while True:
                going = self._answer_all(going)
                self._expect(going)
                if self._answerable(going):
                    continue
                if self._unstored is not None and any(not job.done or job.error is self._unstored for job in asked):
                    raise self._unstored
                if not going:
                    return
                self._begin_some()
                if self._unstored is None:
                    self._await_one()
        finally:
            self._stop()
            # Cut short, what has come in by now is enough for some; the one that was cut itself has no answer.
            self._answer_all([job for job in going if job is not self._answering])

    def look_up(self, arm: Arm) -> Measurement | None:
        """A stored measurement that may be used."""
        stored = self.ledger.get(arm)
        if stored is None or not self._fresh_since:
            return stored
        # Of the future is only what a clock that went wrong has dated.
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return stored if self._fresh_since <= stored.provenance.measured_at <= now else None

    def _answer_all(self, jobs: list[Job]) -> list[Job]:
        """Give each job whose arms are all there what it asked for; those that still go on."""
        for job in jobs:
            if not job.done and self._has_all(job):
                self._answer(job)
        return [job for job in jobs if not job.done]

    def _answerable(self, jobs: list[Job]) -> bool:
        return any(self._has_all(job) for job in jobs)

    def _has_all(self, job: Job) -> bool:
        digests = [digest_of(arm) for arm in job.asked]
        return any(d in self._failed for d in digests) or all(d in self._known for d in digests)

    def _answer(self, job: Job) -> None:
        self._answering = job
        failed = next((f for arm in job.asked if (f := self._failed.get(digest_of(arm)))), None)
        if failed is not None:
            job.fail(failed)
        else:
            job.advance([self._known[digest_of(arm)] for arm in job.asked])
        self._answering = None

    def _expect(self, jobs: list[Job]) -> None:
        """Take what is stored, and put the rest in line."""
        missing: dict[str, Arm] = {}
        begun = {digest_of(arm) for arm, _ in self._running.values()}
        for arm in (arm for job in jobs for arm in job.asked):
            digest = digest_of(arm)
            seen = (self._known, self._failed, self._waiting, self._elsewhere, begun, missing)
            if any(digest in place for place in seen):
                continue
            try:
                with no_exits():
                    self._check_source(arm)
                    stored = self.look_up(arm)
            except Exception as error:
                self._failed[digest] = error
                continue
            if stored is None:
                missing[digest] = arm
            else:
                self._known[digest] = stored
        if missing:
            self._waiting = dict(sorted((self._waiting | missing).items(), key=lambda item: group_of(item[1])))
            self._progress.expect([arm for digest, arm in self._waiting.items() if digest in missing])
            self._progress.foresee(self._look_ahead(jobs))

    def _check_source(self, arm: Arm) -> None:
        """Raises SubjectError where other weights were asked for by the same name: no verdict may rest on both."""
        subject, source = weights_of(arm)
        first = self._sources.setdefault(subject, source)
        if source != first:
            raise SubjectError(explain_replaced(subject, got=source, expected=first))

    def _look_ahead(self, jobs: list[Job]) -> list[Arm]:
        """Each arm once that jobs which are still tuning will ask for."""
        ahead: dict[str, Arm] = {}
        for job in jobs:
            if all(arm.assume() is not None for arm in job.asked):
                if id(job) not in self._ahead:
                    self._ahead[id(job)] = self._foresee(job)
                ahead |= {digest_of(arm): arm for arm in self._ahead[id(job)]}
        return [arm for digest, arm in ahead.items() if digest not in self._known]

    def _begin_some(self) -> None:
        """Begin as many arms as the executor takes."""
        while self._waiting and self._unstored is None:
            self._executor = self._executor or self._make_executor()
            try:
                arm = self._executor.choose(list(self._waiting.values()))
            except RefusedError as refused:
                self._failed[digest_of(refused.arm)] = refused
                del self._waiting[digest_of(refused.arm)]
                self._progress.finish(refused.arm, 0.0)
                continue
            if arm is None:
                return
            self._begin(self._executor, arm)

    def _begin(self, executor: Executor, arm: Arm) -> None:
        digest = digest_of(arm)
        del self._waiting[digest]
        try:
            lock = self.ledger.try_claim(arm)
        except LedgerError as error:
            self._failed[digest] = self._unstored = error
            return
        if lock is None:
            self._elsewhere[digest] = arm
            return
        future: Future[Measurement] = Future()
        self._running[future] = (arm, lock)
        self._progress.begin(arm)
        try:
            # Another session may have measured it while this one waited.
            stored = self.look_up(arm)
        except LedgerError as error:
            future.set_exception(error)
            return
        if stored is not None:
            self._known[digest] = stored
            self._settle(future, elapsed_s=0.0)
            return
        del self._running[future]
        self._running[(submitted := executor.submit(arm))] = (arm, lock)
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
        self._waiting |= self._elsewhere
        self._elsewhere.clear()

    def _finish(self, future: Future[Measurement]) -> None:
        """Store an outcome; an arm that failed leaves the others alone."""
        arm, _ = self._running[future]
        elapsed_s = 0.0
        try:
            measurement = future.result()
            elapsed_s = measurement.elapsed_s
            self._keep(measurement)
        except Exception as error:
            self._failed[digest_of(arm)] = error
        self._settle(future, elapsed_s=elapsed_s)

    def _keep(self, measurement: Measurement) -> None:
        try:
            self.ledger.put(measurement)
        except LedgerError as error:
            self._unstored = error
            raise
        self._known[measurement.digest] = measurement

    def _settle(self, future: Future[Measurement], *, elapsed_s: float) -> None:
        arm, lock = self._running.pop(future)
        lock.release()
        self._progress.finish(arm, elapsed_s)

    def _stop(self) -> None:
        """Keep what has come in by now, and give up what has not."""
        for future in [future for future in self._running if future.done()]:
            self._finish(future)
        if self._executor is not None:
            self._executor.rest()
        for _, lock in self._running.values():
            lock.release()
        self._running.clear()
        self._waiting.clear()
        self._elsewhere.clear()
        self._progress.close()


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
