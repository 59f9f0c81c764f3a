"""A kind of arm of one's own: refused in one line where it is asked for, and measured once the engine declares it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import engine
from engine.tests.planted_claims import read_session, run_session

ARM = '''
@dataclass(frozen=True, kw_only=True)
class CountArm:
    """How many numbers a matrix holds."""

    tag: ClassVar[str] = "CountArm"
    subject: str
    source: str
    rows: int
    device: str = "cpu"
    kind: Literal["count"] = "count"
'''

PROCEDURE = """
@dataclass(frozen=True, kw_only=True)
class Count:
    def rounds(self, trial):
        (found,) = yield [CountArm(subject="none", source="none", rows=3)]
        x = Estimate(name="x", value=found.result.count, low=1, high=9, n=1, method="exact", scale="exact")
        return Evidence(estimates={"x": x}, measurements=(found,))


CLAIM = Claim(
    id="OWN2", section="Mine", sentence="A matrix holds numbers.", estimand="x", document="",
    procedure=Count(), criteria=(Above("x", 0, because="it is not empty"),),
    subjects=("gpt2-untrained",), protocols=(DIRECT,),
)


def test_claim(verdict):
    assert verdict.supported, verdict.sentence
"""

HEAD = """
from dataclasses import dataclass
from typing import ClassVar, Literal

from engine import *
from engine.claim.procedure import Evidence
from engine.statistics import Estimate
"""

RESULT = '''
@dataclass(frozen=True, kw_only=True)
class CountResult:
    """count: numbers."""

    count: int
    kind: Literal["count"] = "count"
'''

MEASURE = '''
"""Counts a matrix's numbers."""

from engine.arms.arm import CountArm
from engine.arms.results import CountResult
from engine.models.loaded import Shelf


def measure_count(arm: CountArm, shelf: Shelf) -> CountResult:
    return CountResult(count=arm.rows**2)
'''


def test_an_arm_of_a_kind_of_its_own_is_refused_in_one_line(pytester: pytest.Pytester) -> None:
    (pytester.path / "test_own.py").write_text(HEAD + ARM + PROCEDURE, encoding="utf-8")
    result = run_session(pytester, "test_own.py", "--effort", "smoke")
    (record,) = read_session(pytester)
    assert result.ret == 3
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert record.outcome == "error"
    assert record.sentence.startswith(
        "claim OWN2: got an arm of a kind of its own, CountArm, expected one of InversionArm,"
    )
    assert record.sentence.endswith(
        "; declare it in engine/arms, with its result, and measure it in engine/experiments"
    )


def test_a_plan_names_the_arm_that_cannot_be_planned(pytester: pytest.Pytester) -> None:
    (pytester.path / "test_own.py").write_text(HEAD + ARM + PROCEDURE, encoding="utf-8")
    result = run_session(pytester, "test_own.py", "--plan")
    result.stdout.fnmatch_lines(["cannot be planned  OWN2*: claim OWN2: got an arm of a kind of its own, CountArm*"])
    assert "INTERNALERROR" not in result.stdout.str()


@pytest.mark.slow
def test_a_kind_that_the_engine_declares_as_the_remedy_says_is_planned_and_measured(tmp_path: Path) -> None:
    """A copy of the engine, changed in the three places that the message names; of its cost nobody told it."""
    copy = tmp_path / "engine"
    shutil.copytree(Path(engine.__file__).parent, copy, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    _declare(
        copy / "arms" / "arm.py", ARM, "Arm = (\n    InversionArm\n", "Arm = (\n    CountArm\n    | InversionArm\n"
    )
    _declare(
        copy / "arms" / "results.py",
        RESULT,
        "Result = (\n    InversionResult\n",
        "Result = (\n    CountResult\n    | InversionResult\n",
    )
    (copy / "experiments" / "counting.py").write_text(MEASURE, encoding="utf-8")
    entry = '    "count": "counting:measure_count",\n'
    _declare(copy / "experiments" / "registry.py", "MEASURED_BY = {\n" + entry, "MEASURED_BY = {\n", "")
    (tmp_path / "test_own.py").write_text(HEAD + "from engine.arms.arm import CountArm\n" + PROCEDURE, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for options, expected in ((["--plan", "-v"], "count none"), (["--executor", "inline"], "1 passed")):
        words = [sys.executable, "-m", "pytest", "test_own.py", "--effort", "smoke", "--device", "cpu", *options]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert expected in done.stdout


def _declare(path: Path, kind: str, before: str, after: str) -> None:
    """A class, and its place in a union."""
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1
    path.write_text(text.replace(before, f"{kind.lstrip()}\n\n{after}" if after else kind), encoding="utf-8")
