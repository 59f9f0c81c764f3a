"""Claims about the model as users run it: a planted truth and a planted falsehood, each found, and what is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from engine.arms.arm import Arm, Result
from engine.arms.protocol import DIRECT
from engine.arms.settings import Unit
from engine.claim.claim import Claim
from engine.claim.criteria import Above, AtLeast, Criterion, Ruling
from engine.claim.procedure import Procedure, Trial
from engine.claim.units import Units
from engine.experiments.language.arm import Continuation, GenerationArm, GenerationResult, NextTokenArm, NextTokenResult
from engine.experiments.language.compare import CompareDecoding
from engine.experiments.language.procedure import NextTokenIs, ShiftAgreement
from engine.methods.repetition import repetition
from engine.models import find_subject
from engine.running.interim_looks import evaluate_in_looks
from engine.tests.planted import TWELVE, PlantedSubject, drive

SEEDS = 20
ENOUGH = 19
"""A 95 % interval may miss once in twenty."""

BLUE, GREY, OTHER = 1, 2, 3
TEXTS = {BLUE: " blue", GREY: " grey", OTHER: "blue", 4: ".", 5: "\n"}
Rng = np.random.Generator
Law = Callable[[Arm, Rng], Result]


def kept(rate: float, spread: float = 0.15) -> Law:
    """Shifts that keep the token at each prompt's own rate, around a common one."""

    def answer(arm: Arm, rng: Rng) -> Result:
        assert isinstance(arm, NextTokenArm)
        rows = []
        for unit in arm.units:
            own = float(np.clip(rng.normal(rate, spread), 0, 1))
            said = tuple(BLUE if rng.random() < own else GREY for _ in range(arm.draws))
            rows.append(continue_with(unit, BLUE, said))
        return NextTokenResult(rows=tuple(rows), texts=TEXTS)

    return answer


def continue_with(unit: Unit, first: int, shifted: tuple[int, ...] = ()) -> Continuation:
    top = (first, *(i for i in TEXTS if i != first))
    return Continuation(
        prompt=unit.prompt, seed=unit.seed, top=top, probabilities=(0.5, 0.2, 0.1, 0.1, 0.1), shifted=shifted
    )


def say(token: int) -> Law:
    def answer(arm: Arm, rng: Rng) -> Result:
        assert isinstance(arm, NextTokenArm)
        assert arm.draws == 0
        return NextTokenResult(rows=tuple(continue_with(unit, token) for unit in arm.units), texts=TEXTS)

    return answer


def repeat(rates: Callable[[GenerationArm], float]) -> Law:
    """Continuations that go on with what they said twelve tokens before, at a rate, else with a token of their own."""

    def answer(arm: Arm, rng: Rng) -> Result:
        assert isinstance(arm, GenerationArm)
        tokens = [write(rng, rates(arm), arm.new_tokens) for _ in arm.units]
        prompts = tuple(unit.prompt for unit in arm.units)
        return GenerationResult(prompts=prompts, tokens=tuple(tokens), text=tuple(map(str, tokens)))

    return answer


