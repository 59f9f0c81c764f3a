"""When activations are the same: distances against full logits, noise of layouts, eight bits, and a limit of noise."""

from __future__ import annotations

import math

import bitsandbytes.functional as bnb
import numpy as np
import pytest
import torch

from engine.arms.stacks import Stack
from engine.errors import DeclarationError
from engine.methods import activation_distance
from engine.methods.activation_distance import (
    ActivationDistance,
    RoundedActivationDistance,
    make_distance,
    measure_noise,
    read_activations,
    read_back,
    round_to_int8,
)
from engine.models.codec import Codec
from engine.models.stacks import BlockStack, whole_output
from engine.statistics.tolerance import CONTENT, tolerance_factor, tolerance_limit
from engine.tests.tiny import FAMILIES, draw_ids, make_tiny


def make_stack(family: str, *, head: bool, dtype: torch.dtype = torch.float64) -> tuple[BlockStack, Codec]:
    model = make_tiny(family, dtype=dtype)
    return BlockStack(model, Stack(blocks=2, head=head), "true"), Codec(model.get_input_embeddings().weight)


@pytest.mark.parametrize("head", [False, True], ids=["hidden states", "logits"])
def test_a_distance_is_that_of_the_whole_output(head: bool) -> None:
    stack, codec = make_stack("llama", head=head)
    one, other = codec.embed(draw_ids(2, 5)), codec.embed(draw_ids(2, 5, seed=1))
    found = ActivationDistance(stack.head).between(stack(one), stack(other))
    full, wanted = whole_output(stack, one), whole_output(stack, other)
    expected = (full - wanted).norm(dim=-1) / wanted.norm(dim=-1)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


def test_nothing_at_all_equals_nothing_alone() -> None:
    nothing, some = torch.zeros(1, 4), torch.ones(1, 4)
    assert ActivationDistance(None).between(nothing, nothing).tolist() == [0.0]
    assert float(ActivationDistance(None).between(some, nothing)) > 1e30
    assert torch.equal(round_to_int8(nothing), nothing)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_give_the_hidden_states_back(family: str) -> None:
    stack, codec = make_stack(family, head=True)
    e = codec.embed(draw_ids(2, 5)) + stack.positions(5)
    assert stack.head is not None
    torch.testing.assert_close(read_activations(stack, e, int8=False), stack(e), rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(read_back(stack(e) @ stack.head.T, stack.head), stack(e), rtol=1e-8, atol=1e-9)


def test_a_head_that_shows_less_leaves_the_rest_at_zero() -> None:
    head = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)).double()
    head[:, 3] = 0
    hidden = torch.tensor([[1.0, -2.0, 3.0, 4.0]], dtype=torch.float64)
    torch.testing.assert_close(read_back(hidden @ head.T, head), torch.tensor([[1.0, -2.0, 3.0, 0.0]]).double())


def test_eight_bits_are_those_of_bitsandbytes() -> None:
    rows = torch.randn(5, 64, generator=torch.Generator().manual_seed(3))
    ints, scales, _ = bnb.int8_vectorwise_quant(rows.clone())
    expected = ints.float() * scales[:, None] / 127
    # A number halfway between two integers may be rounded either way.
    difference = (round_to_int8(rows) - expected).abs() / (scales[:, None] / 127)
    assert float((difference > 0.5).float().mean()) < 0.01
    assert float(difference.max()) <= 1.001


@pytest.mark.parametrize("head", [False, True], ids=["hidden states", "logits"])
@pytest.mark.parametrize("family", FAMILIES)
def test_noise_is_rounding_and_epsilon_lies_above_it(family: str, head: bool) -> None:
    stack, codec = make_stack(family, head=head, dtype=torch.float32)
    noise = measure_noise(stack, codec, draw_ids(16, 5), together=3)
    assert noise.shape == (16, 5)
    eps = torch.finfo(torch.float32).eps
    assert float(noise.min()) >= eps
    # Two blocks of sums of 32 to 48 products: some dozens of roundings; logits are read back over cond(U)², once.
    assert float(noise.max()) < (1e4 if head else 100) * eps
    (limit,) = set(ActivationDistance(stack.head).epsilons(noise))
    assert float(noise.max()) <= limit < 1e-2


@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_rounded_lies_half_a_step_from_its_equals_and_farther_from_others(family: str) -> None:
    stack, codec = make_stack(family, head=False, dtype=torch.float32)
    rounded = RoundedActivationDistance()
    limits = rounded.epsilons(measure_noise(stack, codec, draw_ids(16, 5), together=3, distance=rounded))
    assert len(limits) == 5
    assert all(0.5 < limit < 0.51 for limit in limits)
    e, others = (codec.embed(draw_ids(16, 5, seed=seed)) + stack.positions(5) for seed in (1, 2))
    seen = read_activations(stack, e, int8=True)
    again = rounded.between(torch.cat([stack(part) for part in e.split(3)]), seen)
    assert 0.4 < float(again.median()) <= float(again.max()) < min(limits)
    assert float(rounded.between(stack(others), seen).min()) > 1


def test_one_huge_number_hides_the_rest_from_a_relative_distance_but_not_from_steps() -> None:
    """As at an attention sink: rounding changes the other numbers by more than two tokens differ in them."""
    own = torch.full((1, 64), 0.45)
    own[:, 0] = 127.0
    other = own.clone()
    other[:, 5] = 1.4
    seen = round_to_int8(own)
    relative, steps = ActivationDistance(None), RoundedActivationDistance()
    assert float(relative.between(other, seen)) < 1.1 * float(relative.between(own, seen))
    assert float(steps.between(own, seen)) == pytest.approx(0.45)
    assert float(steps.between(other, seen)) == pytest.approx(1.4)


def test_rounded_logits_are_refused() -> None:
    stack, _ = make_stack("llama", head=True)
    with pytest.raises(
        DeclarationError, match="make_distance: got logits rounded to 8 bits, expected a stack without head"
    ):
        make_distance(stack.head, int8=True)


def test_noise_is_the_same_in_slices_of_less_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    stack, codec = make_stack("llama", head=False)
    whole = measure_noise(stack, codec, draw_ids(7, 5), together=3)
    monkeypatch.setattr(activation_distance, "NOISE_BYTES", 1)
    # Other layouts round otherwise; of float64 both are next to nothing.
    assert float((measure_noise(stack, codec, draw_ids(7, 5), together=3) - whole).abs().max()) < 1e-12


def test_nearly_all_of_a_population_stays_below_the_limit() -> None:
    source = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        limit = tolerance_limit(np.exp(source.normal(2.0, 0.5, size=12)).tolist())
        # The share of the population below it, by the normal distribution itself.
        held += 0.5 * math.erfc(-(math.log(limit) - 2.0) / 0.5 / math.sqrt(2)) >= CONTENT
    # 95 % of 400 with a standard error of 1.1 points: 3 standard errors below.
    assert held / 400 >= 0.917


def test_the_factor_falls_with_more_values_and_stays_above_the_quantile() -> None:
    factors = [tolerance_factor(n) for n in (4, 8, 16, 64, 1000)]
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] > 4.753  # the normal quantile of 1 − 1e-6


def test_the_limit_is_never_below_what_was_seen() -> None:
    assert tolerance_limit([2.0, 2.0, 2.0]) == pytest.approx(2.0)
    assert tolerance_limit([1e-7] * 500 + [1.0]) >= 1.0


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 0.0]], ids=["none", "one", "a zero"])
def test_too_little_noise_is_refused(values: list[float]) -> None:
    with pytest.raises(DeclarationError, match="tolerance_limit"):
        tolerance_limit(values)
