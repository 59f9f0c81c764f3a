"""Which tokens the pseudo-inverse does not give back, over a whole vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.models.codec import SCORES_BYTES, Codec
from engine.models.pseudo_inverse import as_float64

TILE = 512
"""Side of a square of coefficients: its megabyte is still in cache when its largest are looked for."""


@dataclass(frozen=True, kw_only=True)
class RoundTripMiss:
    """Row `id` decodes to `winner`: the coefficient of another row is larger than its own."""

    id: int
    winner: int
    leverage: float
    winner_leverage: float


@torch.no_grad()
def find_round_trip_misses(codec: Codec, rows: int = TILE) -> list[RoundTripMiss]:
    """Every token whose embedding does not decode to it, by exhaustion.

    A row i loses only to a row j of larger leverage: H = W W⁺ is a projection, so H_ij² ≤ H_ii H_jj, and
    H_ij > H_ii needs H_jj > H_ii. With rows in order of falling leverage each is compared with those before it
    only, which is half of the full product, in squares of `rows` rows; and of that half, what bounds of the
    coefficients rule out is not computed (`_Bounds`). A row does not lose to its equal; of equal winners the one
    with the larger leverage is named, then the lower id.
    """
    projected = codec.project_rows()
    leverages = (projected * codec.weight).sum(-1)
    order = torch.argsort(leverages, descending=True, stable=True)
    ranked, projected = codec.weight[order], projected[order]
    room = ranked.new_empty(min(rows, codec.vocab) ** 2)
    bounds = _Bounds(codec, order, leverages[order])
    misses: list[RoundTripMiss] = []
    for first in range(0, codec.vocab, rows):
        block, before = projected[first : first + rows], ranked[: first + rows]
        doubtful = bounds.find_doubtful(first, rows, room)
        for at, where in _find_misdecoded(block, before, rows, room, doubtful):
            loser, winner = int(order[first + at]), int(order[where])
            misses.append(
                RoundTripMiss(
                    id=loser,
                    winner=winner,
                    leverage=float(leverages[loser]),
                    winner_leverage=float(leverages[winner]),
                )
            )
    return sorted(misses, key=lambda miss: miss.id)


class _Bounds:
    """Rows that bounds of their coefficients leave in doubt.

    With F Fᵀ = (WᵀW)⁺ and z = Fᵀw, H_ij = z_i·z_j, and by Cauchy and Schwarz on all but the first coordinates
    H_ij ≤ a_i·a_j + ‖b_i‖ ‖b_j‖ for z = (a, b): one product of rows that are a third as long. SLACK is far above what
    rounding does to either side, unless W is too ill-conditioned; there, and where bounds hardly ever decide
    (leverages far apart, or rows alike), nothing is bounded and all is computed.
    """

    SLACK, WORST_ROUNDING = 0.01, 1e-3
    MOST_DOUBTFUL, MOST_USELESS = 0.25, 3

    def __init__(self, codec: Codec, order: Tensor, leverages: Tensor) -> None:
        values, vectors = torch.linalg.eigh(codec.gram_inverse.double())
        rounding = torch.finfo(codec.weight.dtype).eps * float(values[-1] / values[0].clamp_min(1e-300))
        self._patience = self.MOST_USELESS if rounding <= self.WORST_ROUNDING else 0
        self._needed = (1 - self.SLACK) * leverages
        if self._patience:
            factor = vectors * values.sqrt()
            self._shadows = torch.cat([_bound_rows(part @ factor) for part in as_float64(codec.weight)])[order].to(
                codec.weight
            )

    def find_doubtful(self, first: int, rows: int, room: Tensor) -> Tensor | None:
        """Rows of the block from `first` on that may lose to one before the block [doubtful]; None says nothing."""
        if first == 0 or not self._patience:
            return None
        block, largest = self._shadows[first : first + rows], list[Tensor]()
        for part in self._shadows[:first].split(rows):
            bounds = room[: len(block) * len(part)].view(len(block), len(part))
            largest.append(torch.mm(block, part.T, out=bounds).amax(-1))
        doubtful = torch.nonzero(torch.stack(largest).amax(0) >= self._needed[first : first + rows])[:, 0]
        if len(doubtful) <= self.MOST_DOUBTFUL * len(block):
            return doubtful
        self._patience -= 1
        return None


def _bound_rows(rows: Tensor) -> Tensor:
    """The first third of each row's coordinates, and the length of the rest: [rows, d] → [rows, d // 3 + 1]."""
    kept = rows.shape[1] // 3
    return torch.cat([rows[:, :kept], rows[:, kept:].norm(dim=1, keepdim=True)], dim=1)


def _find_misdecoded(
    block: Tensor, before: Tensor, rows: int, room: Tensor, doubtful: Tensor | None
) -> list[tuple[int, int]]:
    """Rows of a block with a larger coefficient than their own, and whose it is.

    before: rows of W up to the block's own, which are the last. room: for the coefficients of one square.
    doubtful: rows of the block that alone may lose to one before the block; None for all.
    """
    largest, own = list[Tensor](), room
    squares = before.split(rows)
    for part in squares if doubtful is None else squares[-1:]:
        scores = room[: len(block) * len(part)].view(len(block), len(part))
        torch.mm(block, part.T, out=scores)
        largest.append(scores.amax(-1))
        own = scores.diagonal()  # at last that of the block and itself
    lost = torch.stack(largest).amax(0) > own
    if doubtful is not None:
        lost[doubtful] = True
    found: list[tuple[int, int]] = []
    # Once more in one product: squares of different shapes may round equal rows' coefficients differently.
    for places in torch.nonzero(lost)[:, 0].split(max(1, SCORES_BYTES // (len(before) * before.element_size()))):
        scores = block[places] @ before.T
        best, where = scores.max(-1)
        loses = best > scores.gather(-1, (len(before) - len(block) + places)[:, None])[:, 0]
        found += zip(places[loses].tolist(), where[loses].tolist(), strict=True)
    return found
