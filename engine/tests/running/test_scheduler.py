"""A scheduler runs each arm once, only the missing ones, and lets one failure spoil nothing else."""

from __future__ import annotations

import errno
import io
import os
import re
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import pytest

from engine.arms.arm import Arm
from engine.arms.costs import Cost
from engine.arms.measurement import Measurement, digest_of
from engine.arms.protocol import CONTROLLED
from engine.arms.stacks import SentenceNet, Stack
from engine.claim.claim import Claim
from engine.claim.criteria import AtLeast
from engine.claim.procedure import Evidence, Procedure, Rounds, Trial
from engine.errors import LedgerError, SubjectError
from engine.experiments.embedding.arm import PseudoInverseArm, RoundTripArm
from engine.experiments.inversion.arm import InversionArm
from engine.experiments.sampling import run_together
from engine.ledger import Ledger, store
from engine.ledger.maintenance import read_ledger
from engine.running.executors.base import Sequential
from engine.running.plan import forecast_arms
from engine.running.progress import ProgressBar, seconds_of
from engine.running.scheduler import ItemRun, NoProgress, Scheduler, label
from engine.running.waiting import Waiting
from engine.tests.planted import INVERSION, TUNING, drive, make_inverse, make_measurement, make_round_trip, make_trial


def arm(name: str) -> PseudoInverseArm:
    return PseudoInverseArm(subject="planted", source="planted:None", matrix=name)


A, B, C, D = (arm(name) for name in "ABCD")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Asks for the same arms whatever comes back."""

    asks: tuple[tuple[Arm, ...], ...]

    def rounds(self, trial: Trial) -> Rounds:
        got: list[Measurement] = []
        for arms in self.asks:
            got += yield list(arms)
        return Evidence(measurements=tuple(got))


@dataclass(frozen=True, kw_only=True)
class Raise:
    """Raises once it has its first measurements, or before."""

    at_once: bool

    def rounds(self, trial: Trial) -> Rounds:
        if not self.at_once:
            yield [A]
        raise ZeroDivisionError("a mistake in the procedure")


@dataclass(frozen=True, kw_only=True)
class Forget:
    """Returns nothing."""

    def rounds(self, trial: Trial) -> Rounds:
        yield [A]
        return None  # pyright: ignore[reportReturnType]


def make_job(procedure: Procedure) -> ItemRun:
    claim = Claim(
        id="T01",
        section="none",
        sentence="A sentence.",
        estimand="a number",
        document="nothing",
        procedure=procedure,
        criteria=(AtLeast("number", 1, because="a test"),),
        subjects=("planted",),
        protocols=(CONTROLLED,),
    )
    return ItemRun(claim=claim, trial=make_trial())


def asking(*rounds: tuple[Arm, ...]) -> ItemRun:
    return make_job(Ask(asks=rounds))


@dataclass(kw_only=True)
class Recorder(Sequential):
    """An executor and a progress that take notes; arms in `broken` fail."""

    broken: tuple[Arm, ...] = ()
    error: Exception = field(default_factory=lambda: SubjectError("planted: NaN weights"))
    ran: list[Arm] = field(default_factory=list[Arm])
    told: list[str] = field(default_factory=list[str])
    made: int = 0

    def run(self, arm: Arm) -> Measurement:
        self.ran.append(arm)
        if arm in self.broken:
            raise self.error
        return make_measurement(arm, make_inverse(), measured_at="2020-03-01T00:00:00+00:00")

    def expect(self, arms: Sequence[Arm]) -> None:
        self.told.append(f"expect {' '.join(map(name_of, arms))}".strip())

    def forecast(self, arms: Sequence[Arm]) -> None:
        if arms:
            self.told.append(f"forecast {' '.join(map(name_of, arms))}")

    def begin(self, arm: Arm) -> None:
        self.told.append(f"begin {name_of(arm)}")

    def finish(self, arm: Arm, elapsed_s: float) -> None:
        self.told.append(f"finish {name_of(arm)} {elapsed_s}")

    def close(self) -> None:
        self.told.append("close")

    def make(self) -> Recorder:
        self.made += 1
        return self


def name_of(arm: Arm) -> str:
    return arm.matrix if isinstance(arm, PseudoInverseArm) else arm.kind


def run(tmp_path: Path, jobs: list[ItemRun], recorder: Recorder, *, fresh_since: str = "") -> None:
    Scheduler(Ledger(tmp_path), recorder.make, progress=recorder, fresh_since=fresh_since).run(jobs)


def test_progress_forecasts_what_a_job_asks_for_once_it_has_tuned(tmp_path: Path) -> None:
    recorder, tuning, other = Recorder(), asking((TUNING,), (A, B)), asking((C,), (D,))
    foreseen = {id(tuning): (A, B), id(other): (D,)}
    Scheduler(Ledger(tmp_path), recorder.make, progress=recorder, forecast=lambda job: foreseen[id(job)]).run(
        [tuning, other]
    )
    # The second job's first round is no tuning: what follows it is not foreseen.
    assert [told for told in recorder.told if told.startswith(("expect", "forecast"))] == [
        "expect C tuning",
        "forecast A B",
        "expect D A B",
    ]


def test_the_bar_reaches_from_what_was_asked_to_what_is_foreseen(capsys: pytest.CaptureFixture[str]) -> None:
    bar, subject = ProgressBar(), "gpt2-untrained:0"  # costs are those of a subject that is known
    tuning, inversion = (replace(arm, settings=replace(arm.settings, subject=subject)) for arm in (TUNING, INVERSION))
    bar.expect([tuning])
    bar.forecast([inversion])
    bar.finish(tuning, 1.0)
    assert bar.share == pytest.approx(seconds_of([tuning]) / seconds_of([tuning, inversion]))
    bar.expect([inversion])
    bar.forecast([])
    bar.finish(inversion, 1.0)
    assert bar.share == pytest.approx(1.0)
    bar.close()
    assert "measuring 2/2 arms 100%" in capsys.readouterr().err


def test_the_bar_moves_while_one_long_arm_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the time that it has taken, up to what it was expected to take, and tells of it unasked."""
    monkeypatch.setattr("engine.running.progress.LOG_INTERVAL_S", 0.0)
    monkeypatch.setattr("engine.running.progress.LOG_BEAT_S", 0.01)
    monkeypatch.setattr("engine.running.progress.estimate_cost", lambda _: Cost(seconds=0.2, memory_bytes=0))
    bar, told, deadline = ProgressBar(), "", time.monotonic() + 60
    bar.expect([INVERSION])
    bar.begin(INVERSION)
    while told.count("95%") < 3 and time.monotonic() < deadline:
        told += capsys.readouterr().err
    shares = [int(share) for share in re.findall(r"measuring 0/1 arms +(\d+)%", told)]
    assert shares == sorted(shares)
    assert len(set(shares)) > 2
    assert shares[-3:] == [95, 95, 95]
    bar.finish(INVERSION, 1.0)
    assert bar.share == pytest.approx(1.0)
    bar.close()


