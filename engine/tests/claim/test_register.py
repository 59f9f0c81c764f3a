"""`lm-claims register`: what it writes, what it refuses, and whether this repository's claims are registered."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.claim.registration import LOCK, RegistrationEntry, read_lock
from engine.commands.register import main, read_lock_status, register
from engine.tests.planted_claims import write_claim

ROOT = Path(__file__).resolve().parents[3]


def read(folder: Path) -> dict[str, list[RegistrationEntry]]:
    return {id: list(entries) for id, entries in read_lock(folder / LOCK).items()}


def test_every_claim_of_this_repository_is_registered_as_it_is_declared() -> None:
    (found,) = read_lock_status(ROOT / "claims")
    assert found.path == ROOT / "claims" / LOCK
    assert len(found.declared) == 62
    due = [one.claim.id for one in found.due]
    assert not due, "commit the claims, run `lm-claims register`, and commit claims/registered.lock"


def test_the_documents_figures_are_of_estimates_that_are_judged() -> None:
    (found,) = read_lock_status(ROOT / "claims")
    for declared in found.declared.values():
        judged = {criterion.estimate for criterion in declared.claim.criteria}
        assert {name for name, _ in declared.claim.figures} <= judged, declared.claim.id


def test_a_new_claim_is_added_and_the_rest_of_the_lock_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_claim(tmp_path, "supported")
    assert main([str(tmp_path)]) == 0
    before = read(tmp_path)
    write_claim(tmp_path, "refuted", name="other", id="C91")
    capsys.readouterr()
    assert main([str(tmp_path)]) == 0
    after = read(tmp_path)
    assert list(after) == ["C90", "C91"]
    assert after["C90"] == before["C90"]
    told = capsys.readouterr().out.splitlines()
    assert told[:2] == ["C91  new", f"{tmp_path / LOCK}: 1 unchanged, 1 new"]
    assert told[2].startswith(f"registered {after['C91'][0].date:%Y-%m-%d} without a commit")


def test_a_lock_in_which_nothing_is_due_is_not_written_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_claim(tmp_path, "supported")
    assert main([str(tmp_path)]) == 0
    (tmp_path / LOCK).chmod(0o444)
    before = (tmp_path / LOCK).stat()
    capsys.readouterr()
    assert main([str(tmp_path)]) == 0
    after = (tmp_path / LOCK).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert capsys.readouterr().out == f"{tmp_path / LOCK}: 1 unchanged\n"


def test_an_amended_claim_is_registered_again_after_its_earlier_entry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_claim(tmp_path, "supported")
    assert main([str(tmp_path)]) == 0
    (first,) = read(tmp_path)["C90"]
    write_claim(tmp_path, "refuted", subjects=("gpt2",))
    capsys.readouterr()
    assert main([str(tmp_path)]) == 0
    entries = read(tmp_path)["C90"]
    assert len(entries) == 2
    assert entries[0] == first
    assert entries[1].digest != first.digest
    line = capsys.readouterr().out.splitlines()[0]
    assert line == f"C90  amended    procedure and subjects changed after {first.words}"


def test_the_reason_of_an_amendment_is_kept_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_claim(tmp_path, "supported")
    assert main([str(tmp_path), "--because", "it is new"]) == 0
    write_claim(tmp_path, "refuted")
    capsys.readouterr()
    assert main([str(tmp_path), "--because", 'the  "edge"\nwas a fifth']) == 0
    assert "no reason" not in capsys.readouterr().out
    first, second = read(tmp_path)["C90"]
    assert (first.reason, second.reason) == ("", 'the "edge" was a fifth')  # a new claim has none
    write_claim(tmp_path, "supported", subjects=("gpt2",))
    assert main([str(tmp_path)]) == 0
    assert "no reason is recorded for what was amended: --because gives one" in capsys.readouterr().out
    assert [entry.reason for entry in read(tmp_path)["C90"]] == ["", 'the "edge" was a fifth', ""]


@pytest.mark.parametrize("reason", ["x" * 401, "a\x1b[31mb"], ids=["long", "escapes"])
def test_a_reason_that_no_line_can_hold_is_refused(
    reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_claim(tmp_path, "supported")
    assert main([str(tmp_path), "--because", reason]) == 4
    assert "--because: got a reason of" in capsys.readouterr().err
    assert not (tmp_path / LOCK).exists()


def test_a_clock_that_goes_back_leaves_the_first_entry_the_first(tmp_path: Path) -> None:
    write_claim(tmp_path, "supported")
    assert main([str(tmp_path)]) == 0
    (first,) = read(tmp_path)["C90"]
    write_claim(tmp_path, "refuted")
    (found,) = read_lock_status(tmp_path)
    register(found, "", datetime(2001, 1, 1, tzinfo=UTC))
    assert read(tmp_path)["C90"][0] == first


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda folder: None, 0),
        (lambda folder: write_claim(folder, "refuted"), 1),
        (lambda folder: write_claim(folder, "refuted", name="other", id="C91"), 1),
        (lambda folder: (folder / LOCK).unlink(), 1),
        (lambda folder: (folder / LOCK).write_text("[["), 4),
    ],
    ids=["as registered", "amended", "new", "no lock", "spoilt lock"],
)
def test_a_check_writes_nothing_and_tells_by_its_exit_code(
    change: Callable[[Path], object], code: int, tmp_path: Path
) -> None:
    write_claim(tmp_path, "supported")
    assert main([str(tmp_path)]) == 0
    change(tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.glob("*.*")}
    assert main([str(tmp_path), "--check"]) == code
    assert {file: file.read_bytes() for file in tmp_path.glob("*.*")} == before


def test_a_claim_that_is_declared_no_more_stays_in_the_lock(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_claim(tmp_path, "supported")
    gone = write_claim(tmp_path, "supported", name="gone", id="C91")
    assert main([str(tmp_path)]) == 0
    (entry,) = read(tmp_path)["C91"]
    gone.unlink()
    write_claim(tmp_path, "refuted")
    capsys.readouterr()
    assert main([str(tmp_path)]) == 0
    assert read(tmp_path)["C91"] == [entry]
    assert f"C91  withdrawn  registered on {entry.words}, declared no more" in capsys.readouterr().out


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(name="checkout")
def provide_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a committed claim, in a checkout."""
    if shutil.which("git") is None:
        pytest.skip("needs git on PATH")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    git(tmp_path, "init")
    folder = tmp_path / "claims"
    folder.mkdir()
    write_claim(folder, "supported")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "a claim")
    return folder


