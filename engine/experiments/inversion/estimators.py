"""From the runs of samples to estimates: each a small declaration that a claim combines."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import ClassVar
from typing import Protocol as Interface

from engine.experiments.inversion.arm import InversionRun
from engine.experiments.inversion.readings import Reading
from engine.experiments.inversion.samples import SampleRuns
from engine.statistics import (
    ONLY,
    Estimate,
    HitTimes,
    Look,
    geometric_ratio,
    median_ratio,
    paired_mean,
    proportion,
    secondary_estimates,
    trend,
)

Samples = Mapping[str, SampleRuns]


class Estimator(Interface):
    """One estimate from samples that were drawn; its interval is the one of the look."""

    @property
    def samples(self) -> tuple[str, ...]:
        """Names of the samples that it needs; without one of them it was not run at this effort."""
        ...

    def estimate(self, drawn: Samples, look: Look = ONLY) -> Estimate: ...


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

    def estimate(self, drawn: Samples, look: Look = ONLY) -> Estimate:
        slow, fast = drawn[self.slow], drawn[self.fast]
        # Runs of one model seed share its weights; where both sides are trained there is one seed and no clusters.
        clusters = tuple(zip(slow.clusters, fast.clusters, strict=True))
        return median_ratio(self.name, hit_times(slow), hit_times(fast), clusters=clusters, seed=0, look=look)

    def accompany(self, drawn: Samples) -> tuple[Estimate, ...]:
        """What is shown beside the ratio and decides nothing."""
        slow, fast = drawn[self.slow], drawn[self.fast]
        clusters = tuple(zip(slow.clusters, fast.clusters, strict=True))
        return secondary_estimates(self.name, hit_times(slow), hit_times(fast), clusters=clusters, seed=0)


@dataclass(frozen=True, kw_only=True)
class HitRate:
    """Share of units that come within the bound by their cap."""

    tag: ClassVar[str] = "HitRate"
    name: str
    of: str

    @property
    def samples(self) -> tuple[str, ...]:
        return (self.of,)

    def estimate(self, drawn: Samples, look: Look = ONLY) -> Estimate:
        sample = drawn[self.of]
        return proportion(self.name, [run.hit is not None for run in sample.runs], clusters=sample.clusters, look=look)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Share of units for which a reading is 1, among those for which every reading of `among` is."""

    tag: ClassVar[str] = "Rate"
    name: str
    of: str
    reading: Reading
    among: tuple[Reading, ...] = ()

    @property
    def samples(self) -> tuple[str, ...]:
        return (self.of,)

    def estimate(self, drawn: Samples, look: Look = ONLY) -> Estimate:
        sample = drawn[self.of]
        told = [(self.reading.read(run, sample.texts), seed) for run, seed in _judged(sample, self.reading, self.among)]
        known = [(value == 1, seed) for value, seed in told if value is not None]
        return proportion(self.name, [yes for yes, _ in known], clusters=[seed for _, seed in known], look=look)


@dataclass(frozen=True, kw_only=True)
class Mean:
    """Mean of a reading over units, among those for which every reading of `among` is 1."""

    tag: ClassVar[str] = "Mean"
    name: str
    of: str
    reading: Reading
    among: tuple[Reading, ...] = ()

    @property
    def samples(self) -> tuple[str, ...]:
        return (self.of,)

    def estimate(self, drawn: Samples, look: Look = ONLY) -> Estimate:
        sample = drawn[self.of]
        told = [(self.reading.read(run, sample.texts), seed) for run, seed in _judged(sample, self.reading, self.among)]
        known = [(value, seed) for value, seed in told if value is not None]
        values, seeds = [value for value, _ in known], [seed for _, seed in known]
        return paired_mean(
            self.name, values, bounds=self.reading.bounds, clusters=seeds, seed=0, counts="units", look=look
        )


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

    def estimate(self, drawn: Samples, look: Look = ONLY) -> Estimate:
        pairs, clusters = _pairs(drawn, self.more, self.less, self.among)
        first, second = self.more[1].bounds, self.less[1].bounds
        limits = (first[0] - second[1], first[1] - second[0]) if first and second else None
        return paired_mean(self.name, [a - b for a, b in pairs], bounds=limits, clusters=clusters, seed=0, look=look)


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

    def estimate(self, drawn: Samples, look: Look = ONLY) -> Estimate:
        pairs, clusters = _pairs(drawn, self.over, self.under, ())
        return geometric_ratio(
            self.name, [a for a, _ in pairs], [b for _, b in pairs], clusters=clusters, seed=0, look=look
        )


