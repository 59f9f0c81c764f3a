"""Whether activations determine the prompt, and which method finds it: searches, and what is estimated of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar
from typing import Protocol as Interface

from engine.arms.settings import describe
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.errors import DeclarationError, explain
from engine.experiments.recovery.arm import RecoveryRun
from engine.experiments.recovery.searches import Search, SearchRuns, run_search
from engine.experiments.recovery.tables import (
    equal_row_table,
    margin_table,
    search_run_table,
    search_table,
    search_tuning_table,
)
from engine.experiments.sampling import run_together
from engine.experiments.tables import estimate_table
from engine.records import Table
from engine.statistics import ONLY, Estimate, Look, exact_share, geometric_ratio, median, paired_mean, proportion

Found = Mapping[str, SearchRuns]


class SearchEstimator(Interface):
    """One estimate from searches that were run; its interval is the one of the look."""

    @property
    def samples(self) -> tuple[str, ...]: ...

    def estimate(self, found: Found, look: Look = ONLY) -> Estimate: ...


@dataclass(frozen=True, kw_only=True)
class _OfOne:
    """An estimate of one search."""

    name: str
    of: str

    @property
    def samples(self) -> tuple[str, ...]:
        return (self.of,)


@dataclass(frozen=True, kw_only=True)
class Recovered(_OfOne):
    """Share of the prompts tried that were recovered token for token: a count, with no word on others."""

    tag: ClassVar[str] = "Recovered"

    def estimate(self, found: Found, look: Look = ONLY) -> Estimate:
        runs = found[self.of].found.runs
        return exact_share(self.name, sum(run.exact for run in runs), len(runs), counts="prompts")


@dataclass(frozen=True, kw_only=True)
class RecoveryRate(_OfOne):
    """The same as a rate of all prompts: with an interval, clustered by model seed."""

    tag: ClassVar[str] = "RecoveryRate"

    def estimate(self, found: Found, look: Look = ONLY) -> Estimate:
        sought = found[self.of].found
        return proportion(self.name, [run.exact for run in sought.runs], clusters=sought.clusters, look=look)


@dataclass(frozen=True, kw_only=True)
class RecoveryDifference:
    """Recovery by one search minus that by another, paired by prompt and start.

    Over units whose own embeddings the pseudo-inverse decodes, so that no decoder has an advantage.
    """

    tag: ClassVar[str] = "Gain"
    name: str
    more: str
    less: str

    @property
    def samples(self) -> tuple[str, ...]:
        return (self.more, self.less)

    def estimate(self, found: Found, look: Look = ONLY) -> Estimate:
        more, less = found[self.more].found, found[self.less].found
        pairs = [
            (a.recovery - b.recovery, seeds)
            for a, b, seeds in zip(more.runs, less.runs, zip(more.clusters, less.clusters, strict=True), strict=True)
            if a.ceiling == b.ceiling == 1
        ]
        differences, clusters = [gain for gain, _ in pairs], [seeds for _, seeds in pairs]
        return paired_mean(self.name, differences, bounds=(-1.0, 1.0), clusters=clusters, seed=0, look=look)


@dataclass(frozen=True, kw_only=True)
class Distinguishable(_OfOne):
    """Share of the positions held against the whole vocabulary at which no other token lies within ε: a count."""

    tag: ClassVar[str] = "ToldApart"

    def estimate(self, found: Found, look: Look = ONLY) -> Estimate:
        runs = found[self.of].margins.runs
        return exact_share(self.name, sum(run.same == 0 for run in runs), len(runs), counts="positions")


@dataclass(frozen=True, kw_only=True)
class MarginOverNoise(_OfOne):
    """Geometric mean, over the positions held against the whole vocabulary, of the nearest other token's distance
    over the one up to which activations count as equal."""

    tag: ClassVar[str] = "MarginOverNoise"

    def estimate(self, found: Found, look: Look = ONLY) -> Estimate:
        sought = found[self.of]
        # Results come by model seed, runs and their clusters in the units' order.
        epsilon = {
            (run.prompt, run.seed): one.epsilon_at(run.position) for one in sought.margin_results for run in one.runs
        }
        over = [max(run.runner_up_distance, 1e-300) for run in sought.margins.runs]
        under = [epsilon[run.prompt, run.seed] for run in sought.margins.runs]
        return geometric_ratio(self.name, over, under, clusters=sought.margins.clusters, seed=0, look=look)


@dataclass(frozen=True, kw_only=True)
class CheckSpeedup(_OfOne):
    """Median, over the positions sought, of how many times as many candidates a blind search would have checked.

    Blind: in random order until the token is met, half of the vocabulary on average.
    """

    tag: ClassVar[str] = "FewerChecks"

    def estimate(self, found: Found, look: Look = ONLY) -> Estimate:
        sought = found[self.of]
        vocab = sought.results[0].vocab
        checks = [(one.checks, (seed, run.prompt)) for run, seed in _seeded(sought) for one in run.found if one.checks]
        values, clusters = [(vocab + 1) / 2 / n for n, _ in checks], [cluster for _, cluster in checks]
        return median(self.name, values, clusters=clusters, counts="tokens", look=look)


def _seeded(sought: SearchRuns) -> list[tuple[RecoveryRun, int]]:
    return list(zip(sought.found.runs, sought.found.clusters, strict=True))


@dataclass(frozen=True, kw_only=True)
class Searches:
    """Run every search, then make every estimate whose searches were run at this effort.

    samples: (name, search) in the report's order; a name 'GROUP: NAME' puts searches of one group side by side.
    Raises DeclarationError for an estimate of a search that is not declared.
    """

    tag: ClassVar[str] = "Recover"
    samples: tuple[tuple[str, Search], ...]
    estimates: tuple[SearchEstimator, ...]

    def __post_init__(self) -> None:
        names = {name for name, _ in self.samples}
        strange = [name for e in self.estimates for name in e.samples if name not in names]
        if strange:
            raise DeclarationError(
                explain(
                    who="Recover",
                    got=f"the search {strange[0]!r}",
                    expected=f"one of {', '.join(sorted(names))}",
                    remedy="declare it among the samples",
                )
            )

    def rounds(self, trial: Trial) -> Rounds:
        results = yield from run_together(*(run_search(trial, search) for _, search in self.samples))
        found = {name: one for (name, _), one in zip(self.samples, results, strict=True) if one is not None}
        estimates = [e.estimate(found, trial.look) for e in self.estimates if all(name in found for name in e.samples)]
        named = tuple(found.items())
        return Evidence(
            estimates=Evidence.named(*estimates),
            draw=lambda: _tables(named, estimates),
            settings={f"{name}, {key}": value for name, one in named for key, value in _in_words(one).items()},
            measurements=tuple(m for _, one in named for m in one.measurements),
        )


def _tables(named: tuple[tuple[str, SearchRuns], ...], estimates: Sequence[Estimate]) -> tuple[Table, ...]:
    """The tables of a claim on searches, empty ones left out."""
    tables = (
        equal_row_table(named),
        search_table(named),
        estimate_table(estimates),
        margin_table(named),
        search_run_table(named),
        search_tuning_table(named),
    )
    return tuple(table for table in tables if table.rows)


def _in_words(sought: SearchRuns) -> dict[str, str]:
    """What was run, for the report."""
    method = sought.search.how.method
    words = describe(sought.settings) | {
        "η": f"{sought.tuned.step:g}, {sought.tuned.source}",
        "start and positions": sought.search.how.protocol.name,
        "decoder": method.decoder,
        "positions sought": "one by one" if method.token_by_token else "all together",
        "tokens": "checked by a forward pass" if method.verify else "the decoder's first choice",
    }
    return words if sought.search.observed == "float" else words | {"activations": "rounded to 8 bits"}
