"""The factor (WᵀW)⁺, its rank and its condition number are those of numpy's singular value decomposition of W."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings

from engine.models.pseudo_inverse import GramInverse, invert_gram

EPS = float(np.finfo(np.float64).eps)
ROWS, COLUMNS = 900, 64


def draw_orthonormal(rows: int, columns: int, seed: int) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(rows, columns, generator=source, dtype=torch.float64)).Q


def with_spectrum(singular: torch.Tensor, rows: int = ROWS, seed: int = 0) -> torch.Tensor:
    """A matrix of these singular values, between two random bases."""
    columns = len(singular)
    return (draw_orthonormal(rows, columns, seed) * singular) @ draw_orthonormal(columns, columns, seed + 1).T


def fall(digits: float, columns: int = COLUMNS) -> torch.Tensor:
    """1 down to 10^−digits, geometrically."""
    return torch.logspace(0, -digits, columns, dtype=torch.float64)


def draw(rows: int = ROWS, columns: int = COLUMNS) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def copy_columns(weight: torch.Tensor, copies: int) -> torch.Tensor:
    return torch.cat([weight[:, : weight.shape[1] - copies], weight[:, :copies]], dim=1)


SPECTRA: dict[str, Callable[[], torch.Tensor]] = {
    "random": draw,
    "random in float32": lambda: draw().float(),
    "down to 1e-3, where the first Gram matrix is only just enough": lambda: with_spectrum(fall(3)),
    "down to 1e-5": lambda: with_spectrum(fall(5)),
    "down to 1e-9": lambda: with_spectrum(fall(9)),
    "down to 1e-9 in float32": lambda: with_spectrum(fall(9)).float(),
    "down to 1e-14, below the cut": lambda: with_spectrum(fall(14)),
    "one small among large": lambda: with_spectrum(torch.cat([torch.ones(63), torch.tensor([1e-9])]).double()),
    "half large, half small": lambda: with_spectrum(torch.cat([torch.ones(32), torch.full((32,), 1e-8)]).double()),
    "four sizes": lambda: with_spectrum(10.0 ** -(3 * (torch.arange(COLUMNS) % 4)).double()),
    "copies of columns": lambda: copy_columns(draw().float(), 6),
    "copies of columns that fall to 1e-9": lambda: copy_columns(with_spectrum(fall(9)), 6),
    "one direction": lambda: torch.outer(draw()[:, 0], draw()[0]),
    "fewer rows than columns": lambda: draw(40, COLUMNS),
    "fewer rows than columns, falling": lambda: with_spectrum(fall(7, 40), rows=COLUMNS).T.contiguous(),
    "columns of very different size": lambda: draw() * fall(11),
    "columns of sizes beyond double precision": lambda: draw() * fall(20).roll(9),
    "rows of very different size": lambda: draw() * fall(20, ROWS)[:, None],
    "more rows than are taken at a time": lambda: with_spectrum(fall(6, 8), rows=5000),
}


def decompose(weight: torch.Tensor) -> tuple[np.ndarray, np.ndarray, float]:
    """Singular values and right vectors by numpy, and numpy's cut-off."""
    _, singular, right = np.linalg.svd(weight.double().numpy(), full_matrices=False)
    return singular, right, max(weight.shape) * EPS * float(singular.max())


def assert_numpys(weight: torch.Tensor, found: GramInverse) -> None:
    singular, right, cut = decompose(weight)
    kept = singular > cut
    condition = float(singular.max() / singular[kept].min())
    assert found.rank == int(kept.sum())
    # Two backward stable ways differ by some ε σ_max in σ, so by ε · condition in the ratio; 1e-9 where σ is read
    # off the Gram matrix, at most.
    tolerance = 1e-9 + 20 * EPS * condition
    assert found.condition == pytest.approx(condition, rel=tolerance)
    expected = (right[kept].T / singular[kept] ** 2) @ right[kept]
    error = np.linalg.norm(found.matrix.numpy() - expected) / np.linalg.norm(expected)
    # Twice the share by which 1/σ errs; the vectors on both sides of the cut are as far apart as its gap allows.
    gap = float(np.min(singular[kept]) - (np.max(singular[~kept], initial=0.0)))
    assert error <= 4 * tolerance * max(1.0, float(singular[kept].min()) / gap)


@pytest.mark.parametrize("name", SPECTRA)
def test_rank_condition_and_inverse_are_numpys(name: str) -> None:
    weight = SPECTRA[name]()
    assert_numpys(weight, invert_gram(weight))


@pytest.mark.parametrize("digits", [2, 6, 9])
def test_a_known_spectrum_comes_back(digits: int) -> None:
    singular, right = fall(digits), draw_orthonormal(COLUMNS, COLUMNS, 1)
    found = invert_gram(with_spectrum(singular))
    expected = (right / singular.square()) @ right.T
    assert found.condition == pytest.approx(10.0**digits, rel=1e-9 + 20 * EPS * 10.0**digits)
    assert (found.matrix - expected).norm() <= (4e-9 + 80 * EPS * 10.0**digits) * expected.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_a_zero_matrix_has_rank_0_and_a_zero_inverse(dtype: torch.dtype) -> None:
    found = invert_gram(torch.zeros(30, 6, dtype=dtype))
    assert (found.rank, found.condition) == (0, float("inf"))
    assert torch.equal(found.matrix, torch.zeros(6, 6, dtype=torch.float64))


def test_parameters_that_ask_for_gradients_are_factorized_all_the_same() -> None:
    weight = torch.nn.Parameter(draw())
    assert not invert_gram(weight).matrix.requires_grad


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 40),
    columns=st.integers(1, 24),
    exponents=st.lists(st.sampled_from([0.0, 0.5, 2.0, 3.0, 3.1, 5.0, 8.0, 9.0]), min_size=1, max_size=24),
    zeros=st.integers(0, 5),
)
def test_spectra_with_a_clear_rank_are_numpys(
    seed: int, rows: int, columns: int, exponents: list[float], zeros: int
) -> None:
    singular = torch.zeros(min(rows, columns), dtype=torch.float64)
    values = sorted([0.0, *exponents])[: max(1, len(singular) - zeros)]
    singular[: len(values)] = 10.0 ** -torch.tensor(values, dtype=torch.float64)
    left, right = draw_orthonormal(rows, len(singular), seed), draw_orthonormal(columns, len(singular), seed + 1)
    left[left.abs() < 0.1] = 0.0  # exact zeros, as sparse matrices have them
    weight = (left * singular) @ right.T
    singular_found, _, cut = decompose(weight)
    assume(singular_found.max() > 0)
    # Nothing so near to the cut that rounding decides on the rank.
    assume(not np.any((singular_found > cut / 30) & (singular_found < 30 * cut)))
    assert_numpys(weight, invert_gram(weight))
