"""The nearest token to activations with noise: how much of it, in which direction, still gives the right one.

Source: Nikolaou et al. 2025 (arXiv 2510.15511), theorem 3.2: noise below half the margin changes no nearest token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.methods.activation_distance import round_to_bits


@dataclass(frozen=True, kw_only=True)
class NoisyPosition:
    """What is found at one position. Distances are L², as long as the activations are.

    margin: to the nearest other token's activations []. runner_up: that token []. own_distance: to the own token's [].
    random, toward: the nearest token under noise in the given direction, and toward the runner-up [noises].
    rounded: the nearest token to rounded activations [bits]. rounding: length of what rounding changes [bits].
    """

    margin: Tensor
    runner_up: Tensor
    own_distance: Tensor
    random: Tensor
    toward: Tensor
    rounded: Tensor
    rounding: Tensor


def decode_under_noise(
    outputs: Tensor,
    hidden: Tensor,
    direction: Tensor,
    *,
    token: int,
    equal_tokens: Sequence[int],
    noises: Sequence[float],
    bits: Sequence[int],
) -> NoisyPosition:
    """The nearest token to a position's activations with noise of several sizes and kinds.

    outputs: every token's activations [vocab, width]. hidden: those observed [width]. direction: of the noise, of
    length 1 [width]. token: the position's own. equal_tokens: others with its row of W, which are no candidates.
    noises: lengths of the noise, in multiples of the margin. bits: to round to.
    """
    distances = (outputs - hidden).norm(dim=-1)  # [vocab]
    others = distances.clone()
    others[[token, *equal_tokens]] = torch.inf
    runner_up = others.argmin()
    margin = others.min()
    to_runner_up = outputs.index_select(0, runner_up[None])[0] - hidden  # as long as the margin

    def find_nearest(points: Sequence[Tensor]) -> Tensor:
        found: list[Tensor] = []
        for point in points:
            away = (outputs - point).norm(dim=-1)
            # A token with the same row of W can't be told from the own one.
            away[list(equal_tokens)] = torch.inf
            found.append(away.argmin())
        return torch.stack(found) if found else hidden.new_zeros(0, dtype=torch.long)

    rounded = [round_to_bits(hidden, n) for n in bits]
    rounding = [(point - hidden).norm() for point in rounded]
    return NoisyPosition(
        margin=margin,
        runner_up=runner_up,
        own_distance=distances[token],
        random=find_nearest([hidden + noise * margin * direction for noise in noises]),
        toward=find_nearest([hidden + noise * to_runner_up for noise in noises]),
        rounded=find_nearest(rounded),
        rounding=torch.stack(rounding) if rounding else hidden.new_zeros(0),
    )
