"""Clamped walks: how much farther the input moves than the output, and what becomes of the text."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise, product
from statistics import median as middle
from typing import ClassVar

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.arms.protocol import SCRIPT
from engine.arms.stacks import AnyStack, Stack
from engine.arms.tags import TAG
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.claim.units import Units
from engine.experiments.clamped_walk.arm import ClampedWalkArm, ClampedWalkResult, WalkChoice, WalkRun
from engine.experiments.clamped_walk.tables import (
    WalkRuns,
    decoded_table,
    ending_table,
    progress_table,
    walk_table,
    walk_tuning_table,
)
from engine.experiments.sampling import (
    DEEP,
    assign_arms,
    collect,
    run_together,
    stack_settings,
    tuning_seed,
    tuning_units,
)
from engine.experiments.tables import estimate_table
from engine.statistics import geometric_ratio, median, paired_mean, trend

TUNING_WALKS, TEXT_TUNING_WALKS = 4, 2
"""Units that settings are tuned on."""

LEAST, MOST = 1e-6, 1e6
"""Ends of a ratio: a walk that diverged has kept nothing, and one whose output did not move at all has gained all."""

DISTANCE = 0.1
"""‖e − e_N‖₁ / ‖e‖₁ at which walks are compared."""

SCRIPT_CHOICE = WalkChoice(noise=2e-4, step=2e-5, outer=10)
"""The settings of the author's scripts, in absolute units: their noise is uniform on [0, 1) times the first."""

PAGE_INNER, SCRIPT_INNER = 50, 31
"""Descent steps after each shift where there are many: the document's, and the scripts'."""

# How large a shift has to be: one of standard deviation s reaches coordinate u ∈ [0, 1) of the width when the random
# index lies below it. So K outer steps add it about K·u times: E|Δ| = √(2/π)·s·√(K·u), and over the width
# √(2/π)·(2/3)·s·√K = 0.53·s·√K. The relative distance 0.1 then takes s = 0.19/√K. The two factors are larger than 1
# because the descent pulls the walk back.
_REACH = 0.19

MOST_EXTENSIONS = 8
"""Most rounds after the first, each of which goes one point beyond the edges on which the best lies."""


Place = tuple[int, int, int]
"""A point of the grid of settings: outer steps by factors of 2, noise by 1.6, step size by 8."""


def _choice_at(place: Place) -> WalkChoice:
    outer = max(1, round(5 * 2.0 ** place[0]))
    return WalkChoice(noise=1.25 * 1.6 ** place[1] * _REACH / math.sqrt(outer), step=8.0 ** place[2] / 256, outer=outer)


def _place_of(choice: WalkChoice) -> Place:
    noise = choice.noise * math.sqrt(choice.outer) / _REACH
    return (
        round(math.log2(choice.outer / 5)),
        round(math.log(noise / 1.25, 1.6)),
        round(math.log(256 * choice.step, 8)),
    )


GAIN_CHOICES = tuple(_choice_at(place) for place in product(range(3), range(2), range(4)))
"""24 settings to begin with: outer steps × noise × step size. The grid is widened until the best lies inside.

No two noises are equal: choices that differed in their outer steps alone would give one walk once both arrive.
"""


def widen_gain(best: WalkChoice, tried: Sequence[WalkChoice]) -> tuple[WalkChoice, ...]:
    """One point beyond each edge of the grid on which the best of the settings tried lies, the others as they are."""
    here, places = _place_of(best), {_place_of(choice) for choice in tried}
    found: list[WalkChoice] = []
    for axis in range(3):
        others = [k for k in range(3) if k != axis]
        line = [place[axis] for place in places if all(place[k] == here[k] for k in others)]
        for edge, way in ((min(line), -1), (max(line), 1)):
            if here[axis] == edge:
                outer, noise, step = (n + way * (k == axis) for k, n in enumerate(here))
                beyond = _choice_at((outer, noise, step))
                # A walk has at least one outer step: nothing lies below that.
                found += [beyond] if beyond != best else []
    return tuple(found)


