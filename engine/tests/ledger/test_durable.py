"""What is written lasts: to the disk under another name, then in place, then the folder to the disk."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import LedgerError
from engine.files import make_folder, put_in_place, write_whole
from engine.ledger import Ledger
from engine.session.finish import finish_report
from engine.tests.ledger.test_ledger import SAMPLE
from engine.tests.ledger.test_shared_folders import WRITERS
from engine.tests.report_samples import make_records

Deed = tuple[str, str]


@pytest.fixture(name="deeds")
def note_deeds(monkeypatch: pytest.MonkeyPatch) -> list[Deed]:
    """What is synced ('file' or 'folder', path) and put in place ('place', path), in its order."""
    deeds: list[Deed] = []
    sync, place = os.fsync, os.replace

    def note_sync(handle: int) -> None:
        sync(handle)
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
        deeds.append((kind, os.readlink(f"/proc/self/fd/{handle}")))

    def note_place(source: str | Path, target: str | Path) -> None:
        place(source, target)
        deeds.append(("place", f"{source} {target}"))

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_place)
    return deeds


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the names of open files")
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_every_file_that_is_kept_goes_to_the_disk_before_it_is_in_place_and_its_folder_after(
    write: Callable[[Path], None], tmp_path: Path, deeds: list[Deed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LM_CLAIMS_CACHE", "")
    write(tmp_path)
    placed = [k for k, (kind, _) in enumerate(deeds) if kind == "place"]
    for k in placed:
        source, target = deeds[k][1].split()
        assert deeds[k - 1][1] == source  # of unpacked weights the folder, whose files come before it
        assert deeds[k + 1] == ("folder", str(Path(target).parent))
    kept = {p for p in tmp_path.rglob("*") if p.is_file() and "__pycache__" not in p.parts and p.suffix != ".lock"}
    lasting = {Path(deeds[k][1].split()[1]) for k in placed} | {Path(path) for kind, path in deeds if kind == "file"}
    # What was unpacked was synced in a folder of another name; a claim's own file is its author's.
    assert {p.name for p in kept} - {p.name for p in lasting} <= {"test_planted.py"}
    synced = {path for kind, path in deeds if kind == "folder"}
    made = {p for p in tmp_path.rglob("*") if p.is_dir() and p.name not in ("__pycache__", "claims")}
    assert {str(p.parent) for p in made} <= synced  # the name of each folder, too


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace, to see what the system is asked")
def test_the_system_is_asked_in_that_order(tmp_path: Path) -> None:
    code = "import sys, pathlib, engine.files; engine.files.write_whole(pathlib.Path(sys.argv[1]), b'x')"
    trace = tmp_path / "trace"
    watched = ["strace", "-f", "-qq", "-y", "-o", str(trace), "-e", "trace=fsync,rename,renameat,renameat2"]
    command = [*watched, sys.executable, "-c", code, str(tmp_path / "f")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if "ptrace" in done.stderr:
        pytest.skip("needs the right to trace a process")
    calls = [line.split(maxsplit=1)[1] for line in trace.read_text().splitlines() if str(tmp_path) in line]
    assert [re.sub(r"\(.*", "", call) for call in calls] == ["fsync", "rename", "fsync"]
    assert ".unfinished>" in calls[0]
    assert f"<{tmp_path}>)" in calls[2]


def test_a_report_that_a_failing_disk_does_not_keep_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = make_records()[:2]
    assert finish_report(records, tmp_path, tell=lambda _: None)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}

    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    told: list[str] = []
    monkeypatch.setattr(os, "fsync", fail)
    assert not finish_report(records[:1], tmp_path, tell=told.append)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    assert told
    assert all(re.match(r"report: got .*: Input/output error, expected a folder that can be written", x) for x in told)


@pytest.mark.parametrize("refusal", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS], ids=["invalid", "no such", "absent"])
def test_a_file_system_that_syncs_nothing_still_keeps_files(
    refusal: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(os, "fsync", refuse)
    Ledger(tmp_path).put(SAMPLE)
    write_whole(tmp_path / "index.html", b"a page")
    assert (tmp_path / "index.html").read_bytes() == b"a page"
    assert repr(Ledger(tmp_path).get(SAMPLE.arm)) == repr(SAMPLE)


def test_a_writer_that_is_interrupted_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page").write_bytes(b"before")

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        put_in_place(tmp_path / "page", b"after")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("page", b"before")]


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "𝄞" * 63], ids=["letters", "accents", "clefs"])
def test_a_name_as_long_as_a_file_system_takes_can_be_written(name: str, tmp_path: Path) -> None:
    write_whole(tmp_path / name, b"kept")  # its unfinished name is no longer
    assert (tmp_path / name).read_bytes() == b"kept"


def test_a_name_that_is_too_long_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"^report: got x+: File name too long|^report: got .*too long"):
        write_whole(tmp_path / ("x" * 256), b"not kept")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_not_synced_again(tmp_path: Path, deeds: list[Deed]) -> None:
    make_folder(tmp_path / "a" / "b")
    assert deeds == [("folder", str(tmp_path / "a")), ("folder", str(tmp_path))]
    make_folder(tmp_path / "a" / "b")
    assert len(deeds) == 2
