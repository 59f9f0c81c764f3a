"""What a tokenizer puts before a text belongs to the context of every prompt: it is read, and it is no position."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from engine.arms.protocol import CONTROLLED, PAGE
from engine.arms.settings import DescentSettings, Method, Unit
from engine.arms.stacks import Stack
from engine.errors import ShapeError, SubjectError, TooLongError
from engine.experiments.inputs import prepare_batch
from engine.experiments.language.arm import GenerationArm, GenerationResult, NextTokenArm, NextTokenResult
from engine.experiments.measure_arm import measure_arm
from engine.experiments.recovery.arm import RecoveryArm, RecoveryResult
from engine.models import find_subject
from engine.models.decoder import Decoder
from engine.models.first_input import read_embeddings
from engine.models.kv_prefix import NextPosition, Prefix, extend_prefix
from engine.models.loaded import LoadedModels
from engine.models.stacks import BlockStack, whole_output
from engine.tests.every_type import CONTEXT, make_model
from engine.tests.tiny_tokenizers import make_tokenizer, save_llama

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

OPENING, IDS = (1, 7), (40, 3, 55, 21, 90)
KINDS = ("gpt2", "llama", "opt", "gemma3_text", "bloom")
TEXT = "The sky is blue."


def observe(model: PreTrainedModel, blocks: int) -> Tensor:
    """The library's own hidden states at the prompt's positions, with the opening before them."""
    run: Any = model
    with torch.no_grad():
        out = run(torch.tensor([[*OPENING, *IDS]]), output_hidden_states=True, use_cache=False)
    return out.hidden_states[blocks][:, len(OPENING) :]


def embed(model: PreTrainedModel, stack: BlockStack) -> Tensor:
    return (read_embeddings(model)[list(IDS)] + stack.positions(len(IDS)))[None]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_behind_an_opening_gives_what_the_library_gives_for_the_whole_text(kind: str) -> None:
    model = make_model(kind)
    stack = BlockStack(model, Stack(blocks=2), "true", OPENING)
    e = embed(model, stack)
    expected = observe(model, 2)
    torch.testing.assert_close(stack(e), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    without = BlockStack(model, Stack(blocks=2), "true")
    assert (without(e) - expected).abs().max() > 1e-3 * expected.abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_reading_on_behind_an_opening_gives_the_same(kind: str) -> None:
    model = make_model(kind)
    stack = BlockStack(model, Stack(blocks=2), "true", OPENING)
    e, expected, prefix = embed(model, stack), observe(model, 2), Prefix()
    for t in range(len(IDS)):
        here = NextPosition(stack, prefix)
        torch.testing.assert_close(here.positions(1), stack.positions(len(IDS))[t : t + 1])
        found = here(e[:, t : t + 1])
        assert found.shape == (1, 1, e.shape[2])
        torch.testing.assert_close(found, expected[:, t : t + 1], rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
        prefix = extend_prefix(stack, prefix, e[:, t : t + 1])
    assert prefix.tokens == len(IDS)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_on_the_page_an_opening_has_position_0_as_well(kind: str) -> None:
    model = make_model(kind)
    stack = BlockStack(model, Stack(blocks=2), "first", OPENING)
    table: Any = model.get_input_embeddings()
    decoder = Decoder(model, 2, final_norm=False, positions="first")
    # One token a text, so that each has position 0.
    inputs = decoder.first_inputs(table(torch.tensor([*OPENING, *IDS])[:, None])).transpose(0, 1)
    torch.testing.assert_close(stack(inputs[:, 2:]), decoder(inputs)[:, 2:])
    torch.testing.assert_close(embed(model, stack), inputs[:, 2:])


def test_an_opening_takes_room_of_the_context() -> None:
    model = make_model("gpt2")
    stack = BlockStack(model, Stack(blocks=1), "true", OPENING)
    assert len(stack.positions(CONTEXT - len(OPENING))) == CONTEXT - len(OPENING)
    with pytest.raises(ShapeError, match=f"at most the context of {CONTEXT - len(OPENING)}"):
        stack.positions(CONTEXT - len(OPENING) + 1)


@pytest.fixture(name="subject", scope="module")
def provide_subject(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model whose tokenizer puts `<s>` before a text."""
    folder = save_llama(tmp_path_factory.mktemp("opened"), make_tokenizer("byte fallback", begins=True))
    return f"local:{folder}"


def read_whole(subject: str, dtype: torch.dtype = torch.float32) -> tuple[Any, list[int]]:
    """The model, and a text's tokens as its tokenizer gives them."""
    found = find_subject(subject)
    ids = list(found.tokenizer()(TEXT).input_ids)
    assert ids[0] == 1
    return found.model(dtype), ids


