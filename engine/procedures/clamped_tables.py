"""Tables behind a verdict on clamped walks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median as middle

from engine.procedures.walk_readings import Walked, drift_ratio, gain_of, r_of
from engine.records import Table
from engine.statistics import Estimate

FILM_WALKS = 3
Row = tuple[str | int | float | None, ...]


def estimate_table(estimates: Sequence[Estimate]) -> Table:
    """Every estimate, those that no criterion asks for on this subject too."""
    return Table(
        title="Estimates",
        columns=("estimate", "value", "low", "high", "n"),
        rows=tuple((e.name, e.value, e.low, e.high, e.n) for e in estimates),
    )


def ending_table(drawn: Mapping[str, Walked]) -> Table:
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


def walk_table(drawn: Mapping[str, Walked]) -> Table:
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
    )


def walk_tuning_table(drawn: Mapping[str, Walked]) -> Table:
    """What every choice came to on the tuning walks."""
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
    )


def film_table(found: Walked) -> Table:
    """What the first few walks decode to on their way: the most activated token at each position, then the others."""
    rows: list[Row] = []
    for run in found.runs.runs[:FILM_WALKS]:
        rows.append((run.seed, "target", None, "".join(found.texts.get(i, "") for i in run.target)))
        for read in run.reads:
            for k in range(min((len(top) for top in read.top), default=0)):
                tokens = " ".join(f"[{found.texts.get(top[k], '')}]" for top in read.top)
                rows.append((run.seed, str(read.outer), k + 1, tokens))
    return Table(title="Decoded tokens", columns=("start seed", "outer steps", "choice", "tokens"), rows=tuple(rows))
