"""What training changes, part by part: a claim on the first block against the last, early and late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from engine.arms.measurement import Measurement
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.experiments.sampling import explain_no_checkpoints
from engine.experiments.training.arm import TrainingArm, TrainingResult, UpdateWindow
from engine.models.trained import TrainedSubject
from engine.records import Table
from engine.statistics import geometric_ratio

EARLY_UNTIL, LATE_UNTIL = 800, 6400
"""Ends of the windows that are compared: the first that lies whole behind the warm-up, and the last before the step
size falls. Both have the same step size."""


@dataclass(frozen=True, kw_only=True)
class FirstOverLast:
    """The first block's change over the last block's, in a window of a twentieth of training. The unit is a training.

    of: 'updates', ‖W − W₀‖ / ‖W₀‖ over the window, or 'gradients', the mean of ‖∂loss/∂W‖ / ‖W₀‖ over its steps before
    the optimizer. Gives 'late first / last' and 'early first / last', geometric means over training seeds, and
    'late / early', their ratio paired by seed. Seeds from 0 on are trained, as many as the claim has units.
    """

    tag: ClassVar[str] = "FirstOverLast"
    of: Literal["updates", "gradients"]
    early: int = EARLY_UNTIL
    late: int = LATE_UNTIL

    def refuse(self, trial: Trial) -> str | None:
        """Why a trial's subject has no training to look at; None if it has."""
        return explain_no_checkpoints(trial.subject)

    def rounds(self, trial: Trial) -> Rounds:
        subject = trial.subject
        assert isinstance(subject, TrainedSubject)
        seeds = range(trial.count()) if subject.drawn else (subject.recipe.seed,) * bool(trial.count())
        measurements = yield [TrainingArm.of(subject.draw(seed), trial.device) for seed in seeds]
        results = [m.result for m in measurements if isinstance(m.result, TrainingResult)]
        early, late = ([self._read(result, until) for result in results] for until in (self.early, self.late))
        ones = [1.0] * len(results)
        estimates = (
            geometric_ratio("late first / last", late, ones, seed=0, look=trial.look),
            geometric_ratio("late / early", late, early, seed=0, look=trial.look),
            geometric_ratio("early first / last", early, ones, seed=0, look=trial.look),
        )
        return Evidence(
            estimates=Evidence.named(*estimates) if results else {},
            make_tables=lambda: (_list_trainings(seeds, measurements), _list_windows(seeds, results, self.of)),
            settings={
                "early": f"the window of {subject.recipe.steps // 20:,} steps up to step {self.early:,}",
                "late": f"the window up to step {self.late:,}",
                "optimizer": "AdamW",
                "device": trial.device,
            },
            measurements=tuple(measurements),
        )

    def _read(self, result: TrainingResult, until: int) -> float:
        """The first block's change over the last block's in the window that ends at a step."""
        window = next(one for one in result.windows if one.until == until)
        changes = dict(zip(result.parts, _changes(window, self.of), strict=True))
        blocks = [name for name in result.parts if name.startswith("block")]
        return changes[blocks[0]] / changes[blocks[-1]]


def _changes(window: UpdateWindow, of: Literal["updates", "gradients"]) -> tuple[float, ...]:
    return window.updates if of == "updates" else window.gradients


def _list_trainings(seeds: Sequence[int], measurements: Sequence[Measurement]) -> Table:
    """What each training came to, beside what it has to beat."""
    rows: list[tuple[int | float | str, ...]] = []
    for seed, measurement in zip(seeds, measurements, strict=True):
        result = measurement.result
        assert isinstance(result, TrainingResult)
        loss, minutes = result.checkpoints[-1].validation_loss, measurement.elapsed_s / 60
        rows.append((seed, result.tokens, minutes, loss, result.trigram_loss, result.samples[0]))
    return Table(
        title="The models that were trained",
        columns=("seed", "tokens", "minutes", "loss, nats a token", "a trigram's loss", "a continuation"),
        rows=tuple(rows),
        note="Losses are on services that were kept from training. A model above the trigram is no language model yet.",
        kind="trainings",
    )


def _list_windows(
    seeds: Sequence[int], results: Sequence[TrainingResult], of: Literal["updates", "gradients"]
) -> Table:
    rows = [
        (seed, window.until, part, change)
        for seed, result in zip(seeds, results, strict=True)
        for window in result.windows
        for part, change in zip(result.parts, _changes(window, of), strict=True)
    ]
    return Table(
        title=f"Relative size of {of}, by part and window of training",
        columns=("seed", "until step", "part", "change"),
        rows=tuple(rows),
        kind="training",
    )
