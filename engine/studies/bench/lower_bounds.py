"""The lower bounds: only the matrix products that a step cannot do without, back to back, by the fastest way we know.

Products of the forward and the input-backward pass only, each in the faster of its two orders; no bias, activation,
norm or loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from engine.models.products import multiply

Product = Callable[[], Tensor]
Passes = tuple[list[Product], list[Product]]
"""Products of the forward pass, and of the backward pass."""


class ProductLists:
    """The products of one piece of work, in their order. Products of one shape share their operands and outputs."""

    def __init__(self) -> None:
        self.forward: list[Product] = []
        self.backward: list[Product] = []
        self._buffers: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def add_layer(self, weight: Tensor, rows: int) -> None:
        """x ↦ x W for W [inputs, outputs], and its input-backward."""
        inputs, outputs = weight.shape
        self.forward.append(self._multiply(self._buffer("in", rows, inputs), weight))
        self.backward.append(self._multiply(self._buffer("in", rows, outputs), weight.T))

    def add_layer_of_few_rows(self, weight: Tensor, rows: int) -> None:
        """x ↦ x Wᵀ for W [outputs, inputs], with W as the left factor: that order is faster for few rows."""
        outputs, inputs = weight.shape
        self.forward.append(self._multiply(weight, self._buffer("in", inputs, rows)))
        self.backward.append(self._multiply(weight.T, self._buffer("in", outputs, rows)))

    def add_attention(self, batch: int, tokens: int, width: int) -> None:
        """Scores and mix of `batch` = runs × heads, and the two backward products of each."""
        vectors = self._buffer("in", batch, tokens, width)
        scores = self._multiply(vectors, vectors.mT)
        mix = self._multiply(self._buffer("in", batch, tokens, tokens), vectors)
        self.forward += [scores, mix]
        # The gradients of both factors of the mix and of the scores: one has the scores' shape, three the mix's.
        self.backward += [scores, mix, mix, mix]

    def _multiply(self, left: Tensor, right: Tensor) -> Product:
        if right.ndim == 2:
            return partial(multiply, left, right.T)
        return partial(torch.bmm, left, right, out=self._buffer("out", *left.shape[:-1], right.shape[-1]))

    def _buffer(self, use: str, *shape: int) -> Tensor:
        if (use, shape) not in self._buffers:
            self._buffers[use, shape] = torch.randn(shape)
        return self._buffers[use, shape]


def list_gpt2_products(model: Any, blocks: int, *, head: bool, runs: int, tokens: int) -> Passes:
    """Products of the first blocks of a GPT-2 and, last, of its head, on runs × tokens rows without padding."""
    products = ProductLists()
    heads, width = model.config.n_head, model.config.n_embd // model.config.n_head
    for block in model.transformer.h[:blocks]:
        products.add_layer(block.attn.c_attn.weight, runs * tokens)
        products.add_attention(runs * heads, tokens, width)
        for layer in (block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj):
            products.add_layer(layer.weight, runs * tokens)
    if head:
        products.add_layer(model.lm_head.weight.T, runs * tokens)
    return products.forward, products.backward


def list_linear_products(weights: Iterable[Tensor], rows: int) -> Passes:
    """Products of successive linear layers whose weights are [outputs, inputs]."""
    products = ProductLists()
    for weight in weights:
        products.add_layer_of_few_rows(weight, rows)
    return products.forward, products.backward


def run_descent_products(
    target: list[Product], forward: list[Product], backward: list[Product], iterations: int
) -> None:
    """A descent's products: the target's output, N steps forward and backward, and the last distance."""
    for product in (*target, *(forward + backward) * iterations, *forward):
        product()


def run_scan_products(weight: Tensor, side: int) -> None:
    """Each row's product with the rows up to the end of its own block, in squares: the fastest layout we found."""
    for first in range(0, len(weight), side):
        block = weight[first : first + side]
        for part in weight[: first + side].split(side):
            multiply(block, part)
