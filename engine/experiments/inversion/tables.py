"""Tables behind a verdict on inversions: numbers by arm, by iteration, by run."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.arms.measurement import Measurement
from engine.experiments.embedding.arm import VocabularyArm, VocabularyResult
from engine.experiments.inversion.arm import InversionResult, InversionRun, NextTokens
from engine.experiments.inversion.estimators import hit_times
from engine.experiments.inversion.readings import LogFrequency, Repetition, last_snapshot
from engine.experiments.inversion.samples import SampleRuns
from engine.experiments.token_trajectory import FILMED, film_rows
from engine.experiments.token_trajectory import film_table as tabulate_film
from engine.records import Table
from engine.statistics import Estimate, median_hit, proportion

Named = tuple[tuple[str, SampleRuns], ...]
Row = tuple[str | int | float | None, ...]

DRAWN_POINTS = 24
"""Points of a run's curve that are kept for drawing."""


def estimate_table(estimates: Sequence[object]) -> Table:
    """Every estimate that was made, those that no criterion asks for too."""
    known = [e for e in estimates if isinstance(e, Estimate)]
    return Table(
        title="Estimates",
        columns=("estimate", "value", "low", "high", "n", "counts", "method"),
        rows=tuple((e.name, e.value, e.low, e.high, e.n, e.counts, e.method) for e in known),
    )


def companion_table(companions: Sequence[Estimate]) -> Table:
    """What is shown beside ratios of hits and decides nothing."""
    return Table(
        title="Companions of the ratio",
        columns=("estimate", "value", "low", "high", "n", "method"),
        rows=tuple((e.name, e.value, e.low, e.high, e.n, e.method) for e in companions),
        note="They decide nothing: a model of the iterations, and their means up to the shared cap.",
    )


def recovery_table(named: Named) -> Table:
    """Mean recovery, exact rate, L² and output distance by iteration; recovery over units whose ceiling is 1."""
    rows: list[Row] = []
    for name, drawn in named:
        if drawn.sample.read_at != "N":
            continue
        iterations = sorted({s.iteration for run in drawn.runs for s in run.snapshots})
        for n in iterations:
            at = [(run, s) for run in drawn.runs for s in run.snapshots if s.iteration == n]
            back = [s.recovery for run, s in at if run.ceiling == 1]
            rows.append(
                (
                    *(name, n, _mean(back), _mean([r == 1 for r in back]), len(back)),
                    *(_mean([s.l2 for _, s in at]), _mean([s.distance for _, s in at]), len(at)),
                )
            )
    columns = ("arm", "iteration", "mean recovery", "exact rate", "n", "mean ‖e − eₙ‖₂", "mean output distance", "runs")
    return Table(title="Recovery by iteration", columns=columns, rows=tuple(rows), kind="recovery")


def ceiling_table(named: Named) -> Table:
    """Units that no descent can recover, because the codec does not give their own embedding back."""
    return Table(
        title="Units apart: their ceiling is below 1",
        columns=("arm", "prompt", "ceiling", "recovery"),
        rows=tuple(
            (name, run.prompt, run.ceiling, run.recovery) for name, d in named for run in d.runs if run.ceiling < 1
        ),
    )


def film_table(named: Named) -> Table:
    """What the first few units decode to as the descent goes on."""
    return tabulate_film(
        [
            row
            for name, drawn in named
            if drawn.sample.read_at == "N"
            for number, run in enumerate(drawn.runs[:FILMED], 1)
            for row in film_rows(
                name, number, run.seed, run.target, ((s.iteration, s.top) for s in run.snapshots), drawn.texts
            )
        ]
    )


def next_token_table(named: Named) -> Table:
    """What the probe says after each input, run by run."""
    rows: list[Row] = []
    for name, drawn in named:
        for run in drawn.runs:
            said = run.next_tokens
            if said is not None:
                ids = (said.target, said.final, said.start, said.shifted, said.decoded)
                rows.append(
                    (
                        *(name, run.prompt, *(drawn.texts[i] for i in ids), run.recovery, _last_recovered(run)),
                        _list_agreeing(said),
                    )
                )
    columns = ("arm", "prompt", "after e", "after e_N", "after e₀", "after an equal shift", "after the decoded tokens")
    return Table(
        title="Next tokens",
        columns=(*columns, "recovery", "last position recovered", "the same as after e"),
        rows=tuple(rows),
        kind="agreement",
    )


