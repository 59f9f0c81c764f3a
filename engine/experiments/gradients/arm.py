"""Gradients of outputs: what is run, and what comes out. Pure: no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from engine.arms.arm import Arm, Result
from engine.arms.costs import TOKENS, Cost, CostModel
from engine.arms.settings import StackSettings, Unit
from engine.records import Number

COPIES = 256
"""Outputs whose gradients are computed in one backward pass, each through its own copy of the input."""


@dataclass(frozen=True, kw_only=True)
class GradientRun:
    """The gradients of one prompt.

    outputs: how many numbers were summed. largest: max |g|. ones, individual: the largest difference of an element
    between the gradient of the sum and the one against ones, or the sum of one gradient per output.
    """

    prompt: str
    outputs: int
    largest: Number
    ones: Number
    individual: Number

    @property
    def relative_difference(self) -> float:
        """The larger of the two differences over max |g|; infinite where there is a difference but no gradient."""
        difference = max(self.ones, self.individual)
        if difference == 0:
            return 0.0
        return difference / self.largest if self.largest > 0 else float("inf")


@dataclass(frozen=True, kw_only=True)
class GradientResult(Result):
    runs: tuple[GradientRun, ...]
    kind: Literal["gradient"] = "gradient"


@dataclass(frozen=True, kw_only=True)
class GradientArm(Arm):
    """The input gradient of the summed output, computed in three ways: of the sum, against ones, output by output.

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
