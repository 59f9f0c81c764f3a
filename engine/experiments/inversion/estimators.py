"""Estimates from the runs of samples: small declarations that a claim combines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar
from typing import Protocol as Interface

from engine.experiments.inversion.readings import Reading
from engine.experiments.inversion.samples import RunsBySample
from engine.statistics import (
    ONLY,
    Estimate,
    Look,
    geometric_ratio,
    hold_choices,
    median_ratio,
    paired_mean,
    proportion,
    secondary_estimates,
    trend,
)


class Estimator(Interface):
    """One estimate from samples."""

    @property
    def samples(self) -> tuple[str, ...]:
        """Names of the samples that it needs. If one was not run at this effort, neither is the estimate made."""
        ...

    def estimate(self, runs: RunsBySample, look: Look = ONLY) -> Estimate:
        """The estimate, with the interval of one look at the claim."""
        ...


def estimate_over_choices(estimator: Estimator, runs: RunsBySample, look: Look = ONLY) -> Estimate:
    """An estimate whose interval holds those at every step size that tuning could as well have chosen.

    The value is that of the chosen step sizes. Where an estimate is of two samples, all pairs of their choices count;
    where it is of more, one sample's choice is changed at a time.
    """
    changed = [made for made, _ in _vary_choices(estimator, runs, look)]
    return hold_choices(estimator.estimate(runs, look), changed, "η")


def estimates_by_step(estimator: Estimator, runs: RunsBySample) -> list[tuple[str, Estimate]]:
    """The estimate at each choice of step sizes, named by them; empty where tuning left no other choice."""
    changed = _vary_choices(estimator, runs, ONLY)
    if not changed:
        return []
    names = dict.fromkeys(estimator.samples)
    words = ", ".join(f"{name}: {runs[name].tuned.step:g}" for name in names)
    return [(f"{words} (chosen)", estimator.estimate(runs)), *((words, made) for made, words in changed)]


def _vary_choices(estimator: Estimator, runs: RunsBySample, look: Look) -> list[tuple[Estimate, str]]:
    names = list(dict.fromkeys(estimator.samples))
    choices = [(runs[name], *runs[name].others) for name in names]
    every = list(product(*choices))
    first = every[0]
    if len(names) > 2:
        every = [first, *(one for one in every if sum(a is not b for a, b in zip(one, first, strict=True)) == 1)]
    found: list[tuple[Estimate, str]] = []
    for chosen in every[1:]:
        words = ", ".join(f"{name}: {one.tuned.step:g}" for name, one in zip(names, chosen, strict=True))
        found.append((estimator.estimate({**runs, **dict(zip(names, chosen, strict=True))}, look), words))
    return found


def read_units(
    runs: RunsBySample, *terms: tuple[str, Reading], among: Sequence[Reading] = ()
) -> tuple[list[tuple[float, ...]], list[tuple[int, ...]]]:
    """What each unit that counts is read for: one value for each term, and the model seed behind each value.

    terms: (sample, reading); samples are paired by unit. A unit counts if every term has a value for it and its first
    sample is 1 in every reading of `among`. Where a term's readings need the ceiling, it also has to be 1.
    """
    samples = [runs[name] for name, _ in terms]
    values: list[tuple[float, ...]] = []
    clusters: list[tuple[int, ...]] = []
    by_unit = zip(*(sample.runs for sample in samples), strict=True)
    seeds_by_unit = zip(*(sample.clusters for sample in samples), strict=True)
    for unit, seeds in zip(by_unit, seeds_by_unit, strict=True):
        read: list[float] = []  # shorter than `terms` where the unit does not count
        for k, (run, sample, (_, reading)) in enumerate(zip(unit, samples, terms, strict=True)):
            conditions = among if k == 0 else ()
            # Where e itself does not decode to its tokens, a descent that missed them says nothing about descents.
            needs_ceiling = any(one.needs_ceiling for one in (reading, *conditions))
            value = reading.read(run, sample.texts)
            if (
                value is not None
                and (run.ceiling == 1 or not needs_ceiling)
                and all(one.read(run, sample.texts) == 1 for one in conditions)
            ):
                read.append(value)
        if len(read) == len(terms):
            values.append(tuple(read))
            clusters.append(seeds)
    return values, clusters


@dataclass(frozen=True, kw_only=True)
class HitRatio:
    """Median hit of `slow` over that of `fast` (Kaplan–Meier), paired by prompt and start, to one cap."""

    tag: ClassVar[str] = "HitRatio"
    name: str
    slow: str
    fast: str

    @property
    def samples(self) -> tuple[str, ...]:
        return (self.slow, self.fast)

    def estimate(self, runs: RunsBySample, look: Look = ONLY) -> Estimate:
        slow, fast = runs[self.slow], runs[self.fast]
        # Runs of one model seed share its weights; where both sides are trained there is one seed and no clusters.
        clusters = tuple(zip(slow.clusters, fast.clusters, strict=True))
        return median_ratio(self.name, slow.hit_times, fast.hit_times, clusters=clusters, seed=0, look=look)

    def estimate_companions(self, runs: RunsBySample) -> tuple[Estimate, ...]:
        """What is shown beside the ratio and decides nothing."""
        slow, fast = runs[self.slow], runs[self.fast]
        clusters = tuple(zip(slow.clusters, fast.clusters, strict=True))
        return secondary_estimates(self.name, slow.hit_times, fast.hit_times, clusters=clusters, seed=0)


@dataclass(frozen=True, kw_only=True)
class _OfOneSample:
    name: str
    of: str

    @property
    def samples(self) -> tuple[str, ...]:
        return (self.of,)


@dataclass(frozen=True, kw_only=True)
class HitRate(_OfOneSample):
    """Share of units that come within the bound by their cap."""

    tag: ClassVar[str] = "HitRate"

    def estimate(self, runs: RunsBySample, look: Look = ONLY) -> Estimate:
        sample = runs[self.of]
        return proportion(self.name, [run.hit is not None for run in sample.runs], clusters=sample.clusters, look=look)


@dataclass(frozen=True, kw_only=True)
class Rate(_OfOneSample):
    """Share of units for which a reading is 1, among those for which every reading of `among` is."""

    tag: ClassVar[str] = "Rate"
    reading: Reading
    among: tuple[Reading, ...] = ()

    def estimate(self, runs: RunsBySample, look: Look = ONLY) -> Estimate:
        values, clusters = read_units(runs, (self.of, self.reading), among=self.among)
        return proportion(self.name, [value == 1 for (value,) in values], clusters=clusters, look=look)


@dataclass(frozen=True, kw_only=True)
class Mean(_OfOneSample):
    """Mean of a reading over units, among those for which every reading of `among` is 1."""

    tag: ClassVar[str] = "Mean"
    reading: Reading
    among: tuple[Reading, ...] = ()

    def estimate(self, runs: RunsBySample, look: Look = ONLY) -> Estimate:
        values, clusters = read_units(runs, (self.of, self.reading), among=self.among)
        singles, bounds = [value for (value,) in values], self.reading.bounds
        return paired_mean(self.name, singles, bounds=bounds, clusters=clusters, seed=0, counts="units", look=look)


@dataclass(frozen=True, kw_only=True)
class PooledMean:
    """Mean over units of a reading's mean over several samples of each unit, where every reading of `among` is 1."""

    tag: ClassVar[str] = "PooledMean"
    name: str
    over: tuple[str, ...]
    reading: Reading
    among: tuple[Reading, ...] = ()

    @property
    def samples(self) -> tuple[str, ...]:
        return self.over

    def estimate(self, runs: RunsBySample, look: Look = ONLY) -> Estimate:
        samples = [runs[name] for name in self.over]
        means: list[float] = []
        clusters: list[int] = []
        by_unit = zip(*(sample.runs for sample in samples), strict=True)
        for unit, seed in zip(by_unit, samples[0].clusters, strict=True):
            read = [
                value
                for run, sample in zip(unit, samples, strict=True)
                if (value := self.reading.read(run, sample.texts)) is not None
                and all(one.read(run, sample.texts) == 1 for one in self.among)
            ]
            if read:
                means.append(sum(read) / len(read))
                clusters.append(seed)
        bounds = self.reading.bounds
        return paired_mean(self.name, means, bounds=bounds, clusters=clusters, seed=0, counts="units", look=look)