READS = (10, 30, 100, 300)
"""Outer steps after which the text is read. Tuning leaves the last out."""

TEXT_CHOICES = tuple(
    WalkChoice(noise=noise, step=step, outer=READS[-2])
    for noise in (1 / 32, 1 / 16, 1 / 8, 1 / 4)
    for step in (1 / 64, 1 / 16, 1 / 4)
)
"""12 settings: noise × step size."""


@dataclass(frozen=True, kw_only=True)
class ClampedWalk:
    """Walks on one stack.

    many_inner_steps: descend many times after each shift, instead of once. first_tokens: length that prompts are cut
    to. units: None takes the claim's.
    """

    tag: ClassVar[str] = "ClampedWalk"
    stack: AnyStack
    many_inner_steps: bool = field(default=False, metadata={TAG: "many"})
    first_tokens: int | None = None
    units: Units | None = None


@dataclass(frozen=True, kw_only=True)
class ClampedGain:
    """r = ‖e − e_N‖₁ / ‖ΔO‖₁ of clamped walks, and their gain: r over the r of a random step that is as long.

    walks: name → walk. Estimates the medians 'gain, name' and 'r, name' of each. Settings are tuned for the largest
    median gain at a fixed relative distance, on a grid that is widened until the best lies inside. The scripts'
    protocol has settings of its own, and its walks never stop early.
    ratios: pairs of names, for 'gain, one / other' and 'r, one / other': geometric means over units.
    """

    tag: ClassVar[str] = "ClampedGain"
    walks: tuple[tuple[str, ClampedWalk], ...]
    ratios: tuple[tuple[str, str], ...] = ()
    widened: bool = True

    def rounds(self, trial: Trial) -> Rounds:
        script = trial.protocol == SCRIPT
        tasks: dict[str, Generator[Sequence[Arm], Sequence[Measurement], WalkRuns]] = {}
        for name, walk in self.walks:
            # An effort that leaves a walk out does so for its cost, so it stays out with a user's own prompts, too.
            if walk.units is not None and not walk.units.at(trial.effort):
                continue
            own = replace(trial, units=walk.units or trial.units)
            if own.count():
                tasks[name] = tune_and_walk(
                    own,
                    walk,
                    inner=(SCRIPT_INNER if script else PAGE_INNER) if walk.many_inner_steps else 1,
                    stop_at=None if script else DISTANCE,
                    choices=GAIN_CHOICES,
                    widen=widen_gain if self.widened else None,
                    tuning_walks=TUNING_WALKS,
                    rank=rank_by_gain,
                )
        if not tasks:
            return Evidence()

        walked = yield from run_together(*tasks.values())
        drawn = dict(zip(tasks, walked, strict=True))
        estimates = [
            median(f"{what}, {name}", values, clusters=found.runs.clusters, look=trial.look)
            for name, found in drawn.items()
            for what, values in (
                ("gain", [run.gain for run in found.runs.runs]),
                ("r", [run.r for run in found.runs.runs]),
            )
        ]
        for one, other in self.ratios:
            if one not in drawn or other not in drawn:
                continue
            over, under = drawn[one].runs, drawn[other].runs
            for what, values in (
                ("gain", [[run.gain for run in runs.runs] for runs in (over, under)]),
                ("r", [[run.r for run in runs.runs] for runs in (over, under)]),
            ):
                more, less = ([min(max(value, LEAST), MOST) for value in side] for side in values)
                seeds = list(zip(over.clusters, under.clusters, strict=True))
                name = f"{what}, {one} / {other}"
                estimates.append(geometric_ratio(name, more, less, clusters=seeds, seed=0, look=trial.look))
        return Evidence(
            estimates=Evidence.named(*estimates),
            make_tables=lambda: (
                estimate_table(estimates),
                ending_table(drawn),
                walk_table(drawn),
                walk_tuning_table(drawn),
            ),
            settings=_describe_settings(trial, drawn),
            measurements=tuple(m for found in drawn.values() for m in found.measurements),
        )


