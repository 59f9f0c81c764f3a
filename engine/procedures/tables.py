"""Tables behind a verdict on inversions: numbers by arm, by iteration, by run."""

from __future__ import annotations

from collections.abc import Sequence

from engine.arms import VocabularyArm
from engine.measurement import Measurement
from engine.procedures.estimators import hit_times
from engine.procedures.readings import Repetition, last_snapshot
from engine.procedures.samples import Drawn
from engine.records import Table
from engine.results import InversionRun, VocabularyResult
from engine.statistics import Estimate, median_hit, proportion

Named = tuple[tuple[str, Drawn], ...]
Row = tuple[str | int | float | None, ...]

FILM_UNITS = 3


def estimate_table(estimates: Sequence[object]) -> Table:
    """Every estimate that was made, those that no criterion asks for too."""
    known = [e for e in estimates if isinstance(e, Estimate)]
    return Table(
        title="Estimates",
        columns=("estimate", "value", "low", "high", "n", "counts", "method"),
        rows=tuple((e.name, e.value, e.low, e.high, e.n, e.counts, e.method) for e in known),
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
    return Table(title="Recovery by iteration", columns=columns, rows=tuple(rows))


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
    rows: list[Row] = []
    for name, drawn in named:
        if drawn.sample.read_at != "N":
            continue
        for run in drawn.runs[:FILM_UNITS]:
            rows.append((name, run.seed, "target", "".join(drawn.texts.get(i, "") for i in run.target)))
            rows.extend(
                (name, run.seed, str(s.iteration), " ".join(f"[{drawn.texts[top[0]]}]" for top in s.top))
                for s in run.snapshots
            )
    return Table(title="Decoded tokens", columns=("arm", "start seed", "iteration", "tokens"), rows=tuple(rows))


def next_token_table(named: Named) -> Table:
    """What the probe says after each input, run by run."""
    rows: list[Row] = []
    for name, drawn in named:
        for run in drawn.runs:
            said = run.next_tokens
            if said is not None:
                ids = (said.target, said.final, said.start, said.shifted, said.decoded)
                rows.append((name, run.prompt, *(drawn.texts[i] for i in ids), run.recovery, _last_recovered(run)))
    columns = ("arm", "prompt", "after e", "after e_N", "after e₀", "after an equal shift", "after the decoded tokens")
    return Table(title="Next tokens", columns=(*columns, "recovery", "last position recovered"), rows=tuple(rows))


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
    )


def run_table(named: Named) -> Table:
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
    )


def _mean(values: Sequence[float | bool]) -> float | None:
    return sum(map(float, values)) / len(values) if values else None
