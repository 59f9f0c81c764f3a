"""Each claim in each dtype: it runs whole, or says in one line why it does not."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from engine.arms.protocol import CONTROLLED
from engine.arms.settings import DescentSettings, Metric, Unit
from engine.arms.stacks import Stack
from engine.claim.claim import Claim
from engine.claim.procedure import Trial
from engine.commands.invert.command import main
from engine.experiments.inversion.arm import InversionArm, InversionResult, Stop
from engine.experiments.tuning.arm import TuningArm, TuningResult
from engine.methods.distances import DistanceToTarget
from engine.models import Subject, find_subject
from engine.running.executors.inline import Inline
from engine.running.scheduler import ItemRun, Scheduler
from engine.session.options import DTYPES
from engine.tests.tiny_tokenizers import make_tokenizer, save_llama
from engine.tests.whole_claims import find_claims, make_campaign, run_claim

HALVES = ("bfloat16", "float16")
CLAIMS = find_claims()
CORE = {"C01", "C02", "C05", "C16", "C21", "C22", "C25", "C27", "C30", "C31", "C32", "C44", "C45", "C46"}
"""Claims of every procedure but the searches', a second or two each; the others are slow."""

INT8 = {"C30"}
"""Claims whose int8 sample is float32 beside its int8 layers."""

ALONG_TRAINING = {"C44"}
"""Claims about checkpoints, of which a folder has none. They are run whole on the suite's own models."""


@pytest.fixture(name="subject", scope="module")
def provide_subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = save_llama(tmp_path_factory.mktemp("model"), make_tokenizer("byte level"))
    return find_subject(f"local:{folder}")


@pytest.fixture(name="scheduler_of", scope="module")
def provide_campaigns(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Scheduler]:
    """One session a dtype: claims that follow each other share its model and its measurements."""

    @cache
    def make(dtype: str) -> Scheduler:
        return make_campaign(tmp_path_factory.mktemp(dtype))

    return make


def hold(job: ItemRun, claim: Claim) -> None:
    """It ran whole: every criterion has its estimate, the tables are drawn, and there is a verdict."""
    assert job.evidence is not None, job.error
    assert job.evidence.tables
    assert {criterion.estimate for criterion in claim.criteria if criterion.on == "every"} <= set(
        job.evidence.estimates
    )
    assert claim.judge(job.evidence.estimates, job.trial.scopes).sentence


CASES = [
    pytest.param(name, dtype, id=f"{name}-{dtype}", marks=() if name in CORE and dtype in HALVES else pytest.mark.slow)
    for dtype in DTYPES
    for name in CLAIMS
]


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_a_claim_runs_whole_or_is_refused_in_one_line(
    name: str, dtype: str, subject: Subject, scheduler_of: Callable[[str], Scheduler]
) -> None:
    claim = CLAIMS[name]
    refuse = getattr(claim.procedure, "refuse", None)
    trial = Trial(subject=subject, protocol=claim.protocols[0], effort="smoke", units=claim.units, dtype=dtype)
    refusal = refuse(trial) if refuse is not None else None
    if name in ALONG_TRAINING:
        assert refusal is not None
        assert "\n" not in refusal
        assert "got one set of weights, expected a model with checkpoints of its training" in refusal
        return
    if refusal is not None:
        assert name in INT8
        assert dtype != "float32"
        assert "\n" not in refusal
        assert f"got dtype {dtype}, expected float32" in refusal
        return
    job = run_claim(scheduler_of(dtype), claim, subject, claim.protocols[0], dtype=dtype)
    hold(job, claim)


def settings(subject: Subject, dtype: str, *, iterations: int = 40) -> DescentSettings:
    return DescentSettings(
        subject=subject.id,
        source=subject.fingerprint(),
        stack=Stack(blocks=1, head=True),
        protocol=CONTROLLED,
        iterations=iterations,
        dtype=dtype,
    )


