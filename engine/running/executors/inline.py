"""Runs arms one after the other in this process."""

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
from engine.running.executors.attempt import run_arm
from engine.running.executors.base import Sequential


class Inline(Sequential):
    """The simplest executor: models stay loaded from one arm to the next.

    watch: looks at descents while they run; it changes no number. threads: of each arm; None leaves them as they are.
    gpus: for arms of that kind, the first of them; a model that it has no room for is spread over all. None named
    leaves torch its own choice.
    """

    def __init__(
        self, watch: WrapObserver = keep_observer, *, threads: int | None = None, gpus: tuple[int, ...] = ()
    ) -> None:
        self._models, self._watch, self._threads, self._gpus = LoadedModels(gpus), watch, threads, gpus
        _pass_over_libraries(self)

    def run(self, arm: Arm) -> Measurement:
        """Measure one arm now. Errors of the experiment go through as they are."""
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(self._threads or before)
            with using_gpus(self._gpus):
                return run_arm(arm, self._models, self._watch)
        finally:
            torch.set_num_threads(before)


def _pass_over_libraries(executor: Inline) -> None:
    """Have searches for cycles, two an arm, look only at what is made later, until the executor is gone.

    The libraries are 400,000 objects that stay, which takes up to half a second each time.
    """
    for family in FAMILIES:
        model_class(family)  # loads its module
    gc.collect()
    gc.freeze()
    weakref.finalize(executor, gc.unfreeze)
