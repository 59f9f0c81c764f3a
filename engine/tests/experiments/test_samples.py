"""Step sizes are tuned as catalogued, larger efforts keep smaller ones' arms, units meet model seeds in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from math import log2

import pytest

from engine.arms.arm import Arm, Result
from engine.arms.measurement import digest_of
from engine.arms.prompts import DOCUMENT, SHORT
from engine.arms.settings import Unit
from engine.arms.stacks import SentenceNet, Stack
from engine.claim.procedure import Trial
from engine.claim.units import Units
from engine.experiments.inversion.arm import InversionArm, InversionResult, InversionRun
from engine.experiments.inversion.estimators import Difference, HitRate, Mean, Rate
from engine.experiments.inversion.procedure import Inversions
from engine.experiments.inversion.readings import Exact, Recovery
from engine.experiments.inversion.samples import Sample, SampleRuns, run_sample
from engine.experiments.sampling import TUNING_START_SEED
from engine.experiments.tuning.arm import MOST_EXTENSIONS, StepOutcome, TuningArm, TuningResult
from engine.experiments.tuning.choose_step import HEAD_GRID, NET_GRID, OPEN_GRID, StepChoice, tune
from engine.statistics import n_to_decide
from engine.tests.planted import TUNING, drive, make_inversion, make_outcome, make_run, make_trial, tune_to_middle

BLOCK = Sample(stack=Stack(blocks=1), iterations=100, read_at="N", snapshots=(20,))
RANDOM = replace(BLOCK, weights="random")
NET = Sample(stack=SentenceNet(tokens=3), iterations=100, read_at="N", first_tokens=3)
RATES = Inversions(
    samples=(("block", BLOCK),),
    estimates=(
        Rate(name="exact rate (block)", of="block", reading=Exact()),
        HitRate(name="hit rate (block)", of="block"),
    ),
)
Law = Callable[[float], StepOutcome]


def planted_tuning(law: Law) -> tuple[StepChoice, list[TuningArm]]:
    """What tuning comes to, and what it asks, where `law` says what each step size does."""
    asked: list[list[Arm]] = []

    def answer(arm: Arm) -> TuningResult:
        assert isinstance(arm, TuningArm)
        return TuningResult(outcomes=tuple(map(law, arm.steps)), read_to=arm.horizon)

    tuned = drive(tune(TUNING.settings, TUNING.steps, TUNING.units), answer, asked=asked)
    return tuned, [arm for arms in asked for arm in arms if isinstance(arm, TuningArm)]


def hits_around(best: float, *, least: int = 10) -> Law:
    """Hits that come the later, the further a step size is from the best one."""
    return lambda step: make_outcome(step, [least + round(40 * abs(step / best - 1)) % 90] * 2)


def test_a_best_step_inside_the_grid_needs_one_round() -> None:
    tuned, asked = planted_tuning(hits_around(0.5))
    assert asked == [TUNING]
    assert (tuned.step, tuned.median) == (0.5, 10)


@pytest.mark.parametrize(
    ("best", "grids"),
    [
        (1.0, [(2.0,)]),
        (2.0, [(2.0,), (4.0,)]),
        (4.0, [(2.0,), (4.0,), (8.0,)]),
        (0.25, [(0.125,)]),
        (0.125, [(0.125,), (0.0625,)]),
        (0.0625, [(0.125,), (0.0625,), (0.03125,)]),
    ],
    ids=["upper edge", "one above", "two above", "lower edge", "one below", "two below"],
)
def test_a_grid_is_widened_until_the_best_is_inside(best: float, grids: list[tuple[float, ...]]) -> None:
    tuned, asked = planted_tuning(lambda step: make_outcome(step, [10 + 5 * abs(round(log2(step / best)))] * 2))
    assert [arm.steps for arm in asked[1:]] == grids
    assert tuned.step == best
    tried = [outcome.step for outcome in tuned.outcomes]
    assert tried == sorted(tried)
    assert tried[0] < tuned.step < tried[-1]
    assert [m.arm for m in tuned.measurements] == asked


def test_an_extension_is_read_only_as_far_as_the_best_median() -> None:
    _, asked = planted_tuning(lambda step: make_outcome(step, [64 - 8 * round(step)] * 2 if step < 5 else [60, 60]))
    # 1.0 leads at 56, then 2.0 at 48 and 4.0 at 32, which 8.0 does not beat.
    assert [arm.horizon for arm in asked] == [100, 56, 48, 32]
    assert [arm.batch for arm in asked] == [6, 2, 2, 2]


def test_a_coarse_grid_is_refined_around_its_best() -> None:
    coarse = replace(TUNING, steps=(0.25, 1.0, 4.0))
    asked: list[list[Arm]] = []

    def answer(arm: Arm) -> TuningResult:
        assert isinstance(arm, TuningArm)
        return TuningResult(outcomes=tuple(map(hits_around(2.0), arm.steps)), read_to=arm.horizon)

    tuned = drive(tune(coarse.settings, coarse.steps, coarse.units), answer, asked=asked)
    # 1.0 is the best of the three; of its neighbours 2.0 is better, and 2.0's other neighbour was tried.
    assert [arm.steps for arms in asked for arm in arms if isinstance(arm, TuningArm)] == [coarse.steps, (0.5, 2.0)]
    assert tuned.step == 2.0


def test_a_grid_whose_edge_always_wins_is_widened_so_often_and_no_more() -> None:
    tuned, asked = planted_tuning(lambda step: make_outcome(step, [None, None], 1 / step))
    assert len(asked) == 1 + MOST_EXTENSIONS
    assert tuned.step == 2.0**MOST_EXTENSIONS == tuned.outcomes[-1].step


@pytest.mark.parametrize(
    ("outcomes", "best"),
    [
        ([([20, 20], 1.0), ([10, 30], 9.0), ([None, 40], 0.1)], 0.5),
        ([([None, 10], 9.0), ([10, 20], 5.0), ([11, 12], 0.1)], 0.5),
        ([([10, 20], 2.0), ([10, 99], 3.0), ([10, 11], 2.5)], 0.25),
        ([([10, 20], 3.0), ([10, 99], 2.0), ([10, 11], 2.0)], 0.5),
        ([([None, None], 3.0), ([None, None], 2.0), ([None, None], 4.0)], 0.5),
        ([([None, None], 0.1), ([99, 100], 9.0), ([None, None], 0.2)], 0.5),
        ([([None, None], float("inf")), ([None, None], 5.0), ([None, None], float("inf"))], 0.5),
    ],
    ids=[
        "the smallest median",
        "half of the runs is a median",
        "equal medians, the smaller distance",
        "equal distances, the smaller step",
        "nothing hits, the smallest distance",
        "a late hit beats a small distance",
        "the others diverged",
    ],
)
def test_the_best_of_a_grid(outcomes: list[tuple[list[int | None], float]], best: float) -> None:
    planted = {
        step: make_outcome(step, hits, distance) for step, (hits, distance) in zip(TUNING.steps, outcomes, strict=True)
    }
    # Steps beyond the grid do worse than any in it.
    tuned, _ = planted_tuning(lambda step: planted.get(step) or make_outcome(step, [None, None], float("inf")))
    assert tuned.step == best


def test_a_step_size_on_which_every_run_is_lost_has_no_median() -> None:
    lost = {1.0: make_outcome(1.0, [None, None], float("inf"), lost=True)}
    tuned, asked = planted_tuning(lambda step: lost.get(step) or make_outcome(step, [None, None], abs(step - 0.5)))
    assert (tuned.step, tuned.median, asked) == (0.5, float("inf"), [TUNING])


def test_where_nothing_hit_an_extension_is_read_to_the_end() -> None:
    _, asked = planted_tuning(lambda step: make_outcome(step, [None, None], abs(step - 2.0)))
    assert [arm.horizon for arm in asked] == [100, 100, 100]


def tuned_for_distance(law: Callable[[float], Sequence[float]]) -> tuple[StepChoice, list[TuningArm]]:
    """Tuning for the distance at N, where `law` says how many bounds away each tuning unit ends."""
    asked: list[list[Arm]] = []

    def answer(arm: Arm) -> TuningResult:
        assert isinstance(arm, TuningArm)
        outcomes = (replace(make_outcome(step, [3] * 12), distances=tuple(law(step))) for step in arm.steps)
        return TuningResult(outcomes=tuple(outcomes), read_to=arm.horizon)

    tuned = drive(tune(TUNING.settings, TUNING.steps, TUNING.units, target="distance"), answer, asked=asked)
    return tuned, [arm for arms in asked for arm in arms if isinstance(arm, TuningArm)]


def test_tuned_for_the_distance_the_nearest_end_wins_whatever_hits_first() -> None:
    """Every step size hits at iteration 3; the median unit ends nearest at 4."""
    tuned, asked = tuned_for_distance(lambda step: [abs(log2(step / 4)) + 0.1] * 11 + [99.0])
    assert (tuned.step, tuned.median, tuned.target) == (4.0, 0.1, "distance")
    assert [arm.steps for arm in asked] == [TUNING.steps, (2.0,), (4.0,), (8.0,)]
    # A later round may not stop early, since the distance at N is what counts.
    assert {arm.horizon for arm in asked} == {TUNING.settings.iterations}
    assert {arm.target for arm in asked} == {"distance"}


def test_of_equal_distances_the_smaller_step_size_wins() -> None:
    assert tuned_for_distance(lambda step: [1.0 if step in (0.5, 1.0) else 2.0] * 12)[0].step == 0.5


def test_step_sizes_that_tuning_cannot_tell_apart_are_named() -> None:
    """At 0.5 and 1.0 six units end nearer than at the other each; at 0.25 and 2.0 none does."""

    def law(step: float) -> list[float]:
        near = {0.5: [1.0] * 6 + [2.0] * 6, 1.0: [2.0] * 6 + [1.0] * 5 + [1.1]}
        return near.get(step, [9.0] * 12)

    tuned, _ = tuned_for_distance(law)
    assert set(tuned.others) == {0.5, 1.0} - {tuned.step}
    assert tuned.shares[0.5] + tuned.shares[1.0] == pytest.approx(1)
    assert 0.3 < tuned.shares[0.5] < 0.7
    assert tuned.shares[0.25] == 0


def test_a_clear_winner_stands_alone() -> None:
    tuned, _ = tuned_for_distance(lambda step: [1.0 + abs(log2(step / 0.5))] * 12)
    assert (tuned.step, tuned.others, tuned.shares[0.5]) == (0.5, (), 1.0)


def test_the_earliest_hit_is_found_on_a_few_units_and_chosen_on_all() -> None:
    """Four units hit earliest at 0.5; of all twelve most do at 1.0, which is then tried with its other neighbour."""
    units = tuple(Unit(prompt=f"prompt {k}", seed=k) for k in range(12))
    asked: list[TuningArm] = []

    def answer(arm: Arm) -> TuningResult:
        assert isinstance(arm, TuningArm)
        asked.append(arm)
        best = 0.5 if len(arm.units) == 4 else 1.0
        hits = ([10 + round(8 * abs(log2(step / best)))] * len(arm.units) for step in arm.steps)
        outcomes = (make_outcome(step, hit) for step, hit in zip(arm.steps, hits, strict=True))
        return TuningResult(outcomes=tuple(outcomes), read_to=arm.horizon)

    tuned = drive(tune(TUNING.settings, TUNING.steps, units), answer)
    assert [(len(arm.units), arm.steps) for arm in asked] == [(4, TUNING.steps), (12, (0.25, 0.5, 1.0)), (12, (2.0,))]
    assert asked[0].units == units[:4]
    assert (tuned.step, tuned.median) == (1.0, 10)
    # What is shown of the choice is what all units did; the region's measurement is behind it, too.
    assert [outcome.step for outcome in tuned.outcomes] == [0.25, 0.5, 1.0, 2.0]
    assert {len(outcome.hits) for outcome in tuned.outcomes} == {12}
    assert [m.arm for m in tuned.measurements] == asked


def test_tuned_for_hits_nothing_is_resampled() -> None:
    tuned, _ = planted_tuning(hits_around(0.5))
    assert (tuned.shares, tuned.others) == ({}, ())


SMALL, LARGE = OPEN_GRID[1], OPEN_GRID[4]


def opposed(arm: Arm) -> Result:
    """A large step hits first, recovers all and ends far; a small one hits late, recovers nothing and ends near."""
    if isinstance(arm, TuningArm):
        outcomes = (
            StepOutcome(
                step=step,
                hits=(9 + round(3 * abs(log2(step / LARGE))),) * len(arm.units),
                diverged=(False,) * len(arm.units),
                median_distance=1.0,
                distances=(0.1 + abs(log2(step / SMALL)),) * len(arm.units) if arm.target == "distance" else (),
            )
            for step in arm.steps
        )
        return TuningResult(outcomes=tuple(outcomes), read_to=arm.horizon)
    assert isinstance(arm, InversionArm)
    return make_inversion([make_run(unit, hit=9, recovery=float(arm.step == LARGE)) for unit in arm.units])


@pytest.mark.parametrize(
    ("sample", "step", "recovery"),
    [
        (BLOCK, SMALL, 0.0),
        (replace(BLOCK, tuned_for="hit"), LARGE, 1.0),
        (replace(BLOCK, read_at="hit", tuned_for=None), LARGE, 1.0),
    ],
    ids=["read at N", "read at N, tuned for hits", "read at the hit"],
)
def test_each_reading_finds_the_step_size_of_its_own_target(sample: Sample, step: float, recovery: float) -> None:
    """Where the two targets lead to opposite recoveries, a sample that is read at N has that of the nearest end."""
    drawn = drive(run_sample(make_trial(), sample), opposed)
    assert drawn is not None
    assert drawn.tuned.step == step
    assert {run.recovery for run in drawn.runs} == {recovery}


def undecided(arm: Arm) -> Result:
    """Tuning cannot tell two step sizes apart, one of which recovers all and the other nothing."""
    if isinstance(arm, TuningArm):
        mixed = {SMALL: [1.0] * 6 + [2.0] * 6, 2 * SMALL: [2.0] * 6 + [1.0] * 6}
        outcomes = (
            replace(make_outcome(step, [3] * 12), distances=tuple(mixed.get(step, [9.0 + step] * 12)))
            for step in arm.steps
        )
        return TuningResult(outcomes=tuple(outcomes), read_to=arm.horizon)
    assert isinstance(arm, InversionArm)
    return make_inversion([make_run(unit, hit=9, recovery=float(arm.step == SMALL)) for unit in arm.units])


def test_an_interval_holds_what_every_choice_of_tuning_gives() -> None:
    procedure = replace(RATES, estimates=(Mean(name="recovery", of="block", reading=Recovery()),))
    evidence = drive(procedure.rounds(make_trial()), undecided)
    found = evidence.estimates["recovery"]
    assert (found.low, found.high, found.values) == (0.0, 1.0, (0.0, 1.0))
    assert found.value in (0.0, 1.0)
    assert found.method.endswith("over 2 choices of η")
    assert n_to_decide(found, [0.5]) is None  # no number of units tells the two apart
    (table,) = (table for table in evidence.tables if table.title == "Estimates by step size")
    assert {row[2] for row in table.rows} == {0.0, 1.0}
    # Both step sizes' arms are behind the evidence.
    steps = {m.arm.step for m in evidence.measurements if isinstance(m.arm, InversionArm)}
    assert steps == {SMALL, 2 * SMALL}


def test_pairs_of_choices_count_for_a_difference_of_two_samples() -> None:
    both = Inversions(
        samples=(("block", BLOCK), ("random", RANDOM)),
        estimates=(Difference(name="difference", more=("block", Recovery()), less=("random", Recovery())),),
    )
    found = drive(both.rounds(make_trial()), undecided).estimates["difference"]
    assert (found.low, found.high) == (-1.0, 1.0)
    assert found.values == (-1.0, 1.0)


def test_a_factor_on_the_step_size_leaves_one_choice() -> None:
    drawn = drive(run_sample(make_trial(), replace(BLOCK, step_factor=4.0)), undecided)
    assert drawn is not None
    assert drawn.tuned.step in (4 * SMALL, 8 * SMALL)
    assert drawn.tuned.source == "4 × tuned"
    assert drawn.others == ()


def answer(arm: Arm) -> Result:
    """Runs that hit at their seed, of the model seed that the arm's weights say."""
    if isinstance(arm, TuningArm):
        return tune_to_middle(arm)
    assert isinstance(arm, InversionArm)
    return make_inversion([make_run(unit, hit=unit.seed) for unit in arm.units])


