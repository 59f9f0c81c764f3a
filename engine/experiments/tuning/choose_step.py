"""The choice of a step size: a measurement of its own, in as many rounds as it takes."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.arms.settings import DescentSettings, TunedFor, Unit
from engine.experiments.tuning.arm import MOST_EXTENSIONS, StepOutcome, TuningArm, TuningResult
from engine.statistics import HitTimes, median_hit


def every_second_power_of_two(low: int, high: int) -> tuple[float, ...]:
    """2^low, 2^(low + 2) … 2^high: every second point of a log grid of factor 2, to be tried first."""
    return tuple(2.0**k for k in range(low, high + 1, 2))


HEAD_GRID = every_second_power_of_two(-20, -8)
OPEN_GRID = every_second_power_of_two(-13, -3)
NET_GRID = every_second_power_of_two(-8, 0)


PLAUSIBLE = 0.05
"""Share of resamples in which a step size has to be the best, to count as one that tuning could as well have chosen."""

RESAMPLES = 2000


def upper_median(values: Sequence[float]) -> float:
    """The middle value, of an even number the upper one, so that a run that diverged is not averaged in."""
    return sorted(values)[len(values) // 2]


@dataclass(frozen=True, kw_only=True)
class StepChoice:
    """The step size that was chosen, and all that were tried.

    median: of the tuning units, infinite when none got there, NaN where nothing was tuned: the Kaplan–Meier median hit,
    or the median distance at N in bounds, by what it was tuned for. source: where the step size comes from.
    """

    step: float
    median: float = math.nan
    outcomes: tuple[StepOutcome, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    source: str = "tuned"
    target: TunedFor = "hit"

    @cached_property
    def shares(self) -> dict[float, float]:
        """The share of resamples of the tuning units in which each step size is the best; empty for hits.

        Tuning units are drawn with replacement, the same for all step sizes.
        """
        tried = [outcome for outcome in self.outcomes if outcome.distances]
        if not tried:
            return {}
        distances = np.array([outcome.distances for outcome in tried])  # [steps, units], steps ascending
        units = distances.shape[1]
        drawn = np.random.default_rng(0).integers(units, size=(RESAMPLES, units))
        # The upper median, as that of all units; of equal ones the smaller step size, which comes first.
        medians = np.sort(distances[:, drawn], axis=2)[:, :, units // 2]  # [steps, resamples]
        best = np.bincount(medians.argmin(axis=0), minlength=len(tried)) / RESAMPLES
        return {outcome.step: float(share) for outcome, share in zip(tried, best, strict=True)}

    @property
    def others(self) -> tuple[float, ...]:
        """Step sizes that tuning could as well have chosen, beside the one that it did."""
        return tuple(step for step, share in self.shares.items() if step != self.step and share >= PLAUSIBLE)


COARSE_UNITS = 4
"""Units on which the region of the best step size is found, where it is the one with the earliest hit."""


def tune(
    settings: DescentSettings,
    steps: tuple[float, ...],
    units: tuple[Unit, ...],
    *,
    alone: bool = False,
    target: TunedFor = "hit",
) -> Generator[Sequence[Arm], Sequence[Measurement], StepChoice]:
    """Choose a step size, on a grid that is widened until the best lies inside it.

    For the distance, every step size is tried on all units. For the hit, the region is found on a few of them, and then
    half of the best, the best and its double are tried on all: most of the grid hits late, and waiting for that is what
    tuning costs. alone: each prompt's last token moves alone. Source: the catalogue's definition of tuned.
    """
    search = partial(_search_grid, settings, alone=alone, target=target)
    if target == "distance" or len(units) <= COARSE_UNITS:
        return (yield from search(steps, units))
    coarse = yield from search(steps, units[:COARSE_UNITS])
    fine = yield from search((coarse.step / 2, coarse.step, coarse.step * 2), units)
    return replace(fine, measurements=(*coarse.measurements, *fine.measurements))


def _search_grid(
    settings: DescentSettings,
    steps: tuple[float, ...],
    units: tuple[Unit, ...],
    *,
    alone: bool,
    target: TunedFor,
) -> Generator[Sequence[Arm], Sequence[Measurement], StepChoice]:
    """Try `steps`, then half and double of the best step size until both have been tried and neither is better.

    This refines the grid to a factor of 2 around its best, and widens it where the best is at its edge. For hits, the
    best has the smallest Kaplan–Meier median hit; of equal medians, and where nothing hits, the one with the smaller
    median final distance is better. For the distance, the best has the smallest median distance at N, in bounds. Of
    equal ones the smaller step size is better.
    """

    def median_of(outcome: StepOutcome) -> float:
        if target == "distance":
            return upper_median(outcome.distances)
        return median_hit(HitTimes(hits=outcome.hits, cap=settings.iterations, diverged=outcome.diverged))

    outcomes: dict[float, StepOutcome] = {}
    measurements: list[Measurement] = []
    horizon = settings.iterations
    while True:
        arm = TuningArm(
            settings=settings,
            steps=steps,
            units=units,
            horizon=horizon,
            batch=len(units) * len(steps),
            alone=alone,
            target=target,
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
                target=target,
            )
        # A step size that has not hit by the best median so far cannot win any more.
        if target == "hit":
            horizon = settings.iterations if math.isinf(median) else max(1, int(median))
