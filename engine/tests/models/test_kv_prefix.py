"""A stack behind settled tokens gives what the whole stack gives there, and so do its gradients."""

from __future__ import annotations

import pytest
import torch

from engine.arms.protocol import Positions
from engine.arms.stacks import Stack
from engine.models.kv_prefix import NextPosition, Prefix, extend_prefix
from engine.models.stacks import BlockStack
from engine.tests.tiny import FAMILIES, draw_ids, make_tiny

RUNS, TOKENS = 3, 6


def make_stack(family: str, positions: Positions = "true") -> BlockStack:
    return BlockStack(make_tiny(family, dtype=torch.float64), Stack(blocks=2), positions)


def embed(stack: BlockStack, family: str) -> torch.Tensor:
    weight = make_tiny(family, dtype=torch.float64).get_input_embeddings().weight
    return weight[draw_ids(RUNS, TOKENS)] + stack.positions(TOKENS)


@pytest.mark.parametrize("positions", ["true", "first"])
@pytest.mark.parametrize("family", FAMILIES)
def test_position_by_position_is_the_whole_at_once(family: str, positions: Positions) -> None:
    stack = make_stack(family, positions)
    e = embed(stack, family)
    whole, prefix = stack(e), Prefix()
    for t in range(TOKENS):
        here = NextPosition(stack, prefix)
        torch.testing.assert_close(here(e[:, t : t + 1])[:, 0], whole[:, t], rtol=1e-10, atol=1e-12)
        assert torch.equal(here.positions(1), stack.positions(t + 1)[t:])
        prefix = extend_prefix(stack, prefix, e[:, t : t + 1])
        assert prefix.tokens == t + 1


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gradient_at_a_position_is_that_of_the_whole(family: str) -> None:
    stack = make_stack(family)
    e = embed(stack, family)
    whole = e.clone().requires_grad_(True)
    (expected,) = torch.autograd.grad(stack(whole)[:, 4].square().sum(), whole)
    last = e[:, 4:5].clone().requires_grad_(True)
    prefix = extend_prefix(stack, Prefix(), e[:, :4])
    (found,) = torch.autograd.grad(NextPosition(stack, prefix)(last).square().sum(), last)
    torch.testing.assert_close(found[:, 0], expected[:, 4], rtol=1e-9, atol=1e-10)


def test_reading_on_leaves_the_prefix_as_it_is() -> None:
    stack = make_stack("llama")
    e = embed(stack, "llama")
    prefix = extend_prefix(stack, Prefix(), e[:, :3])
    before = [keys.clone() for keys in prefix.keys]
    NextPosition(stack, prefix)(e[:, 3:4])
    extend_prefix(stack, prefix, e[:, 3:4])
    assert prefix.tokens == 3
    assert all(torch.equal(a, b) for a, b in zip(before, prefix.keys, strict=True))


def test_prefixes_are_selected_and_repeated_run_by_run() -> None:
    stack = make_stack("gpt2")
    e = embed(stack, "gpt2")
    prefix = extend_prefix(stack, Prefix(), e[:, :3])
    chosen = prefix.select(torch.tensor([2, 0])).repeat(2)
    found = NextPosition(stack, chosen)(e[[2, 2, 0, 0], 3:4])[:, 0]
    torch.testing.assert_close(found, stack(e)[[2, 2, 0, 0], 3], rtol=1e-10, atol=1e-12)
    # Keys and values of 3 tokens, 4 heads of 8 numbers, 2 blocks, in float64.
    assert prefix.bytes_per_run == 2 * 2 * 3 * 32 * 8
    assert Prefix().bytes_per_run == 0
