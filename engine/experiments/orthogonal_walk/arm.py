"""Walks orthogonal to the gradient: what is run, and what comes out. Pure: no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from engine.arms.arm import Arm, Result
from engine.arms.costs import Cost, CostModel
from engine.arms.settings import StackSettings, Unit
from engine.records import Number


@dataclass(frozen=True, kw_only=True)
class OrthogonalRun:
    """One orthogonal walk.

    product: largest |g·v| over tokens at the start; relative: the largest |g·v| / (‖g‖‖v‖) over tokens there.
    worst_relative: the same over all steps. input_distance, output_distance: ‖e − e_N‖₁ and ‖O(e) − O(e_N)‖₁.
    constrained: share of ‖ΔO‖₂² that lies along the one output direction that the walk holds still (their sum).
    free: share of output directions that it does not hold still.
    singular: singular values of the gradient at the start, largest first. decoded: tokens before and after, where the
    stack's inputs are embeddings.
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


@dataclass(frozen=True, kw_only=True)
class OrthogonalWalkResult(Result):
    runs: tuple[OrthogonalRun, ...]
    kind: Literal["orthogonal walk"] = "orthogonal walk"


@dataclass(frozen=True, kw_only=True)
class OrthogonalWalkArm(Arm):
    """Walks along right-singular vectors that are orthogonal to every token's gradient of the summed output.

    step: length factor of the unit vector, the same for all `steps`. vectors: the last one broadcast to every token,
    or one of the last ones for each token. Source: the document's orthogonal walk.
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
        """Each step's singular vectors take about as long as three passes, and room for their copies."""
        return costs.count_steps(self.settings, 4 * self.steps, len(self.units), beside_bytes=2e8)
