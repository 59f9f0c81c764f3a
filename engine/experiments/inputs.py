"""What experiments measure on: prompts as embeddings, starts, bounds, and outputs that are checked to be finite."""

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
from engine.errors import SubjectError, explain
from engine.methods.descent import DescentPlan, Observer, Problem, Trace
from engine.methods.distances import DistanceToTarget, sum_dtype
from engine.models.devices import to_device
from engine.models.families import find_context
from engine.models.loaded import LoadedModels
from engine.models.stacks import EmbeddingFunction
from engine.models.token_text import encode as encode_text

TOP = 5
"""Most activated tokens that a reading keeps at each position."""

OUTPUTS = "its outputs for a prompt"
RANDOM_OUTPUTS = "its outputs for tokens of its vocabulary"
LOGITS = "its logits after a prompt"
GRADIENTS = "its outputs' gradients at a prompt"


def make_generator(purpose: str, seed: int | str) -> torch.Generator:
    """A CPU generator of its own for each purpose and seed, the same on every machine."""
    # A hash keeps the streams of two purposes apart even if they share a seed.
    digest = hashlib.sha256(f"{purpose}:{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(frozen=True, kw_only=True)
class EmbeddedPrompts:
    """Units as embeddings.

    settings: what they were embedded for. ids: tokens of each unit.
    target: [units, tokens, d_model], positions included, padded on the right with zeros.
    lengths: tokens of each unit, on the device [units]. positions: what was added, [tokens, d_model].
    """

    settings: StackSettings
    units: tuple[Unit, ...]
    ids: tuple[tuple[int, ...], ...]
    target: Tensor
    lengths: Tensor
    positions: Tensor

    @property
    def sizes(self) -> list[int]:
        """Tokens of each unit."""
        return [len(row) for row in self.ids]


@dataclass(frozen=True, kw_only=True)
class Batch(EmbeddedPrompts):
    """A batch of units ready to descend.

    start: as `target`. bound: [units], None where it is a share of each run's start distance.
    """

    start: Tensor
    bound: Tensor | None


def encode(settings: StackSettings, prompt: str, models: LoadedModels) -> tuple[int, ...]:
    """Ids of a prompt, cut to the settings' first tokens. Raises PromptError when it cannot be used."""
    tokenizer = models.tokenizer(settings.subject)
    # Checked before they are cut: a prompt that the model could not read whole is refused, not read in part.
    ids = encode_text(tokenizer, prompt, who=settings.subject)
    model = models.model(settings.subject, settings.dtype, settings.device)
    needs = settings.first_tokens or 2
    context = find_context(model.config) - len(models.opening(settings.subject))
    vocab = int(model.config.get_text_config(decoder=True).vocab_size)
    check_prompt(prompt, ids, context=context, needs=needs, vocab=vocab, who=settings.subject)
    return tuple(ids[: settings.first_tokens])


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
    """Targets, starts and bounds of units. Raises PromptError for a prompt that the stack cannot use.

    Source: equation 2's start, the catalogue's words for e, e₀ and bound.
    """
    embedded = embed_prompts(settings, units, models, stack)
    protocol, (noise_share, target_share) = settings.protocol, settings.blend
    starts: list[Tensor] = []
    for unit, padded, size in zip(units, embedded.target, embedded.sizes, strict=True):
        target = padded[:size]
        # Drawn in float32 on the CPU, so that every device and precision starts from the same point.
        noise = torch.randn(target.shape, generator=make_generator("start", unit.seed))
        std = target.std() if protocol.start_std is None else protocol.start_std
        start = protocol.start_mean + std * to_device(noise, target.device, target.dtype)
        starts.append(start if settings.blend == (1.0, 0.0) else noise_share * start + target_share * target)
    return Batch(
        **vars(embedded),
        start=pad_sequence(starts, batch_first=True),
        bound=shift_bounds(settings, embedded, stack) if protocol.bound == "shift" else None,
    )


def draw_rows(embedded: EmbeddedPrompts, sources: list[torch.Generator]) -> Tensor:
    """Standard normal noise in the target's shape, one generator for each unit.

    A unit's noise is as long as its own prompt, so that the units beside it do not change it.
    """
    width = embedded.target.shape[2]
    noise = [torch.randn((n, width), generator=g) for n, g in zip(embedded.sizes, sources, strict=True)]
    return to_device(pad_sequence(noise, batch_first=True), embedded.target.device, embedded.target.dtype)


@torch.no_grad()
def shift_bounds(settings: StackSettings, embedded: EmbeddedPrompts, stack: EmbeddingFunction) -> Tensor:
    """m(σ): mean over draws of ‖O(e + N(0, σ²)) − O(e)‖₁ for each unit: [units]. Source: the document's m.

    Raises SubjectError where an output is not finite.
    """
    target = embedded.target
    distance = DistanceToTarget(stack(target), stack.rows(embedded.lengths, target.shape[1]), stack.head)
    total = target.new_zeros(len(target), dtype=sum_dtype(target.dtype))
    # Seeded by the prompt alone: a prompt has one bound, whatever its start.
    sources = [make_generator("shift", unit.prompt) for unit in embedded.units]
    for _ in range(settings.protocol.shift_draws):
        total = total + distance.l1(stack(target + settings.sigma * draw_rows(embedded, sources)))
    check_numbers(total, settings, OUTPUTS)
    return total / settings.protocol.shift_draws


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
    """The batch and a step size for each unit [units], as a problem. Raises SubjectError for outputs not finite."""
    output = stack(batch.target)
    check_numbers(output, settings, OUTPUTS)
    protocol = settings.protocol
    return Problem(
        output=output,
        start=batch.start,
        lengths=batch.lengths,
        steps=steps,
        bound=batch.bound,
        start_fraction=protocol.start_fraction * settings.sigma / protocol.reference_sigma,
    )


def check_numbers(numbers: Tensor, settings: StackSettings, what: str) -> None:
    """Raises SubjectError for NaN or infinity: comparisons with it are all false, and would pass for findings.

    what: whose numbers they are. A measured model has finite weights, but its forward pass may still overflow, in a
    dtype of short range or by a setting of its config. On the meta device there are no numbers to check.
    """
    if numbers.device.type != "meta" and not bool(torch.isfinite(numbers).all()):
        raise SubjectError(explain_overflow(settings, what))


def explain_overflow(settings: StackSettings, what: str) -> str:
    """One line on numbers that are not finite, and what can be done."""
    remedy = "fix the model's config.json or its weights"
    return explain(
        who=settings.subject,
        got=f"NaN or infinity in {what} in {settings.dtype}",
        expected="finite numbers",
        remedy=f"take --dtype float32, or {remedy}" if settings.dtype == "float16" else remedy,
    )


class WrapObserver(Interface):
    """Puts an observer that shows a batch's progress around the batch's own. It changes no number."""

    def __call__(self, arm: Arm, batch: Batch, models: LoadedModels, observer: Observer[Trace]) -> Observer[Trace]:
        """What observes the batch in place of `observer`; its `keep` must return what `observer.keep` returns."""
        ...


def keep_observer(arm: Arm, batch: Batch, models: LoadedModels, observer: Observer[Trace]) -> Observer[Trace]:
    """No progress is shown: the batch's own observer, as it is."""
    return observer
