"""Data of known truth as the suite's procedures would see them, and the estimates that it makes of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, norm

from engine.claim.criteria import AtLeast, Criterion
from engine.experiments.sampling import MODEL_SEEDS
from engine.statistics import Estimate, HitTimes, Look, geometric_ratio, median, median_ratio, paired_mean, proportion

Floats = NDArray[np.float64]

NAME = "estimate"
TOKENS = 5
"""Of a prompt: recoveries are fifths."""

ALIKE = 0.5
"""Correlation of the two runs of a pair, which share their prompt and start."""

SPREAD = 0.6
"""Standard deviation of log iterations, log ratios and log gains."""

SLOW_MEDIAN = 6000.0
"""Iterations; a multiple of every ratio, so that whole iterations move no median."""


@dataclass(frozen=True, kw_only=True)
class World:
    """A kind of estimand, where its criterion's edge lies, and how its data come about.

    alike: what units of one model seed share, as an intraclass correlation of the normal variable behind each outcome.
    censored: share of the slow arm's runs that the cap cuts off. shift: what lies just inside the edge lies so far
    beyond it, in the estimand's own scale (a factor where that is logarithmic).
    """

    estimand: str
    edge: float
    shift: float
    alike: float = 0.0
    censored: float = 0.0

    @property
    def criterion(self) -> Criterion:
        return AtLeast(NAME, self.edge, because="its truth is known")

    def place(self, position: int) -> float:
        """The truth at the edge (0), inside (1) or outside (−1) of the criterion's region."""
        if self.estimand in LOGARITHMIC:
            return self.edge * self.shift**position
        return self.edge + self.shift * position

    def draw(self, rng: np.random.Generator, n: int, truth: float) -> Data:
        """n units, dealt in turn to the model seeds."""
        return Data(
            world=self,
            truth=truth,
            seed=int(rng.integers(2**31)),
            n=n,
            values=KINDS[self.estimand](self, rng, n, truth),
        )


@dataclass(frozen=True, kw_only=True)
class Data:
    """The units of one simulated claim, of which a look sees the first."""

    world: World
    truth: float
    seed: int
    n: int
    values: tuple[Floats, ...]

    def estimate(self, n: int, look: Look) -> Estimate:
        """What the suite's own estimators make of the first n units at a look."""
        first = replace(self, n=n, values=tuple(one[:n] for one in self.values))
        clusters = [k % len(MODEL_SEEDS) for k in range(n)] if self.world.alike else None
        return ESTIMATORS[self.world.estimand](first, clusters, look)


def draw_normal(world: World, rng: np.random.Generator, n: int) -> Floats:
    """Standard normal, [n], alike within model seeds."""
    seeds = rng.standard_normal(len(MODEL_SEEDS))[np.arange(n) % len(MODEL_SEEDS)]
    return math.sqrt(world.alike) * seeds + math.sqrt(1 - world.alike) * rng.standard_normal(n)


def _draw_share(world: World, rng: np.random.Generator, n: int, truth: float) -> tuple[Floats, ...]:
    return ((draw_normal(world, rng, n) < norm.ppf(truth)).astype(np.float64),)


def _draw_recoveries(world: World, rng: np.random.Generator, n: int, truth: float) -> tuple[Floats, ...]:
    """Two recoveries of five tokens each, whose chances differ from unit to unit and hang together within a pair."""
    shared = draw_normal(world, rng, n)
    own = rng.standard_normal((2, n))
    latent = math.sqrt(ALIKE) * shared + math.sqrt(1 - ALIKE) * own
    # The mean of a beta(4m, 4(1 − m)) is m: two means that are `truth` apart, around the middle.
    means = 0.5 + truth / 2, 0.5 - truth / 2
    chances = [beta.ppf(norm.cdf(one), 4 * mean, 4 * (1 - mean)) for one, mean in zip(latent, means, strict=True)]
    return tuple(rng.binomial(TOKENS, chance) / TOKENS for chance in chances)


def _draw_logs(world: World, rng: np.random.Generator, n: int, truth: float) -> tuple[Floats, ...]:
    return (truth * np.exp(SPREAD * draw_normal(world, rng, n)),)


