"""Tables behind a verdict on clamped walks, and the runs that they show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median as middle
from typing import Literal

from engine.arms.measurement import Measurement
from engine.experiments.clamped_walk.arm import WalkChoice, WalkRun
from engine.experiments.sampling import Runs
from engine.experiments.tables import FILMED, Row, film_rows, film_table, recovery_table
from engine.records import Table


@dataclass(frozen=True, kw_only=True)
class WalkRuns:
    """Walks on one stack, all under one choice of settings.

    inner: descent steps after each shift. tuned: the choice that tuning made, None where nothing was tuned; `choice`
    may take more outer steps. tried: every choice of tuning, with its walks. texts: of tokens, by id.
    """

    runs: Runs[WalkRun]
    choice: WalkChoice
    inner: int
    tuned: WalkChoice | None
    tried: tuple[tuple[WalkChoice, tuple[WalkRun, ...]], ...]
    measurements: tuple[Measurement, ...]
    texts: dict[int, str]


def ending_table(drawn: Mapping[str, WalkRuns]) -> Table:
    """How many walks got to the distance at which they are compared."""
    rows: list[Row] = []
    for name, found in drawn.items():
        runs = found.runs.runs
        arrived = sum(run.arrived and not run.diverged for run in runs)
        diverged = sum(run.diverged for run in runs)
        rows.append((name, len(runs), arrived, len(runs) - arrived - diverged, diverged))
    return Table(
        title="How walks ended",
        columns=("walk", "walks", "arrived", "out of steps", "diverged"),
        rows=tuple(rows),
        note="A walk that did not arrive counts at the distance it had reached. One that diverged counts as r = 0.",
    )


def walk_table(drawn: Mapping[str, WalkRuns]) -> Table:
    """Every walk, with its random step beside it."""
    rows: list[Row] = []
    for name, found in drawn.items():
        for run, seed in zip(found.runs.runs, found.runs.clusters, strict=True):
            random_r = run.end.input_distance / run.random_distance if run.random_distance else math.nan
            rows.append(
                (
                    *(name, seed, run.prompt, run.seed, run.end.outer, run.end.input_distance / run.size),
                    *(run.end.output_distance, run.random_distance, run.r, random_r),
                    *(run.gain, run.bound_ratio, run.end.recovery, run.ceiling),
                )
            )
    return Table(
        title="Walks",
        columns=(
            *("walk", "model seed", "prompt", "start seed", "outer steps", "‖e − e_N‖₁ / ‖e‖₁", "‖ΔO‖₁"),
            *("‖ΔO‖₁ of a random step", "r", "r of a random step", "gain", "largest ‖ΔO‖₁ / m", "recovery", "ceiling"),
        ),
        rows=tuple(rows),
        kind="walks",
    )


def walk_tuning_table(drawn: Mapping[str, WalkRuns], *, aim: Literal["gain", "text"] = "gain") -> Table:
    """How the tuning walks fared under every choice. aim: what they were tuned for."""
    rows: list[Row] = []
    for name, found in drawn.items():
        for choice, runs in found.tried:
            rows.append(
                (
                    *(name, choice.noise, choice.step, choice.outer),
                    *(sum(run.arrived for run in runs), sum(run.diverged for run in runs)),
                    *(middle(run.gain for run in runs), middle(run.r for run in runs)),
                    *(middle(run.bound_ratio for run in runs), sum(run.end.recovery for run in runs) / len(runs)),
                    *(len(runs), "yes" if choice == found.tuned else ""),
                )
            )
    return Table(
        title="Settings tried",
        columns=(
            *("walk", "noise", "step", "outer steps", "arrived", "diverged", "median gain", "median r"),
            *("median largest ‖ΔO‖₁ / m", "mean recovery", "walks", "chosen"),
        ),
        rows=tuple(rows),
        kind="tried" if aim == "gain" else "tried, text",
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
