"""The choice of a step size: a measurement of its own, in as many rounds as it takes."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.arms.settings import DescentSettings, Unit
from engine.experiments.tuning.arm import MOST_EXTENSIONS, StepOutcome, TuningArm, TuningResult
from engine.statistics import HitTimes, median_hit


def every_second_power_of_two(low: int, high: int) -> tuple[float, ...]:
    """2^low, 2^(low + 2) … 2^high: every second point of a log grid of factor 2, to be tried first."""
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


def tune(
    settings: DescentSettings, steps: tuple[float, ...], units: tuple[Unit, ...], *, alone: bool = False
) -> Generator[Sequence[Arm], Sequence[Measurement], StepChoice]:
    """Try `steps`, then half and double of the best step size until both have been tried and neither is better.

    This refines the grid to a factor of 2 around its best, and widens it where the best is at its edge. The best has
    the smallest Kaplan–Meier median hit. Of equal medians, and where nothing hits, the one with the smaller median
    final distance is better, then the smaller step size. alone: each prompt's last token moves alone.
    Source: the catalogue's definition of tuned.
    """

    def median_of(outcome: StepOutcome) -> float:
        return median_hit(HitTimes(hits=outcome.hits, cap=settings.iterations, diverged=outcome.diverged))

    outcomes: dict[float, StepOutcome] = {}
    measurements: list[Measurement] = []
    horizon = settings.iterations
    while True:
        arm = TuningArm(
            settings=settings, steps=steps, units=units, horizon=horizon, batch=len(units) * len(steps), alone=alone
        )
        (measurement,) = yield [arm]
        result = measurement.result
        assert isinstance(result, TuningResult)
        measurements.append(measurement)
        outcomes |= {outcome.step: outcome for outcome in result.outcomes}
        # Step sizes of all rounds compete, though later rounds were read less far: see the horizon below.
        best = min(outcomes.values(), key=lambda o: (median_of(o), o.median_distance, o.step))
        median = median_of(best)
        steps = tuple(step for step in (best.step / 2, best.step * 2) if step not in outcomes)
        if not steps or len(measurements) > MOST_EXTENSIONS:
            return StepChoice(
                step=best.step,
                median=median,
                outcomes=tuple(outcomes[step] for step in sorted(outcomes)),
                measurements=tuple(measurements),
            )
        # A step size that has not hit by the best median so far cannot win any more.
        horizon = settings.iterations if math.isinf(median) else max(1, int(median))
