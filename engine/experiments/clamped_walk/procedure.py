"""Clamped walks: how much farther the input moves than the output, and what becomes of the text."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median as middle
from typing import ClassVar

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.arms.protocol import SCRIPT
from engine.arms.settings import StackSettings, Unit
from engine.arms.stacks import AnyStack, Stack
from engine.arms.tags import TAG
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.claim.units import Units
from engine.experiments.clamped_walk.arm import ClampedWalkArm, ClampedWalkResult, WalkChoice, WalkRun
from engine.experiments.clamped_walk.readings import WalkRuns, drift_ratio, gain_of, r_of
from engine.experiments.clamped_walk.tables import (
    decoded_table,
    ending_table,
    progress_table,
    walk_table,
    walk_tuning_table,
)
from engine.experiments.sampling import (
    DEEP,
    Runs,
    assign_arms,
    collect,
    run_together,
    stack_settings,
    tuning_seed,
    tuning_units,
)
from engine.experiments.tables import estimate_table
from engine.statistics import Estimate, Look, median, paired_mean, trend

TUNING_WALKS, TEXT_TUNING_WALKS = 4, 2

DISTANCE = 0.1
"""‖e − e_N‖₁ / ‖e‖₁ at which walks are compared."""

SCRIPT_CHOICE = WalkChoice(noise=2e-4, step=2e-5, outer=10)
"""The author's scripts: uniform noise on [0, 1) times the first, absolute units."""

PAGE_INNER, SCRIPT_INNER = 50, 31
"""Descent steps after each shift where there are many: the document's, and the scripts'."""

# A shift of standard deviation s reaches coordinate u ∈ [0, 1) of the width when the index lies below it, so that K
# outer steps add it about K·u times: E|Δ| = √(2/π)·s·√(K·u), and over the width √(2/π)·(2/3)·s·√K = 0.53·s·√K. The
# relative distance 0.1 then takes s = 0.19/√K. The two factors let a walk arrive although the descent pulls it back.
_REACH = 0.19
GAIN_CHOICES = tuple(
    WalkChoice(noise=factor * _REACH / math.sqrt(outer), step=step, outer=outer)
    for outer in (5, 10, 20)
    for factor in (1.25, 2.0)
    for step in (1 / 256, 1 / 32, 1 / 4, 2.0)
)
"""24 settings: outer steps × noise × step size, a log grid of factor 8, wide enough for deep stacks and for nets.

No two noises are equal: walks that differ in their outer steps alone would be one walk once both arrive.
"""

READS = (10, 30, 100, 300)
TEXT_TUNING_READS = READS[:-1]
TEXT_CHOICES = tuple(
    WalkChoice(noise=noise, step=step, outer=TEXT_TUNING_READS[-1])
    for noise in (1 / 32, 1 / 16, 1 / 8, 1 / 4)
    for step in (1 / 64, 1 / 16, 1 / 4)
)
"""12 settings: noise × step size."""


@dataclass(frozen=True, kw_only=True)
class ClampedWalk:
    """Walks on one stack.

    many_inner_steps: descend many times after each shift, else once. units: None takes the claim's.
    """

    tag: ClassVar[str] = "ClampedWalk"
    stack: AnyStack
    many_inner_steps: bool = field(default=False, metadata={TAG: "many"})
    first_tokens: int | None = None
    units: Units | None = None


@dataclass(frozen=True, kw_only=True)
class ClampedGain:
    """r = ‖e − e_N‖₁ / ‖ΔO‖₁ of clamped walks, and its gain over the r of a random step of equal ‖e − e_N‖₁.

    walks: name → walk. Gives the medians 'gain, name' and 'r, name' for each. Settings are tuned for the largest
    median gain at a fixed relative distance; the scripts' protocol has its own and walks them to the end.
    """

    tag: ClassVar[str] = "ClampedGain"
    walks: tuple[tuple[str, ClampedWalk], ...]

    def rounds(self, trial: Trial) -> Rounds:
        named = [
            (name, walk, replace(trial, units=walk.units or trial.units))
            for name, walk in self.walks
            # A part that an effort leaves out stays out with a user's own prompts, too: it is left out for its cost.
            if walk.units is None or walk.units.at(trial.effort)
        ]
        named = [(name, walk, own) for name, walk, own in named if own.count()]
        if not named:
            return Evidence()
        walked = yield from run_together(*(_draw_gain(own, walk) for _, walk, own in named))
        drawn = {name: found for (name, _, _), found in zip(named, walked, strict=True)}
        estimates = [
            _median(f"{what}, {name}", [value(run) for run in found.runs.runs], found.runs, trial.look)
            for name, found in drawn.items()
            for what, value in (("gain", gain_of), ("r", r_of))
        ]
        return Evidence(
            estimates=Evidence.named(*estimates),
            draw=lambda: (estimate_table(estimates), ending_table(drawn), walk_table(drawn), walk_tuning_table(drawn)),
            settings=_words(trial, drawn),
            measurements=tuple(m for found in drawn.values() for m in found.measurements),
        )