@pytest.mark.parametrize("dtype", HALVES)
def test_tuning_reads_a_median_of_half_numbers(dtype: str, subject: Subject) -> None:
    units = tuple(Unit(prompt="The sky is blue.", seed=seed) for seed in range(3))
    arm = TuningArm(settings=settings(subject, dtype), steps=(1e-4, 1e-3), units=units, horizon=40, batch=6)
    result = Inline().run(arm).result
    assert isinstance(result, TuningResult)
    assert all(0 < outcome.median_distance < math.inf for outcome in result.outcomes)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("head", [True, False], ids=["head", "no head"])
def test_distances_of_half_numbers_are_added_up_in_float32(dtype: str, head: bool) -> None:
    """70,000 outputs of 1 are 70,000 apart: more than float16 holds, and more than bfloat16 counts to."""
    half = getattr(torch, dtype)
    delta = torch.ones(1, 1, 1 if head else 70_000, dtype=half)
    weight = torch.ones(70_000, 1, dtype=half) if head else None
    distance = DistanceToTarget(torch.zeros_like(delta), torch.ones(1, 1, dtype=torch.bool), weight)
    assert distance.l1(delta).tolist() == [70_000.0]
    assert distance.l2(delta).tolist() == pytest.approx([math.sqrt(70_000)])


@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_a_half_gradient_through_the_distance_is_of_its_input(metric: Metric) -> None:
    """d‖U δ‖ of δ: U's column sums of signs, and UᵀUδ / ‖Uδ‖; both come back in float16."""
    delta = torch.tensor([[[0.5, -0.25]]], dtype=torch.float16, requires_grad=True)
    weight = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], dtype=torch.float16)
    distance = DistanceToTarget(torch.zeros(1, 1, 2).half(), torch.ones(1, 1, dtype=torch.bool), weight)
    (gradient,) = torch.autograd.grad(distance.measure(metric, delta).sum(), delta)
    expected = {"l1": [2.0, -1.0], "l2": [0.75 / 0.75, -0.75 / 0.75]}[metric]
    assert gradient.dtype == torch.float16
    assert gradient.flatten().tolist() == pytest.approx(expected, abs=1e-3)


def test_an_overflow_in_float16_is_told_as_diverged(subject: Subject) -> None:
    unit = Unit(prompt="The sky is blue.", seed=0)
    arm = InversionArm(settings=settings(subject, "float16"), step=60_000.0, units=(unit,), read_at="N", batch=36)
    result = Inline().run(arm).result
    assert isinstance(result, InversionResult)
    assert [run.stop for run in result.runs] == [Stop.DIVERGED]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", HALVES)
def test_a_bound_of_half_numbers_is_that_of_float32(dtype: str) -> None:
    """Of SmolLM2's 49,152 logits, whose distances pass float16's 65,504; half numbers keep 2 to 3 digits."""
    subject = find_subject("smollm2-135m")
    found = {}
    for name in ("float32", dtype):
        arm = InversionArm(
            settings=settings(subject, name, iterations=1),
            step=1e-6,
            units=(Unit(prompt="The sky is blue.", seed=0),),
            read_at="N",
            batch=36,
        )
        result = Inline().run(arm).result
        assert isinstance(result, InversionResult)
        found[name] = result.runs[0]
    assert found["float32"].bound > torch.finfo(torch.float16).max
    assert found[dtype].bound == pytest.approx(found["float32"].bound, rel=0.02)
    assert found[dtype].hit is None


@pytest.mark.parametrize("dtype", HALVES)
def test_the_quick_look_tunes_and_descends_in_half_numbers(
    dtype: str, subject: Subject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--iterations", "30", "--device", "cpu", "--ledger", str(tmp_path / "ledger")]
    assert main(["The sky is blue.", "--subject", subject.id, "--head", "--dtype", dtype, *options]) == 0
    assert f"{dtype} on cpu" in capsys.readouterr().out
