"""What the first block gets for a token is what the codec holds, whatever the library does before."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.arms.stacks import Stack
from engine.errors import SubjectError
from engine.models.codec import Codec
from engine.models.decoder import Decoder
from engine.models.first_input import find_rule, read_embeddings
from engine.models.stacks import BlockStack, embedding_weight
from engine.tests.every_type import VOCAB, WIDTH, make_model

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")]

FACTORS: dict[str, float | None] = {
    "gpt2": 1.0,
    "llama": 1.0,
    "opt": 1.0,
    "gemma": 1.0,  # scaled within its embedding, as gemma3_text
    "gemma3_text": 1.0,
    "granite": 12.0,
    "bloom": None,  # a norm
}


@pytest.mark.parametrize("kind", FACTORS)
def test_token_and_position_together_are_what_the_first_block_gets(kind: str) -> None:
    model = make_model(kind)
    if kind == "bloom":
        norm: Any = model.get_submodule("transformer.word_embeddings_layernorm")
        norm.bias += torch.linspace(-1, 1, WIDTH)  # trained ones are not zero
    if kind == "granite":
        model.get_submodule("model").embedding_multiplier = 12.0  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    assert find_rule(model).factor == pytest.approx(FACTORS[kind])
    ids = torch.randint(3, VOCAB, (2, 9), generator=torch.Generator().manual_seed(3))
    table: Any = model.get_input_embeddings()
    expected = Decoder(model, 1, final_norm=False, positions="true").first_inputs(table(ids))
    codec, stack = Codec(read_embeddings(model)), BlockStack(model, Stack(blocks=1), "true")
    found = codec.embed(ids) + stack.positions(9)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral", "opt"])
def test_where_the_library_changes_nothing_it_is_the_matrix_itself(kind: str) -> None:
    model = make_model(kind)
    assert read_embeddings(model) is embedding_weight(model)


def test_scaled_embeddings_are_scaled_by_the_root_of_their_size() -> None:
    model = make_model("gemma3_text")
    torch.testing.assert_close(read_embeddings(model), WIDTH**0.5 * embedding_weight(model))


def test_positions_that_pass_a_norm_with_the_embeddings_are_refused() -> None:
    with pytest.raises(SubjectError, match="got a model of type bert whose positions pass a norm with its embeddings"):
        find_rule(make_model("bert"))
