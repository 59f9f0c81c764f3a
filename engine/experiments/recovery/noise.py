"""Measure which noise on activations still leaves the right token the nearest of the whole vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.arms.settings import Unit
from engine.errors import DeclarationError, explain
from engine.experiments.inputs import RANDOM_OUTPUTS, check_numbers, embed_prompts, make_generator
from engine.experiments.recovery.arm import NoiseArm, NoiseResult, NoiseRun
from engine.experiments.recovery.measure import show_to_method, transformer_stack
from engine.methods.noisy_activations import NoisyPosition, decode_under_noise
from engine.methods.token_search import run_candidates
from engine.models.codec import equal_tokens, find_equal_rows
from engine.models.devices import to_device
from engine.models.kv_prefix import Prefix, extend_prefix
from engine.models.loaded import LoadedModels
from engine.models.token_text import read_tokens


def measure_under_noise(arm: NoiseArm, models: LoadedModels) -> NoiseResult:
    """Take the nearest token to the noisy activations at every position of each unit, behind the unit's own tokens.

    Raises DeclarationError for a stack with a head: logits have another distance.
    """
    settings = arm.settings
    stack = transformer_stack(settings, models)
    if stack.head is not None:
        expected, remedy = "hidden states", "declare a stack without head"
        raise DeclarationError(explain(who="noise", got="logits", expected=expected, remedy=remedy))
    codec = models.codec(settings.subject, settings.dtype, settings.device)
    embedded = embed_prompts(settings, arm.units, models, stack)
    observed = show_to_method(stack, embedded, int8=False).hidden  # [units, tokens, width]
    equals = equal_tokens(find_equal_rows(codec.weight))
    every = torch.arange(codec.vocab, device=codec.weight.device)[None]
    runs: list[NoiseRun] = []
    for row, (unit, ids) in enumerate(zip(arm.units, embedded.ids, strict=True)):
        directions = draw_directions(unit, observed[row, : len(ids)])
        prefix, found = Prefix(), list[NoisyPosition]()
        for t, token in enumerate(ids):
            outputs = torch.cat([part[0] for part in run_candidates(stack, codec, prefix, every)])  # [vocab, width]
            check_numbers(outputs, settings, RANDOM_OUTPUTS)
            found.append(
                decode_under_noise(
                    outputs,
                    observed[row, t],
                    directions[t],
                    token=token,
                    equal_tokens=equals.get(token, ()),
                    noises=arm.noises,
                    bits=arm.bits,
                )
            )
            prefix = extend_prefix(stack, prefix, embedded.target[row : row + 1, t : t + 1])
        runs.append(_summarize(unit, ids, observed[row, : len(ids)], found))
    named = {i for run in runs for i in (*run.target, *run.runner_up)}
    named |= {i for run in runs for rows in (run.random, run.toward, run.rounded) for row in rows for i in row}
    return NoiseResult(
        runs=tuple(runs), vocab=codec.vocab, texts=read_tokens(models.tokenizer(settings.subject), named)
    )


def draw_directions(unit: Unit, observed: Tensor) -> Tensor:
    """A random direction of length 1 at each position of a unit, uniform on the sphere: as `observed` [tokens, width].

    Every size of noise has the same one.
    """
    drawn = torch.randn(observed.shape, generator=make_generator("direction of noise", f"{unit.prompt}:{unit.seed}"))
    return to_device(drawn / drawn.norm(dim=-1, keepdim=True), observed.device, observed.dtype)


def _summarize(unit: Unit, ids: tuple[int, ...], observed: Tensor, found: list[NoisyPosition]) -> NoiseRun:
    least = torch.finfo(observed.dtype).tiny
    sizes = observed.norm(dim=-1).clamp_min(least)  # [tokens]
    margins = torch.stack([one.margin for one in found])

    def list_rows(rows: list[Tensor]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(row) for row in torch.stack(rows, dim=1).tolist())

    rounding = torch.stack([one.rounding for one in found], dim=1) / margins.clamp_min(least)
    return NoiseRun(
        prompt=unit.prompt,
        seed=unit.seed,
        target=ids,
        margin=tuple((margins / sizes).tolist()),
        runner_up=tuple(int(one.runner_up) for one in found),
        own_distance=tuple((torch.stack([one.own_distance for one in found]) / sizes).tolist()),
        random=list_rows([one.random for one in found]),
        toward=list_rows([one.toward for one in found]),
        rounded=list_rows([one.rounded for one in found]),
        rounding=tuple(tuple(row) for row in rounding.tolist()),
    )
