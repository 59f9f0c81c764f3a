"""Gradients of outputs: what is run, and what comes out. Pure: no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from engine.arms.arm import Arm, Result
from engine.arms.costs import TOKENS, Cost, CostModel
from engine.arms.settings import ADDED_LATER, DescentSettings, StackSettings, Unit
from engine.records import Number

ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-53}

COPIES = 256
"""Outputs whose gradients are computed in one backward pass, each through its own copy of the input."""


@dataclass(frozen=True, kw_only=True)
class GradientRun:
    """The gradients of one prompt.

    outputs: how many numbers were summed. largest: max |g|. ones, individual: the largest difference of an element
    between the gradient of the sum and the one against ones, or the sum of one gradient per output.
    median, mean: of an element's difference from the sum of one gradient per output, if the arm asks per element.
    """

    prompt: str
    outputs: int
    largest: Number
    ones: Number
    individual: Number
    median: Number = field(default=math.nan, metadata=ADDED_LATER)
    mean: Number = field(default=math.nan, metadata=ADDED_LATER)

    @property
    def relative_difference(self) -> float:
        """The larger of the two differences over max |g|; infinite where there is a difference but no gradient."""
        difference = max(self.ones, self.individual)
        if difference == 0:
            return 0.0
        return difference / self.largest if self.largest > 0 else float("inf")

    def over_rounding(self, dtype: str) -> float:
        """The relative difference over √outputs · u, which adding up so many rounded gradients comes to.

        u: the unit roundoff of the dtype. Source: Higham 2002, section 4.2 (errors of a sum grow with √n at random).
        """
        return self.relative_difference / (math.sqrt(self.outputs) * ROUNDOFF[dtype])


@dataclass(frozen=True, kw_only=True)
class GradientResult(Result):
    runs: tuple[GradientRun, ...]
    kind: Literal["gradient"] = "gradient"


@dataclass(frozen=True, kw_only=True)
class GradientArm(Arm):
    """The input gradient of the summed output, computed in three ways: of the sum, against ones, output by output.

    per_element: also the median and mean difference over elements.
    Source: the document's summed, layer and individual gradients (section 'Orthogonal Walk Representations').
    """

    tag: ClassVar[str] = "GradientArm"
    result: ClassVar[type[Result]] = GradientResult
    measured_by: ClassVar[str] = "engine.experiments.gradients.measure:measure_gradients"
    settings: StackSettings
    units: tuple[Unit, ...]
    per_element: bool = field(default=False, metadata=ADDED_LATER)
    kind: Literal["gradient"] = "gradient"

    def estimate_cost(self, costs: CostModel) -> Cost:
        passes = -(-TOKENS * costs.model.d_model // COPIES)
        return costs.count_steps(self.settings, len(self.units) * passes, COPIES)


@dataclass(frozen=True, kw_only=True)
class PrecisionRun:
    """The input gradient of one prompt's loss at its start, in float32 against float64.

    error: ‖g₃₂ − g₆₄‖₂ / ‖g₆₄‖₂. cosine: of the angle between the two.
    """

    prompt: str
    seed: int
    error: Number
    cosine: Number


@dataclass(frozen=True, kw_only=True)
class PrecisionResult(Result):
    runs: tuple[PrecisionRun, ...]
    kind: Literal["gradient precision"] = "gradient precision"


@dataclass(frozen=True, kw_only=True)
class PrecisionArm(Arm):
    """The input gradient of a descent's first step, computed in float32 and in float64 with the same weights."""

    tag: ClassVar[str] = "PrecisionArm"
    result: ClassVar[type[Result]] = PrecisionResult
    measured_by: ClassVar[str] = "engine.experiments.gradients.measure:measure_precision"
    settings: DescentSettings
    units: tuple[Unit, ...]
    kind: Literal["gradient precision"] = "gradient precision"

    def estimate_cost(self, costs: CostModel) -> Cost:
        double = costs.count_steps(replace(self.settings, dtype="float64"), 2, len(self.units))
        return replace(double, memory_bytes=1.5 * double.memory_bytes)