def write(rng: Rng, rate: float, length: int) -> tuple[int, ...]:
    """Runs of twelve tokens, each new or the first one again."""
    first = list(range(12))
    found: list[int] = list(first)
    for fresh in range(1, -(-length // 12)):
        found += first if rng.random() < rate else [100 * fresh + i for i in range(12)]
    return tuple(found[:length])


def by_decoding(greedy: float, beam: float, base: float = 0.5) -> Law:
    return repeat(lambda arm: base if arm.subject == "gpt2" else greedy if arm.beams == 1 else beam)


@dataclass(frozen=True, kw_only=True)
class LargestSubject(PlantedSubject):
    """Stands where gpt2-xl does."""

    id: str = "gpt2-xl"


SMALL, LARGE = PlantedSubject(), LargestSubject()
SHIFT, WORD, DECODING = ShiftAgreement(), NextTokenIs(prompt="The sky is", word=" blue"), CompareDecoding()
TYPICALLY = (AtLeast("agreement", 0.5, because="planted"),)
THE_WORD = (AtLeast("next token is blue", 1, because="planted"),)
EASED = (
    Above("greedy − beam", 0, because="planted"),
    Above("base − xl", 0, because="planted", on="gpt2-xl"),
)


def make_trial(subject: PlantedSubject = SMALL, units: Units = TWELVE, **options: object) -> Trial:
    plain = Trial(subject=subject, protocol=DIRECT, effort="standard", units=units)
    return replace(plain, **options)  # type: ignore[arg-type]


def make_claim(procedure: Procedure, criteria: tuple[Criterion, ...]) -> Claim:
    return Claim(
        id="C90",
        section="Planted",
        sentence="Planted.",
        estimand="planted",
        document="",
        procedure=procedure,
        criteria=criteria,
        subjects=("planted",),
        protocols=(DIRECT,),
    )


@dataclass(frozen=True, kw_only=True)
class Case:
    procedure: Procedure
    criteria: tuple[Criterion, ...]
    law: Law
    expected: Ruling
    subject: PlantedSubject = SMALL
    units: Units = Units()


S, R = Ruling.SUPPORTED, Ruling.REFUTED
CASES = {
    "a shift mostly keeps the token": Case(procedure=SHIFT, criteria=TYPICALLY, law=kept(0.8), expected=S),
    "a shift mostly changes the token": Case(procedure=SHIFT, criteria=TYPICALLY, law=kept(0.2), expected=R),
    "the word comes": Case(procedure=WORD, criteria=THE_WORD, law=say(BLUE), expected=S),
    "another word comes": Case(procedure=WORD, criteria=THE_WORD, law=say(GREY), expected=R),
    "the word without its space comes": Case(procedure=WORD, criteria=THE_WORD, law=say(OTHER), expected=R),
    "beams ease repetition": Case(procedure=DECODING, criteria=EASED, law=by_decoding(0.7, 0.1), expected=S),
    "beams make it worse": Case(procedure=DECODING, criteria=EASED, law=by_decoding(0.1, 0.7), expected=R),
    "beams ease it and the larger repeats less": Case(
        procedure=DECODING, criteria=EASED, law=by_decoding(0.5, 0.0, base=1.0), expected=S, subject=LARGE
    ),
    "beams ease it and the larger repeats more": Case(
        procedure=DECODING, criteria=EASED, law=by_decoding(0.8, 0.1, base=0.2), expected=R, subject=LARGE
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_planted_claim_is_judged_as_planted(case: Case) -> None:
    claim, trial = make_claim(case.procedure, case.criteria), make_trial(case.subject, case.units)
    rulings = []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        evidence = drive(evaluate_in_looks(claim, trial), lambda arm, rng=rng: case.law(arm, rng))
        rulings.append(claim.judge(evidence.estimates, trial.scopes).ruling)
    assert rulings.count(case.expected) >= ENOUGH, rulings


def ask(procedure: Procedure, trial: Trial, law: Law) -> tuple[list[Arm], dict[str, float]]:
    """The arms of the only round, and the estimates' values."""
    asked: list[list[Arm]] = []
    evidence = drive(procedure.rounds(trial), lambda arm: law(arm, np.random.default_rng(0)), asked=asked)
    (arms,) = asked
    return arms, {name: estimate.value for name, estimate in evidence.estimates.items()}


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ((1, 2, 3), None),
        ((), None),
        ((1, 2, 3, 4), 0.0),
        ((7, 7, 7, 7, 7, 7), 1 - 1 / 3),  # three 4-grams, all the same
        ((1, 2, 3, 4, 1, 2, 3, 4), 1 - 4 / 5),  # 1234 2341 3412 4123 1234
    ],
)
def test_repetition_is_the_share_of_4_grams_that_were_there_before(
    tokens: tuple[int, ...], expected: float | None
) -> None:
    assert repetition(tokens) == (None if expected is None else pytest.approx(expected, rel=1e-15))


def test_continuations_too_short_for_a_4_gram_are_left_out_and_counted() -> None:
    def answer(arm: Arm, rng: Rng) -> Result:
        assert isinstance(arm, GenerationArm)
        rows = [(1, 2, 3)] * 2 + [(7,) * 8] * (len(arm.units) - 2) if arm.beams == 1 else [(1, 2, 3, 4)] * 12
        return GenerationResult(
            prompts=tuple(u.prompt for u in arm.units), tokens=tuple(rows), text=("…" * 300,) * len(rows)
        )

    evidence = drive(DECODING.rounds(make_trial()), lambda arm: answer(arm, np.random.default_rng(0)))
    eased = evidence.estimates["greedy − beam"]
    assert (eased.n, eased.value) == (10, 1 - 1 / 5)  # five 4-grams of one token, against none that repeats
    counts, prompts, texts = evidence.tables
    assert [row[:4] for row in counts.rows] == [("greedy", pytest.approx(1 - 1 / 5), 10, 2), ("beam", 0.0, 12, 0)]
    assert prompts.rows[0][1:] == (None, 0.0)
    assert max(len(str(row[2])) for row in texts.rows) == 161


def test_only_the_largest_subject_is_compared_with_the_base() -> None:
    for subject, names, runs in (
        (SMALL, {"greedy − beam"}, [("planted", 1), ("planted", 5)]),
        (LARGE, {"greedy − beam", "base − xl"}, [("gpt2-xl", 1), ("gpt2-xl", 5), ("gpt2", 1)]),
    ):
        arms, values = ask(DECODING, make_trial(subject), by_decoding(0.5, 0.5))
        assert set(values) == names
        assert [(arm.subject, arm.beams) for arm in arms if isinstance(arm, GenerationArm)] == runs


def test_every_arm_is_a_wave_and_a_prompt_is_continued_once() -> None:
    arms, _ = ask(DECODING, make_trial(effort="full"), by_decoding(0.5, 0.5))
    waves = [arm.units for arm in arms if isinstance(arm, GenerationArm)]
    assert [len(wave) for wave in waves] == [12] * 6
    assert waves[:3] == waves[3:]
    again, _ = ask(DECODING, make_trial(effort="full", starts=2), by_decoding(0.5, 0.5))
    assert again == arms


def test_a_users_prompts_are_shifted_and_continued() -> None:
    own = make_trial(prompts=("My own words", "Others of mine"), starts=2)
    shifted, _ = ask(SHIFT, own, kept(0.8))
    continued, _ = ask(DECODING, own, by_decoding(0.5, 0.5))
    prompts = [[u.prompt for arm in arms for u in arm.units] for arms in (shifted, continued)]  # type: ignore[union-attr]
    assert prompts == [list(own.prompts) * 2, list(own.prompts) * 2]


@pytest.mark.parametrize(
    ("prompts", "judged"),
    [((), True), (("The sky is",), True), (("My own words",), False), (("The sky is", "My own words"), False)],
    ids=["none", "its own", "another", "its own and another"],
)
def test_a_claim_about_one_sentence_is_judged_on_no_other(prompts: tuple[str, ...], judged: bool) -> None:
    refusal = WORD.refuse(make_trial(prompts=prompts))
    assert (refusal is None) == judged
    assert refusal is None or "'The sky is' alone" in refusal


def test_other_next_tokens_are_listed_with_their_counts() -> None:
    evidence = drive(
        SHIFT.rounds(make_trial(units=Units(standard=1))),
        lambda arm: NextTokenResult(
            rows=(continue_with(arm.units[0], BLUE, (BLUE, GREY, 4, GREY, BLUE, BLUE, BLUE, BLUE)),),  # type: ignore[union-attr]
            texts=TEXTS,
        ),
    )
    (table,) = evidence.tables
    assert table.rows[0][2:] == ("' blue'", 0.5, 5 / 8, "' grey' × 2, '.' × 1")


@pytest.mark.parametrize(
    ("name", "judged"), [("gpt2-xl", True), ("gpt2-large", False), ("smollm2-135m", False), ("gpt2-xl-int8", False)]
)
def test_the_size_criterion_is_judged_on_the_largest_subject_alone(name: str, judged: bool) -> None:
    trial = Trial(subject=find_subject(name), protocol=DIRECT, effort="smoke", units=Units())
    findings = make_claim(DECODING, EASED).judge({}, trial.scopes).findings
    assert ("base − xl" in [finding.criterion.estimate for finding in findings]) == judged
