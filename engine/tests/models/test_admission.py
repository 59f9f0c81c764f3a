"""Any decoder-only type is cut as the library runs it, and what is none is refused with the reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertLMHeadModel, MistralConfig, MistralForCausalLM, PreTrainedModel

from engine.arms.stacks import Stack
from engine.errors import SubjectError
from engine.models import admission
from engine.models.admission import admit
from engine.models.decoder import Decoder, make_causal_mask, takes_causal_mask
from engine.models.families import read_types
from engine.models.stacks import BlockStack
from engine.tests.every_type import ADMITTED, BLOCKS, TYPES, VOCAB, judge, make_model, read_table, write_table
from engine.tests.tiny import make_tiny

TRIED = ("mistral", "qwen3", "gemma3_text", "gpt_neox", "opt", "bloom", "phi3", "mixtral", "gpt2", "llama", "cohere")
"""One of each way to make positions, masks, norms, heads and mixtures of experts."""

WINDOW, LONG = 4, 20

pytestmark = [
    # Models of some types warn of what their library will change.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


@pytest.fixture(name="checked")
def provide_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who was checked, with a cache of the test's own."""
    asked: list[str] = []
    monkeypatch.setenv("LM_CLAIMS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(admission, "_passed", set[str]())
    monkeypatch.setattr(admission, "admit", lambda who, model: asked.append(who))
    return asked


def test_a_model_that_passed_is_checked_no_more_in_another_process_either(
    checked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("llama")
    admission.admit_once("first", model, "sha256:1")
    admission.admit_once("again", model, "sha256:1")
    monkeypatch.setattr(admission, "_passed", set[str]())
    admission.admit_once("another process", model, "sha256:1")
    admission.admit_once("other weights", model, "sha256:2")
    admission.admit_once("other numbers", model.double(), "sha256:1")
    assert checked == ["first", "other weights", "other numbers"]


def test_a_model_that_failed_is_checked_again_and_a_cache_that_cannot_be_written_is_done_without(
    checked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(who: str, model: PreTrainedModel) -> None:
        checked.append(who)
        raise SubjectError(who)

    (tmp_path / "cache").write_text("in the way")
    admission.admit_once("passed", make_model("llama"), "1")
    monkeypatch.setattr(admission, "admit", fail)
    for _ in range(2):
        with pytest.raises(SubjectError):
            admission.admit_once("failed", make_model("llama"), "2")
    assert checked == ["passed", "failed", "failed"]


def draw(tokens: int) -> Tensor:
    return torch.randint(3, VOCAB, (2, tokens), generator=torch.Generator().manual_seed(1))


def embed(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """What the first block gets for a text."""
    table = model.get_input_embeddings()
    assert table is not None
    return Decoder(model, 1, final_norm=False, positions="true").first_inputs(table(ids))


@pytest.mark.parametrize("kind", TRIED)
def test_each_stack_puts_out_the_librarys_hidden_states_and_passes_its_gradients(kind: str) -> None:
    model, ids = make_model(kind), draw(9)
    admit(kind, model)
    run: Any = model
    hidden = run(ids, output_hidden_states=True, use_cache=False).hidden_states
    inputs = embed(model, ids)
    for blocks in range(1, BLOCKS):
        found = BlockStack(model, Stack(blocks=blocks), "true")(inputs)
        torch.testing.assert_close(found, hidden[blocks], rtol=1e-5, atol=1e-5 * float(hidden[blocks].abs().max()))

    # The gradient at the last of two blocks, against a hook on the whole model.
    leaf = inputs.clone().requires_grad_()
    BlockStack(model, Stack(blocks=2), "true")(leaf).square().sum().backward()
    expected = differentiate_whole(model, ids, block=1)
    torch.testing.assert_close(leaf.grad, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def differentiate_whole(model: PreTrainedModel, ids: Tensor, *, block: int) -> Tensor:
    """The gradient of a block's squared output with respect to what the first block got, in the library's own pass."""
    blocks: Any = next(
        module for name, module in model.named_modules() if isinstance(module, torch.nn.ModuleList) and "." in name
    )
    kept: dict[str, Tensor] = {}

    def watch(module: object, given: tuple[Any, ...]) -> tuple[Any, ...]:
        kept["in"] = given[0].detach().requires_grad_()
        return (kept["in"], *given[1:])

    def keep(module: object, given: object, output: Any) -> None:
        kept["out"] = output[0] if isinstance(output, tuple) else output

    handles = [blocks[0].register_forward_pre_hook(watch), blocks[block].register_forward_hook(keep)]
    try:
        run: Any = model
        run(ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    (gradient,) = torch.autograd.grad(kept["out"].square().sum(), kept["in"])
    return gradient


@pytest.mark.parametrize("kind", ["mistral", "gemma3_text"])
def test_a_window_is_the_librarys_for_prompts_beyond_it(kind: str) -> None:
    model = make_model(kind)
    model.config.sliding_window = WINDOW
    for module in model.modules():
        if getattr(module, "sliding_window", None) is not None:
            module.sliding_window = WINDOW  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    ids = draw(LONG)
    run: Any = model
    inputs = embed(model, ids)
    expected = run.model(ids, use_cache=False).last_hidden_state
    whole = Decoder(model, BLOCKS, final_norm=True, positions="true")
    torch.testing.assert_close(whole(inputs), expected, rtol=1e-5, atol=1e-5)
    assert not takes_causal_mask(model, LONG)
    # The check is worth something: a mask without the window is another model.
    plain = run.model(inputs_embeds=inputs, attention_mask=make_causal_mask(LONG, 0, inputs)).last_hidden_state
    assert (plain - expected).abs().max() > 0.03
    admit(kind, model)


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen3", "gpt_neox", "gptj", "phi3", "mixtral"])
def test_the_first_position_is_given_to_every_token(kind: str) -> None:
    """Behind one block the last token then sees a set: in another order, it is the same."""
    model = make_model(kind)
    inputs = embed(model, draw(6))
    swapped = inputs[:, [1, 0, 3, 2, 4, 5]]
    first, true = (Decoder(model, 1, final_norm=False, positions=kind) for kind in ("first", "true"))
    scale = float(first(inputs).abs().max())
    torch.testing.assert_close(first(swapped)[:, -1], first(inputs)[:, -1], rtol=0, atol=1e-5 * scale)
    assert (true(swapped)[:, -1] - true(inputs)[:, -1]).abs().max() > 1e-3 * scale


def break_blocks(model: PreTrainedModel) -> None:
    """A second block that reads the ids' embeddings again, past the first one."""
    layers: Any = model.get_submodule("model.layers")
    table = model.get_input_embeddings()
    seen: list[Tensor] = []
    assert table is not None
    table.register_forward_hook(lambda module, given, output: seen.append(output))
    layers[1].register_forward_hook(lambda module, given, output: output + len(seen) * 0.1 + seen[-1].mean())


def break_logits(model: PreTrainedModel) -> None:
    """A model that adds something of the ids' own to its logits."""
    forward: Any = model.forward

    def add(*args: Any, **options: Any) -> Any:
        output = forward(*args, **options)
        output.logits = output.logits + options["input_ids"][..., None]
        return output

    model.forward = add


def break_causality(model: PreTrainedModel) -> None:
    layers: Any = model.get_submodule("model.layers")
    layers[0].register_forward_hook(lambda module, given, output: output + output.mean(1, keepdim=True))


def break_the_cache(model: PreTrainedModel) -> None:
    """A first block that counts the tokens of a pass, and gives the later ones more."""
    layers: Any = model.get_submodule("model.layers")
    layers[0].register_forward_hook(
        lambda module, given, output: output + torch.arange(output.shape[1], dtype=output.dtype)[None, :, None]
    )


FAULTS = {
    "depend on more than the embeddings": break_blocks,
    "whose logits depend on more than its blocks, norm and head": break_logits,
    "in which a later token changes an earlier position": break_causality,
    "that gives something else when it is read on behind a cache": break_the_cache,
}


@pytest.mark.parametrize(("words", "plant"), FAULTS.items(), ids=FAULTS)
def test_each_check_finds_its_fault(words: str, plant: Any) -> None:
    model = make_tiny("llama")
    admit("sound", model)
    plant(model)
    with pytest.raises(SubjectError, match=rf"^planted: got a model of type llama .*{words}"):
        admit("planted", model)


def test_an_encoder_a_recurrent_model_and_an_encoder_with_a_decoder_are_refused_with_the_reason() -> None:
    with pytest.raises(SubjectError, match=r"^bert: got .* in which a later token changes an earlier position"):
        admit("bert", make_model("bert"))
    with pytest.raises(SubjectError, match=r"^mamba: got .* when it is read on behind a cache, expected attention"):
        admit("mamba", make_model("mamba"))
    model = make_model("bert")
    model.config.is_encoder_decoder = True
    with pytest.raises(SubjectError, match=r"^both: got .* an encoder with a decoder, expected a decoder alone"):
        admit("both", model)


def test_an_encoder_that_was_made_a_decoder_is_one() -> None:
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "hidden_size": 16}
    config = BertConfig(vocab_size=VOCAB, is_decoder=True, initializer_range=0.2, **sizes)
    admit("bert", BertLMHeadModel(config).eval().requires_grad_(False))


def test_a_context_shorter_than_the_check_is_no_obstacle() -> None:
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "hidden_size": 16}
    config = MistralConfig(vocab_size=VOCAB, max_position_embeddings=4, num_key_value_heads=1, **sizes)
    admit("short", MistralForCausalLM(config).eval().requires_grad_(False))


def test_the_documents_table_names_every_type_and_counts_those_that_are_admitted() -> None:
    table = dict(re.findall(r"^\| `(\S+)` \| (.*) \|$", read_table(), flags=re.MULTILINE))
    assert tuple(table) == TYPES
    assert table == read_types()
    admitted = [kind for kind, answer in table.items() if answer == ADMITTED]
    assert f": {len(admitted)} of {len(TYPES)} types are admitted" in read_table()
    assert len(admitted) >= 100
    assert set(TRIED) <= set(admitted)
    assert {kind: judge(kind) for kind in ("bart", "bert", "mamba", "mistral")} == {
        kind: table[kind] for kind in ("bart", "bert", "mamba", "mistral")
    }


@pytest.mark.slow
def test_the_documents_table_is_what_the_checks_say() -> None:
    assert write_table({kind: judge(kind) for kind in TYPES}) == read_table()