@dataclass(frozen=True, kw_only=True)
class GeometricMean:
    """Geometric mean of a reading that is above 0."""

    tag: ClassVar[str] = "GeometricMean"
    name: str
    of: str
    reading: Reading

    @property
    def samples(self) -> tuple[str, ...]:
        return (self.of,)

    def estimate(self, drawn: Samples, look: Look = ONLY) -> Estimate:
        sample = drawn[self.of]
        told = [(self.reading.read(run, sample.texts), seed) for run, seed in _judged(sample, self.reading, ())]
        known = [(value, seed) for value, seed in told if value is not None]
        values = [value for value, _ in known]
        return geometric_ratio(
            self.name, values, [1.0] * len(values), clusters=[s for _, s in known], seed=0, look=look
        )


@dataclass(frozen=True, kw_only=True)
class Trend:
    """Whether a reading rises over samples in their order, unit by unit. It stands beside contrasts of neighbours."""

    tag: ClassVar[str] = "Trend"
    name: str
    over: tuple[str, ...]
    reading: Reading

    @property
    def samples(self) -> tuple[str, ...]:
        return self.over

    def estimate(self, drawn: Samples, look: Look = ONLY) -> Estimate:
        every = [drawn[name] for name in self.over]
        keep = [_keeper(one, (self.reading,), ()) for one in every]
        rows: list[list[float]] = []
        clusters: list[Hashable] = []
        for unit in zip(*(zip(one.runs, one.clusters, strict=True) for one in every), strict=True):
            told = [self.reading.read(run, one.texts) for (run, _), one in zip(unit, every, strict=True)]
            values = [value for value in told if value is not None]
            if len(values) == len(every) and all(kept(run) for kept, (run, _) in zip(keep, unit, strict=True)):
                rows.append(values)
                clusters.append(tuple(seed for _, seed in unit))
        return trend(self.name, rows, clusters=clusters, seed=0, look=look)


def hit_times(drawn: SampleRuns) -> HitTimes:
    """Hits of a sample's runs, censored at its schedule's length."""
    return HitTimes(
        hits=tuple(run.hit for run in drawn.runs),
        cap=drawn.iterations,
        diverged=tuple(run.stop == "diverged" for run in drawn.runs),
    )


def _judged(drawn: SampleRuns, reading: Reading, among: tuple[Reading, ...]) -> list[tuple[InversionRun, int]]:
    """Runs that count, with their model seeds."""
    keep = _keeper(drawn, (reading, *among), among)
    return [(run, seed) for run, seed in zip(drawn.runs, drawn.clusters, strict=True) if keep(run)]


def _keeper(
    drawn: SampleRuns, readings: tuple[Reading, ...], among: tuple[Reading, ...]
) -> Callable[[InversionRun], bool]:
    ceiling = any(reading.needs_ceiling for reading in readings)

    def keep(run: InversionRun) -> bool:
        return (run.ceiling == 1 or not ceiling) and all(r.read(run, drawn.texts) == 1 for r in among)

    return keep


def _pairs(
    drawn: Samples, more: tuple[str, Reading], less: tuple[str, Reading], among: tuple[Reading, ...]
) -> tuple[list[tuple[float, float]], list[tuple[int, int]]]:
    """Pairs of values that both samples have, with the model seeds of each. `among` is asked of the first sample."""
    one, other = drawn[more[0]], drawn[less[0]]
    keep_one = _keeper(one, (more[1], *among), among)
    keep_other = _keeper(other, (less[1],), ())
    values: list[tuple[float, float]] = []
    seeds: list[tuple[int, int]] = []
    runs = zip(one.runs, other.runs, zip(one.clusters, other.clusters, strict=True), strict=True)
    for first, second, clusters in runs:
        a, b = more[1].read(first, one.texts), less[1].read(second, other.texts)
        if a is not None and b is not None and keep_one(first) and keep_other(second):
            values.append((a, b))
            seeds.append(clusters)
    return values, seeds
