"""Measures any kind of arm: what does it is imported when an arm of that kind is measured."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from engine.arms.arm import Arm, Result

if TYPE_CHECKING:
    from engine.experiments.inputs import WrapObserver
    from engine.models.loaded import LoadedModels


def measure_arm(arm: Arm, models: LoadedModels, watch: WrapObserver | None = None) -> Result:
    """The numbers of an arm. Equal arms give equal results on one machine at equal threads.

    watch: shown each state of a descent; other arms have none to show.
    """
    module, _, name = arm.measured_by.partition(":")
    function = getattr(import_module(module), name)
    return function(arm, models, watch) if watch is not None and arm.watched else function(arm, models)
