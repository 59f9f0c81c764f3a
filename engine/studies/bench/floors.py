"""What no implementation can do without: the matrix products of a step, back to back, outputs made beforehand.

Forward and input-backward only, each in the faster of the two orders; no bias, no activation, no norm, no loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

Product = Callable[[], Tensor]


class Products:
    """Lists of products that share their operands and outputs by shape."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def layer(self, weight: Tensor, rows: int) -> tuple[list[Product], list[Product]]:
        """Forward and input-backward of x ↦ x W for W [inputs, outputs]."""
        inputs, outputs = weight.shape
        return [self._multiply((rows, inputs), weight)], [self._multiply((rows, outputs), weight.T)]

    def few_rows(self, weight: Tensor, rows: int) -> tuple[list[Product], list[Product]]:
        """Forward and input-backward of x ↦ x Wᵀ for W [outputs, inputs] as the left factor: faster for few rows."""
        outputs, inputs = weight.shape
        forward = self._multiply_by(weight, (inputs, rows))
        return [forward], [self._multiply_by(weight.T, (outputs, rows))]

    def attention(self, batch: int, tokens: int, width: int) -> tuple[list[Product], list[Product]]:
        """Scores and mix of `batch` = runs × heads, and the two products behind each."""
        scores = self._multiply((batch, tokens, width), self._buffer("in", (batch, tokens, width)).mT)
        mix = self._multiply((batch, tokens, tokens), self._buffer("in", (batch, tokens, width)))
        return [scores, mix], [scores, mix, mix, mix]

    def _multiply(self, left: tuple[int, ...], right: Tensor) -> Product:
        out = self._buffer("out", (*left[:-1], right.shape[-1]))
        return partial(torch.mm if right.ndim == 2 else torch.bmm, self._buffer("in", left), right, out=out)

    def _multiply_by(self, left: Tensor, right: tuple[int, ...]) -> Product:
        out = self._buffer("out", (len(left), right[1]))
        return partial(torch.mm, left, self._buffer("in", right), out=out)

    def _buffer(self, use: str, shape: tuple[int, ...]) -> Tensor:
        if (use, shape) not in self._buffers:
            self._buffers[use, shape] = torch.randn(shape)
        return self._buffers[use, shape]


def list_gpt2(model: Any, blocks: int, *, head: bool, runs: int, tokens: int) -> tuple[list[Product], list[Product]]:
    """Products of the first blocks of a GPT-2, and of the head last, on runs × tokens rows without padding."""
    products, forward, backward = Products(), list[Product](), list[Product]()
    heads, width = model.config.n_head, model.config.n_embd // model.config.n_head
    for block in model.transformer.h[:blocks]:
        layers = (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj)
        parts = [products.layer(layer.weight, runs * tokens) for layer in layers]
        parts.insert(1, products.attention(runs * heads, tokens, width))
        _extend(forward, backward, parts)
    if head:
        _extend(forward, backward, [products.layer(model.lm_head.weight.T, runs * tokens)])
    return forward, backward


def list_layers(weights: Iterable[Tensor], rows: int) -> tuple[list[Product], list[Product]]:
    """Products of linear layers whose weights are [outputs, inputs], one after the other."""
    products, forward, backward = Products(), list[Product](), list[Product]()
    _extend(forward, backward, [products.few_rows(weight, rows) for weight in weights])
    return forward, backward


def _extend(
    forward: list[Product], backward: list[Product], parts: Iterable[tuple[list[Product], list[Product]]]
) -> None:
    for there, back in parts:
        forward += there
        backward += back


def descend_only_products(
    body: list[Product], forward: list[Product], backward: list[Product], iterations: int
) -> None:
    """A descent's products: the target through the body, N steps there and back, and the last look."""
    for product in (*body, *(forward + backward) * iterations, *forward):
        product()


def scan_only_half(weight: Tensor, side: int) -> None:
    """Each row's product with the rows up to its own block, in squares: the fastest layout that was found."""
    room = weight.new_empty(min(side, len(weight)) ** 2)
    for first in range(0, len(weight), side):
        block = weight[first : first + side]
        for part in weight[: first + side].split(side):
            torch.mm(block, part.T, out=room[: len(block) * len(part)].view(len(block), len(part)))
