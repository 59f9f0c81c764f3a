"""Walks orthogonal to the gradient: what is run, and what comes out. Pure: no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from engine.arms.arm import Arm, Result
from engine.arms.costs import Cost, CostModel
from engine.arms.settings import ADDED_LATER, StackSettings, Unit
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
    input_l2, output_l2: ‖e − e_N‖₂ and ‖O(e) − O(e_N)‖₂. recovery, repeated: share of tokens that are still decoded at
    the end, and share of decoded tokens there that repeat another, less that at the start. NaN where the arm is not
    `full`, or nothing is decoded.
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
    input_l2: Number = field(default=math.nan, metadata=ADDED_LATER)
    output_l2: Number = field(default=math.nan, metadata=ADDED_LATER)
    recovery: Number = field(default=math.nan, metadata=ADDED_LATER)
    repeated: Number = field(default=math.nan, metadata=ADDED_LATER)

    @property
    def drift(self) -> float:
        """d_o / d_i, how far the output moved for how far the input did; infinite where numbers overflowed."""
        return _divide(self.output_distance, self.input_distance)

    @property
    def drift_l2(self) -> float:
        """The same in L²."""
        return _divide(self.output_l2, self.input_l2)


def _divide(output: float, moved: float) -> float:
    ratio = output / moved if moved > 0 else math.nan
    return math.inf if math.isnan(ratio) else ratio


@dataclass(frozen=True, kw_only=True)
class OrthogonalWalkResult(Result):
    runs: tuple[OrthogonalRun, ...]
    kind: Literal["orthogonal walk"] = "orthogonal walk"


@dataclass(frozen=True, kw_only=True)
class OrthogonalWalkArm(Arm):
    """Walks along right-singular vectors that are orthogonal to every token's gradient of the summed output.

    step: how far each of the `steps` goes along its unit vector. vectors: the last vector for every token, or one of
    the last for each token. direction: another vector in its place, for all tokens. full: also read distances in L²,
    and what the end decodes to. Source: the document's orthogonal walk.
    """

    tag: ClassVar[str] = "OrthogonalWalkArm"
    result: ClassVar[type[Result]] = OrthogonalWalkResult
    measured_by: ClassVar[str] = "engine.experiments.orthogonal_walk.measure:measure_orthogonal_walk"
    settings: StackSettings
    units: tuple[Unit, ...]
    steps: int
    step: float
    vectors: Literal["broadcast", "per token"]
    direction: Literal["last", "null", "random"] = field(default="last", metadata=ADDED_LATER)
    full: bool = field(default=False, metadata=ADDED_LATER)
    kind: Literal["orthogonal walk"] = "orthogonal walk"

    def estimate_cost(self, costs: CostModel) -> Cost:
        """Each step's singular vectors take about as long as three passes, and memory for their copies."""
        return costs.count_steps(self.settings, 4 * self.steps, len(self.units), beside_bytes=2e8)