def test_next_tokens_and_continuations_are_those_behind_the_opening(subject: str) -> None:
    model, ids = read_whole(subject)
    source, units = find_subject(subject).fingerprint(), (Unit(prompt=TEXT, seed=0), Unit(prompt="The sky", seed=0))
    models = LoadedModels()
    said = measure_arm(NextTokenArm(subject=subject, source=source, units=units, sigma=0.05, draws=1), models)
    assert isinstance(said, NextTokenResult)
    logits = model(torch.tensor([ids])).logits[0, -1]
    assert said.rows[0].top == tuple(logits.topk(5).indices.tolist())
    assert said.rows[0].top != tuple(model(torch.tensor([ids[1:]])).logits[0, -1].topk(5).indices.tolist())

    arm = GenerationArm(subject=subject, source=source, units=units, beams=1, new_tokens=6, batch=2)
    went_on = measure_arm(arm, models)
    assert isinstance(went_on, GenerationResult)
    expected = list(ids)
    for _ in range(6):
        expected.append(int(model(torch.tensor([expected])).logits[0, -1].argmax()))
    assert went_on.tokens[0] == tuple(expected[len(ids) :])


@pytest.mark.parametrize("protocol", [CONTROLLED, PAGE], ids=lambda protocol: protocol.name)
def test_a_descent_has_no_position_for_the_opening(subject: str, protocol: Any) -> None:
    _, ids = read_whole(subject)
    models = LoadedModels()
    settings = DescentSettings(
        subject=subject, source="", stack=Stack(blocks=1, head=True), protocol=protocol, iterations=3
    )
    stack = models.stack(settings)
    batch = prepare_batch(settings, (Unit(prompt=TEXT, seed=0),), models, stack)
    assert batch.ids == (tuple(ids[1:]),)
    assert batch.target.shape[1] == batch.start.shape[1] == whole_output(stack, batch.target).shape[1] == len(ids) - 1


def test_a_prompt_is_recovered_from_the_librarys_own_activations_behind_the_opening(subject: str) -> None:
    model, ids = read_whole(subject)
    settings = DescentSettings(
        subject=subject,
        source=find_subject(subject).fingerprint(),
        stack=Stack(blocks=1),
        protocol=CONTROLLED,
        iterations=30,
        optimizer="adam",
    )
    models = LoadedModels()
    stack = models.stack(settings)
    batch = prepare_batch(settings, (Unit(prompt=TEXT, seed=0),), models, stack)
    shown = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[1][:, 1:]
    torch.testing.assert_close(stack(batch.target), shown, rtol=1e-4, atol=1e-5)
    arm = RecoveryArm(settings=settings, method=Method(), step=0.1, units=(Unit(prompt=TEXT, seed=0),), batch=1)
    found = measure_arm(arm, models)
    assert isinstance(found, RecoveryResult)
    assert [one.token for one in found.runs[0].found] == ids[1:]


def test_a_prompt_that_fills_the_context_without_its_opening_is_refused(subject: str, tmp_path: Path) -> None:
    room = len(read_whole(subject)[1]) - 1
    short = save_llama(tmp_path, make_tokenizer("byte fallback", begins=True), max_position_embeddings=room)
    settings = DescentSettings(
        subject=f"local:{short}", source="", stack=Stack(blocks=1), protocol=CONTROLLED, iterations=3
    )
    models = LoadedModels()
    with pytest.raises(TooLongError, match=rf"got {room} tokens .* expected at most {room - 1}"):
        prepare_batch(settings, (Unit(prompt=TEXT, seed=0),), models, models.stack(settings))


def test_an_opening_without_an_embedding_is_refused_in_one_line(subject: str, tmp_path: Path) -> None:
    tokenizer: Any = make_tokenizer("byte fallback", begins=True)
    folder = save_llama(tmp_path, tokenizer)
    tokenizer.add_special_tokens({"bos_token": "<new>"})
    from tokenizers import processors

    new = tokenizer.convert_tokens_to_ids("<new>")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<new> $A", pair="<new> $A $B", special_tokens=[("<new>", new)]
    )
    tokenizer.save_pretrained(folder)
    settings = DescentSettings(
        subject=f"local:{folder}", source="", stack=Stack(blocks=1), protocol=CONTROLLED, iterations=3
    )
    with pytest.raises(SubjectError, match=rf"puts token {new} before a text, which the model has no embedding of"):
        LoadedModels().stack(settings)


def test_what_was_measured_without_an_opening_does_not_count_for_a_users_model(subject: str) -> None:
    assert find_subject(subject).fingerprint().startswith("opened:")
    assert "tokenizer=opened:" in find_subject(f"local-untrained:{subject.removeprefix('local:')}:0").fingerprint()


def test_the_opening_of_a_twin_is_that_of_its_pattern() -> None:
    gpt2 = find_subject("gpt2-untrained")
    assert gpt2.opening == replace(gpt2, id="other").opening == ""
