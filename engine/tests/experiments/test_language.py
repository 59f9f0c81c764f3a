"""The model as users run it: next tokens and continuations agree with plain loops, and see no neighbour."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig, GPT2Config, PreTrainedModel

from engine.arms.settings import Unit
from engine.errors import PromptError
from engine.experiments.inputs import embed_prompts
from engine.experiments.language.arm import GenerationArm, GenerationResult, NextTokenArm, NextTokenResult
from engine.experiments.language.measure import (
    continue_prompts,
    cut_at_end,
    find_ends,
    pad_left,
    read_last,
    shift_and_read,
    whole_settings,
)
from engine.experiments.measure_arm import measure_arm
from engine.models.loaded import LoadedModels
from engine.tests.tiny import FAMILIES, make_tiny

UNITS = tuple(Unit(prompt=prompt, seed=seed) for seed, prompt in enumerate(("a cat", "a b c d", "sun")))
NO_END = 210
"""The last id of the tiny vocabulary, which no letter has."""


class Letters:
    """A tokenizer of letters for the tiny vocabulary; the last id ends a text."""

    eos_token_id = NO_END

    def __call__(self, text: str, **_: Any) -> Any:
        return SimpleNamespace(input_ids=[ord(letter) for letter in text])

    def decode(self, ids: list[int]) -> str:
        return "".join(chr(i) for i in ids)


class TinyModels(LoadedModels):
    """Tiny models of either family, by the family's name."""

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[tuple[str, str, str], PreTrainedModel] = {}

    def model(self, subject: str, dtype: str, device: str) -> PreTrainedModel:
        key = (subject, dtype, device)
        if key not in self._made:
            made: Any = make_tiny(subject, dtype=getattr(torch, dtype)).to(device)
            made.config.eos_token_id = NO_END
            self._made[key] = made
        return self._made[key]

    def tokenizer(self, subject: str) -> Any:
        return Letters()

    def codec(self, subject: str, dtype: str, device: str) -> Any:
        model: Any = self.model(subject, dtype, device)
        weight = model.get_input_embeddings().weight
        return SimpleNamespace(embed=lambda ids: weight[ids])


def next_tokens(family: str, units: tuple[Unit, ...], *, draws: int = 0, sigma: float = 0.3) -> NextTokenResult:
    arm = NextTokenArm(subject=family, source="tiny", units=units, draws=draws, sigma=sigma, dtype="float64")
    result = measure_arm(arm, TinyModels())
    assert isinstance(result, NextTokenResult)
    return result


def generate(family: str, units: tuple[Unit, ...], *, beams: int, batch: int = 12, new: int = 12) -> GenerationResult:
    arm = GenerationArm(
        subject=family, source="tiny", units=units, new_tokens=new, beams=beams, batch=batch, dtype="float64"
    )
    result = measure_arm(arm, TinyModels())
    assert isinstance(result, GenerationResult)
    return result


