"""Runs are kept, found again and looked back on; a session writes down who judged."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine.arms.measurement import NUMERICS
from engine.errors import LedgerError
from engine.records import Record, Session, read_records, write_records
from engine.report.history import Run, find_previous, gather_run, keep_run, merge_records, read_runs, trend_table
from engine.tests.planted_claims import read_session, run_session, write_claim
from engine.tests.report_samples import PROVENANCE, make_criterion, make_records

SEVEN = "3f9ac1d"


def date(records: list[Record], began: str, *, commit: str = SEVEN + "0" * 33, dirty: bool = False) -> list[Record]:
    """The records as a session of that moment judged them."""
    session = Session(began=began, commit=commit, dirty=dirty, numerics=2)
    return [replace(record, session=session) for record in records]


def strip(records: list[Record]) -> list[Record]:
    """The records as a look back knows them."""
    return [replace(record, tables=()) for record in records]


def judge(low: float, value: float, high: float, ruling: str = "supported", **changes: object) -> Record:
    """One item with one estimate."""
    (record, *_) = make_records()
    criteria = (make_criterion("share recovered > 0.5", ("share recovered", value, low, high), ruling),)
    return replace(record, criteria=criteria, ruling=ruling, **changes)  # pyright: ignore[reportArgumentType]


@pytest.fixture(name="records")
def provide_records() -> list[Record]:
    return make_records()


@pytest.mark.parametrize(
    ("began", "commit", "name"),
    [
        ("2026-11-24T10:06:18+00:00", "7c856a73a78c57eb", "2026-11-24T100618Z_7c856a7.jsonl"),
        ("2026-11-24T10:06:18+02:00", "unknown", "2026-11-24T100618-0200_unknown.jsonl"),
        ("../../etc\x00", "/\n\u202e", "etc_unknown.jsonl"),
        ("", "", "unknown_unknown.jsonl"),
    ],
    ids=["utc", "another zone", "hostile", "nothing"],
)
def test_a_kept_run_has_a_safe_name(began: str, commit: str, name: str, records: list[Record], tmp_path: Path) -> None:
    kept = keep_run(date(records, began, commit=commit), tmp_path)
    assert kept == tmp_path / "runs" / name
    assert read_records(kept) == date(records, began, commit=commit)


def test_runs_of_one_second_stand_beside_each_other(records: list[Record], tmp_path: Path) -> None:
    runs = [date(records[:n], "2026-11-24T10:06:18+00:00") for n in (1, 2, 3)]
    kept = [keep_run(run, tmp_path) for run in runs]
    assert [read_records(path) for path in kept] == runs
    assert [list(run.records) for run in read_runs([tmp_path])] == [strip(run) for run in runs]


def test_a_run_that_cannot_be_kept_is_one_line_and_leaves_the_others(
    records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = keep_run(date(records, "2026-11-24T10:06:18+00:00"), tmp_path)
    before = first.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    message = r"^report: got .*No space left on device, expected a folder .*; choose"
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(LedgerError, match=message):
        keep_run(date(records, "2026-11-24T10:06:18+00:00"), tmp_path)
    monkeypatch.undo()
    assert [(path, path.read_bytes()) for path in (tmp_path / "runs").iterdir()] == [(first, before)]


KILLED = """
import os, signal, sys
from pathlib import Path
from engine.report import history
from engine.tests.report_samples import make_records

