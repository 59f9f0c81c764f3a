"""What a quick look came to."""

from __future__ import annotations

from dataclasses import dataclass

from engine.arms.measurement import Measurement
from engine.experiments.inversion.arm import InversionArm, InversionRun
from engine.experiments.tuning.procedure import StepChoice


@dataclass(frozen=True, kw_only=True)
class InversionOutcome:
    """A descent. measurement: None where it was stopped before its end; then `run` is as far as it got.

    stored: whether the measurement was there already.
    """

    arm: InversionArm
    run: InversionRun
    tuned: StepChoice
    measurement: Measurement | None
    stored: bool = False


class Interrupted(Exception):
    """Ctrl-C. found: what the descent had come to; None where it came `before` anything was seen of it."""

    def __init__(self, found: InversionOutcome | None, *, before: str = "") -> None:
        super().__init__(f"stopped before {before}" if before else "stopped")
        self.found, self.before = found, before
