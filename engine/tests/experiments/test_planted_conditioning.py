"""Procedures on conditioning recognize planted truths and falsehoods, in synthetic measurements, no model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from claims.trainability import (
    c44_conditioning_explains_iterations,
    c45_later_blocks_are_worse_conditioned,
    c46_the_head_suppresses_the_gradient,
)
from engine.arms.arm import Arm, Result, weights_of
from engine.arms.protocol import CONTROLLED, DIRECT
from engine.arms.settings import Unit
from engine.arms.stacks import Stack
from engine.claim.claim import Claim
from engine.claim.criteria import Ruling
from engine.claim.procedure import Evidence, Trial
from engine.claim.units import Units
from engine.errors import UsageError
from engine.experiments.conditioning.arm import (
    JacobianArm,
    JacobianResult,
    JacobianRun,
    LogitGradientArm,
    LogitGradientResult,
    LogitGradientRun,
)
from engine.experiments.inversion.arm import InversionArm
from engine.experiments.tuning.arm import TuningArm
from engine.models import Subject, find_subject
from engine.running.interim_looks import evaluate_in_looks
from engine.tests.experiments.test_planted_walks import Deep
from engine.tests.planted import drive, make_inversion, make_run, tune_to_middle

SEEDS = 20
ENOUGH = 19
"""A 95 % interval may miss once in twenty."""

C44 = c44_conditioning_explains_iterations.CLAIM
C45 = c45_later_blocks_are_worse_conditioned.CLAIM
C46 = c46_the_head_suppresses_the_gradient.CLAIM
Rng = np.random.Generator
Law = Callable[[Arm, Rng], Result]
D64, D256 = "gpt2-mini-d64", "gpt2-mini-d256"


def near(rng: Rng, value: float, spread: float = 0.2) -> float:
    return value * math.exp(rng.normal(0, spread))


def make_jacobian(unit: Unit, condition: float) -> JacobianRun:
    return JacobianRun(prompt=unit.prompt, count=64, largest=3.0, high=2.0, low=2.0 / condition, smallest=0.001)


def conditioned(condition: Callable[[int], float]) -> Law:
    """Blocks whose condition numbers lie around what is told of each."""

    def answer(arm: Arm, rng: Rng) -> Result:
        assert isinstance(arm, JacobianArm)
        assert isinstance(arm.settings.stack, Stack)
        assert arm.first_block == arm.settings.stack.blocks
        # A prompt may be harder at every block: pairs take that out.
        runs = (make_jacobian(unit, near(rng, condition(arm.first_block) * (1 + unit.seed % 3))) for unit in arm.units)
        return JacobianResult(runs=tuple(runs))

    return answer


def suppressed(outside: float, spread: float = 0.005) -> Law:
    def answer(arm: Arm, rng: Rng) -> Result:
        assert isinstance(arm, LogitGradientArm)
        runs: list[LogitGradientRun] = []
        for unit in arm.units:
            share = min(0.9999, outside + float(rng.normal(0, spread)))
            inside = math.sqrt(1 - share**2)
            values = {"outside": share, "inside": inside, "sensitivity": inside / 4}
            runs.append(
                LogitGradientRun(
                    prompt=unit.prompt,
                    seed=unit.seed,
                    tokens=5,
                    **values,
                    **{f"l1_{name}": value for name, value in values.items()},
                )
            )
        return LogitGradientResult(runs=tuple(runs), rank=64)

    return answer


Place = tuple[str, int]
"""A size of the family, and the step of a checkpoint."""


def read_place(arm: Arm) -> Place:
    name, _, step = weights_of(arm)[0].partition("@")
    return name.partition(":")[0], int(step)


def along_training(condition: Callable[[Place], float], hit: Callable[[Place], float]) -> Law:
    """Checkpoints with condition numbers and hits around what is told of each; hits beyond the cap are none."""

    def answer(arm: Arm, rng: Rng) -> Result:
        if isinstance(arm, TuningArm):
            return tune_to_middle(arm)
        place = read_place(arm)
        if isinstance(arm, JacobianArm):
            assert arm.first_block == 1
            return JacobianResult(
                runs=tuple(make_jacobian(unit, near(rng, condition(place), 0.3)) for unit in arm.units)
            )
        assert isinstance(arm, InversionArm)
        assert arm.read_at == "hit"
        times = [(unit, math.ceil(near(rng, hit(place)))) for unit in arm.units]
        cap = arm.settings.iterations
        return make_inversion([make_run(unit, hit=time if time <= cap else None) for unit, time in times])

    return answer


STEPS = (100, 300, 1000, 3000, 6400)
WIDTHS = {f"gpt2-mini-d{d}": d for d in (64, 128, 192, 256)}


def grow(place: Place) -> float:
    """What rises with training, and with size."""
    return 20.0 * 2 ** STEPS.index(place[1]) * (WIDTHS[place[0]] / 64) ** 0.7


def shuffle(place: Place) -> float:
    """What has nothing to do with either: every place has its own, in no order."""
    return 20.0 * 2 ** (int(1000 * math.sin(STEPS.index(place[1]) * 12.9 + WIDTHS[place[0]] * 7.7) ** 2) % 5)


def past_cap(place: Place) -> float:
    """What rises, and where a few places hit no longer."""
    return 5 * grow(place)


def fall(place: Place) -> float:
    return 5e4 / grow(place)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    name: str
    claim: Claim
    law: Law
    ruling: Ruling
    subject: str = ""


TRUE, FALSE = Ruling.SUPPORTED, Ruling.REFUTED
SCENARIOS = [
    Scenario(name="C45, later is worse", claim=C45, law=conditioned(lambda block: 5.0 * block), ruling=TRUE),
    Scenario(name="C45, later is better", claim=C45, law=conditioned(lambda block: 200.0 / block), ruling=FALSE),
    Scenario(name="C45, all are alike", claim=C45, law=conditioned(lambda block: 30.0), ruling=FALSE),
    Scenario(
        name="C45, those between alone are worse",
        claim=C45,
        law=conditioned(lambda block: 30.0 if block in {1, 30} else 900.0),
        ruling=FALSE,
    ),
    Scenario(name="C46, most is lost", claim=C46, law=suppressed(0.97), ruling=TRUE),
    Scenario(name="C46, less than most is lost", claim=C46, law=suppressed(0.9), ruling=FALSE),
    Scenario(name="C44, both rise", claim=C44, law=along_training(grow, grow), ruling=TRUE, subject=D256),
    Scenario(name="C44, past the cap", claim=C44, law=along_training(grow, past_cap), ruling=TRUE, subject=D256),
    Scenario(
        name="C44, no checkpoint hits",
        claim=C44,
        law=along_training(grow, lambda place: 1e4),
        ruling=Ruling.INCONCLUSIVE,
        subject=D256,
    ),
    Scenario(name="C44, on one size", claim=C44, law=along_training(grow, grow), ruling=TRUE, subject=D64),
    Scenario(name="C44, one falls", claim=C44, law=along_training(grow, fall), ruling=FALSE, subject=D256),
    Scenario(name="C44, unrelated", claim=C44, law=along_training(shuffle, grow), ruling=FALSE, subject=D256),
]


def make_trial(scenario: Scenario, units: Units | None = None, effort: Any = "full") -> Trial:
    return Trial(
        subject=find_subject(scenario.subject) if scenario.subject else Deep(),
        protocol=scenario.claim.protocols[0],
        effort=effort,
        units=units or scenario.claim.units,
    )


def measure(scenario: Scenario, seed: int, units: Units | None = None) -> tuple[Ruling, Evidence]:
    rng = np.random.default_rng(seed)
    trial = make_trial(scenario, units)
    evidence = drive(evaluate_in_looks(scenario.claim, trial), lambda arm: scenario.law(arm, rng))
    return scenario.claim.judge(evidence.estimates, trial.scopes).ruling, evidence


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_planted_scenario_is_nearly_always_ruled_correctly(scenario: Scenario) -> None:
    ruled = [measure(scenario, seed)[0] for seed in range(SEEDS)]
    assert ruled.count(scenario.ruling) >= ENOUGH, ruled


@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if s.claim is not C44], ids=lambda scenario: scenario.name)
def test_two_units_decide_nothing(scenario: Scenario) -> None:
    few = Units(smoke=2, standard=2, full=2)
    assert {measure(scenario, seed, few)[0] for seed in range(5)} == {Ruling.INCONCLUSIVE}


def test_two_units_of_a_seed_decide_nothing() -> None:
    scenario = next(s for s in SCENARIOS if s.claim is C44)
    assert measure(scenario, 0, Units(full=6, wave=36))[0] is Ruling.INCONCLUSIVE


@pytest.mark.parametrize("scenario", SCENARIOS[::5], ids=lambda scenario: scenario.claim.id)
def test_a_row_that_is_left_out_at_an_effort_was_not_run(scenario: Scenario) -> None:
    trial = make_trial(scenario, Units(smoke=0, standard=0, full=12), "standard")
    evidence = drive(scenario.claim.procedure.rounds(trial), lambda _: pytest.fail("an arm was asked for"))
    assert scenario.claim.judge(evidence.estimates, trial.scopes).ruling is Ruling.NOT_RUN


def ask(scenario: Scenario) -> tuple[list[list[Arm]], Evidence]:
    asked: list[list[Arm]] = []
    rng = np.random.default_rng(0)
    rounds = scenario.claim.procedure.rounds(make_trial(scenario))
    return asked, drive(rounds, lambda arm: scenario.law(arm, rng), asked=asked)


def find_scenario(name: str) -> Scenario:
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


def test_the_largest_size_reads_all_sizes_and_every_other_its_own() -> None:
    for name, sizes in (("C44, both rise", WIDTHS), ("C44, on one size", {D64: 64})):
        asked, evidence = ask(find_scenario(name))
        for kind in (JacobianArm, InversionArm):
            arms = [arm for arms in asked for arm in arms if isinstance(arm, kind)]
            assert {read_place(arm) for arm in arms} == {(size, step) for size in sizes for step in STEPS}
            seeds = {weights_of(arm)[0].partition(":")[2].partition("@")[0] for arm in arms}
            assert seeds == {"0", "1", "2"}
            assert {arm.settings.stack for arm in arms} == {Stack(blocks=1, head=True)}
            # Each seed has its own units, the same at every checkpoint.
            assert len({arm.units for arm in arms}) == 3
        points = next(table for table in evidence.tables if table.title == "Conditioning and hits by checkpoint")
        assert len(points.rows) == 3 * 5 * len(sizes)
        assert evidence.estimates["rank correlation"].n == 36


def test_a_checkpoint_that_is_named_reads_the_same_as_its_run() -> None:
    whole, part = (ask(replace(find_scenario("C44, on one size"), subject=name))[1] for name in (D64, f"{D64}@300"))
    assert part.estimates == whole.estimates


@pytest.mark.parametrize("subject", [Deep(), find_subject("gpt2-untrained"), find_subject(f"{D64}-untrained")])
def test_a_subject_without_checkpoints_is_refused_in_one_line(subject: Subject) -> None:
    trial = Trial(subject=subject, protocol=CONTROLLED, effort="full", units=Units())
    procedure: Any = C44.procedure
    expected = f"subject {subject.id}: got one set of weights, expected a model with checkpoints of its training; "
    assert procedure.refuse(trial).startswith(expected)
    with pytest.raises(UsageError, match="expected a model with checkpoints"):
        next(procedure.rounds(trial))


def test_a_model_of_one_block_has_no_later_one() -> None:
    procedure: Any = C45.procedure
    trial = Trial(subject=Deep(depth=1), protocol=DIRECT, effort="full", units=Units())
    assert procedure.refuse(trial).startswith("subject planted: got one block, expected a first block and a later one")
    assert procedure.refuse(replace(trial, subject=Deep(depth=2))) is None


def test_blocks_are_shown_in_a_table_and_the_first_and_last_decide() -> None:
    _, evidence = ask(find_scenario("C45, those between alone are worse"))
    table = next(table for table in evidence.tables if table.title == "Condition numbers by block")
    assert [row[0] for row in table.rows] == [1, 6, 11, 15, 20, 25, 30]
    middles = [float(row[1]) for row in table.rows]  # pyright: ignore[reportArgumentType]
    assert min(middles[1:-1]) > 5 * max(middles[0], middles[-1])
    assert set(evidence.estimates) == {"log condition, last − first"}


def test_a_prompt_without_a_gradient_has_no_share() -> None:
    plain = suppressed(0.97)

    def law(arm: Arm, rng: Rng) -> Result:
        result = plain(arm, rng)
        assert isinstance(result, LogitGradientResult)
        first = replace(result.runs[0], l1_outside=math.nan, l1_inside=math.nan, l1_sensitivity=math.nan)
        return replace(result, runs=(first, *result.runs[1:]))

    scenario = replace(find_scenario("C46, most is lost"), law=law)
    _, evidence = ask(scenario)
    assert evidence.estimates["share outside"].n == 36
    assert evidence.estimates["share outside, L¹"].n == 36 - 3  # the first of every wave
    assert [len(table.rows) for table in evidence.tables] == [6, 36]
