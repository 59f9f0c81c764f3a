"""Distances between outputs, per run, with their gradients.

A head is linear, and its bias cancels in a difference. So the L¹ distance between logits needs only the difference of
hidden states: it goes through the head once, its sign comes back once, and no target logits are stored. That is also
more exact than subtracting two sets of logits. The last layer of a net counts as a head, too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engine.arms.settings import Metric
from engine.models.products import multiply

LOGITS_BYTES = 96 * 2**20
"""Memory limit for one slice of logits: the vocabulary is processed in slices of at most this size."""

CACHED_BYTES, LEAST_CACHED, MOST_CACHED = 1.5 * 2**20, 64, 512
"""On a CPU a slice's part of the head has about this size, so that it stays in the cache for both products.

The other two are the fewest and the most outputs of such a slice.
"""


def sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type in which numbers of `dtype` are added up: float32 for those of two bytes.

    A distance over a vocabulary overflows float16, and an infinite distance would count as divergence.
    """
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def widen(numbers: Tensor) -> Tensor:
    """Numbers in the type for sums, statistics and factorizations: see `sum_dtype`."""
    return numbers.to(sum_dtype(numbers.dtype))


class _HeadL1(torch.autograd.Function):
    """‖W δ‖₁ of each row δ; the gradient Wᵀ sign(W δ) is computed in the same pass over the vocabulary."""

    @staticmethod
    def forward(ctx: Any, delta: Tensor, weight: Tensor, outputs_each: int) -> Tensor:
        distance = delta.new_zeros(len(delta), dtype=sum_dtype(delta.dtype))
        gradient = torch.zeros_like(delta) if delta.requires_grad else None
        for part in weight.split(outputs_each):
            logits = multiply(delta, part)  # [rows, slice]
            distance += logits.abs().sum(-1, dtype=distance.dtype)
            if gradient is not None:
                gradient += multiply(logits.sign_(), part.T)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return distance

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return (grad_outputs[0][:, None] * gradient).to(gradient.dtype), None, None


class DistanceToTarget:
    """Distance of a batch's outputs to its targets, over the rows that belong to each prompt.

    target: [runs, rows, width] before the head; valid: [runs, rows] of bool; head: [outputs, width], or None.
    """

    def __init__(self, target: Tensor, valid: Tensor, head: Tensor | None) -> None:
        self._shape, self._head = valid.shape, head
        if valid.device.type == "meta":
            # Nothing can be counted there, so every row stays.
            self._rows = torch.arange(valid.numel(), device=valid.device)
        else:
            self._rows = torch.nonzero(valid.flatten())[:, 0]
        self._target = target.flatten(0, 1)[self._rows]
        self._gram: Tensor | None = None

    def l1(self, outputs: Tensor) -> Tensor:
        """Σ|O − O*| over all outputs of a run: [runs, rows, width] → [runs]."""
        delta = self._delta(outputs)
        if self._head is None:
            return self._per_run(delta.abs().sum(-1, dtype=sum_dtype(delta.dtype)))
        outputs_each = max(1, LOGITS_BYTES // (max(1, len(delta)) * delta.element_size()))
        if delta.device.type == "cpu":
            cached = int(CACHED_BYTES / (self._head.shape[1] * self._head.element_size()))
            outputs_each = min(outputs_each, max(LEAST_CACHED, min(MOST_CACHED, cached)))
        return self._per_run(_HeadL1.apply(delta, self._head, outputs_each))  # pyright: ignore[reportArgumentType]

    def l2(self, outputs: Tensor) -> Tensor:
        """√Σ(O − O*)² over all outputs of a run: [runs, rows, width] → [runs]."""
        delta = widen(self._delta(outputs))
        if self._head is None:
            return self._per_run(delta.square().sum(-1)).sqrt()
        if len(self._head) <= self._head.shape[1]:
            return self._per_run((delta @ widen(self._head).T).square().sum(-1)).sqrt()
        # ‖U δ‖² = δᵀ(UᵀU)δ: UᵀU is computed once, and each step costs a width × width product.
        if self._gram is None:
            head = widen(self._head)
            self._gram = head.T @ head
        return self._per_run(((delta @ self._gram) * delta).sum(-1)).clamp_min(0).sqrt()

    def measure(self, metric: Metric, outputs: Tensor) -> Tensor:
        """The distance that `metric` names."""
        return self.l1(outputs) if metric == "l1" else self.l2(outputs)

    def _delta(self, outputs: Tensor) -> Tensor:
        return outputs.flatten(0, 1)[self._rows] - self._target

    def _per_run(self, per_row: Tensor) -> Tensor:
        # Each row has its own place, padding included, so that the sum has the same order on every device.
        places = per_row.new_zeros(self._shape.numel())
        return places.index_copy(0, self._rows, per_row).view(self._shape).sum(-1)
