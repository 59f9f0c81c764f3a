"""Scenarios: data of known truth as the suite's procedures would see them, and the suite's estimates of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, norm

from engine.claim.criteria import Above, AtLeast, Criterion, Ruling
from engine.experiments.inversion.samples import TUNING_UNITS
from engine.experiments.tuning.arm import StepOutcome
from engine.experiments.tuning.choose_step import StepChoice, upper_median
from engine.statistics import (
    Estimate,
    HitTimes,
    Look,
    geometric_ratio,
    hold_choices,
    median,
    median_ratio,
    paired_mean,
    proportion,
)
from engine.studies.calibration.results import EDGE, INSIDE, OUTSIDE

Floats = NDArray[np.float64]

MODEL_SEEDS = 4
"""Random models that units are spread over: see engine.models.subject."""

NAME = "estimate"
"""Of the one estimate that a simulated claim has."""

SHARE, DIFFERENCE, RATIO, MEDIAN, GEOMETRIC = (
    "share",
    "paired difference",
    "ratio of median hits",
    "median",
    "geometric mean ratio",
)
EQUIVALENT, TUNED = "difference with a smallest effect", "recovery at a tuned step size"
LEAST = 0.1
"""The smallest effect of interest of a difference."""

STEP_DISTANCES = (1.0, 1.05, 2.0)
"""Median distances at N at three step sizes, the truth being that of the first. The second can hardly be told from it,
and the recovery there lies as far on the other side of the edge."""

UNIT_SPREAD, STEP_SPREAD = 0.3, 0.15
"""Standard deviations of log distances between tuning units, and of one unit between step sizes."""

LOGARITHMIC = frozenset({RATIO, MEDIAN, GEOMETRIC})

TOKENS = 5
"""Of a prompt, so that recoveries are fifths."""

PAIR_CORRELATION = 0.5
"""Of the two runs of a pair, which share their prompt and start."""

SPREAD = 0.6
"""Standard deviation of log iterations, log ratios and log gains."""

SLOW_MEDIAN = 6000.0
"""Iterations of the slow arm; a multiple of every ratio, so that rounding to whole iterations moves no median."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A kind of estimand, where its criterion's edge lies, and how its data come about.

    shift: how far a truth just inside or outside lies from the edge, as a factor where the estimand is logarithmic.
    alike: intraclass correlation of the units of one model seed, for the normal variable behind each outcome.
    censored: share of the slow arm's runs that the cap cuts off.
    """

    estimand: str
    edge: float
    shift: float
    alike: float = 0.0
    censored: float = 0.0

    @property
    def criterion(self) -> Criterion:
        if self.estimand == EQUIVALENT:
            return Above(NAME, 0.0, least=LEAST, least_because="it is planted", because="its truth is known")
        return AtLeast(NAME, self.edge, because="its truth is known")

    @property
    def cap(self) -> int:
        """Iterations after which the share `censored` of the slow arm's runs has not hit."""
        if not self.censored:
            return 10**6
        return max(1, round(SLOW_MEDIAN * math.exp(SPREAD * float(norm.ppf(1 - self.censored)))))

    def place_truth(self, position: int) -> float:
        """The truth at the edge (0), inside (1) or outside (−1) of the criterion's region."""
        if self.estimand in LOGARITHMIC:
            return self.edge * self.shift**position
        return self.edge + self.shift * position

    def wrong(self, position: int) -> set[Ruling]:
        """The rulings that contradict the truth at a position; on the edge, every decisive one does.

        With a smallest effect, the edge is no effect at all or one of just that size: then one ruling alone is wrong.
        """
        if position == EDGE and self.estimand == EQUIVALENT:
            return {Ruling.REFUTED} if self.edge >= LEAST else {Ruling.SUPPORTED}
        return {INSIDE: {Ruling.REFUTED}, OUTSIDE: {Ruling.SUPPORTED}, EDGE: {Ruling.SUPPORTED, Ruling.REFUTED}}[
            position  # pyright: ignore[reportArgumentType]
        ]

    def draw(self, rng: np.random.Generator, n: int, truth: float) -> SimulatedUnits:
        """n units, assigned to the model seeds in turn."""
        seed = int(rng.integers(2**31))
        # Standard normal, [n], and correlated within a model seed.
        of_seeds = rng.standard_normal(MODEL_SEEDS)[np.arange(n) % MODEL_SEEDS]
        normal = math.sqrt(self.alike) * of_seeds + math.sqrt(1 - self.alike) * rng.standard_normal(n)
        # What an outcome is: a threshold for shares, an exponential for positive values, pairs for two arms.
        values: tuple[Floats, ...]
        distances: tuple[tuple[float, ...], ...] = ()
        if self.estimand == SHARE:
            values = ((normal < norm.ppf(truth)).astype(np.float64),)
        elif self.estimand == TUNED:
            far = 2 * self.edge - truth if truth != self.edge else self.edge + self.shift
            own = [
                PAIR_CORRELATION**0.5 * normal + (1 - PAIR_CORRELATION) ** 0.5 * rng.standard_normal(n) for _ in "123"
            ]
            values = tuple(_draw_recoveries(rng, one, m) for one, m in zip(own, (truth, far, self.edge), strict=True))
            of_units = UNIT_SPREAD * rng.standard_normal(TUNING_UNITS)
            distances = tuple(
                tuple(m * np.exp(of_units + STEP_SPREAD * rng.standard_normal(TUNING_UNITS))) for m in STEP_DISTANCES
            )
        elif self.estimand in (MEDIAN, GEOMETRIC):
            values = (truth * np.exp(SPREAD * normal),)
        else:
            own = rng.standard_normal((2, n))
            pair = math.sqrt(PAIR_CORRELATION) * normal + math.sqrt(1 - PAIR_CORRELATION) * own
            if self.estimand == RATIO:
                # Iterations of the slow and of the fast arm; the slow arm's median is fixed.
                medians = SLOW_MEDIAN, SLOW_MEDIAN / truth
                values = tuple(np.ceil(m * np.exp(SPREAD * one)) for m, one in zip(medians, pair, strict=True))
            else:
                # Recoveries, with a chance per unit: the mean of a beta(4m, 4(1 − m)) is m, and the two means lie
                # `truth` apart, around the middle.
                means = 0.5 + truth / 2, 0.5 - truth / 2
                # All chances are drawn before the first recovery: the kept figures were.
                chances = [_draw_chances(one, m) for one, m in zip(pair, means, strict=True)]
                values = tuple(rng.binomial(TOKENS, chance) / TOKENS for chance in chances)
        return SimulatedUnits(scenario=self, truth=truth, seed=seed, values=values, distances=distances)


