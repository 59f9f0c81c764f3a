"""The pseudo-inverse of an embedding matrix, in float64 and in slices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

GRAM_ROWS, GRAM_COLUMNS = 2048, 192
"""How many rows of W are in float64 at a time, and how many columns of its Gram matrix are computed at a time."""

CLEAR = 1e-6
"""Eigenvalues of a Gram matrix above this share of the largest are accurate; smaller ones may be mere rounding."""


@dataclass(frozen=True, kw_only=True)
class GramInverse:
    """matrix: (WᵀW)⁺ in float64. condition: of W, over its non-zero singular values."""

    matrix: Tensor
    rank: int
    condition: float


@torch.no_grad()
def invert_gram(weight: Tensor, *, computed: bool = False) -> GramInverse:
    """The pseudo-inverse of WᵀW in float64, for W = weight [vocab, d_model].

    Singular values up to numpy's cut-off, max(shape) · ε · σ_max, count as zero. The others have the error of a
    singular value decomposition, a few ε σ_max; see `_decompose`.

    computed: whether W's numbers are results in its own precision, whose ε then counts: a norm takes a direction out of
    all rows, and would leave it as large as their rounding.
    """
    found = _decompose(weight, _cut_of(weight, torch.finfo(weight.dtype).eps) if computed else None)
    singular, right = found.singular, found.right
    return GramInverse(
        matrix=(right / singular.square()) @ right.T,
        rank=len(singular),
        condition=float(singular.max() / singular.min()) if len(singular) else float("inf"),
    )


def _cut_of(weight: Tensor, eps: float) -> float:
    """numpy's cut-off for singular values, by a bound on the largest of them."""
    return max(weight.shape) * eps * float(weight.double().norm())


@dataclass(frozen=True, kw_only=True)
class _Spectrum:
    """Non-zero singular values [rank] and their right singular vectors [d_model, rank]."""

    singular: Tensor
    right: Tensor


def _decompose(weight: Tensor, cut: float | None) -> _Spectrum:
    """Singular values above `cut` (None: numpy's cut-off) from Gram matrices, the small ones from one of their own.

    Let rounding change WᵀW by δ σ_max², where δ is a few ε. The relative error of an eigenvalue λ ≥ CLEAR σ_max² is
    then at most δ / CLEAR, 1e-9 or less: it is clear and is kept. The eigenvectors V of the others are tilted towards a
    clear one by up to δ σ_max² / λ, which adds up to δ σ_max / √CLEAR to W V, more than W's own rounding. One Newton
    step for the invariant subspace shrinks that by δ / CLEAR. There remains the rounding of the product W V, ε σ_max,
    which is the error of any backward stable method. W V is at most √CLEAR times as large as W, and is decomposed in
    the same way. If all of W V is below the cut, it holds no further singular values.
    """
    eigenvalues, vectors = torch.linalg.eigh(_square(weight), UPLO="U")
    largest = float(eigenvalues[-1].clamp_min(0).sqrt())
    if cut is None:
        cut = max(weight.shape) * torch.finfo(torch.float64).eps * largest
    # Eigenvalues rise: the first ones are doubtful, the others are clear.
    first = int((eigenvalues <= CLEAR * eigenvalues[-1]).sum())
    # Singular values of W are square roots of eigenvalues, which rounding can make negative.
    kept = eigenvalues[first:].clamp_min(0).sqrt()
    above = kept > cut
    clear = _Spectrum(singular=kept[above], right=vectors[:, first:][:, above])
    if first == 0 or largest <= cut:
        return clear
    # What W does to the doubtful directions.
    doubtful = vectors[:, :first]
    rest = _multiply(weight, doubtful)
    if float(rest.norm()) <= cut:
        return clear
    images = _multiply_transposed(weight, rest)
    del rest  # as long as W, and another such is made below
    # Take the clear directions out of them, and decompose W on what is left.
    basis = _separate(doubtful, vectors[:, first:], eigenvalues[first:], images)
    doubtful, vectors = basis[:, :first], basis[:, first:]
    small = _decompose(_multiply(weight, doubtful), cut)
    return _Spectrum(
        singular=torch.cat([small.singular, kept[above]]),
        right=torch.cat([doubtful @ small.right, vectors[:, above]], dim=1),
    )


def _separate(doubtful: Tensor, clear: Tensor, eigenvalues: Tensor, images: Tensor) -> Tensor:
    """An orthonormal basis, doubtful vectors first, after a Newton step that removes the clear ones from them.

    eigenvalues: those of the clear vectors. images: WᵀW times the doubtful vectors.
    """
    step = clear @ ((clear.T @ images) / eigenvalues[:, None])
    return torch.linalg.qr(torch.cat([doubtful - step, clear], dim=1)).Q


def _square(weight: Tensor) -> Tensor:
    """The upper triangle of WᵀW in float64. Everything below the blocks on the diagonal stays zero."""
    width = weight.shape[1]
    gram = torch.zeros(width, width, dtype=torch.float64, device=weight.device)
    for wide in as_float64(weight):
        # A block of columns of Wᵀ against itself and all columns to its right.
        for first in range(0, width, GRAM_COLUMNS):
            last = first + GRAM_COLUMNS
            gram[first:last, first:].addmm_(wide[:, first:last].T, wide[:, first:])
    return gram


def _multiply(weight: Tensor, right: Tensor) -> Tensor:
    """W · right in float64."""
    found = right.new_empty(len(weight), right.shape[1])
    for part, rows in zip(as_float64(weight), found.split(GRAM_ROWS), strict=True):
        torch.mm(part, right, out=rows)
    return found


def _multiply_transposed(weight: Tensor, right: Tensor) -> Tensor:
    """Wᵀ · right in float64."""
    found = right.new_zeros(weight.shape[1], right.shape[1])
    for part, rows in zip(as_float64(weight), right.split(GRAM_ROWS), strict=True):
        found.addmm_(part.T, rows)
    return found


def as_float64(weight: Tensor) -> Iterator[Tensor]:
    """The rows of W in float64, GRAM_ROWS at a time."""
    return (part.double() for part in weight.split(GRAM_ROWS))
