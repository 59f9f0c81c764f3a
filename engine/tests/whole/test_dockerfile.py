"""The image is made of pinned parts, runs as nobody special, and its command is one that pytest takes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from engine.tests.whole.test_workflows import find_tool

ROOT = Path(__file__).resolve().parents[3]
LINES = re.sub(
    r"\\\n\s*|^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE
).splitlines()
"""Instructions, each on one line."""


def arguments(instruction: str) -> list[str]:
    """What follows each instruction of that name, in order."""
    return [line.partition(" ")[2] for line in LINES if line.startswith(f"{instruction} ")]


def test_the_base_is_one_version_of_cuda_on_one_of_ubuntu() -> None:
    (base,) = arguments("FROM")
    assert re.fullmatch(r"nvidia/cuda:\d+\.\d+\.\d+-base-ubuntu\d\d\.\d\d", base)


def test_lists_of_packages_leave_with_the_layer_that_fetched_them() -> None:
    fetching = [line for line in arguments("RUN") if "apt-get" in line]
    assert fetching
    assert all(line.endswith("rm -rf /var/lib/apt/lists/*") for line in fetching)


def test_every_package_is_installed_by_the_constraints() -> None:
    installs = [part for line in arguments("RUN") for part in line.split("&&") if "pip install" in part]
    assert installs
    assert all("--constraint constraints.txt" in part for part in installs)


def test_packages_wanted_for_their_data_are_those_of_make() -> None:
    makefile = re.sub(r"\\\n\s*", "", (ROOT / "Makefile").read_text(encoding="utf-8"))
    (wanted,) = re.findall(r"--constraint constraints.txt --no-deps (.*)", makefile)
    assert len(wanted.split()) > 4
    assert any(line.split()[-len(wanted.split()) :] == wanted.split() for line in arguments("RUN"))


def test_what_runs_has_no_rights_of_its_own() -> None:
    (user,) = arguments("USER")
    assert int(user) >= 1000
    owned = LINES.index(f"USER {user}")
    assert not [line for line in LINES[owned:] if line.startswith("RUN") and "apt-get" in line]
    assert all("--chown=" in line for line in arguments("COPY"))


def test_the_command_is_one_that_pytest_takes_and_writes_into_the_volume_alone(tmp_path: Path) -> None:
    (volume,), (entry,) = arguments("VOLUME"), arguments("ENTRYPOINT")
    program, *options = json.loads(entry)
    assert program == "python"
    assert any(setting.startswith(f"HF_HOME={volume}/") for line in arguments("ENV") for setting in line.split())
    here = [option.replace(volume, str(tmp_path)) for option in options]
    assert [Path(option).parent for option in options if option.startswith("/")] == [Path(volume)] * 2
    command = [sys.executable, *here, "-k", "c02", "--collect-only", "-q"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert (ran.returncode, "c02_" in ran.stdout) == (0, True), ran.stdout + ran.stderr


def test_hadolint_finds_nothing() -> None:
    command = [find_tool("hadolint"), "Dockerfile"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("folder", ["claims", "engine", ".git"])
def test_what_a_measurements_commit_is_told_by_is_in_the_image(folder: str) -> None:
    """A tracked file that is left out would count as changed."""
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert folder not in ignored
    assert not [line for line in ignored if line.startswith(f"{folder}/")]
