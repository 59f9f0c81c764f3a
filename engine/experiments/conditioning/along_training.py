"""Whether checkpoints of worse conditioning need more iterations, in models that the suite trains itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from engine.arms.settings import Unit
from engine.arms.stacks import Stack
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.experiments.conditioning.arm import JacobianArm, JacobianResult, JacobianRun
from engine.experiments.conditioning.procedure import jacobian_table
from engine.experiments.inversion.samples import Sample, SampleRuns, run_sample
from engine.experiments.sampling import (
    AssignedArm,
    Runs,
    assign_units,
    collect,
    explain_no_checkpoints,
    find_checkpoint,
    find_seeds,
    run_together,
    stack_settings,
)
from engine.experiments.tables import Growth, estimate_table, growth_table, tuning_table
from engine.models import find_subject
from engine.models.trained import SIZES, TrainedSubject
from engine.records import Table
from engine.statistics import Estimate, hold_choices, rank_correlation

LARGEST = "gpt2-mini-d256"
"""The scope of the item that reads all sizes."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A checkpoint of one size, with what was read there of every unit: its Jacobian, and its descent to the hit."""

    subject: str
    step: int
    jacobians: Runs[JacobianRun]
    descents: SampleRuns

    @property
    def conditions(self) -> list[float]:
        return [run.log_condition for run in self.jacobians.runs]

    @property
    def name(self) -> str:
        return f"{self.subject}, step {self.step}"


@dataclass(frozen=True, kw_only=True)
class ConditioningExplains:
    """Whether the condition number of one position's Jacobian goes with the iterations to the hit, along training.

    stack: behind which both are read. steps: of the checkpoints; on the largest size those of all sizes count, on any
    other its own. Gives 'rank correlation': Spearman's ρ over checkpoints between the median log condition number and
    the median hit, within each training seed, and its mean over seeds. A run without a hit counts as later than all.
    """

    tag: ClassVar[str] = "ConditioningExplains"
    stack: Stack
    steps: tuple[int, ...]

    def refuse(self, trial: Trial) -> str | None:
        """Why a subject has no checkpoints; None if it has."""
        return explain_no_checkpoints(trial.subject)

    def rounds(self, trial: Trial) -> Rounds:
        if not trial.count():
            return Evidence()
        subject = trial.subject
        find_checkpoint(subject, self.steps[0])  # raises where there are none
        assert isinstance(subject, TrainedSubject)
        sizes = [subject.sized(name) for name in SIZES] if LARGEST in trial.scopes else [subject]
        named = [(size, step) for size in sizes for step in self.steps]

        # Jacobians of all checkpoints are one round; their descents are tuned and run side by side.
        groups = [self._assign(trial, size.at(step)) for size, step in named]
        measurements = yield [each.arm for group in groups for each in group]
        answers = iter(measurements)
        jacobians = [collect(group, [next(answers) for _ in group], JacobianResult) for group in groups]
        samples = [Sample(stack=self.stack, subject=size.id, checkpoint=step) for size, step in named]
        descents = yield from run_together(*(run_sample(trial, sample) for sample in samples))

        points: list[Point] = []
        for (size, step), found, runs in zip(named, jacobians, descents, strict=True):
            assert runs is not None
            assert runs.clusters == found.clusters
            points.append(Point(subject=size.id, step=step, jacobians=found, descents=runs))
        estimate = estimate_correlation(points, trial)
        return Evidence(
            estimates=Evidence.named(estimate),
            make_tables=lambda: (
                estimate_table([estimate]),
                _point_table(points),
                growth_table(_list_growth(points)),
                jacobian_table({point.name: point.jacobians for point in points}, "checkpoint"),
                tuning_table(
                    ((point.name, point.descents.tuned) for point in points),
                    named="checkpoint",
                    note="Tuned for the hit, on prompts and starts that only tuning uses.",
                ),
            ),
            settings={
                "dtype": trial.dtype,
                "device": trial.device,
                "positions": trial.protocol.positions,
                "N": str(points[0].descents.iterations),
                "checkpoints": ", ".join(map(str, self.steps)),
            },
            measurements=(
                *measurements,
                *(m for point in points for one in (point.descents, *point.descents.others) for m in one.measurements),
            ),
        )

    def _assign(self, trial: Trial, subject: TrainedSubject) -> list[AssignedArm[JacobianArm]]:
        def make(seed: int | None, units: tuple[Unit, ...]) -> JacobianArm:
            # Not clamped, as descents are not: behind another stack the two would not be of one function.
            settings = stack_settings(trial, self.stack, seed, subject=subject, clamp=False)
            return JacobianArm(settings=settings, units=units)

        return assign_units(trial, make, find_seeds(self.stack, subject))


def estimate_correlation(points: Sequence[Point], trial: Trial) -> Estimate:
    """The rank correlation at the chosen step sizes, with an interval that holds those at every other choice.

    One checkpoint's choice is changed at a time.
    """
    hits = [_read_hits(point.descents) for point in points]

    def estimate(second: Sequence[Sequence[float]]) -> Estimate:
        return rank_correlation(
            "rank correlation",
            [point.conditions for point in points],
            second,
            clusters=points[0].jacobians.clusters,
            seed=0,
            look=trial.look,
        )

    others = [
        estimate([*hits[:k], _read_hits(other), *hits[k + 1 :]])
        for k, point in enumerate(points)
        for other in point.descents.others
    ]
    return hold_choices(estimate(hits), others, "η")


def _read_hits(runs: SampleRuns) -> list[float]:
    """The iteration of each unit's hit; infinite for a run that has none."""
    return runs.hit_times.times.tolist()


def _point_table(points: Sequence[Point]) -> Table:
    rows: list[tuple[str | int | float, ...]] = []
    for point in points:
        for seed in sorted({*point.descents.clusters}):
            own = [k for k, other in enumerate(point.descents.clusters) if other == seed]
            conditions, hits = ([values[k] for k in own] for values in (point.conditions, _read_hits(point.descents)))
            middle = find_median(conditions)
            reached = sum(map(math.isfinite, hits))
            rows.append(
                (point.subject, point.step, seed, math.exp(middle), middle, find_median(hits), reached, len(own))
            )
    return Table(
        title="Conditioning and hits by checkpoint",
        columns=(
            *("model", "step", "training seed", "median condition", "its logarithm", "median hit"),
            *("runs that hit", "runs"),
        ),
        rows=tuple(rows),
        note="A median hit is infinite where fewer than half of the runs hit by N.",
    )


def _list_growth(points: Sequence[Point]) -> Iterator[Growth]:
    """Median condition numbers and hits of each training, at each checkpoint."""
    for point in points:
        subject = find_subject(point.subject)
        assert isinstance(subject, TrainedSubject)
        clusters = point.descents.clusters
        for words, values in (
            ("condition", list(map(math.exp, point.conditions))),
            ("median iterations", _read_hits(point.descents)),
        ):
            for seed in sorted({*clusters}):
                own = [value for value, cluster in zip(values, clusters, strict=True) if cluster == seed]
                yield f"{words}, {point.subject}", subject.at(point.step), seed, find_median(own)


def find_median(values: Sequence[float]) -> float:
    """The smallest value that at least half of them do not exceed, as in the estimate."""
    return sorted(values)[(len(values) - 1) // 2]
