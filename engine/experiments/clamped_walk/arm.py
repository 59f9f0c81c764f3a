"""Clamped walks: what is run, and what comes out. Pure: no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from engine.arms.arm import CHECK_BLOCKS, CHECK_STEPS, CHECK_UNITS, Arm, GpuCheck, GpuCheckTarget, Result
from engine.arms.costs import Cost, CostModel
from engine.arms.protocol import CONTROLLED
from engine.arms.settings import StackSettings, Unit
from engine.arms.stacks import Stack, describe_stack
from engine.records import Number


@dataclass(frozen=True, kw_only=True)
class WalkChoice:
    """Settings of a clamped walk: scale of the shifts, step size of the descent, and most outer steps."""

    tag: ClassVar[str] = "WalkChoice"
    noise: float
    step: float
    outer: int


@dataclass(frozen=True, kw_only=True)
class WalkRead:
    """A clamped walk after `outer` outer steps.

    input_distance, output_distance: ‖e − e_n‖₁ and ‖O(e) − O(e_n)‖₁. top: the five most activated tokens at each
    position, none for a walk that diverged.
    """

    outer: int
    input_distance: Number
    output_distance: Number
    recovery: Number
    top: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class WalkRun:
    """One clamped walk under one choice of settings.

    size: ‖e‖₁. bound: m(σ). arrived: whether it reached the distance at which it stops.
    random_distance: mean of ‖O(e) − O(e + δ)‖₁ over random steps δ that are as long as the walk, ‖δ‖₁ = ‖e − e_N‖₁.
    ceiling: recovery of the prompt's own embeddings. end: where the walk stopped. reads: on the way there.
    """

    choice: int
    prompt: str
    seed: int
    target: tuple[int, ...]
    size: Number
    bound: Number
    arrived: bool
    diverged: bool
    random_distance: Number
    ceiling: Number
    end: WalkRead
    reads: tuple[WalkRead, ...]

    @property
    def r(self) -> float:
        """‖e − e_N‖₁ / ‖O(e) − O(e_N)‖₁; 0 for a walk that diverged, which kept nothing."""
        return 0.0 if self.diverged else _divide(self.end.input_distance, self.end.output_distance)

    @property
    def gain(self) -> float:
        """r over the r of a random step that is as long; 0 for a walk that diverged."""
        return 0.0 if self.diverged else _divide(self.random_distance, self.end.output_distance)

    @property
    def bound_ratio(self) -> float:
        """The largest ‖ΔO‖₁ at a reading or at the end, over m(σ); infinite for a walk that diverged."""
        largest = max(read.output_distance for read in (*self.reads, self.end))
        return math.inf if self.diverged or math.isnan(largest) else largest / self.bound


def _divide(distance: float, output: float) -> float:
    # A walk that did not move has gained nothing, and one whose output is out of range did not keep it.
    if math.isnan(distance) or not math.isfinite(output):
        return 0.0
    return distance / output if output > 0 else (math.inf if distance > 0 else 0.0)


@dataclass(frozen=True, kw_only=True)
class ClampedWalkResult(Result):
    """Runs by choice, then by unit. texts: of every token that a run names, by id."""

    runs: tuple[WalkRun, ...]
    texts: dict[int, str]
    kind: Literal["clamped walk"] = "clamped walk"


@dataclass(frozen=True, kw_only=True)
class ClampedWalkArm(Arm):
    """Walks that shift coordinates from a random one on and descend on those before it to restore the output.

    choices: every unit walks under each. inner: descent steps after each shift.
    law: of the noise; 'uniform' is on [0, 1). scaled: noise is in units of the walk's own mean |e|, and step in units
    of noise over the mean |gradient| at the walk's first; otherwise both are absolute.
    stop_at: a walk stops once ‖e − e_n‖₁ has reached this share of ‖e‖₁; None never stops.
    reads: outer steps after which a walk is read, besides its end.
    Source: the document's clamped walk (section 'Clamped Gradient Walk Representations').
    """

    tag: ClassVar[str] = "ClampedWalkArm"
    result: ClassVar[type[Result]] = ClampedWalkResult
    measured_by: ClassVar[str] = "engine.experiments.clamped_walk.measure:measure_clamped_walk"
    settings: StackSettings
    choices: tuple[WalkChoice, ...]
    units: tuple[Unit, ...]
    inner: int
    law: Literal["normal", "uniform"] = "normal"
    scaled: bool = True
    stop_at: float | None = None
    reads: tuple[int, ...] = ()
    kind: Literal["clamped walk"] = "clamped walk"

    def estimate_cost(self, costs: CostModel) -> Cost:
        steps = self.inner * max(choice.outer for choice in self.choices)
        return costs.count_steps(self.settings, steps, len(self.units) * len(self.choices))

    def assume(self) -> ClampedWalkResult | None:
        """For tuning, a result in which the middle choice gains the most, so that a plan can go on from it."""
        if len(self.choices) == 1:
            return None
        runs: list[WalkRun] = []
        for choice in range(len(self.choices)):
            far = 100.0 if choice == len(self.choices) // 2 else 1.0
            run = WalkRun(
                choice=choice,
                prompt="",
                seed=0,
                target=(),
                size=1.0,
                bound=2.0,
                arrived=True,
                diverged=False,
                random_distance=far,
                ceiling=1.0,
                end=WalkRead(outer=1, input_distance=far, output_distance=1.0, recovery=0.0, top=()),
                reads=(),
            )
            runs += [run] * len(self.units)
        return ClampedWalkResult(runs=tuple(runs), texts={})

    @classmethod
    def list_gpu_checks(cls, target: GpuCheckTarget) -> Iterable[GpuCheck]:
        stack = Stack(blocks=min(CHECK_BLOCKS, target.blocks))
        settings = StackSettings(
            subject=target.subject, source=target.source, stack=stack, protocol=CONTROLLED, dtype="float64"
        )
        choice = WalkChoice(noise=0.1, step=0.5, outer=CHECK_STEPS)
        arm = cls(settings=settings, choices=(choice,), units=CHECK_UNITS, inner=1)
        name = describe_stack(stack)
        return (GpuCheck(arm=arm, name=name, dtype="float64", steps=CHECK_STEPS, blocks=CHECK_BLOCKS),)
