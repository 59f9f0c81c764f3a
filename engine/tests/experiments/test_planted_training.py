"""Claims along training: a planted truth and a planted falsehood, each found; which checkpoints and seeds are asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from engine.arms.arm import Arm, Result
from engine.arms.protocol import CONTROLLED, DIRECT
from engine.arms.stacks import Stack
from engine.claim.claim import Claim
from engine.claim.criteria import Above, Below, Criterion, Ruling
from engine.claim.procedure import Evidence, Procedure, Trial
from engine.claim.units import Units
from engine.errors import UsageError
from engine.experiments.inversion.arm import InversionArm
from engine.experiments.inversion.estimators import Difference
from engine.experiments.inversion.procedure import Inversions
from engine.experiments.inversion.readings import Recovery
from engine.experiments.inversion.samples import Sample
from engine.experiments.language.arm import GenerationArm
from engine.experiments.language.compare import CompareTraining
from engine.experiments.language.decoding import Decoding
from engine.experiments.sampling import find_checkpoint
from engine.experiments.training.arm import Checkpoint, TrainingArm, TrainingResult, UpdateWindow
from engine.experiments.training.procedure import FirstOverLast
from engine.experiments.tuning.arm import TuningArm
from engine.models import find_subject
from engine.models.trained import find_trained
from engine.running.interim_looks import evaluate_in_looks
from engine.tests.experiments.test_planted_language import repeat
from engine.tests.planted import PlantedSubject, drive, make_inversion, make_run, tune_to_middle

Rng = np.random.Generator
SEEDS, ENOUGH = 20, 19
"""A 95 % interval may miss once in twenty."""

SMALLEST, LARGEST = "gpt2-mini-d64", "gpt2-mini-d256"
TEXT_REPETITION = 0.125


def make_trial(subject: str = LARGEST, units: Units = Units(full=60)) -> Trial:
    return Trial(subject=find_subject(subject), protocol=DIRECT, effort="full", units=units)


def make_training(first_over_last: Callable[[int], float], rng: Rng) -> TrainingResult:
    """A training whose first block changes as many times as much as its last as the law says of the window's end."""
    windows = tuple(
        UpdateWindow(until=until, updates=(9.0, ratio, 0.3, 1.0), gradients=(9.0, 1 / ratio, 0.3, 1.0))
        for until in range(400, 8001, 400)
        for ratio in [first_over_last(until) * float(np.exp(rng.normal(0, 0.05)))]
    )
    return TrainingResult(
        tokens=1000,
        checkpoints=(Checkpoint(step=8000, sha256="0" * 64, validation_loss=3.0),),
        curve_at=(8000,),
        curve=(3.0,),
        parts=("embedding", "block 1", "block 2", "block 3"),
        windows=windows,
        trigram_loss=3.3,
        text_repetition=TEXT_REPETITION,
        samples=("The name of the thing",),
    )


def falling(early: float, late: float) -> Callable[[int], float]:
    return lambda until: early if until <= 800 else late


@dataclass(frozen=True, kw_only=True)
class Case:
    procedure: Procedure
    criteria: tuple[Criterion, ...]
    answer: Callable[[Arm, Rng], Result]
    expected: Ruling
    units: Units = Units(full=60)


def train(law: Callable[[int], float]) -> Callable[[Arm, Rng], Result]:
    def answer(arm: Arm, rng: Rng) -> Result:
        assert isinstance(arm, TrainingArm)
        return make_training(law, rng)

    return answer


def write(rates: Callable[[str], float]) -> Callable[[Arm, Rng], Result]:
    """Continuations at a rate of repetition for each subject, without its seed; and trainings."""
    continued = repeat(lambda arm: rates(arm.subject.replace(":0", "").replace(":1", "").replace(":2", "")))
    return lambda arm, rng: make_training(falling(1, 1), rng) if isinstance(arm, TrainingArm) else continued(arm, rng)


