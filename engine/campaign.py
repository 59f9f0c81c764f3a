"""Drives the items of a session through their rounds: gather arms, take what is stored, measure the rest.

An arm that two items ask for is measured once. Every measurement is stored the moment it exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol as Interface

from engine.arms import Arm, DescentSettings, SentenceNet, StackSettings, TokenNet
from engine.claim import Claim
from engine.errors import LedgerError
from engine.ledger import Ledger
from engine.measurement import Measurement, digest_of
from engine.procedures import Evidence, Rounds, Trial


class Executor(Interface):
    """Runs arms. Whatever it is, equal arms give equal numbers."""

    def run(self, arm: Arm) -> Measurement:
        """Measure one arm, or let the experiment's error through."""
        ...


class Progress(Interface):
    """Told how far a round is."""

    def expect(self, arms: Sequence[Arm]) -> None: ...

    def begin(self, arm: Arm) -> None: ...

    def finish(self, arm: Arm, elapsed_s: float) -> None: ...

    def close(self) -> None: ...


class Silent:
    """Progress that nobody watches."""

    def expect(self, arms: Sequence[Arm]) -> None: ...

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
            if self._rounds is None:
                self._rounds = self.claim.procedure.rounds(self.trial)
                self.asked = next(self._rounds)
            else:
                assert given is not None
                self.asked = self._rounds.send(given)
        except StopIteration as end:
            if isinstance(end.value, Evidence):
                self.evidence = end.value
            else:
                self.error = TypeError(f"claim {self.claim.id}: its procedure returned {end.value!r}, not Evidence")
        except Exception as error:
            self.error = error

    def fail(self, error: Exception) -> None:
        self.error = error


class Campaign:
    """Measures what jobs ask for, with one ledger and one executor.

    fresh_since: stored measurements older than this moment (ISO 8601) are not used; '' uses all.
    """

    def __init__(
        self,
        ledger: Ledger,
        make_executor: Callable[[], Executor],
        *,
        progress: Progress,
        fresh_since: str = "",
    ) -> None:
        self.ledger = ledger
        self._make_executor, self._executor = make_executor, None
        self._progress, self._fresh_since = progress, fresh_since
        self._known: dict[str, Measurement] = {}
        self._failed: dict[str, Exception] = {}

    def run(self, jobs: Iterable[Job]) -> None:
        """Bring every job to its evidence or its error."""
        going = [job for job in jobs if not job.done]
        for job in going:
            job.advance(None)
        try:
            while going := [job for job in going if not job.done]:
                self._measure_all(going)
                for job in going:
                    self._answer(job)
        finally:
            self._progress.close()

    def look_up(self, arm: Arm) -> Measurement | None:
        """A stored measurement that may be used."""
        stored = self.ledger.get(arm)
        if stored is None or (stored.provenance.measured_at < self._fresh_since):
            return None
        return stored

    def _answer(self, job: Job) -> None:
        failed = next((f for arm in job.asked if (f := self._failed.get(digest_of(arm)))), None)
        if failed is not None:
            job.fail(failed)
        else:
            job.advance([self._known[digest_of(arm)] for arm in job.asked])

    def _measure_all(self, jobs: list[Job]) -> None:
        wanted = {digest_of(arm): arm for job in jobs for arm in job.asked}
        missing: list[Arm] = []
        for digest, arm in wanted.items():
            if digest in self._known or digest in self._failed:
                continue
            try:
                stored = self.look_up(arm)
            except LedgerError as error:
                self._failed[digest] = error
                continue
            if stored is None:
                missing.append(arm)
            else:
                self._known[digest] = stored
        missing.sort(key=_group)
        self._progress.expect(missing)
        for arm in missing:
            self._measure(arm)

    def _measure(self, arm: Arm) -> None:
        digest = digest_of(arm)
        self._progress.begin(arm)
        elapsed_s = 0.0
        try:
            with self.ledger.claim_arm(arm):
                # Another worker may have measured it while this one waited.
                measurement = self.look_up(arm)
                if measurement is None:
                    self._executor = self._executor or self._make_executor()
                    measurement = self._executor.run(arm)
                    elapsed_s = measurement.elapsed_s
                    self.ledger.put(measurement)
            self._known[digest] = measurement
        except Exception as error:  # the arm failed, the others go on
            self._failed[digest] = error
        self._progress.finish(arm, elapsed_s)


def _group(arm: Arm) -> tuple[str, str, str]:
    """Arms that share weights stand together, so that they are loaded once."""
    settings = getattr(arm, "settings", None)
    if not isinstance(settings, StackSettings):
        return (getattr(arm, "subject", ""), arm.kind, "")
    net = settings.stack if isinstance(settings.stack, SentenceNet) else None
    return (settings.subject, "net" if net else "", f"{net}")


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
