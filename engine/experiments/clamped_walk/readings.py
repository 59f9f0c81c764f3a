"""What is read from a clamped walk: how far the input went for what the output moved."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.arms.measurement import Measurement
from engine.experiments.clamped_walk.arm import WalkChoice, WalkRun
from engine.experiments.sampling import Runs


@dataclass(frozen=True, kw_only=True)
class WalkRuns:
    """Walks of one stack under the choice that was taken.

    tuned: that choice as tuning had it, None where nothing was tuned. tried: each of its choices with its walks.
    """

    runs: Runs[WalkRun]
    choice: WalkChoice
    inner: int
    tuned: WalkChoice | None
    tried: tuple[tuple[WalkChoice, tuple[WalkRun, ...]], ...]
    measurements: tuple[Measurement, ...]
    texts: dict[int, str]


def r_of(run: WalkRun) -> float:
    """‖e − e_N‖₁ / ‖O(e) − O(e_N)‖₁; 0 for a walk that diverged, which held nothing."""
    return 0.0 if run.diverged else _divide(run.end.input_distance, run.end.output_distance)


def gain_of(run: WalkRun) -> float:
    """r over the r of a random step of equal ‖e − e_N‖₁; 0 for a walk that diverged."""
    return 0.0 if run.diverged else _divide(run.random_distance, run.end.output_distance)


def drift_ratio(run: WalkRun) -> float:
    """The largest ‖ΔO‖₁ at a reading or at the end, over m(σ); infinite for a walk that diverged."""
    largest = max(read.output_distance for read in (*run.reads, run.end))
    return math.inf if run.diverged or math.isnan(largest) else largest / run.bound


def _divide(distance: float, output: float) -> float:
    # A walk that did not move has gained nothing, and an output out of range was not held.
    if math.isnan(distance) or not math.isfinite(output):
        return 0.0
    return distance / output if output > 0 else (math.inf if distance > 0 else 0.0)
