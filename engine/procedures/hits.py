"""Comparison of hit times between two arms that differ in one thing."""

from __future__ import annotations

from dataclasses import dataclass

from engine.measurement import describe
from engine.procedures.base import Evidence, Rounds, Trial, in_step
from engine.procedures.samples import Drawn, Sample, draw, settings_of
from engine.records import Table
from engine.statistics import HitTimes, median_hit, median_ratio, proportion


@dataclass(frozen=True, kw_only=True)
class CompareHits:
    """Iterations that `slow` needs over those that `fast` needs, paired by prompt and start.

    Gives 'ratio' (Kaplan–Meier medians, bootstrap over pairs) and, shown only, the share of runs of each that hit.
    Both samples have the same cap N; tuned each.
    """

    slow: Sample
    fast: Sample
    slow_name: str
    fast_name: str

    def rounds(self, trial: Trial) -> Rounds:
        if not trial.count():
            return Evidence()
        slow, fast = yield from in_step(draw(trial, self.slow), draw(trial, self.fast))
        named = ((self.slow_name, slow), (self.fast_name, fast))
        # Runs of one model seed share its weights; where both sides are trained there is one seed and no clusters.
        clusters = tuple(zip(slow.clusters, fast.clusters, strict=True))
        ratio = median_ratio("ratio", hit_times(slow), hit_times(fast), clusters=clusters, seed=0)
        return Evidence(
            estimates=Evidence.named(ratio),
            tables=(hit_table(named), run_table(named), tuning_table(named)),
            settings={
                f"{name}, {key}": value
                for name, drawn in named
                for key, value in settings_in_words(trial, drawn).items()
            },
            measurements=(*slow.measurements, *fast.measurements),
        )


def hit_times(drawn: Drawn) -> HitTimes:
    """Hits of a sample's runs, censored at its schedule's length."""
    return HitTimes(
        hits=tuple(run.hit for run in drawn.runs),
        cap=drawn.sample.iterations,
        diverged=tuple(run.stop == "diverged" for run in drawn.runs),
    )


def hit_table(named: tuple[tuple[str, Drawn], ...]) -> Table:
    """Median hit, share that hit and share that diverged, arm by arm."""
    rows = []
    for name, drawn in named:
        times = hit_times(drawn)
        hit = proportion("share", [h is not None for h in times.hits], clusters=drawn.clusters)
        rows.append((name, median_hit(times), hit.value, hit.low, hit.high, sum(times.diverged), len(times.hits)))
    return Table(
        title="Hits",
        columns=("arm", "median hit", "share that hit", "low", "high", "diverged", "n"),
        rows=tuple(rows),
        note="A median of inf was not reached by the cap: it lies somewhere beyond it.",
    )


def run_table(named: tuple[tuple[str, Drawn], ...]) -> Table:
    """Every run: where it started, what counted as close, where it ended."""
    rows = tuple(
        (
            *(name, run.prompt, run.seed, seed, run.hit, str(run.stop), run.ended_at),
            *(run.start_distance, run.bound, run.final_distance, run.recovery),
        )
        for name, drawn in named
        for run, seed in zip(drawn.runs, drawn.clusters, strict=True)
    )
    return Table(
        title="Runs",
        columns=(
            *("arm", "prompt", "start seed", "model seed", "hit", "stop", "ended at"),
            *("start distance", "bound", "final distance", "recovery at the end"),
        ),
        rows=rows,
    )


def tuning_table(named: tuple[tuple[str, Drawn], ...]) -> Table:
    """Every step size that was tried and what it did on the tuning units."""
    return Table(
        title="Tuning of the step size η",
        columns=("arm", "η", "chosen", "tuning units that hit", "first hit", "median distance when stopped"),
        rows=tuple(
            (
                *(name, o.step, "chosen" if o.step == drawn.tuned.step else "", sum(h is not None for h in o.hits)),
                *(min((h for h in o.hits if h is not None), default=None), o.median_distance),
            )
            for name, drawn in named
            for o in drawn.tuned.outcomes
        ),
        note="Tuning stops as soon as one step size has hit on half of its units.",
    )


def settings_in_words(trial: Trial, drawn: Drawn) -> dict[str, str]:
    """What was run, for the report."""
    words = describe(settings_of(trial, drawn.sample, None))
    return words | {
        "η": f"{drawn.tuned.step:g}, tuned",
        "read at": "the hit" if drawn.sample.read_at == "hit" else "N",
        "weights": "random" if drawn.sample.weights == "random" else "the subject's",
    }