def test_the_commit_of_the_claims_file_is_kept(checkout: Path) -> None:
    (checkout / "beside.txt").write_text("in nobody's way")
    assert main([str(checkout)]) == 0
    assert [entry.commit for entry in read(checkout)["C90"]] == [git(checkout, "rev-parse", "HEAD")]


@pytest.mark.parametrize("kind", ["changed", "new", "ignored", "staged"])
def test_a_file_that_is_not_committed_is_refused(kind: str, checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {} if kind == "changed" else {"name": "other", "id": "C91"}
    path = write_claim(checkout, "refuted", **options)
    if kind == "ignored":
        (checkout.parent / ".git" / "info" / "exclude").write_text("test_other.py\n")
    if kind == "staged":
        git(checkout, "add", ".")
    assert main([str(checkout)]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"register: got uncommitted changes in claims/{path.name}")
    assert line.endswith("; commit them, then register")
    assert not (checkout / LOCK).exists()


def test_a_folder_within_is_registered_in_the_lock_above_it(checkout: Path) -> None:
    inner = checkout / "inner"
    inner.mkdir()
    write_claim(inner, "supported", name="other", id="C91")
    git(checkout, "add", ".")
    git(checkout, "commit", "-m", "another")
    assert main([str(checkout)]) == 0
    write_claim(inner, "refuted", name="other", id="C91")
    git(checkout, "commit", "-am", "amended")
    assert main([str(inner)]) == 0
    assert not (inner / LOCK).exists()
    assert {id: len(entries) for id, entries in read(checkout).items()} == {"C90": 1, "C91": 2}


def test_a_folder_with_a_lock_of_its_own_keeps_to_it(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    write_claim(inner, "supported")
    assert main([str(inner)]) == 0
    write_claim(tmp_path, "supported", id="C91")
    assert main([str(tmp_path)]) == 0
    assert (list(read(inner)), list(read(tmp_path))) == (["C90"], ["C91"])


def test_one_file_can_be_registered(tmp_path: Path) -> None:
    write_claim(tmp_path, "supported", name="other", id="C91")
    assert main([str(write_claim(tmp_path, "supported"))]) == 0
    assert list(read(tmp_path)) == ["C90"]


def test_files_that_declare_no_claim_are_not_run(tmp_path: Path) -> None:
    write_claim(tmp_path, "supported")
    (tmp_path / "tool.py").write_text("CLAIMS = 'CLAIM'\nraise SystemExit('run')\n")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "module.py").write_text("CLAIM = 1\nraise SystemExit('run')\n")
    assert main([str(tmp_path)]) == 0


MISTAKES: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "no such folder": (None, ("absent",)),
    "no claim": ("x = 1\n", (".",)),
    "no claim of ours": ("CLAIM = 1\n", (".",)),
    "no Python": ("CLAIM = (\n", (".",)),
    "an error": ("CLAIM = 1 / 0\n", (".",)),
    "an exit": ("CLAIM = 1\nraise SystemExit\n", (".",)),
    "a skip": ("import pytest\n\nCLAIM = pytest.importorskip('no_such_module')\n", (".",)),
    "no data": ("from engine.tests.claim.test_registration import hold\n\nCLAIM = hold(print)\n", (".",)),
    "an unseen id": (
        "from engine.tests.planted_claims import plant\n\nCLAIM = plant('supported', id='\\x7f')\n",
        (".",),
    ),
    "an unknown option": (None, ("--chek",)),
    "two folders": (None, ("a", "b")),
}


