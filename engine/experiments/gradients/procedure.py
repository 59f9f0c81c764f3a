"""Whether three ways to compute the gradient of the summed output agree, and what precision an input gradient has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engine.arms.settings import DescentSettings, StackSettings, Unit
from engine.arms.stacks import AnyStack
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.experiments.gradients.arm import (
    GradientArm,
    GradientResult,
    GradientRun,
    PrecisionArm,
    PrecisionResult,
    PrecisionRun,
)
from engine.experiments.sampling import Runs, assign_arms, collect
from engine.experiments.tables import estimate_table
from engine.records import Table
from engine.statistics import Estimate, exact_value, median

PRECISIONS = ("float32", "float64")


@dataclass(frozen=True, kw_only=True)
class CompareGradients:
    """The gradient of the sum, the product with ones, and the sum of one gradient per output, in two precisions.

    stacks: name → stack. Estimates 'worst / rounding, float32' and 'worst / rounding, float64': the largest relative
    difference among all prompts and stacks (of an element from the gradient of the sum, over max |g|), over what
    rounding the sum comes to. 'median |Δ|, STACK' and 'mean |Δ|, STACK' are of an element in float32, the worst of all
    prompts.
    """

    tag: ClassVar[str] = "CompareGradients"
    stacks: tuple[tuple[str, AnyStack], ...]

    def rounds(self, trial: Trial) -> Rounds:
        if not trial.count():
            return Evidence()

        # All arms are asked for in one round, stack by stack and precision by precision.
        def make_arm(settings: StackSettings, units: tuple[Unit, ...]) -> GradientArm:
            return GradientArm(settings=settings, units=units, per_element=True)

        assigned = {
            (name, dtype): assign_arms(trial, stack, make_arm, dtype=dtype)
            for name, stack in self.stacks
            for dtype in PRECISIONS
        }
        measurements = yield [each.arm for group in assigned.values() for each in group]
        answers = iter(measurements)
        drawn = {key: collect(group, [next(answers) for _ in group], GradientResult) for key, group in assigned.items()}

        estimates: list[Estimate] = []
        for dtype in PRECISIONS:
            found = [run.over_rounding(dtype) for (_, own), runs in drawn.items() if own == dtype for run in runs.runs]
            estimates.append(exact_value(f"worst / rounding, {dtype}", max(found), len(found), counts="gradients"))
        for name, _ in self.stacks:
            runs = drawn[name, "float32"].runs
            for word, values in (("median", [run.median for run in runs]), ("mean", [run.mean for run in runs])):
                estimates.append(exact_value(f"{word} |Δ|, {name}", max(values), len(values), counts="prompts"))
        return Evidence(
            estimates=Evidence.named(*estimates),
            make_tables=lambda: (_gradient_table(drawn),),
            settings={"dtype": " and ".join(PRECISIONS), "device": trial.device, "positions": trial.protocol.positions},
            measurements=tuple(measurements),
        )


def _gradient_table(drawn: dict[tuple[str, str], Runs[GradientRun]]) -> Table:
    return Table(
        title="Gradients by prompt",
        columns=(
            *("stack", "dtype", "model seed", "prompt", "outputs", "max |g|"),
            *("sum − ones", "sum − one by one", "median", "mean", "relative", "over rounding"),
        ),
        rows=tuple(
            (
                *(name, dtype, seed, run.prompt, run.outputs, run.largest),
                *(run.ones, run.individual, run.median, run.mean, run.relative_difference, run.over_rounding(dtype)),
            )
            for (name, dtype), runs in drawn.items()
            for run, seed in zip(runs.runs, runs.clusters, strict=True)
        ),
        note="A difference is the largest of any element; median and mean are over elements. The document has about "
        "1e-7 or less per element. Over rounding: relative to √outputs times the unit roundoff.",
        kind="gradients",
    )


@dataclass(frozen=True, kw_only=True)
class GradientPrecision:
    """How much of the input gradient at a descent's start is rounding: float32 against float64, stack by stack.

    stacks: name → stack. Estimates the median 'error, NAME': ‖g₃₂ − g₆₄‖₂ / ‖g₆₄‖₂.
    """

    tag: ClassVar[str] = "GradientPrecision"
    stacks: tuple[tuple[str, AnyStack], ...]

    def rounds(self, trial: Trial) -> Rounds:
        if not trial.count():
            return Evidence()

        def make_arm(settings: StackSettings, units: tuple[Unit, ...]) -> PrecisionArm:
            return PrecisionArm(settings=DescentSettings(**vars(settings), iterations=1), units=units)

        assigned = {name: assign_arms(trial, stack, make_arm, dtype="float32") for name, stack in self.stacks}
        measurements = yield [each.arm for group in assigned.values() for each in group]
        answers = iter(measurements)
        drawn = {
            name: collect(group, [next(answers) for _ in group], PrecisionResult) for name, group in assigned.items()
        }
        estimates = [
            median(f"error, {name}", [run.error for run in runs.runs], clusters=runs.clusters, look=trial.look)
            for name, runs in drawn.items()
        ]
        return Evidence(
            estimates=Evidence.named(*estimates),
            make_tables=lambda: (estimate_table(estimates), _precision_table(drawn)),
            settings={"dtype": " and ".join(PRECISIONS), "device": trial.device, "positions": trial.protocol.positions},
            measurements=tuple(measurements),
        )


def _precision_table(drawn: dict[str, Runs[PrecisionRun]]) -> Table:
    return Table(
        title="Input gradients in float32 against float64",
        columns=("stack", "model seed", "prompt", "relative error", "1 − cosine"),
        rows=tuple(
            (name, seed, run.prompt, run.error, 1 - run.cosine)
            for name, runs in drawn.items()
            for run, seed in zip(runs.runs, runs.clusters, strict=True)
        ),
        note="At the start of a descent, of the loss that it goes down.",
    )
