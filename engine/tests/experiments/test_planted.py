"""Every procedure finds a planted truth and a planted falsehood, with synthetic measurements and no model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from engine.arms.arm import Arm, Result
from engine.arms.protocol import CONTROLLED
from engine.arms.settings import Unit
from engine.arms.stacks import SentenceNet, Stack
from engine.claim.claim import Claim
from engine.claim.criteria import Above, AtLeast, AtMost, Criterion, Ruling
from engine.claim.procedure import Procedure
from engine.claim.units import Units
from engine.experiments.embedding.arm import PseudoInverseArm, RoundTripArm
from engine.experiments.embedding.procedure import CompareInverses, RoundTrip
from engine.experiments.inversion.arm import InversionArm, InversionRun, Stop
from engine.experiments.inversion.estimators import Difference, HitRatio, Rate
from engine.experiments.inversion.procedure import Inversions
from engine.experiments.inversion.readings import Exact, Recovery
from engine.experiments.inversion.samples import Sample
from engine.experiments.tuning.arm import TuningArm
from engine.running.interim_looks import evaluate_in_looks
from engine.tests.planted import (
    PlantedSubject,
    drive,
    make_inverse,
    make_inversion,
    make_round_trip,
    make_run,
    make_trial,
    tune_to_middle,
)

SEEDS = 20
ENOUGH = 19
"""A 95 % interval may miss once in twenty."""

BLOCK = Sample(stack=Stack(blocks=1), iterations=1000, read_at="N")
RANDOM = replace(BLOCK, weights="random")
HEAD = Sample(stack=Stack(blocks=1, head=True), iterations=1000)
OPEN = Sample(stack=Stack(blocks=1), iterations=1000)
NET = Sample(stack=SentenceNet(tokens=4), iterations=100, read_at="N", first_tokens=4)
NARROW = replace(NET, stack=SentenceNet(tokens=4, narrow=True))
LONGER = replace(NARROW, iterations=1000, units=Units(smoke=0, standard=12, full=12))

Rng = np.random.Generator
Law = Callable[[Arm, Rng], Result]


def runs(draw_run: Callable[[InversionArm, Unit, Rng], InversionRun]) -> Law:
    """A law that draws every run of an inversion by itself, and tunes to the middle of the grid."""

    def answer(arm: Arm, rng: Rng) -> Result:
        if isinstance(arm, TuningArm):
            return tune_to_middle(arm)
        assert isinstance(arm, InversionArm)
        return make_inversion([draw_run(arm, unit, rng) for unit in arm.units])

    return answer


def exact_at(rates: Callable[[InversionArm], float]) -> Law:
    """Runs that are exact at a rate, one token off otherwise."""
    return runs(lambda arm, unit, rng: make_run(unit, hit=10, recovery=1.0 if rng.random() < rates(arm) else 0.75))


def recovered(untrained: float, trained: float) -> Law:
    """Runs that get some of four tokens back, more or fewer by whose weights they have."""

    def draw_run(arm: InversionArm, unit: Unit, rng: Rng) -> InversionRun:
        rate = untrained if "untrained" in arm.settings.subject else trained
        return make_run(unit, recovery=rng.binomial(4, rate) / 4)

    return runs(draw_run)


def hit_after(slow: float, fast: float) -> Law:
    """Log-normal hit times around two medians, censored at the cap."""

    def draw_run(arm: InversionArm, unit: Unit, rng: Rng) -> InversionRun:
        stack, cap = arm.settings.stack, arm.settings.iterations
        assert isinstance(stack, Stack)
        time = math.ceil(math.exp(rng.normal(math.log(slow if stack.head else fast), 0.3)))
        return make_run(unit, hit=time if time <= cap else None)

    return runs(draw_run)


def lost_with_head(fast: float) -> Law:
    """Every run through the head diverges."""
    others = hit_after(fast, fast)

    def answer(arm: Arm, rng: Rng) -> Result:
        if not isinstance(arm, InversionArm) or arm.settings.stack == OPEN.stack:
            return others(arm, rng)
        return make_inversion([make_run(unit, stop=Stop.DIVERGED) for unit in arm.units])

    return answer


def forget(failures: Callable[[Rng], int]) -> Law:
    def answer(arm: Arm, rng: Rng) -> Result:
        assert isinstance(arm, RoundTripArm)
        return make_round_trip(failures(rng))

    return answer


def invert(difference: float, *, rank: int = 16, excess: float = 1.0) -> Law:
    """One random matrix in five is like this, the embedding too; the others are as they should be."""

    def answer(arm: Arm, rng: Rng) -> Result:
        assert isinstance(arm, PseudoInverseArm)
        if arm.matrix != "embedding":
            return make_inverse(difference=1e-9 * rng.random())
        return make_inverse(difference=difference * (0.5 + rng.random()), rank=rank, excess=excess)

    return answer


EXACT = Inversions(samples=(("net", NET),), estimates=(Rate(name="exact rate (net)", of="net", reading=Exact()),))
BELOW = Inversions(
    samples=(("wide", NET), ("narrow", NARROW), ("longer", LONGER)),
    estimates=(
        Rate(name="exact rate (narrow)", of="narrow", reading=Exact()),
        Rate(name="exact rate (longer)", of="longer", reading=Exact()),
        Difference(name="wide − narrow", more=("wide", Exact()), less=("narrow", Exact())),
    ),
)
HITS = Inversions(
    samples=(("head", HEAD), ("open", OPEN)), estimates=(HitRatio(name="ratio", slow="head", fast="open"),)
)
RECOVERY = Inversions(
    samples=(("untrained", RANDOM), ("trained", BLOCK)),
    estimates=(Difference(name="difference", more=("untrained", Recovery()), less=("trained", Recovery())),),
)
INVERSES = CompareInverses()

AT_LEAST_EIGHT_TENTHS = (AtLeast("exact rate (net)", 0.8, because="planted"),)
BELOW_HALF = (
    AtMost("exact rate (narrow)", 0.5, because="planted"),
    AtMost("exact rate (longer)", 0.5, because="planted"),
    Above("wide − narrow", 0, because="planted"),
)
HUNDREDFOLD = (
    Above("ratio", 1, because="planted", role="direction"),
    Above("ratio", 100, because="planted", role="magnitude"),
)
HALF_MORE = (AtLeast("difference", 0.5, because="planted"),)
ALL = (AtLeast("share recovered", 1, because="planted"),)
ONE_INVERSE = (
    AtMost("difference / tolerance, W", 1, because="planted"),
    AtMost("difference / tolerance, random", 1, because="planted"),
    AtLeast("rank / d_model", 1, because="planted"),
    AtLeast("random ranks found", 1, because="planted"),
    AtMost("norm / other solutions", 1 + 1e-12, because="planted"),
)


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A world, what is claimed of it, and what should be ruled."""

    name: str
    procedure: Procedure
    criteria: tuple[Criterion, ...]
    law: Law
    ruling: Ruling
    units: int = 36


