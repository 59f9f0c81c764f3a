"""The choice of a step size, a measurement of its own."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.experiments.tuning.arm import LARGEST_EXTENSIONS, StepOutcome, TuningArm, TuningResult
from engine.statistics import HitTimes, median_hit


def every_second_power_of_two(low: int, high: int) -> tuple[float, ...]:
    """2^low, 2^(low + 2) … 2^high: a log grid of factor 2 of which every second point is tried first."""
    return tuple(2.0**k for k in range(low, high + 1, 2))


HEAD_GRID = every_second_power_of_two(-20, -8)
OPEN_GRID = every_second_power_of_two(-13, -3)
NET_GRID = every_second_power_of_two(-8, 0)


@dataclass(frozen=True, kw_only=True)
class StepChoice:
    """The step size that was chosen, and all that were tried.

    median: Kaplan–Meier median hit on the tuning units, infinite when none hit by the cap, NaN where nothing was tuned.
    source: where the step size comes from.
    """

    step: float
    median: float = math.nan
    outcomes: tuple[StepOutcome, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    source: str = "tuned"


def tune(arm: TuningArm) -> Generator[Sequence[Arm], Sequence[Measurement], StepChoice]:
    """Try half and double of the best step size until both have been tried and neither is better.

    That refines the grid to a factor of 2 around its best and widens it where the best is at its edge.
    The best has the smallest Kaplan–Meier median hit; with equal medians the smaller median distance; if nothing
    hits, the smallest median final distance. A later round is only read to the best median so far, since a later
    one could not win. Source: the catalogue's definition of tuned.
    """
    outcomes: dict[float, StepOutcome] = {}
    measurements: list[Measurement] = []
    while True:
        (measurement,) = yield [arm]
        result = measurement.result
        assert isinstance(result, TuningResult)
        measurements.append(measurement)
        outcomes |= {outcome.step: outcome for outcome in result.outcomes}
        best = min(outcomes.values(), key=lambda outcome: _rank(outcome, arm))
        median = _median(best, arm)
        steps = _beyond(best.step, outcomes)
        if not steps or len(measurements) > LARGEST_EXTENSIONS:
            return StepChoice(
                step=best.step,
                median=median,
                outcomes=tuple(outcomes[step] for step in sorted(outcomes)),
                measurements=tuple(measurements),
            )
        horizon = arm.settings.iterations if math.isinf(median) else max(1, int(median))
        arm = replace(arm, steps=steps, horizon=horizon, batch=len(arm.units) * len(steps))


def _median(outcome: StepOutcome, arm: TuningArm) -> float:
    return median_hit(HitTimes(hits=outcome.hits, cap=arm.settings.iterations, diverged=outcome.diverged))


def _rank(outcome: StepOutcome, arm: TuningArm) -> tuple[float, float, float]:
    return _median(outcome, arm), outcome.median_distance, outcome.step


def _beyond(best: float, tried: dict[float, StepOutcome]) -> tuple[float, ...]:
    """The best's neighbours on the grid of factor 2 that have not been tried."""
    return tuple(step for step in (best / 2, best * 2) if step not in tried)