class _Full(io.StringIO):
    """Standard error on a disk that is full. from_first: also when it is the first thread that writes to it."""

    def __init__(self, *, from_first: bool) -> None:
        super().__init__()
        self._from_first, self.found = from_first, threading.Event()

    def write(self, text: str, /) -> int:
        if self._from_first or threading.current_thread() is not threading.main_thread():
            self.found.set()
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_a_bar_whose_lines_nobody_takes_any_more_holds_up_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.running.progress.LOG_INTERVAL_S", 0.0)
    monkeypatch.setattr("engine.running.progress.LOG_BEAT_S", 0.01)
    monkeypatch.setattr("sys.stderr", full := _Full(from_first=False))
    monkeypatch.setattr("engine.running.progress.estimate_cost", lambda _: Cost(seconds=0.2, memory_bytes=0))
    bar = ProgressBar()
    bar.expect([INVERSION])
    assert full.found.wait(60)
    monkeypatch.setattr("sys.stderr", taken := io.StringIO())
    # In a thread, for what is waited for in vain may be a lock that the bar's own has left behind.
    ending = threading.Thread(target=lambda: (bar.finish(INVERSION, 1.0), bar.close()), daemon=True)
    ending.start()
    ending.join(60)
    assert not ending.is_alive()
    assert "measuring 1/1 arms 100%" in taken.getvalue()


def test_a_session_whose_log_takes_no_line_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.running.progress.estimate_cost", lambda _: Cost(seconds=0.2, memory_bytes=0))
    monkeypatch.setattr("sys.stderr", full := _Full(from_first=True))
    bar = ProgressBar()
    bar.expect([INVERSION])
    bar.begin(INVERSION)
    bar.finish(INVERSION, 1.0)
    bar.close()
    assert full.found.is_set()


def test_what_a_claim_will_ask_for_is_told_without_moving_its_job() -> None:
    job = asking((TUNING,), (A, B))
    assert forecast_arms(job) == [A, B]
    assert not job.asked


