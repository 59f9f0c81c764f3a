"""The document's procedures as one writes them first: one prompt and one seed at a time, a look at every step.

Parameters are frozen, all logits are made, and the distance is read on the host before each step. Nothing here
knows the engine's stacks, distances or loops. Source: equations 1 and 2, and the clamped walk's listing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Output = Callable[[Tensor], Tensor]


def run_blocks(model: Any, blocks: int, *, head: bool) -> Output:
    """The first blocks of a GPT-2, causal, into the head or into nothing: [1, n, d] → [1, n, outputs]."""

    def output(e: Tensor) -> Tensor:
        tokens = e.shape[1]
        mask = torch.full((tokens, tokens), float("-inf")).triu(1)[None, None]
        for block in model.transformer.h[:blocks]:
            e = block(e, attention_mask=mask)
        return model.lm_head(e) if head else e

    return output


def descend_each(output: Output, target: Tensor, start: Tensor, *, step: float, iterations: int) -> Tensor:
    """L¹ distances of every run at every iteration: target, start [runs, n, d] → [iterations + 1, runs]."""
    runs = zip(target.split(1), start.split(1), strict=True)
    return torch.tensor([_descend(output, *run, step, iterations) for run in runs]).T


def _descend(output: Output, target: Tensor, start: Tensor, step: float, iterations: int) -> list[float]:
    with torch.no_grad():
        wanted = output(target)
    e, distances = start, list[float]()
    for n in range(iterations + 1):
        e = e.detach().requires_grad_(True)
        distance = (output(e) - wanted).abs().sum()
        distances.append(distance.item())
        if n < iterations:
            distance.backward()
            assert e.grad is not None
            e = e - step * (1 - 0.9 * n / iterations) * e.grad
    return distances


def walk_each(
    output: Output, target: Tensor, draws: list[tuple[Tensor, Tensor]], *, noise: float, step: float
) -> Tensor:
    """Where each clamped walk ends, one descent step after each shift: target [walks, n, d] → the same.

    draws: index [walks] and noise [walks, n, d] of each shift.
    """
    return torch.cat([_walk(output, one, draws, walk, noise, step) for walk, one in enumerate(target.split(1))])


def _walk(
    output: Output, target: Tensor, draws: list[tuple[Tensor, Tensor]], walk: int, noise: float, step: float
) -> Tensor:
    with torch.no_grad():
        wanted = output(target)
    e = target.clone()
    for index, drawn in draws:
        first = int(index[walk])
        e[..., first:] += noise * drawn[walk, :, first:]
        e = e.requires_grad_(True)
        distance = (output(e) - wanted).abs().sum()
        distance.item()
        distance.backward()
        gradient = e.grad
        assert gradient is not None
        e = e.detach().clone()
        e[..., :first] -= step * gradient[..., :first]
    return e


def scan_rows(weight: Tensor, factor: Tensor, rows: int = 1024) -> Tensor:
    """Ids of the tokens that do not decode to themselves, by the whole product: weight [vocab, d], factor [d, d]."""
    found = torch.cat([(part @ factor @ weight.T).argmax(-1) for part in weight.split(rows)])
    return torch.nonzero(found != torch.arange(len(weight)))[:, 0]