def is_narrow(arm: InversionArm) -> bool:
    return isinstance(arm.settings.stack, SentenceNet) and arm.settings.stack.narrow


TRUE, PARTLY, FALSE = Ruling.SUPPORTED, Ruling.PARTLY, Ruling.REFUTED
WORLDS = [
    Planted(
        name="exact rate, 199 in 200 exact",
        procedure=EXACT,
        criteria=AT_LEAST_EIGHT_TENTHS,
        law=exact_at(lambda _: 0.995),
        ruling=TRUE,
    ),
    Planted(
        name="exact rate, 40 in 100 exact",
        procedure=EXACT,
        criteria=AT_LEAST_EIGHT_TENTHS,
        law=exact_at(lambda _: 0.4),
        ruling=FALSE,
    ),
    Planted(
        name="exact rates, the narrow net is worse",
        procedure=BELOW,
        criteria=BELOW_HALF,
        # Two of the longer one's twelve units do not rule a half out any more: at 0.02 that is seen in 2 % of worlds.
        law=exact_at(lambda arm: 0.02 if is_narrow(arm) else 0.95),
        ruling=TRUE,
    ),
    Planted(
        name="exact rates, the narrow net is as good",
        procedure=BELOW,
        criteria=BELOW_HALF,
        law=exact_at(lambda _: 0.95),
        ruling=FALSE,
    ),
    Planted(
        name="exact rates, longer makes it exact",
        procedure=BELOW,
        criteria=BELOW_HALF,
        law=exact_at(lambda arm: 0.05 if is_narrow(arm) and arm.settings.iterations == 100 else 0.98),
        ruling=FALSE,
    ),
    Planted(
        name="hits, 400 times as many",
        procedure=HITS,
        criteria=HUNDREDFOLD,
        law=hit_after(800, 2),
        ruling=TRUE,
    ),
    Planted(
        name="hits, never within the cap",
        procedure=HITS,
        criteria=HUNDREDFOLD,
        law=hit_after(1e9, 3),
        ruling=TRUE,
    ),
    Planted(
        name="hits, lost with the head",
        procedure=HITS,
        criteria=HUNDREDFOLD,
        law=lost_with_head(3),
        ruling=TRUE,
    ),
    Planted(
        name="hits, 20 times as many",
        procedure=HITS,
        criteria=HUNDREDFOLD,
        law=hit_after(400, 20),
        ruling=PARTLY,
    ),
    Planted(
        name="hits, half as many",
        procedure=HITS,
        criteria=HUNDREDFOLD,
        law=hit_after(50, 100),
        ruling=FALSE,
    ),
    Planted(
        name="recovery, tokens back when untrained only",
        procedure=RECOVERY,
        criteria=HALF_MORE,
        law=recovered(0.97, 0.05),
        ruling=TRUE,
    ),
    Planted(
        name="recovery, tokens back from both",
        procedure=RECOVERY,
        criteria=HALF_MORE,
        law=recovered(0.9, 0.8),
        ruling=FALSE,
    ),
    Planted(
        name="RoundTrip, every token",
        procedure=RoundTrip(),
        criteria=ALL,
        law=forget(lambda _: 0),
        ruling=TRUE,
    ),
    Planted(
        name="RoundTrip, a few lost",
        procedure=RoundTrip(),
        criteria=ALL,
        law=forget(lambda rng: int(rng.integers(1, 4))),
        ruling=FALSE,
    ),
    Planted(
        name="CompareInverses, one inverse",
        procedure=INVERSES,
        criteria=ONE_INVERSE,
        law=invert(1e-8),
        ruling=TRUE,
    ),
    Planted(
        name="CompareInverses, two inverses",
        procedure=INVERSES,
        criteria=ONE_INVERSE,
        law=invert(1e-2),
        ruling=FALSE,
    ),
    Planted(
        name="CompareInverses, a rank short",
        procedure=INVERSES,
        criteria=ONE_INVERSE,
        law=invert(1e-8, rank=15),
        ruling=FALSE,
    ),
    Planted(
        name="CompareInverses, not the least norm",
        procedure=INVERSES,
        criteria=ONE_INVERSE,
        law=invert(1e-8, excess=1.01),
        ruling=FALSE,
    ),
]


