"""The search for a step size: what is run, and what comes out. Pure: no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from engine.arms.arm import Arm, Result
from engine.arms.costs import TOKENS, Cost, CostModel
from engine.arms.settings import ADDED_LATER, DescentSettings, TunedFor, Unit
from engine.records import Number

MOST_EXTENSIONS = 16
"""Most rounds after the first. They extend the grid by up to 2¹⁶ on one side; then the best so far is used."""


@dataclass(frozen=True, kw_only=True)
class StepOutcome:
    """What one step size did on the tuning units by the iteration at which tuning stopped.

    median_distance: of the outputs, as measured. distances: of each unit at N, in units of its bound, infinite where
    it diverged; only where tuning is for the distance.
    """

    step: float
    hits: tuple[int | None, ...]
    diverged: tuple[bool, ...]
    median_distance: Number
    distances: tuple[Number, ...] = field(default=(), metadata=ADDED_LATER)


@dataclass(frozen=True, kw_only=True)
class TuningResult(Result):
    """What every step size did. read_to: the last iteration that any descent reached."""

    outcomes: tuple[StepOutcome, ...]
    read_to: int
    kind: Literal["tuning"] = "tuning"


@dataclass(frozen=True, kw_only=True)
class TuningArm(Arm):
    """Descents at several step sizes.

    target: 'hit' stops them once the step size with the smallest median hit is known; 'distance' runs them to N.
    horizon: iterations after which descents end (at most N), since a later median could not win.
    alone: each prompt's last token moves alone, and the tokens before it stay; prompts are of one length.
    """

    tag: ClassVar[str] = "TuningArm"
    result: ClassVar[type[Result]] = TuningResult
    measured_by: ClassVar[str] = "engine.experiments.tuning.measure:measure_tuning"
    watched: ClassVar[bool] = True
    extension: ClassVar[float] = MOST_EXTENSIONS * 2 / 7
    settings: DescentSettings
    steps: tuple[float, ...]
    units: tuple[Unit, ...]
    horizon: int
    batch: int
    alone: bool = field(default=False, metadata=ADDED_LATER)
    target: TunedFor = field(default="hit", metadata=ADDED_LATER)
    kind: Literal["tuning"] = "tuning"

    def estimate_cost(self, costs: CostModel) -> Cost:
        runs = len(self.units) * len(self.steps)
        return costs.count_steps(self.settings, self.horizon, -(-runs // TOKENS) if self.alone else runs)

    def assume(self) -> TuningResult:
        """The middle step size is the best."""
        middle, units = len(self.steps) // 2, len(self.units)
        outcomes = tuple(
            StepOutcome(
                step=step,
                hits=(None,) * units,
                diverged=(False,) * units,
                median_distance=float(abs(k - middle)),
                distances=(float(abs(k - middle)),) * units if self.target == "distance" else (),
            )
            for k, step in enumerate(self.steps)
        )
        return TuningResult(outcomes=outcomes, read_to=0)
