"""Recover prompts from their activations, and measure how far other tokens' activations are.

The prompts stay here: `engine.methods.token_search` is given activations, their lengths, and noise to start from.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from engine.arms.settings import StackSettings
from engine.errors import DeclarationError, explain
from engine.experiments.inputs import (
    OUTPUTS,
    RANDOM_OUTPUTS,
    EmbeddedPrompts,
    check_numbers,
    embed_prompts,
    make_generator,
    plan_descent,
)
from engine.experiments.recovery.arm import (
    LATER_STARTS,
    MarginArm,
    MarginResult,
    MarginRun,
    RecoveryArm,
    RecoveryResult,
    RecoveryRun,
    TokenFound,
)
from engine.methods.activation_distance import ActivationDistance, make_distance, measure_noise, read_activations
from engine.methods.token_search import ObservedActivations, TokenSearch, check_candidates, recover
from engine.models.codec import Codec, equal_tokens, find_equal_rows
from engine.models.kv_prefix import Prefix, extend_prefix
from engine.models.loaded import LoadedModels
from engine.models.stacks import BlockStack
from engine.models.token_text import read_tokens

NOISE_ROWS = 16
"""Rows of random tokens whose activations are computed in several batch layouts."""

MOST_NAMED = 8
"""Most tokens with equal activations that a result names."""


def measure_recovery(arm: RecoveryArm, models: LoadedModels) -> RecoveryResult:
    """Search for the arm's prompts batch by batch, and compare what is found with them."""
    settings, int8 = arm.settings, arm.observed != "float"
    stack = transformer_stack(settings, models)
    codec = models.codec(settings.subject, settings.dtype, settings.device)
    parts = [arm.units[first : first + arm.batch] for first in range(0, len(arm.units), arm.batch)]
    batches = [embed_prompts(settings, units, models, stack) for units in parts]
    groups = find_equal_rows(codec.weight)
    equals = equal_tokens(groups)

    distance = make_distance(stack.head, int8=int8)
    longest, together = max(max(embedded.sizes) for embedded in batches), max(map(len, parts))
    noise = draw_noise(stack, codec, distance, settings, tokens=longest, together=together)
    epsilons = distance.epsilons(noise)

    runs: list[RecoveryRun] = []
    for embedded in batches:
        search = TokenSearch(
            method=arm.method,
            plan=plan_descent(settings),
            step=arm.step,
            mean=settings.protocol.start_mean,
            std=start_std(arm, codec, embedded.positions),
            draw=partial(draw_start_noise, tuple(unit.seed for unit in embedded.units), embedded.sizes, codec.d_model),
            distance=distance,
            epsilons=epsilons,
            equal_tokens=equals,
        )
        found = recover(stack, codec, show_to_method(stack, embedded, int8=int8), search)
        decoded = codec.decode(embedded.target - embedded.positions).tolist()  # the prompts' own embeddings
        for unit, ids, matches, own in zip(embedded.units, embedded.ids, found, decoded, strict=True):
            runs.append(
                RecoveryRun(
                    prompt=unit.prompt,
                    seed=unit.seed,
                    target=ids,
                    found=tuple(
                        TokenFound(
                            token=match.token,
                            same=len(match.same),
                            named=match.same[:MOST_NAMED],
                            checks=match.checks,
                            guesses=match.guesses,
                            distance=match.distance,
                            runner_up=match.runner_up,
                        )
                        for match in matches
                    ),
                    ceiling=sum(a == b for a, b in zip(ids, own, strict=False)) / len(ids),
                    equal_rows=tuple(t for t, i in enumerate(ids) if i in equals),
                )
            )

    named = {i for group in groups for i in group} | {i for run in runs for i in run.target}
    for token in (one for run in runs for one in run.found):
        named |= {*token.named} if token.token is None else {token.token, *token.named}
    return RecoveryResult(
        runs=tuple(runs),
        vocab=codec.vocab,
        noise=tuple(noise.amax(0).tolist()),
        epsilon=max(epsilons),
        epsilons=differing(epsilons),
        equal_rows=groups,
        texts=read_tokens(models.tokenizer(settings.subject), named),
    )


