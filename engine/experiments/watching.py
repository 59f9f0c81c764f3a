"""Somebody who watches descents while they run."""

from __future__ import annotations

from typing import Protocol as Interface

from engine.arms import InversionArm, TuningArm
from engine.descent import Observer
from engine.experiments.posing import Posed
from engine.shelf import Shelf


class Watch(Interface):
    """Takes the place of a batch's observer and passes its looks on, so that no number changes."""

    def __call__(self, arm: InversionArm | TuningArm, posed: Posed, shelf: Shelf, observer: Observer) -> Observer:
        """What looks at the batch instead of `observer`. It asks `observer` who goes on, and does as it says."""
        ...


def unwatched(arm: InversionArm | TuningArm, posed: Posed, shelf: Shelf, observer: Observer) -> Observer:
    """Nobody watches."""
    return observer
