"""Output never fails: not for characters that a terminal lacks, for a reader who has gone, or where it is closed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from engine.records import write_records
from engine.running.output import READABLE, to_ascii
from engine.tests.measured import Inverses, plant_folder
from engine.tests.report.test_charts import SAMPLES, make_record

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = str(ROOT / "reports" / "reference" / "records.jsonl")
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
TERMINALS = {
    "ASCII": ASCII,
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "cp437": {"PYTHONIOENCODING": "cp437"},
    "ASCII, dumb and narrow": ASCII | {"TERM": "dumb", "COLUMNS": "1"},
}
INVERT = ("--iterations", "3", "--step", "0.1", "--ledger", "ledger", "--device", "cpu")
COMMANDS = {
    "report": ("engine", "report", "table", REFERENCE),
    "compare": ("engine", "report", "compare", REFERENCE, REFERENCE, "--out", "compared"),
    "ledger": ("engine", "ledger", "list", "ledger", "--arms"),
    "register": ("engine", "register", "--check", str(ROOT / "claims")),
    "gpu_check": ("engine", "gpu-check", "--device", "cpu–"),
    "weights": ("engine", "weights", "σ"),
    "calibration": ("engine", "calibrate", "--claims", "0", "--out", "σ.json"),
    "invert": ("engine", "invert", "The sky is blue.", "--subject", "gpt2-untrained", *INVERT),
}


def run(
    *command: str, folder: Path, stdout: int | None = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=os.environ | environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=200,
    )


@pytest.mark.parametrize(
    ("character", "words"),
    [
        *(("✓", "+"), ("✗", "x"), ("◐", "~"), ("—", "-"), ("−", "-"), ("≤", "<="), ("…", "..."), ("→", "->")),
        *(("η", "eta"), ("σ", "sigma"), ("Δ", "Delta"), ("‖", "||"), ("₁", "1"), ("∞", "inf"), ("é", "e"), ("²", "2")),
        *(("▁", "_"), ("█", "#"), ("│", "|"), ("─", "-"), ("╭", "+"), ("⠋", "*"), ("’", "'"), ("“", '"')),
        *(("漢", "\\u6f22"), ("😀", "\\U0001f600"), ("\udc80", "\\udc80")),
    ],
)
def test_a_character_has_a_form_in_ascii_that_people_can_read(character: str, words: str) -> None:
    assert to_ascii(character) == words
    assert f"a{character}b".encode("ascii", READABLE).decode() == f"a{words}b"


def test_what_an_encoding_holds_stays_as_it_is() -> None:
    assert "é ² ✓ – “".encode("cp1252", READABLE).decode("cp1252") == "é ² + – “"


# A few in make test; each process takes seconds to begin.
QUICK = {("report", "cp1252"), ("ledger", "ASCII")}


@pytest.mark.parametrize(
    ("command", "terminal"),
    [
        pytest.param(c, t, marks=[] if (c, t) in QUICK else [pytest.mark.slow], id=f"{c} on {t}")
        for c in COMMANDS
        for t in TERMINALS
    ],
)
def test_no_command_fails_for_its_characters(command: str, terminal: str, tmp_path: Path) -> None:
    (tmp_path / "ledger" / "measurements").mkdir(parents=True)
    expected = run(*COMMANDS[command], folder=tmp_path, PYTHONUTF8="1")
    done = run(*COMMANDS[command], folder=tmp_path, **TERMINALS[terminal])
    assert b"Traceback" not in done.stderr
    assert b"Unicode" not in done.stderr
    assert done.returncode == expected.returncode, done.stderr
    assert done.stdout or done.stderr
    if terminal.startswith("ASCII"):
        assert done.stdout.isascii()
        assert done.stderr.isascii()


def test_a_table_of_verdicts_is_readable_in_ascii(tmp_path: Path) -> None:
    done = run("engine", "report", "table", REFERENCE, folder=tmp_path, **ASCII)
    table = done.stdout.decode("ascii")
    assert "smollm2-135m, page: ~ partly supported, ratio = 2.237" in table
    assert "sigma = 1/25" in table
    assert "\\u" not in table


def run_claims(folder: Path, *options: str, redirect: str = "", **environment: str) -> tuple[int, str]:
    """A session on planted claims by way of a shell, which redirects; its exit code and what it said."""
    asked = ("--device", "cpu", "--effort", "smoke", *(options or ("--executor", "inline")))
    plugins = ("-p", "no:cacheprovider", "-p", "engine.session")
    done = subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$@" {redirect}', "bash", sys.executable, "-m", "pytest", *plugins, *asked],
        cwd=folder,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | environment,
        capture_output=True,
        timeout=200,
    )
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


REDIRECTED = {
    "a reader that has seen enough": "| head -1",
    "closed standard error": "2>&-",
    "closed standard output": ">&-",
    "both closed": ">&- 2>&-",
    "all closed": "<&- >&- 2>&-",
    "a full disk": ">/dev/full 2>/dev/full",
}


@pytest.mark.parametrize("executor", ["inline", pytest.param("pool", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "redirect", [r if "head" in r else pytest.param(r, marks=pytest.mark.slow) for r in REDIRECTED.values()]
)
def test_a_session_that_nobody_hears_measures_reports_and_says_so_by_its_exit_code(
    tmp_path: Path, redirect: str, executor: str
) -> None:
    plant_folder(tmp_path, {"C91": Inverses()})
    code, said = run_claims(tmp_path, "--executor", executor, "--workers", "2", redirect=redirect)
    assert code == 0, said
    assert "Traceback" not in said
    assert (tmp_path / "reports" / "latest" / "index.html").is_file()
    assert len(list((tmp_path / ".ledger").rglob("*.json"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("terminal", TERMINALS)
def test_a_session_shows_its_verdicts_on_any_terminal(tmp_path: Path, terminal: str) -> None:
    plant_folder(tmp_path, {"C91": Inverses()})
    path = tmp_path / "test_c91.py"
    path.write_text(path.read_text().replace('name="x"', "").replace("Some matrices", "σ ≤ ✓"), encoding="utf-8")
    code, said = run_claims(tmp_path, **TERMINALS[terminal])
    assert code == 0, said
    assert re.search(r"C91 +gpt2-untrained +direct +supported +x = 8", said)
    assert "Unicode" not in said


def test_a_command_whose_output_finds_no_room_says_so_in_one_line(tmp_path: Path) -> None:
    write_records([make_record(*SAMPLES["hits"])], path := tmp_path / "records.jsonl")
    with open("/dev/full", "wb") as full:
        done = run("engine", "report", "table", str(path), folder=tmp_path, stdout=full.fileno())
    assert done.returncode == 3
    line = done.stderr.decode()
    assert line.count("\n") == 1
    assert line.startswith("report: got output that cannot be written (No space left on device), expected ")


@pytest.mark.parametrize(
    ("words", "reader"),
    [
        (("report", "table", REFERENCE), "head -1"),
        (("--help",), "true"),
        (("verify", "--help"), "true"),
        (("ledger", "--help"), "true"),
    ],
    ids=["table", "help", "help of verify", "help of another"],
)
def test_a_command_whose_reader_has_seen_enough_ends_well(words: tuple[str, ...], reader: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "engine", *words]
    done = subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$@" | {reader}', "bash", *command], capture_output=True, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, b"")