def _draw_chances(normal: Floats, m: float) -> Floats:
    """A chance for each unit, from a beta(4m, 4(1 − m)), whose mean is m."""
    return np.asarray(beta.ppf(norm.cdf(normal), 4 * m, 4 * (1 - m)))


def _draw_recoveries(rng: np.random.Generator, normal: Floats, m: float) -> Floats:
    return rng.binomial(TOKENS, _draw_chances(normal, m)) / TOKENS


@dataclass(frozen=True, kw_only=True)
class SimulatedUnits:
    """The units of one simulated claim. values: of each arm, or of each step size, [n].

    seed: of the estimators that resample. distances: of the tuning units at each step size.
    """

    scenario: Scenario
    truth: float
    seed: int
    values: tuple[Floats, ...]
    distances: tuple[tuple[float, ...], ...] = ()

    def estimate(self, n: int, look: Look) -> Estimate:
        """The estimate that the suite's own estimator makes of the first n units at a look."""
        estimand, seed = self.scenario.estimand, self.seed
        first, *second = (list(arm[:n]) for arm in self.values)
        # Units of one model seed count as a cluster only where they are alike.
        clusters = [k % MODEL_SEEDS for k in range(n)] if self.scenario.alike else None
        if estimand == SHARE:
            return proportion(NAME, [value == 1 for value in first], clusters=clusters, look=look)
        if estimand == MEDIAN:
            return median(NAME, first, clusters=clusters, look=look)
        if estimand == GEOMETRIC:
            return geometric_ratio(NAME, first, [1.0] * n, clusters=clusters, seed=seed, look=look)
        if estimand == TUNED:
            chosen, *others = self._choose_steps()
            estimates = [
                paired_mean(
                    NAME,
                    list(self.values[k][:n]),
                    bounds=(0, 1),
                    clusters=clusters,
                    seed=seed,
                    counts="units",
                    look=look,
                )
                for k in (chosen, *others)
            ]
            return hold_choices(estimates[0], estimates[1:], "η")
        if estimand in (DIFFERENCE, EQUIVALENT):
            pairs = [one - other for one, other in zip(first, second[0], strict=True)]
            return paired_mean(NAME, pairs, bounds=(-1, 1), clusters=clusters, seed=seed, look=look)
        # Beyond the cap there is no hit: None, as a descent that ended at it records.
        cap = self.scenario.cap
        slow, fast = (
            HitTimes(hits=tuple(int(t) if t <= cap else None for t in arm), cap=cap, diverged=(False,) * n)
            for arm in (first, second[0])
        )
        return median_ratio(NAME, slow, fast, clusters=clusters, seed=seed, look=look)

    def _choose_steps(self) -> list[int]:
        """The index of the step size that tuning chooses, and of those that it could as well have chosen."""
        outcomes = tuple(
            StepOutcome(step=float(k), hits=(), diverged=(), median_distance=1.0, distances=distances)
            for k, distances in enumerate(self.distances)
        )
        medians = [upper_median(distances) for distances in self.distances]
        choice = StepChoice(step=float(medians.index(min(medians))), outcomes=outcomes, target="distance")
        return [int(choice.step), *map(int, choice.others)]


SCENARIOS = (
    Scenario(estimand=SHARE, edge=0.5, shift=0.2),
    Scenario(estimand=SHARE, edge=0.9, shift=0.07),
    Scenario(estimand=SHARE, edge=0.5, shift=0.2, alike=0.1),
    Scenario(estimand=DIFFERENCE, edge=0.0, shift=0.2),
    Scenario(estimand=DIFFERENCE, edge=0.5, shift=0.2),
    Scenario(estimand=DIFFERENCE, edge=0.0, shift=0.2, alike=0.1),
    Scenario(estimand=EQUIVALENT, edge=0.0, shift=0.2),
    Scenario(estimand=EQUIVALENT, edge=LEAST, shift=0.2),
    Scenario(estimand=TUNED, edge=0.5, shift=0.2),
    Scenario(estimand=TUNED, edge=0.2, shift=0.15),
    Scenario(estimand=RATIO, edge=30.0, shift=2.0),
    Scenario(estimand=RATIO, edge=30.0, shift=2.0, censored=0.3),
    Scenario(estimand=RATIO, edge=30.0, shift=2.0, censored=0.6),
    Scenario(estimand=RATIO, edge=1.0, shift=2.0, censored=0.3, alike=0.1),
    Scenario(estimand=MEDIAN, edge=10.0, shift=1.5),
    Scenario(estimand=MEDIAN, edge=10.0, shift=1.5, alike=0.1),
    Scenario(estimand=GEOMETRIC, edge=2.0, shift=1.5),
    Scenario(estimand=GEOMETRIC, edge=2.0, shift=1.5, alike=0.1),
)
