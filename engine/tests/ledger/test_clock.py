"""A clock that is set back, or was wrong, moves no measurement, no lock and no report."""

from __future__ import annotations

import os
import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.experiments.embedding.arm import PseudoInverseArm
from engine.ledger import Ledger
from engine.report.history import read_runs
from engine.running.executors.inline import Inline
from engine.running.progress import ProgressBar
from engine.tests.measured import Inverses, read_measurements
from engine.tests.planted import INVERSION
from engine.tests.planted_claims import read_session, run_session, write_claim

NOON = datetime.fromisoformat("2026-11-03T12:00:00+00:00")
HOUR = timedelta(hours=1)


class Clock:
    """The engine's time of day: `then` from the second time on that it is asked for."""

    def __init__(self) -> None:
        self._moments = [NOON]

    def set(self, first: datetime, then: datetime | None = None) -> None:
        self._moments = [first, then or first]

    def now(self, tz: object = None) -> datetime:
        return self._moments.pop(0) if len(self._moments) > 1 else self._moments[0]


@pytest.fixture(name="clock")
def provide_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for place in ("session", "running.scheduler", "ledger.provenance", "session.finish"):
        monkeypatch.setattr(f"engine.{place}.datetime", clock)
    return clock


@pytest.fixture(name="ran")
def provide_ran(monkeypatch: pytest.MonkeyPatch) -> list[Arm]:
    """The arms that are measured, as they come."""
    ran, run = list[Arm](), Inline.run

    def note(self: Inline, arm: Arm) -> Measurement:
        ran.append(arm)
        return run(self, arm)

    monkeypatch.setattr(Inline, "run", note)
    return ran


def test_a_clock_set_back_during_a_session_measures_nothing_twice_and_nothing_in_negative_time(
    clock: Clock, ran: list[Arm], pytester: pytest.Pytester
) -> None:
    for name in ("c91", "c92"):
        write_claim(pytester.path, "supported", name=name, id=name.upper(), procedure=Inverses(arms=(2, 2)))
    clock.set(NOON, NOON - HOUR)
    assert run_session(pytester, "--fresh").ret == 0
    assert len(ran) == 4
    assert all(record.cost_s >= 0 for record in read_session(pytester))
    stored = read_measurements(pytester.path / ".ledger")
    assert {m.provenance.measured_at for m in stored} == {(NOON - HOUR).isoformat()}
    assert all(m.elapsed_s >= 0 for m in stored)

    clock.set(NOON - HOUR / 2)
    assert run_session(pytester).ret == 0
    assert len(ran) == 4
    assert run_session(pytester, "--fresh").ret == 0
    assert len(ran) == 8


def test_fresh_measures_again_what_a_clock_that_was_ahead_has_dated(
    clock: Clock, ran: list[Arm], pytester: pytest.Pytester
) -> None:
    write_claim(pytester.path, "supported", procedure=Inverses())
    clock.set(NOON + 24 * HOUR)
    assert run_session(pytester).ret == 0
    clock.set(NOON)
    assert run_session(pytester, "--fresh").ret == 0
    assert len(ran) == 4
    assert {m.provenance.measured_at for m in read_measurements(pytester.path / ".ledger")} == {NOON.isoformat()}


def test_sessions_on_a_clock_that_went_back_are_all_kept_and_compared_with_earlier_ones(
    clock: Clock, pytester: pytest.Pytester
) -> None:
    folder = pytester.path / "reports" / "latest"
    for day, ruling, was in ((3, "refuted", []), (1, "supported", []), (2, "refuted", ["supported"])):
        clock.set(NOON.replace(day=day))
        write_claim(pytester.path, ruling)
        assert run_session(pytester).ret == 0
        page = (folder / "index.html").read_text(encoding="utf-8")
        assert list(dict.fromkeys(re.findall(r"was (supported|refuted)", page))) == was
    assert [run.began[:10] for run in read_runs([folder])] == ["2026-11-01", "2026-11-02", "2026-11-03"]


@pytest.mark.parametrize("year", [1990, 2090], ids=["long ago", "to come"])
def test_a_lock_is_held_by_a_process_and_by_no_time(year: int, tmp_path: Path) -> None:
    one, other = Ledger(tmp_path), Ledger(tmp_path)
    lock = one.try_lock(INVERSION)
    assert lock is not None
    seconds = NOON.replace(year=year).timestamp()
    os.utime(lock.lock_file, (seconds, seconds))
    assert other.try_lock(INVERSION) is None
    lock.release()
    assert other.try_lock(INVERSION) is not None


def test_the_bar_goes_on_when_the_clock_is_set_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = iter(range(10_000, 0, -100))
    monkeypatch.setattr("time.time", lambda: next(times))
    bar = ProgressBar()
    arm = PseudoInverseArm(subject="none", source="none", matrix="random:40x8:rank=8:seed=0")
    bar.expect([arm])
    bar.finish(arm, 1.0)
    bar.close()
    *_, last = capsys.readouterr().err.split("\n")[:-1]
    assert last.startswith("measuring 1/1 arms 100%")
    assert "0 s elapsed" in last