history.write_records = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
history.keep_run(make_records(), Path(sys.argv[1]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a system that can kill a process outright")
def test_a_session_killed_while_it_keeps_its_run_leaves_none(records: list[Record], tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    told: list[str] = []
    assert read_runs([tmp_path], warn=told.append) == ()
    keep_run(records, tmp_path)
    assert [list(run.records) for run in read_runs([tmp_path], warn=told.append)] == [strip(records)]
    assert told == []


def test_a_folder_of_runs_that_cannot_be_made_is_one_line(records: list[Record], tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("in the way")
    with pytest.raises(LedgerError, match=r"^history: got .*, expected a folder that can be written; choose another"):
        keep_run(records, tmp_path)


def test_runs_come_back_oldest_first_whatever_their_zone(records: list[Record], tmp_path: Path) -> None:
    moments = ["2026-11-24T12:00:00+00:00", "2026-11-24T12:30:00+02:00", "2026-11-23T23:00:00Z", ""]
    for moment in moments:
        keep_run(date(records, moment), tmp_path)
    assert [run.began for run in read_runs([tmp_path])] == [moments[k] for k in (3, 2, 1, 0)]


def test_the_latest_records_are_a_run_unless_they_are_among_the_kept(records: list[Record], tmp_path: Path) -> None:
    one, two = (date(records, f"2026-11-2{day}T10:00:00+00:00") for day in (3, 4))
    keep_run(one, tmp_path)
    write_records(one[::-1], tmp_path / "records.jsonl")
    assert [run.source for run in read_runs([tmp_path])] == [f"2026-11-23T100000Z_{SEVEN}.jsonl"]
    write_records(two, tmp_path / "records.jsonl")
    assert [run.source for run in read_runs([tmp_path])] == [f"2026-11-23T100000Z_{SEVEN}.jsonl", "records.jsonl"]


def test_files_that_cannot_be_read_are_named_in_one_line(records: list[Record], tmp_path: Path) -> None:
    keep_run(date(records, "2026-11-24T10:00:00+00:00"), tmp_path)
    (tmp_path / "runs" / "a.jsonl").write_text("{]\n")
    (tmp_path / "runs" / "b.jsonl").write_bytes(b"")
    (tmp_path / "runs" / "c.jsonl").mkdir()
    told: list[str] = []
    assert len(read_runs([tmp_path, tmp_path / "absent\u202e.jsonl"], warn=told.append)) == 1
    (line,) = told
    assert line.startswith("history: got unreadable a.jsonl, b.jsonl, c.jsonl, absent\\u202e.jsonl, expected ")


def test_records_of_before_sessions_were_named_are_dated_by_their_newest_measurement(records: list[Record]) -> None:
    older = replace(records[0], provenance=replace(PROVENANCE, measured_at="2025-01-01T00:00:00Z", commit="older"))
    skipped = next(record for record in records if record.provenance is None)
    run = gather_run([older, records[1], skipped])
    assert (run.began, run.commit, run.dirty) == (PROVENANCE.measured_at, PROVENANCE.commit, True)
    assert gather_run([skipped]) == Run(began="", commit="", dirty=False, records=(skipped,), source="")


def test_the_run_before_is_the_newest_earlier_one_that_shares_items(records: list[Record]) -> None:
    runs = [
        gather_run(date(which, began), began)
        for which, began in (
            (records, "2026-11-01T00:00:00Z"),
            (records[:1], "2026-11-03T00:00:00Z"),
            (records[1:2], "2026-11-04T00:00:00Z"),
            (records, "2026-11-09T00:00:00Z"),
        )
    ]
    now = date(records[:1], "2026-11-05T00:00:00Z")
    assert find_previous(now, runs) == runs[1]
    assert find_previous(now, [*runs, gather_run(now)]) == runs[1]
    assert find_previous(date(records[:1], "2026-10-01T00:00:00Z"), runs) is None
    assert find_previous([], runs) is None


def test_a_trend_has_a_point_for_each_run_that_measured_the_item() -> None:
    skipped = replace(judge(0, 0, 0), criteria=(), ruling=None, outcome="skipped", arms=(), provenance=None)
    days = (judge(0.4, 0.5, 0.6, "inconclusive"), skipped, judge(0.6, 0.7, 0.8))
    runs = [gather_run(date([record], f"2026-11-0{day}T00:00:00Z")) for day, record in enumerate(days, 1)]
    now = date([judge(0.7, 0.8, float("inf"))], "2026-11-08T00:00:00Z")
    expected = (
        ("smollm2-135m · direct", "2026-11-01T00:00:00Z", "share recovered", 0.5, 0.4, 0.6, "inconclusive"),
        ("smollm2-135m · direct", "2026-11-03T00:00:00Z", "share recovered", 0.7, 0.6, 0.8, "supported"),
        ("smollm2-135m · direct", "2026-11-08T00:00:00Z", "share recovered", 0.8, 0.7, float("inf"), "supported"),
    )
    for history in (runs, [*runs, gather_run(now)], runs[::-1]):
        table = trend_table(now, history)
        assert table is not None
        assert (table.kind, table.rows) == ("trend", expected)
    assert table is not None
    assert table.columns == ("item", "began", "estimate", "value", "low", "high", "ruling")


def test_a_trend_keeps_to_one_estimate_when_the_verdict_turns_on_another() -> None:
    def judge_two(first: str, second: str, began: str) -> list[Record]:
        asked = [("a > 1", ("a", 2.0, 1.5, 3.0), first), ("b > 1", ("b", 5.0, 4.0, 6.0), second)]
        criteria = tuple(make_criterion(text, estimate, ruling) for text, estimate, ruling in asked)
        ruling = "supported" if first == second == "supported" else "refuted"
        return date([replace(judge(0, 0, 0), criteria=criteria, ruling=ruling)], began)

    before = gather_run(judge_two("supported", "refuted", "2026-11-01T00:00:00Z"))
    table = trend_table(judge_two("supported", "supported", "2026-11-02T00:00:00Z"), [before])
    assert table is not None
    assert [row[2] for row in table.rows] == ["a", "a"]


@pytest.mark.parametrize(
    "runs", [[], [gather_run(date([judge(0, 0, 0)], "2026-11-01T00:00:00Z"))]], ids=["none", "own"]
)
def test_one_run_makes_no_trend(runs: list[Run]) -> None:
    assert trend_table(date([judge(0, 0, 0)], "2026-11-01T00:00:00Z"), runs) is None


def test_of_several_runs_the_newest_measurement_of_an_item_counts(records: list[Record]) -> None:
    measured = records[0]
    newer = replace(measured, provenance=replace(PROVENANCE, measured_at="2026-02-14T10:31:07+01:00", threads=9))
    newest = replace(measured, provenance=replace(PROVENANCE, measured_at="2026-02-14T09:31:08+00:00", threads=8))
    skipped = replace(measured, outcome="skipped", criteria=(), arms=(), provenance=None)
    later = date([skipped], "2026-12-01T00:00:00Z")[0]
    assert merge_records([[later, measured], [newest], records[1:]]) == [newest, *records[1:]]
    assert merge_records([[measured], [newer]]) == [measured]  # of one moment: the first
    assert merge_records([[newer], [measured]]) == [newer]
    assert merge_records([[skipped], [later]]) == [later]
    assert merge_records([[measured, measured]]) == [measured, measured]


def run_days(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, *rulings: str) -> None:
    """Sessions of successive days, each with its verdict."""
    import engine.session

    began = engine.session.datetime
    for day, ruling in enumerate(rulings, 1):

        class Days(began):
            @classmethod
            def now(cls, tz: object = None) -> began:
                return began.fromisoformat(f"2026-11-0{day}T10:00:00+00:00")  # noqa: B023 - asked in this round

        monkeypatch.setattr(engine.session, "datetime", Days)
        write_claim(pytester.path, ruling)
        assert run_session(pytester).ret == 0


def test_every_session_is_kept_and_compared_with_the_one_before(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_days(pytester, monkeypatch, "supported", "refuted", "supported")
    folder = pytester.path / "reports" / "latest"
    runs = read_runs([folder])
    assert [run.began[:10] for run in runs] == ["2026-11-01", "2026-11-02", "2026-11-03"]
    assert [[record.ruling for record in run.records] for run in runs] == [["supported"], ["refuted"], ["supported"]]
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert re.search(r"was refuted", page)
    assert read_session(pytester) == list(runs[-1].records)


def test_a_record_says_which_session_judged_it(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    run_session(pytester)
    (record,) = read_session(pytester)
    assert record.session is not None
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", record.session.commit)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", record.session.began)
    assert record.session.numerics == NUMERICS


def test_records_that_an_older_version_left_are_kept_before_they_are_overwritten(pytester: pytest.Pytester) -> None:
    folder = pytester.path / "reports" / "latest"
    write_claim(pytester.path, "refuted")
    run_session(pytester)
    old = [replace(record, session=None) for record in read_session(pytester)]
    for path in (folder / "runs").iterdir():
        path.unlink()
    write_records(old, folder / "records.jsonl")
    write_claim(pytester.path, "supported")
    run_session(pytester)
    assert [list(run.records) for run in read_runs([folder])] == [old, read_session(pytester)]


def test_a_session_whose_run_cannot_be_kept_still_reports_and_fails(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    folder = pytester.path / "reports" / "latest"
    folder.mkdir(parents=True)
    (folder / "runs").write_text("in the way")
    result = run_session(pytester)
    assert result.ret == 3
    assert len([line for line in result.outlines if line.startswith("history: got ")]) == 1
    assert len(read_session(pytester)) == 1
    assert (folder / "index.html").is_file()


def test_a_session_names_the_runs_that_it_cannot_read(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    runs = pytester.path / "reports" / "latest" / "runs"
    runs.mkdir(parents=True)
    (runs / "broken.jsonl").write_text("{]")
    result = run_session(pytester)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["history: got unreadable broken.jsonl, *"])
    assert (runs / "broken.jsonl").read_text() == "{]"


@pytest.mark.slow
def test_workers_share_the_session_of_their_controller(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist", reason="install pytest-xdist to test workers")
    for name in ("C91", "C92", "C93", "C94"):
        write_claim(pytester.path, "supported", name=name.lower(), id=name)
    spared = ("-p", "no:hypothesispytest", "-p", "no:benchmark")
    assert pytester.runpytest_inprocess(*spared, "--device", "cpu", "-n", "2").ret == 0
    assert len({record.session and record.session.began for record in read_session(pytester)}) == 1
    assert len(os.listdir(pytester.path / "reports" / "latest" / "runs")) == 1
