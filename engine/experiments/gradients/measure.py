"""The gradient of the summed output, taken three ways: how far they are apart on a unit's embeddings."""

from __future__ import annotations

from engine.arms.settings import Unit
from engine.experiments.gradients.arm import GradientArm, GradientResult, GradientRun
from engine.experiments.inputs import GRADIENTS, check_numbers, embed_prompts
from engine.methods.walks import InputGradients, take_gradients
from engine.models.loaded import LoadedModels


def measure_gradients(arm: GradientArm, models: LoadedModels) -> GradientResult:
    """Three gradients of each unit, one unit at a time: its outputs' gradients fill a batch by themselves."""
    stack = models.stack(arm.settings)
    runs: list[GradientRun] = []
    for unit in arm.units:
        embedded = embed_prompts(arm.settings, (unit,), models, stack)
        found = take_gradients(stack, embedded.target[0])
        for one in (found.summed, found.ones, found.individual):
            check_numbers(one, arm.settings, GRADIENTS)
        runs.append(read_gradients(unit, found))
    return GradientResult(runs=tuple(runs))


def read_gradients(unit: Unit, gradients: InputGradients) -> GradientRun:
    """Largest element of the gradient, and the largest difference of an element, in float64."""
    summed, ones = gradients.summed.double(), gradients.ones.double()
    return GradientRun(
        prompt=unit.prompt,
        outputs=gradients.outputs,
        largest=float(summed.abs().max()),
        ones=float((summed - ones).abs().max()),
        individual=float((summed - gradients.individual).abs().max()),
    )