def make_claim(procedure: Procedure, criteria: tuple[Criterion, ...]) -> Claim:
    return Claim(
        id="T02",
        section="none",
        sentence="A sentence.",
        estimand="a number",
        document="nothing",
        procedure=procedure,
        criteria=criteria,
        subjects=("planted",),
        protocols=(CONTROLLED,),
    )


def rule(world: Planted, seed: int) -> Ruling:
    rng = np.random.default_rng(seed)
    trial = make_trial(units=Units(standard=world.units))
    claim = make_claim(world.procedure, world.criteria)
    evidence = drive(evaluate_in_looks(claim, trial), lambda arm: world.law(arm, rng))
    return claim.judge(evidence.estimates).ruling


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_a_planted_world_is_ruled_rightly_nearly_always(world: Planted) -> None:
    ruled = [rule(world, seed) for seed in range(SEEDS)]
    assert ruled.count(world.ruling) >= ENOUGH, ruled


WRONG = {TRUE: {FALSE, PARTLY}, FALSE: {TRUE, PARTLY}, PARTLY: {TRUE, FALSE}}


@pytest.mark.parametrize(
    "world", [w for w in WORLDS if w.criteria not in (ALL, ONE_INVERSE)], ids=lambda world: world.name
)
def test_two_units_decide_nothing_wrongly(world: Planted) -> None:
    small = replace(world, units=2)
    ruled = [rule(small, seed) for seed in range(SEEDS)]
    assert sum(ruling in WRONG[world.ruling] for ruling in ruled) <= SEEDS - ENOUGH, ruled