Drawing = Generator[Sequence[Arm], Sequence[Measurement], WalkRuns]


def _draw_gain(trial: Trial, walk: ClampedWalk) -> Drawing:
    """Tune a walk for its gain on units of tuning's own, then measure it on the trial's."""
    script = trial.protocol == SCRIPT
    inner = (SCRIPT_INNER if script else PAGE_INNER) if walk.many_inner_steps else 1
    arm = _frame(walk.stack, inner=inner, script=script, stop_at=None if script else DISTANCE)
    tuned = None
    if not script:
        tuned = yield from _tune(trial, walk, replace(arm, choices=GAIN_CHOICES), TUNING_WALKS, _rank_by_gain)
    return (yield from _measure(trial, walk, arm, tuned))


def _frame(
    stack: AnyStack, *, inner: int, script: bool, stop_at: float | None = None, reads: tuple[int, ...] = ()
) -> ClampedWalkArm:
    """An arm without settings and units, to be filled in."""
    return ClampedWalkArm(
        settings=StackSettings(subject="", source="", stack=stack, protocol=SCRIPT),
        choices=(),
        units=(),
        inner=inner,
        law="uniform" if script else "normal",
        scaled=not script,
        stop_at=stop_at,
        reads=reads,
    )


@dataclass(frozen=True, kw_only=True)
class _Tuned:
    choice: WalkChoice
    tried: tuple[tuple[WalkChoice, tuple[WalkRun, ...]], ...]
    measurements: tuple[Measurement, ...]


Rank = Callable[[Sequence[WalkRun]], tuple[float, ...]]
"""Of the tuning walks of one choice; the smallest wins, the earlier choice where two are equal."""


def _tune(
    trial: Trial, walk: ClampedWalk, frame: ClampedWalkArm, count: int, rank: Rank
) -> Generator[Sequence[Arm], Sequence[Measurement], _Tuned]:
    seed = tuning_seed(trial, walk.stack)
    arm = replace(
        frame,
        settings=stack_settings(trial, walk.stack, seed, first_tokens=walk.first_tokens),
        units=tuning_units(1 if trial.effort == "smoke" else count, first_tokens=walk.first_tokens),
    )
    measurements = yield [arm]
    result = measurements[0].result
    assert isinstance(result, ClampedWalkResult)
    runs = result.runs
    tried = tuple((choice, tuple(run for run in runs if run.choice == k)) for k, choice in enumerate(arm.choices))
    best = min(tried, key=lambda pair: rank(pair[1]))
    return _Tuned(choice=best[0], tried=tried, measurements=tuple(measurements))


def _rank_by_gain(runs: Sequence[WalkRun]) -> tuple[float, ...]:
    """Most arrivals first, then the largest median gain."""
    arrived = sum(run.arrived and not run.diverged for run in runs)
    return (-arrived, -middle(gain_of(run) for run in runs))


def _rank_by_text(runs: Sequence[WalkRun]) -> tuple[float, ...]:
    """Among those whose median output stays within m, the lowest recovery at the end; else the smallest ratio."""
    ratio = middle(drift_ratio(run) for run in runs)
    recovery = sum(run.end.recovery for run in runs) / len(runs)
    # With equal recoveries the input that went farthest: a walk that hardly moves would say nothing of the text.
    far = middle(run.end.input_distance / run.size for run in runs)
    return (0.0, recovery, -far) if ratio < 1 else (1.0, ratio, 0.0)


