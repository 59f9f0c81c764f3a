"""Whether three ways to compute the gradient of the summed output agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engine.arms.settings import StackSettings, Unit
from engine.arms.stacks import AnyStack
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.experiments.gradients.arm import GradientArm, GradientResult, GradientRun
from engine.experiments.sampling import Runs, assign_arms, collect
from engine.records import Table
from engine.statistics import Estimate, exact_value

PRECISIONS = ("float32", "float64")


@dataclass(frozen=True, kw_only=True)
class CompareGradients:
    """The gradient of the sum, the product with ones, and the sum of one gradient per output, in two precisions.

    stacks: name → stack. Estimates 'worst difference, float32' and 'worst difference, float64': the largest relative
    difference (of an element from the gradient of the sum, over max |g|) among all prompts and stacks.
    """

    tag: ClassVar[str] = "CompareGradients"
    stacks: tuple[tuple[str, AnyStack], ...]

    def rounds(self, trial: Trial) -> Rounds:
        if not trial.count():
            return Evidence()

        # All arms are asked for in one round, stack by stack and precision by precision.
        def make_arm(settings: StackSettings, units: tuple[Unit, ...]) -> GradientArm:
            return GradientArm(settings=settings, units=units)

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
            found = [run.relative_difference for (_, own), runs in drawn.items() if own == dtype for run in runs.runs]
            estimates.append(exact_value(f"worst difference, {dtype}", max(found), len(found), counts="gradients"))
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
            *("sum − ones", "sum − one by one", "relative"),
        ),
        rows=tuple(
            (
                *(name, dtype, seed, run.prompt, run.outputs, run.largest),
                *(run.ones, run.individual, run.relative_difference),
            )
            for (name, dtype), runs in drawn.items()
            for run, seed in zip(runs.runs, runs.clusters, strict=True)
        ),
        note="A difference is the largest of any element. The document has about 1e-7 or less.",
        kind="gradients",
    )
