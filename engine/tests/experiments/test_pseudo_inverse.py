"""The ridge limit equals the SVD's pseudo-inverse, and a wrong limit or a larger norm shows."""

from __future__ import annotations

import pytest
import torch

from engine.experiments.embedding import measure
from engine.experiments.embedding.measure import compare_with_ridge, extrapolation_weights


def integers(rows: int, columns: int, rank: int) -> torch.Tensor:
    source = torch.Generator().manual_seed(0)
    left = torch.randint(-3, 4, (rows, rank), generator=source)
    return (left @ torch.randint(-3, 4, (rank, columns), generator=source)).double()


@pytest.mark.parametrize(("columns", "rank"), [(20, 20), (20, 6), (12, 1)], ids=["full", "deficient", "one direction"])
def test_both_definitions_give_one_matrix_whatever_the_rank(columns: int, rank: int) -> None:
    found = compare_with_ridge(integers(200, columns, rank), expected_rank=rank, noise=torch.Generator())
    assert found.rank == rank
    assert found.difference < found.tolerance
    assert found.excess_norm <= 1 + 1e-12
    # A single ridge solution is still far off: the agreement is the limit's.
    assert found.ridge[0][1] > 1e-3
    assert found.ridge[0][1] > found.ridge[-1][1] > found.difference


def test_a_single_ridge_solution_differs_by_more_than_the_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "LEVELS", 1)
    found = compare_with_ridge(integers(200, 20, 6), expected_rank=6, noise=torch.Generator())
    assert found.difference > 100 * found.tolerance


def test_extrapolation_is_exact_for_polynomials() -> None:
    alphas = [0.5, 0.25, 0.125]
    value = sum(w * (3 - 2 * a + 5 * a * a) for w, a in zip(extrapolation_weights(alphas), alphas, strict=True))
    assert value == pytest.approx(3, abs=1e-12)
