"""Conditioning is measured as by hand: the library's own forward pass, dense Jacobians, least squares."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from engine.arms.protocol import CONTROLLED, DIRECT
from engine.arms.settings import StackSettings, Unit
from engine.arms.stacks import SentenceNet, Stack
from engine.errors import DeclarationError, SubjectError
from engine.experiments.conditioning.arm import (
    JacobianArm,
    JacobianResult,
    JacobianRun,
    LogitGradientArm,
    LogitGradientResult,
)
from engine.experiments.conditioning.measure import differentiate_logits, find_singular_values
from engine.experiments.conditioning.procedure import choose_blocks
from engine.experiments.inputs import make_generator
from engine.experiments.measure_arm import measure_arm
from engine.methods.conditioning import ColumnSpace
from engine.models.codec import Codec
from engine.models.decoder import find_blocks, hidden_of
from engine.models.first_input import read_embeddings
from engine.models.loaded import LoadedModels
from engine.models.stacks import BlockStack
from engine.tests.every_type import BLOCKS, VOCAB, WIDTH, make_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

CAP = 3.0
KINDS: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "llama": {},
    "gemma2": {"final_logit_softcapping": CAP},
    "gemma3_text": {},
}
"""Learned and rotary positions, windows of some blocks, a capped head."""

UNITS = (Unit(prompt="a cat", seed=0), Unit(prompt="a b c d", seed=1))
CLOSE = 1e-9
"""Relative to the largest value, in float64: three blocks and a decomposition keep more than nine digits."""


class TinyModels(LoadedModels):
    """A tiny model of a type, whose tokens are letters. opens: tokens before every text."""

    def __init__(self, opens: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.opens, self.made = opens, dict[tuple[str, str, str], PreTrainedModel]()

    def model(self, subject: str, dtype: str, device: str) -> PreTrainedModel:
        key = (subject, dtype, device)
        if key not in self.made:
            self.made[key] = make_model(subject, **KINDS[subject]).to(device, getattr(torch, dtype))  # pyright: ignore[reportCallIssue, reportArgumentType]
        return self.made[key]

    def opening(self, subject: str) -> tuple[int, ...]:
        return self.opens

    def tokenizer(self, subject: str) -> Any:
        return lambda text, **_: SimpleNamespace(input_ids=read_ids(text))

    def codec(self, subject: str, dtype: str, device: str) -> Codec:
        weight = read_embeddings(self.model(subject, dtype, device))
        return Codec(weight, torch.eye(WIDTH, device=device) if device == "meta" else None)


def read_ids(text: str) -> list[int]:
    return [ord(letter) % VOCAB for letter in text]


def make_settings(kind: str, stack: Any, *, dtype: str = "float64", device: str = "cpu") -> StackSettings:
    return StackSettings(subject=kind, source="", stack=stack, protocol=DIRECT, dtype=dtype, device=device)


def run_library(model: PreTrainedModel, ids: list[int], first: int, last: int, x: Tensor | None = None) -> Any:
    """What block `first` gets at the last position, block `last`'s output there, and all logits there.

    x: put in the place of what block `first` gets at the last position.
    """
    blocks: Any = model.get_submodule(find_blocks(model))
    seen: dict[str, Tensor] = {}

    def change(module: Any, given: tuple[Any, ...], options: dict[str, Any]) -> Any:
        hidden = given[0] if given else options["hidden_states"]
        seen["in"] = hidden[0, -1]
        if x is None:
            return None
        changed = torch.cat([hidden[:, :-1], x[None, None]], dim=1)
        return ((changed, *given[1:]), options) if given else (given, {**options, "hidden_states": changed})

    def watch(module: Any, given: Any, output: Any) -> None:
        seen["out"] = hidden_of(output)[0, -1]

    hooks = (
        blocks[first - 1].register_forward_pre_hook(change, with_kwargs=True),
        blocks[last - 1].register_forward_hook(watch),
    )
    run: Any = model
    logits = run(torch.tensor([ids]), use_cache=False).logits[0, -1]
    for hook in hooks:
        hook.remove()
    return SimpleNamespace(input=seen["in"].detach(), output=seen["out"], logits=logits)


def differentiate_library(model: PreTrainedModel, ids: list[int], first: int, last: int, what: str) -> Tensor:
    point = run_library(model, ids, first, last).input
    found: Any = torch.autograd.functional.jacobian(
        lambda x: getattr(run_library(model, ids, first, last, x), what), point
    )
    return found


def expect_values(found: Tensor, jacobian: Tensor, close: float = CLOSE) -> None:
    expected = torch.linalg.svdvals(jacobian.double())
    torch.testing.assert_close(found, expected[: len(found)], rtol=0, atol=close * float(expected[0]))
    assert len(found) == min(jacobian.shape)


@pytest.mark.parametrize(("first", "last"), [(1, 1), (1, 3), (2, 2), (2, 4), (4, 4)])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("opens", [(), (1, 2)], ids=["", "behind an opening"])
def test_blocks_are_differentiated_as_the_library_would(
    kind: str, first: int, last: int, opens: tuple[int, ...]
) -> None:
    models = TinyModels(opens)
    arm = JacobianArm(settings=make_settings(kind, Stack(blocks=last)), units=UNITS, first_block=first)
    for unit, found in zip(UNITS, find_singular_values(arm, models), strict=True):
        model = models.model(kind, "float64", "cpu")
        ids = [*opens, *read_ids(unit.prompt)]
        expect_values(found, differentiate_library(model, ids, first, last, "output"))


@pytest.mark.parametrize("first", [1, BLOCKS])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_have_the_singular_values_of_the_dense_jacobian_of_the_librarys_own(kind: str, first: int) -> None:
    models = TinyModels()
    whole = Stack(blocks=BLOCKS, head=True, final_norm=True)
    arm = JacobianArm(settings=make_settings(kind, whole), units=UNITS, first_block=first)
    for unit, found in zip(UNITS, find_singular_values(arm, models), strict=True):
        dense = differentiate_library(
            models.model(kind, "float64", "cpu"), read_ids(unit.prompt), first, BLOCKS, "logits"
        )
        assert dense.shape == (VOCAB, WIDTH)
        # The library's RMSNorm computes in float32, and here other numbers pass it on the way back.
        expect_values(found, dense, 1e-6)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_head_right_behind_a_block_is_multiplied_with_its_jacobian(kind: str) -> None:
    models = TinyModels()
    arm = JacobianArm(settings=make_settings(kind, Stack(blocks=1, head=True)), units=UNITS)
    model = models.model(kind, "float64", "cpu")
    head: Any = model.get_output_embeddings()
    for unit, found in zip(UNITS, find_singular_values(arm, models), strict=True):
        expect_values(found, head.weight @ differentiate_library(model, read_ids(unit.prompt), 1, 1, "output"))


def test_a_cap_behind_blocks_alone_is_refused() -> None:
    arm = JacobianArm(settings=make_settings("gemma2", Stack(blocks=1, head=True)), units=UNITS)
    with pytest.raises(SubjectError, match="bent to stay below 3, expected a linear head"):
        measure_arm(arm, TinyModels())


def test_singular_values_are_summarized_by_their_percentiles() -> None:
    models = TinyModels()
    arm = JacobianArm(settings=make_settings("gpt2", Stack(blocks=2)), units=UNITS, first_block=2)
    result = measure_arm(arm, models)
    assert isinstance(result, JacobianResult)
    for unit, run, values in zip(UNITS, result.runs, find_singular_values(arm, models), strict=True):
        numbers = values.numpy()
        assert (run.prompt, run.count) == (unit.prompt, WIDTH)
        assert [run.largest, run.smallest] == [numbers.max(), numbers.min()]
        assert run.high == pytest.approx(np.percentile(numbers, 99))
        assert run.low == pytest.approx(np.percentile(numbers, 1))
        assert run.condition == pytest.approx(run.high / run.low)
        assert run.log_condition == pytest.approx(math.log(run.condition))


def test_float32_gives_the_values_of_float64_up_to_rounding() -> None:
    models = TinyModels()
    single, double = (
        find_singular_values(
            JacobianArm(settings=make_settings("llama", Stack(blocks=2), dtype=dtype), units=UNITS), models
        )
        for dtype in ("float32", "float64")
    )
    for one, other in zip(single, double, strict=True):
        assert one.dtype is other.dtype is torch.float64
        # Some hundred roundings of 6e-8.
        torch.testing.assert_close(one, other, rtol=0, atol=2e-5 * float(other[0]))


@pytest.mark.parametrize(
    ("low", "condition"), [(0.5, 4.0), (0.0, 2.0**24), (1e-12, 2.0**24)], ids=["plain", "none", "rounding"]
)
def test_a_condition_number_ends_where_rounding_begins(low: float, condition: float) -> None:
    assert JacobianRun(prompt="", count=9, largest=3.0, high=2.0, low=low, smallest=0.0).condition == condition


def test_nothing_at_all_is_conditioned_worst() -> None:
    assert JacobianRun(prompt="", count=9, largest=0.0, high=0.0, low=0.0, smallest=0.0).condition == 2.0**24


@pytest.mark.parametrize(
    ("stack", "first"), [(Stack(blocks=2), 3), (Stack(blocks=2), 0), (Stack(blocks="all"), 1), (SentenceNet(), 1)]
)
def test_a_block_that_the_stack_lacks_is_one_line(stack: Any, first: int) -> None:
    with pytest.raises(DeclarationError, match=rf"^JacobianArm: got block {first} of .*; give the stack"):
        JacobianArm(settings=make_settings("gpt2", stack), units=UNITS, first_block=first)


@pytest.mark.parametrize(
    ("depth", "expected"),
    [(1, (1,)), (2, (1, 2)), (5, (1, 2, 3, 4, 5)), (7, tuple(range(1, 8))), (30, (1, 6, 11, 15, 20, 25, 30))],
)
def test_blocks_are_shown_from_the_first_to_the_last(depth: int, expected: tuple[int, ...]) -> None:
    assert choose_blocks(depth, 7) == expected


@pytest.mark.parametrize("depth", range(1, 60))
def test_no_block_is_shown_twice(depth: int) -> None:
    found = choose_blocks(depth, 7)
    assert (found[0], found[-1], len(found)) == (1, depth, min(7, depth))
    assert sorted({*found}) == [*found]


WHOLE = Stack(blocks=BLOCKS, head=True, final_norm=True)


def literal_shares(matrix: Tensor, gradient: Tensor) -> list[float]:
    """Outside, inside and sensitivity by least squares and a dense norm."""
    inside = matrix @ torch.linalg.lstsq(matrix, gradient.T, driver="gelsd").solution
    whole = gradient.norm()
    arriving = (gradient @ matrix).norm() / (torch.linalg.matrix_norm(matrix, 2) * whole)
    return [float((gradient.T - inside).norm() / whole), float(inside.norm() / whole), float(arriving)]


@pytest.mark.parametrize("kind", KINDS)
def test_shares_of_gradients_are_those_of_plain_ones(kind: str) -> None:
    models = TinyModels()
    result = measure_arm(LogitGradientArm(settings=make_settings(kind, WHOLE), units=UNITS), models)
    assert isinstance(result, LogitGradientResult)
    model: Any = models.model(kind, "float64", "cpu")
    matrix, cap = model.get_output_embeddings().weight, KINDS[kind].get("final_logit_softcapping")
    assert result.rank == WIDTH

    def bend(plain: Tensor) -> Tensor:
        return plain if cap is None else cap * torch.tanh(plain / cap)

    def find_plain(inputs: Tensor) -> Tensor:
        """What the head's matrix gives for inputs of the first block, [tokens, vocab]."""
        hidden = BlockStack(model, replace(WHOLE, head=False), "true")(inputs[None])[0]
        return (hidden @ matrix.T).detach().requires_grad_(True)

    for unit, run in zip(UNITS, result.runs, strict=True):
        ids = read_ids(unit.prompt)
        positions = BlockStack(model, WHOLE, "true").positions(len(ids))
        e = models.codec(kind, "float64", "cpu").embed(torch.tensor(ids)) + positions
        plain = find_plain(e)
        said = bend(plain)
        torch.testing.assert_close(said, model(torch.tensor([ids])).logits[0], rtol=1e-9, atol=1e-9)
        loss = torch.nn.functional.cross_entropy(said[:-1], torch.tensor(ids[1:]))
        (gradient,) = torch.autograd.grad(loss, plain)
        noise = torch.randn(e.shape, generator=make_generator("start", unit.seed)).double()
        start = find_plain(noise * e.std())
        (l1,) = torch.autograd.grad((bend(start) - said.detach()).abs().sum(), start)
        assert run.tokens == len(ids) - 1
        expected = [*literal_shares(matrix, gradient), *literal_shares(matrix, l1)]
        found = [run.outside, run.inside, run.sensitivity, run.l1_outside, run.l1_inside, run.l1_sensitivity]
        assert found == pytest.approx(expected, rel=1e-8)


