"""The choice of a step size, a measurement of its own."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from engine.measurement import Arm, Measurement, StepOutcome, TuningArm, TuningResult
from engine.statistics import HitTimes, median_hit

LARGEST_EXTENSIONS = 8
"""Extensions of a grid before its edge is taken as it is (a factor of 2¹⁶ on one side)."""


def powers_of_two(low: int, high: int) -> tuple[float, ...]:
    """2^low … 2^high, the log grid of factor 2."""
    return tuple(2.0**k for k in range(low, high + 1))


HEAD_GRID = powers_of_two(-20, -8)
OPEN_GRID = powers_of_two(-13, -4)
NET_GRID = powers_of_two(-8, -1)


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The step size that was chosen, and all that were tried.

    median: Kaplan–Meier median hit on the tuning units, infinite when none hit by the cap.
    """

    step: float
    median: float
    outcomes: tuple[StepOutcome, ...]
    measurements: tuple[Measurement, ...]


def tune(arm: TuningArm) -> Generator[Sequence[Arm], Sequence[Measurement], Tuned]:
    """Widen the grid by two steps on the side of the best until the best is not at its edge.

    The best has the smallest Kaplan–Meier median hit; with equal medians the smaller median distance; if nothing
    hits, the smallest median final distance. An extension is only read to the best median so far, since a later
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
            return Tuned(
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
    """Two more steps past the edge that the best sits on; none when it is interior."""
    if best == min(tried):
        return (best / 4, best / 2)
    return (best * 2, best * 4) if best == max(tried) else ()
