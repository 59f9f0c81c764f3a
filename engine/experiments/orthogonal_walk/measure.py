"""Orthogonal walks: batch, walked together where prompts have one length, and read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.arms.settings import StackSettings, Unit
from engine.arms.stacks import TokenNet
from engine.errors import SubjectError
from engine.experiments.inputs import (
    GRADIENTS,
    OUTPUTS,
    check_numbers,
    embed_prompts,
    encode,
    explain_overflow,
    make_generator,
)
from engine.experiments.orthogonal_walk.arm import OrthogonalRun, OrthogonalWalkArm, OrthogonalWalkResult
from engine.methods.walks import OrthogonalTrace, walk_orthogonally
from engine.models.loaded import LoadedModels
from engine.models.stacks import EmbeddingFunction, whole_output
from engine.models.token_text import read_token


@dataclass(frozen=True, kw_only=True)
class Group:
    """Units whose prompts have one length. places: among the arm's units. inputs: [runs, tokens, d]."""

    places: tuple[int, ...]
    inputs: Tensor
    positions: Tensor


def measure_orthogonal_walk(arm: OrthogonalWalkArm, models: LoadedModels) -> OrthogonalWalkResult:
    """Orthogonal walks, prompts of one length together."""
    stack = models.stack(arm.settings)
    runs: dict[int, OrthogonalRun] = {}
    for group in group_units(arm.settings, arm.units, models, stack):
        with torch.no_grad():
            before = whole_output(stack, group.inputs)
        check_numbers(before, arm.settings, OUTPUTS)
        try:
            trace = walk_group(arm, stack, group)
        except torch.linalg.LinAlgError as error:  # pyright: ignore[reportPrivateImportUsage]
            # A gradient that is not finite has no singular values.
            raise SubjectError(explain_overflow(arm.settings, GRADIENTS)) from error
        check_numbers(trace.singular, arm.settings, GRADIENTS)
        with torch.no_grad():
            moved = whole_output(stack, trace.final) - before  # [runs, rows, outputs]
        for row, place in enumerate(group.places):
            decoded = _decode_both(arm.settings, models, group, trace, row)
            runs[place] = read_orthogonal(arm, arm.units[place], group, trace, moved, row, decoded)
    return OrthogonalWalkResult(runs=tuple(runs[i] for i in range(len(arm.units))))


def group_units(
    settings: StackSettings, units: tuple[Unit, ...], models: LoadedModels, stack: EmbeddingFunction
) -> list[Group]:
    """Units by length, shortest first: their embeddings, or random inputs for a net of a size of its own.

    Random inputs are N(0, std(W)²), drawn for each unit by itself. Raises PromptError for a prompt without use.
    """
    alone = isinstance(settings.stack, TokenNet) and settings.stack.d_model is not None
    lengths = [len(encode(settings, unit.prompt, models)) for unit in units]
    groups: list[Group] = []
    for length in sorted(set(lengths)):
        places = tuple(i for i, n in enumerate(lengths) if n == length)
        members = tuple(units[i] for i in places)
        inputs = (
            _draw_inputs(settings, members, length, models, stack)
            if alone
            else embed_prompts(settings, members, models, stack).target
        )
        groups.append(Group(places=places, inputs=inputs, positions=stack.positions(length)))
    return groups


def _draw_inputs(
    settings: StackSettings, units: tuple[Unit, ...], length: int, models: LoadedModels, stack: EmbeddingFunction
) -> Tensor:
    weight = models.codec(settings.subject, settings.dtype, settings.device).weight
    width = stack.positions(1).shape[1]
    sources = [make_generator("net input", f"{unit.prompt}:{unit.seed}") for unit in units]
    drawn = torch.stack([torch.randn((length, width), generator=source) for source in sources])
    return weight.std() * drawn.to(weight)


def walk_group(arm: OrthogonalWalkArm, stack: EmbeddingFunction, group: Group) -> OrthogonalTrace:
    return walk_orthogonally(stack, group.inputs, steps=arm.steps, step=arm.step, vectors=arm.vectors)


def read_orthogonal(
    arm: OrthogonalWalkArm,
    unit: Unit,
    group: Group,
    trace: OrthogonalTrace,
    moved: Tensor,
    row: int,
    decoded: tuple[str, str],
) -> OrthogonalRun:
    """One walk as plain numbers. moved: O(e_N) − O(e) of the group [runs, rows, width]."""
    delta = moved[row].double()
    # Each token of a net has outputs of its own, and their sum is held; through attention only the sum of all is.
    held = delta.sum(-1) if isinstance(arm.settings.stack, TokenNet) else delta.sum()[None]
    outputs_each = delta.numel() / held.numel()
    squared = float(delta.square().sum())
    return OrthogonalRun(
        prompt=unit.prompt,
        seed=unit.seed,
        product=float(trace.products[0, row].abs().max()),
        relative=float(trace.relative[0, row].max()),
        worst_relative=float(trace.relative[:, row].max()),
        input_distance=float((trace.final[row] - group.inputs[row]).abs().sum()),
        output_distance=float(delta.abs().sum()),
        constrained=float(held.square().sum()) / outputs_each / squared if squared > 0 else 0.0,
        free=1 - held.numel() / delta.numel(),
        singular=tuple(trace.singular[row].tolist()),
        decoded=decoded,
    )


def _decode_both(
    settings: StackSettings, models: LoadedModels, group: Group, trace: OrthogonalTrace, row: int
) -> tuple[str, str]:
    """What the inputs decode to before and after the walk, where they are embeddings."""
    codec = models.codec(settings.subject, settings.dtype, settings.device)
    ends = (group.inputs[row] - group.positions, trace.final[row] - group.positions)
    if (isinstance(settings.stack, TokenNet) and settings.stack.d_model is not None) or not bool(
        torch.isfinite(trace.final[row]).all()
    ):
        return ("", "")
    tokenizer = models.tokenizer(settings.subject)
    before, after = (" ".join(f"[{read_token(tokenizer, i)}]" for i in codec.decode(e).tolist()) for e in ends)
    return before, after