def test_an_arm_that_two_jobs_share_runs_once(tmp_path: Path) -> None:
    recorder, jobs = Recorder(), [asking((A, B), (C,)), asking((B,), (A, C))]
    run(tmp_path, jobs, recorder)
    assert sorted(map(name_of, recorder.ran)) == ["A", "B", "C"]
    assert [[name_of(m.arm) for m in job.evidence.measurements] for job in jobs if job.evidence] == [
        ["A", "B", "C"],
        ["B", "A", "C"],
    ]


def test_only_missing_arms_run_and_each_is_stored_at_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.put(make_measurement(A, make_inverse()))
    stored: list[bool] = []

    class Looking(Recorder):
        def run(self, arm: Arm) -> Measurement:
            stored.append(B in ledger)
            return super().run(arm)

    recorder = Looking()
    run(tmp_path, [asking((A, B, C))], recorder)
    assert list(map(name_of, recorder.ran)) == ["B", "C"]
    assert stored == [False, True]
    assert all(arm in ledger for arm in (A, B, C))


def test_nothing_missing_makes_no_executor(tmp_path: Path) -> None:
    run(tmp_path, [asking((A, B))], Recorder())
    second = Recorder()
    run(tmp_path, [asking((B, A))], second)
    assert (second.ran, second.made) == ([], 0)


def test_a_failing_arm_fails_the_jobs_that_ask_for_it_and_no_other(tmp_path: Path) -> None:
    recorder = Recorder(broken=(B,))
    jobs = [asking((A,), (B,), (D,)), asking((C,), (A,)), asking((B, C))]
    run(tmp_path, jobs, recorder)
    assert [job.error for job in jobs] == [recorder.error, None, recorder.error]
    assert [job.evidence is None for job in jobs] == [True, False, True]
    # B is tried once, though two jobs asked; D is never asked for.
    assert sorted(map(name_of, recorder.ran)) == ["A", "B", "C"]
    assert B not in Ledger(tmp_path)


@pytest.mark.parametrize(
    "error", [MemoryError("out of memory"), RuntimeError("CUDA error"), ValueError("NaN")], ids=str
)
def test_any_error_of_an_arm_is_the_jobs_error(error: Exception, tmp_path: Path) -> None:
    jobs = [asking((A,)), asking((B,))]
    run(tmp_path, jobs, Recorder(broken=(A,), error=error))
    assert [job.error for job in jobs] == [error, None]


def test_nothing_more_is_measured_once_a_measurement_cannot_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, replace_file = Recorder(), os.replace
    jobs = [asking((A,)), asking((B,)), asking((A,), (D,)), asking((C,))]

    def refuse_b(source: str, target: Path) -> None:
        if digest_of(B) in str(target):
            raise OSError(28, "No space left on device")
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", refuse_b)
    scheduler = Scheduler(Ledger(tmp_path), recorder.make, progress=recorder)
    with pytest.raises(LedgerError, match="No space left on device") as full:
        scheduler.run(jobs)
    assert list(map(name_of, recorder.ran)) == ["A", "B"]
    assert jobs[0].evidence is not None
    assert [job.error for job in jobs] == [None, full.value, None, None]
    assert [job.done for job in jobs] == [True, True, False, False]
    assert recorder.told[-1] == "close"

    stored = asking((A,))  # which needs no room
    scheduler.run([stored])
    assert stored.evidence is not None


