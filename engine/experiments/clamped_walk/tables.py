"""Tables behind a verdict on clamped walks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median as middle
from typing import Literal

from engine.experiments.clamped_walk.readings import WalkRuns, drift_ratio, gain_of, r_of
from engine.experiments.tables import FILMED, Row, film_rows, film_table, recovery_table
from engine.records import Table


def ending_table(drawn: Mapping[str, WalkRuns]) -> Table:
    """How many walks got to the distance at which they are compared."""
    return Table(
        title="How walks ended",
        columns=("walk", "walks", "arrived", "out of steps", "diverged"),
        rows=tuple(
            (
                *(name, len(runs), sum(run.arrived and not run.diverged for run in runs)),
                *(sum(not run.arrived and not run.diverged for run in runs), sum(run.diverged for run in runs)),
            )
            for name, found in drawn.items()
            for runs in [found.runs.runs]
        ),
        note="A walk that did not arrive counts at the distance that it had; one that diverged counts as r = 0.",
    )


def walk_table(drawn: Mapping[str, WalkRuns]) -> Table:
    return Table(
        title="Walks",
        columns=(
            *("walk", "model seed", "prompt", "start seed", "outer steps", "‖e − e_N‖₁ / ‖e‖₁", "‖ΔO‖₁"),
            *("‖ΔO‖₁ of a random step", "r", "r of a random step", "gain", "largest ‖ΔO‖₁ / m", "recovery", "ceiling"),
        ),
        rows=tuple(
            (
                *(name, seed, run.prompt, run.seed, run.end.outer, run.end.input_distance / run.size),
                *(run.end.output_distance, run.random_distance, r_of(run), random_r),
                *(gain_of(run), drift_ratio(run), run.end.recovery, run.ceiling),
            )
            for name, found in drawn.items()
            for run, seed in zip(found.runs.runs, found.runs.clusters, strict=True)
            for random_r in [run.end.input_distance / run.random_distance if run.random_distance else math.nan]
        ),
        kind="walks",
    )


def walk_tuning_table(drawn: Mapping[str, WalkRuns], *, sought: Literal["gain", "text"] = "gain") -> Table:
    """What every choice came to on the tuning walks. sought: what they were tuned for."""
    return Table(
        title="Settings tried",
        columns=(
            *("walk", "noise", "step", "outer steps", "arrived", "diverged", "median gain", "median r"),
            *("median largest ‖ΔO‖₁ / m", "mean recovery", "walks", "chosen"),
        ),
        rows=tuple(
            (
                *(name, choice.noise, choice.step, choice.outer, sum(run.arrived for run in runs)),
                *(sum(run.diverged for run in runs), middle(map(gain_of, runs)), middle(map(r_of, runs))),
                *(middle(map(drift_ratio, runs)), sum(run.end.recovery for run in runs) / len(runs), len(runs)),
                "yes" if choice == found.tuned else "",
            )
            for name, found in drawn.items()
            for choice, runs in found.tried
        ),
        kind="tried" if sought == "gain" else "tried, text",
    )


def progress_table(found: WalkRuns) -> Table:
    """Recovery by outer steps, over walks whose ceiling is 1, and how far the output has gone."""
    points: list[tuple[str, int, list[float], Row]] = []
    for n in sorted({read.outer for run in found.runs.runs for read in run.reads}):
        at = [(run, read) for run in found.runs.runs for read in run.reads if read.outer == n]
        recoveries = [read.recovery for run, read in at if run.ceiling == 1]
        drift = middle(read.output_distance / run.bound if run.bound > 0 else math.nan for run, read in at)
        points.append(("walk", n, recoveries, (drift, len(at))))
    return recovery_table(points, counted="outer steps", columns=("median ‖ΔO‖₁ / m", "walks"))


def decoded_table(found: WalkRuns) -> Table:
    """What the first few walks decode to on their way."""
    rows: list[Row] = []
    for number, run in enumerate(found.runs.runs[:FILMED], 1):
        frames = ((read.outer, read.top) for read in run.reads)
        rows += film_rows("walk", number, run.seed, run.target, frames, found.texts)
    return film_table(rows, counted="outer steps")
