"""Tokens to embeddings and back through the pseudo-inverse of the token-embedding matrix.

With W of shape [vocab, d_model], a token's embedding is e = Wᵀa for a one-hot a, and the document decodes by
the largest coefficient of the minimum-norm solution. Since W⁺ = (WᵀW)⁺Wᵀ, the coefficients are
W (WᵀW)⁺ e: a d_model × d_model factor serves, and no inverse of the size of the vocabulary is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import ShapeError

SCORES_BYTES = 64 * 2**20
"""Most memory that one block of coefficients may take."""

CLEAR = 1e-6
"""Eigenvalues of a Gram matrix above this share of its largest are read off it; the others are only rounding's."""

TILE = 512
"""Side of a square of coefficients: its megabyte is still in cache when its largest are looked for."""

GRAM_ROWS, GRAM_COLUMNS = 2048, 192
"""Rows of W that are in float64 at a time, and columns of its Gram matrix that are made at a time."""


@dataclass(frozen=True, kw_only=True)
class GramInverse:
    """(WᵀW)⁺ with the rank and the condition number of W (over its non-zero singular values), in float64."""

    matrix: Tensor
    rank: int
    condition: float


@torch.no_grad()
def invert_gram(weight: Tensor) -> GramInverse:
    """Pseudo-inverse of WᵀW in float64: weight [vocab, d_model].

    Singular values up to numpy's cut-off, max(shape) · ε · σ_max, count as zero. The others err as those of a
    singular value decomposition do, by a few ε σ_max, where they are small; see `_decompose`.
    """
    found = _decompose(weight, None)
    singular, right = found.singular, found.right
    return GramInverse(
        matrix=(right / singular.square()) @ right.T,
        rank=len(singular),
        condition=float(singular.max() / singular.min()) if len(singular) else float("inf"),
    )


@dataclass(frozen=True, kw_only=True)
class _Spectrum:
    """Non-zero singular values [rank] and their right singular vectors [d_model, rank]."""

    singular: Tensor
    right: Tensor


def _decompose(weight: Tensor, cut: float | None) -> _Spectrum:
    """Singular values above `cut` (None: numpy's) by Gram matrices, the small ones by a Gram matrix of their own.

    Let rounding change WᵀW by δ σ_max² (δ is some ε). An eigenvalue λ ≥ CLEAR σ_max² then errs by the share
    δ / CLEAR at most, 1e-9 or less, and is kept. The vectors V of the others lean towards a kept one by up to
    δ σ_max² / λ, which gives W V a false part of up to δ σ_max / √CLEAR, more than W's own rounding. One Newton
    step for the invariant subspace shrinks that by δ / CLEAR; what stays is the ε σ_max of the product W V, as
    much as any backward stable method errs by. W V is at most √CLEAR times as large as W, and is decomposed in
    the same way. Where W V is all below the cut there is nothing to find in it.
    """
    eigenvalues, vectors = torch.linalg.eigh(_square(weight), UPLO="U")
    largest = float(eigenvalues[-1].clamp_min(0).sqrt())
    if cut is None:
        cut = max(weight.shape) * torch.finfo(torch.float64).eps * largest
    first = int((eigenvalues <= CLEAR * eigenvalues[-1]).sum())
    kept = eigenvalues[first:].clamp_min(0).sqrt()
    above = kept > cut
    clear = _Spectrum(singular=kept[above], right=vectors[:, first:][:, above])
    if first == 0 or largest <= cut:
        return clear
    doubtful = vectors[:, :first]
    rest = _multiply(weight, doubtful)
    if float(rest.norm()) <= cut:
        return clear
    images = _multiply_transposed(weight, rest)
    del rest  # as long as W, and another such is made below
    basis = _separate(doubtful, vectors[:, first:], eigenvalues[first:], images)
    doubtful, vectors = basis[:, :first], basis[:, first:]
    small = _decompose(_multiply(weight, doubtful), cut)
    return _Spectrum(
        singular=torch.cat([small.singular, kept[above]]),
        right=torch.cat([doubtful @ small.right, vectors[:, above]], dim=1),
    )


def _separate(doubtful: Tensor, clear: Tensor, eigenvalues: Tensor, images: Tensor) -> Tensor:
    """Orthonormal basis, the doubtful vectors first, after a Newton step that takes the clear ones out of them.

    eigenvalues: those of the clear vectors. images: WᵀW times the doubtful vectors.
    """
    step = clear @ ((clear.T @ images) / eigenvalues[:, None])
    return torch.linalg.qr(torch.cat([doubtful - step, clear], dim=1)).Q


