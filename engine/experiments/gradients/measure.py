"""Input gradients: of the summed output in three ways, and of a descent's loss in two precisions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.arms.settings import DescentSettings, Unit
from engine.experiments.gradients.arm import (
    COPIES,
    GradientArm,
    GradientResult,
    GradientRun,
    PrecisionArm,
    PrecisionResult,
    PrecisionRun,
)
from engine.experiments.inputs import GRADIENTS, check_numbers, embed_prompts, make_problem, prepare_batch
from engine.methods.distances import DistanceToTarget
from engine.models.loaded import LoadedModels
from engine.models.stacks import EmbeddingFunction, whole_output


def measure_gradients(arm: GradientArm, models: LoadedModels) -> GradientResult:
    """All three gradients of each unit, one unit at a time: the gradients of its outputs fill a batch.

    Raises SubjectError for a gradient that is not finite.
    """
    stack = models.stack(arm.settings)
    runs: list[GradientRun] = []
    for unit in arm.units:
        embedded = embed_prompts(arm.settings, (unit,), models, stack)
        found = compute_gradients(stack, embedded.target[0])
        for gradient in (found.summed, found.ones, found.individual):
            check_numbers(gradient, arm.settings, GRADIENTS)
        # Compared in float64, so that the differences are those of the gradients alone.
        summed, ones = found.summed.double(), found.ones.double()
        apart = (summed - found.individual).abs()
        runs.append(
            GradientRun(
                prompt=unit.prompt,
                outputs=found.outputs,
                largest=float(summed.abs().max()),
                ones=float((summed - ones).abs().max()),
                individual=float(apart.max()),
                **({"median": float(apart.median()), "mean": float(apart.mean())} if arm.per_element else {}),
            )
        )
    return GradientResult(runs=tuple(runs))


@dataclass(frozen=True, kw_only=True)
class InputGradients:
    """The gradient of the summed output, three ways: [tokens, d_model] each, `individual` in float64.

    outputs: how many numbers were summed.
    """

    summed: Tensor
    ones: Tensor
    individual: Tensor
    outputs: int


def compute_gradients(stack: EmbeddingFunction, e: Tensor) -> InputGradients:
    """Gradient of the sum of the outputs, its product with a vector of ones, and the sum of one gradient per output.

    e: [tokens, d_model]. Source: the document's summed, layer and individual gradients.
    """
    inputs = e[None].detach().requires_grad_(True)
    (summed,) = torch.autograd.grad(whole_output(stack, inputs).sum(), inputs)
    outputs = whole_output(stack, inputs)
    (ones,) = torch.autograd.grad(outputs, inputs, torch.ones_like(outputs))

    # Added up in float64, as the document does: rounding thousands of additions would be an error of its own.
    individual = torch.zeros(e.shape, dtype=torch.float64, device=e.device)
    for first in range(0, outputs.numel(), COPIES):
        own = torch.arange(first, min(first + COPIES, outputs.numel()), device=e.device)
        copies = e.detach().expand(len(own), -1, -1).clone().requires_grad_(True)
        # One output is picked from each copy, so the gradient at a copy is that of one output.
        picked = whole_output(stack, copies).flatten(1).gather(1, own[:, None])
        (gradients,) = torch.autograd.grad(picked.sum(), copies)
        individual += gradients.double().sum(0)
    return InputGradients(summed=summed[0], ones=ones[0], individual=individual, outputs=outputs.numel())


def measure_precision(arm: PrecisionArm, models: LoadedModels) -> PrecisionResult:
    """The gradient of the loss at each unit's start, in float32 and in float64, all units in one batch.

    Raises SubjectError for a gradient that is not finite.
    """
    found: list[Tensor] = []
    for dtype in ("float32", "float64"):
        settings = replace(arm.settings, dtype=dtype)
        gradient = differentiate_loss(settings, arm.units, models)
        check_numbers(gradient, settings, GRADIENTS)
        found.append(gradient.double().flatten(1))
    single, double = found  # [units, tokens · d_model]
    error = (single - double).norm(dim=1) / double.norm(dim=1)
    cosine = torch.nn.functional.cosine_similarity(single, double, dim=1)
    return PrecisionResult(
        runs=tuple(
            PrecisionRun(prompt=unit.prompt, seed=unit.seed, error=one, cosine=other)
            for unit, one, other in zip(arm.units, error.tolist(), cosine.tolist(), strict=True)
        )
    )


def differentiate_loss(settings: DescentSettings, units: tuple[Unit, ...], models: LoadedModels) -> Tensor:
    """The gradient of each unit's distance at its start e₀: [units, tokens, d_model], zero where a prompt is padded."""
    stack = models.stack(settings)
    batch = prepare_batch(settings, units, models, stack)
    problem = make_problem(settings, batch, torch.ones_like(batch.start[:, 0, 0]), stack)
    distance = DistanceToTarget(problem.output, stack.rows(batch.lengths, batch.start.shape[1]), stack.head)
    e = batch.start.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(distance.measure(settings.metric, stack(e)).sum(), e)
    return gradient