def test_gradients_need_a_head() -> None:
    with pytest.raises(DeclarationError, match=r"^LogitGradientArm: got Stack.*, expected a head; ask for a stack"):
        LogitGradientArm(settings=make_settings("gpt2", Stack(blocks=1)), units=UNITS)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("first", [1, 2])
def test_conditioning_is_measured_where_nothing_can_be_read(kind: str, first: int) -> None:
    models = TinyModels()
    settings = make_settings(kind, Stack(blocks=2, head=True), dtype="float32", device="meta")
    values = find_singular_values(JacobianArm(settings=settings, units=UNITS, first_block=first), models)
    whole = replace(settings, stack=WHOLE, protocol=CONTROLLED)
    stack = models.stack(whole)
    assert isinstance(stack, BlockStack)
    assert stack.head is not None
    gradients = differentiate_logits(whole, UNITS[0], models, stack)
    passed = ColumnSpace(stack.head).split(gradients.loss)
    found = [*values, gradients.loss, gradients.l1, passed.outside, passed.inside, passed.sensitivity]
    assert {tensor.device.type for tensor in found} == {"meta"}
    assert [len(one) for one in values] == [WIDTH, WIDTH]
    assert (gradients.loss.shape, gradients.l1.shape) == ((4, VOCAB), (5, VOCAB))
