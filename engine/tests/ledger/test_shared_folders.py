"""Folders that several people, machines or containers write: modes, names, locks, other people's files."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from engine.commands.ledger import main as ledger_main
from engine.commands.register import main as register_main
from engine.errors import LedgerError
from engine.files import write_whole
from engine.ledger import Ledger
from engine.models import weights_cache as unpacked
from engine.report.export import export_items
from engine.report.pages import write_page
from engine.session.finish import finish_report
from engine.sheets import write_export
from engine.studies.calibration.page import render_calibration
from engine.studies.calibration.results import read_calibration
from engine.tests.ledger.test_ledger import SAMPLE
from engine.tests.planted import INVERSION
from engine.tests.planted_claims import run_session, write_claim
from engine.tests.report_samples import make_records

ROOT = Path(__file__).resolve().parents[3]
CALIBRATION = ROOT / "reports" / "reference" / "calibration.json"
OTHER_USER = 65533


def keep_measurement(folder: Path) -> None:
    ledger = Ledger(folder)
    with ledger.lock_arm(INVERSION):
        ledger.put(SAMPLE)


def keep_report(folder: Path) -> None:
    assert finish_report(make_records()[:2], folder / "report", tell=lambda _: None)


def keep_export(folder: Path) -> None:
    write_export(export_items(make_records()[:2]), folder / "exports" / "items.csv")


def keep_figures(folder: Path) -> None:
    write_page(render_calibration(read_calibration(CALIBRATION)), folder / "figures" / "calibration.html")


def keep_registration(folder: Path) -> None:
    folder = folder / "claims"
    folder.mkdir()
    write_claim(folder, "supported")
    assert register_main([str(folder)]) == 0


def fill(folder: Path) -> None:
    (folder / "weights").write_bytes(b"sound")


def keep_weights(folder: Path) -> None:
    os.environ["LM_CLAIMS_CACHE"] = str(folder / "cache")
    assert unpacked.cached_weights("model", fill) == folder / "cache" / "model"


WRITERS = {
    "a measurement": keep_measurement,
    "a report": keep_report,
    "an export": keep_export,
    "figures": keep_figures,
    "a registration": keep_registration,
    "unpacked weights": keep_weights,
}


@pytest.fixture(name="mask", params=[0o022, 0o002, 0o077, 0o027], ids=oct)
def provide_mask(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setenv("LM_CLAIMS_CACHE", os.environ.get("LM_CLAIMS_CACHE", ""))  # put back at the end
    before = os.umask(request.param)
    try:
        yield request.param
    finally:
        os.umask(before)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_what_is_kept_has_the_mode_that_the_umask_leaves(
    write: Callable[[Path], None], mask: int, tmp_path: Path
) -> None:
    write(tmp_path)
    made = [path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts]
    modes = {str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode) for path in made}
    assert modes == {str(p.relative_to(tmp_path)): (0o777 if p.is_dir() else 0o666) & ~mask for p in made}
    assert any(path.is_file() for path in made)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder to another group")
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_what_is_kept_in_a_groups_folder_is_the_groups(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LM_CLAIMS_CACHE", "")
    os.chown(tmp_path, -1, OTHER_USER)
    tmp_path.chmod(0o2775)
    write(tmp_path)
    assert {path.stat().st_gid for path in tmp_path.rglob("*") if "__pycache__" not in path.parts} == {OTHER_USER}


def write_a_page(folder: Path) -> None:
    write_whole(folder / "index.html", b"a page")


@pytest.mark.parametrize("write", [write_a_page, keep_measurement], ids=["a page", "a measurement"])
def test_writers_with_one_process_id_do_not_meet(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in two containers on one volume, of which each calls its process the first."""
    monkeypatch.setattr("os.getpid", lambda: 1)
    together = Barrier(8)

    def write_often(_: int) -> None:
        for _ in range(10):
            together.wait(timeout=60)
            write(tmp_path)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write_often, range(8)))  # raises what one of them does
    assert [path for path in tmp_path.rglob("*") if path.name.endswith(".unfinished")] == []


