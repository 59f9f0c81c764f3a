"""Prompts sought from their activations: what a method is shown, and what is read of what it found.

The prompt stays on this side: `engine.methods.token_search` is given activations, their lengths and noise to start
from.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.arms.settings import StackSettings
from engine.errors import DeclarationError
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
from engine.methods.token_search import ObservedActivations, TokenMatch, TokenSearch, check, recover
from engine.models.codec import Codec, equal_tokens, find_equal_rows
from engine.models.kv_prefix import Prefix, extend_prefix
from engine.models.loaded import LoadedModels
from engine.models.stacks import BlockStack
from engine.models.token_text import read_tokens

NOISE_ROWS = 16
"""Random rows of tokens whose activations are made several times, in several batch layouts."""

MOST_NAMED = 8
"""Tokens that are named among those with equal activations."""


def measure_recovery(arm: RecoveryArm, models: LoadedModels) -> RecoveryResult:
    """Prompts of an arm, batch by batch."""
    stack = transformer(arm.settings, models)
    codec = models.codec(arm.settings.subject, arm.settings.dtype, arm.settings.device)
    groups = find_equal_rows(codec.weight)
    batches = [arm.units[first : first + arm.batch] for first in range(0, len(arm.units), arm.batch)]
    every = [embed_prompts(arm.settings, units, models, stack) for units in batches]
    together, tokens = max(map(len, batches)), max(max(one.sizes) for one in every)
    likeness = make_distance(stack.head, int8=arm.observed != "float")
    noise = draw_noise(stack, codec, likeness, tokens, together=together)
    check_numbers(noise, arm.settings, RANDOM_OUTPUTS)
    epsilons, runs = likeness.limits(noise), list[RecoveryRun]()
    for embedded in every:
        seen = show_to_method(stack, embedded, int8=arm.observed != "float")
        search = TokenSearch(
            method=arm.method,
            plan=plan_descent(arm.settings),
            step=arm.step,
            mean=arm.settings.protocol.start_mean,
            std=start_std(arm, codec, embedded.positions),
            draw=Draws(tuple(unit.seed for unit in embedded.units), embedded.sizes, codec.d_model),
            likeness=likeness,
            epsilons=epsilons,
            equals=equal_tokens(groups),
        )
        runs += read_runs(embedded, recover(stack, codec, seen, search), codec, equal_tokens(groups))
    named = {i for run in runs for i in (*run.target, *(i for f in run.found for i in (f.token, *f.named)))}
    named |= {i for group in groups for i in group}
    return RecoveryResult(
        runs=tuple(runs),
        vocab=codec.vocab,
        noise=tuple(noise.amax(0).tolist()),
        epsilon=max(epsilons),
        epsilons=flatten_positions(epsilons),
        equal_rows=groups,
        texts=read_tokens(
            models.tokenizer(arm.settings.subject),
            {*(i for i in named if i is not None), *(i for g in groups for i in g)},
        ),
    )


def transformer(settings: StackSettings, models: LoadedModels) -> BlockStack:
    """The settings' stack. Raises DeclarationError for a net, which has no positions that follow each other."""
    stack = models.stack(settings)
    if not isinstance(stack, BlockStack):
        raise DeclarationError(
            "recovery: got a fully connected net, expected transformer blocks; positions are sought one by one"
        )
    return stack


def draw_noise(stack: BlockStack, codec: Codec, likeness: ActivationDistance, tokens: int, *, together: int) -> Tensor:
    """The noise of activations on random tokens, which have nothing to do with any prompt: [rows, tokens]."""
    ids = torch.randint(codec.vocab, (NOISE_ROWS, tokens), generator=make_generator("noise of activations", 0))
    return measure_noise(stack, codec, ids.to(codec.weight.device), together=together, likeness=likeness)


def flatten_positions(epsilons: list[float]) -> tuple[float, ...]:
    """Limits by position where they differ, and nothing where one holds for all."""
    return tuple(epsilons) if len(set(epsilons)) > 1 else ()


@torch.no_grad()
def show_to_method(stack: BlockStack, embedded: EmbeddedPrompts, *, int8: bool) -> ObservedActivations:
    """What a method is shown of units. Raises SubjectError where a number of it is not finite."""
    hidden = read_activations(stack, embedded.target, int8=int8)
    check_numbers(hidden, embedded.settings, OUTPUTS)
    return ObservedActivations(hidden=hidden, lengths=embedded.lengths)


