"""The keys and values of tokens that are already found, so that a stack can be run on the next position alone.

This is exact: the output of a causal stack at a position depends on no later position.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from engine.models.stacks import BlockStack


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """Keys and values of the first tokens of each run, one tensor [runs, heads, tokens, size] for each block.

    tokens: how many there are; with 0 there are no keys and values.
    """

    tokens: int = 0
    keys: tuple[Tensor, ...] = ()
    values: tuple[Tensor, ...] = ()

    def select(self, runs: Tensor) -> Prefix:
        """The prefixes of these runs (indices [n], or a mask [runs])."""
        return self._map(lambda held: held[runs])

    def repeat(self, times: int) -> Prefix:
        """The prefix of each run so many times in a row."""
        return self._map(lambda held: held.repeat_interleave(times, dim=0))

    def expand(self, runs: int, first: int = 1) -> Prefix:
        """The prefix of a single run for so many runs, as views. first: blocks before it keep a single run."""

        def widen(held: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (*held[: first - 1], *(one.expand(runs, -1, -1, -1) for one in held[first - 1 :]))

        return Prefix(tokens=self.tokens, keys=widen(self.keys), values=widen(self.values))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Prefix:
        return Prefix(tokens=self.tokens, keys=tuple(map(change, self.keys)), values=tuple(map(change, self.values)))

    @property
    def bytes_per_run(self) -> int:
        """Bytes of one run's keys and values."""
        return sum(held[0].numel() * held.element_size() for held in (*self.keys, *self.values))

    def fill_cache(self) -> DynamicCache:
        """A new cache of transformers', filled with them. A stack extends the cache and leaves the prefix as it is."""
        cache = DynamicCache()
        for block, (keys, values) in enumerate(zip(self.keys, self.values, strict=True)):
            cache.update(keys, values, block)
        return cache


@torch.no_grad()
def extend_prefix(stack: BlockStack, prefix: Prefix, embeddings: Tensor) -> Prefix:
    """The prefix extended by more tokens: embeddings [runs, new tokens, d_model], positions included."""
    cache = prefix.fill_cache()
    stack.run(embeddings, cache)
    layers: Any = cache.layers
    return Prefix(
        tokens=prefix.tokens + embeddings.shape[1],
        keys=tuple(layer.keys for layer in layers),
        values=tuple(layer.values for layer in layers),
    )


class NextPosition:
    """The output of a stack at the position behind a prefix, as a function of that position's embedding alone.

    It can be inverted like any other stack, with embeddings [runs, 1, d_model].
    """

    def __init__(self, stack: BlockStack, prefix: Prefix) -> None:
        self._stack, self._prefix = stack, prefix
        self.head = stack.head

    def __call__(self, embeddings: Tensor) -> Tensor:
        """[runs, 1, d_model] → hidden states [runs, 1, d_model], before the head."""
        return self._stack.run(embeddings, self._prefix.fill_cache())

    def positions(self, tokens: int) -> Tensor:
        """The vector that is added to the token embedding at this position: [1, d_model]."""
        return self._stack.positions(self._prefix.tokens + tokens)[self._prefix.tokens :]

    def rows(self, lengths: Tensor, tokens: int) -> Tensor:
        return torch.ones(len(lengths), tokens, dtype=torch.bool, device=lengths.device)
