"""Sessions under options that take something of pytest's away, or only look: right verdicts, or nothing measured."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.records import read_records
from engine.running.executors.inline import Inline
from engine.session.finish import finish_report
from engine.tests.commands.test_usage_errors import check_line
from engine.tests.measured import Inverses, plant_folder, stored_in
from engine.tests.planted_claims import read_session, run_session, write_claim

Inline()  # what it loads can be loaded only once in a process: sessions in this one must find it there

LOOKING = (
    *("--setup-plan", "--setup-only", "--fixtures", "--fixtures-per-test", "--markers", "--collect-only", "--help"),
    *("--version", "--cache-show", "--plan", "--co -q", "--setup-plan --setup-show", "--collect-only -p no:terminal"),
    *("--plan -p no:terminal", "--plan -p no:capture"),
)


@pytest.mark.parametrize("options", LOOKING)
def test_a_session_that_only_looks_measures_nothing(options: str, pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported", procedure=Inverses())
    result = run_session(pytester, *options.split())
    assert result.ret == 0
    assert not stored_in(pytester.path / ".ledger")
    assert not (pytester.path / "reports").exists()
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


TAKING = (
    *(f"-p no:{name}" for name in ("capture", "terminal", "cacheprovider", "logging", "warnings", "junitxml")),
    *(f"-p no:{name}" for name in ("faulthandler", "skipping", "unraisableexception", "threadexception", "tmpdir")),
    *(f"-p no:{name}" for name in ("doctest", "pastebin", "stepwise", "recwarn", "monkeypatch", "debugging")),
    *(
        "-s",
        "--capture=sys",
        "--capture=tee-sys",
        "--setup-show",
        "-W error",
        "--assert=plain",
        "--tb=no",
        "-qq",
        "-vv",
    ),
    *("--lf", "--ff", "--no-header --no-summary", "--color=yes", "--full-trace", "-p no:capture -p no:terminal"),
    *("--import-mode=append", "--import-mode=importlib", "--durations=3", "-rA", "--show-capture=no", "--trace-config"),
)


@pytest.mark.parametrize("options", TAKING)
def test_a_session_without_some_of_pytest_comes_to_its_verdicts(options: str, pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported", procedure=Inverses())
    write_claim(pytester.path, "refuted", name="other", id="C91")
    result = run_session(pytester, *options.split())
    assert result.ret == 0
    assert [(r.claim, r.outcome) for r in read_session(pytester)] == [("C90", "passed"), ("C91", "finding")]
    assert len(stored_in(pytester.path / ".ledger")) == 2
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    if "no:terminal" not in options:
        result.stdout.fnmatch_lines(["report: *index.html"])


@pytest.mark.parametrize("options", ["-x", "--maxfail=1", "-x -p no:capture", "--exitfirst --tb=no"])
def test_a_session_that_stops_at_the_first_failure_reports_what_it_judged(
    options: str, pytester: pytest.Pytester
) -> None:
    write_claim(pytester.path, "supported", name="a")
    write_claim(pytester.path, "supported", name="b", id="C91", error=ValueError("no number"))
    write_claim(pytester.path, "supported", name="c", id="C92")
    result = run_session(pytester, *options.split())
    assert result.ret == 3
    assert [(r.claim, r.outcome) for r in read_session(pytester)] == [("C90", "passed"), ("C91", "error")]


ESCAPING = ("SystemExit(7)", "SystemExit()", "GeneratorExit()", "RecursionError('too deep')", "MemoryError()")


@pytest.mark.parametrize("escaping", [*ESCAPING, "BaseException('past all handlers')"])
@pytest.mark.parametrize("options", ["", "-p no:terminal"])
def test_what_a_library_raises_past_every_handler_fails_its_item_alone(
    escaping: str, options: str, pytester: pytest.Pytester
) -> None:
    path = write_claim(pytester.path, "supported", name="a", error=ValueError("planted"))
    path.write_text(path.read_text().replace("ValueError('planted')", escaping))
    write_claim(pytester.path, "supported", name="b", id="C91")
    result = run_session(pytester, *options.split())
    assert result.ret == 3
    assert [(r.claim, r.outcome) for r in read_session(pytester)] == [("C90", "error"), ("C91", "passed")]
    assert escaping.partition("(")[0] in read_session(pytester)[0].sentence
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


FAULT = """
import engine.running.scheduler
def fail(*_): raise {error}
engine.running.scheduler.Scheduler._start_arms = fail
"""


@pytest.mark.parametrize("error", ["ValueError('ours')", "SystemExit(2)"])
def test_a_fault_of_ours_while_it_measures_costs_what_was_not_measured_yet(
    error: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.running.scheduler import Scheduler

    monkeypatch.setattr(Scheduler, "_start_arms", Scheduler._start_arms)  # put back what the conftest plants
    pytester.makeconftest(FAULT.format(error=error))
    write_claim(pytester.path, "supported", name="a")
    write_claim(pytester.path, "supported", name="b", id="C91", procedure=Inverses())
    result = run_session(pytester)
    assert result.ret == 3
    assert [(r.claim, r.outcome) for r in read_session(pytester)] == [("C90", "passed")]
    name, ours = error.partition("(")[0], error.startswith("Value")
    (line,) = [line for line in result.outlines if line.startswith("session: got " if ours else "a library: got ")]
    check_line(line, name)
    assert ("Traceback" in result.stderr.str()) == ours
    result.stdout.fnmatch_lines(["not measured, and left out: 1 of 2 items; *"])


def test_a_page_that_fails_leaves_the_verdicts_and_the_records(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise SystemExit("no page")

    monkeypatch.setattr(sys.modules["engine.report.render"], "render_site", fail)
    write_claim(pytester.path, "supported")
    result = run_session(pytester)
    assert result.ret == 3
    assert [(r.claim, r.outcome) for r in read_session(pytester)] == [("C90", "passed")]
    result.stdout.re_match_lines(
        [r"C90 +gpt2-untrained +direct +supported", r"a library: got SystemExit: no page, expected .*"]
    )


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_while_the_report_is_written_waits_until_it_is_there(
    name: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish_disturbed(*given: Any, **options: Any) -> bool:
        os.kill(os.getpid(), getattr(signal, name))
        return finish_report(*given, **options)

    monkeypatch.setattr("engine.session.ending.finish_report", finish_disturbed)
    write_claim(pytester.path, "supported")
    result = run_session(pytester)
    assert result.ret == 0
    assert (pytester.path / "reports" / "latest" / "index.html").is_file()
    result.stdout.re_match_lines([r"C90 +gpt2-untrained +direct +supported", "report: .*"])


def test_an_interpreter_that_drops_docstrings_is_refused_in_one_line(pytester: pytest.Pytester) -> None:
    plant_folder(pytester.path, {"C91": Inverses()})
    options = ("-p", "no:cacheprovider", "-p", "no:xdist", "--device", "cpu")
    done = pytester.run(sys.executable, "-OO", "-m", "pytest", *options)
    assert done.ret == 4
    (line,) = [line for line in done.errlines if "got " in line]
    check_line(line, "Python that drops docstrings", "leave out -OO and PYTHONOPTIMIZE=2")


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"PYTHONOPTIMIZE": "1"}, marks=pytest.mark.slow),
        pytest.param({"TERM": "dumb", "COLUMNS": "1"}, marks=pytest.mark.slow),
        pytest.param({"COLUMNS": "0", "LINES": "0"}, marks=pytest.mark.slow),
        pytest.param({"PYTHONDEVMODE": "1"}, marks=pytest.mark.slow),
        pytest.param({"PYTHONWARNINGS": "error"}, marks=pytest.mark.slow),
        pytest.param({"TMPDIR": "/proc"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_an_environment_that_takes_something_away_changes_no_verdict(
    environment: dict[str, str], tmp_path: Path
) -> None:
    plant_folder(tmp_path, {"C91": Inverses()})
    path = tmp_path / "test_c91.py"
    (tmp_path / "test_c92.py").write_text(
        path.read_text().replace('"C91"', '"C92"').replace('Above("x", 1,', 'Above("x", 100,').replace("C91", "C92")
    )
    options = ("-p", "no:cacheprovider", "-p", "engine.session", "--device", "cpu", "--executor", "inline")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=tmp_path,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "INTERNALERROR" not in done.stdout
    records = read_records(tmp_path / "reports" / "latest" / "records.jsonl")
    assert [(r.claim, r.outcome) for r in records] == [("C91", "passed"), ("C92", "finding")]