def test_an_arm_whose_lock_cannot_be_written_ends_the_measuring_in_one_line(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    (tmp_path / "locks").rmdir()
    (tmp_path / "locks").touch()
    with pytest.raises(LedgerError, match=r"^ledger: got .*locks.*File exists, expected a lock; move away"):
        Scheduler(ledger, Recorder().make, progress=NoProgress()).run([asking((A,))])
    with pytest.raises(LedgerError, match="locks"), ledger.lock_arm(A):
        pytest.fail("measured without a lock")


def test_weights_that_change_between_two_rounds_fail_their_job_and_no_other(tmp_path: Path) -> None:
    replaced = replace(B, source="planted:1")
    jobs = [asking((A,), (replaced,)), asking((C,)), asking((replace(replaced, subject="other"),))]
    Ledger(tmp_path).put(make_measurement(replaced, make_inverse()))  # stored or not: it is of another model
    recorder = Recorder()
    run(tmp_path, jobs, recorder)
    assert str(jobs[0].error) == (
        "planted: got files that were replaced while the session ran (planted:1), expected planted:None; "
        "leave a model's files alone while it is measured, and start again"
    )
    assert [job.evidence is not None for job in jobs] == [False, True, True]


def test_a_folder_under_a_measurements_name_is_set_aside_and_its_arm_measured(tmp_path: Path) -> None:
    digest = digest_of(A)
    place = tmp_path / "measurements" / digest[:2] / f"{digest}.json"
    place.mkdir(parents=True)
    jobs = [asking((A,)), asking((B,))]
    run(tmp_path, jobs, Recorder())
    assert [job.evidence is not None for job in jobs] == [True, True]
    assert place.is_file()


def test_a_stored_file_that_the_disk_does_not_give_fails_its_job_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Ledger(tmp_path).put(make_measurement(A, make_inverse()))
    read = store.read_whole

    def refuse(path: Path) -> bytes:
        if digest_of(A) in path.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return read(path)

    monkeypatch.setattr(store, "read_whole", refuse)
    jobs = [asking((A,)), asking((B,))]
    run(tmp_path, jobs, Recorder())
    assert isinstance(jobs[0].error, LedgerError)
    assert jobs[1].evidence is not None


@pytest.mark.parametrize("at_once", [True, False], ids=["before its first arm", "after its first round"])
def test_a_procedure_that_raises_is_its_jobs_error(at_once: bool, tmp_path: Path) -> None:
    jobs = [make_job(Raise(at_once=at_once)), asking((B,))]
    run(tmp_path, jobs, Recorder())
    assert isinstance(jobs[0].error, ZeroDivisionError)
    assert jobs[1].evidence is not None


def test_a_procedure_without_evidence_is_an_error_and_not_an_endless_loop(tmp_path: Path) -> None:
    job = make_job(Forget())
    run(tmp_path, [job], Recorder())
    assert str(job.error) == "claim T01: its procedure returned None, not Evidence"


def test_fresh_runs_what_is_older_or_of_the_future_and_keeps_what_is_not(tmp_path: Path) -> None:
    ledger, since = Ledger(tmp_path), "2020-03-01T00:00:00+00:00"
    ledger.put(make_measurement(A, make_inverse(), measured_at="2020-02-29T23:59:59+00:00"))
    ledger.put(make_measurement(B, make_inverse(), measured_at=since))
    ledger.put(make_measurement(C, make_inverse(), measured_at="2999-01-01T00:00:00+00:00"))
    recorder = Recorder()
    run(tmp_path, [asking((A, B, C))], recorder, fresh_since=since)
    assert list(map(name_of, recorder.ran)) == ["A", "C"]
    run(tmp_path, [asking((A, B, C))], recorder, fresh_since=since)
    assert list(map(name_of, recorder.ran)) == ["A", "C"]
    run(tmp_path, [asking((A, B, C))], recorder)
    assert list(map(name_of, recorder.ran)) == ["A", "C"]


def test_progress_is_told_round_by_round(tmp_path: Path) -> None:
    Ledger(tmp_path).put(make_measurement(A, make_inverse()))
    recorder = Recorder(broken=(D,))
    run(tmp_path, [asking((A, B), (C,)), asking((D,), (A,))], recorder)
    assert recorder.told == [
        "expect B D",
        *("begin B", "finish B 1.5"),
        *("begin D", "finish D 0.0"),
        "expect C",
        *("begin C", "finish C 1.5"),
        "close",
    ]


def test_progress_is_closed_when_a_session_is_interrupted(tmp_path: Path) -> None:
    class Interrupted(Recorder):
        def run(self, arm: Arm) -> Measurement:
            raise KeyboardInterrupt

    recorder = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, [asking((A,))], recorder)
    assert recorder.told[-1] == "close"


@dataclass(kw_only=True)
class Cut(Recorder):
    """Is interrupted at an arm."""

    at: Arm

    def run(self, arm: Arm) -> Measurement:
        if arm == self.at:
            raise KeyboardInterrupt
        return super().run(arm)


def test_interrupts_while_a_session_ends_cost_no_measurement_and_leave_no_process(tmp_path: Path) -> None:
    """Both arms come in at once; the first interrupt ends the session, the second its ending."""

    class AtOnce(Recorder):
        submitted: list[tuple[Arm, Future[Measurement]]]
        has_ended = False

        def submit(self, arm: Arm) -> Future[Measurement]:
            self.submitted.append((arm, Future()))
            return self.submitted[-1][1]

        def choose(self, waiting: Waiting) -> Arm | None:
            if len(self.submitted) < 2:
                return super().choose(waiting)
            for arm, future in self.submitted:
                future.set_result(self.run(arm))
            return None

        def finish(self, arm: Arm, elapsed_s: float) -> None:
            raise KeyboardInterrupt

        def shutdown(self) -> None:
            self.has_ended = True

    recorder, jobs = AtOnce(), [asking((A,)), asking((B,)), asking((C,))]
    recorder.submitted = []
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, jobs, recorder)
    assert recorder.has_ended
    assert recorder.told[-1] == "close"
    assert [job.evidence is not None for job in jobs] == [True, True, False]
    assert {name_of(s.measurement.arm) for s in read_ledger(tmp_path) if s.measurement} == {"A", "B"}


