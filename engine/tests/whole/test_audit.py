"""`make audit` fails for a vulnerable package, and only for one: what cannot be looked up is a skip that says so."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MAKE = shutil.which("make")

pytestmark = pytest.mark.skipif(MAKE is None, reason="runs where make is installed")

CLEAN = "echo 'No known vulnerabilities found' >&2"
VULNERABLE = "echo 'Found 1 known vulnerability in 1 package' >&2; echo 'jinja2 2.0 PYSEC-0'; exit 1"
UNREACHABLE = "echo 'requests.exceptions.ConnectionError: Max retries exceeded' >&2; exit 1"
BLOCKED = "echo 'ERROR:pip_audit._cli:Could not connect to the vulnerability feed' >&2; exit 1"
BOTH = f"echo 'jinja2 2.0 ConnectionError' >&2; {VULNERABLE}"
BROKEN = "echo 'ERROR: constraints.txt: line 3 is no requirement' >&2; exit 1"


def stub(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def audit(venv: Path) -> subprocess.CompletedProcess[str]:
    """The target in a folder whose environment is made of stubs."""
    (venv / "installed").touch()
    command = [str(MAKE), "--no-print-directory", "-f", str(ROOT / "Makefile"), "audit"]
    return subprocess.run(command, cwd=venv.parent, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(name="venv")
def provide_venv(tmp_path: Path) -> Path:
    """An environment that is newer than what it is made of, in which no package can be installed."""
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    stub(tmp_path / ".venv" / "bin" / "python", "exit 1")
    return tmp_path / ".venv"


@pytest.mark.parametrize(
    ("tool", "code", "words"),
    [
        pytest.param(CLEAN, 0, "No known vulnerabilities", id="nothing found"),
        pytest.param(VULNERABLE, 2, "PYSEC-0", id="a vulnerable package"),
        pytest.param(UNREACHABLE, 0, "audit: skipped: the database", id="no network"),
        pytest.param(BLOCKED, 0, "audit: skipped: the database", id="a blocked network"),
        pytest.param(BOTH, 2, "PYSEC-0", id="a vulnerable package and a network that fails"),
        pytest.param(BROKEN, 2, "is no requirement", id="a tool that fails"),
    ],
)
def test_only_what_was_found_or_broke_fails(tool: str, code: int, words: str, venv: Path) -> None:
    stub(venv / "bin" / "pip-audit", tool)
    ran = audit(venv)
    assert (ran.returncode, words in ran.stdout) == (code, True), ran


def test_a_tool_that_cannot_be_installed_is_a_skip_that_says_so(venv: Path) -> None:
    ran = audit(venv)
    assert ran.returncode == 0
    assert "audit: skipped: pip-audit is not here" in ran.stdout


def test_a_tool_that_is_not_there_is_installed_by_the_constraints(venv: Path) -> None:
    made = venv / "bin" / "pip-audit"
    asked = "-m pip install --quiet --constraint constraints.txt pip-audit"
    stub(
        venv / "bin" / "python",
        f"test \"$*\" = '{asked}' && printf '#!/bin/sh\\n{CLEAN}\\n' >{made} && chmod +x {made}",
    )
    assert audit(venv).returncode == 0


def test_every_pin_can_be_looked_up() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins
    assert all(pin.count("==") == 1 and not set(pin) & set(" ;@*<>~") for pin in pins)