def arms_of(trial: Trial, sample: Sample) -> tuple[SampleRuns, TuningArm, list[InversionArm]]:
    asked: list[list[Arm]] = []
    drawn = drive(run_sample(trial, sample), answer, asked=asked)
    (tuning,), *_, inversions = asked
    assert isinstance(tuning, TuningArm)
    return drawn, tuning, [arm for arm in inversions if isinstance(arm, InversionArm)]


@pytest.mark.parametrize("sample", [BLOCK, RANDOM, NET], ids=["own weights", "random weights", "net"])
def test_full_effort_keeps_the_arms_of_standard_effort_and_adds_waves(sample: Sample) -> None:
    _, standard_tuning, standard = arms_of(make_trial("standard"), sample)
    _, full_tuning, full = arms_of(make_trial("full"), sample)
    assert digest_of(full_tuning) == digest_of(standard_tuning)
    assert [digest_of(arm) for arm in full[: len(standard)]] == [digest_of(arm) for arm in standard]
    assert len(full) == 3 * len(standard)
    units = [unit for arm in full for unit in arm.units]
    assert len(units) == len(set(units)) == 36


def test_smoke_has_two_units_and_one_for_tuning() -> None:
    drawn, tuning, arms = arms_of(make_trial("smoke"), BLOCK)
    assert [unit.seed for unit in arms[0].units] == [0, 1]
    assert (len(tuning.units), len(drawn.runs)) == (1, 2)


