"""Noise with a planted outcome: the verdict follows, and what is shown beside agrees with a count by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.arms.arm import Arm
from engine.arms.stacks import Stack
from engine.claim.claim import Claim
from engine.claim.criteria import AtLeast, AtMost, Ruling
from engine.claim.procedure import Evidence, Trial
from engine.claim.units import Units
from engine.experiments.recovery.arm import NoiseArm, NoiseResult, NoiseRun
from engine.experiments.recovery.noise_procedure import NoiseTolerance
from engine.running.interim_looks import evaluate_in_looks
from engine.statistics import proportion
from engine.tests.experiments.test_planted_recovery import BLOCK, TARGET, R, S, make_trial
from engine.tests.planted import PlantedSubject, drive

WRONG = (9, *TARGET[1:])
FIRST = "Exact prompts under noise"
THIRTY_SIX = Units(smoke=2, standard=0, full=36, wave=36)
PROCEDURE = NoiseTolerance(stacks=(("1 block", BLOCK),), noises=(0.45, 2.0), bits=(8, 4), first_tokens=4)
CLAIM = Claim(
    id="A90",
    section="Planted",
    sentence="Planted.",
    estimand="planted",
    document="",
    procedure=PROCEDURE,
    criteria=(
        AtLeast("exact at 0.45 margins, 1 block", 0.9, because="planted"),
        AtMost("exact at 2 margins, 1 block", 0.5, because="planted"),
    ),
    subjects=("planted",),
    protocols=(make_trial().protocol,),
    units=THIRTY_SIX,
)


def noisy_trial(**changes: object) -> Trial:
    return make_trial(effort="full", units=THIRTY_SIX, **changes)


def plant_rates(arm: Arm, rng: np.random.Generator, rates: tuple[float, ...]) -> NoiseResult:
    """Prompts are exact at these rates by size of random noise, below half a margin alone toward the nearest token.

    Rounding to 8 bits is a tenth of a margin long and breaks nothing; to 4 bits it is two at the last position of every
    second prompt, and breaks the first.
    """
    assert isinstance(arm, NoiseArm)
    runs = [
        NoiseRun(
            prompt=unit.prompt,
            seed=unit.seed,
            target=TARGET,
            margin=(0.1, 0.2, 0.3, 0.4),
            runner_up=(5, 6, 7, 8),
            own_distance=(1e-7,) * 4,
            random=tuple(TARGET if rng.random() < rate else WRONG for rate in rates),
            toward=(TARGET, WRONG),
            rounded=(TARGET, WRONG if k % 2 else TARGET),
            rounding=((0.1,) * 4, (0.1, 0.1, 0.1, 2.0 if k % 2 else 0.2)),
        )
        for k, unit in enumerate(arm.units)
    ]
    return NoiseResult(runs=tuple(runs), vocab=100, texts=dict(enumerate("abcdefghij")))


def judge(trial: Trial, rates: tuple[float, ...], seed: int = 0) -> tuple[Ruling, Evidence, list[list[Arm]]]:
    rng, asked = np.random.default_rng(seed), list[list[Arm]]()
    evidence = drive(evaluate_in_looks(CLAIM, trial), lambda arm: plant_rates(arm, rng, rates), asked=asked)
    return CLAIM.judge(evidence.estimates, trial.scopes).ruling, evidence, asked


@pytest.mark.parametrize(
    ("rates", "expected"),
    [((1.0, 0.1), S), ((1.0, 1.0), R), ((0.5, 0.1), R)],
    ids=["holds below and breaks above", "never breaks", "breaks below"],
)
def test_a_planted_noise_is_judged_as_planted(rates: tuple[float, ...], expected: Ruling) -> None:
    for seed in range(5):
        assert judge(noisy_trial(), rates, seed)[0] is expected


def test_all_of_four_and_twenty_prompts_would_decide_nothing() -> None:
    """The number of units of claim A05: the interval of all of n lies above 0.9 from 35 on."""
    lows = {n: proportion("rate", [True] * n).low for n in (24, 34, 35, 36)}
    assert [n for n, low in lows.items() if low >= 0.9] == [35, 36]


def test_every_kind_of_noise_has_its_rate_and_its_row() -> None:
    _, evidence, asked = judge(noisy_trial(), (1.0, 0.0))
    ((arm,),) = asked
    assert isinstance(arm, NoiseArm)
    assert (arm.noises, arm.bits, arm.settings.first_tokens, len(arm.units)) == ((0.45, 2.0), (8, 4), 4, 36)
    values = {name.removesuffix(", 1 block"): estimate.value for name, estimate in evidence.estimates.items()}
    assert values == {
        "exact at 0.45 margins": 1.0,
        "exact at 2 margins": 0.0,
        "exact at 0.45 margins toward the nearest": 1.0,
        "exact at 2 margins toward the nearest": 0.0,
        "exact at 8 bits": 1.0,
        "exact at 4 bits": 0.5,
        "largest rounding / margin, 8 bits": pytest.approx(0.1),
        "largest rounding / margin, 4 bits": pytest.approx((2.0 * 0.2) ** 0.5),
    }
    assert {estimate.n for estimate in evidence.estimates.values()} == {36}
    tables = {t.title: [dict(zip(t.columns, row, strict=True)) for row in t.rows] for t in evidence.tables}
    assert [(row["noise"], row["size"], row["exact rate"], row["positions right"]) for row in tables[FIRST]] == [
        ("random", "0.45 margins", 1.0, 1.0),
        ("random", "2 margins", 0.0, 0.75),
        ("toward the nearest", "0.45 margins", 1.0, 1.0),
        ("toward the nearest", "2 margins", 0.0, 0.75),
        ("rounding", "8 bits", 1.0, 1.0),
        ("rounding", "4 bits", 0.5, 0.875),
    ]
    eight, four = tables["Rounding read as noise"]
    assert tuple(eight.values()) == ("1 block", 8, 36, 36, 0, 0, 0.1, 0.1)
    assert tuple(four.values()) == ("1 block", 4, 18, 18, 18, 0, 0.2, 2.0)
    positions = tables["Margins by position"]
    assert len(positions) == 36 * 4
    assert (positions[3]["token"], positions[3]["nearest other"], positions[3]["margin"]) == ("'e'", "'i'", 0.4)
    assert (evidence.settings["1 block, noise"], evidence.settings["1 block, tokens"]) == (
        "0.45, 2 margins",
        "the first 4",
    )


def test_random_weights_are_drawn_four_times_and_are_clusters() -> None:
    trial = noisy_trial(subject=PlantedSubject(is_trained=False))

    def answer(arm: Arm) -> NoiseResult:  # alike within a drawing of the weights
        assert isinstance(arm, NoiseArm)
        return plant_rates(arm, np.random.default_rng(0), (1.0, float(arm.settings.source[-1] == "0")))

    asked: list[list[Arm]] = []
    evidence = drive(PROCEDURE.rounds(trial), answer, asked=asked)
    assert [len(arm.units) for arm in asked[0] if isinstance(arm, NoiseArm)] == [9] * 4
    found = evidence.estimates["exact at 2 margins, 1 block"]
    expected = proportion("x", [k % 4 == 0 for k in range(36)], clusters=[k % 4 for k in range(36)])
    assert (found.value, found.low, found.high) == (expected.value, expected.low, expected.high)
    assert found.effect > 2


def test_rounding_over_a_margin_of_zero_and_no_rounding_at_all_have_logarithms() -> None:
    def answer(arm: Arm) -> NoiseResult:
        result = plant_rates(arm, np.random.default_rng(0), (1.0, 0.0))
        rounding = ((0.0,) * 4, (float("inf"),) * 4)
        return replace(result, runs=tuple(replace(run, rounding=rounding) for run in result.runs))

    estimates = drive(PROCEDURE.rounds(noisy_trial()), answer).estimates
    assert estimates["largest rounding / margin, 8 bits, 1 block"].value == pytest.approx(1e-300)
    assert estimates["largest rounding / margin, 4 bits, 1 block"].value == pytest.approx(1e300)


def test_what_is_not_run_at_an_effort_leaves_no_estimate_and_no_table() -> None:
    stacks = (("1 block", BLOCK), ("2 blocks", Stack(blocks=2)))
    procedure = replace(PROCEDURE, stacks=stacks)
    evidence = drive(procedure.rounds(make_trial(units=THIRTY_SIX)), lambda arm: pytest.fail(f"{arm} was asked for"))
    assert (evidence.estimates, evidence.tables, evidence.settings) == ({}, (), {})
