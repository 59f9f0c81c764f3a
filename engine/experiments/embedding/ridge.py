"""The pseudo-inverse two ways: from the singular value decomposition, and as the limit of ridge solutions.

Source: the document's two definitions of W⁺ (section 'Sentence Representation with Language Models').
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.experiments.embedding.arm import PseudoInverseResult

LEVELS = 7
"""Ridge solutions behind the limit: α falls by half from one to the next."""

EMPTY = 1e-6
"""Share of random noise that lies in no null space: rounding leaves 1e-15 times W's condition number of it."""

PROBES = 64
"""Right-hand sides for which the minimum norm is checked."""


def compare_with_ridge(weight: Tensor, *, expected_rank: int, noise: torch.Generator) -> PseudoInverseResult:
    """Relative Frobenius difference of the two pseudo-inverses, and the norm of the solution against others.

    weight: [rows, columns] in float64. The limit of (WᵀW + αI)⁻¹Wᵀ as α → 0⁺ is taken numerically: solutions at
    falling α are extrapolated to α = 0 by Richardson's rule, without any use of W's singular vectors.
    The tolerance is 10 · cond(W)² · ε, where cond counts the non-zero singular values and ε is float32's: that is
    the precision in which W is stored and in which the document inverts it.
    """
    # W = QR with orthonormal columns in Q: both pseudo-inverses of W are those of R times Qᵀ, of which no norm changes.
    orthonormal, triangle = torch.linalg.qr(weight)
    left, singular, right = torch.linalg.svd(triangle)
    cut = max(weight.shape) * torch.finfo(weight.dtype).eps * singular[0]
    rank = int((singular > cut).sum())
    by_svd = (right[:rank].T / singular[:rank]) @ left[:, :rank].T  # R⁺: [columns, columns]
    condition = float(singular[0] / singular[rank - 1])
    gram = weight.T @ weight
    alphas = [float(singular[rank - 1] ** 2) / 8 / 2**level for level in range(LEVELS)]
    inverses = [_invert_ridge(gram, alpha) for alpha in alphas]
    limit = torch.zeros_like(gram)
    for share, inverse in zip(extrapolation_weights(alphas), inverses, strict=True):
        limit += share * inverse
    return PseudoInverseResult(
        rows=weight.shape[0],
        columns=weight.shape[1],
        rank=rank,
        expected_rank=expected_rank,
        condition=condition,
        difference=_relative(limit @ triangle.T, by_svd),
        tolerance=10 * condition**2 * torch.finfo(torch.float32).eps,
        excess_norm=_largest_norm_ratio(weight, orthonormal, by_svd, noise),
        ridge=tuple(
            (alpha, _relative(inverse @ triangle.T, by_svd))
            for alpha, inverse in zip(alphas[::3], inverses[::3], strict=True)
        ),
    )


def _relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def _invert_ridge(gram: Tensor, alpha: float) -> Tensor:
    """(WᵀW + αI)⁻¹, which exists for every α > 0 whatever the rank of W."""
    ridge = gram + alpha * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return torch.cholesky_inverse(torch.linalg.cholesky(ridge))


def extrapolation_weights(alphas: list[float]) -> list[float]:
    """Weights of values at `alphas` in the polynomial through them, read at α = 0 (Lagrange's form)."""
    weights = []
    for k, alpha in enumerate(alphas):
        weight = 1.0
        for j, other in enumerate(alphas):
            if j != k:
                weight *= other / (other - alpha)
        weights.append(weight)
    return weights


def _largest_norm_ratio(weight: Tensor, orthonormal: Tensor, by_svd: Tensor, noise: torch.Generator) -> float:
    """Largest ‖W⁺e‖ / ‖a‖ over other solutions a of Wᵀa = e: at most 1 when W⁺e has the minimum norm.

    W⁺ is `by_svd` times the transpose of `orthonormal`. The others are the one-hot vector of each probed row, and
    W⁺e moved within the null space of Wᵀ.
    """
    rows = torch.linspace(0, len(weight) - 1, min(PROBES, len(weight))).long().to(weight.device)
    solutions = weight[rows] @ by_svd @ orthonormal.T  # [probes, rows of W]: the minimum-norm solutions of Wᵀa = e
    drawn = torch.randn(solutions.shape, generator=noise, dtype=torch.float64).to(weight.device)
    null = drawn - (drawn @ weight) @ by_svd @ orthonormal.T
    norms, lengths = solutions.norm(dim=-1), null.norm(dim=-1)
    # Where W has no more rows than its rank, there is no null space, and what is left of the noise is its rounding.
    lengths = torch.where(lengths > EMPTY * drawn.norm(dim=-1), lengths, torch.inf)
    moved = (solutions + null * (norms / lengths)[:, None]).norm(dim=-1)
    # A zero row has the zero solution, which no other can undercut.
    return float(torch.maximum(norms, torch.where(moved > 0, norms / moved, 0.0)).max())