@pytest.mark.parametrize(
    ("world", "edge"),
    [
        (replace(WORLDS[0], law=exact_at(lambda _: 0.8)), "0.8"),
        (replace(WORLDS[5], law=hit_after(900, 9)), "100"),
        (replace(WORLDS[10], law=recovered(0.75, 0.25)), "0.5"),
    ],
    ids=["exact rate", "hits", "recovery"],
)
def test_a_world_on_the_edge_is_mostly_left_open(world: Planted, edge: str) -> None:
    # On the edge either ruling is an error, and each is made at most once in forty; three of twenty leave room.
    ruled = [rule(world, seed) for seed in range(SEEDS)]
    assert ruled.count(Ruling.INCONCLUSIVE) >= SEEDS - 3, (edge, ruled)


@pytest.mark.parametrize(
    ("procedure", "criteria"),
    [(EXACT, AT_LEAST_EIGHT_TENTHS), (HITS, HUNDREDFOLD), (RECOVERY, HALF_MORE)],
    ids=["exact rate", "hits", "recovery"],
)
def test_a_row_that_is_left_out_at_an_effort_was_not_run(procedure: Procedure, criteria: tuple[Criterion, ...]) -> None:
    trial = make_trial("standard", units=Units(smoke=2, standard=0, full=12))
    evidence = drive(procedure.rounds(trial), lambda _: pytest.fail("an arm was asked for"))
    assert make_claim(procedure, criteria).judge(evidence.estimates).ruling is Ruling.NOT_RUN


@pytest.mark.parametrize(("effort", "drawn"), [("smoke", 1), ("standard", 4), ("full", 4)])
@pytest.mark.parametrize("procedure", [RoundTrip(), INVERSES], ids=lambda procedure: type(procedure).__name__)
def test_an_untrained_subject_is_drawn_four_times(procedure: Procedure, effort: str, drawn: int) -> None:
    trial = make_trial(effort)  # pyright: ignore[reportArgumentType]
    trial = replace(trial, subject=PlantedSubject(is_trained=False))
    asked: list[list[Arm]] = []
    rng = np.random.default_rng(0)
    law: Law = forget(lambda _: 1) if isinstance(procedure, RoundTrip) else invert(1e-8)
    evidence = drive(procedure.rounds(trial), lambda arm: law(arm, rng), asked=asked)
    own = [arm for arm in asked[0] if isinstance(arm, RoundTripArm | PseudoInverseArm) and arm.subject != "none"]
    assert [arm.subject for arm in own] == [f"planted-untrained:{seed}" for seed in range(drawn)]
    if isinstance(procedure, RoundTrip):
        share = evidence.estimates["share recovered"]
        assert (share.value, share.n) == (0.999, 1000 * drawn)


def test_one_drawing_a_rank_short_is_enough_to_refute() -> None:
    trial = replace(make_trial(), subject=PlantedSubject(is_trained=False))

    def answer(arm: Arm) -> Result:
        assert isinstance(arm, PseudoInverseArm)
        return make_inverse(rank=15 if arm.subject == "planted-untrained:2" else 16)

    evidence = drive(INVERSES.rounds(trial), answer)
    assert evidence.estimates["rank / d_model"].value == 15 / 16
    assert make_claim(INVERSES, ONE_INVERSE).judge(evidence.estimates).ruling is Ruling.REFUTED
