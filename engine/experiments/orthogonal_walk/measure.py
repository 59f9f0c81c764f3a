"""Orthogonal walks: prompts of one length walk together, and each walk is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.arms.settings import StackSettings, Unit
from engine.arms.stacks import AnyStack, TokenNet
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
from engine.methods.walks import walk_orthogonally
from engine.models.devices import to_device
from engine.models.loaded import LoadedModels
from engine.models.stacks import EmbeddingFunction, whole_output
from engine.models.token_text import read_token


@dataclass(frozen=True, kw_only=True)
class LengthGroup:
    """Units whose prompts have one length. places: indices into the arm's units. inputs: [runs, tokens, d]."""

    places: tuple[int, ...]
    inputs: Tensor


def measure_orthogonal_walk(arm: OrthogonalWalkArm, models: LoadedModels) -> OrthogonalWalkResult:
    """Walk from every unit, and read each walk at its start and its end.

    Raises PromptError for a prompt that cannot be used, SubjectError for outputs or gradients that are not finite.
    """
    settings, stack = arm.settings, models.stack(arm.settings)
    codec = models.codec(settings.subject, settings.dtype, settings.device)
    tokenizer = models.tokenizer(settings.subject)
    runs: dict[int, OrthogonalRun] = {}
    for group in group_units(settings, arm.units, models, stack):
        with torch.no_grad():
            before = whole_output(stack, group.inputs)
        check_numbers(before, settings, OUTPUTS)
        try:
            trace = walk_orthogonally(
                stack,
                group.inputs,
                steps=arm.steps,
                step=arm.step,
                vectors=arm.vectors,
                direction=arm.direction,
                draw=draw_directions(arm, group),
            )
        except torch.linalg.LinAlgError as error:  # pyright: ignore[reportPrivateImportUsage]
            # A gradient that is not finite has no singular values.
            raise SubjectError(explain_overflow(settings, GRADIENTS)) from error
        check_numbers(trace.singular, settings, GRADIENTS)
        with torch.no_grad():
            moved = whole_output(stack, trace.final) - before  # [runs, rows, outputs]

        positions = stack.positions(group.inputs.shape[1])
        for row, place in enumerate(group.places):
            # Through attention the walk holds the sum of all outputs. In a per-token net no output depends on another
            # token, so it holds each token's own sum.
            delta = moved[row].double()
            sums = delta.sum(-1) if isinstance(settings.stack, TokenNet) else delta.sum()[None]
            outputs_each = delta.numel() / sums.numel()
            squared = float(delta.square().sum())

            more: dict[str, float] = {}
            if arm.full:
                moved_l2 = (trace.final[row] - group.inputs[row]).double().norm()
                more = {"input_l2": float(moved_l2), "output_l2": float(delta.norm())}

            decoded = ("", "")
            if not has_own_inputs(settings.stack) and bool(torch.isfinite(trace.final[row]).all()):
                first, last = (codec.decode(e[row] - positions).tolist() for e in (group.inputs, trace.final))
                decoded = (
                    " ".join(f"[{read_token(tokenizer, i)}]" for i in first),
                    " ".join(f"[{read_token(tokenizer, i)}]" for i in last),
                )
                if arm.full:
                    kept = sum(a == b for a, b in zip(first, last, strict=True)) / len(first)
                    more |= {"recovery": kept, "repeated": (len(set(first)) - len(set(last))) / len(first)}

            runs[place] = OrthogonalRun(
                prompt=arm.units[place].prompt,
                seed=arm.units[place].seed,
                product=float(trace.products[0, row].abs().max()),
                relative=float(trace.relative[0, row].max()),
                worst_relative=float(trace.relative[:, row].max()),
                input_distance=float((trace.final[row] - group.inputs[row]).abs().sum()),
                output_distance=float(delta.abs().sum()),
                constrained=float(sums.square().sum()) / outputs_each / squared if squared > 0 else 0.0,
                free=1 - sums.numel() / delta.numel(),
                singular=tuple(trace.singular[row].tolist()),
                decoded=decoded,
                **more,
            )
    return OrthogonalWalkResult(runs=tuple(runs[i] for i in range(len(arm.units))))


def draw_directions(arm: OrthogonalWalkArm, group: LengthGroup) -> Callable[[], Tensor]:
    """Draws a normal vector for each walk, from its unit's own generator: [runs, d]."""
    units = [arm.units[place] for place in group.places]
    sources = [make_generator("walk direction", f"{unit.prompt}:{unit.seed}") for unit in units]
    width = group.inputs.shape[2]
    return lambda: to_device(
        torch.stack([torch.randn(width, generator=source) for source in sources]),
        group.inputs.device,
        group.inputs.dtype,
    )


def group_units(
    settings: StackSettings, units: tuple[Unit, ...], models: LoadedModels, stack: EmbeddingFunction
) -> list[LengthGroup]:
    """Units by length, shortest first: their embeddings, or random inputs for a net of a size of its own.

    Random inputs are N(0, std(W)²), each unit's from its own generator. Raises PromptError for a prompt that cannot be
    used.
    """
    lengths = [len(encode(settings, unit.prompt, models)) for unit in units]
    groups: list[LengthGroup] = []
    for length in sorted(set(lengths)):
        places = tuple(i for i, n in enumerate(lengths) if n == length)
        members = tuple(units[i] for i in places)
        if has_own_inputs(settings.stack):
            weight = models.codec(settings.subject, settings.dtype, settings.device).weight
            width = stack.positions(1).shape[1]
            sources = [make_generator("net input", f"{unit.prompt}:{unit.seed}") for unit in members]
            drawn = torch.stack([torch.randn((length, width), generator=source) for source in sources])
            inputs = weight.std() * drawn.to(weight)
        else:
            inputs = embed_prompts(settings, members, models, stack).target
        groups.append(LengthGroup(places=places, inputs=inputs))
    return groups


def has_own_inputs(stack: AnyStack) -> bool:
    """Whether a net has a size of its own, so that a subject's embeddings do not fit it."""
    return isinstance(stack, TokenNet) and stack.d_model is not None
