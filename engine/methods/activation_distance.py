"""When activations are the same: relative distances, the noise of floats, and what a logit says of a hidden state."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.errors import DeclarationError, explain
from engine.models.codec import Codec
from engine.models.kv_prefix import NextPosition, Prefix, extend_prefix
from engine.models.pseudo_inverse import invert_gram
from engine.models.stacks import BlockStack
from engine.statistics.tolerance import tolerance_limit

ROWS_TOGETHER = (1, 3)
"""Rows at a time beside as many as are sought together: the last rows of a batch go through other kernels."""

REPEATED = 32
"""How often each row stands in a batch of one position, as many as the candidates of a first window."""

NOISE_BYTES = 256 * 2**20
"""Most memory that repeated prefixes take at once."""

STEPS = 127
"""Steps of eight bits between 0 and the largest of a position's numbers."""


class ActivationDistance:
    """How far activations lie from those that were seen: ‖x − y‖₂ / ‖y‖₂.

    Behind a head the same of its logits, without its bias.
    """

    least_noise = 1.0
    """Noise that is taken for granted, in spacings of floats at 1."""

    def __init__(self, head: Tensor | None = None) -> None:
        # ‖U δ‖² = δᵀ(UᵀU)δ: exact for the difference, and no logits are made.
        self._gram = None if head is None else head.T @ head

    def distance(self, outputs: Tensor, seen: Tensor) -> Tensor:
        """Distances of outputs [..., width] from what was seen [..., width] → [...]."""
        # What is nothing at all equals nothing alone.
        return self._size(outputs - seen) / self._unit(seen).clamp_min(torch.finfo(seen.dtype).tiny)

    def limits(self, noise: Tensor) -> list[float]:
        """Distances up to which activations count as equal, by position; one for all.

        The tolerance limit of noise [rows, tokens].
        """
        return [tolerance_limit(noise.flatten().tolist())] * noise.shape[1]

    def _size(self, rows: Tensor) -> Tensor:
        if self._gram is None:
            return rows.norm(dim=-1)
        return ((rows @ self._gram) * rows).sum(-1).clamp_min(0).sqrt()

    def _unit(self, seen: Tensor) -> Tensor:
        return self._size(seen)


class RoundedActivationDistance(ActivationDistance):
    """The same of activations that were rounded to eight bits: the largest |x − y|, in steps of the rounding.

    Equal inputs lie half a step apart at most. A relative distance would see the rounding of an attention sink's few
    large numbers and nothing else.
    """

    least_noise = 2.0 * STEPS  # numbers are divided by a step and multiplied again

    def limits(self, noise: Tensor) -> list[float]:
        """Half a step and the tolerance limit of each position's own noise, which differs as their steps do."""
        return [0.5 + tolerance_limit(column) for column in noise.T.tolist()]

    def _size(self, rows: Tensor) -> Tensor:
        return rows.abs().amax(-1)

    def _unit(self, seen: Tensor) -> Tensor:
        return self._size(seen) / STEPS


def make_distance(head: Tensor | None, *, int8: bool) -> ActivationDistance:
    """How what is seen is compared, of a stack with this head.

    Raises DeclarationError for rounded logits: what is read back from them is not rounded in steps.
    """
    if not int8:
        return ActivationDistance(head)
    if head is not None:
        got, expected = "logits rounded to 8 bits", "a stack without head"
        raise DeclarationError(explain(who="liken", got=got, expected=expected, remedy="round hidden states instead"))
    return RoundedActivationDistance()


def round_to_int8(hidden: Tensor) -> Tensor:
    """Each position's numbers as 8-bit integers times one scale, its largest |number| / 127: [..., width].

    Source: Dettmers et al. 2022 (vector-wise quantization).
    """
    scale = (hidden.abs().amax(-1, keepdim=True) / STEPS).clamp_min(torch.finfo(hidden.dtype).tiny)
    return (hidden / scale).round() * scale


def read_back(logits: Tensor, head: Tensor) -> Tensor:
    """The hidden states whose logits come closest: logits [..., outputs], head [outputs, width] → [..., width].

    A head of full column rank gives them exactly; otherwise what it does not show stays 0.
    """
    inverse = invert_gram(head).matrix
    rows = logits.flatten(0, -2)
    products = torch.cat([(part @ head).double() for part in rows.split(64)])  # [rows, width]
    return (products @ inverse).to(logits.dtype).unflatten(0, logits.shape[:-1])


def read_activations(stack: BlockStack, embeddings: Tensor, *, int8: bool) -> Tensor:
    """What is seen behind a stack, as hidden states: of a stack with head only its logits are looked at.

    embeddings: [runs, tokens, d_model], positions included. int8: hidden states rounded to it.
    Returns [runs, tokens, width].
    """
    hidden = stack(embeddings)
    if stack.head is not None:
        return read_back(hidden @ stack.head.T, stack.head)
    return round_to_int8(hidden) if int8 else hidden


@torch.no_grad()
def measure_noise(
    stack: BlockStack, codec: Codec, ids: Tensor, *, together: int, likeness: ActivationDistance | None = None
) -> Tensor:
    """Largest distance of equal inputs' activations, before any rounding, in several batch layouts.

    Rows as they are seen, whole and `together` at a time, are held against fewer at a time, and against one position
    after the other in batches as candidates are checked. ids: random tokens [rows, tokens]. likeness: of floats unless
    given. Returns [rows, tokens], each at least the spacing of floats at 1 (of the largest number, in steps).
    """
    embeddings = codec.embed(ids) + stack.positions(ids.shape[1])
    seen = torch.cat([read_activations(stack, part, int8=False) for part in embeddings.split(together)])
    likeness, sizes = likeness or ActivationDistance(stack.head), sorted({*ROWS_TOGETHER, together})
    least = likeness.least_noise * torch.finfo(seen.dtype).eps
    found = [torch.full(ids.shape, least, dtype=seen.dtype, device=seen.device)]
    for size in sizes:
        parts = embeddings.split(size)
        found.append(likeness.distance(torch.cat([stack(part) for part in parts]), seen))
        outputs = torch.cat([_read_in_turn(stack, part) for part in parts])  # [rows, repeated, tokens, width]
        found.append(likeness.distance(outputs, seen[:, None]).amax(1))
    return torch.stack(found).amax(0)


def _read_in_turn(stack: BlockStack, embeddings: Tensor) -> Tensor:
    """Position by position, each row repeated: [rows, tokens, d_model] → [rows, repeated, tokens, width]."""
    prefix, found = Prefix(), list[Tensor]()
    every = torch.arange(len(embeddings), device=embeddings.device)
    for here in embeddings.split(1, dim=1):
        # Keys and values are repeated, and copied once more as they grow.
        width = max(1, NOISE_BYTES // max(1, 2 * REPEATED * prefix.bytes_per_run))
        outputs = [
            NextPosition(stack, prefix.select(rows).repeat(REPEATED))(here[rows].repeat_interleave(REPEATED, dim=0))
            for rows in every.split(width)
        ]
        found.append(torch.cat(outputs).unflatten(0, (len(embeddings), REPEATED)))
        prefix = extend_prefix(stack, prefix, here)
    return torch.cat(found, dim=2)