def rank_by_gain(runs: Sequence[WalkRun]) -> tuple[float, ...]:
    """Most arrivals first, then the largest median gain."""
    arrived = sum(run.arrived and not run.diverged for run in runs)
    return (-arrived, -middle(run.gain for run in runs))


@dataclass(frozen=True, kw_only=True)
class ClampedText:
    """What a long walk does to the text: recovery after 10, 30, 100 and 300 outer steps of one descent step each.

    Estimates the paired contrasts 'recovery(10) − recovery(30)' and so on, and 'recovery over outer steps, τ', over
    units whose ceiling is 1; 'top five after 300', the share of positions whose token is then among the five most
    activated; and 'largest ‖ΔO‖₁ / m', the median over walks of the largest output distance at a reading, over m(σ).
    """

    tag: ClassVar[str] = "ClampedText"
    stack: AnyStack = Stack(blocks=DEEP)

    def rounds(self, trial: Trial) -> Rounds:
        if not trial.count():
            return Evidence()
        found = yield from tune_and_walk(
            trial,
            ClampedWalk(stack=self.stack),
            inner=1,
            choices=TEXT_CHOICES,
            tuning_walks=TEXT_TUNING_WALKS,
            rank=rank_by_text,
            reads=READS,
        )

        # A prompt whose own embeddings do not decode to it says nothing about what the walk did to the text.
        pairs = zip(found.runs.runs, found.runs.clusters, strict=True)
        whole = [(run, seed) for run, seed in pairs if run.ceiling == 1]
        seeds = [seed for _, seed in whole]
        ratios = [run.bound_ratio for run in found.runs.runs]
        # A walk that lacks a reading was dropped because it diverged, and had kept no token.
        read_after = [{read.outer: read.recovery for read in run.reads} for run, _ in whole]
        recoveries = [[recovery.get(outer, 0.0) for outer in READS] for recovery in read_after]
        estimates = [median("largest ‖ΔO‖₁ / m", ratios, clusters=found.runs.clusters, look=trial.look)]
        for before, after in pairwise(range(len(READS))):
            estimates.append(
                paired_mean(
                    f"recovery({READS[before]}) − recovery({READS[after]})",
                    [row[before] - row[after] for row in recoveries],
                    bounds=(-1, 1),
                    clusters=seeds,
                    seed=0,
                    look=trial.look,
                )
            )
        estimates.append(
            paired_mean(
                f"top five after {READS[-1]}",
                [_share_in_five(run) for run, _ in whole],
                bounds=(0, 1),
                clusters=seeds,
                seed=0,
                counts="walks",
                look=trial.look,
            )
        )
        estimates.append(trend("recovery over outer steps, τ", recoveries, clusters=seeds, seed=0, look=trial.look))

        drawn = {"walk": found}
        return Evidence(
            estimates=Evidence.named(*estimates),
            make_tables=lambda: (
                *(estimate_table(estimates), progress_table(found), decoded_table(found), walk_table(drawn)),
                walk_tuning_table(drawn, aim="text"),
            ),
            settings=_describe_settings(trial, drawn),
            measurements=found.measurements,
        )


def _share_in_five(run: WalkRun) -> float:
    """Share of positions whose token is among the five most activated at the walk's end; none where it diverged."""
    pairs = zip(run.target, run.end.top, strict=False)
    return sum(i in top for i, top in pairs) / len(run.target)


def rank_by_text(runs: Sequence[WalkRun]) -> tuple[float, ...]:
    """The lowest recovery at the end, where the median output stays within m; after these, the smallest ratio to m."""
    ratio = middle(run.bound_ratio for run in runs)
    if ratio < 1:
        recovery = sum(run.end.recovery for run in runs) / len(runs)
        # Between equal recoveries the farthest input wins: a walk that hardly moves would say nothing about the text.
        return (0.0, recovery, -middle(run.end.input_distance / run.size for run in runs))
    return (1.0, ratio, 0.0)


