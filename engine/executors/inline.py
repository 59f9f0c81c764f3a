"""Runs arms one after the other in this process."""

from __future__ import annotations

import resource
import sys
import time

import torch

from engine.arms import Arm, InversionArm, StackSettings, TuningArm
from engine.experiments import measure
from engine.experiments.watching import Watch, unwatched
from engine.measurement import Measurement, digest_of
from engine.provenance import observe
from engine.shelf import Shelf


class Inline:
    """The simplest executor: models stay loaded from one arm to the next.

    watch: looks at descents while they run; it changes no number.
    """

    def __init__(self, watch: Watch = unwatched) -> None:
        self._shelf, self._watch = Shelf(), watch

    def run(self, arm: Arm) -> Measurement:
        """Measure one arm now. Errors of the experiment go through as they are."""
        began = time.perf_counter()
        descends = isinstance(arm, InversionArm | TuningArm)
        result = measure(arm, self._shelf, self._watch) if descends else measure(arm, self._shelf)
        settings = getattr(arm, "settings", None)
        where = settings if isinstance(settings, StackSettings) else arm
        return Measurement(
            digest=digest_of(arm),
            arm=arm,
            result=result,
            provenance=observe(
                dtype=getattr(where, "dtype", "float64"),
                device=getattr(where, "device", "cpu"),
                threads=torch.get_num_threads(),
            ),
            elapsed_s=time.perf_counter() - began,
            peak_bytes=_peak_bytes(),
        )


def _peak_bytes() -> int:
    """Largest resident size of this process so far; kilobytes on Linux, bytes on macOS."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
