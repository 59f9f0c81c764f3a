"""The reference: the document's procedures written directly, one prompt and one seed at a time.

Parameters are frozen, all logits are computed, and the host reads the distance before each step. Nothing here uses the
engine's stacks, distances or loops. Source: equations 1 and 2, and the clamped walk's listing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Output = Callable[[Tensor], Tensor]


def run_blocks(model: Any, blocks: int, *, head: bool) -> Output:
    """The first blocks of a GPT-2, causal, with or without its head: [1, n, d] → [1, n, outputs]."""

    def output(e: Tensor) -> Tensor:
        tokens = e.shape[1]
        mask = torch.full((tokens, tokens), float("-inf")).triu(1)[None, None]
        for block in model.transformer.h[:blocks]:
            e = block(e, attention_mask=mask)
        return model.lm_head(e) if head else e

    return output


def descend_each(output: Output, targets: Tensor, starts: Tensor, *, step: float, iterations: int) -> Tensor:
    """L¹ distances of every run at every iteration: targets, starts [runs, n, d] → [iterations + 1, runs]."""
    distances: list[list[float]] = []
    for target, e in zip(targets.split(1), starts.split(1), strict=True):
        with torch.no_grad():
            target_output = output(target)
        distances.append([])
        for n in range(iterations + 1):
            e = e.detach().requires_grad_(True)
            distance = (output(e) - target_output).abs().sum()
            distances[-1].append(distance.item())
            if n < iterations:
                distance.backward()
                assert e.grad is not None
                e = e - step * (1 - 0.9 * n / iterations) * e.grad
    return torch.tensor(distances).T


def walk_each(
    output: Output, targets: Tensor, draws: Sequence[tuple[Tensor, Tensor]], *, noise: float, step: float
) -> Tensor:
    """Where each clamped walk ends, with one descent step after each shift: targets [walks, n, d] → the same shape.

    draws: index [walks] and noise [walks, n, d] of each shift.
    """
    ends: list[Tensor] = []
    for walk, target in enumerate(targets.split(1)):
        with torch.no_grad():
            target_output = output(target)
        e = target.clone()
        for index, drawn in draws:
            # The shift moves the entries from `first` on; the descent step then corrects those before it.
            first = int(index[walk])
            e[..., first:] += noise * drawn[walk, :, first:]
            e = e.requires_grad_(True)
            distance = (output(e) - target_output).abs().sum()
            distance.item()
            distance.backward()
            gradient = e.grad
            assert gradient is not None
            e = e.detach().clone()
            e[..., :first] -= step * gradient[..., :first]
        ends.append(e)
    return torch.cat(ends)


def scan_rows(weight: Tensor, factor: Tensor, rows: int = 1024) -> Tensor:
    """Ids of the tokens that do not decode to themselves, from all products: weight [vocab, d], factor [d, d]."""
    decoded = torch.cat([(part @ factor @ weight.T).argmax(-1) for part in weight.split(rows)])
    return torch.nonzero(decoded != torch.arange(len(weight)))[:, 0]
