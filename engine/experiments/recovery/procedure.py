"""Whether activations determine the prompt, and which method finds it: a claim's searches and its estimates of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar
from typing import Protocol as Interface

from engine.arms.settings import describe
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.errors import DeclarationError, explain
from engine.experiments.recovery.searches import RunsByName, Search, run_search
from engine.experiments.recovery.tables import (
    equal_row_table,
    margin_growth_table,
    margin_table,
    search_run_table,
    search_table,
    search_tuning_table,
)
from engine.experiments.sampling import explain_no_checkpoints, run_together
from engine.experiments.tables import estimate_table
from engine.records import Table
from engine.statistics import ONLY, Estimate, Look, exact_share, geometric_ratio, median, paired_mean, proportion


class SearchEstimator(Interface):
    """One estimate from the runs of searches."""

    @property
    def samples(self) -> tuple[str, ...]:
        """Names of the searches that it needs. It is left out if one of them is not run at this effort."""
        ...

    def estimate(self, found: RunsByName, look: Look = ONLY) -> Estimate:
        """The estimate, with the interval for this interim look."""
        ...


@dataclass(frozen=True, kw_only=True)
class _OfOneSearch:
    name: str
    of: str

    @property
    def samples(self) -> tuple[str, ...]:
        return (self.of,)


@dataclass(frozen=True, kw_only=True)
class Recovered(_OfOneSearch):
    """Share of the tried prompts that were recovered token for token: an exact count, which infers nothing."""

    tag: ClassVar[str] = "Recovered"

    def estimate(self, found: RunsByName, look: Look = ONLY) -> Estimate:
        runs = found[self.of].recoveries.runs
        return exact_share(self.name, sum(run.exact for run in runs), len(runs), counts="prompts")


@dataclass(frozen=True, kw_only=True)
class RecoveryRate(_OfOneSearch):
    """Rate at which prompts are recovered token for token, with an interval clustered by model seed."""

    tag: ClassVar[str] = "RecoveryRate"

    def estimate(self, found: RunsByName, look: Look = ONLY) -> Estimate:
        recoveries = found[self.of].recoveries
        return proportion(self.name, [run.exact for run in recoveries.runs], clusters=recoveries.clusters, look=look)


@dataclass(frozen=True, kw_only=True)
class RecoveryDifference:
    """Recovery by one search minus recovery by another, paired by prompt and start.

    Over the units whose own embeddings the pseudo-inverse decodes, so that no decoder has an advantage.
    """

    tag: ClassVar[str] = "Gain"
    name: str
    more: str
    less: str

    @property
    def samples(self) -> tuple[str, ...]:
        return (self.more, self.less)

    def estimate(self, found: RunsByName, look: Look = ONLY) -> Estimate:
        more, less = found[self.more].recoveries, found[self.less].recoveries
        seeds = zip(more.clusters, less.clusters, strict=True)
        pairs = [
            (a.recovery - b.recovery, cluster)
            for a, b, cluster in zip(more.runs, less.runs, seeds, strict=True)
            if a.ceiling == b.ceiling == 1
        ]
        differences, clusters = [difference for difference, _ in pairs], [cluster for _, cluster in pairs]
        return paired_mean(self.name, differences, bounds=(-1.0, 1.0), clusters=clusters, seed=0, look=look)


@dataclass(frozen=True, kw_only=True)
class Distinguishable(_OfOneSearch):
    """Rate of positions at which no other token of the whole vocabulary is within ε.

    At each position all tokens are compared, but the positions are a sample; the interval is clustered by model seed.
    """

    tag: ClassVar[str] = "ToldApart"

    def estimate(self, found: RunsByName, look: Look = ONLY) -> Estimate:
        margins = found[self.of].margins
        apart = [run.same == 0 for run in margins.runs]
        return proportion(self.name, apart, clusters=margins.clusters, counts="positions", look=look)


@dataclass(frozen=True, kw_only=True)
class MarginOverNoise(_OfOneSearch):
    """Distance of the nearest other token over ε, up to which activations count as equal.

    A geometric mean over the positions that were compared with the whole vocabulary.
    """

    tag: ClassVar[str] = "MarginOverNoise"

    def estimate(self, found: RunsByName, look: Look = ONLY) -> Estimate:
        searched = found[self.of]
        # Results are ordered by model seed, but runs and their clusters by unit.
        epsilon = {
            (run.prompt, run.seed): result.epsilon_at(run.position)
            for result in searched.margin_results
            for run in result.runs
        }
        margins = searched.margins
        over = searched.relative_margins
        under = [epsilon[run.prompt, run.seed] for run in margins.runs]
        return geometric_ratio(self.name, over, under, clusters=margins.clusters, seed=0, look=look)


@dataclass(frozen=True, kw_only=True)
class Margin(_OfOneSearch):
    """Relative margin: the distance of the nearest other token's activations over the size of the activations.

    A geometric mean over the positions that were compared with the whole vocabulary, clustered by model seed.
    """

    tag: ClassVar[str] = "Margin"

    def estimate(self, found: RunsByName, look: Look = ONLY) -> Estimate:
        sizes = found[self.of].relative_margins
        clusters = found[self.of].margins.clusters
        return geometric_ratio(self.name, sizes, [1.0] * len(sizes), clusters=clusters, seed=0, look=look)


@dataclass(frozen=True, kw_only=True)
class MarginRatio:
    """Relative margin of one search over that of another: a geometric mean, paired by prompt and position.

    Clustered by the model seeds of both.
    """

    tag: ClassVar[str] = "MarginRatio"
    name: str
    more: str
    less: str

    @property
    def samples(self) -> tuple[str, ...]:
        return (self.more, self.less)

    def estimate(self, found: RunsByName, look: Look = ONLY) -> Estimate:
        more, less = found[self.more], found[self.less]
        seeds = list(zip(more.margins.clusters, less.margins.clusters, strict=True))
        over, under = more.relative_margins, less.relative_margins
        return geometric_ratio(self.name, over, under, clusters=seeds, seed=0, look=look)


@dataclass(frozen=True, kw_only=True)
class CheckSpeedup(_OfOneSearch):
    """How many times fewer candidates are checked than by a blind search: the median over positions.

    A blind search checks tokens in random order until one matches, half of the vocabulary on average.
    """

    tag: ClassVar[str] = "FewerChecks"

    def estimate(self, found: RunsByName, look: Look = ONLY) -> Estimate:
        searched = found[self.of]
        vocab = searched.results[0].vocab
        recoveries = zip(searched.recoveries.runs, searched.recoveries.clusters, strict=True)
        checks = [(one.checks, (seed, run.prompt)) for run, seed in recoveries for one in run.found if one.checks]
        speedups, clusters = [(vocab + 1) / 2 / n for n, _ in checks], [cluster for _, cluster in checks]
        return median(self.name, speedups, clusters=clusters, counts="tokens", look=look)


@dataclass(frozen=True, kw_only=True)
class Searches:
    """Run every search, then make every estimate whose searches were run at this effort.

    samples: (name, search) in the order of the report; searches named 'GROUP: NAME' are shown together by group.
    Raises DeclarationError for an estimate of a search that is not declared.
    """

    tag: ClassVar[str] = "Recover"
    samples: tuple[tuple[str, Search], ...]
    estimates: tuple[SearchEstimator, ...]

    def __post_init__(self) -> None:
        names = {name for name, _ in self.samples}
        unknown = [name for e in self.estimates for name in e.samples if name not in names]
        if unknown:
            raise DeclarationError(
                explain(
                    who="Searches",
                    got=f"the search {unknown[0]!r}",
                    expected=f"one of {', '.join(sorted(names))}",
                    remedy="declare it among the samples",
                )
            )

    def refuse(self, trial: Trial) -> str | None:
        """Why searches cannot run in a trial: no checkpoints of its subject; None if they can."""
        asked = any(search.checkpoint is not None for _, search in self.samples)
        return explain_no_checkpoints(trial.subject) if asked else None

    def rounds(self, trial: Trial) -> Rounds:
        results = yield from run_together(*(run_search(trial, search) for _, search in self.samples))
        found = {name: runs for (name, _), runs in zip(self.samples, results, strict=True) if runs is not None}
        estimates = [e.estimate(found, trial.look) for e in self.estimates if all(name in found for name in e.samples)]

        def draw_tables() -> tuple[Table, ...]:
            tables = (
                equal_row_table(found),
                search_table(found),
                estimate_table(estimates),
                margin_table(found),
                margin_growth_table(found),
                search_run_table(found),
                search_tuning_table(found),
            )
            return tuple(table for table in tables if table.rows)

        settings: dict[str, str] = {}
        for name, runs in found.items():
            method, words = runs.search.how.method, describe(runs.settings)
            if runs.search.checkpoint is not None:
                words = {"weights": f"after {runs.search.checkpoint:,} steps of training"} | words
            if runs.tuned is not None:
                words |= {
                    "η": f"{runs.tuned.step:g}, {runs.tuned.source}",
                    "start and positions": runs.search.how.protocol.name,
                    "decoder": method.decoder,
                    "positions sought": "one by one" if method.token_by_token else "all together",
                    "tokens": "checked by a forward pass" if method.verify else "the decoder's first choice",
                }
            if runs.search.observed != "float":
                words["activations"] = "rounded to 8 bits"
            settings |= {f"{name}, {key}": value for key, value in words.items()}
        return Evidence(
            estimates=Evidence.named(*estimates),
            make_tables=draw_tables,
            settings=settings,
            measurements=tuple(m for runs in found.values() for m in runs.measurements),
        )
