"""Which tokens of a vocabulary the pseudo-inverse does not give back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.models.codec import SCORES_BYTES, Codec
from engine.models.products import multiply
from engine.models.pseudo_inverse import as_float64

TILE = 512
"""Side of a square of coefficients: its megabyte is still in the cache when its largest entries are searched."""


@dataclass(frozen=True, kw_only=True)
class RoundTripMiss:
    """Row `id` decodes to `winner`, another row with a larger coefficient."""

    id: int
    winner: int
    leverage: float
    winner_leverage: float


@torch.no_grad()
def find_round_trip_misses(codec: Codec, rows: int = TILE) -> list[RoundTripMiss]:
    """Every token whose embedding does not decode to it, by exhaustion, in the order of their ids.

    Row i loses to row j if H_ij > H_ii, where H = W W⁺ holds all coefficients. H is a projection, so
    H_ij² ≤ H_ii H_jj: row i loses only to rows of larger leverage H_jj. With rows sorted by falling leverage, each is
    compared with those before it alone, which is half of the full product. It is computed in squares of `rows` rows,
    and `_Bounds` rules out most of them. A row does not lose to an equal row. Of equal winners the one with the larger
    leverage is named, then the lower id. Coefficients, which are at most 1, err by about ε κ² for a W of condition κ,
    since the Gram matrix squares it: from κ = 1e6 or so on, rounding alone may make a row lose.
    """
    projected = codec.project_rows()
    leverages = (projected * codec.weight).sum(-1)
    order = torch.argsort(leverages, descending=True, stable=True)
    ranked, projected = codec.weight[order], projected[order]
    bounds = _Bounds(codec, order, leverages[order])
    misses: list[RoundTripMiss] = []
    for first in range(0, codec.vocab, rows):
        block, before = projected[first : first + rows], ranked[: first + rows]

        # The largest coefficient of each row of the block. Rows that are not doubtful lose to none before the block,
        # so the square of the block and itself is enough for them; doubtful rows are all computed below.
        doubtful = bounds.find_doubtful(first, rows)
        squares = before.split(rows)
        largest, own = list[Tensor](), block
        for part in squares if doubtful is None else squares[-1:]:
            scores = multiply(block, part)
            largest.append(scores.amax(-1))
            own = scores.diagonal()  # after the loop: the square of the block with itself
        suspect = torch.stack(largest).amax(0) > own
        if doubtful is not None:
            suspect[doubtful] = True

        # Suspects are decided by one product over all rows: squares of different shapes may round the coefficients of
        # equal rows differently.
        together = max(1, SCORES_BYTES // (len(before) * before.element_size()))
        for places in torch.nonzero(suspect)[:, 0].split(together):
            scores = block[places] @ before.T
            best, best_at = scores.max(-1)
            loses = best > scores.gather(-1, (first + places)[:, None])[:, 0]
            for place, winner_place in zip(places[loses].tolist(), best_at[loses].tolist(), strict=True):
                loser, winner = int(order[first + place]), int(order[winner_place])
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
    """Upper bounds of coefficients, which rule out that most rows lose.

    With F Fᵀ = (WᵀW)⁺ and z = Fᵀw, H_ij = z_i·z_j. Split z = (a, b) after a third of its coordinates: by Cauchy and
    Schwarz H_ij ≤ a_i·a_j + ‖b_i‖ ‖b_j‖, a product of rows a third as long. SLACK is far above the rounding of either
    side, unless W is too ill-conditioned. Nothing is ruled out there, nor after MOST_USELESS blocks of which more than
    the share MOST_DOUBTFUL stayed doubtful (leverages far from each other, or similar rows).
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
            parts: list[Tensor] = []
            for part in as_float64(codec.weight):
                z = part @ factor
                kept = z.shape[1] // 3
                parts.append(torch.cat([z[:, :kept], z[:, kept:].norm(dim=1, keepdim=True)], dim=1))  # (a, ‖b‖)
            self._factors = torch.cat(parts)[order].to(codec.weight)

    def find_doubtful(self, first: int, rows: int) -> Tensor | None:
        """Rows of the block from `first` on that may lose to a row before the block; None if nothing is ruled out.

        Returns indices into the block [doubtful].
        """
        if first == 0 or not self._patience:
            return None
        block, largest = self._factors[first : first + rows], list[Tensor]()
        for part in self._factors[:first].split(rows):
            largest.append(multiply(block, part).amax(-1))
        doubtful = torch.nonzero(torch.stack(largest).amax(0) >= self._needed[first : first + rows])[:, 0]
        if len(doubtful) <= self.MOST_DOUBTFUL * len(block):
            return doubtful
        self._patience -= 1
        return None