def _draw_hits(world: World, rng: np.random.Generator, n: int, truth: float) -> tuple[Floats, ...]:
    """Iterations of the slow and of the fast arm; the slow one's median is fixed."""
    shared = draw_normal(world, rng, n)
    own = rng.standard_normal((2, n))
    latent = math.sqrt(ALIKE) * shared + math.sqrt(1 - ALIKE) * own
    medians = SLOW_MEDIAN, SLOW_MEDIAN / truth
    return tuple(np.ceil(middle * np.exp(SPREAD * one)) for middle, one in zip(medians, latent, strict=True))


def find_cap(world: World) -> int:
    """The cap that cuts off the world's share of the slow arm."""
    if not world.censored:
        return 10**6
    return max(1, round(SLOW_MEDIAN * math.exp(SPREAD * float(norm.ppf(1 - world.censored)))))


def _estimate_ratio(data: Data, clusters: list[int] | None, look: Look) -> Estimate:
    cap = find_cap(data.world)
    slow, fast = (
        HitTimes(hits=tuple(int(t) if t <= cap else None for t in arm), cap=cap, diverged=(False,) * data.n)
        for arm in data.values
    )
    return median_ratio(NAME, slow, fast, clusters=clusters, seed=data.seed, look=look)


def _estimate_share(data: Data, clusters: list[int] | None, look: Look) -> Estimate:
    return proportion(NAME, [value == 1 for value in data.values[0]], clusters=clusters, look=look)


def _estimate_difference(data: Data, clusters: list[int] | None, look: Look) -> Estimate:
    pairs = list(data.values[0] - data.values[1])
    return paired_mean(NAME, pairs, bounds=(-1, 1), clusters=clusters, seed=data.seed, look=look)


def _estimate_median(data: Data, clusters: list[int] | None, look: Look) -> Estimate:
    return median(NAME, list(data.values[0]), clusters=clusters, look=look)


def _estimate_geometric(data: Data, clusters: list[int] | None, look: Look) -> Estimate:
    ones = [1.0] * data.n
    return geometric_ratio(NAME, list(data.values[0]), ones, clusters=clusters, seed=data.seed, look=look)


SHARE, DIFFERENCE, RATIO, MEDIAN, GEOMETRIC = (
    "share",
    "paired difference",
    "ratio of median hits",
    "median",
    "geometric mean ratio",
)
LOGARITHMIC = frozenset({RATIO, MEDIAN, GEOMETRIC})
KINDS: dict[str, Callable[[World, np.random.Generator, int, float], tuple[Floats, ...]]] = {
    SHARE: _draw_share,
    DIFFERENCE: _draw_recoveries,
    RATIO: _draw_hits,
    MEDIAN: _draw_logs,
    GEOMETRIC: _draw_logs,
}
ESTIMATORS: dict[str, Callable[[Data, list[int] | None, Look], Estimate]] = {
    SHARE: _estimate_share,
    DIFFERENCE: _estimate_difference,
    RATIO: _estimate_ratio,
    MEDIAN: _estimate_median,
    GEOMETRIC: _estimate_geometric,
}
WORLDS = (
    World(estimand=SHARE, edge=0.5, shift=0.2),
    World(estimand=SHARE, edge=0.9, shift=0.07),
    World(estimand=SHARE, edge=0.5, shift=0.2, alike=0.1),
    World(estimand=DIFFERENCE, edge=0.0, shift=0.2),
    World(estimand=DIFFERENCE, edge=0.5, shift=0.2),
    World(estimand=DIFFERENCE, edge=0.0, shift=0.2, alike=0.1),
    World(estimand=RATIO, edge=30.0, shift=2.0),
    World(estimand=RATIO, edge=30.0, shift=2.0, censored=0.3),
    World(estimand=RATIO, edge=30.0, shift=2.0, censored=0.6),
    World(estimand=RATIO, edge=1.0, shift=2.0, censored=0.3, alike=0.1),
    World(estimand=MEDIAN, edge=10.0, shift=1.5),
    World(estimand=MEDIAN, edge=10.0, shift=1.5, alike=0.1),
    World(estimand=GEOMETRIC, edge=2.0, shift=1.5),
    World(estimand=GEOMETRIC, edge=2.0, shift=1.5, alike=0.1),
)