def _measure(trial: Trial, walk: ClampedWalk, frame: ClampedWalkArm, tuned: _Tuned | None) -> Drawing:
    choice = SCRIPT_CHOICE if tuned is None else tuned.choice
    if frame.reads:
        choice = replace(choice, outer=frame.reads[-1])

    def make(settings: StackSettings, units: tuple[Unit, ...]) -> ClampedWalkArm:
        return replace(frame, settings=settings, units=units, choices=(choice,))

    assigned = assign_arms(trial, walk.stack, make, first_tokens=walk.first_tokens)
    measurements = yield [dealt.arm for dealt in assigned]
    runs: Runs[WalkRun] = collect(assigned, measurements, ClampedWalkResult)
    results = [m.result for m in measurements]
    return WalkRuns(
        runs=runs,
        choice=choice,
        inner=frame.inner,
        tuned=None if tuned is None else tuned.choice,
        tried=() if tuned is None else tuned.tried,
        measurements=(*(() if tuned is None else tuned.measurements), *measurements),
        texts={i: text for r in results if isinstance(r, ClampedWalkResult) for i, text in r.texts.items()},
    )


@dataclass(frozen=True, kw_only=True)
class ClampedText:
    """What a long walk makes of the text: recovery after 10, 30, 100 and 300 outer steps of one descent step each.

    Gives the paired contrasts 'recovery(10) − recovery(30)' and so on, over units whose ceiling is 1, and 'largest
    ‖ΔO‖₁ / m', the median over walks of their largest output distance at a reading over m(σ).
    """

    tag: ClassVar[str] = "ClampedText"
    stack: AnyStack = Stack(blocks=DEEP)

    def rounds(self, trial: Trial) -> Rounds:
        if not trial.count():
            return Evidence()
        found = yield from _draw_text(trial, ClampedWalk(stack=self.stack))
        estimates = [
            _median("largest ‖ΔO‖₁ / m", list(map(drift_ratio, found.runs.runs)), found.runs, trial.look),
            *(_fall(found.runs, before, after, trial.look) for before, after in pairwise(READS)),
            _fade(found.runs, trial.look),
        ]
        drawn = {"walk": found}
        return Evidence(
            estimates=Evidence.named(*estimates),
            draw=lambda: (
                *(estimate_table(estimates), progress_table(found), decoded_table(found), walk_table(drawn)),
                walk_tuning_table(drawn, sought="text"),
            ),
            settings=_words(trial, drawn),
            measurements=found.measurements,
        )


def _draw_text(trial: Trial, walk: ClampedWalk) -> Drawing:
    script = trial.protocol == SCRIPT
    frame = _frame(walk.stack, inner=1, script=script, reads=READS)
    tuned = None
    if not script:
        shorter = replace(frame, choices=TEXT_CHOICES, reads=TEXT_TUNING_READS)
        tuned = yield from _tune(trial, walk, shorter, TEXT_TUNING_WALKS, _rank_by_text)
    return (yield from _measure(trial, walk, frame, tuned))


def _median(name: str, values: list[float], runs: Runs[WalkRun], look: Look) -> Estimate:
    return median(name, values, clusters=runs.clusters, look=look)


def _fall(runs: Runs[WalkRun], before: int, after: int, look: Look) -> Estimate:
    judged = _list_whole(runs)
    return paired_mean(
        f"recovery({before}) − recovery({after})",
        [_recovery(run, before) - _recovery(run, after) for run, _ in judged],
        bounds=(-1, 1),
        clusters=[seed for _, seed in judged],
        seed=0,
        look=look,
    )


def _fade(runs: Runs[WalkRun], look: Look) -> Estimate:
    judged = _list_whole(runs)
    rows = [[_recovery(run, outer) for outer in READS] for run, _ in judged]
    return trend("recovery over outer steps, τ", rows, clusters=[seed for _, seed in judged], seed=0, look=look)


def _list_whole(runs: Runs[WalkRun]) -> list[tuple[WalkRun, int]]:
    """Runs whose ceiling is 1, with their model seeds."""
    return [(run, seed) for run, seed in zip(runs.runs, runs.clusters, strict=True) if run.ceiling == 1]


def _recovery(run: WalkRun, outer: int) -> float:
    # A walk that was sent home had numbers that are not finite, and had kept no token.
    return next((read.recovery for read in run.reads if read.outer == outer), 0.0)


def _words(trial: Trial, drawn: dict[str, WalkRuns]) -> dict[str, str]:
    words = {"positions": trial.protocol.positions, "dtype": trial.dtype, "device": trial.device}
    for name, found in drawn.items():
        choice, unit = found.choice, "" if trial.protocol == SCRIPT else " (scaled)"
        words[f"{name}, settings"] = (
            f"noise {choice.noise:.3g}, step {choice.step:.3g}{unit}, at most {choice.outer} outer steps of "
            f"{found.inner}"
        )
    return words
