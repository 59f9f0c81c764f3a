"""Walks orthogonal to the gradient: what is run, and what comes out. Pure: no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from engine.arms.arm import Arm, Result
from engine.arms.costs import Cost, CostModel
from engine.arms.settings import StackSettings, Unit
from engine.records import Number


@dataclass(frozen=True, kw_only=True)
class OrthogonalRun:
    """One orthogonal walk.

    product: largest |g·v| over tokens at the start. relative: largest |g·v| / (‖g‖‖v‖) over tokens there, and
    worst_relative: over all steps as well. input_distance, output_distance: ‖e − e_N‖₁ and ‖O(e) − O(e_N)‖₁.
    constrained: share of ‖ΔO‖₂² along the output directions that the walk is to hold, sums of outputs.
    free: share of output directions that it is not to hold.
    singular: singular values of the gradient at the start, largest first.
    decoded: the tokens before and after, empty where the stack's inputs are no embeddings or the walk diverged.
    """

    prompt: str
    seed: int
    product: Number
    relative: Number
    worst_relative: Number
    input_distance: Number
    output_distance: Number
    constrained: Number
    free: Number
    singular: tuple[Number, ...]
    decoded: tuple[str, str] = ("", "")

    @property
    def drift(self) -> float:
        """d_o / d_i, how far the output moved for how far the input did; infinite where numbers overflowed."""
        ratio = self.output_distance / self.input_distance if self.input_distance > 0 else math.nan
        return math.inf if math.isnan(ratio) else ratio


@dataclass(frozen=True, kw_only=True)
class OrthogonalWalkResult(Result):
    runs: tuple[OrthogonalRun, ...]
    kind: Literal["orthogonal walk"] = "orthogonal walk"


@dataclass(frozen=True, kw_only=True)
class OrthogonalWalkArm(Arm):
    """Walks along right-singular vectors that are orthogonal to every token's gradient of the summed output.

    step: how far each of the `steps` goes along its unit vector. vectors: the last vector for every token, or one of
    the last for each token. Source: the document's orthogonal walk.
    """

    tag: ClassVar[str] = "OrthogonalWalkArm"
    result: ClassVar[type[Result]] = OrthogonalWalkResult
    measured_by: ClassVar[str] = "engine.experiments.orthogonal_walk.measure:measure_orthogonal_walk"
    settings: StackSettings
    units: tuple[Unit, ...]
    steps: int
    step: float
    vectors: Literal["broadcast", "per token"]
    kind: Literal["orthogonal walk"] = "orthogonal walk"

    def estimate_cost(self, costs: CostModel) -> Cost:
        """Each step's singular vectors take about as long as three passes, and memory for their copies."""
        return costs.count_steps(self.settings, 4 * self.steps, len(self.units), beside_bytes=2e8)
