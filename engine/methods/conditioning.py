"""How a function conditions gradients: the Jacobian of one position, and what a head's matrix lets through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_ROWS = 4096
"""Rows of the smallest slice of a matrix that is factorized slice by slice."""


def differentiate_rows(function: Callable[[Tensor], Tensor], point: Tensor, *, together: int) -> Tensor:
    """The Jacobian of a function at a point, by one gradient for each output: [width] → [outputs, width].

    function: [copies, width] → [copies, outputs], each copy by itself. together: outputs that are differentiated in one
    backward pass, each through its own copy of the input.
    """
    with torch.no_grad():
        outputs = function(point[None]).shape[1]
    rows: list[Tensor] = []
    for own in torch.arange(outputs, device=point.device).split(together):
        copies = point.detach().expand(len(own), -1).clone().requires_grad_(True)
        # One output is picked from each copy, so that the gradient at a copy is that of one output.
        picked = function(copies).gather(1, own[:, None])
        (gradients,) = torch.autograd.grad(picked.sum(), copies)
        rows.append(gradients)
    return torch.cat(rows)


def factor_rows(matrix: Tensor, factors: Tensor | None = None) -> Tensor:
    """R of the matrix's QR decomposition in float64: [rows, columns] → [at most columns, columns].

    R·x is as long as matrix·x for every x, so that R stands for a matrix of very many rows. factors: of its rows.
    Source: Demmel et al. 2012 (tall and skinny matrices, slice by slice).
    """
    found: Tensor | None = None
    first = 0
    for part in matrix.split(max(LEAST_ROWS, 4 * matrix.shape[1])):
        rows = part.double()
        if factors is not None:
            rows = factors[first : first + len(part), None].double() * rows
        found = torch.linalg.qr(rows if found is None else torch.cat([found, rows]), mode="r").R
        first += len(part)
    assert found is not None
    return found


@dataclass(frozen=True, kw_only=True)
class PassedGradient:
    """What a matrix W [outputs, d] lets through of a gradient G [tokens, outputs], in float64 and on its device.

    outside: ‖G − PG‖_F / ‖G‖_F, P the projector onto W's columns. inside: ‖PG‖_F / ‖G‖_F.
    sensitivity: ‖GW‖_F / (‖W‖₂ ‖G‖_F), the length that arrives in front of W, over the most that could.
    NaN where G is zero.
    """

    outside: Tensor
    inside: Tensor
    sensitivity: Tensor


class ColumnSpace:
    """The columns of a matrix [outputs, d]: a gradient's part in their span is all that passes the matrix.

    rank: a tensor on the matrix's device.
    """

    def __init__(self, matrix: Tensor) -> None:
        self._matrix = matrix
        _, self._sizes, self._right = torch.linalg.svd(factor_rows(matrix), full_matrices=False)
        # The numbers are taken as they are, so that float64 alone limits the rank. Strictly greater: zeros span none.
        least = max(matrix.shape) * torch.finfo(torch.float64).eps * self._sizes[0]
        spanned = self._sizes > least
        self.rank = spanned.sum()
        self._inverse = torch.where(spanned, 1 / self._sizes, 0.0)

    def split(self, gradient: Tensor) -> PassedGradient:
        """gradient: [tokens, outputs] in float64."""
        each = max(LEAST_ROWS, self._matrix.shape[1])
        parts = zip(gradient.split(each, dim=1), self._matrix.split(each), strict=True)
        arriving = torch.stack([part @ rows.double() for part, rows in parts]).sum(0)  # GW, [tokens, d]
        # W = U·S·Vᵀ and so PG = (GW · V · S⁻¹)·Uᵀ, whose length U does not change.
        inside = ((arriving @ self._right.T) * self._inverse).norm()
        whole = gradient.norm()
        # Their squares add up to that of G; rounding may exceed it.
        outside = (whole.square() - inside.square()).clamp_min(0).sqrt()
        return PassedGradient(
            outside=outside / whole,
            inside=inside / whole,
            sensitivity=arriving.norm() / (self._sizes[0] * whole),
        )