@pytest.mark.parametrize("effort", ["smoke", "standard", "full"])
@pytest.mark.parametrize("sample", [BLOCK, RANDOM, NET], ids=["own weights", "random weights", "net"])
def test_runs_come_back_in_the_units_order_with_their_model_seeds(effort: str, sample: Sample) -> None:
    drawn, _, arms = arms_of(make_trial(effort), sample)  # pyright: ignore[reportArgumentType]
    count = len(drawn.runs)
    assert [(run.prompt, run.seed) for run in drawn.runs] == [(SHORT[i], i) for i in range(count)]
    random = sample is not BLOCK
    assert list(drawn.clusters) == [i % 4 if random else 0 for i in range(count)]
    held = {unit: arm.settings for arm in arms for unit in arm.units}
    for run, seed in zip(drawn.runs, drawn.clusters, strict=True):
        settings = held[Unit(prompt=run.prompt, seed=run.seed)]
        if sample is RANDOM:
            assert settings.subject == f"planted-untrained:{seed}"
        elif isinstance(settings.stack, SentenceNet):
            assert (settings.subject, settings.stack.seed) == ("planted", seed)
        else:
            assert settings.subject == "planted"


def test_every_arm_has_the_step_that_was_tuned() -> None:
    drawn, tuning, arms = arms_of(make_trial(), RANDOM)
    assert {arm.step for arm in arms} == {drawn.tuned.step} == {tuning.steps[len(tuning.steps) // 2]}
    assert {arm.snapshots for arm in arms} == {(0, 20, 100)}


@pytest.mark.parametrize("sample", [BLOCK, RANDOM, NET], ids=["own weights", "random weights", "net"])
def test_tuning_uses_prompts_and_seeds_that_no_measurement_does(sample: Sample) -> None:
    _, tuning, arms = arms_of(make_trial("full"), sample)
    assert {unit.prompt for unit in tuning.units} <= set(DOCUMENT)
    assert {unit.prompt for unit in tuning.units}.isdisjoint(unit.prompt for arm in arms for unit in arm.units)
    assert min(unit.seed for unit in tuning.units) == TUNING_START_SEED > max(u.seed for a in arms for u in a.units)
    assert tuning.settings not in [arm.settings for arm in arms] or sample is BLOCK
    if sample is RANDOM:
        assert tuning.settings.subject == "planted-untrained:100"


@pytest.mark.parametrize(
    ("stack", "grid"),
    [(Stack(blocks=1), OPEN_GRID), (Stack(blocks=1, head=True), HEAD_GRID), (SentenceNet(), NET_GRID)],
    ids=["open", "head", "net"],
)
def test_each_kind_of_stack_has_a_grid_of_its_own(stack: Stack | SentenceNet, grid: Sequence[float]) -> None:
    assert replace(BLOCK, stack=stack).steps() == grid
    assert replace(BLOCK, stack=stack, grid=(1.0,)).steps() == (1.0,)
    # Every second point of a grid of factor 2; the others are tried around the best.
    assert all(b == 4 * a for a, b in pairwise(grid))


def test_a_users_prompts_and_starts_are_units_of_their_own() -> None:
    trial = replace(make_trial(prompts=("one prompt", "another one")), starts=3)
    drawn, _, arms = arms_of(trial, BLOCK)
    assert [(run.prompt, run.seed) for run in drawn.runs] == [
        (prompt, i + 36 * start) for start in range(3) for i, prompt in enumerate(("one prompt", "another one"))
    ]
    assert not trial.registered
    assert len(arms) == 3


def test_runs_read_at_the_hit_keep_no_snapshots() -> None:
    _, _, arms = arms_of(make_trial(), replace(BLOCK, read_at="hit", tuned_for=None))
    assert {arm.snapshots for arm in arms} == {()}


def spoil(run: InversionRun) -> InversionRun:
    """Every third unit has a token that the codec itself cannot give back."""
    return replace(run, ceiling=0.75, recovery=0.75) if run.seed % 3 == 0 else run


def test_units_that_the_codec_cannot_give_back_are_left_out_of_rates_and_shown_apart() -> None:
    def spoilt(arm: Arm) -> Result:
        result = answer(arm)
        return replace(result, runs=tuple(map(spoil, result.runs))) if isinstance(result, InversionResult) else result

    evidence = drive(RATES.rounds(make_trial()), spoilt)
    rate = evidence.estimates["exact rate (block)"]
    assert (rate.value, rate.n) == (1.0, 8)
    # A hit needs no codec: every unit counts.
    assert evidence.estimates["hit rate (block)"].n == 12
    (apart,) = (table for table in evidence.tables if table.title.startswith("Units apart"))
    assert [row[1:] for row in apart.rows] == [(SHORT[i], 0.75, 0.75) for i in (0, 3, 6, 9)]
    (recovery,) = (table for table in evidence.tables if table.title == "Recovery by iteration")
    assert [row[1:5] for row in recovery.rows] == [(20, 0.5, 0.0, 8)]


def test_where_every_unit_comes_back_nothing_is_shown_apart() -> None:
    evidence = drive(RATES.rounds(make_trial()), answer)
    assert not [table for table in evidence.tables if table.title.startswith("Units apart")]


@pytest.mark.parametrize("effort", ["smoke", "standard", "full"])
def test_a_row_without_units_at_an_effort_asks_for_nothing(effort: str) -> None:
    trial = make_trial(effort, units=Units(smoke=0, standard=0, full=0))  # pyright: ignore[reportArgumentType]
    asked: list[list[Arm]] = []
    evidence = drive(RATES.rounds(trial), answer, asked=asked)
    assert (evidence.estimates, asked) == ({}, [])
