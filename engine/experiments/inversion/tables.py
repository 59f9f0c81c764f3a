"""Tables behind a verdict on inversions: numbers by arm, by iteration, by run."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.arms.arm import weights_of
from engine.arms.measurement import Measurement
from engine.experiments.embedding.arm import VocabularyArm, VocabularyResult
from engine.experiments.inversion.arm import InversionResult, InversionRun
from engine.experiments.inversion.estimators import Estimator, estimates_by_step
from engine.experiments.inversion.readings import LogFrequency, Repetition, last_snapshot
from engine.experiments.inversion.samples import RunsBySample, SampleRuns
from engine.experiments.tables import FILMED, Growth, Row, film_rows, film_table, growth_table, mean, recovery_table
from engine.models import Subject, find_subject
from engine.records import Table
from engine.statistics import HitTimes, median_hit, proportion

DRAWN_POINTS = 24
"""Points of a run's curve that are kept for drawing."""


def progress_table(samples: RunsBySample) -> Table:
    """Recovery and distances by iteration, of samples that are read at N."""
    points: list[tuple[str, int, list[float], Row]] = []
    for name, sample in samples.items():
        if sample.read_at != "N":
            continue
        for n in sorted({s.iteration for run in sample.runs for s in run.snapshots}):
            # Runs that have ended before are in no later row, so that each row says how many it is about.
            at = [(run, s) for run in sample.runs for s in run.snapshots if s.iteration == n]
            recoveries = [s.recovery for run, s in at if run.ceiling == 1]
            distances = (mean([s.l2 for _, s in at]), mean([s.distance for _, s in at]))
            points.append((name, n, recoveries, (*distances, len(at))))
    return recovery_table(points, columns=("mean ‖e − eₙ‖₂", "mean output distance", "runs"))


def choice_table(estimators: Sequence[Estimator], samples: RunsBySample) -> Table:
    """Estimates at each step size that tuning could as well have chosen."""
    rows: list[Row] = []
    for estimator in estimators:
        rows += [(e.name, words, e.value, e.low, e.high, e.n) for words, e in estimates_by_step(estimator, samples)]
    return Table(
        title="Estimates by step size",
        columns=("estimate", "η", "value", "low", "high", "n"),
        rows=tuple(rows),
        note="Each η is the best in at least 5 % of the resamples of its tuning units; the interval holds all.",
    )


def ceiling_table(samples: RunsBySample) -> Table:
    """Units that no descent can recover, because their own embeddings do not decode back to them."""
    return Table(
        title="Units apart: their ceiling is below 1",
        columns=("arm", "prompt", "ceiling", "recovery"),
        rows=tuple(
            (name, run.prompt, run.ceiling, run.recovery)
            for name, sample in samples.items()
            for run in sample.runs
            if run.ceiling < 1
        ),
    )


def decoded_table(samples: RunsBySample) -> Table:
    """What the first few units decode to as the descent goes on, of samples that are read at N."""
    rows: list[Row] = []
    for name, sample in samples.items():
        if sample.read_at == "N":
            for number, run in enumerate(sample.runs[:FILMED], 1):
                frames = ((s.iteration, s.top) for s in run.snapshots)
                rows += film_rows(name, number, run.seed, run.target, frames, sample.texts)
    return film_table(rows)


def next_token_table(samples: RunsBySample) -> Table:
    """The probe's next token after each input, run by run."""
    rows: list[Row] = []
    for name, sample in samples.items():
        for run in sample.runs:
            after = run.next_tokens
            if after is None:
                continue
            inputs = {"e_N": after.final, "e₀": after.start, "shift": after.shifted, "decoded": after.decoded}
            last = last_snapshot(run)
            recovered = last is not None and last.top[-1][0] == run.target[-1]
            # Compared by id, since two ids can have one text.
            same = ", ".join(one for one, token in inputs.items() if token == after.target)
            texts = (sample.texts[token] for token in (after.target, *inputs.values()))
            rows.append((name, run.prompt, *texts, run.recovery, "yes" if recovered else "no", same))
    columns = ("arm", "prompt", "after e", "after e_N", "after e₀", "after an equal shift", "after the decoded tokens")
    return Table(
        title="Next tokens",
        columns=(*columns, "recovery", "last position recovered", "the same as after e"),
        rows=tuple(rows),
        kind="agreement",
    )


def hit_table(samples: RunsBySample) -> Table:
    """Median hit, share that hit and number that diverged, arm by arm."""
    rows: list[Row] = []
    for name, sample in samples.items():
        times = sample.hit_times
        hit = proportion("share", [h is not None for h in times.hits], clusters=sample.clusters)
        rows.append((name, median_hit(times), hit.value, hit.low, hit.high, sum(times.diverged), len(times.hits)))
    return Table(
        title="Hits",
        columns=("arm", "median hit", "share that hit", "low", "high", "diverged", "n"),
        rows=tuple(rows),
        note="A median of inf was not reached by the cap: it lies somewhere beyond it.",
    )