def plain_logits(model: Any, ids: list[int]) -> Tensor:
    """Logits after one prompt by the library's own whole model, on ids."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0, -1]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_next_token_is_the_librarys_own(family: str) -> None:
    result, model = next_tokens(family, UNITS), TinyModels().model(family, "float64", "cpu")
    for unit, row in zip(UNITS, result.rows, strict=True):
        best = plain_logits(model, [ord(letter) for letter in unit.prompt]).softmax(-1).sort(descending=True)
        assert (row.prompt, row.seed, row.shifted) == (unit.prompt, unit.seed, ())
        assert row.top == tuple(best.indices[:5].tolist())
        # float64 through three blocks in two layouts: some dozens of roundings of 1e-16, far below 1e-12.
        assert row.probabilities == pytest.approx(best.values[:5].tolist(), rel=1e-12)
        assert set(row.top) <= set(result.texts)


def plain_shifts(model: Any, unit: Unit, *, sigma: float, draws: int) -> list[Tensor]:
    """One prompt, one shift at a time: token embeddings and positions, noise of their shape, the whole model."""
    digest = hashlib.sha256(f"shift of a prompt:{unit.prompt}:{unit.seed}".encode()).digest()
    source = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    ids = torch.tensor([[ord(letter) for letter in unit.prompt]])
    e = model.get_input_embeddings()(ids)
    found: list[Tensor] = []
    for _ in range(draws):
        noise = torch.randn(e.shape[1:], generator=source).double()
        with torch.no_grad():  # the library adds GPT-2's positions to e + noise: the same sum in another order
            found.append(model(inputs_embeds=e + sigma * noise).logits[0, -1])
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_shifts_agree_with_a_plain_loop_of_one_prompt_at_a_time(family: str) -> None:
    draws, sigma = 30, 0.3
    result, models = next_tokens(family, UNITS, draws=draws, sigma=sigma), TinyModels()
    kept = 0
    for unit, row in zip(UNITS, result.rows, strict=True):
        plain = plain_shifts(models.model(family, "float64", "cpu"), unit, sigma=sigma, draws=draws)
        assert row.shifted == tuple(int(logits.argmax()) for logits in plain)
        kept += sum(token == row.top[0] for token in row.shifted)
    assert 0 < kept < draws * len(UNITS)  # some shifts change the token and some do not, so that agreeing says much


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_a_batch_agree_with_the_plain_loops_to_1e_9(family: str) -> None:
    models = TinyModels()
    arm = NextTokenArm(subject=family, source="tiny", units=UNITS, dtype="float64")
    settings = whole_settings(arm)
    stack = models.stack(settings)
    embedded = embed_prompts(settings, UNITS, models, stack)
    logits = read_last(stack, embedded, embedded.target)
    for unit, row in zip(UNITS, logits, strict=True):
        expected = plain_logits(models.model(family, "float64", "cpu"), [ord(letter) for letter in unit.prompt])
        assert (row - expected).abs().max() <= 1e-9 * expected.abs().max()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_units_shifts_do_not_depend_on_its_neighbours(family: str) -> None:
    together = next_tokens(family, UNITS, draws=10)
    for unit, row in zip(UNITS, together.rows, strict=True):
        assert next_tokens(family, (unit,), draws=10).rows[0].shifted == row.shifted


def test_another_seed_draws_other_shifts_and_no_shift_changes_nothing() -> None:
    first, second = (next_tokens("gpt2", (Unit(prompt="a cat", seed=s),), draws=30).rows[0].shifted for s in (0, 1))
    assert first != second
    row = next_tokens("gpt2", UNITS[:1], draws=3, sigma=0.0).rows[0]
    assert row.shifted == (row.top[0],) * 3


@pytest.mark.parametrize("family", FAMILIES)
def test_shifting_and_reading_runs_where_nothing_can_be_read(family: str) -> None:
    models = TinyModels()
    arm = NextTokenArm(subject=family, source="tiny", units=UNITS, draws=2, device="meta")
    settings = whole_settings(arm)
    stack = models.stack(settings)
    embedded = embed_prompts(settings, UNITS, models, stack)
    said = shift_and_read(stack, embedded, sigma=0.05, draws=2)
    best, top = read_last(stack, embedded, embedded.target).softmax(-1).topk(5)
    assert {t.device.type for t in (said, best, top)} == {"meta"}
    assert (tuple(said.shape), tuple(top.shape)) == ((3, 2), (3, 5))


# The library's generation looks at every token, to know when to stop: it has no part that runs on meta.
def test_prompts_that_are_padded_for_generation_are_made_on_their_device() -> None:
    ids, mask = pad_left([(1, 2), (3,)], pad=9, device="meta")
    assert {ids.device.type, mask.device.type} == {"meta"}


def test_padding_stands_on_the_left_and_is_masked() -> None:
    ids, mask = pad_left([(1, 2, 3), (4,)], pad=9, device="cpu")
    assert ids.tolist() == [[1, 2, 3], [9, 9, 4]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def greedy(model: Any, prompt: str, *, new: int, end: int = NO_END) -> tuple[int, ...]:
    """The likeliest token, appended, again and again."""
    ids = [ord(letter) for letter in prompt]
    found: list[int] = []
    while len(found) < new:
        token = int(plain_logits(model, ids + found).argmax())
        if token == end:
            break
        found.append(token)
    return tuple(found)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_generation_appends_the_likeliest_token(family: str) -> None:
    result, model = generate(family, UNITS, beams=1, new=30), TinyModels().model(family, "float64", "cpu")
    assert result.prompts == tuple(unit.prompt for unit in UNITS)
    assert result.tokens == tuple(greedy(model, unit.prompt, new=30) for unit in UNITS)
    assert result.text == tuple(Letters().decode(list(row)) for row in result.tokens)


def beam_search(model: Any, prompt: str, *, beams: int, new: int) -> tuple[int, ...]:
    """The `beams` likeliest sequences at each length, each from those of the length before; the best at the end.

    Without an end of text all sequences are equally long, so that no length has to be weighed against another.
    """
    ids = [ord(letter) for letter in prompt]
    kept: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for _ in range(new):
        longer = [
            (score + chance, (*sequence, token))
            for score, sequence in kept
            for token, chance in enumerate(plain_logits(model, ids + list(sequence)).log_softmax(-1).tolist())
        ]
        kept = sorted(longer, reverse=True)[:beams]
    return kept[0][1]


@pytest.mark.parametrize("family", FAMILIES)
def test_beam_search_keeps_the_likeliest_sequences(family: str) -> None:
    model: Any = TinyModels().model(family, "float64", "cpu")
    prompts = [[ord(letter) for letter in unit.prompt] for unit in UNITS]
    ids, mask = pad_left(prompts, pad=0, device="cpu")
    new = continue_prompts(model, ids, mask, new_tokens=6, beams=4, ends=())
    assert [tuple(row) for row in new.tolist()] == [beam_search(model, u.prompt, beams=4, new=6) for u in UNITS]


@pytest.mark.parametrize("beams", [1, 3])
def test_a_continuation_does_not_depend_on_the_batch(beams: int) -> None:
    assert generate("llama", UNITS, beams=beams, batch=12) == generate("llama", UNITS, beams=beams, batch=1)


def test_what_the_models_own_file_asks_for_is_left_out() -> None:
    model: Any = TinyModels().model("gpt2", "float64", "cpu")
    ids, mask = pad_left([[97, 32, 99]], pad=0, device="cpu")
    plain = continue_prompts(model, ids, mask, new_tokens=20, beams=1, ends=())
    asked = GenerationConfig(repetition_penalty=50.0, no_repeat_ngram_size=1, max_length=5)
    model.generation_config = asked
    assert torch.equal(continue_prompts(model, ids, mask, new_tokens=20, beams=1, ends=()), plain)
    assert model.generation_config is asked


def test_a_text_ends_where_the_model_ends_it() -> None:
    assert cut_at_end([5, 6, 2, 7, 2], [2]) == (5, 6)
    assert cut_at_end([2, 5], [9, 2]) == ()
    assert cut_at_end([5, 6], []) == (5, 6)
    model: Any = TinyModels().model("gpt2", "float64", "cpu")
    third = greedy(model, "a cat", new=12)[2]
    model.config.eos_token_id = third
    expected = greedy(model, "a cat", new=12, end=third)
    ids, mask = pad_left([[ord(letter) for letter in "a cat"]], pad=third, device="cpu")
    new = continue_prompts(model, ids, mask, new_tokens=12, beams=1, ends=(third,))
    assert cut_at_end(new[0].tolist(), (third,)) == expected
    assert len(expected) <= 2


@pytest.mark.parametrize(
    ("own", "tokenizers", "expected"),
    [(2, 2, (2,)), ([2, 5], 0, (0, 2, 5)), (None, 3, (3,)), (None, None, ()), (8, 3, (3,))],
    ids=["the same", "several", "the tokenizer's", "none", "one without a row"],
)
def test_ids_that_end_a_text_are_the_models_and_the_tokenizers(
    own: Any, tokenizers: int | None, expected: tuple[int, ...]
) -> None:
    model: Any = SimpleNamespace(config=GPT2Config(eos_token_id=own, vocab_size=8))
    tokenizer: Any = SimpleNamespace(eos_token_id=tokenizers)
    assert find_ends(model, tokenizer) == expected


def test_a_prompt_that_leaves_no_room_to_go_on_is_refused() -> None:
    with pytest.raises(PromptError, match=r"gpt2, 60 tokens to follow: got 5 tokens .* expected at most 4"):
        generate("gpt2", UNITS[:1], beams=1, new=60)
