"""A session that is killed goes on where it was, and ends with the numbers of one that never was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from engine.measurement import MEASUREMENT
from engine.subjects.tokenizers import missing_gpt2_vocabulary

CLAIM = """
from engine import CONTROLLED, PAGE, Above, Claim, HitRatio, Inversions, Sample, Stack, Units, Verdict

GRID = (0.01, 0.02, 0.04)
CLAIM = Claim(
    id="T03",
    section="none",
    sentence="The head makes it slower.",
    estimand="ratio of hits",
    document="nothing",
    procedure=Inversions(
        samples=(
            ("head", Sample(stack=Stack(blocks=1, head=True), iterations=40, grid=GRID)),
            ("open", Sample(stack=Stack(blocks=2), iterations=40, weights="random", grid=GRID)),
        ),
        estimates=(HitRatio(name="ratio", slow="head", fast="open"),),
    ),
    criteria=(Above("ratio", 1, because="a test"),),
    subjects=("gpt2-untrained",),
    protocols=(PAGE, CONTROLLED),
    units=Units(smoke=4),
)


def test_claim(verdict: Verdict) -> None:
    assert verdict.supported, verdict.sentence
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(missing_gpt2_vocabulary() is not None, reason=str(missing_gpt2_vocabulary())),
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a system that can kill a process outright"),
]


@pytest.fixture(name="folder", scope="module")
def provide_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A claim of one's own and a tiny model: random, with GPT-2's vocabulary."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "pytest.ini").write_text("[pytest]\npython_files = c*.py\n")
    (folder / "claims").mkdir()
    (folder / "claims" / "c90_own.py").write_text(CLAIM)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, initializer_range=0.1))
    model.save_pretrained(folder / "tiny")
    return folder


def start(folder: Path, ledger: Path) -> subprocess.Popen[str]:
    options = ["--subject", f"local:{folder / 'tiny'}", "--effort", "smoke", "--ledger", str(ledger)]
    options += ["--report-dir", str(folder / "report"), "--device", "cpu", "-p", "no:cacheprovider"]
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "claims", *options],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def stored_in(ledger: Path) -> dict[str, Path]:
    return {path.stem: path for path in (ledger / "measurements").rglob("*.json")}


def contents(ledger: Path) -> dict[str, str]:
    """Digest of the numbers of each stored measurement, taken from the numbers themselves."""
    return {
        digest: MEASUREMENT.validate_python(json.loads(path.read_text(encoding="utf-8"))["measurement"]).content()
        for digest, path in stored_in(ledger).items()
    }


def kill_in_the_middle(process: subprocess.Popen[str], ledger: Path, *, after: int = 2) -> None:
    deadline = time.monotonic() + 60
    while len(stored_in(ledger)) < after:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "nothing was stored within a minute"
        time.sleep(0.002)
    process.kill()
    process.communicate()


def test_a_killed_session_goes_on_and_ends_with_the_same_numbers(folder: Path) -> None:
    broken, whole = folder / "broken", folder / "whole"
    kill_in_the_middle(start(folder, broken), broken)
    before = {digest: path.stat().st_mtime_ns for digest, path in stored_in(broken).items()}

    again = start(folder, broken)
    said = again.communicate(timeout=120)[0]
    assert again.returncode == 0, said
    after = {digest: path.stat().st_mtime_ns for digest, path in stored_in(broken).items()}
    assert {digest: after[digest] for digest in before} == before
    assert not (broken / "aside").exists()

    unbroken = start(folder, whole)
    said = unbroken.communicate(timeout=120)[0]
    assert unbroken.returncode == 0, said
    assert len(after) - len(before) >= 4, "it was killed too late to show anything"
    assert contents(broken) == contents(whole)
