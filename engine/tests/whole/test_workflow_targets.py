"""The make targets of workflows: what strangers write stays text, and reports of several runs become one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.commands import weights
from engine.models.hub import HUB_SUBJECTS, HubSubject
from engine.records import key_of, read_records, write_records

ROOT = Path(__file__).resolve().parents[3]
MAKE = shutil.which("make")
REFERENCE = ROOT / "reports" / "reference" / "records.jsonl"
RECORDS = read_records(REFERENCE)

pytestmark = pytest.mark.skipif(MAKE is None, reason="runs where make is installed")


def stub(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture(name="folder")
def provide_folder(tmp_path: Path) -> Path:
    """A folder with an environment whose Python is this one, where `claims` is said, not tested; and a stub of gh."""
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "installed").touch()
    script = f'test "$2" = pytest && printf "%s\\n" "$@" || exec {sys.executable} "$@"'
    stub(tmp_path / ".venv" / "bin" / "python", script)
    return tmp_path


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [str(MAKE), "--no-print-directory", "-f", str(ROOT / "Makefile"), *arguments],
        cwd=folder,
        env=known | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def pytest_arguments(ran: subprocess.CompletedProcess[str]) -> list[str]:
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()[1:]  # after make's echo


def test_verify_and_smoke_differ_by_their_effort_alone(folder: Path) -> None:
    options = ["-m", "pytest", "claims", "--effort"]
    assert pytest_arguments(make(folder, "verify")) == [*options, "standard"]
    assert pytest_arguments(make(folder, "verify", "EFFORT=full")) == [*options, "full"]
    assert pytest_arguments(make(folder, "verify", EFFORT="full")) == [*options, "full"]
    assert pytest_arguments(make(folder, "smoke", EFFORT="full")) == [*options, "smoke"]


@pytest.mark.parametrize(
    "text",
    [
        "gpt2",
        '"; touch sprung; "',
        "$(shell touch sprung)",
        "$$(touch sprung)",
        "`touch sprung`",
        "' && touch sprung '",
    ],
)
def test_what_a_form_says_is_one_argument_and_no_command(text: str, folder: Path) -> None:
    found = pytest_arguments(make(folder, "verify", EFFORT=text, SUBJECT=text))
    assert found == ["-m", "pytest", "claims", "--effort", text, "--subject", text]
    assert not (folder / "sprung").exists()


# gh as far as a comment needs it: it finds pull request 7, and keeps what it is asked and given.
GH = 'printf "%s\\n" "$@" >>asked; case "$1" in api) echo "$NUMBER" ;; pr) cp "$7" sent.md ;; esac'


def report(folder: Path) -> Path:
    """A report as a run leaves it, with a comment of its own."""
    (folder / "report").mkdir()
    shutil.copyfile(REFERENCE, folder / "report" / "records.jsonl")
    (folder / "report" / "comment.md").write_text("words of a stranger", encoding="utf-8")
    return folder / "report"


def test_a_comment_is_the_table_of_the_records_and_replaces_the_one_before(folder: Path) -> None:
    stub(folder / "gh", GH)
    ran = make(folder, "comment", REPORT=str(report(folder)), HEAD="somebody:branch", COMMIT="c0ffee", NUMBER="7")
    assert ran.returncode == 0, ran.stderr
    asked = (folder / "asked").read_text(encoding="utf-8").splitlines()
    assert "head=somebody:branch" in asked
    assert asked[-6:-1] == ["comment", "7", "--edit-last", "--create-if-none", "--body-file"]
    sent = (folder / "sent.md").read_text(encoding="utf-8")
    assert sent.startswith("| claim |")
    assert len(sent.splitlines()) == 2 + 62


@pytest.mark.parametrize("head", ["o:$(touch sprung)", 'o:"; touch sprung; "', "o:$$(shell touch sprung)"])
def test_a_branchs_name_is_no_command(head: str, folder: Path) -> None:
    stub(folder / "gh", GH)
    assert make(folder, "comment", REPORT=str(report(folder)), HEAD=head, COMMIT="c0ffee", NUMBER="").returncode == 0
    assert f"head={head}" in (folder / "asked").read_text(encoding="utf-8").splitlines()
    assert not (folder / "sprung").exists()


def test_without_a_pull_request_or_a_report_nothing_is_sent(folder: Path) -> None:
    stub(folder / "gh", GH)
    ran = make(folder, "comment", REPORT=str(folder / "none"), HEAD="a:b", COMMIT="c0ffee", NUMBER="7")
    assert (ran.returncode, "comment: skipped: REPORT holds no" in ran.stdout) == (0, True)
    ran = make(folder, "comment", REPORT=str(report(folder)), HEAD="a:b", COMMIT="c0ffee", NUMBER="")
    assert (ran.returncode, "comment: skipped: no open pull request" in ran.stdout) == (0, True)
    assert not (folder / "sent.md").exists()


def test_a_refusal_of_github_is_an_error(folder: Path) -> None:
    stub(folder / "gh", "exit 1")
    assert make(folder, "comment", REPORT=str(report(folder)), HEAD="a:b", COMMIT="c0ffee").returncode != 0
    assert make(folder, "history").returncode != 0


def test_slices_become_one_report(folder: Path) -> None:
    for number, records in enumerate((RECORDS[::2], RECORDS[1::2], None), 1):
        share = folder / "reports" / "shares" / f"share-{number}"
        if records is None:  # it had no items
            (share / ".ledger").mkdir(parents=True)
        else:
            (share / ".ledger" / "measurements").mkdir(parents=True)
            (share / "reports" / "latest").mkdir(parents=True)
            write_records(records, share / "reports" / "latest" / "records.jsonl")
    ran = make(folder, "merge")
    assert ran.returncode == 0, ran.stderr
    merged = read_records(folder / "reports" / "latest" / "records.jsonl")
    assert {key_of(record) for record in merged} == {key_of(record) for record in RECORDS}
    assert (folder / "reports" / "latest" / "index.html").exists()


# gh with runs 11 and 12 of one workflow, of which the first keeps no report any more.
RUNS = f"""
case "$2 $4" in
  "list nightly-gpu.yml") echo 12; echo 11 ;;
  "download --name") test "$3" = 12 && mkdir -p "$7" && cp {REFERENCE} "$7" ;;