def test_an_interrupt_leaves_the_evidence_of_what_was_measured_before(tmp_path: Path) -> None:
    jobs = [asking((A,)), asking((A,), (B,)), asking((C,)), asking((D,))]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, jobs, Cut(at=C))
    assert [job.evidence is not None for job in jobs] == [True, False, False, False]
    assert not any(job.error for job in jobs)


def test_a_procedure_that_is_interrupted_has_neither_evidence_nor_error(tmp_path: Path) -> None:
    class Interrupt:
        def rounds(self, trial: Trial) -> Rounds:
            yield [B]
            raise KeyboardInterrupt

    jobs = [asking((A,)), make_job(Interrupt())]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, jobs, Recorder())
    assert [(job.evidence is not None, job.error) for job in jobs] == [(True, None), (False, None)]


def test_a_job_that_is_done_is_left_alone(tmp_path: Path) -> None:
    recorder, job = Recorder(), asking((A,))
    run(tmp_path, [job], recorder)
    evidence = job.evidence
    run(tmp_path, [job], recorder)
    assert job.evidence is evidence


def test_arms_that_share_weights_stand_together(tmp_path: Path) -> None:
    def of(subject: str, stack: Stack | SentenceNet, step: float) -> InversionArm:
        return replace(INVERSION, step=step, settings=replace(INVERSION.settings, subject=subject, stack=stack))

    block, net, other = Stack(blocks=1), SentenceNet(seed=1), SentenceNet(seed=2)
    mixed = [of("x", net, 1), of("y", block, 1), of("x", other, 1), of("x", block, 1), of("x", net, 2), of("y", net, 2)]
    recorder = Recorder()
    Scheduler(Ledger(tmp_path), recorder.make, progress=NoProgress()).run([asking(tuple(mixed))])
    groups = [(a.settings.subject, str(a.settings.stack)) for a in recorder.ran if isinstance(a, InversionArm)]
    assert len(groups) == len(mixed)
    changes = sum(one != next_ for one, next_ in pairwise(groups))
    assert changes == len(set(groups)) - 1


@pytest.mark.parametrize(
    ("named", "words"),
    [
        (INVERSION, "inversion planted 1b controlled N=100"),
        (
            replace(INVERSION, settings=replace(INVERSION.settings, stack=Stack(blocks=2, head=True))),
            "inversion planted 2b+h controlled N=100",
        ),
        (
            replace(INVERSION, settings=replace(INVERSION.settings, stack=SentenceNet(narrow=True))),
            "inversion planted narrow net controlled N=100",
        ),
        (RoundTripArm(subject="planted", source="s"), "round trip planted"),
    ],
    ids=["block", "head", "net", "round trip"],
)
def test_an_arm_has_a_few_words_for_a_progress_line(named: Arm, words: str) -> None:
    assert label(named) == words


Task = Generator[Sequence[Arm], Sequence[Measurement], str]


def count(name: str, rounds: int) -> Task:
    """Asks for `rounds` rounds of two arms and returns what it was sent."""
    seen: list[str] = []
    for k in range(rounds):
        got = yield [arm(f"{name}{k}a"), arm(f"{name}{k}b")]
        seen += [name_of(m.arm) for m in got]
    return " ".join(seen)


def exhaust(rounds: Generator[Sequence[Arm], Sequence[Measurement], list[str]]) -> tuple[list[str], list[list[str]]]:
    asked: list[list[Arm]] = []
    results = drive(rounds, lambda _: make_round_trip(0), asked=asked)
    return results, [list(map(name_of, arms)) for arms in asked]


def test_tasks_in_step_ask_together_and_return_in_order() -> None:
    results, asked = exhaust(run_together(count("x", 1), count("y", 3), count("z", 0), count("w", 2)))
    assert asked == [
        ["x0a", "x0b", "y0a", "y0b", "w0a", "w0b"],
        ["y1a", "y1b", "w1a", "w1b"],
        ["y2a", "y2b"],
    ]
    assert results == ["x0a x0b", "y0a y0b y1a y1b y2a y2b", "", "w0a w0b w1a w1b"]


def test_tasks_in_step_that_ask_nothing_end_at_once() -> None:
    assert exhaust(run_together(count("x", 0), count("y", 0))) == (["", ""], [])
