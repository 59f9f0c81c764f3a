"""A stack is the library's own forward pass, cut: equal logits, causal, every position seen."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.arms.protocol import Positions
from engine.arms.stacks import SentenceNet, Stack
from engine.errors import ShapeError, SubjectError
from engine.models.stacks import BlockStack, FullyConnected, whole_output
from engine.tests.tiny import FAMILIES, draw_ids, make_tiny

WHOLE = Stack(blocks=3, head=True, final_norm=True)
both_families = pytest.mark.parametrize("family", FAMILIES)
both_attentions = pytest.mark.parametrize("attention", ["eager", "sdpa"])


def embed(stack: BlockStack, family: str, ids: Tensor) -> Tensor:
    weight = make_tiny(family).get_input_embeddings().weight
    return weight[ids] + stack.positions(ids.shape[1])


@both_families
@both_attentions
def test_with_all_blocks_norm_and_head_it_gives_the_librarys_logits(family: str, attention: str) -> None:
    model, ids = make_tiny(family, attention=attention), draw_ids(3, 7)
    stack = BlockStack(model, WHOLE, "true")
    assert stack.head is not None
    logits = stack(embed(stack, family, ids)) @ stack.head.T
    # Same modules in the same order: what differs is the mask's form, a few float32 roundings.
    torch.testing.assert_close(logits, model(ids).logits, atol=1e-4, rtol=0)


@both_families
@both_attentions
@pytest.mark.parametrize("positions", ["first", "true"])
def test_a_later_token_never_changes_an_earlier_position(family: str, attention: str, positions: Positions) -> None:
    stack = BlockStack(make_tiny(family, attention=attention), Stack(blocks=2), positions)
    before = embed(stack, family, draw_ids(1, 6))
    after = before.clone()
    # Not a constant: a layer norm would take that away again.
    after[:, 4] = torch.randn(32, generator=torch.Generator().manual_seed(2))
    changed = (stack(after) - stack(before)).abs().amax(-1)[0]
    assert changed[:4].max() == 0
    # And attention does look back: equal position ids must not be mistaken for packed sequences.
    assert changed[4] > 1e-3
    assert changed[5] > 1e-3


@both_families
def test_the_first_blocks_are_the_models_hidden_states(family: str) -> None:
    model, ids = make_tiny(family), draw_ids(2, 5)
    hidden = model(ids, output_hidden_states=True).hidden_states
    for blocks in (1, 2):
        stack = BlockStack(model, Stack(blocks=blocks), "true")
        torch.testing.assert_close(stack(embed(stack, family, ids)), hidden[blocks], atol=1e-5, rtol=1e-5)


@both_families
def test_padding_on_the_right_changes_nothing_before_it(family: str) -> None:
    stack = BlockStack(make_tiny(family), Stack(blocks=3), "true")
    short = embed(stack, family, draw_ids(2, 4))
    padded = torch.nn.functional.pad(short, (0, 0, 0, 3))
    torch.testing.assert_close(stack(padded)[:, :4], stack(short), atol=1e-5, rtol=1e-5)


@both_families
def test_the_stack_shares_the_models_weights_and_leaves_the_model_whole(family: str) -> None:
    model, ids = make_tiny(family), draw_ids(1, 5)
    before = model(ids).logits
    stack = BlockStack(model, Stack(blocks=1, head=True), "first")
    stack(embed(stack, family, ids))
    assert torch.equal(model(ids).logits, before)
    assert stack.head is model.get_output_embeddings().weight


def test_gpt2s_first_position_is_given_to_every_token_under_the_page() -> None:
    model = make_tiny("gpt2")
    first, true = (BlockStack(model, Stack(blocks=1), kind) for kind in ("first", "true"))
    learned: Tensor = model.base_model.wpe.weight  # pyright: ignore[reportAssignmentType]
    assert torch.equal(first.positions(4), learned[[0, 0, 0, 0]])
    assert torch.equal(true.positions(4), learned[:4])


def test_llamas_rotation_is_the_same_for_every_token_under_the_page() -> None:
    stack = BlockStack(make_tiny("llama"), Stack(blocks=1), "first")
    e = torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(1))
    swapped = e[:, [1, 0, 2]]
    # Without positions the last token sees a set, not a sequence.
    torch.testing.assert_close(stack(swapped)[:, 2], stack(e)[:, 2], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("blocks", [0, 4])
def test_a_stack_deeper_than_the_model_is_refused_with_its_depth(blocks: int) -> None:
    with pytest.raises(SubjectError, match=rf"got {blocks} blocks, expected 1 to 3"):
        BlockStack(make_tiny("gpt2"), Stack(blocks=blocks), "true")


def test_a_model_whose_blocks_are_not_found_is_refused() -> None:
    model = make_tiny("gpt2")
    model.config.num_hidden_layers = 4
    with pytest.raises(
        SubjectError, match="got a model of type gpt2 without a list of 4 blocks, expected a decoder of blocks"
    ):
        BlockStack(model, Stack(blocks=1), "true")


def test_wrong_shapes_are_refused() -> None:
    stack = BlockStack(make_tiny("gpt2"), Stack(blocks=1), "true")
    with pytest.raises(ShapeError, match="last axis is 211, expected d_model=32"):
        stack(torch.zeros(1, 2, 211))
    with pytest.raises(ShapeError, match="65 tokens, expected at most the context of 64"):
        stack.positions(65)


@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
def test_a_sentence_net_is_two_linear_maps_with_a_gelu_between(narrow: bool) -> None:
    spec = SentenceNet(tokens=3, narrow=narrow, seed=5)
    net = FullyConnected(spec, 8, dtype=torch.float64, device=torch.device("cpu"))
    same = FullyConnected(spec, 8, dtype=torch.float64, device=torch.device("cpu"))
    e = torch.randn(2, 3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first, last = net.layers[0], net.layers[2]
    inner = e.reshape(2, 24) @ first.weight.T + first.bias  # pyright: ignore
    gelu = inner * (1 + torch.erf(inner / 2**0.5)) / 2
    expected = gelu @ last.weight.T + last.bias  # pyright: ignore
    assert expected.shape[1] == (24 if narrow else 96)
    torch.testing.assert_close(whole_output(net, e)[:, 0] + last.bias, expected, atol=1e-12, rtol=1e-12)
    assert torch.equal(same(e), net(e))


def test_a_sentence_net_refuses_other_lengths() -> None:
    net = FullyConnected(SentenceNet(tokens=3), 8, dtype=torch.float32, device=torch.device("cpu"))
    with pytest.raises(ShapeError, match="cut the prompt to the net's length"):
        net(torch.zeros(1, 4, 8))


def test_building_a_net_leaves_the_callers_random_state_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    FullyConnected(SentenceNet(tokens=2), 4, dtype=torch.float32, device=torch.device("cpu"))
    assert torch.equal(torch.rand(1), expected)
