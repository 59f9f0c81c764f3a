"""Runs the items of a session: gathers the arms they ask for, takes what is stored, and has the rest measured.

An arm that two items ask for is measured once. Every measurement is stored as soon as it exists.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack
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
from engine.running.training import train_first
from engine.running.waiting import Waiting

POLL_S = 0.5
"""Time between two checks for an arm that another session is measuring."""


class Progress(Interface):
    """Receives how far a session is."""

    def expect(self, arms: Sequence[Arm]) -> None:
        """More arms will be measured."""
        ...

    def forecast(self, arms: Sequence[Arm]) -> None:
        """Replace the forecast of the arms that later rounds will ask for."""
        ...

    def begin(self, arm: Arm) -> None: ...

    def finish(self, arm: Arm, elapsed_s: float) -> None:
        """An arm has its outcome. elapsed_s: 0 for one that failed or was stored meanwhile."""
        ...

    def close(self) -> None: ...


class NoProgress:
    """Progress that nobody sees."""

    def expect(self, arms: Sequence[Arm]) -> None: ...

    def forecast(self, arms: Sequence[Arm]) -> None: ...

    def begin(self, arm: Arm) -> None: ...

    def finish(self, arm: Arm, elapsed_s: float) -> None: ...

    def close(self) -> None: ...


@dataclass(kw_only=True, eq=False)
class ItemRun:
    """The run of one item: the arms of its current round, and in the end its evidence or the error that stopped it.

    entries: of the arms that it asks for. missing: how many of them it waits for. is_stored: whether an arm's
    measurement may be used; a plan looks into no ledger here.
    """

    claim: Claim
    trial: Trial
    asked: Sequence[Arm] = ()
    evidence: Evidence | None = None
    error: Exception | None = None
    is_stored: Callable[[Arm], bool] = field(default=lambda arm: False, repr=False)
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
                    self._rounds = train_first(evaluate_item(self.claim, self.trial), self.is_stored)
                    self.asked = next(self._rounds)
                else:
                    assert given is not None
                    self.asked = self._rounds.send(given)
                check_kinds(self.claim.id, self.asked)
        except StopIteration as end:
            self.evidence = end.value
        except Exception as error:
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
"""The arms of an item's later rounds, as far as they can be predicted before the item has run."""


def _no_forecast(item: ItemRun) -> Sequence[Arm]:
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
    """An arm that was asked for. items: those that wait for it."""

    arm: Arm
    digest: str
    state: ArmState = ArmState.WAITING
    measurement: Measurement | None = None
    error: Exception | None = None
    items: list[ItemRun] = field(default_factory=list[ItemRun])


