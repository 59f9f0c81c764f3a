"""Measures an arm of any kind. The code of a kind is imported when its first arm is measured."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from engine.arms.arm import Arm, Result

if TYPE_CHECKING:
    from engine.experiments.inputs import WrapObserver
    from engine.models.loaded import LoadedModels


def measure_arm(arm: Arm, models: LoadedModels, watch: WrapObserver | None = None) -> Result:
    """The numbers of an arm. Equal arms give equal results on one machine at equal threads.

    watch: wraps the observers of descents; other kinds of arms have none.
    """
    module, _, name = arm.measured_by.partition(":")
    function = getattr(import_module(module), name)
    return function(arm, models, watch) if watch is not None and arm.watched else function(arm, models)
