"""Models whose weights are finite and whose outputs are not: no claim makes a verdict of NaN."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.commands.invert.command import main
from engine.errors import SubjectError
from engine.models import Subject, find_subject
from engine.tests.folders import change
from engine.tests.tiny_models import make_llama, save
from engine.tests.whole_claims import find_claims, make_campaign, run_claim

READERS = ("A01", "A02", "A04", "C05", "C06", "C14", "C20", "C26", "C27", "C31", "C32", "C35", "C45", "C46")
"""Claims that read next tokens, logits, continuations, descents, clamped walks, recoveries, margins, Jacobians and
gradients by logits."""

WALKERS = ("C21", "C22")
"""Claims that read gradients, and walks along them, of one block: it is finite where two overflow."""


def save_overflowing(folder: Path) -> Subject:
    """Largest weights 6e4, which float16 holds, and products of them, which it does not."""
    model = make_llama(max_position_embeddings=256, initializer_range=0.3)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.down_proj.weight.mul_(20_000).clamp_(-60_000, 60_000)
            layer.mlp.up_proj.weight.mul_(50)
    return find_subject(f"local:{save(folder, model)}")


def save_enormous(folder: Path) -> Subject:
    """Weights around 1e30, which float32 holds, and products of them, which it does not."""
    model = make_llama(max_position_embeddings=256, initializer_range=0.3)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.down_proj.weight.mul_(1e30)
            layer.mlp.up_proj.weight.mul_(1e30)
    return find_subject(f"local:{save(folder, model)}")


def save_without_epsilon(folder: Path) -> Subject:
    """A norm that divides by the root of a number that is none."""
    change(save(folder, make_llama(max_position_embeddings=256)) / "config.json", rms_norm_eps=float("nan"))
    return find_subject(f"local:{folder}")


def ask(name: str, subject: Subject, folder: Path, dtype: str = "float32") -> str | None:
    """The claim's error in its one line; None where it gave evidence."""
    claim = find_claims()[name]
    job = run_claim(make_campaign(folder), claim, subject, claim.protocols[0], dtype=dtype)
    if job.error is None:
        return None
    assert isinstance(job.error, SubjectError), job.error
    return str(job.error)


@pytest.mark.parametrize("name", READERS)
def test_outputs_that_overflow_float16_are_an_error_and_no_verdict(name: str, tmp_path: Path) -> None:
    said = ask(name, save_overflowing(tmp_path / "m"), tmp_path / "l", "float16")
    assert said is not None
    assert "got NaN or infinity in its " in said
    assert "in float16, expected finite numbers; take --dtype float32, or fix the model's config.json" in said


@pytest.mark.parametrize("name", [*READERS, *WALKERS])
def test_outputs_that_overflow_float32_are_an_error_and_no_verdict(name: str, tmp_path: Path) -> None:
    said = ask(name, save_enormous(tmp_path / "m"), tmp_path / "l")
    assert said is not None
    assert "got NaN or infinity in its " in said
    assert said.endswith("in float32, expected finite numbers; fix the model's config.json or its weights")


@pytest.mark.parametrize("name", ["C05", "C31", "C32"])
def test_the_remedies_for_outputs_that_are_not_finite_work(name: str, tmp_path: Path) -> None:
    assert ask(name, save_overflowing(tmp_path / "range"), tmp_path / "1") is None  # --dtype float32
    odd = save_without_epsilon(tmp_path / "config")
    said = ask(name, odd, tmp_path / "2")
    assert said is not None
    assert said.endswith("expected finite numbers; fix the model's config.json or its weights")
    change(tmp_path / "config" / "config.json", rms_norm_eps=1e-6)
    assert ask(name, find_subject(odd.id), tmp_path / "2") is None
    lighter = save(tmp_path / "weights", make_llama(max_position_embeddings=256, initializer_range=0.3))
    assert ask(name, find_subject(f"local:{lighter}"), tmp_path / "3", "float16") is None


def test_the_quick_look_says_the_same_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subject = save_enormous(tmp_path / "m")
    options = ("--iterations", "20", "--step", "0.01", "--device", "cpu", "--ledger", str(tmp_path / "ledger"))
    assert main(["ab cab", "--subject", subject.id, *options]) != 0
    assert f"{subject.id}: got NaN or infinity in its outputs for a prompt in float32" in capsys.readouterr().err