def repetition_table(samples: RunsBySample) -> Table:
    """Repetition of the decoded rows at the start and the end, run by run, of samples that are read at N."""
    start, end = Repetition("start"), Repetition("end")
    return Table(
        title="Repetition of the five decoded rows",
        columns=("arm", "prompt", "at the start", "at the end"),
        rows=tuple(
            (name, run.prompt, start.read(run, sample.texts), end.read(run, sample.texts))
            for name, sample in samples.items()
            if sample.read_at == "N"
            for run in sample.runs
        ),
        kind="repetition",
    )


def frequency_table(samples: RunsBySample) -> Table:
    """How frequent, as words, the tokens are that each run decodes to at its end."""
    reading = LogFrequency()
    return Table(
        title="Frequency of the decoded words",
        columns=("arm", "prompt", "mean log₁₀ frequency"),
        rows=tuple(
            (name, run.prompt, reading.read(run, sample.texts))
            for name, sample in samples.items()
            for run in sample.runs
        ),
        note="Tokens that begin a word and hold letters only; recovered positions are left out.",
        kind="frequency",
    )


def run_table(samples: RunsBySample) -> Table:
    """Every run: where it started, its bound, and where it ended."""
    rows = tuple(
        (
            *(name, run.prompt, run.seed, seed, run.hit, str(run.stop), run.ended_at, sample.iterations),
            sample.read_at,
            *(run.start_distance, run.bound, run.final_distance, run.recovery),
        )
        for name, sample in samples.items()
        for run, seed in zip(sample.runs, sample.clusters, strict=True)
    )
    return Table(
        title="Runs",
        columns=(
            *("arm", "prompt", "start seed", "model seed", "hit", "stop", "ended at", "N", "read at"),
            *("start distance", "bound", "final distance", "recovery at the end"),
        ),
        rows=rows,
        kind="runs",
    )


def curve_table(samples: RunsBySample) -> Table:
    """The distance to the target on the way, in units of each run's bound."""
    rows: list[Row] = []
    for name, sample in samples.items():
        results = (m.result for m in sample.measurements if isinstance(m.result, InversionResult))
        # A sample's measurements share their N, and with it the iterations at which curves are kept.
        curve_at = next((result.curve_at for result in results), ())
        for number, run in enumerate(sample.runs, 1):
            for n, distance in _thin_curve(run, curve_at):
                in_bounds = float(f"{distance / run.bound:.4g}") if run.bound > 0 else math.nan
                rows.append((name, number, n, in_bounds, run.hit))
    return Table(
        title="Curves",
        columns=("arm", "run", "iteration", "distance / bound", "hit"),
        rows=tuple(rows),
        note=f"Thinned for drawing: at most {DRAWN_POINTS} points a run, four digits. Runs are numbered as in Runs.",
        kind="curves",
    )


def _thin_curve(run: InversionRun, curve_at: Sequence[int]) -> list[tuple[int, float]]:
    """The start, the end, the hit, and kept points that are evenly spread between: (iteration, distance)."""
    points = {0: run.start_distance, **dict(zip(curve_at, run.curve, strict=False)), run.ended_at: run.final_distance}
    if run.hit is not None:
        points.setdefault(run.hit, run.bound)  # between two kept iterations; the distance was just below
    kept = sorted(points)
    if len(kept) > DRAWN_POINTS:
        spread = {kept[round(k * (len(kept) - 1) / (DRAWN_POINTS - 1))] for k in range(DRAWN_POINTS)}
        kept = sorted(spread if run.hit is None else spread | {run.hit})
    return [(n, points[n]) for n in kept]


def vocabulary_table(measurements: Sequence[Measurement]) -> Table:
    """Words among all tokens of a vocabulary, which is what a random decoding would give."""
    rows = [
        (
            *(m.arm.subject, m.result.vocab, m.result.words),
            *(m.result.log_frequency, *m.result.quartiles, m.result.floor),
        )
        for m in measurements
        if isinstance(m.result, VocabularyResult) and isinstance(m.arm, VocabularyArm)
    ]
    return Table(
        title="The whole vocabulary",
        columns=(
            *("subject", "tokens", "that begin a word, letters only", "mean log₁₀ frequency"),
            *("lower quartile", "median", "upper quartile", "floor"),
        ),
        rows=tuple(rows),
        kind="vocabulary",
    )


def checkpoint_table(samples: RunsBySample) -> Table:
    """What each checkpoint of a model's training comes to, seed by seed; empty where no sample is of one."""
    points: list[Growth] = []
    if any(runs.sample.checkpoint is not None for runs in samples.values()):
        for runs in samples.values():
            subject = subject_of_runs(runs)
            for seed in sorted(set(runs.clusters)):
                own = [run for run, cluster in zip(runs.runs, runs.clusters, strict=True) if cluster == seed]
                if runs.read_at == "hit":
                    lost = tuple(run.stop == "diverged" for run in own)
                    hits = HitTimes(hits=tuple(run.hit for run in own), cap=runs.iterations, diverged=lost)
                    points.append(("median iterations", subject, seed, median_hit(hits)))
                else:
                    known = [run.recovery for run in own if run.ceiling == 1]
                    points.append(("recovery", subject, seed, mean(known)))
    return growth_table(points)


def subject_of_runs(runs: SampleRuns) -> Subject:
    """The model of a sample's first arm, with its seed and checkpoint."""
    arm = runs.measurements[-1].arm
    return find_subject(weights_of(arm)[0])
