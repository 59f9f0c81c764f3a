"""The kiln: drawings are made in processes that may die, which costs a picture and never the page."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from engine.report.charts import read_bundle
from engine.report.charts import vega as kiln_module
from engine.report.charts.vega import ATTEMPTS, LOST, WORTH_TWO, DrawingError, Job, Kiln, work

STRAY = """import json
while True: input(); print(json.dumps([0, "of another job"]), flush=True)"""


def make_job(height: int, **changes: Any) -> Job:
    data = {"values": [{"x": 1, "y": height}, {"x": 2, "y": 3}]}
    x, y = ({"field": name, "type": "quantitative"} for name in "xy")
    spec = {"data": data, "mark": "line", "encoding": {"x": x, "y": y}, "height": height}
    return {"spec": spec, "config": {}, "version": "6.1"} | changes


@pytest.mark.parametrize("jobs", [2, WORTH_TWO], ids=["one process", "two processes"])
def test_every_job_gives_what_it_gives_alone_and_to_the_one_that_asked(jobs: int) -> None:
    asked = [make_job(40 + k) for k in range(jobs)]
    with Kiln(jobs) as kiln:
        waiting = [kiln.fire(job) for job in asked]
        drawn = [wait() for wait in waiting]
    assert drawn == [work(job) for job in asked]
    assert len(set(drawn)) == jobs


def test_a_job_that_fails_raises_for_the_one_that_asked_and_stops_no_other() -> None:
    with Kiln(1) as kiln:
        bad, good = kiln.fire(make_job(40, spec="no JSON")), kiln.fire(make_job(41))
        with pytest.raises(DrawingError, match=r"^ValueError: .*JSON"):
            bad()
        assert good().startswith("<svg")


def stand_in(program: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, encoding="utf-8")


ABORTING = "import os; input(); os.abort()"
PROGRAMS = {
    "that ends": ("raise SystemExit(3)", "died (exit code 3)"),
    "that ends after a job": ("input()", "died (exit code 0)"),
    "that aborts, as V8 does": (ABORTING, "died (SIGABRT)"),
    "that answers nonsense": ("input(); print('no JSON')", "died (exit code 0)"),
    "that answers a number": ("input(); print(7)", "lost count"),
    "that answers no drawing": ("input(); print('[1, 9]')", "lost count"),
    "that answers of another job": (STRAY, "lost count"),
}


@pytest.mark.parametrize(("program", "why"), PROGRAMS.values(), ids=PROGRAMS)
def test_a_process_costs_a_picture_and_says_why(program: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.report.charts.vega._begin", lambda: stand_in(program))
    with Kiln(1) as kiln, pytest.raises(DrawingError, match=re.escape(f"the process that draws {why}")):
        kiln.fire(make_job(40))()


def test_a_job_whose_process_died_is_tried_in_another(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = [lambda: stand_in(ABORTING), kiln_module._begin]
    monkeypatch.setattr(kiln_module, "_begin", lambda: begun.pop(0)())
    with Kiln(1) as kiln:
        waiting = [kiln.fire(make_job(40 + k)) for k in range(4)]
        assert [wait() for wait in waiting] == [work(make_job(40 + k)) for k in range(4)]
    assert not begun


def test_after_two_jobs_that_nothing_could_draw_no_more_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def refuse(*_: Any, **__: Any) -> None:
        tried.append(1)
        raise BlockingIOError("no more processes")

    monkeypatch.setattr("engine.report.charts.vega.subprocess.Popen", refuse)
    with Kiln(1) as kiln:
        for k in range(5):
            with pytest.raises(DrawingError, match="cannot be begun: no more processes"):
                kiln.fire(make_job(40 + k))()
    assert len(tried) == LOST * ATTEMPTS


def test_without_threads_jobs_are_done_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("engine.report.charts.vega.Thread.start", refuse)
    with Kiln(1) as kiln:
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
