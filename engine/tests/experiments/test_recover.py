"""`engine.recover`: a model and activations in, tokens with their margins out."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

import engine
from engine.errors import InapplicableError, ShapeError, SubjectError, UsageError
from engine.tests.every_type import VOCAB, make_model

pytestmark = [
    # Models of some types warn of what their library will change.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


STEP = 0.2
"""The standard deviation of the tiny models' embeddings. One test lets it be tuned."""

FEW = 20
"""Iterations that are enough for a guess among so few tokens, since guesses are checked."""


def draw(*shape: int) -> Tensor:
    return torch.randint(3, VOCAB, shape, generator=torch.Generator().manual_seed(4))


def observe(model: PreTrainedModel, ids: Tensor, blocks: int) -> Tensor:
    """Hidden states as the library's users get them."""
    run: Any = model
    with torch.no_grad():
        return run(ids, output_hidden_states=True, use_cache=False).hidden_states[blocks]


@pytest.mark.parametrize("kind", ["gpt2", pytest.param("mistral", marks=pytest.mark.slow), "gemma3_text", "bloom"])
def test_the_tokens_of_prompts_come_back_from_the_librarys_own_hidden_states(kind: str) -> None:
    model, ids = make_model(kind), draw(2, 6)
    found = engine.recover(model, observe(model, ids, 2), blocks=2, step=STEP, iterations=FEW)
    assert found.tokens == ids.tolist()
    assert found.complete == [True, True]
    for token in (one for row in found.prompts for one in row):
        assert token.distance <= token.noise < token.runner_up
        assert token.checks >= 1


@pytest.mark.parametrize("head", [False, True], ids=["with the norm", "logits"])
def test_all_blocks_are_those_with_norm_and_head(*, head: bool) -> None:
    model, ids = make_model("llama"), draw(1, 5)
    run: Any = model
    with torch.no_grad():
        output = run(ids, output_hidden_states=True, use_cache=False)
    found = engine.recover(
        model, output.logits if head else output.hidden_states[-1], blocks="all", head=head, step=STEP, iterations=FEW
    )
    assert found.tokens == ids.tolist()


def test_a_step_that_is_not_given_is_tuned_on_random_tokens() -> None:
    model, ids = make_model("gpt2"), draw(1, 5)
    found = engine.recover(model, observe(model, ids, 2), blocks=2, iterations=FEW)
    assert found.tokens == ids.tolist()
    assert STEP / 64 < found.step < 2 * STEP


def test_prompts_of_different_lengths_are_given_one_by_one() -> None:
    model = make_model("gpt2")
    prompts = [draw(1, 3), draw(1, 7)]
    rows = [observe(model, ids, 1)[0] for ids in prompts]
    found = engine.recover(model, rows, blocks=1, step=STEP, iterations=FEW)
    assert found.tokens == [ids[0].tolist() for ids in prompts]
    assert (found.lengths, found.step) == ((3, 7), STEP)
    assert engine.recover(model, rows[1], blocks=1, step=STEP, iterations=FEW).tokens == found.tokens[1:]


def test_a_position_whose_activations_no_token_gives_ends_its_prompt() -> None:
    model, ids = make_model("gpt2"), draw(2, 5)
    hidden = observe(model, ids, 1)
    hidden[0, 3] += 5
    found = engine.recover(model, hidden, blocks=1, step=STEP, iterations=FEW)
    assert found.tokens == [ids[0, :3].tolist(), ids[1].tolist()]
    assert found.complete == [False, True]
    assert found.prompts[0][3].token is None
    assert repr(found).startswith("Recovered: 1 of 2 prompts whole, 8 of 10 tokens\n")


def note_state(model: PreTrainedModel) -> tuple[dict[str, bool], dict[str, bool]]:
    """Which modules train, and which parameters learn."""
    training = {name: module.training for name, module in model.named_modules()}
    return training, {name: parameter.requires_grad for name, parameter in model.named_parameters()}


def test_the_model_is_left_as_it_was() -> None:
    model, ids = make_model("gpt2"), draw(1, 4)
    hidden = observe(model, ids, 1)
    model.train()
    model.requires_grad_(True)
    model.get_submodule("transformer.h.1").eval()
    model.get_parameter("transformer.ln_f.bias").requires_grad_(False)
    before = note_state(model)
    assert engine.recover(model, hidden, blocks=1, step=STEP, iterations=FEW).tokens == ids.tolist()
    assert note_state(model) == before
    assert all(p.grad is None for p in model.parameters())


class Letters:
    """A tokenizer whose tokens are one letter each."""

    def decode(self, ids: list[int]) -> str:
        return chr(ord("A") + ids[0] % 26)


def test_it_shows_itself_in_a_notebook_and_at_a_prompt() -> None:
    model, ids = make_model("gpt2"), draw(1, 4)
    tokenizer: Any = Letters()
    found = engine.recover(model, observe(model, ids, 1), blocks=1, tokenizer=tokenizer, step=STEP, iterations=FEW)
    text = "".join(tokenizer.decode([i]) for i in ids[0].tolist())
    assert found.texts == [text]
    assert repr(found) == f"Recovered: 1 of 1 prompts whole, 4 of 4 tokens\n{text}"
    page = found._repr_html_()
    assert page.count("<tr>") == 1 + 4
    assert "runner-up" in page
    frame = found.to_frame()
    assert frame["token"].tolist() == ids[0].tolist()
    assert (frame["distance"] <= frame["noise"]).all()


@pytest.mark.parametrize(
    ("shape", "words"),
    [((4, 31), r"\[4, 31\], expected \[tokens, 32\]"), ((0, 32), r"\[0, 32\]"), ((1, 2, 4, 32), r"\[2, 4, 32\]")],
    ids=str,
)
def test_activations_of_another_shape_are_refused(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ShapeError, match=f"activations of prompt 0: got the shape {words}"):
        engine.recover(make_model("gpt2"), torch.zeros(shape), blocks=1)


def test_what_cannot_be_searched_is_refused_in_one_line() -> None:
    model = make_model("gpt2")
    with pytest.raises(ShapeError, match="got NaN or infinity"):
        engine.recover(model, torch.full((3, 32), torch.nan), blocks=1)
    for blocks in (0, -1, "some", 1.5, True):
        with pytest.raises(UsageError, match="expected 1, 2, … or 'all'"):
            engine.recover(model, torch.zeros(3, 32), blocks=blocks)  # pyright: ignore[reportArgumentType]
    with pytest.raises(SubjectError, match="got 9 blocks, expected 1 to 4"):
        engine.recover(model, torch.zeros(3, 32), blocks=9)
    with pytest.raises(UsageError, match="got no activations"):
        engine.recover(model, [], blocks=1)
    bent = make_model("gemma2", final_logit_softcapping=3.0)
    with pytest.raises(InapplicableError, match="recover: got a head whose logits are bent to stay below 3"):
        engine.recover(bent, torch.zeros(3, VOCAB), blocks="all", head=True)
    with pytest.raises(SubjectError, match="recover: got a model of type bert in which a later token"):
        engine.recover(make_model("bert"), torch.zeros(3, 32), blocks=1)


def test_importing_the_engine_for_it_imports_no_torch() -> None:
    code = "import engine, sys; engine.recover; print('torch' in sys.modules, 'pandas' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False", "False"]
