"""Tokens that share one row of the embedding matrix: nothing behind it can tell them apart."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def find_equal_rows(weight: Tensor) -> tuple[tuple[int, ...], ...]:
    """Groups of two or more tokens whose rows of W [vocab, d_model] are the same number by number, lowest id first."""
    _, group, sizes = torch.unique(weight, dim=0, return_inverse=True, return_counts=True)
    shared = torch.nonzero(sizes[group] > 1)[:, 0].tolist()
    groups: dict[int, list[int]] = {}
    for token, name in zip(shared, group[shared].tolist(), strict=True):
        groups.setdefault(name, []).append(token)
    return tuple(sorted(tuple(tokens) for tokens in groups.values()))


def equal_tokens(groups: tuple[tuple[int, ...], ...]) -> dict[int, tuple[int, ...]]:
    """The other tokens of each token's group."""
    return {token: tuple(i for i in group if i != token) for group in groups for token in group}