UPDATES = FirstOverLast(of="updates")
HARDLY = (Below("late first / last", 0.5, because="planted"), Below("late / early", 1, because="planted"))
SIX = Units(full=6, wave=6)
GROWTH = CompareTraining(
    decodings=(
        ("smallest", Decoding(subject=SMALLEST, on="gpt2-mini-d256")),
        ("end", Decoding()),
        ("early", Decoding(checkpoint=300)),
        ("late", Decoding(checkpoint=6400)),
    ),
    differences=(("smallest − largest", "smallest", "end"), ("early − late", "early", "late")),
)
LESS = (
    Above("smallest − largest", 0, because="planted", on="gpt2-mini-d256"),
    Above("early − late", 0, because="planted"),
)


def by_age(smallest: float, early: float, late: float) -> Callable[[str], float]:
    return lambda name: {SMALLEST: smallest, f"{LARGEST}@300": early, f"{LARGEST}@6400": late}.get(name, 0.3)


S, R = Ruling.SUPPORTED, Ruling.REFUTED
CASES = {
    "the first block stands still late": Case(
        procedure=UPDATES, criteria=HARDLY, answer=train(falling(1.0, 0.2)), expected=S, units=SIX
    ),
    "the first block stood still from the start": Case(
        procedure=UPDATES, criteria=HARDLY, answer=train(falling(0.1, 0.2)), expected=R, units=SIX
    ),
    "the first block moves as the last": Case(
        procedure=UPDATES, criteria=HARDLY, answer=train(falling(1.5, 1.0)), expected=R, units=SIX
    ),
    "its gradient is another matter": Case(
        procedure=FirstOverLast(of="gradients"),
        criteria=HARDLY,
        answer=train(falling(1.0, 0.2)),
        expected=R,
        units=SIX,
    ),
    "size and training remove repetition": Case(
        procedure=GROWTH, criteria=LESS, answer=write(by_age(0.9, 0.9, 0.3)), expected=S
    ),
    "training adds repetition": Case(procedure=GROWTH, criteria=LESS, answer=write(by_age(0.9, 0.2, 0.9)), expected=R),
    "the larger repeats itself more": Case(
        procedure=GROWTH, criteria=LESS, answer=write(by_age(0.0, 0.9, 0.3)), expected=R
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_planted_claim_is_judged_as_planted(case: Case) -> None:
    claim = Claim(
        id="C90",
        section="Planted",
        sentence="Planted.",
        estimand="planted",
        document="",
        procedure=case.procedure,
        criteria=case.criteria,
        subjects=(LARGEST,),
        protocols=(DIRECT,),
    )
    trial, rulings = make_trial(units=case.units), []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        evidence = drive(evaluate_in_looks(claim, trial), lambda arm, rng=rng: case.answer(arm, rng))
        rulings.append(claim.judge(evidence.estimates, trial.scopes).ruling)
    assert rulings.count(case.expected) >= ENOUGH, rulings


def ask(procedure: Procedure, trial: Trial, answer: Callable[[Arm, Rng], Result]) -> tuple[list[Arm], Evidence]:
    asked: list[list[Arm]] = []
    evidence = drive(procedure.rounds(trial), lambda arm: answer(arm, np.random.default_rng(0)), asked=asked)
    return [arm for arms in asked for arm in arms], evidence


def test_updates_are_of_as_many_trainings_as_there_are_units_and_of_one_where_the_name_says_which() -> None:
    arms, evidence = ask(UPDATES, make_trial(units=SIX), train(falling(1.0, 0.2)))
    assert [arm.subject for arm in arms if isinstance(arm, TrainingArm)] == [f"{LARGEST}:{seed}" for seed in range(6)]
    assert evidence.estimates["late first / last"].value == pytest.approx(0.2, rel=0.2)
    assert evidence.estimates["early first / last"].value == pytest.approx(1.0, rel=0.2)
    arms, evidence = ask(UPDATES, make_trial(f"{LARGEST}:4", SIX), train(falling(1.0, 0.2)))
    assert [arm.subject for arm in arms if isinstance(arm, TrainingArm)] == [f"{LARGEST}:4"]
    assert evidence.estimates["late / early"].high == float("inf")  # one training has no interval
    assert ask(UPDATES, make_trial(units=Units(full=0)), train(falling(1, 1)))[1].estimates == {}


def test_a_prompt_goes_to_the_same_seed_at_every_age_and_size() -> None:
    arms, evidence = ask(GROWTH, make_trial(), write(by_age(0.9, 0.9, 0.3)))
    found: dict[str, dict[str, int]] = {}
    for arm in arms:
        if isinstance(arm, GenerationArm):
            subject = find_trained(arm.subject)
            assert subject is not None
            name, seed = arm.subject.split(":")
            at = seed.partition("@")[2]
            for unit in arm.units:
                found.setdefault(f"{name}@{at}", {})[unit.prompt] = int(seed.partition("@")[0])
    assert list(found) == [f"{SMALLEST}@", f"{LARGEST}@", f"{LARGEST}@300", f"{LARGEST}@6400"]
    first, *others = found.values()
    assert len(first) == 60
    assert set(first.values()) == {0, 1, 2}
    assert all(other == first for other in others)
    assert evidence.tables[-1].rows == (("windows of 64 tokens, kept from training", TEXT_REPETITION),)


def test_the_smallest_is_compared_with_the_largest_alone() -> None:
    arms, evidence = ask(GROWTH, make_trial("gpt2-mini-d128"), write(by_age(0.9, 0.9, 0.3)))
    assert set(evidence.estimates) == {"early − late"}
    assert not any(SMALLEST in arm.subject for arm in arms if isinstance(arm, GenerationArm))


def test_samples_of_checkpoints_are_inverted_with_their_weights_seed_by_seed() -> None:
    def at(step: int | None, on: str | None = None) -> Sample:
        sample = Sample(stack=Stack(blocks=1), iterations=100, read_at="N", checkpoint=step)
        return replace(sample, on=on)  # type: ignore[arg-type]

    lost = Difference(name="lost", more=("start", Recovery()), less=("end", Recovery()))
    of_xl = Difference(name="of xl", more=("start", Recovery()), less=("xl", Recovery()))
    procedure = Inversions(
        samples=(("start", at(0)), ("end", at(None)), ("xl", at(None, "gpt2-xl"))), estimates=(lost, of_xl)
    )
    trial = replace(make_trial(units=Units(full=12)), protocol=CONTROLLED)

    def answer(arm: Arm, rng: Rng) -> Result:
        if isinstance(arm, TuningArm):
            return tune_to_middle(arm)
        assert isinstance(arm, InversionArm)
        recovery = 1.0 if "@0" in arm.settings.subject else 0.25
        return make_inversion([make_run(unit, recovery=recovery) for unit in arm.units])

    arms, evidence = ask(procedure, trial, answer)
    named = [arm.settings.subject for arm in arms if isinstance(arm, InversionArm)]
    assert sorted(named) == sorted(f"{LARGEST}:{seed}{at}" for seed in range(3) for at in ("@0", ""))
    assert set(evidence.estimates) == {"lost"}  # a sample of another trial is not run
    assert evidence.estimates["lost"].value == pytest.approx(0.75)
    (along,) = [table for table in evidence.tables if table.kind == "checkpoints"]
    values = {0: 1.0, 8000: 0.25}
    assert along.rows == tuple(("recovery", step, seed, values[step]) for step in values for seed in range(3))


OF_A_CHECKPOINT = Inversions(samples=(("s", Sample(stack=Stack(blocks=1), checkpoint=0)),), estimates=())


@pytest.mark.parametrize("procedure", [UPDATES, GROWTH, OF_A_CHECKPOINT], ids=["updates", "growth", "inversions"])
def test_a_subject_without_checkpoints_is_refused_in_one_line(procedure: Procedure) -> None:
    refuse: Callable[[Trial], str | None] = procedure.refuse  # type: ignore[attr-defined]
    assert refuse(make_trial()) is None
    refused = refuse(replace(make_trial(), subject=PlantedSubject()))
    assert refused is not None
    assert "planted" in refused
    assert "gpt2-mini-d64" in refused
    with pytest.raises(UsageError, match="checkpoints of its training"):
        find_checkpoint(PlantedSubject(), 300)
    assert find_checkpoint(find_subject(SMALLEST), 300).id == f"{SMALLEST}@300"
