"""Distances between outputs, per run, with their gradients.

A head is linear and its bias cancels in a difference, so the L¹ distance between logits needs only the
difference of hidden states: it goes through the head once, the sign comes back once, and no target logits are
kept. That is also more exact than subtracting two sets of logits. The last layer of a net is a head too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engine.arms.settings import Metric

LOGITS_BYTES = 96 * 2**20
"""Most memory for one slice of logits; the vocabulary is walked in slices of this size."""

CACHED_BYTES, LEAST_CACHED, MOST_CACHED = 1.5 * 2**20, 64, 512
"""A slice's part of the head on a CPU, which then is in the cache for both passes; outputs of a slice, both ends."""


def widen(numbers: Tensor) -> Tensor:
    """Numbers as sums, statistics and factorizations take them: of two bytes in float32, others as they are."""
    return numbers.to(wide(numbers.dtype))


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type in which numbers of `dtype` are added up.

    A distance over a vocabulary is more than float16 holds, and would hit any bound that is so, too.
    """
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


class _HeadL1(torch.autograd.Function):
    """‖W δ‖₁ for each row δ, with the gradient Wᵀ sign(W δ) made in the same pass over the vocabulary."""

    @staticmethod
    def forward(ctx: Any, delta: Tensor, weight: Tensor, room: Tensor) -> Tensor:
        distance = delta.new_zeros(len(delta), dtype=wide(delta.dtype))
        gradient = torch.zeros_like(delta) if delta.requires_grad else None
        for part in weight.split(room.shape[1] // max(1, len(delta))):
            logits, sizes = room[:, : len(delta) * len(part)].unflatten(1, (len(delta), len(part)))
            torch.mm(delta, part.T, out=logits)  # [rows, slice]
            distance += torch.abs(logits, out=sizes).sum(-1, dtype=distance.dtype)
            if gradient is not None:
                gradient.addmm_(logits.sign_(), part)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return distance

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return (grad_outputs[0][:, None] * gradient).to(gradient.dtype), None, None


class DistanceToTarget:
    """Distance of a batch's outputs to its targets over the rows that belong to each prompt.

    target: [runs, rows, width] before the head; valid: [runs, rows] of bool; head: [outputs, width], or None.
    """

    def __init__(self, target: Tensor, valid: Tensor, head: Tensor | None) -> None:
        self._valid, self._head = valid, head
        self._where = torch.nonzero(valid.flatten())[:, 0] if valid.device.type != "meta" else _all_rows(valid)
        self._target = target.flatten(0, 1)[self._where]
        self._gram: Tensor | None = None
        self._room: Tensor | None = None

    def l1(self, outputs: Tensor) -> Tensor:
        """Σ|O − O*| over every output of the run: [runs, rows, width] → [runs]."""
        delta = self._delta(outputs)
        if self._head is None:
            return self._per_run(delta.abs().sum(-1, dtype=wide(delta.dtype)))
        if self._room is None:
            self._room = _make_room(delta, self._head)
        return self._per_run(_HeadL1.apply(delta, self._head, self._room))  # pyright: ignore[reportArgumentType]

    def l2(self, outputs: Tensor) -> Tensor:
        """√Σ(O − O*)² over every output of the run: [runs, rows, width] → [runs]."""
        delta = widen(self._delta(outputs))
        if self._head is not None:
            if len(self._head) <= self._head.shape[1]:
                return self._per_run((delta @ widen(self._head).T).square().sum(-1)).sqrt()
            # ‖U δ‖² = δᵀ(UᵀU)δ: a width × width product at every step, and UᵀU once.
            if self._gram is None:
                head = widen(self._head)
                self._gram = head.T @ head
            return self._per_run(((delta @ self._gram) * delta).sum(-1)).clamp_min(0).sqrt()
        return self._per_run(delta.square().sum(-1)).sqrt()

    def measure(self, metric: Metric, outputs: Tensor) -> Tensor:
        """The distance called `metric`."""
        return self.l1(outputs) if metric == "l1" else self.l2(outputs)

    def _delta(self, outputs: Tensor) -> Tensor:
        return outputs.flatten(0, 1)[self._where] - self._target

    def _per_run(self, per_row: Tensor) -> Tensor:
        # Each row has a place of its own, so that the sum has one order on every device.
        places = per_row.new_zeros(self._valid.numel())
        return places.index_copy(0, self._where, per_row).view(self._valid.shape).sum(-1)


def _make_room(delta: Tensor, weight: Tensor) -> Tensor:
    """Room for one slice of logits and their sizes, kept from step to step: fresh memory costs as much as a pass."""
    rows = max(1, len(delta))
    tokens = max(1, LOGITS_BYTES // (rows * delta.element_size()))
    if delta.device.type == "cpu":
        cached = int(CACHED_BYTES / (weight.shape[1] * weight.element_size()))
        tokens = min(tokens, max(LEAST_CACHED, min(MOST_CACHED, cached)))
    return delta.new_empty(2, rows * min(tokens, len(weight)))


def _all_rows(valid: Tensor) -> Tensor:
    """On the meta device nothing can be counted: every row stands for itself."""
    return torch.arange(valid.numel(), device=valid.device)
