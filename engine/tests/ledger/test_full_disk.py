"""A disk that is full or may not be written costs no measurement, and one line says so."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest

from engine.report.history import read_runs
from engine.running.executors.inline import Inline
from engine.tests.commands.test_usage_errors import check_line, check_usage
from engine.tests.disks import make_room, mount_small, read_only
from engine.tests.measured import Inverses, date_files, read_contents, stored_in
from engine.tests.planted_claims import read_session, run_session, write_claim

BULK, LONGEST = 600_000, 500_000
"""Bytes of a large measurement, and of a file where that is what is limited."""


def write_claims(folder: Path) -> None:
    """A claim of two small measurements, and one of six large ones."""
    write_claim(folder, "supported", name="c91", id="C91", procedure=Inverses())
    write_claim(folder, "supported", name="c92", id="C92", procedure=Inverses(arms=(6,), first=10, bulk=BULK))


@contextmanager
def limit_files(folder: Path) -> Generator[Callable[[], None]]:
    """Files that end at LONGEST bytes: nobody has to be root for it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def lift() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    resource.setrlimit(resource.RLIMIT_FSIZE, (LONGEST, before[1]))
    try:
        yield lift
    finally:
        lift()


@contextmanager
def limit_disk(folder: Path, *, size: str = "64m", files: int = 10_000) -> Generator[Callable[[], None]]:
    with mount_small(folder, size=size, files=files):
        yield lambda: make_room(folder)


LIMITS = {
    "bytes": partial(limit_disk, size="1500k"),
    # One file after the other is refused: an arm's lock, its folder, the measurement itself.
    **{f"{files} files": partial(limit_disk, files=files) for files in (20, 21, 22)},
    "bytes of a file": limit_files,
}


@pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS)
def test_a_full_disk_ends_the_session_in_one_line_and_loses_nothing(
    limit: Callable[[Path], AbstractContextManager[Callable[[], None]]], pytester: pytest.Pytester
) -> None:
    write_claims(pytester.path)
    ledger = pytester.path / ".ledger"
    with limit(ledger) as give_room:
        result = run_session(pytester)
        assert result.ret == 3
        (line,) = [line for line in result.outlines if "ledger: got" in line]
        check_line(line, str(ledger), "free some space or choose another folder with --ledger")
        result.stdout.fnmatch_lines(["not measured, and left out: 1 of 2 items; run the same command to resume"])
        result.stdout.no_fnmatch_line("*Traceback*")
        assert [(r.claim, r.outcome) for r in read_session(pytester)] == [("C91", "passed")]
        before = date_files(ledger)
        assert 2 <= len(before) < 8
        assert not list(ledger.rglob("*.unfinished"))
        read_contents(ledger)  # raises for a file that is not a whole measurement

        give_room()
        assert run_session(pytester).ret == 0
        after = date_files(ledger)
        assert len(after) == 8
        assert {digest: after[digest] for digest in before} == before
        assert not (ledger / "aside").exists()
    assert [r.claim for r in read_session(pytester)] == ["C91", "C92"]


def test_a_report_that_finds_no_room_leaves_the_one_before_and_says_what_is_lost(pytester: pytest.Pytester) -> None:
    folder = pytester.path / "reports" / "latest"
    with mount_small(folder, size="8m"):
        write_claim(pytester.path, "supported")
        assert run_session(pytester).ret == 0
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        fill(folder / "filler")
        write_claim(pytester.path, "refuted")
        result = run_session(pytester)
        assert result.ret == 3
        lost = [line for line in result.outlines if line.startswith("report: got ")]
        assert [name in line for line, name in zip(lost, ("runs/", "records.jsonl"), strict=True)] == [True, True]
        for line in lost:
            check_line(line, "No space left on device", "choose another with --report-dir")
        result.stdout.re_match_lines([r"C90 +gpt2-untrained +direct +refuted"])
        (folder / "filler").unlink()
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

        assert run_session(pytester).ret == 0
        assert [[r.ruling for r in run.records] for run in read_runs([folder])] == [["supported"], ["refuted"]]


def fill(path: Path) -> None:
    """Leave no byte of its disk."""
    disk = os.statvfs(path.parent)
    path.write_bytes(bytes(disk.f_bavail * disk.f_frsize))


@pytest.mark.parametrize("options", [("--ledger", ".ledger"), ()], ids=["named", "at its own place"])
def test_a_ledger_that_may_not_be_written_is_refused_before_anything_is_measured(
    options: tuple[str, ...], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_claims(pytester.path)
    (ledger := pytester.path / ".ledger").mkdir()
    monkeypatch.setattr(Inline, "run", lambda *_: pytest.fail("measured in vain"))
    with read_only(ledger):
        check_usage(run_session(pytester, *options), "--ledger", str(ledger), "a folder that can be written")


def test_a_ledger_that_may_not_be_written_is_read_beside_another(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_claims(pytester.path)
    assert run_session(pytester).ret == 0
    before = date_files(ledger := pytester.path / ".ledger")
    monkeypatch.setattr(Inline, "run", lambda *_: pytest.fail("measured again"))
    with read_only(ledger):
        assert run_session(pytester, "--ledger", "other", "--ledger", ".ledger").ret == 0
    assert date_files(ledger) == before
    assert not stored_in(pytester.path / "other")


def test_a_report_folder_that_may_not_be_written_leaves_the_verdicts_and_fails(pytester: pytest.Pytester) -> None:
    write_claim(pytester.path, "supported")
    (folder := pytester.path / "reports" / "latest").mkdir(parents=True)
    with read_only(folder):
        result = run_session(pytester)
    assert result.ret == 3
    (line,) = [line for line in result.outlines if line.startswith("report: got ")]
    check_line(line, str(folder / "records.jsonl"), "choose another with --report-dir")
    result.stdout.re_match_lines([r"C90 +gpt2-untrained +direct +supported"])
