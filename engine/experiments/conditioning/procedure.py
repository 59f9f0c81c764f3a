"""Whether later blocks are worse conditioned than the first, and what the head lets through of a gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from engine.arms.settings import StackSettings, Unit
from engine.arms.stacks import WHOLE, Stack
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.errors import EngineError, explain
from engine.experiments.conditioning.arm import (
    JacobianArm,
    JacobianResult,
    JacobianRun,
    LogitGradientArm,
    LogitGradientResult,
    LogitGradientRun,
)
from engine.experiments.sampling import Runs, assign_arms, collect
from engine.experiments.tables import estimate_table
from engine.records import Table
from engine.statistics import Estimate, paired_mean

SHARE = (0.0, 1.0)


def choose_blocks(depth: int, shown: int) -> tuple[int, ...]:
    """So many blocks of a model at equal distances, from the first to the last, counted from 1; all if it has fewer."""
    count = min(depth, shown)
    return tuple(1 + round(k * (depth - 1) / max(1, count - 1)) for k in range(count))


@dataclass(frozen=True, kw_only=True)
class BlockConditioning:
    """How single blocks are conditioned at a prompt's activations: each block's own Jacobian at the last position.

    shown: how many blocks are measured, at equal distances from the first to the last. Gives the mean over prompts of
    'log condition, last − first': the natural logarithm of the last block's condition number (99th over 1st percentile
    of the singular values) minus that of the first block's.
    """

    tag: ClassVar[str] = "BlockConditioning"
    shown: int = 7

    def refuse(self, trial: Trial) -> str | None:
        """Why a subject has no later block; None if it has one."""
        try:
            if _count_blocks(trial) > 1:
                return None
        except EngineError:
            return None  # a model that cannot be read: its experiment reports the error
        who, remedy = f"subject {trial.subject.id}", "name a deeper model"
        return explain(who=who, got="one block", expected="a first block and a later one", remedy=remedy)

    def rounds(self, trial: Trial) -> Rounds:
        if not trial.count():
            return Evidence()
        blocks = choose_blocks(_count_blocks(trial), self.shown)

        def make(block: int) -> Callable[[StackSettings, tuple[Unit, ...]], JacobianArm]:
            return lambda settings, units: JacobianArm(settings=settings, units=units, first_block=block)

        # All blocks are asked for in one round.
        assigned = {block: assign_arms(trial, Stack(blocks=block), make(block)) for block in blocks}
        measurements = yield [each.arm for group in assigned.values() for each in group]
        answers = iter(measurements)
        drawn = {
            block: collect(group, [next(answers) for _ in group], JacobianResult) for block, group in assigned.items()
        }

        first, last = drawn[blocks[0]], drawn[blocks[-1]]
        estimate = paired_mean(
            "log condition, last − first",
            [later.log_condition - early.log_condition for later, early in zip(last.runs, first.runs, strict=True)],
            bounds=None,
            clusters=first.clusters,
            seed=0,
            look=trial.look,
        )
        return Evidence(
            estimates=Evidence.named(estimate),
            make_tables=lambda: (
                estimate_table([estimate]),
                _block_table(drawn),
                jacobian_table({str(block): runs for block, runs in drawn.items()}),
            ),
            settings={"dtype": trial.dtype, "device": trial.device, "positions": trial.protocol.positions},
            measurements=tuple(measurements),
        )


def _count_blocks(trial: Trial) -> int:
    return int(trial.subject.config().num_hidden_layers)


def _block_table(drawn: dict[int, Runs[JacobianRun]]) -> Table:
    rows: list[tuple[int | float, ...]] = []
    for block, runs in drawn.items():
        quartiles = np.quantile([run.log_condition for run in runs.runs], (0.25, 0.5, 0.75))
        rows.append((block, *map(float, (math.exp(quartiles[1]), *quartiles)), len(runs.runs)))
    return Table(
        title="Condition numbers by block",
        columns=("block", "median condition", "log, lower quartile", "log, median", "log, upper quartile", "n"),
        rows=tuple(rows),
        note="Of each block's own Jacobian at the last position. Natural logarithms.",
    )


def jacobian_table(drawn: Mapping[str, Runs[JacobianRun]], named: str = "block") -> Table:
    """The singular values of every run, summarized. named: heads the column of the numbers that runs lie under."""
    return Table(
        title="Singular values by prompt",
        columns=(named, "model seed", "prompt", "largest", "99th percentile", "1st", "smallest", "condition", "values"),
        rows=tuple(
            (key, seed, run.prompt, run.largest, run.high, run.low, run.smallest, run.condition, run.count)
            for key, runs in drawn.items()
            for run, seed in zip(runs.runs, runs.clusters, strict=True)
        ),
        note="Of one position's Jacobian, earlier positions held at the prompt's activations. Condition: the 99th over "
        "the 1st percentile.",
    )


READINGS: tuple[tuple[str, Callable[[LogitGradientRun], float]], ...] = (
    ("share outside", lambda run: run.outside),
    ("share inside", lambda run: run.inside),
    ("sensitivity", lambda run: run.sensitivity),
    ("share outside, L¹", lambda run: run.l1_outside),
    ("share inside, L¹", lambda run: run.l1_inside),
    ("sensitivity, L¹", lambda run: run.l1_sensitivity),
)


@dataclass(frozen=True, kw_only=True)
class HeadSuppression:
    """How much of a gradient by the logits lies outside the column space of the whole model's head, and is lost there.

    Gives means over prompts: 'share outside', 'share inside' and 'sensitivity' of the gradient of the next-token
    cross-entropy, and the same with ', L¹' behind it of the document's loss at a random start. See LogitGradientRun.
    """

    tag: ClassVar[str] = "HeadSuppression"

    def rounds(self, trial: Trial) -> Rounds:
        if not trial.count():
            return Evidence()

        def make(settings: StackSettings, units: tuple[Unit, ...]) -> LogitGradientArm:
            return LogitGradientArm(settings=settings, units=units)

        assigned = assign_arms(trial, WHOLE, make)
        measurements = yield [each.arm for each in assigned]
        drawn = collect(assigned, measurements, LogitGradientResult)
        estimates = [_estimate_share(name, read, drawn, trial) for name, read in READINGS]
        return Evidence(
            estimates=Evidence.named(*estimates),
            make_tables=lambda: (estimate_table(estimates), _gradient_table(drawn)),
            settings={"dtype": trial.dtype, "device": trial.device, "positions": trial.protocol.positions},
            measurements=tuple(measurements),
        )


def _estimate_share(
    name: str, read: Callable[[LogitGradientRun], float], drawn: Runs[LogitGradientRun], trial: Trial
) -> Estimate:
    """The mean over the prompts whose gradient is not zero: the others have no share."""
    pairs = [(read(run), seed) for run, seed in zip(drawn.runs, drawn.clusters, strict=True)]
    kept = [(value, seed) for value, seed in pairs if not math.isnan(value)]
    return paired_mean(
        name,
        [min(value, 1.0) for value, _ in kept],  # rounding may exceed it
        bounds=SHARE,
        clusters=[seed for _, seed in kept],
        seed=0,
        counts="prompts",
        look=trial.look,
    )


def _gradient_table(drawn: Runs[LogitGradientRun]) -> Table:
    return Table(
        title="Gradients by the logits",
        columns=("model seed", "prompt", "positions", *(name for name, _ in READINGS)),
        rows=tuple(
            (seed, run.prompt, run.tokens, *(read(run) for _, read in READINGS))
            for run, seed in zip(drawn.runs, drawn.clusters, strict=True)
        ),
        note="Shares of the Frobenius norm, outside and inside of the head's column space: their squares add up to 1. "
        "Sensitivity: ‖WᵀG‖ / (‖W‖₂ ‖G‖). L¹: of the distance between the logits of a random start and of the prompt.",
    )
