"""Measures any kind of arm: what does it is imported when an arm of that kind is measured."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from engine.arms.arm import Arm, Result

if TYPE_CHECKING:
    from engine.experiments.inputs import Watch
    from engine.models.loaded import Shelf


def measure(arm: Arm, shelf: Shelf, watch: Watch | None = None) -> Result:
    """The numbers of an arm. Equal arms give equal results on one machine at equal threads.

    watch: shown each state of a descent; other arms have none to show.
    """
    module, _, name = arm.measured_by.partition(":")
    function = getattr(import_module(module), name)
    return function(arm, shelf, watch) if watch is not None and arm.watched else function(arm, shelf)
