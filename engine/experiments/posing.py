"""Units made ready: prompts as embeddings, starts, and the output distance that counts as close."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from engine.arms import DescentSettings, StackSettings, Unit
from engine.blocks import Invertible
from engine.devices import send
from engine.experiments.base import generator
from engine.experiments.finite import OUTPUTS, check_numbers
from engine.metrics import OutputDistance, wide
from engine.prompts import check_prompt
from engine.shelf import Shelf
from engine.token_text import encode as encode_text


@dataclass(frozen=True, kw_only=True)
class Embedded:
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
class Posed(Embedded):
    """A batch of units ready to descend. bound: [units], None where it is a share of each run's start distance."""

    start: Tensor
    bound: Tensor | None


def embed(settings: StackSettings, units: tuple[Unit, ...], shelf: Shelf, stack: Invertible) -> Embedded:
    """The units' prompts as the stack takes them. Raises PromptError for one that it cannot use."""
    codec = shelf.codec(settings.subject, settings.dtype, settings.device)
    ids = tuple(encode(settings, unit.prompt, shelf) for unit in units)
    sizes = [len(row) for row in ids]
    positions = stack.positions(max(sizes))
    rows = [codec.embed(torch.tensor(row, device=settings.device)) + positions[: len(row)] for row in ids]
    return Embedded(
        settings=settings,
        units=units,
        ids=ids,
        target=pad_sequence(rows, batch_first=True),
        lengths=torch.tensor(sizes, device=settings.device),
        positions=positions,
    )


def pose(settings: DescentSettings, units: tuple[Unit, ...], shelf: Shelf, stack: Invertible) -> Posed:
    """Targets, starts and bounds of units. Source: equation 2's start, the catalogue's words for e, e₀ and bound."""
    embedded = embed(settings, units, shelf, stack)
    pairs = zip(units, embedded.target, embedded.sizes, strict=True)
    starts = [_draw_start(settings, unit, row[:size]) for unit, row, size in pairs]
    bound = shift_bounds(settings, embedded, stack) if settings.protocol.bound == "shift" else None
    return Posed(
        settings=settings,
        units=units,
        ids=embedded.ids,
        target=embedded.target,
        lengths=embedded.lengths,
        positions=embedded.positions,
        start=pad_sequence(starts, batch_first=True),
        bound=bound,
    )


def encode(settings: StackSettings, prompt: str, shelf: Shelf) -> tuple[int, ...]:
    """Ids of a prompt, cut to the settings' first tokens. Raises PromptError when it cannot be used."""
    tokenizer = shelf.tokenizer(settings.subject)
    ids = encode_text(tokenizer, prompt, who=settings.subject)
    model = shelf.model(settings.subject, settings.dtype, settings.device)
    needs = settings.first_tokens or 2
    context, vocab = int(model.config.max_position_embeddings), int(model.config.vocab_size)
    check_prompt(prompt, ids, context=context, needs=needs, vocab=vocab, who=settings.subject)
    return tuple(ids[: settings.first_tokens])


def draw_rows(embedded: Embedded, sources: list[torch.Generator]) -> Tensor:
    """Standard normal noise in the target's shape. Each unit's has its own length, so that neighbours do not matter."""
    width = embedded.target.shape[2]
    noise = [torch.randn((n, width), generator=g) for n, g in zip(embedded.sizes, sources, strict=True)]
    return send(pad_sequence(noise, batch_first=True), embedded.target.device, embedded.target.dtype)


def _draw_start(settings: DescentSettings, unit: Unit, target: Tensor) -> Tensor:
    # Drawn in float32 on the CPU, so that every device and precision starts from the same point.
    noise = send(torch.randn(target.shape, generator=generator("start", unit.seed)), target.device, target.dtype)
    std = target.std() if settings.protocol.start_std is None else settings.protocol.start_std
    start = settings.protocol.start_mean + std * noise
    share, kept = settings.blend
    return start if settings.blend == (1.0, 0.0) else share * start + kept * target


@torch.no_grad()
def shift_bounds(settings: StackSettings, embedded: Embedded, stack: Invertible) -> Tensor:
    """m(σ): mean over draws of ‖O(e + N(0, σ²)) − O(e)‖₁ for each unit: [units]. Source: the document's m.

    Raises SubjectError where an output is not finite.
    """
    target = embedded.target
    distance = OutputDistance(stack(target), stack.rows(embedded.lengths, target.shape[1]), stack.head)
    total = target.new_zeros(len(target), dtype=wide(target.dtype))
    sources = [generator("shift", unit.prompt) for unit in embedded.units]
    for _ in range(settings.protocol.shift_draws):
        total = total + distance.l1(stack(target + settings.sigma * draw_rows(embedded, sources)))
    check_numbers(total, settings, OUTPUTS)
    return total / settings.protocol.shift_draws


def start_fraction(settings: DescentSettings) -> float:
    """Share of a run's own start distance that counts as close."""
    return settings.protocol.start_fraction * settings.sigma / settings.protocol.reference_sigma