@dataclass(frozen=True, kw_only=True)
class HitWidth:
    """How many more of some samples hit than of others, unit by unit.

    Where samples differ in their step size alone, by equal factors, it is a difference of widths: of the ranges of
    step sizes at which a unit's descent comes within its bound. more, less: as many samples each.
    """

    tag: ClassVar[str] = "HitWidth"
    name: str
    more: tuple[str, ...]
    less: tuple[str, ...]

    @property
    def samples(self) -> tuple[str, ...]:
        return (*self.more, *self.less)

    def estimate(self, runs: RunsBySample, look: Look = ONLY) -> Estimate:
        def count(names: tuple[str, ...]) -> list[int]:
            by_unit = zip(*(runs[name].runs for name in names), strict=True)
            return [sum(run.hit is not None for run in unit) for unit in by_unit]

        differences = [float(a - b) for a, b in zip(count(self.more), count(self.less), strict=True)]
        clusters = list(zip(runs[self.more[0]].clusters, runs[self.less[0]].clusters, strict=True))
        bounds = (-float(len(self.less)), float(len(self.more)))
        return paired_mean(self.name, differences, bounds=bounds, clusters=clusters, seed=0, counts="units", look=look)


@dataclass(frozen=True, kw_only=True)
class GeometricMean(_OfOneSample):
    """Geometric mean of a reading that is above 0."""

    tag: ClassVar[str] = "GeometricMean"
    reading: Reading

    def estimate(self, runs: RunsBySample, look: Look = ONLY) -> Estimate:
        values, clusters = read_units(runs, (self.of, self.reading))
        singles = [value for (value,) in values]
        return geometric_ratio(self.name, singles, [1.0] * len(singles), clusters=clusters, seed=0, look=look)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A reading of one sample minus a reading of another (or of the same), paired by prompt and start."""

    tag: ClassVar[str] = "Difference"
    name: str
    more: tuple[str, Reading]
    less: tuple[str, Reading]
    among: tuple[Reading, ...] = ()

    @property
    def samples(self) -> tuple[str, ...]:
        return (self.more[0], self.less[0])

    def estimate(self, runs: RunsBySample, look: Look = ONLY) -> Estimate:
        pairs, clusters = read_units(runs, self.more, self.less, among=self.among)
        first, second = self.more[1].bounds, self.less[1].bounds
        # Where there are too few pairs for an interval, the bounds of the difference are its interval.
        bounds = (first[0] - second[1], first[1] - second[0]) if first and second else None
        return paired_mean(self.name, [a - b for a, b in pairs], bounds=bounds, clusters=clusters, seed=0, look=look)


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Geometric mean of a reading of one sample over a reading of another, paired by prompt and start."""

    tag: ClassVar[str] = "Quotient"
    name: str
    over: tuple[str, Reading]
    under: tuple[str, Reading]

    @property
    def samples(self) -> tuple[str, ...]:
        return (self.over[0], self.under[0])

    def estimate(self, runs: RunsBySample, look: Look = ONLY) -> Estimate:
        pairs, clusters = read_units(runs, self.over, self.under)
        over, under = [a for a, _ in pairs], [b for _, b in pairs]
        return geometric_ratio(self.name, over, under, clusters=clusters, seed=0, look=look)


@dataclass(frozen=True, kw_only=True)
class Trend:
    """Whether a reading rises over samples in their order, unit by unit; shown beside contrasts of neighbours."""

    tag: ClassVar[str] = "Trend"
    name: str
    over: tuple[str, ...]
    reading: Reading

    @property
    def samples(self) -> tuple[str, ...]:
        return self.over

    def estimate(self, runs: RunsBySample, look: Look = ONLY) -> Estimate:
        values, clusters = read_units(runs, *((name, self.reading) for name in self.over))
        return trend(self.name, values, clusters=clusters, seed=0, look=look)
