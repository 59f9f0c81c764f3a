"""Searches with a planted outcome: the verdict follows, searches are paired, and costs agree with a sum by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest

from engine.arms.arm import Arm, Result
from engine.arms.prompts import LONG
from engine.arms.protocol import DIRECT
from engine.arms.settings import Unit
from engine.arms.stacks import Stack
from engine.claim.claim import Claim
from engine.claim.criteria import Above, AtLeast, Criterion, Ruling
from engine.claim.procedure import Trial
from engine.claim.units import Units
from engine.errors import DeclarationError
from engine.experiments.recovery.arm import (
    MarginArm,
    MarginResult,
    MarginRun,
    RecoveryArm,
    RecoveryResult,
    RecoveryRun,
    TokenFound,
)
from engine.experiments.recovery.procedure import (
    CheckSpeedup,
    Distinguishable,
    MarginOverNoise,
    Recovered,
    RecoveryDifference,
    RecoveryRate,
    Searches,
)
from engine.experiments.recovery.searches import ABLATIONS, FULL_METHOD, JOINTLY, METHOD_STEPS, Search, SearchMethod
from engine.experiments.tuning.arm import TuningArm
from engine.running.interim_looks import evaluate_in_looks
from engine.statistics import Estimate, geometric_ratio
from engine.tests.planted import PlantedSubject, drive, tune_to_middle

Rng = np.random.Generator
Law = Callable[[Arm, Rng], Result]
TARGET = (1, 2, 3, 4)
BLOCK = Stack(blocks=1)
SIXTEEN = Units(standard=16, full=16, wave=16)
VOCAB, EPSILON = 1001, 1e-6


def make_found(token: int | None, *, same: int = 0, checks: int = 32, guesses: int = 1) -> TokenFound:
    return TokenFound(
        token=token, same=same, named=(9,) * min(same, 1), checks=checks, guesses=guesses, distance=1e-7, runner_up=0.2
    )


def make_recovery_run(unit: Unit, found: tuple[TokenFound, ...], *, ceiling: float = 1.0) -> RecoveryRun:
    return RecoveryRun(prompt=unit.prompt, seed=unit.seed, target=TARGET, found=found, ceiling=ceiling)


def make_result(runs: list[RecoveryRun]) -> RecoveryResult:
    return RecoveryResult(
        runs=tuple(runs),
        vocab=VOCAB,
        noise=(1e-7,) * len(TARGET),
        epsilon=EPSILON,
        equal_rows=((5, 7),),
        texts=dict(enumerate("abcdefghij")),
    )


def make_margins(arm: MarginArm, distance: float, lost: int = 0) -> MarginResult:
    """lost: of how many of the first units another token lies within ε."""
    runs = [
        MarginRun(
            prompt=unit.prompt,
            seed=unit.seed,
            position=2,
            token=3,
            own_distance=1e-7,
            runner_up=8,
            runner_up_distance=distance * (1 + 0.1 * (k % 3)),
            same=40 * (k < lost),
        )
        for k, unit in enumerate(arm.units)
    ]
    texts = dict(enumerate("abcdefghij"))
    return MarginResult(runs=tuple(runs), vocab=VOCAB, noise=(1e-7,) * 4, epsilon=EPSILON, texts=texts)


def plant(rate: Callable[[RecoveryArm], float], margin: float = 0.1, lost: int = 0) -> Law:
    """Each token of each unit is found at a rate."""

    def answer(arm: Arm, rng: Rng) -> Result:
        if isinstance(arm, TuningArm):
            return tune_to_middle(arm)
        if isinstance(arm, MarginArm):
            return make_margins(arm, margin, lost)
        assert isinstance(arm, RecoveryArm)
        return make_result(
            [
                make_recovery_run(u, tuple(make_found(i if rng.random() < rate(arm) else 9) for i in TARGET))
                for u in arm.units
            ]
        )

    return answer


def make_trial(**changes: object) -> Trial:
    plain = Trial(subject=PlantedSubject(), protocol=DIRECT, effort="standard", units=SIXTEEN)
    return replace(plain, **changes)  # type: ignore[arg-type]


def make_claim(procedure: Searches, criteria: tuple[Criterion, ...]) -> Claim:
    return Claim(
        id="A90",
        section="Planted",
        sentence="Planted.",
        estimand="planted",
        document="",
        procedure=procedure,
        criteria=criteria,
        subjects=("planted",),
        protocols=(DIRECT,),
        units=SIXTEEN,
    )


ONE = Searches(
    samples=(("one", Search(stack=BLOCK, margins=8)),),
    estimates=(
        Recovered(name="recovered", of="one"),
        RecoveryRate(name="rate", of="one"),
        MarginOverNoise(name="margin", of="one"),
        Distinguishable(name="distinguishable", of="one"),
        CheckSpeedup(name="fewer", of="one"),
    ),
)
PAIR = Searches(
    samples=(
        ("1 block: below", Search(stack=BLOCK, how=METHOD_STEPS[0][1])),
        ("1 block: above", Search(stack=BLOCK)),
    ),
    estimates=(RecoveryDifference(name="gain", more="1 block: above", less="1 block: below"),),
)
EVERY = (AtLeast("rate", 0.8, because="planted"),)
GAINS = (Above("gain", 0, because="planted"),)
FARTHER = (Above("margin", 1, because="planted"),)
EVERY_POSITION = (AtLeast("distinguishable", 0.6, because="planted"),)


@dataclass(frozen=True, kw_only=True)
class Case:
    procedure: Searches
    criteria: tuple[Criterion, ...]
    law: Law
    expected: Ruling


def by_method(below: float, above: float) -> Law:
    return plant(lambda arm: above if arm.method == FULL_METHOD.method else below)


S, R = Ruling.SUPPORTED, Ruling.REFUTED
CASES = {
    "all come back": Case(procedure=ONE, criteria=EVERY, law=plant(lambda arm: 1.0), expected=S),
    "few come back": Case(procedure=ONE, criteria=EVERY, law=plant(lambda arm: 0.5), expected=R),
    "the full method gains": Case(procedure=PAIR, criteria=GAINS, law=by_method(0.3, 0.9), expected=S),
    "the full method loses": Case(procedure=PAIR, criteria=GAINS, law=by_method(0.9, 0.3), expected=R),
    "the margin is above the noise": Case(
        procedure=ONE, criteria=FARTHER, law=plant(lambda arm: 1.0, margin=0.1), expected=S
    ),
    "every position is distinguishable": Case(
        procedure=ONE, criteria=EVERY_POSITION, law=plant(lambda arm: 1.0), expected=S
    ),
    "far on average, and every position is lost": Case(
        procedure=ONE, criteria=EVERY_POSITION, law=plant(lambda arm: 1.0, margin=0.1, lost=8), expected=R
    ),
    "one of eight positions is lost": Case(
        procedure=ONE,
        criteria=EVERY_POSITION,
        law=plant(lambda arm: 1.0, margin=0.1, lost=1),
        expected=Ruling.INCONCLUSIVE,
    ),
    "the margin is lost in the noise": Case(
        procedure=ONE, criteria=FARTHER, law=plant(lambda arm: 1.0, margin=EPSILON / 9), expected=R
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_planted_claim_is_judged_as_planted(case: Case) -> None:
    claim, trial = make_claim(case.procedure, case.criteria), make_trial()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        evidence = drive(evaluate_in_looks(claim, trial), lambda arm, rng=rng: case.law(arm, rng))
        assert claim.judge(evidence.estimates, trial.scopes).ruling is case.expected


def ask(procedure: Searches, trial: Trial, law: Law) -> tuple[list[list[Arm]], dict[str, Estimate]]:
    asked: list[list[Arm]] = []
    rng = np.random.default_rng(0)
    evidence = drive(procedure.rounds(trial), lambda arm: law(arm, rng), asked=asked)
    return asked, evidence.estimates


def test_steps_of_one_start_and_optimizer_share_their_tuning_and_differ_in_one_thing() -> None:
    procedure = Searches(
        samples=tuple((name, Search(stack=BLOCK, how=how)) for name, how in METHOD_STEPS), estimates=()
    )
    asked, _ = ask(procedure, make_trial(), plant(lambda arm: 1.0))
    tuned = {arm for arms in asked for arm in arms if isinstance(arm, TuningArm)}
    found = [arm for arms in asked for arm in arms if isinstance(arm, RecoveryArm)]
    # The page's, true positions, the start at scale, Adam, and Adam at one position.
    assert len({arm.settings for arm in tuned}) == 5
    kinds = {(arm.alone, arm.settings.first_tokens, len(arm.units)) for arm in tuned}
    assert kinds == {(False, None, 4), (True, 4, 4), (True, 4, 12)}  # twelve, once four have found the region
    assert len(found) == len(METHOD_STEPS)
    for one, other in pairwise(found):
        changed = [
            name
            for name in ("decoder", "token_by_token", "verify")
            if getattr(one.method, name) != getattr(other.method, name)
        ]
        changed += [
            name for name in ("optimizer", "protocol") if getattr(one.settings, name) != getattr(other.settings, name)
        ]
        assert len(changed) == 1, changed
    assert found[0].settings.protocol.positions == "first"
    for one, other in pairwise([arm.settings.protocol for arm in found]):
        parts = [
            (one.positions, other.positions),
            ((one.start_mean, one.start_std), (other.start_mean, other.start_std)),
        ]
        assert replace(one, name="", positions="true", start_mean=0.0, start_std=None) == replace(
            other, name="", positions="true", start_mean=0.0, start_std=None
        )
        assert sum(a != b for a, b in parts) <= 1
    assert {arm.units for arm in found} == {found[0].units}
    assert {arm.settings.iterations for arm in found} == {100}


@pytest.mark.parametrize(("name", "how"), ABLATIONS, ids=[name for name, _ in ABLATIONS])
def test_each_change_is_left_out_of_the_full_method_alone(name: str, how: SearchMethod) -> None:
    full = FULL_METHOD
    differing = [
        how.protocol.positions != full.protocol.positions,
        (how.protocol.start_mean, how.protocol.start_std) != (full.protocol.start_mean, full.protocol.start_std),
        how.optimizer != full.optimizer,
        how.method.decoder != full.method.decoder,
        how.method.token_by_token != full.method.token_by_token,
        how.method.verify != full.method.verify,
    ]
    assert sum(differing) == 1
    assert how.protocol.bound == full.protocol.bound


def test_random_weights_are_drawn_four_times_and_margins_shared_out() -> None:
    trial = make_trial(subject=PlantedSubject(is_trained=False))
    asked, estimates = ask(ONE, trial, plant(lambda arm: 1.0))
    found = [arm for arm in asked[-1] if isinstance(arm, RecoveryArm)]
    margins = [arm for arm in asked[-1] if isinstance(arm, MarginArm)]
    assert [len(arm.units) for arm in found] == [4] * 4
    assert len({arm.settings.source for arm in found}) == 4
    assert [len(arm.units) for arm in margins] == [2] * 4
    assert (estimates["recovered"].n, estimates["rate"].n, estimates["margin"].n) == (16, 16, 8)


def test_margins_are_clustered_by_the_weights_that_they_share() -> None:
    def answer(arm: Arm, rng: Rng) -> Result:
        if isinstance(arm, MarginArm):  # alike within a drawing of the weights, ten times as far in the next
            return make_margins(arm, 10.0 ** int(arm.settings.source[-1]))
        return plant(lambda _: 1.0)(arm, rng)

    _, estimates = ask(ONE, make_trial(subject=PlantedSubject(is_trained=False)), answer)
    ratios = [10.0**seed * (1 + 0.1 * k) / EPSILON for k in range(2) for seed in range(4)]
    expected = geometric_ratio("margin", ratios, [1.0] * 8, clusters=[0, 1, 2, 3] * 2, seed=0)
    found = estimates["margin"]
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_longer_sentences_stand_in_for_the_short_ones_unless_a_user_has_prompts() -> None:
    long = Searches(samples=(("long", Search(stack=BLOCK, long=True, units=Units(standard=8))),), estimates=())
    asked, _ = ask(long, make_trial(), plant(lambda arm: 1.0))
    prompts = [unit.prompt for arm in asked[-1] if isinstance(arm, RecoveryArm) for unit in arm.units]
    assert len(set(prompts)) == 8
    assert (prompts[0], prompts[-1]) == (LONG[0], LONG[-1])
    asked, _ = ask(long, make_trial(prompts=("My own words",)), plant(lambda arm: 1.0))
    prompts = [unit.prompt for arm in asked[-1] if isinstance(arm, RecoveryArm) for unit in arm.units]
    assert prompts == ["My own words"]


def test_fewer_checks_are_counted_against_half_of_the_vocabulary() -> None:
    _, estimates = ask(ONE, make_trial(), plant(lambda arm: 1.0))
    assert estimates["fewer"].value == pytest.approx((VOCAB + 1) / 2 / 32)
    assert estimates["fewer"].n == 16 * 4


UNIT = Unit(prompt="p", seed=0)
FOUR = tuple(make_found(i) for i in TARGET)


@pytest.mark.parametrize(
    ("found", "recovery", "determined"),
    [
        (FOUR, 1.0, True),
        ((make_found(9), *FOUR[1:]), 0.75, True),
        ((make_found(1, same=1), *FOUR[1:]), 0.75, False),
        ((*FOUR[:2], make_found(None)), 0.5, False),
        ((), 0.0, False),
    ],
    ids=["all", "another token", "two tokens alike", "nothing matched", "nothing found"],
)
def test_a_token_counts_when_it_alone_was_found(
    found: tuple[TokenFound, ...], recovery: float, determined: bool
) -> None:
    run = make_recovery_run(UNIT, found)
    assert (run.recovery, run.exact, run.determined) == (recovery, recovery == 1, determined)


def tabulate(law: Law, *, how: SearchMethod = FULL_METHOD) -> dict[str, list[dict[str, object]]]:
    procedure = Searches(samples=(("1 block: one", Search(stack=BLOCK, how=how)),), estimates=())
    rng = np.random.default_rng(0)
    evidence = drive(procedure.rounds(make_trial()), lambda arm: law(arm, rng))
    return {t.title: [dict(zip(t.columns, row, strict=True)) for row in t.rows] for t in evidence.tables}


def test_what_a_token_cost_is_added_up() -> None:
    def answer(arm: Arm, rng: Rng) -> Result:
        if isinstance(arm, TuningArm):
            return tune_to_middle(arm)
        assert isinstance(arm, RecoveryArm)
        # One guess of one start, and one of four more after it: 100 + 400 steps, at one position of four.
        hard = (make_found(1, checks=160, guesses=2), *FOUR[1:])
        return make_result([make_recovery_run(unit, hard) for unit in arm.units])

    (row,) = tabulate(answer)["Searches side by side"]
    assert row["group"] == "1 block"
    assert row["descent steps a token"] == (500 + 3 * 100) / 4
    assert row["median checks a token"] == 32
    assert row["mean checks a token"] == (160 + 3 * 32) / 4
    assert row["seconds a token"] == 1.5 / 64
    # Together, a second guess moves every token four times more.
    joint = SearchMethod(method=replace(JOINTLY, verify=True))
    (row,) = tabulate(answer, how=joint)["Searches side by side"]
    assert row["descent steps a token"] == 500


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ((make_found(9), *FOUR[1:]), "0: 'b', found 'j' instead"),
        ((*FOUR[:1], make_found(None, checks=1001)), "1: 'c', none of 1,001 candidates matched"),
        ((*FOUR[:2], make_found(3, same=40)), "2: 'd', 41 tokens match: 'd', 'j'"),
        (FOUR, ""),
    ],
    ids=["taken for another", "nothing matched", "several alike", "nothing failed"],
)
def test_the_first_position_that_failed_is_explained(found: tuple[TokenFound, ...], words: str) -> None:
    def answer(arm: Arm, rng: Rng) -> Result:
        if isinstance(arm, TuningArm):
            return tune_to_middle(arm)
        assert isinstance(arm, RecoveryArm)
        return make_result([make_recovery_run(unit, found) for unit in arm.units])

    tables = tabulate(answer)
    assert {row["first position that failed"] for row in tables["Recovery by prompt"]} == {words}
    assert [row["tokens"] for row in tables["Tokens with equal rows of W"]] == ["'f', 'h'"]
    assert next(iter(tables)) == "Tokens with equal rows of W"


def test_gains_are_taken_where_every_decoder_could_win() -> None:
    def answer(arm: Arm, rng: Rng) -> Result:
        if isinstance(arm, TuningArm):
            return tune_to_middle(arm)
        assert isinstance(arm, RecoveryArm)
        full = arm.method == FULL_METHOD.method
        found = FOUR if full else tuple(make_found(9) for _ in TARGET)
        return make_result(
            [make_recovery_run(u, found, ceiling=0.75 if k < 5 else 1.0) for k, u in enumerate(arm.units)]
        )

    _, estimates = ask(PAIR, make_trial(), answer)
    assert (estimates["gain"].n, estimates["gain"].value) == (11, 1.0)


def test_an_estimate_of_a_search_that_is_not_declared_is_refused() -> None:
    with pytest.raises(DeclarationError, match="Searches: got the search 'two', expected one of one"):
        Searches(samples=ONE.samples, estimates=(Recovered(name="x", of="two"),))


def test_what_is_not_run_at_an_effort_leaves_no_estimate() -> None:
    deep = Search(stack=BLOCK, units=Units(smoke=0, standard=0, full=8))
    samples, estimates = (*ONE.samples, ("deep", deep)), (*ONE.estimates, Recovered(name="d", of="deep"))
    procedure = Searches(samples=samples, estimates=estimates)
    _, found = ask(procedure, make_trial(), plant(lambda arm: 1.0))
    assert "d" not in found
    assert found["recovered"].value == 1.0
