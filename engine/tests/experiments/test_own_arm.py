"""A kind of arm of one's own: refused in one line where it is asked for, and measured once the engine declares it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import engine
from engine.records import read_records
from engine.tests.planted_claims import read_session, run_session
from engine.tests.tiny_models import make_gpt2, save

GUIDE = (Path(__file__).resolve().parents[3] / "CONTRIBUTING.md").read_text(encoding="utf-8")

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


def test_an_arm_of_a_kind_of_its_own_is_refused_in_one_line(pytester: pytest.Pytester) -> None:
    (pytester.path / "test_own.py").write_text(HEAD + ARM + PROCEDURE, encoding="utf-8")
    result = run_session(pytester, "test_own.py", "--effort", "smoke")
    (record,) = read_session(pytester)
    assert result.ret == 3
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert record.outcome == "error"
    assert record.sentence.startswith("claim OWN2: got an arm of a kind of its own, CountArm, expected one of ")
    assert record.sentence.endswith("; give it a folder in engine/experiments, as CONTRIBUTING.md shows")


def test_a_plan_names_the_arm_that_cannot_be_planned(pytester: pytest.Pytester) -> None:
    (pytester.path / "test_own.py").write_text(HEAD + ARM + PROCEDURE, encoding="utf-8")
    result = run_session(pytester, "test_own.py", "--plan")
    result.stdout.fnmatch_lines(["cannot be planned  OWN2*: claim OWN2: got an arm of a kind of its own, CountArm*"])
    assert "INTERNALERROR" not in result.stdout.str()


OWN = """
from engine import DIRECT, Above, Claim
from engine.experiments.row_norm.procedure import RowNorms

CLAIM = Claim(
    id="OWN3", section="Mine", sentence="No row is a tenth as long as the mean.", estimand="shortest / mean",
    document="", procedure=RowNorms(), criteria=(Above("shortest / mean", 0.1, because="a tenth is short"),),
    subjects=("gpt2-untrained",), protocols=(DIRECT,),
)


def test_claim(verdict):
    assert verdict.supported, verdict.sentence
"""


@pytest.mark.slow
def test_the_example_of_a_kind_is_planned_measured_stored_and_read(tmp_path: Path) -> None:
    """On a copy of the engine, which gains the example's folder and nothing else."""
    copy = tmp_path / "engine"
    shutil.copytree(Path(engine.__file__).parent, copy, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    folder = copy / "experiments" / "row_norm"
    folder.mkdir()
    (folder / "__init__.py").touch()
    text = GUIDE.partition("## Add a kind of measurement")[2].partition("\n## ")[0]
    blocks = re.findall(r"`row_norm/(\w+\.py)`.*?^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert [name for name, _ in blocks] == ["arm.py", "measure.py", "procedure.py"]
    for name, code in blocks:
        (folder / name).write_text(code, encoding="utf-8")
    model = make_gpt2(n_embd=16, n_positions=64)
    save(tmp_path / "model", model)
    (tmp_path / "test_own.py").write_text(OWN, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    session = ("pytest", "test_own.py", "--effort", "smoke", "--device", "cpu", "--subject", f"local:{tmp_path}/model")
    assert "row norm local:" in run(*session, "--plan", "-v")
    run(*session, "--executor", "pool", "--workers", "1")
    norms = model.get_input_embeddings().weight.detach().norm(dim=1)
    (record,) = read_records(tmp_path / "reports" / "latest" / "records.jsonl")
    (criterion,) = record.criteria
    assert criterion.value == pytest.approx(float(norms.min() / norms.mean()), rel=1e-5)  # float32, twice
    assert "row norm" in run("engine", "ledger", "list", ".ledger")
    assert record.outcome == "passed"
    assert "1 passed" in run(*session, "--stored")