def test_a_merge_leaves_alone_what_a_session_is_just_writing(tmp_path: Path) -> None:
    Ledger(tmp_path / "from").put(SAMPLE)
    (place := tmp_path / "into" / "measurements" / SAMPLE.digest[:2]).mkdir(parents=True)
    (begun := place / f"{SAMPLE.digest}.json.0123456789abcdef.unfinished").write_bytes(b"half of ")
    assert ledger_main(["merge", str(tmp_path / "into"), str(tmp_path / "from")]) == 0
    assert begun.read_bytes() == b"half of "


# Locks.

NO_LOCKS = (
    r"^ledger: got .*, expected a file system that has locks; choose a folder on a local disk with --ledger, and bring "
    r"it here with lm-claims ledger merge \S+ FROM$"
)
REFUSALS = {name: getattr(errno, name) for name in ("ENOLCK", "ENOSYS", "EOPNOTSUPP")}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_a_file_system_without_locks_is_refused_and_its_remedy_works(
    refusal: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(refusal, os.strerror(refusal))

    shared, local = tmp_path / "shared", tmp_path / "local"
    keep_measurement(local)
    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(LedgerError, match=NO_LOCKS):
        Ledger(shared)
    assert ledger_main(["merge", str(shared), str(local)]) == 0
    assert repr(Ledger(shared, locks=False).get(INVERSION)) == repr(SAMPLE)
    assert list((shared / "locks").iterdir()) == []


def test_a_session_on_a_file_system_without_locks_ends_before_it_measures(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    write_claim(pytester.path, "supported")
    result = run_session(pytester)
    assert result.ret == 4
    (line,) = [line for line in result.errlines if "ledger: got" in line]
    assert "expected a file system that has locks" in line
    result.stderr.no_fnmatch_line("*Traceback*")


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace, to let the system itself refuse locks")
def test_the_systems_own_refusal_of_locks_is_that_line(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from engine.ledger import Ledger; Ledger(Path({str(tmp_path / 'l')!r}))"
    inject = ["strace", "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", "trace=flock", "-e"]
    command = [*inject, "inject=flock:error=ENOLCK", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if "ptrace" in done.stderr:
        pytest.skip("needs the right to trace a process")
    assert "LedgerError: ledger: got " in done.stderr
    assert "No locks available, expected a file system that has locks" in done.stderr


def test_a_cache_without_locks_is_still_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setenv("LM_CLAIMS_CACHE", str(tmp_path))
    monkeypatch.setattr("fcntl.flock", refuse)
    assert unpacked.cached_weights("model", fill) == tmp_path / "model"
    assert unpacked.is_whole(tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["model"]


# Other people's files.


@pytest.fixture(name="open_folder")
def provide_open_folder() -> Iterator[Path]:
    """A folder that others reach, which pytest's are not."""
    if os.geteuid() != 0:
        pytest.skip("only root becomes another user")
    folder = Path(tempfile.mkdtemp(prefix="shared-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


CHANGE_USER = """
import os, sys
from pathlib import Path
from engine.errors import LedgerError
from engine.ledger import Ledger
from engine.models import weights_cache as unpacked
from engine.tests.ledger.test_ledger import SAMPLE
from engine.tests.planted import INVERSION
import engine.commands.ledger, filelock, logging, platformdirs, platformdirs.unix
folder, user, group = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
os.setgroups([]); os.setgid(group); os.setuid(user); os.umask(0o022)
"""


def act_as(folder: Path, code: str, *, user: int = OTHER_USER, group: int = OTHER_USER, cache: str = "") -> str:
    """What code prints that another user runs."""
    command = [sys.executable, "-c", CHANGE_USER + code, str(folder), str(user), str(group)]
    # Coverage would write beside this user's files, which the other one may not.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")} | {"LM_CLAIMS_CACHE": cache}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


STORE = """
try:
    ledger = Ledger(folder)
    with ledger.lock_arm(INVERSION):
        ledger.put(SAMPLE)
    print("stored")
except LedgerError as error:
    print(error)
"""


def test_another_users_lock_is_one_line_and_its_remedy_works(open_folder: Path) -> None:
    Ledger(open_folder / "ledger")
    for folder in [open_folder / "ledger", *(open_folder / "ledger").iterdir()]:
        folder.chmod(0o777)
    lock = open_folder / "ledger" / "locks" / f"{SAMPLE.digest}.lock"
    lock.touch(mode=0o644)
    told = act_as(open_folder / "ledger", STORE)
    remedy = f"let its owner run lm-claims ledger prune {open_folder / 'ledger'} --yes, which removes locks"
    assert told.startswith(f"ledger: got {lock}: Permission denied, expected a lock that may be written; {remedy}")
    assert told.count("\n") == 1
    assert ledger_main(["prune", str(open_folder / "ledger"), "--yes"]) == 0
    assert act_as(open_folder / "ledger", STORE) == "stored\n"


def test_another_users_folder_of_measurements_is_one_line_and_its_remedy_works(open_folder: Path) -> None:
    ledger = open_folder / "ledger"
    Ledger(ledger)
    (ledger / "measurements" / SAMPLE.digest[:2]).mkdir()
    subprocess.run(["chgrp", "-R", str(OTHER_USER), str(ledger)], check=True)
    for folder in (ledger, ledger / "locks", ledger / "measurements"):
        folder.chmod(0o775)
    told = act_as(ledger, STORE)
    remedy = f"let its owner run chmod -R g+rwX {ledger}, or choose another folder with --ledger"
    assert "Permission denied, expected a ledger that may be written; " + remedy in told
    assert told.count("\n") == 1
    subprocess.run(["chmod", "-R", "g+rwX", str(ledger)], check=True)
    assert act_as(ledger, STORE) == "stored\n"


def test_a_measurement_that_may_not_be_read_is_set_aside_and_measured_again(open_folder: Path) -> None:
    ledger = open_folder / "ledger"
    keep_measurement(ledger)
    (path,) = ledger.glob("measurements/??/*.json")
    path.chmod(0o600)  # as they all were once
    for folder in (ledger, *(p for p in ledger.rglob("*") if p.is_dir())):
        folder.chmod(0o777)
    (ledger / "locks" / f"{SAMPLE.digest}.lock").unlink()
    told = act_as(ledger, "ledger = Ledger(folder)\nprint(ledger.get(INVERSION), *ledger.list_untrusted())" + STORE)
    assert told.startswith(f"None ledger: got {path.name} (not readable), not to be trusted, expected measurements")
    assert told.endswith("stored\n")
    assert [p.name for p in (ledger / "aside").iterdir()] == [f"{SAMPLE.digest}.0.not-readable.json"]


UNPACK = """
def fill(place): (place / "weights").write_bytes(b"sound")
print(unpacked.cached_weights("model", fill))
"""


def test_weights_that_one_user_unpacked_are_read_by_the_others(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LM_CLAIMS_CACHE", str(open_folder / "cache"))
    assert unpacked.cached_weights("model", fill) == open_folder / "cache" / "model"
    told = act_as(open_folder, UNPACK, cache=str(open_folder / "cache"))
    assert told == f"{open_folder / 'cache' / 'model'}\n"


def test_another_users_cache_is_done_without_in_one_line(open_folder: Path) -> None:
    (open_folder / "cache").mkdir(mode=0o755)
    told = act_as(open_folder, UNPACK, cache=str(open_folder / "cache"))
    warning, found = told.splitlines()[::-1]
    assert found == "None"
    assert "cannot be written" in warning
    assert list((open_folder / "cache").iterdir()) == []
