"""Jacobians, factorizations by slices, and shares of gradients are those of plain linear algebra."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from engine.methods.conditioning import LEAST_ROWS, ColumnSpace, differentiate_rows, factor_rows

ROUNDING = 1e-12
"""Relative, in float64: sums of some thousand terms keep twelve of sixteen digits."""


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("together", [1, 7, 20, 100])
def test_a_jacobian_is_the_librarys_however_many_outputs_fill_a_pass(together: int) -> None:
    matrix, point = draw(20, 5), draw(5, seed=1)

    def function(copies: Tensor) -> Tensor:
        return torch.tanh(copies @ matrix.T) * copies.square().sum(1, keepdim=True)

    def single(x: Tensor) -> Tensor:
        return function(x[None])[0]

    expected = torch.autograd.functional.jacobian(single, point)
    found = differentiate_rows(function, point, together=together)
    assert found.shape == (20, 5)
    torch.testing.assert_close(found, expected, rtol=ROUNDING, atol=ROUNDING)


def test_a_jacobian_is_what_small_steps_give() -> None:
    point, step = draw(4), 1e-6
    found = differentiate_rows(lambda copies: torch.sin(copies) * copies.flip(1), point, together=3)
    for k in range(4):
        ahead, behind = point.clone(), point.clone()
        ahead[k] += step
        behind[k] -= step
        slope = (torch.sin(ahead) * ahead.flip(0) - torch.sin(behind) * behind.flip(0)) / (2 * step)
        # A central difference is off by step² and by rounding over step: 1e-12 and 1e-10.
        torch.testing.assert_close(found[:, k], slope, rtol=0, atol=1e-8)


@pytest.mark.parametrize("rows", [3, 8, 2 * LEAST_ROWS + 5], ids=["fewer rows than columns", "one slice", "slices"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_factor_has_the_singular_values_of_all_rows(rows: int, weighted: bool) -> None:
    matrix, factors = draw(rows, 6), draw(rows, seed=1).abs()
    found = factor_rows(matrix, factors if weighted else None)
    expected = factors[:, None] * matrix if weighted else matrix
    assert found.shape == (min(rows, 6), 6)
    torch.testing.assert_close(torch.linalg.svdvals(found), torch.linalg.svdvals(expected), rtol=ROUNDING, atol=0)


def test_a_factor_of_float32_rows_is_made_in_float64() -> None:
    matrix = draw(50, 6).float()
    torch.testing.assert_close(
        torch.linalg.svdvals(factor_rows(matrix)), torch.linalg.svdvals(matrix.double()), rtol=ROUNDING, atol=0
    )


def project(matrix: Tensor, gradient: Tensor) -> Tensor:
    """The part of each row in the span of the columns, by least squares."""
    return (matrix @ torch.linalg.lstsq(matrix, gradient.T, driver="gelsd").solution).T


@pytest.mark.parametrize("rows", [4, 40, LEAST_ROWS + 9])
@pytest.mark.parametrize("rank", [2, 4])
def test_a_gradients_parts_are_those_of_a_least_squares_projection(rows: int, rank: int) -> None:
    matrix, gradient = draw(rows, rank) @ draw(rank, 4, seed=1), draw(3, rows, seed=2)
    space = ColumnSpace(matrix)
    found = space.split(gradient)
    inside = project(matrix, gradient)
    whole = gradient.norm()
    assert int(space.rank) == rank
    # Where nothing is outside, the difference of two squares leaves the root of their rounding.
    nearly = math.sqrt(1e-15) if rows == rank else ROUNDING
    assert float(found.outside) == pytest.approx(float((gradient - inside).norm() / whole), rel=1e-9, abs=10 * nearly)
    assert float(found.inside) == pytest.approx(float(inside.norm() / whole), rel=1e-9)
    arriving = (gradient @ matrix).norm() / (torch.linalg.matrix_norm(matrix, 2) * whole)
    assert float(found.sensitivity) == pytest.approx(float(arriving), rel=1e-9)
    assert float(found.outside.square() + found.inside.square()) == pytest.approx(1, rel=1e-9)


def test_a_gradient_in_the_span_passes_and_one_across_it_does_not() -> None:
    matrix = torch.zeros(5, 2, dtype=torch.float64)
    matrix[0, 0], matrix[1, 1] = 3.0, 1.0
    along, across = torch.zeros(1, 5, dtype=torch.float64), torch.zeros(1, 5, dtype=torch.float64)
    along[0, 1], across[0, 4] = 2.0, 7.0
    passed, lost = ColumnSpace(matrix).split(along), ColumnSpace(matrix).split(across)
    assert [float(x) for x in (passed.outside, passed.inside)] == [0, 1]
    assert float(passed.sensitivity) == pytest.approx(1 / 3)
    assert [float(x) for x in (lost.outside, lost.inside, lost.sensitivity)] == [1, 0, 0]


def test_no_gradient_has_no_share() -> None:
    assert math.isnan(float(ColumnSpace(draw(5, 2)).split(torch.zeros(1, 5, dtype=torch.float64)).outside))


def test_shares_are_found_where_nothing_can_be_read() -> None:
    space = ColumnSpace(torch.zeros(9, 3, device="meta"))
    found = space.split(torch.zeros(2, 9, dtype=torch.float64, device="meta"))
    assert {x.device.type for x in (found.outside, found.inside, found.sensitivity, space.rank)} == {"meta"}