def _list_agreeing(said: NextTokens) -> str:
    """The inputs after which the probe says what it says after e: by id, as two ids can have one text."""
    named = {"e_N": said.final, "e₀": said.start, "shift": said.shifted, "decoded": said.decoded}
    return ", ".join(name for name, token in named.items() if token == said.target)


def _last_recovered(run: InversionRun) -> str:
    last = last_snapshot(run)
    return "yes" if last is not None and last.top[-1][0] == run.target[-1] else "no"


def hit_table(named: Named) -> Table:
    """Median hit, share that hit and share that diverged, arm by arm."""
    rows: list[Row] = []
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


def reading_table(named: Named) -> Table:
    """Repetition of the decoded rows at the start and the end, run by run."""
    start, end = Repetition("start"), Repetition("end")
    return Table(
        title="Repetition of the five decoded rows",
        columns=("arm", "prompt", "at the start", "at the end"),
        rows=tuple(
            (name, run.prompt, start.read(run, drawn.texts), end.read(run, drawn.texts))
            for name, drawn in named
            if drawn.sample.read_at == "N"
            for run in drawn.runs
        ),
        kind="repetition",
    )


def frequency_table(named: Named) -> Table:
    """How frequent, as words, the tokens are that each run decodes to at its end."""
    reading = LogFrequency()
    return Table(
        title="Frequency of the decoded words",
        columns=("arm", "prompt", "mean log₁₀ frequency"),
        rows=tuple((name, run.prompt, reading.read(run, d.texts)) for name, d in named for run in d.runs),
        note="Tokens that begin a word and hold letters only; recovered positions are left out.",
        kind="frequency",
    )


def run_table(named: Named) -> Table:
    """Every run: where it started, what counted as close, where it ended."""
    rows = tuple(
        (
            *(name, run.prompt, run.seed, seed, run.hit, str(run.stop), run.ended_at, drawn.iterations),
            drawn.sample.read_at,
            *(run.start_distance, run.bound, run.final_distance, run.recovery),
        )
        for name, drawn in named
        for run, seed in zip(drawn.runs, drawn.clusters, strict=True)
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


def curve_table(named: Named) -> Table:
    """The distance to the target on the way, in units of each run's bound."""
    rows = tuple(
        (name, number, n, distance, run.hit)
        for name, drawn in named
        for at in [_curve_points(drawn)]
        for number, run in enumerate(drawn.runs, 1)
        for n, distance in _thin_curve(run, at)
    )
    return Table(
        title="Curves",
        columns=("arm", "run", "iteration", "distance / bound", "hit"),
        rows=rows,
        note=f"Thinned for drawing: at most {DRAWN_POINTS} points a run, four digits. Runs are numbered as in Runs.",
        kind="curves",
    )


def _curve_points(drawn: SampleRuns) -> tuple[int, ...]:
    # A sample's measurements share their N, and with it the iterations at which curves are kept.
    return next((m.result.curve_at for m in drawn.measurements if isinstance(m.result, InversionResult)), ())


def _thin_curve(run: InversionRun, at: Sequence[int]) -> list[tuple[int, float]]:
    """The start, the end, and points between that are as evenly spread as the kept ones: (iteration, distance)."""
    points = {0: run.start_distance, **dict(zip(at, run.curve, strict=False)), run.ended_at: run.final_distance}
    if run.hit is not None:
        points.setdefault(run.hit, run.bound)  # between two kept iterations; it was then just below
    kept = sorted(points)
    if len(kept) > DRAWN_POINTS:
        spread = {kept[round(k * (len(kept) - 1) / (DRAWN_POINTS - 1))] for k in range(DRAWN_POINTS)}
        kept = sorted(spread if run.hit is None else spread | {run.hit})
    return [(n, _in_bounds(points[n], run.bound)) for n in kept]


def _in_bounds(distance: float, bound: float) -> float:
    return float(f"{distance / bound:.4g}") if bound > 0 else math.nan


def tuning_table(named: Named) -> Table:
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


def _mean(values: Sequence[float | bool]) -> float | None:
    return sum(map(float, values)) / len(values) if values else None
