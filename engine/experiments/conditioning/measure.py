"""Jacobians of one position, prompt by prompt, and gradients by the logits split by the head's column space."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.arms.settings import DescentSettings, StackSettings, Unit
from engine.arms.stacks import Stack
from engine.experiments.conditioning.arm import (
    COPIES,
    JacobianArm,
    JacobianResult,
    JacobianRun,
    LogitGradientArm,
    LogitGradientResult,
    LogitGradientRun,
)
from engine.experiments.inputs import GRADIENTS, LOGITS, check_numbers, embed_prompts, prepare_batch
from engine.methods.conditioning import ColumnSpace, PassedGradient, differentiate_rows, factor_rows
from engine.models.decoder import Decoder
from engine.models.kv_prefix import Prefix, extend_prefix
from engine.models.loaded import LoadedModels
from engine.models.stacks import BlockStack

PERCENTILES = (0.99, 0.01)


def measure_jacobian(arm: JacobianArm, models: LoadedModels) -> JacobianResult:
    """The singular values of each unit's Jacobian, summarized.

    Raises SubjectError for a Jacobian that is not finite.
    """
    runs: list[JacobianRun] = []
    for unit, values in zip(arm.units, find_singular_values(arm, models), strict=True):
        high, low = torch.quantile(values, values.new_tensor(PERCENTILES)).tolist()
        largest, smallest = float(values.max()), float(values.min())
        found = JacobianRun(
            prompt=unit.prompt, count=len(values), largest=largest, high=high, low=low, smallest=smallest
        )
        runs.append(found)
    return JacobianResult(runs=tuple(runs))


def find_singular_values(arm: JacobianArm, models: LoadedModels) -> list[Tensor]:
    """All singular values of each unit's Jacobian, largest first and in float64: [at most d_model] each.

    Raises SubjectError for a Jacobian that is not finite.
    """
    settings = arm.settings
    stack, whole = settings.stack, models.stack(settings)
    assert isinstance(stack, Stack)
    assert isinstance(stack.blocks, int)
    assert isinstance(whole, BlockStack)
    model = models.model(settings.subject, settings.dtype, settings.device)
    first, positions = arm.first_block, settings.protocol.positions
    own = Decoder(model, stack.blocks, final_norm=stack.final_norm, positions=positions, first=first)
    front = None
    if first > 1:
        front = models.stack(replace(settings, stack=Stack(blocks=first - 1)))

    head: Tensor | None = None  # R of the head, the same for all units where it is linear
    found: list[Tensor] = []
    for unit in arm.units:
        embedded = embed_prompts(settings, (unit,), models, whole)
        with torch.no_grad():
            point = (embedded.target if front is None else front(embedded.target))[0, -1]
        # No earlier position depends on the last one, so that their keys and values stand for them.
        prefix = extend_prefix(whole, Prefix(), embedded.target[:, :-1])

        def run(copies: Tensor, prefix: Prefix = prefix) -> Tensor:
            cache = prefix.expand(len(copies), first).fill_cache()
            return own(copies[:, None], cache)[:, -1].to(copies.device)

        jacobian = differentiate_rows(run, point, together=COPIES).double()
        if whole.head is not None:
            with torch.no_grad():
                slopes = whole.slopes(run(point[None])[0])
            if head is None or slopes is not None:
                head = factor_rows(whole.head, slopes)
            # ‖head · x‖ = ‖R · x‖ for every x, and so the two products have the same singular values.
            jacobian = head @ jacobian
        check_numbers(jacobian, settings, GRADIENTS)
        found.append(torch.linalg.svdvals(jacobian))
    return found


def measure_logit_gradients(arm: LogitGradientArm, models: LoadedModels) -> LogitGradientResult:
    """Both gradients of each unit, split by the head's column space.

    Raises SubjectError for logits that are not finite, and for a head that is no matrix.
    """
    stack = models.stack(arm.settings)
    assert isinstance(stack, BlockStack)
    assert stack.head is not None
    space = ColumnSpace(stack.head)
    runs: list[LogitGradientRun] = []
    for unit in arm.units:
        gradients = differentiate_logits(arm.settings, unit, models, stack)
        loss, l1 = (read_passed(space.split(one)) for one in (gradients.loss, gradients.l1))
        runs.append(
            LogitGradientRun(
                prompt=unit.prompt,
                seed=unit.seed,
                tokens=len(gradients.loss),
                outside=loss[0],
                inside=loss[1],
                sensitivity=loss[2],
                l1_outside=l1[0],
                l1_inside=l1[1],
                l1_sensitivity=l1[2],
            )
        )
    return LogitGradientResult(runs=tuple(runs), rank=int(space.rank))


def read_passed(passed: PassedGradient) -> tuple[float, float, float]:
    """The three numbers, read from their device at once."""
    outside, inside, sensitivity = torch.stack([passed.outside, passed.inside, passed.sensitivity]).tolist()
    return outside, inside, sensitivity


@dataclass(frozen=True, kw_only=True)
class LogitGradients:
    """Gradients by what the head's matrix gives, in float64.

    loss: of the next-token cross-entropy, [tokens - 1, vocab]. l1: of ‖O(e₀) − O(e)‖₁ at a random start e₀,
    [tokens, vocab].
    """

    loss: Tensor
    l1: Tensor


@torch.no_grad()
def differentiate_logits(
    settings: StackSettings, unit: Unit, models: LoadedModels, stack: BlockStack
) -> LogitGradients:
    """Both gradients at one prompt. Raises SubjectError for logits that are not finite."""
    batch = prepare_batch(DescentSettings(**vars(settings), iterations=1), (unit,), models, stack)
    hidden, start = stack(batch.target)[0], stack(batch.start)[0]
    logits = stack.logits(hidden)
    check_numbers(logits, settings, LOGITS)
    # Softmax minus the token that follows, for each position that has one.
    following = torch.tensor(batch.ids[0][1:], device=logits.device)
    loss = torch.softmax(logits[:-1].double(), dim=1)
    loss[torch.arange(len(following), device=logits.device), following] -= 1
    # A bias cancels, and a soft cap keeps the sign.
    l1 = (stack.logits(start).double() - logits.double()).sign()
    slopes, start_slopes = stack.slopes(hidden[:-1]), stack.slopes(start)
    if slopes is not None and start_slopes is not None:
        loss, l1 = slopes.double() * loss, start_slopes.double() * l1
    return LogitGradients(loss=loss / len(following), l1=l1)
