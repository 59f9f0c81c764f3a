"""Descents from noise: what is run, and what comes out. Pure: no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import ClassVar, Literal

from engine.arms.arm import CHECK_BLOCKS, CHECK_STEPS, CHECK_UNITS, Arm, GpuCheck, GpuCheckTarget, Result
from engine.arms.costs import Cost, CostModel
from engine.arms.protocol import CONTROLLED, PAGE
from engine.arms.settings import ADDED_LATER, DescentSettings, ReadAt, Unit
from engine.arms.stacks import SentenceNet, Stack, describe_stack
from engine.records import Number


class Stop(StrEnum):
    """Why a descent ended, in a word that fits into a sentence."""

    HIT = "hit"
    CAP = "cap"
    DIVERGED = "diverged"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A run at one iteration: distances and the five most activated tokens at each position."""

    iteration: int
    distance: Number
    l2: Number
    recovery: Number
    top: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class NextTokens:
    """A probe's next token after e, e₀, e_N, the tokens that e_N decodes to, and e shifted as far as e_N is from it."""

    target: int
    start: int
    final: int
    decoded: int
    shifted: int


@dataclass(frozen=True, kw_only=True)
class InversionRun:
    """One descent.

    hit: first iteration with a distance below the bound, None when there was none by `ended_at`.
    recovery, ceiling: share of positions that decode to the target, from the result and from e itself.
    curve: distances at the result's `curve_at`, up to `ended_at`.
    target_top: the five most activated tokens at each position of e itself.
    """

    prompt: str
    seed: int
    target: tuple[int, ...]
    hit: int | None
    stop: Stop
    ended_at: int
    bound: Number
    start_distance: Number
    final_distance: Number
    final_l2: Number
    recovery: Number
    ceiling: Number
    snapshots: tuple[Snapshot, ...]
    curve: tuple[Number, ...]
    target_top: tuple[tuple[int, ...], ...] = ()
    next_tokens: NextTokens | None = None

    @property
    def exact(self) -> bool:
        return self.recovery == 1.0


@dataclass(frozen=True, kw_only=True)
class InversionResult(Result):
    """All descents of an inversion arm, in its units' order. curve_at: iterations at which curves are kept."""

    runs: tuple[InversionRun, ...]
    curve_at: tuple[int, ...]
    texts: dict[int, str]
    kind: Literal["inversion"] = "inversion"


@dataclass(frozen=True, kw_only=True)
class InversionArm(Arm):
    """Descents from noise to the output of each unit's prompt, at one step size.

    batch: runs that descend together. It is part of the arm because it can change a last bit.
    probe: a stack with head whose next tokens are read, see NextTokens.
    keep_end: the end is among the snapshots, wherever a run ends.
    """

    tag: ClassVar[str] = "InversionArm"
    result: ClassVar[type[Result]] = InversionResult
    measured_by: ClassVar[str] = "engine.experiments.inversion.measure:measure_inversion"
    watched: ClassVar[bool] = True
    settings: DescentSettings
    step: float
    units: tuple[Unit, ...]
    read_at: ReadAt
    batch: int
    snapshots: tuple[int, ...] = ()
    probe: Stack | None = None
    keep_end: bool = field(default=False, metadata=ADDED_LATER)
    kind: Literal["inversion"] = "inversion"

    def estimate_cost(self, costs: CostModel) -> Cost:
        return costs.count_steps(self.settings, self.settings.iterations, len(self.units))

    @classmethod
    def list_gpu_checks(cls, target: GpuCheckTarget) -> Iterable[GpuCheck]:
        """A single step in float32, because later steps amplify its rounding; several in float64, deep and in a net."""
        single = DescentSettings(
            subject=target.subject,
            source=target.source,
            stack=Stack(blocks=1, head=True),
            protocol=PAGE,
            iterations=1,
        )
        double = replace(single, dtype="float64", iterations=CHECK_STEPS)
        deep = replace(double, stack=Stack(blocks=min(CHECK_BLOCKS, target.blocks)), protocol=CONTROLLED)
        net = replace(double, stack=SentenceNet(tokens=3), first_tokens=3)

        def probe(settings: DescentSettings, step: float, blocks: int) -> GpuCheck:
            arm = cls(settings=settings, step=step, units=CHECK_UNITS, read_at="N", batch=36)
            name, steps = describe_stack(settings.stack), settings.iterations
            return GpuCheck(arm=arm, name=name, dtype=settings.dtype, steps=steps, blocks=blocks)

        return probe(single, 1e-4, 1), probe(deep, 1e-3, CHECK_BLOCKS), probe(net, 1e-3, 0)
