"""The kiln: drawings are the same wherever they are made, and none is lost with the process that made it."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from engine.report.charts import read_bundle
from engine.report.charts.kiln import WORTH_A_PROCESS, Job, Kiln, work

STRAY = """import json
while True: input(); print(json.dumps([0, "of another job"]), flush=True)"""


def make_job(height: int, **changes: Any) -> Job:
    data = {"values": [{"x": 1, "y": height}, {"x": 2, "y": 3}]}
    x, y = ({"field": name, "type": "quantitative"} for name in "xy")
    spec = {"data": data, "mark": "line", "encoding": {"x": x, "y": y}, "height": height}
    return {"spec": spec, "config": {}, "version": "6.1"} | changes


@pytest.mark.parametrize("jobs", [2, WORTH_A_PROCESS], ids=["done here", "in processes of their own"])
def test_every_job_gives_what_it_gives_alone_and_to_the_one_that_asked(jobs: int) -> None:
    asked = [make_job(40 + k) for k in range(jobs)]
    with Kiln(jobs) as kiln:
        waiting = [kiln.fire(job) for job in asked]
        drawn = [wait() for wait in waiting]
    assert drawn == [work(job) for job in asked]
    assert len(set(drawn)) == jobs


@pytest.mark.parametrize("jobs", [1, WORTH_A_PROCESS], ids=["done here", "in a process of its own"])
def test_a_job_that_fails_raises_for_the_one_that_asked_and_stops_no_other(jobs: int) -> None:
    with Kiln(jobs) as kiln:
        bad, good = kiln.fire(make_job(40, spec="no JSON")), kiln.fire(make_job(41))
        with pytest.raises(ValueError, match="JSON"):
            bad()
        assert good().startswith("<svg")


@pytest.mark.parametrize(
    "program",
    [
        *("raise SystemExit(3)", "input()", "input(); print('no JSON')", "input(); print(7)"),
        *("input(); print('[1, 9]')", STRAY),
    ],
    ids=["that ends", "that ends after a job", "that answers nonsense", "a number", "no drawing", "of another job"],
)
def test_a_job_is_done_here_after_a_process(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def begin() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, encoding="utf-8")

    monkeypatch.setattr("engine.report.charts.kiln._begin", begin)
    with Kiln(WORTH_A_PROCESS) as kiln:
        waiting = [kiln.fire(make_job(40 + k)) for k in range(4)]
        assert [wait() for wait in waiting] == [work(make_job(40 + k)) for k in range(4)]


def test_a_job_is_done_here_where_no_process_can_be_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr("engine.report.charts.kiln.subprocess.Popen", refuse)
    with Kiln(WORTH_A_PROCESS) as kiln:
        assert kiln.fire(make_job(40))() == work(make_job(40))


def test_what_has_not_been_begun_is_dropped_when_the_page_fails() -> None:
    kiln = Kiln(1)
    with kiln:
        waiting = [kiln.fire(make_job(40 + k)) for k in range(200)]
        kiln.__exit__(KeyError, None, None)
        with pytest.raises(CancelledError):
            waiting[-1]()


def test_the_script_is_put_together_once_for_all_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LM_CLAIMS_CACHE", str(tmp_path))
    asked: list[Job] = []

    def fire(job: Job) -> Any:
        asked.append(job)
        return lambda: "/* <!-- */"

    assert read_bundle(fire)() == read_bundle(fire)() == "/* <\\!-- */"
    assert len(asked) == 1


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LM_CLAIMS_CACHE", str(tmp_path / "file"))
    assert read_bundle(lambda job: lambda: "script")() == "script"
