"""Units made ready: prompts as embeddings, starts, and the output distance that counts as close."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol as Interface

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from engine.arms.arm import Arm
from engine.arms.prompts import check_prompt
from engine.arms.settings import DescentSettings, StackSettings, Unit
from engine.experiments.finite import OUTPUTS, check_numbers
from engine.methods.descent import DescentPlan, Observer, Problem, Trace
from engine.methods.distances import DistanceToTarget, sum_dtype
from engine.models.devices import to_device
from engine.models.loaded import LoadedModels
from engine.models.stacks import EmbeddingFunction
from engine.models.token_text import encode as encode_text

TOP = 5
"""Most activated tokens that a reading keeps at each position."""


def make_generator(purpose: str, seed: int | str) -> torch.Generator:
    """A CPU generator of its own for each purpose and seed, the same on every machine."""
    digest = hashlib.sha256(f"{purpose}:{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(frozen=True, kw_only=True)
class EmbeddedPrompts:
    """Units as embeddings.

    settings: what they were embedded for. target: [units, tokens, d_model], positions included, padded on the right
    with zeros. sizes: tokens of each.
    lengths: the same on the device [units]. positions: what was added, [tokens, d_model].
    """

    settings: StackSettings
    units: tuple[Unit, ...]
    ids: tuple[tuple[int, ...], ...]
    target: Tensor
    lengths: Tensor
    positions: Tensor

    @property
    def sizes(self) -> list[int]:
        return [len(row) for row in self.ids]


@dataclass(frozen=True, kw_only=True)
class Batch(EmbeddedPrompts):
    """A batch of units ready to descend. bound: [units], None where it is a share of each run's start distance."""

    start: Tensor
    bound: Tensor | None


def embed_prompts(
    settings: StackSettings, units: tuple[Unit, ...], models: LoadedModels, stack: EmbeddingFunction
) -> EmbeddedPrompts:
    """The units' prompts as the stack takes them. Raises PromptError for one that it cannot use."""
    codec = models.codec(settings.subject, settings.dtype, settings.device)
    ids = tuple(encode(settings, unit.prompt, models) for unit in units)
    sizes = [len(row) for row in ids]
    positions = stack.positions(max(sizes))
    rows = [codec.embed(torch.tensor(row, device=settings.device)) + positions[: len(row)] for row in ids]
    return EmbeddedPrompts(
        settings=settings,
        units=units,
        ids=ids,
        target=pad_sequence(rows, batch_first=True),
        lengths=torch.tensor(sizes, device=settings.device),
        positions=positions,
    )


def prepare_batch(
    settings: DescentSettings, units: tuple[Unit, ...], models: LoadedModels, stack: EmbeddingFunction
) -> Batch:
    """Targets, starts and bounds of units. Source: equation 2's start, the catalogue's words for e, e₀ and bound."""
    embedded = embed_prompts(settings, units, models, stack)
    pairs = zip(units, embedded.target, embedded.sizes, strict=True)
    starts = [_draw_start(settings, unit, row[:size]) for unit, row, size in pairs]
    bound = shift_bounds(settings, embedded, stack) if settings.protocol.bound == "shift" else None
    return Batch(
        settings=settings,
        units=units,
        ids=embedded.ids,
        target=embedded.target,
        lengths=embedded.lengths,
        positions=embedded.positions,
        start=pad_sequence(starts, batch_first=True),
        bound=bound,
    )


def encode(settings: StackSettings, prompt: str, models: LoadedModels) -> tuple[int, ...]:
    """Ids of a prompt, cut to the settings' first tokens. Raises PromptError when it cannot be used."""
    tokenizer = models.tokenizer(settings.subject)
    ids = encode_text(tokenizer, prompt, who=settings.subject)
    model = models.model(settings.subject, settings.dtype, settings.device)
    needs = settings.first_tokens or 2
    context, vocab = int(model.config.max_position_embeddings), int(model.config.vocab_size)
    check_prompt(prompt, ids, context=context, needs=needs, vocab=vocab, who=settings.subject)
    return tuple(ids[: settings.first_tokens])


def draw_rows(embedded: EmbeddedPrompts, sources: list[torch.Generator]) -> Tensor:
    """Standard normal noise in the target's shape. Each unit's has its own length, so that neighbours do not matter."""
    width = embedded.target.shape[2]
    noise = [torch.randn((n, width), generator=g) for n, g in zip(embedded.sizes, sources, strict=True)]
    return to_device(pad_sequence(noise, batch_first=True), embedded.target.device, embedded.target.dtype)


def _draw_start(settings: DescentSettings, unit: Unit, target: Tensor) -> Tensor:
    # Drawn in float32 on the CPU, so that every device and precision starts from the same point.
    noise = to_device(
        torch.randn(target.shape, generator=make_generator("start", unit.seed)), target.device, target.dtype
    )
    std = target.std() if settings.protocol.start_std is None else settings.protocol.start_std
    start = settings.protocol.start_mean + std * noise
    share, kept = settings.blend
    return start if settings.blend == (1.0, 0.0) else share * start + kept * target


@torch.no_grad()
def shift_bounds(settings: StackSettings, embedded: EmbeddedPrompts, stack: EmbeddingFunction) -> Tensor:
    """m(σ): mean over draws of ‖O(e + N(0, σ²)) − O(e)‖₁ for each unit: [units]. Source: the document's m.

    Raises SubjectError where an output is not finite.
    """
    target = embedded.target
    distance = DistanceToTarget(stack(target), stack.rows(embedded.lengths, target.shape[1]), stack.head)
    total = target.new_zeros(len(target), dtype=sum_dtype(target.dtype))
    sources = [make_generator("shift", unit.prompt) for unit in embedded.units]
    for _ in range(settings.protocol.shift_draws):
        total = total + distance.l1(stack(target + settings.sigma * draw_rows(embedded, sources)))
    check_numbers(total, settings, OUTPUTS)
    return total / settings.protocol.shift_draws


def start_fraction(settings: DescentSettings) -> float:
    """Share of a run's own start distance that counts as close."""
    return settings.protocol.start_fraction * settings.sigma / settings.protocol.reference_sigma


def plan_descent(settings: DescentSettings, snapshots: tuple[int, ...] = ()) -> DescentPlan:
    """How the settings descend."""
    return DescentPlan(
        iterations=settings.iterations,
        metric=settings.metric,
        schedule=settings.schedule,
        loss_scale=settings.protocol.loss_scale,
        snapshots=snapshots,
        optimizer=settings.optimizer,
    )


@torch.no_grad()
def make_problem(settings: DescentSettings, batch: Batch, steps: Tensor, stack: EmbeddingFunction) -> Problem:
    """A batch with their step sizes [units], ready to descend. Raises SubjectError for outputs not finite."""
    output = stack(batch.target)
    check_numbers(output, settings, OUTPUTS)
    return Problem(
        output=output,
        start=batch.start,
        lengths=batch.lengths,
        steps=steps,
        bound=batch.bound,
        start_fraction=start_fraction(settings),
    )


class WrapObserver(Interface):
    """Takes the place of a batch's observer and passes its looks on, so that no number changes."""

    def __call__(self, arm: Arm, batch: Batch, models: LoadedModels, observer: Observer[Trace]) -> Observer[Trace]:
        """What looks at the batch instead of `observer`. It asks `observer` who goes on, and does as it says."""
        ...


def keep_observer(arm: Arm, batch: Batch, models: LoadedModels, observer: Observer[Trace]) -> Observer[Trace]:
    """Nobody watches."""
    return observer
