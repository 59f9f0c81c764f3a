"""Which function measures each kind of arm; it is imported when an arm of that kind is measured."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from engine.arms.arm import Arm
from engine.arms.results import Result

if TYPE_CHECKING:
    from engine.experiments.inputs import Watch
    from engine.models.loaded import Shelf

MEASURED_BY = {
    "inversion": "inversion.measure:measure_inversion",
    "tuning": "tuning.measure:measure_tuning",
    "recovery": "recovery.measure:measure_recovery",
    "margin": "recovery.measure:measure_margins",
    "round trip": "embedding.measure:measure_round_trip",
    "pseudo-inverse": "embedding.measure:measure_pseudo_inverse",
    "vocabulary": "embedding.measure:measure_vocabulary",
    "next token": "language.measure:measure_next_tokens",
    "generation": "language.measure:measure_generation",
    "gradient": "gradients.measure:measure_gradients",
    "orthogonal walk": "orthogonal_walk.measure:measure_orthogonal_walk",
    "clamped walk": "clamped_walk.measure:measure_clamped_walk",
}
"""By an arm's kind: the module in engine.experiments, and the function."""


def measure(arm: Arm, shelf: Shelf, watch: Watch | None = None) -> Result:
    """The numbers of an arm. Equal arms give equal results on one machine at equal threads.

    watch: shown each state of a descent; other arms have none to show.
    """
    module, _, name = MEASURED_BY[arm.kind].partition(":")
    function = getattr(import_module(f"engine.experiments.{module}"), name)
    return function(arm, shelf, watch) if watch is not None else function(arm, shelf)
