"""Gradients of outputs: what is run, and what comes out. Pure: no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from engine.arms.arm import Arm, Result
from engine.arms.costs import TOKENS, Cost, CostModel
from engine.arms.settings import StackSettings, Unit
from engine.records import Number

COPIES = 256
"""Outputs whose gradients are taken together (engine.methods.walks, which needs torch, has the number that counts)."""


@dataclass(frozen=True, kw_only=True)
class GradientRun:
    """One prompt's gradients: largest |g|, and the largest difference of an element between two ways to get it."""

    prompt: str
    outputs: int
    largest: Number
    ones: Number
    individual: Number


@dataclass(frozen=True, kw_only=True)
class GradientResult(Result):
    runs: tuple[GradientRun, ...]
    kind: Literal["gradient"] = "gradient"


@dataclass(frozen=True, kw_only=True)
class GradientArm(Arm):
    """The input gradient of the summed output, three ways: of the sum, against ones, and output by output.

    Source: the document's summed, layer and individual gradients (section 'Orthogonal Walk Representations').
    """

    tag: ClassVar[str] = "GradientArm"
    result: ClassVar[type[Result]] = GradientResult
    measured_by: ClassVar[str] = "engine.experiments.gradients.measure:measure_gradients"
    settings: StackSettings
    units: tuple[Unit, ...]
    kind: Literal["gradient"] = "gradient"

    def estimate_cost(self, costs: CostModel) -> Cost:
        passes = -(-TOKENS * costs.model.d_model // COPIES)
        return costs.count_steps(self.settings, len(self.units) * passes, COPIES)