esac"""


def test_the_site_is_a_report_of_the_reference_run_and_of_those_downloaded(folder: Path) -> None:
    stub(folder / "gh", RUNS)
    (folder / "reports").mkdir()
    shutil.copytree(REFERENCE.parent, folder / "reports" / "reference")
    ran = make(folder, "history", "site")
    assert ran.returncode == 0, ran.stderr
    assert "history: left out: run 11 of nightly-gpu" in ran.stdout
    site = folder / "reports" / "site"
    assert [path.name for path in (site / "runs").iterdir()] == ["nightly-gpu-12.jsonl"]
    assert {"index.html", "records.jsonl", "bench.json", "calibration.html"} <= {path.name for path in site.iterdir()}


def test_without_a_downloaded_run_the_site_is_the_reference_runs(folder: Path) -> None:
    (folder / "reports").mkdir()
    shutil.copytree(REFERENCE.parent, folder / "reports" / "reference")
    ran = make(folder, "site")
    assert ran.returncode == 0, ran.stderr
    site = folder / "reports" / "site"
    assert {key_of(r) for r in read_records(site / "records.jsonl")} == {key_of(r) for r in RECORDS}


@pytest.mark.parametrize("marker", ["gpu", "xl"])
def test_weights_that_are_missing_are_fetched_at_their_pins(
    marker: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = [subject for subject in HUB_SUBJECTS if subject.tier == marker]
    assert wanted
    fetched: list[tuple[str, str]] = []

    def fetch(repository: str, *, revision: str, allow_patterns: list[str]) -> None:
        assert "model.safetensors" in allow_patterns
        fetched.append((repository, revision))

    monkeypatch.setattr(weights, "snapshot_download", fetch)
    monkeypatch.setattr(HubSubject, "missing", lambda self: None if self == wanted[0] else "not here")
    assert weights.main([marker]) == 0
    assert fetched == [(subject.repository, subject.revision) for subject in wanted[1:]]
    assert capsys.readouterr().out.splitlines()[0] == f"{wanted[0].id}: was here"


def test_a_hub_that_cannot_be_reached_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr(weights, "snapshot_download", fail)
    monkeypatch.setattr(HubSubject, "missing", lambda self: "not here")
    assert weights.main(["gpu"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("weights: got no openai-community/gpt2 (ConnectionError: no route to the hub), expected")
    assert told.count("\n") == 1
