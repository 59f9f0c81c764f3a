"""Products of matrices in float32 on a CPU, through oneDNN.

PyTorch hands them to MKL, which leaves half of a vector unit idle on a CPU that Intel did not make. oneDNN, in the same
build of PyTorch, uses all of it on any CPU. Both add in float32, so results differ by rounding.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

LEAST_PRODUCT = 2**20
"""Multiplications from which a product is worth the detour."""


def multiply(rows: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """rows · matrixᵀ + bias: [..., width], [outputs, width] → [..., outputs]."""
    if not _pays(rows, matrix):
        return nn.functional.linear(rows, matrix, bias)
    return torch.ops.mkldnn._linear_pointwise(rows, matrix, bias, "none", [], "")


def quicken(model: nn.Module) -> None:
    """Let every plain linear layer of a model multiply through `multiply`. Its weights and its output stay the same."""
    for layer in model.modules():
        # A subclass may do more than a product, as an int8 layer does.
        if type(layer) is nn.Linear:
            layer.__class__ = _Linear
        elif type(layer) is Conv1D:
            layer.__class__ = _Conv1D


class _Linear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        if not _pays(input, self.weight):
            return super().forward(input)
        return _Product.apply(input, self.weight, self.bias)  # pyright: ignore[reportReturnType]


class _Conv1D(Conv1D):
    """GPT-2's linear layer, whose matrix lies the other way round: [width, outputs]."""

    def forward(self, x: Tensor) -> Tensor:
        if not _pays(x, self.weight):
            return super().forward(x)
        return _Product.apply(x, self.weight.T, self.bias)  # pyright: ignore[reportReturnType]


class _Product(torch.autograd.Function):
    """`multiply` with its gradients, of which oneDNN's operator has none."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows if matrix.requires_grad else None, matrix)
        return multiply(rows, matrix, bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (gradient,), (rows, matrix) = grad_outputs, ctx.saved_tensors
        for_rows, for_matrix, for_bias = ctx.needs_input_grad
        flat = gradient.flatten(0, -2)
        return (
            multiply(gradient, matrix.T) if for_rows else None,
            multiply(flat.T, rows.flatten(0, -2).T) if for_matrix else None,
            flat.sum(0) if for_bias else None,
        )


def _pays(rows: Tensor, matrix: Tensor) -> bool:
    if rows.device.type != "cpu" or rows.dtype != torch.float32 or matrix.dtype != torch.float32 or not has_onednn():
        return False
    return rows.numel() // max(1, rows.shape[-1]) * matrix.numel() >= LEAST_PRODUCT


@cache
def has_onednn() -> bool:
    """Whether this build of PyTorch has oneDNN's operator, whose name is not documented."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
