"""The executor that measures in this process, one arm after the other."""

from __future__ import annotations

import gc
import weakref

import torch

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.experiments.inputs import WrapObserver, keep_observer
from engine.models.devices import using_gpus
from engine.models.families import FAMILIES, model_class
from engine.models.loaded import LoadedModels
from engine.running.executors.base import Sequential
from engine.running.executors.run_arm import run_arm


class Inline(Sequential):
    """Measures in this process, where models stay loaded from one arm to the next.

    watch: observes descents while they run, without changing a number. threads: of each arm; None leaves torch's own.
    gpus: arms on a GPU use the first; a model that does not fit there is spread over all. Empty leaves torch its
    choice.
    """

    def __init__(
        self, watch: WrapObserver = keep_observer, *, threads: int | None = None, gpus: tuple[int, ...] = ()
    ) -> None:
        self._models, self._watch, self._threads, self._gpus = LoadedModels(gpus), watch, threads, gpus
        _freeze_imports(self)

    def run(self, arm: Arm) -> Measurement:
        """Measure one arm now. Raises what the experiment raises."""
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(self._threads or before)
            with using_gpus(self._gpus):
                return run_arm(arm, self._models, self._watch)
        finally:
            torch.set_num_threads(before)


def _freeze_imports(executor: Inline) -> None:
    """`gc.freeze()` what is loaded now, so that the two `gc.collect()` calls per arm scan only newer objects.

    The libraries hold 400,000 objects, which take up to half a second to scan. Lasts as long as the executor.
    """
    for family in FAMILIES:
        model_class(family)  # imports its module
    gc.collect()
    gc.freeze()
    weakref.finalize(executor, gc.unfreeze)
