"""When activations count as equal: relative distances, the noise of floating point, and what logits show of a state."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.errors import DeclarationError, explain
from engine.models.codec import Codec
from engine.models.kv_prefix import NextPosition, Prefix, extend_prefix
from engine.models.pseudo_inverse import invert_gram
from engine.models.stacks import BlockStack
from engine.statistics.tolerance import tolerance_limit

SMALL_BATCHES = (1, 3)
"""Batch sizes that noise is measured at besides the search's own: the last batch is smaller and uses other kernels."""

REPEATED = 32
"""Copies of each row in a batch of one position: as many as a search's first candidates."""

NOISE_BYTES = 256 * 2**20
"""Most memory that repeated prefixes take at once."""

STEPS = 127
"""Steps of eight bits between 0 and a position's largest number."""


class ActivationDistance:
    """Relative distance of activations from those observed: ‖x − y‖₂ / ‖y‖₂.

    head: [outputs, width] takes the distance between logits instead, where the head's bias cancels.
    """

    least_noise = 1.0
    """Noise that is always assumed, in spacings of floats at 1."""

    def __init__(self, head: Tensor | None = None) -> None:
        # ‖U δ‖² = δᵀ(UᵀU)δ is exact for a difference δ of hidden states, and makes no logits.
        self._gram = None if head is None else head.T @ head

    def between(self, outputs: Tensor, observed: Tensor) -> Tensor:
        """Distances of outputs [..., width] from observed activations [..., width] → [...]."""
        # Activations that are all zero have no unit: they equal nothing but zeros.
        return self._size(outputs - observed) / self._unit(observed).clamp_min(torch.finfo(observed.dtype).tiny)

    def epsilons(self, noise: Tensor) -> list[float]:
        """For each position, the distance up to which activations count as equal. noise: [rows, tokens].

        One tolerance limit of all noise, for every position.
        """
        return [tolerance_limit(noise.flatten().tolist())] * noise.shape[1]

    def _size(self, rows: Tensor) -> Tensor:
        if self._gram is None:
            return rows.norm(dim=-1)
        return ((rows @ self._gram) * rows).sum(-1).clamp_min(0).sqrt()

    def _unit(self, observed: Tensor) -> Tensor:
        return self._size(observed)


class RoundedActivationDistance(ActivationDistance):
    """Distance from activations that were rounded to eight bits: the largest |x − y|, in steps of the rounding.

    Equal inputs differ by half a step at most. A relative distance would be dominated by the rounding of an attention
    sink's few large numbers.
    """

    least_noise = 2.0 * STEPS  # rounding divides by the step and multiplies again

    def epsilons(self, noise: Tensor) -> list[float]:
        """Half a step plus the tolerance limit of each position's own noise, since steps differ by position."""
        return [0.5 + tolerance_limit(column) for column in noise.T.tolist()]

    def _size(self, rows: Tensor) -> Tensor:
        return rows.abs().amax(-1)

    def _unit(self, observed: Tensor) -> Tensor:
        return self._size(observed) / STEPS


def make_distance(head: Tensor | None, *, int8: bool) -> ActivationDistance:
    """The distance for activations of a stack with this head, or without one. int8: they were rounded to it.

    Raises DeclarationError for rounded logits: hidden states that are read back from them have no steps.
    """
    if not int8:
        return ActivationDistance(head)
    if head is not None:
        got, expected = "logits rounded to 8 bits", "a stack without head"
        remedy = "round hidden states instead"
        raise DeclarationError(explain(who="make_distance", got=got, expected=expected, remedy=remedy))
    return RoundedActivationDistance()


def round_to_bits(hidden: Tensor, bits: int) -> Tensor:
    """Round each position to integers of so many bits times one scale, its largest |number| / (2^(bits − 1) − 1).

    hidden: [..., width]. Returns the same. Source: Dettmers et al. 2022 (vector-wise quantization).
    """
    steps = 2 ** (bits - 1) - 1
    scale = (hidden.abs().amax(-1, keepdim=True) / steps).clamp_min(torch.finfo(hidden.dtype).tiny)
    return (hidden / scale).round() * scale


def round_to_int8(hidden: Tensor) -> Tensor:
    """Round each position to 8-bit integers times one scale, its largest |number| / 127: [..., width]."""
    return round_to_bits(hidden, 8)


def read_back(logits: Tensor, head: Tensor) -> Tensor:
    """The hidden states whose logits come closest: logits [..., outputs], head [outputs, width] → [..., width].

    A head of full column rank determines them; otherwise directions that it does not show are 0.
    """
    inverse = invert_gram(head).matrix
    rows = logits.flatten(0, -2)
    products = torch.cat([(part @ head).double() for part in rows.split(64)])  # [rows, width]
    return (products @ inverse).to(logits.dtype).unflatten(0, logits.shape[:-1])


def read_activations(stack: BlockStack, embeddings: Tensor, *, int8: bool) -> Tensor:
    """What can be observed behind a stack, as hidden states; behind a head, those that its logits determine.

    embeddings: [runs, tokens, d_model], positions included. int8: round hidden states to it.
    Returns [runs, tokens, width].
    """
    hidden = stack(embeddings)
    if stack.head is not None:
        return read_back(hidden @ stack.head.T, stack.head)
    return round_to_int8(hidden) if int8 else hidden


@torch.no_grad()
def measure_noise(
    stack: BlockStack, codec: Codec, ids: Tensor, *, together: int, distance: ActivationDistance | None = None
) -> Tensor:
    """Largest distance between activations of equal inputs over several batch layouts, before any rounding to int8.

    Activations are observed in batches of `together` rows. They are compared with those of smaller batches, and with
    those computed one position after the other, as candidates are checked. ids: random tokens [rows, tokens].
    distance: that of floats by default. Returns [rows, tokens], at least `least_noise` everywhere.
    """
    embeddings = codec.embed(ids) + stack.positions(ids.shape[1])
    observed = torch.cat([read_activations(stack, part, int8=False) for part in embeddings.split(together)])
    distance = distance or ActivationDistance(stack.head)
    least = distance.least_noise * torch.finfo(observed.dtype).eps
    found = [torch.full(ids.shape, least, dtype=observed.dtype, device=observed.device)]
    for size in sorted({*SMALL_BATCHES, together}):
        parts = embeddings.split(size)
        found.append(distance.between(torch.cat([stack(part) for part in parts]), observed))
        outputs = torch.cat([_run_by_position(stack, part) for part in parts])  # [rows, REPEATED, tokens, width]
        found.append(distance.between(outputs, observed[:, None]).amax(1))
    return torch.stack(found).amax(0)


def _run_by_position(stack: BlockStack, embeddings: Tensor) -> Tensor:
    """Outputs computed position by position, with copies of each row: [rows, tokens, d_model] → [rows, REPEATED, …]."""
    prefix, found = Prefix(), list[Tensor]()
    every = torch.arange(len(embeddings), device=embeddings.device)
    for here in embeddings.split(1, dim=1):
        # Keys and values are repeated, and copied once more as they grow: twice their size each.
        width = max(1, NOISE_BYTES // max(1, 2 * REPEATED * prefix.bytes_per_run))
        outputs = [
            NextPosition(stack, prefix.select(rows).repeat(REPEATED))(here[rows].repeat_interleave(REPEATED, dim=0))
            for rows in every.split(width)
        ]
        found.append(torch.cat(outputs).unflatten(0, (len(embeddings), REPEATED)))
        prefix = extend_prefix(stack, prefix, here)
    return torch.cat(found, dim=2)