def measure_margins(arm: MarginArm, models: LoadedModels) -> MarginResult:
    """Compare one position of each unit, drawn by the unit, with every token of the vocabulary."""
    settings, int8 = arm.settings, arm.observed != "float"
    stack = transformer_stack(settings, models)
    codec = models.codec(settings.subject, settings.dtype, settings.device)
    distance = make_distance(stack.head, int8=int8)
    embedded = embed_prompts(settings, arm.units, models, stack)
    observed = show_to_method(stack, embedded, int8=int8)
    noise = draw_noise(stack, codec, distance, settings, tokens=max(embedded.sizes), together=len(arm.units))
    epsilons, equals = distance.epsilons(noise), equal_tokens(find_equal_rows(codec.weight))
    runs: list[MarginRun] = []
    every = torch.arange(codec.vocab, device=codec.weight.device)[None]
    for row, (unit, ids) in enumerate(zip(arm.units, embedded.ids, strict=True)):
        generator = make_generator("position of a margin", f"{unit.prompt}:{unit.seed}")
        t = int(torch.randint(len(ids), (), generator=generator))
        prefix = extend_prefix(stack, Prefix(), embedded.target[row : row + 1, :t]) if t else Prefix()
        hidden = observed.hidden[row : row + 1, t]
        distances = check_candidates(stack, codec, distance, prefix, every, hidden)[0]  # [vocab]
        check_numbers(distances, settings, RANDOM_OUTPUTS)
        own, others = distances[ids[t]], distances.clone()
        # Tokens with the same row of W can't have a margin.
        others[[ids[t], *equals.get(ids[t], ())]] = torch.inf
        runs.append(
            MarginRun(
                prompt=unit.prompt,
                seed=unit.seed,
                position=t,
                token=ids[t],
                own_distance=float(own),
                runner_up=int(others.argmin()),
                runner_up_distance=float(others.min()),
                same=int((distances <= epsilons[t]).sum()) - int(own <= epsilons[t]),
            )
        )
    named = {i for run in runs for i in (run.token, run.runner_up)}
    return MarginResult(
        runs=tuple(runs),
        vocab=codec.vocab,
        noise=tuple(noise.amax(0).tolist()),
        epsilon=max(epsilons),
        epsilons=differing(epsilons),
        texts=read_tokens(models.tokenizer(settings.subject), named),
    )


def transformer_stack(settings: StackSettings, models: LoadedModels) -> BlockStack:
    """The settings' stack. Raises DeclarationError for a net, which has no positions that follow each other."""
    stack = models.stack(settings)
    if not isinstance(stack, BlockStack):
        remedy = "declare a Stack: positions are recovered one by one"
        raise DeclarationError(
            explain(who="recovery", got="a fully connected net", expected="transformer blocks", remedy=remedy)
        )
    return stack


def draw_noise(
    stack: BlockStack,
    codec: Codec,
    distance: ActivationDistance,
    settings: StackSettings,
    *,
    tokens: int,
    together: int,
) -> Tensor:
    """Noise of activations, on random tokens that are independent of any prompt: [rows, tokens].

    Raises SubjectError if it is not finite.
    """
    ids = torch.randint(codec.vocab, (NOISE_ROWS, tokens), generator=make_generator("noise of activations", 0))
    noise = measure_noise(stack, codec, ids.to(codec.weight.device), together=together, distance=distance)
    check_numbers(noise, settings, RANDOM_OUTPUTS)
    return noise


def differing(epsilons: list[float]) -> tuple[float, ...]:
    """Epsilons by position if they differ; none if one holds for all."""
    return tuple(epsilons) if len(set(epsilons)) > 1 else ()


@torch.no_grad()
def show_to_method(stack: BlockStack, embedded: EmbeddedPrompts, *, int8: bool) -> ObservedActivations:
    """All that a method is given of the prompts. Raises SubjectError for activations that are not finite."""
    hidden = read_activations(stack, embedded.target, int8=int8)
    check_numbers(hidden, embedded.settings, OUTPUTS)
    return ObservedActivations(hidden=hidden, lengths=embedded.lengths)


def start_std(arm: RecoveryArm, codec: Codec, positions: Tensor) -> float:
    """Standard deviation of the starts.

    Where the protocol takes that of the target, which no method is given, it is that of W and the positions.
    """
    fixed = arm.settings.protocol.start_std
    return fixed if fixed is not None else float((codec.weight.var() + positions.var()).sqrt())


def draw_start_noise(seeds: tuple[int, ...], sizes: Sequence[int], d_model: int, unit: int, turn: int) -> Tensor:
    """Noise of one unit's starts: that of its descent at turn 0, several new ones at each later turn.

    seeds, sizes: start seed and number of tokens of every unit. Returns [starts, tokens, d_model].
    """
    seed, shape = seeds[unit], (sizes[unit], d_model)
    if turn == 0:
        return torch.randn(shape, generator=make_generator("start", seed))[None]
    generators = [make_generator("start again", f"{seed}:{turn}:{k}") for k in range(LATER_STARTS)]
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])