def start_std(arm: RecoveryArm, codec: Codec, positions: Tensor) -> float:
    """Spread of the start. Where the protocol takes the target's own, a method that sees no target takes W's."""
    fixed = arm.settings.protocol.start_std
    return fixed if fixed is not None else float((codec.weight.var() + positions.var()).sqrt())


class Draws:
    """Noise of each unit's starts: at turn 0 that of the unit's descent, later several of each turn's own."""

    def __init__(self, seeds: tuple[int, ...], sizes: list[int], d_model: int) -> None:
        self._seeds, self._sizes, self._d_model = seeds, sizes, d_model

    def __call__(self, unit: int, turn: int) -> Tensor:
        """[starts, tokens, d_model]."""
        seed, shape = self._seeds[unit], (self._sizes[unit], self._d_model)
        if turn == 0:
            return torch.randn(shape, generator=make_generator("start", seed))[None]
        sources = [make_generator("start again", f"{seed}:{turn}:{k}") for k in range(LATER_STARTS)]
        return torch.stack([torch.randn(shape, generator=source) for source in sources])


def read_runs(
    embedded: EmbeddedPrompts, found: list[tuple[TokenMatch, ...]], codec: Codec, equals: dict[int, tuple[int, ...]]
) -> list[RecoveryRun]:
    """What was found, held against the prompts."""
    own = codec.decode(embedded.target - embedded.positions).tolist()  # [units, tokens]
    return [
        RecoveryRun(
            prompt=unit.prompt,
            seed=unit.seed,
            target=ids,
            found=tuple(map(_read_found, at)),
            ceiling=sum(a == b for a, b in zip(ids, decoded, strict=False)) / len(ids),
            equal_rows=tuple(t for t, i in enumerate(ids) if i in equals),
        )
        for unit, ids, at, decoded in zip(embedded.units, embedded.ids, found, own, strict=True)
    ]


def _read_found(found: TokenMatch) -> TokenFound:
    return TokenFound(
        token=found.token,
        same=len(found.same),
        named=found.same[:MOST_NAMED],
        checks=found.checks,
        guesses=found.guesses,
        distance=found.distance,
        runner_up=found.runner_up,
    )


def measure_margins(arm: MarginArm, models: LoadedModels) -> MarginResult:
    """One position of each unit, drawn by the unit, against every token of the vocabulary."""
    stack = transformer(arm.settings, models)
    codec = models.codec(arm.settings.subject, arm.settings.dtype, arm.settings.device)
    likeness = make_distance(stack.head, int8=arm.observed != "float")
    embedded = embed_prompts(arm.settings, arm.units, models, stack)
    seen = show_to_method(stack, embedded, int8=arm.observed != "float")
    noise = draw_noise(stack, codec, likeness, max(embedded.sizes), together=len(arm.units))
    check_numbers(noise, arm.settings, RANDOM_OUTPUTS)
    epsilons, equals = likeness.limits(noise), equal_tokens(find_equal_rows(codec.weight))
    runs = list[MarginRun]()
    every = torch.arange(codec.vocab, device=codec.weight.device)[None]
    for row, (unit, ids) in enumerate(zip(arm.units, embedded.ids, strict=True)):
        source = make_generator("position of a margin", f"{unit.prompt}:{unit.seed}")
        at = int(torch.randint(len(ids), (), generator=source))
        prefix = extend_prefix(stack, Prefix(), embedded.target[row : row + 1, :at]) if at else Prefix()
        away = check(stack, codec, likeness, prefix, every, seen.hidden[row : row + 1, at])[0]  # [vocab]
        check_numbers(away, arm.settings, RANDOM_OUTPUTS)
        others = away.clone()
        others[[ids[at], *equals.get(ids[at], ())]] = torch.inf
        runs.append(
            MarginRun(
                prompt=unit.prompt,
                seed=unit.seed,
                position=at,
                token=ids[at],
                own_distance=float(away[ids[at]]),
                runner_up=int(others.argmin()),
                runner_up_distance=float(others.min()),
                same=int((away <= epsilons[at]).sum()) - int(away[ids[at]] <= epsilons[at]),
            )
        )
    named = {i for run in runs for i in (run.token, run.runner_up)}
    return MarginResult(
        runs=tuple(runs),
        vocab=codec.vocab,
        noise=tuple(noise.amax(0).tolist()),
        epsilon=max(epsilons),
        epsilons=flatten_positions(epsilons),
        texts=read_tokens(models.tokenizer(arm.settings.subject), named),
    )
