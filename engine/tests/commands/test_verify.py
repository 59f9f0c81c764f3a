"""`lm-claims verify` without a path: it runs the claims, however its options and workers are given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.records import read_records

CLAIM = """
from dataclasses import dataclass
from typing import ClassVar

import engine as lm
from engine.claim.procedure import Evidence
from engine.statistics import Estimate


@dataclass(frozen=True, kw_only=True)
class Planted:
    tag: ClassVar[str] = "Planted"

    def rounds(self, trial):
        yield from ()
        x = Estimate(name="x", value=2, low=2, high=3, n=12, method="planted", scale="linear")
        return Evidence(estimates=Evidence.named(x))


CLAIM = lm.Claim(
    id="C90", section="Planted", sentence="x is more than one.", estimand="x", document="", procedure=Planted(),
    criteria=(lm.Above("x", 1, because="planted"),), subjects=("gpt2-untrained",), protocols=(lm.DIRECT,),
)


def test_claim(verdict):
    assert verdict.supported, verdict.sentence
"""

CONFTEST = "def pytest_addoption(parser):\n    parser.addoption('--env')\n"


@pytest.mark.parametrize(
    ("words", "added"),
    [
        pytest.param(("-k", "c90", "-n", "2"), "", id="two workers"),
        pytest.param(("--env", "theirs", "-n", "2"), "", marks=pytest.mark.slow, id="a conftest's option, two workers"),
        pytest.param(("--",), "", marks=pytest.mark.slow, id="nothing behind two dashes"),
        pytest.param((), "--ledger theirs", marks=pytest.mark.slow, id="an option in the environment"),
        pytest.param((), "--env theirs", id="a conftest's option in the environment"),
    ],
)
def test_without_a_path_it_runs_the_claims_alone(words: tuple[str, ...], added: str, tmp_path: Path) -> None:
    """The project's own test fails, and its settings would run it: it stands where a value is mistaken for a path."""
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = theirs\n")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for folder, file, text in (
        ("claims", "c90_planted.py", CLAIM),
        ("theirs", "test_c90.py", "def test_theirs():\n    assert False\n"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text(text)
    plugins = ["-p", "xdist", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": added}
    done = subprocess.run(
        [sys.executable, "-m", "engine", "verify", *plugins, "--device", "cpu", *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 1 passed" in done.stdout
    assert [record.claim for record in read_records(tmp_path / "reports" / "latest" / "records.jsonl")] == ["C90"]
