"""A stack behind tokens that are settled: one position at a time, with the keys and values of those before it kept.

Causality makes this exact: what a causal stack gives at a position depends on no later one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from engine.models.stacks import BlockStack


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """Keys and values of the settled tokens of each run, by block: [runs, heads, tokens, size] each.

    tokens: how many are settled; 0 has no keys.
    """

    tokens: int = 0
    keys: tuple[Tensor, ...] = ()
    values: tuple[Tensor, ...] = ()

    def select(self, runs: Tensor) -> Prefix:
        """The prefixes of these runs (indices [n], or a mask [runs])."""
        return Prefix(
            tokens=self.tokens,
            keys=tuple(held[runs] for held in self.keys),
            values=tuple(held[runs] for held in self.values),
        )

    def repeat(self, times: int) -> Prefix:
        """Each run's prefix so many times in a row."""
        return Prefix(
            tokens=self.tokens,
            keys=tuple(held.repeat_interleave(times, dim=0) for held in self.keys),
            values=tuple(held.repeat_interleave(times, dim=0) for held in self.values),
        )

    @property
    def bytes_per_run(self) -> int:
        """What one run's keys and values take."""
        return sum(held[0].numel() * held.element_size() for held in (*self.keys, *self.values))

    def fill_cache(self) -> DynamicCache:
        """The library's cache, filled with them. It grows as it is read on from, and these stay as they are."""
        cache = DynamicCache()
        for block, (keys, values) in enumerate(zip(self.keys, self.values, strict=True)):
            cache.update(keys, values, block)
        return cache


@torch.no_grad()
def extend_prefix(stack: BlockStack, prefix: Prefix, embeddings: Tensor) -> Prefix:
    """The prefix with more tokens behind it: embeddings [runs, new tokens, d_model], positions included."""
    cache = prefix.fill_cache()
    stack.read_on(embeddings, cache)
    layers: Any = cache.layers
    return Prefix(
        tokens=prefix.tokens + embeddings.shape[1],
        keys=tuple(layer.keys for layer in layers),
        values=tuple(layer.values for layer in layers),
    )


class NextPosition:
    """The output at the position behind a prefix, as a function of that position's embedding alone.

    It is descended on like any other stack, on embeddings [runs, 1, d_model].
    """

    def __init__(self, stack: BlockStack, prefix: Prefix) -> None:
        self._stack, self._prefix = stack, prefix
        self.head = stack.head

    def __call__(self, embeddings: Tensor) -> Tensor:
        """[runs, 1, d_model] → hidden states [runs, 1, d_model], before the head."""
        return self._stack.read_on(embeddings, self._prefix.fill_cache())

    def positions(self, tokens: int) -> Tensor:
        """What is added to the token embedding at this position: [1, d_model]."""
        return self._stack.positions(self._prefix.tokens + tokens)[self._prefix.tokens :]

    def rows(self, lengths: Tensor, tokens: int) -> Tensor:
        return torch.ones(len(lengths), tokens, dtype=torch.bool, device=lengths.device)