@pytest.mark.parametrize(("code", "arguments"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_exit_4(
    code: str | None,
    arguments: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if code is not None:
        (tmp_path / "test_x.py").write_text(code)
    assert main(arguments) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert "expected" in line
    assert not (tmp_path / LOCK).exists()


def test_an_id_that_two_files_declare_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_claim(tmp_path, "supported")
    other = write_claim(tmp_path, "refuted", name="other")
    assert main([str(tmp_path)]) == 4
    assert f"got a second claim C90 in {tmp_path / 'test_planted.py'}, expected one, as in {other}" in (
        capsys.readouterr().err
    )


def test_a_lock_that_cannot_be_written_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_claim(tmp_path, "supported")
    assert main([str(tmp_path)]) == 0
    before = (tmp_path / LOCK).read_bytes()
    write_claim(tmp_path, "refuted")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    assert main([str(tmp_path)]) == 4
    assert "registered.lock: No space left on device" in capsys.readouterr().err
    assert (tmp_path / LOCK).read_bytes() == before
    assert not list(tmp_path.glob("*.unfinished"))


CODE = """
import sys
from engine.commands.register import main, read_lock_status
from engine.claim.registration import digest_claim
from pathlib import Path

(found,) = read_lock_status(Path("claims"))
print([digest_claim(one.claim) for one in found.declared.values()])
assert main(["claims", "--check"]) in (0, 1)
print(sorted({"torch", "transformers", "accelerate", "gguf"} & set(sys.modules)))
"""


def test_no_digest_depends_on_the_process_or_needs_a_model_library() -> None:
    told = {
        subprocess.run(
            [sys.executable, "-c", CODE],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    (lines,) = told
    assert lines.splitlines()[-1] == "[]"
    assert lines.count("'") == 2 * 62
