"""Every way to read a descent finds a planted truth and a planted falsehood, with synthetic runs and no model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from engine.arms.arm import Arm, Result
from engine.arms.protocol import CONTROLLED
from engine.arms.settings import Unit
from engine.arms.stacks import WHOLE, Stack, TokenNet
from engine.claim.claim import Claim
from engine.claim.criteria import Above, AtLeast, AtMost, Below, Criterion, Ruling, Within
from engine.claim.units import Units
from engine.errors import DeclarationError
from engine.experiments.embedding.arm import VocabularyArm, VocabularyResult
from engine.experiments.inversion.arm import InversionArm, InversionResult, InversionRun, NextTokens, Snapshot, Stop
from engine.experiments.inversion.estimators import (
    Difference,
    Estimator,
    GeometricMean,
    HitRate,
    HitRatio,
    HitWidth,
    Mean,
    PooledMean,
    Rate,
    Ratio,
)
from engine.experiments.inversion.procedure import Inversions
from engine.experiments.inversion.readings import (
    Complement,
    DecodesTo,
    Exact,
    InputDistance,
    InsideBound,
    InTopFive,
    LastRecovered,
    LogFrequency,
    OutputDistance,
    Recovery,
    Repetition,
    SameNextToken,
    TopFiveOverlap,
)
from engine.experiments.inversion.samples import Sample
from engine.experiments.tuning.arm import TuningArm
from engine.tests.planted import drive, make_run, make_trial, tune_to_middle

SEEDS, ENOUGH = 20, 19
TOKENS = 5
Rng = np.random.Generator
Draw = Callable[[InversionArm, Unit, Rng], InversionRun]

BLOCK = Sample(stack=Stack(blocks=1), iterations=100, read_at="N")
OTHER = replace(BLOCK, stack=Stack(blocks=2))
WIDTHS = [(k, factor) for k in (1, 2) for factor in (0.25, 0.5, 1.0, 2.0, 4.0)]
HITS = Sample(stack=Stack(blocks=1), iterations=100)
WORDS = {1: " the", 2: " and", 3: " of", 4: " elsius", 5: " zzyx", 6: "ing", 7: " qwv", 8: " people"}


def make_top(rng: Rng, *, hold: float, own: int) -> tuple[int, ...]:
    """Five tokens at a position that hold `own` at this rate, and no other of the five around it."""
    first = own if rng.random() < hold else own + 1000
    return (own + 2000, first, *range(own + 3000, own + 3003))


def make_spread(
    unit: Unit,
    rng: Rng,
    *,
    inside: float = 0.0,
    overlap: float = 0.0,
    repeat: tuple[float, float] = (0.0, 0.0),
    words: tuple[int, ...] = (),
    last: bool = False,
    agree: float = 0.0,
    agree_at_start: float = 0.0,
    agree_shifted: float = 0.0,
    l2: float = 1.0,
    distance: float = 1.0,
    recovery: float = 0.0,
) -> InversionRun:
    """A run of five tokens that is as told: shares are rates at which each position, row or probe is so."""
    target = tuple(10 * k + 100 for k in range(TOKENS))
    tops: list[tuple[int, ...]] = []
    for k, own in enumerate(target):
        top = list(make_top(rng, hold=inside, own=own))
        if words:
            top[0] = int(rng.choice(words))
        if last and k == TOKENS - 1:
            top[0] = own
        tops.append(tuple(top))

    def rows(rate: float) -> tuple[tuple[int, ...], ...]:
        """Five rows of five tokens in which each position after the first repeats the first at a rate."""
        cells = [[k * 10 + row + 5000 if rng.random() >= rate else row + 5000 for row in range(5)] for k in range(5)]
        return tuple(map(tuple, cells))

    end = rows(repeat[1]) if any(repeat) else tuple(tops)
    start = rows(repeat[0]) if any(repeat) else tuple(tops)
    own_top = tuple(tuple(i if rng.random() < overlap else i + 9000 for i in top) for top in tops)

    def said(rate: float) -> int:
        return 1 if rng.random() < rate else 2

    return replace(
        make_run(unit, recovery=recovery, final_distance=distance),
        target=target,
        final_l2=l2,
        target_top=own_top,
        snapshots=(
            Snapshot(iteration=0, distance=1.0, l2=1.0, recovery=0.0, top=start),
            Snapshot(iteration=100, distance=distance, l2=l2, recovery=recovery, top=end),
        ),
        next_tokens=NextTokens(
            target=1, start=said(agree_at_start), final=said(agree), decoded=2, shifted=said(agree_shifted)
        ),
    )


def one(estimate: Estimator) -> Inversions:
    return Inversions(samples=(("one", BLOCK), ("two", OTHER)), estimates=(estimate,))


def blocks(arm: InversionArm) -> int:
    assert isinstance(arm.settings.stack, Stack)
    assert isinstance(arm.settings.stack.blocks, int)
    return arm.settings.stack.blocks


@dataclass(frozen=True, kw_only=True)
class World:
    name: str
    procedure: Inversions
    criterion: Criterion
    true: Draw
    false: Draw


UNRECOVERED = (Complement(LastRecovered()),)


def odd(unit: Unit) -> bool:
    """Whether a unit is of the third that must not count."""
    return unit.seed % 3 == 0


def jitter(rng: Rng, middle: float, spread: float = 0.2) -> float:
    return math.exp(rng.normal(math.log(middle), spread))


WORLDS = [
    World(
        name="HitRate",
        procedure=Inversions(samples=(("one", HITS),), estimates=(HitRate(name="x", of="one"),)),
        criterion=AtLeast("x", 0.9, because="planted"),
        true=lambda arm, unit, rng: make_run(unit, hit=7),
        false=lambda arm, unit, rng: make_run(unit, hit=7 if rng.random() < 0.5 else None),
    ),
    World(
        name="HitRatio within bounds",
        procedure=Inversions(
            samples=(("one", HITS), ("two", replace(HITS, stack=Stack(blocks=2)))),
            estimates=(HitRatio(name="x", slow="two", fast="one"),),
        ),
        criterion=Within("x", low=0.5, high=2, because="planted"),
        true=lambda arm, unit, rng: make_run(unit, hit=math.ceil(jitter(rng, 30))),
        false=lambda arm, unit, rng: make_run(unit, hit=math.ceil(jitter(rng, 40 if blocks(arm) == 2 else 5))),
    ),
    World(
        name="agreement among units whose last token was not recovered",
        procedure=one(Rate(name="x", of="one", reading=SameNextToken(), among=UNRECOVERED)),
        criterion=AtLeast("x", 0.5, because="planted"),
        true=lambda arm, unit, rng: make_spread(unit, rng, agree=0.95),
        # Units whose last token came back agree, and must not count.
        false=lambda arm, unit, rng: make_spread(
            unit, rng, **({"last": True, "agree": 1.0} if unit.seed % 3 == 0 else {"agree": 0.05})
        ),
    ),
    World(
        name="agreement beyond the start's",
        procedure=one(
            Difference(name="x", more=("one", SameNextToken()), less=("one", SameNextToken("start")), among=UNRECOVERED)
        ),
        criterion=Above("x", 0, because="planted"),
        true=lambda arm, unit, rng: make_spread(unit, rng, agree=0.9, agree_at_start=0.1),
        false=lambda arm, unit, rng: make_spread(unit, rng, agree=0.1, agree_at_start=0.9),
    ),
    World(
        name="agreement beyond an equal shift's",
        procedure=one(Difference(name="x", more=("one", SameNextToken()), less=("one", SameNextToken("shifted")))),
        criterion=Above("x", 0, because="planted"),
        true=lambda arm, unit, rng: make_spread(unit, rng, agree=0.9, agree_shifted=0.1),
        false=lambda arm, unit, rng: make_spread(unit, rng, agree=0.1, agree_shifted=0.9),
    ),
    World(
        name="target among the five",
        procedure=one(Mean(name="x", of="one", reading=InTopFive())),
        criterion=AtMost("x", 0.2, because="planted"),
        true=lambda arm, unit, rng: make_spread(unit, rng, inside=0.05),
        false=lambda arm, unit, rng: make_spread(unit, rng, inside=0.6),
    ),
    World(
        name="overlap of two arms",
        procedure=one(Difference(name="x", more=("one", TopFiveOverlap()), less=("two", TopFiveOverlap()))),
        criterion=Above("x", 0, because="planted"),
        true=lambda arm, unit, rng: make_spread(unit, rng, overlap=0.9 if blocks(arm) == 1 else 0.4),
        false=lambda arm, unit, rng: make_spread(unit, rng, overlap=0.4 if blocks(arm) == 1 else 0.9),
    ),
    World(
        name="repetition beyond the start's",
        procedure=one(Difference(name="x", more=("one", Repetition("end")), less=("one", Repetition("start")))),
        criterion=Above("x", 0, because="planted"),
        true=lambda arm, unit, rng: make_spread(unit, rng, repeat=(0.2, 0.8)),
        # It repeats itself much, but its start did already.
        false=lambda arm, unit, rng: make_spread(unit, rng, repeat=(0.9, 0.6)),
    ),
    World(
        name="repetition of two models, each beyond its start's",
        procedure=one(
            Difference(
                name="x",
                more=("one", Repetition("end", beyond_start=True)),
                less=("two", Repetition("end", beyond_start=True)),
            )
        ),
        criterion=Above("x", 0, because="planted"),
        true=lambda arm, unit, rng: make_spread(unit, rng, repeat=(0.3, 0.8) if blocks(arm) == 1 else (0.3, 0.3)),
        false=lambda arm, unit, rng: make_spread(unit, rng, repeat=(0.8, 0.8) if blocks(arm) == 1 else (0.3, 0.7)),
    ),
    World(
        name="word frequency",
        procedure=one(Difference(name="x", more=("one", LogFrequency()), less=("two", LogFrequency()))),
        criterion=Above("x", 0, because="planted"),
        true=lambda arm, unit, rng: make_spread(unit, rng, words=(1, 2, 3, 8) if blocks(arm) == 1 else (4, 5, 6, 7)),
        false=lambda arm, unit, rng: make_spread(unit, rng, words=(4, 5, 6, 7) if blocks(arm) == 1 else (1, 2, 3, 8)),
    ),
    World(
        name="input distance",
        procedure=one(Difference(name="x", more=("one", InputDistance()), less=("two", InputDistance()))),
        criterion=Above("x", 0, because="planted"),
        true=lambda arm, unit, rng: make_spread(unit, rng, l2=jitter(rng, 3 / blocks(arm))),
        false=lambda arm, unit, rng: make_spread(unit, rng, l2=jitter(rng, 3 * blocks(arm))),
    ),
    World(
        name="output distance in bounds",
        procedure=one(GeometricMean(name="x", of="one", reading=OutputDistance(in_bounds=True))),
        criterion=Below("x", 1, because="planted"),
        # make_run's bound is 0.3.
        true=lambda arm, unit, rng: make_spread(unit, rng, distance=jitter(rng, 0.1)),
        false=lambda arm, unit, rng: make_spread(unit, rng, distance=jitter(rng, 0.9)),
    ),
    World(
        name="quotient of output distances",
        procedure=one(Ratio(name="x", over=("one", OutputDistance()), under=("two", OutputDistance()))),
        criterion=Above("x", 1, because="planted"),
        true=lambda arm, unit, rng: make_spread(unit, rng, distance=jitter(rng, 3 / blocks(arm))),
        false=lambda arm, unit, rng: make_spread(unit, rng, distance=jitter(rng, 3 * blocks(arm))),
    ),
    World(
        name="what the ends of several samples decode to",
        procedure=Inversions(
            samples=(("one", BLOCK), ("two", OTHER)),
            estimates=(
                PooledMean(name="x", over=("one", "two"), reading=DecodesTo("neither"), among=(InsideBound(),)),
            ),
        ),
        criterion=AtLeast("x", 0.5, because="planted"),
        # Outside the bound it is the other way round, and must not count.
        true=lambda arm, unit, rng: make_spread(
            unit, rng, distance=1.0 if odd(unit) else 0.1, words=(1, 2, 3, 8) if odd(unit) else (5, 6, 7)
        ),
        false=lambda arm, unit, rng: make_spread(
            unit, rng, distance=1.0 if odd(unit) else 0.1, words=(5, 6, 7) if odd(unit) else (1, 2, 3, 8)
        ),
    ),
    World(
        name="more step sizes hit",
        procedure=Inversions(
            samples=tuple((f"{k} {f}", replace(HITS, stack=Stack(blocks=k), step_factor=f)) for k, f in WIDTHS),
            estimates=(
                HitWidth(
                    name="x",
                    more=tuple(f"{k} {f}" for k, f in WIDTHS if k == 1),
                    less=tuple(f"{k} {f}" for k, f in WIDTHS if k == 2),
                ),
            ),
        ),
        criterion=Above("x", 0, least=1, least_because="planted", because="planted"),
        true=lambda arm, unit, rng: make_run(
            unit, hit=7 if rng.random() < (0.9 if blocks(arm) == 1 else 0.2) else None
        ),
        false=lambda arm, unit, rng: make_run(unit, hit=7 if rng.random() < 0.5 else None),
    ),
    World(
        name="recovery among units inside the bound",
        procedure=one(Mean(name="x", of="one", reading=Recovery(), among=(InsideBound(),))),
        criterion=AtMost("x", 0.2, because="planted"),
        # Outside the bound everything comes back (or nothing), and must not count.
        true=lambda arm, unit, rng: make_spread(
            unit, rng, distance=1.0 if odd(unit) else 0.1, recovery=1.0 if odd(unit) else rng.binomial(5, 0.04) / 5
        ),
        false=lambda arm, unit, rng: make_spread(
            unit, rng, distance=1.0 if odd(unit) else 0.1, recovery=0.0 if odd(unit) else rng.binomial(5, 0.6) / 5
        ),
    ),
]


def answer(draw: Draw, arm: Arm, rng: Rng) -> Result:
    if isinstance(arm, TuningArm):
        return tune_to_middle(arm)
    if isinstance(arm, VocabularyArm):
        return VocabularyResult(vocab=9, words=7, log_frequency=-4.0, floor=-8.0, quartiles=(-6.0, -4.0, -3.0))
    assert isinstance(arm, InversionArm)
    runs = tuple(draw(arm, unit, rng) for unit in arm.units)
    texts = {i: WORDS.get(i, f"t{i}") for run in runs for s in run.snapshots for top in s.top for i in top}
    texts |= {i: WORDS.get(i, f"t{i}") for run in runs for i in (*run.target, 1, 2)}
    return InversionResult(runs=runs, curve_at=(0, 1, 100), texts=texts)


def rule(world: World, draw: Draw, seed: int) -> Ruling:
    rng = np.random.default_rng(seed)
    trial = make_trial(units=Units(standard=36))
    evidence = drive(world.procedure.rounds(trial), lambda arm: answer(draw, arm, rng))
    return judge(world.criterion, evidence.estimates)


def judge(criterion: Criterion, estimates: dict[str, object]) -> Ruling:
    claim = Claim(
        id="T",
        section="none",
        sentence="A sentence.",
        estimand="a number",
        document="nothing",
        procedure=WORLDS[0].procedure,
        criteria=(criterion,),
        subjects=("planted",),
        protocols=(CONTROLLED,),
    )
    return claim.judge(estimates).ruling  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
@pytest.mark.parametrize("truth", [True, False], ids=["true", "false"])
def test_a_planted_world_is_ruled_rightly_nearly_always(world: World, truth: bool) -> None:
    draw, ruling = (world.true, Ruling.SUPPORTED) if truth else (world.false, Ruling.REFUTED)
    ruled = [rule(world, draw, seed) for seed in range(SEEDS)]
    assert ruled.count(ruling) >= ENOUGH, ruled


def read(reading: object, run: InversionRun) -> float | None:
    return reading.read(run, WORDS)  # pyright: ignore[reportAttributeAccessIssue]


RUN = make_spread(Unit(prompt="p", seed=0), np.random.default_rng(0), words=(1,), last=True, recovery=0.2)


@pytest.mark.parametrize("reading", [Repetition(), LogFrequency(), InputDistance(), OutputDistance()])
def test_a_run_that_diverged_has_no_such_number(reading: object) -> None:
    lost = replace(RUN, stop=Stop.DIVERGED, final_distance=math.nan, final_l2=math.inf)
    assert read(reading, lost) is None


@pytest.mark.parametrize("reading", [InTopFive(), TopFiveOverlap(), LastRecovered(), InsideBound()])
def test_a_run_that_diverged_has_recovered_nothing(reading: object) -> None:
    lost = replace(RUN, stop=Stop.DIVERGED, final_distance=math.nan, final_l2=math.inf)
    assert read(reading, lost) == 0.0


def test_repetition_counts_repeated_tokens_row_by_row() -> None:
    # Rows of k-th choices over four positions: 1 1 2 3 (a quarter repeats), 5 5 5 5 (three quarters).
    top = ((1, 5), (1, 5), (2, 5), (3, 5))
    ends = (
        Snapshot(iteration=0, distance=1, l2=1, recovery=0, top=((1, 5), (2, 6), (3, 7), (4, 8))),
        Snapshot(iteration=100, distance=1, l2=1, recovery=0, top=top),
    )
    run = replace(RUN, snapshots=ends)
    assert read(Repetition("end"), run) == 0.5
    assert read(Repetition("start"), run) == 0.0
    assert read(Repetition("end", beyond_start=True), run) == 0.5


@pytest.mark.parametrize(
    ("tokens", "kind"),
    [
        ((100, 120), "prompt"),
        ((1, 8), "words"),
        ((9, 8), "words"),
        ((1, 10), "words"),
        ((10, 10), "neither"),
        ((1, 5), "neither"),
        ((6, 1), "neither"),
        ((1, 6), "neither"),
    ],
    ids=[
        "the prompt",
        "two words",
        "a first word without a space",
        "a word and a stop",
        "stops",
        "no word",
        "a piece",
        "ing",
    ],
)
def test_what_an_end_decodes_to(tokens: tuple[int, ...], kind: str) -> None:
    run = replace(
        RUN,
        target=(100, 120),
        recovery=float(tokens == (100, 120)),
        snapshots=(Snapshot(iteration=100, distance=1, l2=1, recovery=0, top=tuple((i, 2) for i in tokens)),),
    )
    texts = {**WORDS, 6: "xqz", 9: "People", 10: ".", 100: "The", 120: " sky"}
    for one_kind in ("prompt", "words", "neither"):
        assert DecodesTo(one_kind).read(run, texts) == float(one_kind == kind)
    assert DecodesTo("neither").read(replace(run, stop=Stop.DIVERGED), texts) is None


def test_word_frequency_reads_missed_word_beginnings_alone() -> None:
    tops = ((1, 2), (6, 2), (140, 2))
    run = replace(
        RUN,
        target=(100, 120, 140),
        snapshots=(Snapshot(iteration=100, distance=1, l2=1, recovery=0, top=tops),),
    )
    from wordfreq import word_frequency

    # Of ' the', 'ing' (no word's beginning) and a recovered token only the first is read.
    assert LogFrequency().read(run, {**WORDS, 140: " sky"}) == pytest.approx(math.log10(word_frequency("the", "en")))


def test_units_without_a_reading_leave_their_pair_out() -> None:
    procedure = one(Difference(name="x", more=("one", LogFrequency()), less=("two", LogFrequency())))

    def draw(arm: InversionArm, unit: Unit, rng: Rng) -> InversionRun:
        # A third of the units decode to pieces of words alone.
        return make_spread(unit, rng, words=(6,) if unit.seed % 3 == 0 else (1, 8))

    rng = np.random.default_rng(0)
    trial = make_trial(units=Units(standard=36))
    evidence = drive(procedure.rounds(trial), lambda arm: answer(draw, arm, rng))
    assert evidence.estimates["x"].n == 24


def test_a_sample_takes_its_step_and_its_cap_from_an_earlier_one() -> None:
    asked: list[list[Arm]] = []
    first = Sample(stack=Stack(blocks=1), iterations=100)
    later = replace(first, sigma=0.04, step_of="first", cap_of=("first", 10))
    procedure = Inversions(samples=(("later", later), ("first", first)), estimates=(HitRate(name="x", of="later"),))
    hits = lambda arm: (  # noqa: E731 - an answer in one expression
        tune_to_middle(arm)
        if isinstance(arm, TuningArm)
        else InversionResult(runs=tuple(make_run(u, hit=7) for u in arm.units), curve_at=(), texts={})
    )
    evidence = drive(procedure.rounds(make_trial()), hits, asked=asked)
    last = asked[-1]
    assert all(isinstance(arm, InversionArm) and arm.settings.iterations == 70 for arm in last)
    assert {arm.step for arm in last if isinstance(arm, InversionArm)} == {2.0**-7}
    # The first sample was tuned (its grid, then around its best), the later one was not.
    tuned = [arm.settings for arms in asked for arm in arms if isinstance(arm, TuningArm)]
    assert {settings.sigma for settings in tuned} == {first.sigma}
    assert evidence.estimates["x"].value == 1.0


def test_where_no_run_hit_the_later_cap_is_a_multiple_of_the_earlier_one() -> None:
    asked: list[list[Arm]] = []
    first = Sample(stack=Stack(blocks=1), iterations=100)
    procedure = Inversions(
        samples=(("first", first), ("later", replace(first, sigma=0.04, cap_of=("first", 10)))),
        estimates=(HitRate(name="x", of="later"),),
    )
    rng = np.random.default_rng(0)
    drive(procedure.rounds(make_trial()), lambda arm: answer(lambda a, u, r: make_run(u), arm, rng), asked=asked)
    assert {arm.settings.iterations for arm in asked[-1] if isinstance(arm, InversionArm)} == {1000}


def test_a_sample_left_out_at_an_effort_leaves_its_estimates_out() -> None:
    procedure = Inversions(
        samples=(("one", BLOCK), ("two", replace(OTHER, units=Units(smoke=0, standard=0)))),
        estimates=(
            Rate(name="x", of="one", reading=Exact()),
            Difference(name="y", more=("one", Exact()), less=("two", Exact())),
        ),
    )
    rng = np.random.default_rng(0)
    evidence = drive(procedure.rounds(make_trial()), lambda arm: answer(WORLDS[5].true, arm, rng))
    assert set(evidence.estimates) == {"x"}
    assert judge(Above("y", 0, because="planted"), {**evidence.estimates}) is Ruling.NOT_RUN


def test_an_estimate_of_an_undeclared_sample_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"'three'.*expected one of one"):
        Inversions(samples=(("one", BLOCK),), estimates=(HitRate(name="x", of="three"),))


def test_samples_that_wait_for_each_other_are_refused() -> None:
    circle = Inversions(
        samples=(("a", replace(BLOCK, step_of="b")), ("b", replace(BLOCK, step_of="a"))),
        estimates=(HitRate(name="x", of="a"),),
    )
    with pytest.raises(DeclarationError, match="wait for each other: a, b"):
        drive(circle.rounds(make_trial()), lambda arm: pytest.fail("an arm was asked for"))


def test_the_vocabulary_is_measured_beside_the_words() -> None:
    procedure = replace(one(Mean(name="x", of="one", reading=LogFrequency())), vocabulary=True)
    rng = np.random.default_rng(0)
    evidence = drive(procedure.rounds(make_trial()), lambda arm: answer(WORLDS[9].true, arm, rng))
    (table,) = (t for t in evidence.tables if t.title == "The whole vocabulary")
    assert table.rows == (("planted", 9, 7, -4.0, -6.0, -4.0, -3.0, -8.0),)


def test_a_probe_and_a_net_are_settled_before_they_are_measured() -> None:
    asked: list[list[Arm]] = []
    sample = Sample(stack=TokenNet(), iterations=100, read_at="N", probe=Stack(blocks=2, head=True))
    procedure = Inversions(samples=(("net", sample),), estimates=(Rate(name="x", of="net", reading=Exact()),))
    rng = np.random.default_rng(0)
    drive(procedure.rounds(make_trial()), lambda arm: answer(WORLDS[5].true, arm, rng), asked=asked)
    arms = [arm for arm in asked[-1] if isinstance(arm, InversionArm)]
    assert [arm.settings.stack for arm in arms] == [TokenNet(seed=k) for k in range(4)]
    assert {arm.probe for arm in arms} == {Stack(blocks=2, head=True)}
    assert WHOLE.count(30) == 30
