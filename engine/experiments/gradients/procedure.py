"""Whether three ways to the gradient of the summed output give one gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engine.arms.settings import StackSettings, Unit
from engine.arms.stacks import AnyStack
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.experiments.gradients.arm import GradientArm, GradientResult, GradientRun
from engine.experiments.sampling import Runs, assign_arms, collect
from engine.records import Table
from engine.statistics import Estimate

PRECISIONS = ("float32", "float64")


@dataclass(frozen=True, kw_only=True)
class CompareGradients:
    """The gradient of the sum, the product with ones, and the sum of one gradient per output, in two precisions.

    stacks: name → stack. Gives 'worst difference, float32' and 'worst difference, float64': the largest difference of
    an element from the gradient of the sum over its largest |g|, the worst of all prompts and stacks.
    """

    tag: ClassVar[str] = "CompareGradients"
    stacks: tuple[tuple[str, AnyStack], ...]

    def rounds(self, trial: Trial) -> Rounds:
        if not trial.count():
            return Evidence()
        names = [(name, dtype) for name, _ in self.stacks for dtype in PRECISIONS]
        dealt = [assign_arms(trial, stack, _make_arm, dtype=dtype) for _, stack in self.stacks for dtype in PRECISIONS]
        measurements = yield [d.arm for assigned in dealt for d in assigned]
        answers = iter(measurements)
        drawn: dict[tuple[str, str], Runs[GradientRun]] = {}
        for name, assigned in zip(names, dealt, strict=True):
            drawn[name] = collect(assigned, [next(answers) for _ in assigned], GradientResult)
        return Evidence(
            estimates=Evidence.named(*(_worst(dtype, drawn) for dtype in PRECISIONS)),
            draw=lambda: (_table(drawn),),
            settings={"dtype": " and ".join(PRECISIONS), "device": trial.device, "positions": trial.protocol.positions},
            measurements=tuple(measurements),
        )


def _make_arm(settings: StackSettings, units: tuple[Unit, ...]) -> GradientArm:
    return GradientArm(settings=settings, units=units)


def relative_difference(run: GradientRun) -> float:
    """The larger of a prompt's two differences over its largest |g|; differences without a gradient are infinite."""
    difference = max(run.ones, run.individual)
    if difference == 0:
        return 0.0
    return difference / run.largest if run.largest > 0 else float("inf")


def _worst(dtype: str, drawn: dict[tuple[str, str], Runs[GradientRun]]) -> Estimate:
    found = [relative_difference(run) for (_, own), runs in drawn.items() if own == dtype for run in runs.runs]
    worst = max(found)
    return Estimate(
        name=f"worst difference, {dtype}",
        value=worst,
        low=worst,
        high=worst,
        n=len(found),
        counts="gradients",
        method="exact",
        scale="exact",
    )


def _table(drawn: dict[tuple[str, str], Runs[GradientRun]]) -> Table:
    return Table(
        title="Gradients by prompt",
        columns=(
            *("stack", "dtype", "model seed", "prompt", "outputs", "max |g|"),
            *("sum − ones", "sum − one by one", "relative"),
        ),
        rows=tuple(
            (
                *(name, dtype, seed, run.prompt, run.outputs, run.largest),
                *(run.ones, run.individual, relative_difference(run)),
            )
            for (name, dtype), runs in drawn.items()
            for run, seed in zip(runs.runs, runs.clusters, strict=True)
        ),
        note="Differences are the largest of an element; the document has about 1e-7 or less for them.",
        kind="gradients",
    )