class Scheduler:
    """Measures what items ask for, with one ledger and one executor.

    Several arms may run at once. An item goes on as soon as its own arms are there, whatever others wait for. All
    that is known of an arm is in its entry, and an item counts the entries that it waits for, so bookkeeping is
    linear in the number of arms.
    fresh_since: stored measurements from before this moment (ISO 8601, UTC), or from the future, are not used; ''
    uses all.
    reads_only: nothing will be measured, so that a stored training counts wherever its weights are.
    forecast: predicts later arms, for the progress alone.
    """

    def __init__(
        self,
        ledger: Ledger,
        make_executor: Callable[[], Executor],
        *,
        progress: Progress,
        fresh_since: str = "",
        reads_only: bool = False,
        forecast: Forecast = _no_forecast,
    ) -> None:
        self.ledger = ledger
        self._make_executor, self._executor = make_executor, None
        self._progress, self._fresh_since, self._forecast = progress, fresh_since, forecast
        self._reads_only = reads_only
        self._entries: dict[str, ArmEntry] = {}
        self._waiting = Waiting()
        self._waiting_entries: dict[int, ArmEntry] = {}
        self._elsewhere: list[ArmEntry] = []
        self._running: dict[Future[Measurement], tuple[ArmEntry, FileLock]] = {}
        self._ready: deque[ItemRun] = deque()
        self._later: dict[ItemRun, dict[str, Arm]] = {}
        self._sources: dict[str, str] = {}
        self._unstored: LedgerError | None = None
        self._answering: ItemRun | None = None

    def run(self, items: Iterable[ItemRun]) -> None:
        """Bring every item to its evidence or its error.

        Raises LedgerError when a measurement cannot be stored: whatever is measured next would be lost, too. Items
        that could be answered by then have their evidence.
        """
        asked = [item for item in items if not item.done]
        try:
            for item in asked:
                item.is_stored = lambda arm: self.look_up(arm) is not None
                item.advance(None)
            going = self._ask(asked)
            while True:
                # Answer first: the arms of an item's next round may be stored, and then nothing has to be measured.
                while self._ready:
                    answered: list[ItemRun] = []
                    while self._ready:
                        answered.append(item := self._ready.popleft())
                        self._answer(item)
                    going += self._ask(answered) - len(answered)
                if self._unstored is not None and any(not one.done or one.error is self._unstored for one in asked):
                    raise self._unstored
                if not going:
                    return
                self._start_arms()
                if self._unstored is None and not self._ready:
                    self._await_outcome()
        finally:
            try:
                self._stop()
            finally:
                # What came in before an interruption is enough for some items. The one that was interrupted while it
                # judged has no answer.
                for item in self._ready:
                    if item is not self._answering:
                        self._answer(item)
                self._ready.clear()

    def look_up(self, arm: Arm) -> Measurement | None:
        """A stored measurement that may be used."""
        stored = self.ledger.get(arm)
        if stored is None or not (self._reads_only or arm.is_available()):
            return None
        if not self._fresh_since:
            return stored
        # Only a clock that went wrong dates a measurement into the future.
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return stored if self._fresh_since <= stored.provenance.measured_at <= now else None

    def _ask(self, items: Iterable[ItemRun]) -> int:
        """Take from the ledger what items ask for, and let the rest wait. Returns how many items are not done."""
        new: list[ArmEntry] = []
        going = 0
        for item in items:
            self._later.pop(item, None)
            if item.done:
                continue
            going += 1
            item.entries = [self._find_entry(arm, new) for arm in item.asked]
            unknown = {e.digest: e for e in item.entries if e.state not in (ArmState.MEASURED, ArmState.FAILED)}
            # One failed arm is enough to answer an item, with its error.
            item.missing = 0 if any(e.state is ArmState.FAILED for e in item.entries) else len(unknown)
            if item.missing == 0:
                self._ready.append(item)
                continue
            for entry in unknown.values():
                entry.items.append(item)
            if all(arm.assume() is not None for arm in item.asked):
                self._later[item] = {digest_of(arm): arm for arm in self._forecast(item)}
        if new:
            # Arms that share weights wait together, so that a process loads a model once.
            new.sort(key=lambda entry: group_of(entry.arm))
            for entry in new:
                self._waiting_entries[id(entry.arm)] = entry
                self._waiting.add(entry.arm)
            self._progress.expect([entry.arm for entry in new])
            later = {digest: arm for arms in self._later.values() for digest, arm in arms.items()}
            measured = {d for d in later if (e := self._entries.get(d)) is not None and e.state is ArmState.MEASURED}
            self._progress.forecast([arm for digest, arm in later.items() if digest not in measured])
        return going

    def _find_entry(self, arm: Arm, new: list[ArmEntry]) -> ArmEntry:
        """The entry of an arm, made at its first request. One that has to be measured is added to `new`."""
        digest = digest_of(arm)
        entry = self._entries.get(digest)
        if entry is not None:
            return entry
        entry = self._entries[digest] = ArmEntry(arm=arm, digest=digest)
        try:
            with no_exits():
                # No verdict may rest on two contents of one name, such as a folder that was replaced meanwhile.
                subject, source = weights_of(arm)
                first = self._sources.setdefault(subject, source)
                if source != first:
                    raise SubjectError(explain_replaced(subject, got=source, expected=first))
                entry.measurement = self.look_up(arm)
        except Exception as error:
            entry.state, entry.error = ArmState.FAILED, error
            return entry
        if entry.measurement is not None:
            entry.state = ArmState.MEASURED
        else:
            new.append(entry)
        return entry

    def _answer(self, item: ItemRun) -> None:
        """Give an item the measurements it asked for, or the error of the first arm that failed."""
        self._answering = item
        failed = next((entry.error for entry in item.entries if entry.error is not None), None)
        if failed is not None:
            item.error = failed
        else:
            found = [entry.measurement for entry in item.entries]
            item.advance([measurement for measurement in found if measurement is not None])
        self._answering = None

    def _start_arms(self) -> None:
        """Start as many arms as the executor takes, except those that another session measures or has measured."""
        while len(self._waiting) and self._unstored is None:
            self._executor = self._executor or self._make_executor()
            try:
                arm = self._executor.choose(self._waiting)
            except DoesNotFitError as refused:
                self._waiting.take_out(refused.arm)
                self._conclude(self._waiting_entries[id(refused.arm)], error=refused)
                continue
            if arm is None:
                return
            self._waiting.take_out(arm)
            entry = self._waiting_entries[id(arm)]
            try:
                lock = self.ledger.try_lock(arm)
            except LedgerError as error:
                self._unstored = error
                self._conclude(entry, error=error)
                return
            if lock is None:
                entry.state = ArmState.ELSEWHERE
                self._elsewhere.append(entry)
                continue
            entry.state = ArmState.RUNNING
            self._progress.begin(arm)
            try:
                # Another session may have measured it while it waited here.
                stored = self.look_up(arm)
            except LedgerError as error:
                self._conclude(entry, lock, error=error)
                continue
            if stored is not None:
                self._conclude(entry, lock, measurement=stored)
                continue
            # Noted before it is submitted: an executor that measures at once may be interrupted at it.
            self._running[placeholder := Future[Measurement]()] = (entry, lock)
            submitted = self._executor.submit(arm)
            del self._running[placeholder]
            self._running[submitted] = (entry, lock)
            if submitted.done():  # stored before the next one starts
                self._collect(submitted)

    def _await_outcome(self) -> None:
        """Wait until an arm has an outcome, or until one that another session measures may have been stored."""
        if self._running:
            done, _ = wait(self._running, timeout=POLL_S if self._elsewhere else None, return_when=FIRST_COMPLETED)
            for future in done:
                self._collect(future)
        elif self._elsewhere:
            time.sleep(POLL_S)
        for entry in self._elsewhere:
            entry.state = ArmState.WAITING
            self._waiting.add(entry.arm)
        self._elsewhere.clear()

    def _collect(self, future: Future[Measurement]) -> None:
        """Store an arm's measurement. An arm that failed leaves the others alone."""
        entry, lock = self._running.pop(future)
        try:
            measurement = future.result()
            try:
                self.ledger.put(measurement)
            except LedgerError as error:
                self._unstored = error
                raise
        except Exception as error:
            self._conclude(entry, lock, error=error)
            return
        except BaseException:
            lock.release()
            self._entries.pop(entry.digest, None)  # a later run looks for it again
            raise
        self._conclude(entry, lock, measurement=measurement, elapsed_s=measurement.elapsed_s)

    def _conclude(
        self,
        entry: ArmEntry,
        lock: FileLock | None = None,
        *,
        measurement: Measurement | None = None,
        error: Exception | None = None,
        elapsed_s: float = 0.0,
    ) -> None:
        """Note an arm's outcome, find the items it was the last one for, and let other sessions have the arm."""
        entry.measurement, entry.error = measurement, error
        entry.state = ArmState.MEASURED if measurement is not None else ArmState.FAILED
        for item in entry.items:
            if item.missing > 0:
                item.missing = 0 if error is not None else item.missing - 1
                if item.missing == 0:
                    self._ready.append(item)
        entry.items.clear()
        if lock is not None:
            lock.release()
        self._progress.finish(entry.arm, elapsed_s)

    def _stop(self) -> None:
        """Keep what has come in by now and give up the rest, so that another run asks for it again.

        Each part runs, although an interrupt ends one before it: no process is left, no lock, and no measurement.
        """
        with ExitStack() as parts:  # they run in reverse order
            parts.callback(self._progress.close)
            parts.callback(self._give_up)
            if self._executor is not None:
                parts.callback(self._executor.shutdown)
            for future in [future for future in self._running if future.done()]:
                parts.callback(self._collect, future)

    def _give_up(self) -> None:
        """Forget every arm that has no outcome, and let other sessions have it."""
        given_up = [entry for entry, _ in self._running.values()]
        for _, lock in self._running.values():
            lock.release()
        given_up += [*self._elsewhere, *(self._waiting_entries[id(arm)] for arm in self._waiting)]
        for entry in given_up:
            self._entries.pop(entry.digest, None)
        self._running.clear()
        self._elsewhere.clear()
        self._waiting = Waiting()
        self._waiting_entries.clear()


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
