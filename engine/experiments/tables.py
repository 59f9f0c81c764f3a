"""Tables that several kinds of experiment show: estimates, tuning, recovery on the way, and decoded tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from engine.experiments.tuning.choose_step import StepChoice, upper_median
from engine.models import Subject
from engine.models.trained import TrainedSubject
from engine.records import CHOICES, Table
from engine.statistics import Estimate

Row = tuple[str | int | float | None, ...]

FILMED = 3
"""Units of an arm whose decoded tokens are shown."""

Frame = tuple[int, Sequence[Sequence[int]]]
"""The number of steps taken so far, and the most activated tokens at each position."""


Growth = tuple[str, Subject, int, float | None]
"""A reading, the model with its checkpoint, the seed of its training, and the value if there is one."""


def mean(values: Sequence[float | bool]) -> float | None:
    return sum(map(float, values)) / len(values) if values else None


def estimate_table(estimates: Sequence[Estimate], *, title: str = "Estimates", note: str = "") -> Table:
    """Every estimate, including those that no criterion asks for on this subject."""
    return Table(
        title=title,
        columns=("estimate", "value", "low", "high", "n", "counts", "method"),
        rows=tuple((e.name, e.value, e.low, e.high, e.n, e.counts, e.method) for e in estimates),
        note=note,
    )


def tuning_table(choices: Iterable[tuple[str, StepChoice]], *, named: str = "arm", note: str) -> Table:
    """Every step size that was tried and what it did on the tuning units. named: heads the column of names."""
    rows: list[Row] = []
    for name, choice in choices:
        for outcome in choice.outcomes:
            hits = [hit for hit in outcome.hits if hit is not None]
            chosen = "chosen" if outcome.step == choice.step else ""
            row = (name, outcome.step, chosen, len(hits), min(hits, default=None), outcome.median_distance)
            distance = upper_median(outcome.distances) if outcome.distances else None
            rows.append((*row, distance, choice.shares.get(outcome.step)))
    columns = (named, "η", "chosen", "tuning units that hit", "first hit", "median distance when stopped")
    resampled = ("median distance at N, in bounds", "best")
    if all(row[-1] is None for row in rows):  # tuned for hits alone
        rows, resampled = [row[: len(columns)] for row in rows], ()
    return Table(
        title="Tuning of the step size η",
        columns=(*columns, *resampled),
        rows=tuple(rows),
        note=note,
    )


def recovery_table(
    points: Iterable[tuple[str, int, Sequence[float], Row]], *, counted: str = "iteration", columns: tuple[str, ...]
) -> Table:
    """Mean recovery and exact rate by iteration, a row for each point.

    points: name of the arm, iteration, recovery of each unit whose ceiling is 1, and the cells of `columns`.
    counted: what is counted in the place of iterations.
    """
    return Table(
        title=f"Recovery by {counted}",
        columns=("arm", counted, "mean recovery", "exact rate", "n", *columns),
        rows=tuple(
            (name, n, mean(recoveries), mean([r == 1 for r in recoveries]), len(recoveries), *cells)
            for name, n, recoveries, cells in points
        ),
        kind="recovery",
    )


def film_rows(
    name: str, number: int, seed: int, target: Sequence[int], frames: Iterable[Frame], texts: Mapping[int, str]
) -> list[Row]:
    """Decoded tokens of one run: a row for each frame and position. number: the run's place in its arm, from 1.

    The target's rank is found by id, since two ids can have one text.
    """
    return [
        (
            *(name, number, seed, steps, position, texts.get(wanted, "")),
            *(texts.get(i, "") for i in top[: len(CHOICES)]),
            *("",) * (len(CHOICES) - len(top)),
            list(top).index(wanted) + 1 if wanted in top[: len(CHOICES)] else None,
        )
        for steps, tops in frames
        for position, (wanted, top) in enumerate(zip(target, tops, strict=False), 1)
    ]


def film_table(rows: Iterable[Row], *, counted: str = "iteration") -> Table:
    """What positions decode to on the way. counted: what a frame's number counts."""
    return Table(
        title="Decoded tokens",
        columns=("arm", "run", "start seed", counted, "position", "target", *CHOICES, "rank"),
        rows=tuple(rows),
        note=f"The first {FILMED} units of each arm. rank: where the target stands among the five, by its id.",
        kind="film",
    )


def growth_table(points: Iterable[Growth]) -> Table:
    """What checkpoints of models that the suite trains come to.

    Models of another kind have no step, and are left out.
    """
    return Table(
        title="Along training",
        columns=("reading", "step", "seed", "value"),
        rows=tuple(
            (reading, subject.step, seed, value)
            for reading, subject, seed, value in points
            if isinstance(subject, TrainedSubject) and value is not None
        ),
        note="One value for each training; step 0 is the initialization.",
        kind="checkpoints",
    )