def _square(weight: Tensor) -> Tensor:
    """WᵀW in float64, its upper triangle only: what is below the blocks on the diagonal stays zero."""
    width = weight.shape[1]
    gram = torch.zeros(width, width, dtype=torch.float64, device=weight.device)
    for wide in _widen(weight):
        for first in range(0, width, GRAM_COLUMNS):
            last = first + GRAM_COLUMNS
            gram[first:last, first:].addmm_(wide[:, first:last].T, wide[:, first:])
    return gram


def _multiply(weight: Tensor, right: Tensor) -> Tensor:
    """W · right in float64."""
    found = right.new_empty(len(weight), right.shape[1])
    for part, rows in zip(_widen(weight), found.split(GRAM_ROWS), strict=True):
        torch.mm(part, right, out=rows)
    return found


def _multiply_transposed(weight: Tensor, right: Tensor) -> Tensor:
    """Wᵀ · right in float64."""
    found = right.new_zeros(weight.shape[1], right.shape[1])
    for part, rows in zip(_widen(weight), right.split(GRAM_ROWS), strict=True):
        found.addmm_(part.T, rows)
    return found


class Codec:
    """Embeds ids and decodes embeddings for one token-embedding matrix.

    weight: [vocab, d_model]. `gram_inverse` may be given (a test on the meta device has no eigenvalues).
    """

    def __init__(self, weight: Tensor, gram_inverse: Tensor | None = None) -> None:
        self.weight = weight
        self.vocab, self.d_model = weight.shape
        inverse = invert_gram(weight).matrix if gram_inverse is None else gram_inverse
        self.gram_inverse = inverse.to(weight.dtype)

    def embed(self, ids: Tensor) -> Tensor:
        """Token embeddings, without positions: [...] → [..., d_model]."""
        return self.weight[ids]

    def coefficients(self, embeddings: Tensor) -> Tensor:
        """Pseudo-inverse coefficients: [..., d_model] → [..., vocab]. Source: equation 3."""
        self._check(embeddings)
        return (embeddings @ self.gram_inverse) @ self.weight.T

    def decode(self, embeddings: Tensor) -> Tensor:
        """Token whose pseudo-inverse coefficient is largest, at each position.

        embeddings: [..., d_model], positions taken off. Returns ids [...].
        Raises ShapeError when the last axis is not d_model. Source: equation 3.
        """
        return self.top(embeddings, 1)[..., 0]

    def top(self, embeddings: Tensor, k: int) -> Tensor:
        """The k tokens of largest coefficients, largest first: [..., d_model] → ids [..., k].

        All tokens where the vocabulary has fewer.
        """
        self._check(embeddings)
        k = min(k, self.vocab)
        flat = embeddings.reshape(-1, self.d_model)
        rows = max(1, SCORES_BYTES // (self.vocab * flat.element_size()))
        found = [self.coefficients(part).topk(k, dim=-1).indices for part in flat.split(rows)]
        return torch.cat(found).reshape(*embeddings.shape[:-1], k)

    def leverages(self) -> Tensor:
        """Leverage of each row, the diagonal of W W⁺: [vocab]."""
        return (self.project_rows() * self.weight).sum(-1)

    def project_rows(self) -> Tensor:
        """W (WᵀW)⁺, whose product with Wᵀ holds every row's coefficients: [vocab, d_model]."""
        return self.weight @ self.gram_inverse

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
        for at, where in _find_losers(block, before, rows, room, doubtful):
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
            self._shadows = torch.cat([_cast_shadow(part @ factor) for part in _widen(codec.weight)])[order].to(
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


def _widen(weight: Tensor) -> Iterator[Tensor]:
    """W in float64, some rows at a time."""
    return (part.double() for part in weight.split(GRAM_ROWS))


def _cast_shadow(rows: Tensor) -> Tensor:
    """The first third of each row's coordinates, and the length of the rest: [rows, d] → [rows, d // 3 + 1]."""
    kept = rows.shape[1] // 3
    return torch.cat([rows[:, :kept], rows[:, kept:].norm(dim=1, keepdim=True)], dim=1)


def _find_losers(
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
