"""Margins with a planted course along a training: the verdict follows, and seeds of trainings are clusters."""

from __future__ import annotations

import numpy as np
import pytest

from engine.arms.arm import Arm, Result, weights_of
from engine.claim.criteria import AtLeast, Ruling
from engine.errors import DeclarationError
from engine.experiments.recovery.arm import MarginArm
from engine.experiments.recovery.procedure import Margin, MarginRatio, Recovered, Searches
from engine.experiments.recovery.searches import Search
from engine.models import find_subject
from engine.running.interim_looks import evaluate_in_looks
from engine.statistics import geometric_ratio
from engine.tests.experiments.test_planted_recovery import (
    BLOCK,
    ONE,
    Law,
    R,
    Rng,
    S,
    ask,
    make_claim,
    make_margins,
    make_trial,
    plant,
)
from engine.tests.planted import drive


def margins_at(step: int | None) -> Search:
    return Search(stack=BLOCK, only="margins", margins=8, checkpoint=step)


IN_TRAINING = Searches(
    samples=(("start", margins_at(0)), ("between", margins_at(100)), ("end", margins_at(None))),
    estimates=(
        MarginRatio(name="end / start", more="end", less="start"),
        *(Margin(name=f"margin, {of}", of=of) for of in ("start", "between", "end")),
    ),
)


def plant_checkpoints(end: float) -> Law:
    """Margins of 0.1 at the start, of `end` times as much at the end, a little wider with each seed."""

    def answer(arm: Arm, rng: Rng) -> Result:
        assert isinstance(arm, MarginArm)
        seed, _, step = arm.settings.subject.removeprefix("gpt2-mini-d64:").partition("@")
        wider = 1 + 0.05 * int(seed) + 0.05 * rng.random()
        return make_margins(arm, 0.1 * {"0": 1.0, "100": 3.0, "": end * wider}[step])

    return answer


@pytest.mark.parametrize(("end", "expected"), [(0.9, S), (0.2, R)], ids=["margins stay", "margins shrink"])
def test_margins_along_a_training_are_judged_as_planted(end: float, expected: Ruling) -> None:
    claim = make_claim(IN_TRAINING, (AtLeast("end / start", 0.5, because="planted"),))
    trial = make_trial(subject=find_subject("gpt2-mini-d64"))
    rng, asked = np.random.default_rng(0), list[list[Arm]]()
    evidence = drive(evaluate_in_looks(claim, trial), lambda arm: plant_checkpoints(end)(arm, rng), asked=asked)
    assert claim.judge(evidence.estimates, trial.scopes).ruling is expected
    # No prompt is searched for, and every checkpoint is asked of each training on the same units.
    arms = [arm for arms in asked for arm in arms]
    assert all(isinstance(arm, MarginArm) for arm in arms)
    units = {arm.settings.subject: arm.units for arm in arms if isinstance(arm, MarginArm)}
    assert set(units) == {f"gpt2-mini-d64:{seed}{at}" for seed in range(3) for at in ("@0", "@100", "")}
    assert all(units[f"gpt2-mini-d64:{k}"] == units[f"gpt2-mini-d64:{k}@0"] for k in range(3))
    # Three seeds take three of the first eight units each, and margins grow by a tenth of 0.1 within an arm.
    assert evidence.estimates["margin, between"].value == pytest.approx(0.3 * (1.1 * 1.2) ** (1 / 3))
    assert evidence.estimates["end / start"].n == 9
    titles = [table.title for table in evidence.tables]
    assert titles == ["Estimates", "Margins over the whole vocabulary", "Along training"]
    along = evidence.tables[-1].rows
    assert {row[:3] for row in along} == {
        (reading, step, seed)
        for reading, step in (
            ("relative margin, start", 0),
            ("relative margin, between", 100),
            ("relative margin, end", 8000),
        )
        for seed in range(3)
    }
    assert all(row[3] == pytest.approx(0.1, rel=0.15) for row in along if row[1] == 0)
    assert evidence.settings["between, weights"] == "after 100 steps of training"
    assert not any(name.endswith("η") for name in evidence.settings)


def test_margins_of_checkpoints_are_clustered_by_the_training_that_they_share() -> None:
    """Alike within a training, ten times as wide at the end of the next: three clusters decide nothing."""

    def answer(arm: Arm, rng: Rng) -> Result:
        assert isinstance(arm, MarginArm)
        seed, _, step = arm.settings.subject.removeprefix("gpt2-mini-d64:").partition("@")
        return make_margins(arm, 1.0 if step else 10.0 ** int(seed))

    _, found = ask(IN_TRAINING, make_trial(subject=find_subject("gpt2-mini-d64")), answer)
    ratios = [10.0**seed for _ in range(3) for seed in range(3)]
    expected = geometric_ratio("end / start", ratios, [1.0] * 9, clusters=[0, 1, 2] * 3, seed=0)
    ratio = found["end / start"]
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((expected.value, expected.low, expected.high))
    assert ratio.low < 1 < ratio.high


def test_a_search_of_a_checkpoint_tunes_and_searches_with_its_weights() -> None:
    procedure = Searches(samples=(("early", Search(stack=BLOCK, checkpoint=100, margins=3)),), estimates=())
    asked, _ = ask(procedure, make_trial(subject=find_subject("gpt2-mini-d64")), plant(lambda arm: 1.0))
    subjects = {(arm.kind, weights_of(arm)[0]) for arms in asked for arm in arms}
    drawn = {(kind, f"gpt2-mini-d64:{seed}@100") for kind in ("recovery", "margin") for seed in range(3)}
    assert subjects == {("tuning", "gpt2-mini-d64:0@100"), *drawn}


def test_a_claim_on_checkpoints_is_refused_in_a_line_where_there_are_none() -> None:
    refused = IN_TRAINING.refuse(make_trial())
    assert refused is not None
    assert "got one set of weights, expected a model with checkpoints of its training" in refused
    assert IN_TRAINING.refuse(make_trial(subject=find_subject("gpt2-mini-d64"))) is None
    assert ONE.refuse(make_trial()) is None


def test_a_search_of_one_scope_is_left_out_elsewhere() -> None:
    samples = (*ONE.samples, ("large", Search(stack=BLOCK, on="gpt2-xl")))
    procedure = Searches(samples=samples, estimates=(Recovered(name="large", of="large"), *ONE.estimates))
    _, found = ask(procedure, make_trial(), plant(lambda arm: 1.0))
    assert set(found) == {"recovered", "rate", "margin", "distinguishable", "fewer"}


def test_only_margins_of_no_unit_would_measure_nothing() -> None:
    with pytest.raises(DeclarationError, match="Search: got only margins, and margins of no unit, expected"):
        Search(stack=BLOCK, only="margins")
