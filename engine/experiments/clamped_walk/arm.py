"""Clamped walks: what is run, and what comes out. Pure: no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from engine.arms.arm import PROBE_BLOCKS, PROBE_STEPS, PROBE_UNITS, Arm, Probe, ProbeTarget, Result
from engine.arms.costs import Cost, CostModel
from engine.arms.protocol import CONTROLLED
from engine.arms.settings import StackSettings, Unit
from engine.arms.stacks import Stack, describe_stack
from engine.records import Number


@dataclass(frozen=True, kw_only=True)
class WalkChoice:
    """One setting of a clamped walk: noise of a shift, step size of the descent, and outer steps at most."""

    tag: ClassVar[str] = "WalkChoice"
    noise: float
    step: float
    outer: int


@dataclass(frozen=True, kw_only=True)
class WalkRead:
    """A clamped walk after so many outer steps.

    input_distance, output_distance: ‖e − e_n‖₁ and ‖O(e) − O(e_n)‖₁. top: the five most activated tokens at each
    position.
    """

    outer: int
    input_distance: Number
    output_distance: Number
    recovery: Number
    top: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class WalkRun:
    """One clamped walk under one choice of settings.

    size: ‖e‖₁. bound: m(σ). arrived: whether it reached the distance at which it was to stop.
    random_distance: ‖O(e) − O(e + δ)‖₁, the mean over random steps δ of the size ‖e − e_N‖₁ of the end.
    end: the walk where it stopped. reads: on the way.
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


@dataclass(frozen=True, kw_only=True)
class ClampedWalkResult(Result):
    """Runs by choice, then by unit."""

    runs: tuple[WalkRun, ...]
    texts: dict[int, str]
    kind: Literal["clamped walk"] = "clamped walk"


@dataclass(frozen=True, kw_only=True)
class ClampedWalkArm(Arm):
    """Walks that shift the embeddings from a random index on and descend on those before it to fix the output.

    choices: every unit walks under each. inner: descent steps after each shift.
    law: of the noise; 'uniform' is on [0, 1). scaled: noise in units of the walk's own mean |e|, and step in units of
    noise over the mean size of the walk's first gradient; otherwise both are absolute.
    stop_at: a walk stands still once ‖e − e_n‖₁ has reached this share of ‖e‖₁ (None never stops).
    reads: outer steps after which a walk is read, beside its end.
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
        """Of walks under several choices, from which one is chosen: the middle choice moves the input farthest."""
        if len(self.choices) == 1:
            return None
        middle = len(self.choices) // 2
        return ClampedWalkResult(
            runs=tuple(
                _assume_run(choice, far=choice == middle) for choice in range(len(self.choices)) for _ in self.units
            ),
            texts={},
        )

    @classmethod
    def list_probes(cls, target: ProbeTarget) -> Iterable[Probe]:
        stack = Stack(blocks=min(PROBE_BLOCKS, target.blocks))
        settings = StackSettings(
            subject=target.subject, source=target.source, stack=stack, protocol=CONTROLLED, dtype="float64"
        )
        choice = WalkChoice(noise=0.1, step=0.5, outer=PROBE_STEPS)
        arm = cls(settings=settings, choices=(choice,), units=PROBE_UNITS, inner=1)
        name = describe_stack(stack)
        return (Probe(arm=arm, name=name, dtype="float64", steps=PROBE_STEPS, blocks=PROBE_BLOCKS),)


def _assume_run(choice: int, *, far: bool) -> WalkRun:
    """A walk that arrived and kept its output; far: with a hundred times the gain of others."""
    end = WalkRead(outer=1, input_distance=1.0, output_distance=1.0, recovery=0.0, top=())
    return WalkRun(
        choice=choice,
        prompt="",
        seed=0,
        target=(),
        size=1.0,
        bound=2.0,
        arrived=True,
        diverged=False,
        random_distance=100.0 if far else 1.0,
        ceiling=1.0,
        end=replace(end, input_distance=100.0) if far else end,
        reads=(),
    )
