"""When activations are the same: relative distances, the noise of floats, and what a logit says of a hidden state."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.blocks import BlockStack
from engine.codec import Codec, invert_gram
from engine.prefix import NextPosition, Prefix, settle
from engine.statistics.tolerance import tolerance_limit

ROWS_TOGETHER = (1, 3)
"""Rows at a time beside as many as are sought together: the last rows of a batch go through other kernels."""

REPEATED = 32
"""How often each row stands in a batch of one position, as many as the candidates of a first window."""


class Likeness:
    """‖x − y‖₂ / ‖y‖₂ of activations; behind a head the same of its logits, without its bias."""

    def __init__(self, head: Tensor | None) -> None:
        # ‖U δ‖² = δᵀ(UᵀU)δ: exact for the difference, and no logits are made.
        self._gram = None if head is None else head.T @ head

    def distance(self, outputs: Tensor, seen: Tensor) -> Tensor:
        """Distances of outputs [..., width] from what was seen [..., width] → [...]."""
        # What is nothing at all equals nothing alone.
        return self._size(outputs - seen) / self._size(seen).clamp_min(torch.finfo(seen.dtype).tiny)

    def _size(self, rows: Tensor) -> Tensor:
        if self._gram is None:
            return rows.norm(dim=-1)
        return ((rows @ self._gram) * rows).sum(-1).clamp_min(0).sqrt()


def round_to_int8(hidden: Tensor) -> Tensor:
    """Each position's numbers as 8-bit integers times one scale, its largest |number| / 127: [..., width].

    Source: Dettmers et al. 2022 (vector-wise quantization).
    """
    scale = (hidden.abs().amax(-1, keepdim=True) / 127).clamp_min(torch.finfo(hidden.dtype).tiny)
    return (hidden / scale).round() * scale


def read_back(logits: Tensor, head: Tensor) -> Tensor:
    """The hidden states whose logits come closest: logits [..., outputs], head [outputs, width] → [..., width].

    A head of full column rank gives them exactly; otherwise what it does not show stays 0.
    """
    inverse = invert_gram(head).matrix
    rows = logits.flatten(0, -2)
    products = torch.cat([(part @ head).double() for part in rows.split(64)])  # [rows, width]
    return (products @ inverse).to(logits.dtype).unflatten(0, logits.shape[:-1])


def observe(stack: BlockStack, embeddings: Tensor, *, int8: bool) -> Tensor:
    """What is seen behind a stack, as hidden states: of a stack with head only its logits are looked at.

    embeddings: [runs, tokens, d_model], positions included. int8: rounded to it. Returns [runs, tokens, width].
    """
    hidden = stack(embeddings)
    seen = hidden if stack.head is None else hidden @ stack.head.T
    seen = round_to_int8(seen) if int8 else seen
    return seen if stack.head is None else read_back(seen, stack.head)


@torch.no_grad()
def measure_noise(stack: BlockStack, codec: Codec, ids: Tensor, *, together: int, int8: bool = False) -> Tensor:
    """Largest relative distance of equal inputs' activations in several batch layouts.

    Rows as they are seen, whole and `together` at a time, are held against fewer at a time, and against one position
    after the other in batches as candidates are checked. ids: random tokens [rows, tokens]. Returns [rows, tokens],
    each at least the spacing of floats at 1.
    """
    embeddings = codec.embed(ids) + stack.positions(ids.shape[1])
    seen = torch.cat([observe(stack, part, int8=int8) for part in embeddings.split(together)])
    likeness, sizes = Likeness(stack.head), sorted({*ROWS_TOGETHER, together})
    found = [torch.full(ids.shape, torch.finfo(seen.dtype).eps, dtype=seen.dtype, device=seen.device)]
    for size in sizes:
        parts = embeddings.split(size)
        found.append(likeness.distance(torch.cat([stack(part) for part in parts]), seen))
        outputs = torch.cat([_read_in_turn(stack, part) for part in parts])  # [rows, repeated, tokens, width]
        found.append(likeness.distance(outputs, seen[:, None]).amax(1))
    return torch.stack(found).amax(0)


def _read_in_turn(stack: BlockStack, embeddings: Tensor) -> Tensor:
    """Position by position, each row repeated: [rows, tokens, d_model] → [rows, repeated, tokens, width]."""
    prefix, found = Prefix(), list[Tensor]()
    for here in embeddings.split(1, dim=1):
        outputs = NextPosition(stack, prefix.repeat(REPEATED))(here.repeat_interleave(REPEATED, dim=0))
        found.append(outputs.unflatten(0, (len(embeddings), REPEATED)))
        prefix = settle(stack, prefix, here)
    return torch.cat(found, dim=2)


def find_epsilon(noise: Tensor) -> float:
    """Relative distance up to which activations count as equal: a tolerance limit of the noise [rows, tokens]."""
    return tolerance_limit(noise.flatten().tolist())
