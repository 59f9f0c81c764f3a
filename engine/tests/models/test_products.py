"""Products through oneDNN are those of double precision, and layers that take them keep their outputs and gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from engine.models.products import has_onednn, multiply, quicken


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_near(found: Tensor, expected: Tensor) -> None:
    """Equal to rounding in float32, of the largest number."""
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=3e-6 * float(expected.abs().max()))


@pytest.mark.parametrize(("rows", "width", "outputs"), [(1, 8, 5), (30, 64, 640), (300, 576, 512), (40, 512, 4096)])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_product_is_that_of_double_precision(rows: int, width: int, outputs: int, transposed: bool) -> None:
    left, right, bias = draw(rows, width), draw(outputs, width, seed=1), draw(outputs, seed=2)
    # The second product of a head takes a transposed slice, whose numbers do not lie row by row.
    right = right.T.contiguous().T if transposed else right
    expected = left.double() @ right.double().T
    assert_near(multiply(left, right), expected)
    assert_near(multiply(left, right, bias), expected + bias)


def test_this_build_of_pytorch_multiplies_with_onednn() -> None:
    # Were the operator to go, every descent would take nearly twice as long and say nothing.
    assert has_onednn() == torch.backends.mkldnn.is_available()


LAYERS = {"linear": nn.Linear(64, 96), "no bias": nn.Linear(64, 96, bias=False), "GPT-2's": Conv1D(96, 64)}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("runs", [2, 40])  # below and above the size from which the detour is taken
@pytest.mark.parametrize("trained", [False, True])
def test_a_quickened_layer_has_the_output_and_the_gradients_of_a_plain_one(name: str, runs: int, trained: bool) -> None:
    quick = copy.deepcopy(LAYERS[name]).requires_grad_(trained)
    exact = copy.deepcopy(quick).double()
    model = nn.Sequential(quick)
    quicken(model)
    assert type(quick) is not type(exact)
    assert isinstance(quick, type(exact))
    rows = draw(runs, 8, 64).requires_grad_(True)
    wide = rows.detach().double().requires_grad_(True)
    found, expected = model(rows), exact(wide)
    assert_near(found.detach(), expected.detach())
    asked = draw(*found.shape, seed=3)
    found.backward(asked)
    expected.backward(asked.double())
    gradients = [(rows, wide), *zip(quick.parameters(), exact.parameters(), strict=True)]
    for one, other in gradients if trained else gradients[:1]:
        assert one.grad is not None
        assert other.grad is not None
        assert_near(one.grad, other.grad)


def test_layers_that_do_more_than_a_product_stay_as_they_are() -> None:
    class Doubled(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    layer = Doubled(8, 8)
    quicken(nn.Sequential(layer))
    assert type(layer) is Doubled


def test_double_precision_stays_double() -> None:
    layer = nn.Sequential(nn.Linear(64, 96)).double()
    plain = copy.deepcopy(layer)
    quicken(layer)
    rows = draw(40, 8, 64).double()
    assert torch.equal(layer(rows), plain(rows))
