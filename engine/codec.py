"""Tokens to embeddings and back through the pseudo-inverse of the token-embedding matrix.

With W of shape [vocab, d_model], a token's embedding is e = Wᵀa for a one-hot a, and the document decodes by
the largest coefficient of the minimum-norm solution. Since W⁺ = (WᵀW)⁺Wᵀ, the coefficients are
W (WᵀW)⁺ e: a d_model × d_model factor serves, and no inverse of the size of the vocabulary is stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import ShapeError

SCORES_BYTES = 256 * 2**20
"""Most memory that one block of coefficients may take."""

DOUBTFUL = 1e-10
"""Below this ratio of the Gram matrix's eigenvalues its smallest ones are rounding, and W itself is factorized."""


@dataclass(frozen=True, kw_only=True)
class GramInverse:
    """(WᵀW)⁺ with the rank and the condition number of W (over its non-zero singular values), in float64."""

    matrix: Tensor
    rank: int
    condition: float


def invert_gram(weight: Tensor) -> GramInverse:
    """Pseudo-inverse of WᵀW from its eigenvalues, or from W's own triangular factor where those are doubtful.

    weight: [vocab, d_model]. Squaring W halves the digits of its small singular values; a QR factorization keeps
    them, at about ten times the cost, and is used only when the spectrum asks for it.
    """
    wide = weight.double()
    eigenvalues, vectors = torch.linalg.eigh(wide.T @ wide)
    singular = eigenvalues.clamp_min(0).sqrt()
    if eigenvalues[0] < DOUBTFUL * eigenvalues[-1]:
        triangle = torch.linalg.qr(wide, mode="r").R
        _, singular, right = torch.linalg.svd(triangle, full_matrices=False)
        vectors = right.T
    # numpy's and torch's own cut-off for a numerical rank.
    cut = max(weight.shape) * torch.finfo(torch.float64).eps * singular.max()
    kept = singular > cut
    inverse_squares = torch.where(kept, singular.clamp_min(cut).square().reciprocal(), 0.0)
    return GramInverse(
        matrix=(vectors * inverse_squares) @ vectors.T,
        rank=int(kept.sum()),
        condition=float(singular.max() / singular[kept].min()) if bool(kept.any()) else float("inf"),
    )


class Codec:
    """Embeds ids and decodes embeddings for one token-embedding matrix.

    weight: [vocab, d_model]. `gram_inverse` may be given (a test on the meta device has no eigenvalues).
    """

    def __init__(self, weight: Tensor, gram_inverse: Tensor | None = None) -> None:
        self.weight = weight
        self.vocab, self.d_model = weight.shape
        inverse = invert_gram(weight).matrix if gram_inverse is None else gram_inverse
        self._gram_inverse = inverse.to(weight.dtype)

    def embed(self, ids: Tensor) -> Tensor:
        """Token embeddings, without positions: [...] → [..., d_model]."""
        return self.weight[ids]

    def coefficients(self, embeddings: Tensor) -> Tensor:
        """Pseudo-inverse coefficients: [..., d_model] → [..., vocab]. Source: equation 3."""
        self._check(embeddings)
        return (embeddings @ self._gram_inverse) @ self.weight.T

    def decode(self, embeddings: Tensor) -> Tensor:
        """Token whose pseudo-inverse coefficient is largest, at each position.

        embeddings: [..., d_model], positions taken off. Returns ids [...].
        Raises ShapeError when the last axis is not d_model. Source: equation 3.
        """
        return self.top(embeddings, 1)[..., 0]

    def top(self, embeddings: Tensor, k: int) -> Tensor:
        """The k tokens of largest coefficients, largest first: [..., d_model] → ids [..., k]."""
        self._check(embeddings)
        flat = embeddings.reshape(-1, self.d_model)
        rows = max(1, SCORES_BYTES // (self.vocab * flat.element_size()))
        found = [self.coefficients(part).topk(k, dim=-1).indices for part in flat.split(rows)]
        return torch.cat(found).reshape(*embeddings.shape[:-1], k)

    def leverages(self) -> Tensor:
        """Leverage of each row, the diagonal of W W⁺: [vocab]."""
        return (self.project_rows() * self.weight).sum(-1)

    def project_rows(self) -> Tensor:
        """W (WᵀW)⁺, whose product with Wᵀ holds every row's coefficients: [vocab, d_model]."""
        return self.weight @ self._gram_inverse

    def _check(self, embeddings: Tensor) -> None:
        if embeddings.shape[-1] != self.d_model:
            raise ShapeError(
                f"decode: last axis is {embeddings.shape[-1]}, expected d_model={self.d_model}; "
                "pass embeddings, not logits"
            )


@dataclass(frozen=True, kw_only=True)
class RoundTripMiss:
    """Row `id` decodes to `winner`: the coefficient of another row is larger than its own."""

    id: int
    winner: int
    leverage: float
    winner_leverage: float


@torch.no_grad()
def find_round_trip_misses(codec: Codec, rows: int = 1024) -> list[RoundTripMiss]:
    """Every token whose embedding does not decode to it, by exhaustion.

    A row i loses only to a row j of larger leverage: H = W W⁺ is a projection, so H_ij² ≤ H_ii H_jj, and
    H_ij > H_ii needs H_jj > H_ii. With rows in order of falling leverage each is compared with those before it
    only, which is half of the full product. Ties go to the lower id, as argmax resolves them.
    """
    projected = codec.project_rows()
    leverages = (projected * codec.weight).sum(-1)
    order = torch.argsort(leverages, descending=True, stable=True)
    ranked, projected = codec.weight[order], projected[order]
    # One room for every block: fresh memory of this size costs as much as looking for the largest.
    room = ranked.new_empty(min(rows, codec.vocab) * codec.vocab)
    misses: list[RoundTripMiss] = []
    for first in range(0, codec.vocab, rows):
        last = min(first + rows, codec.vocab)
        scores = room[: (last - first) * last].view(last - first, last)
        torch.mm(projected[first:last], ranked[:last].T, out=scores)
        own = scores.diagonal(offset=first).clone()
        best, where = scores.max(dim=-1)
        for at in torch.nonzero(best > own)[:, 0].tolist():
            loser, winner = int(order[first + at]), int(order[where[at]])
            misses.append(
                RoundTripMiss(
                    id=loser,
                    winner=winner,
                    leverage=float(leverages[loser]),
                    winner_leverage=float(leverages[winner]),
                )
            )
    return sorted(misses, key=lambda miss: miss.id)