def tune_and_walk(
    trial: Trial,
    walk: ClampedWalk,
    *,
    inner: int,
    choices: tuple[WalkChoice, ...],
    tuning_walks: int,
    rank: Callable[[Sequence[WalkRun]], tuple[float, ...]],
    widen: Callable[[WalkChoice, Sequence[WalkChoice]], tuple[WalkChoice, ...]] | None = None,
    stop_at: float | None = None,
    reads: tuple[int, ...] = (),
) -> Generator[Sequence[Arm], Sequence[Measurement], WalkRuns]:
    """Tune a walk's settings on units that no measurement uses, then walk from the trial's units.

    The scripts' protocol has settings of its own, so there nothing is tuned. rank: of a choice, by its tuning walks;
    the smallest wins. widen: the settings to try beyond those tried, given the best; none ends tuning.
    reads: outer steps after which the walks are read. They end at the last, those of tuning at the one before it.
    """
    script = trial.protocol == SCRIPT
    law = "uniform" if script else "normal"
    make_arm = partial(ClampedWalkArm, inner=inner, law=law, scaled=not script, stop_at=stop_at)

    # First every choice on the tuning units, then those beyond the edges on which the best lies.
    tuned: WalkChoice | None = None
    tried: list[tuple[WalkChoice, tuple[WalkRun, ...]]] = []
    measured: list[Measurement] = []
    if not script:
        seed = tuning_seed(trial, walk.stack)
        settings = stack_settings(trial, walk.stack, seed, first_tokens=walk.first_tokens)
        units = tuning_units(1 if trial.effort == "smoke" else tuning_walks, first_tokens=walk.first_tokens)
        while choices and len(measured) <= MOST_EXTENSIONS:
            found = yield [make_arm(settings=settings, units=units, choices=choices, reads=reads[:-1])]
            measured += found
            result = found[0].result
            assert isinstance(result, ClampedWalkResult)
            runs = result.runs
            tried += [(choice, tuple(run for run in runs if run.choice == k)) for k, choice in enumerate(choices)]
            # Of equal ranks the earlier choice wins.
            tuned, _ = min(tried, key=lambda pair: rank(pair[1]))
            choices = widen(tuned, [choice for choice, _ in tried]) if widen is not None else ()

    # Then the best choice on the trial's units, as far as the last reading.
    choice = tuned or SCRIPT_CHOICE
    if reads:
        choice = replace(choice, outer=reads[-1])
    assigned = assign_arms(
        trial,
        walk.stack,
        lambda settings, units: make_arm(settings=settings, units=units, choices=(choice,), reads=reads),
        first_tokens=walk.first_tokens,
    )
    measurements = yield [each.arm for each in assigned]
    texts: dict[int, str] = {}
    for measurement in measurements:
        assert isinstance(measurement.result, ClampedWalkResult)
        texts |= measurement.result.texts
    return WalkRuns(
        runs=collect(assigned, measurements, ClampedWalkResult),
        choice=choice,
        inner=inner,
        tuned=tuned,
        tried=tuple(tried),
        measurements=(*measured, *measurements),
        texts=texts,
    )


def _describe_settings(trial: Trial, drawn: Mapping[str, WalkRuns]) -> dict[str, str]:
    settings = {"positions": trial.protocol.positions, "dtype": trial.dtype, "device": trial.device}
    scaled = "" if trial.protocol == SCRIPT else " (scaled)"
    for name, found in drawn.items():
        choice = found.choice
        settings[f"{name}, settings"] = (
            f"noise {choice.noise:.3g}, step {choice.step:.3g}{scaled}, at most {choice.outer} outer steps of "
            f"{found.inner}"
        )
    return settings
