"""A token's text as it stands inside a text, whatever the tokenizer; parts of characters as their bytes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from engine.arms.prompts import SHORT
from engine.arms.protocol import DIRECT
from engine.arms.settings import Unit
from engine.claim.procedure import Trial
from engine.commands.invert.command import main
from engine.experiments.embedding.arm import RoundTripArm, RoundTripResult, VocabularyArm, VocabularyResult
from engine.experiments.language.arm import NextTokenArm, NextTokenResult
from engine.experiments.language.procedure import NextTokenIs
from engine.models import Subject, find_subject
from engine.models.token_text import UNKNOWN, encodes_to_itself, read_text, read_token, read_tokens
from engine.records import Table
from engine.running.executors.inline import Inline
from engine.tests.tiny_models import make_gpt2, save
from engine.tests.tiny_tokenizers import KINDS, make_tokenizer, save_llama
from engine.tests.whole_claims import FEW, find_claims, make_campaign, run_claim

SKY = {
    "byte level": ["The", " sky", " is", " blue", "."],
    "metaspace": [" The", " sky", " is", " blue."],
    "metaspace, no prefix": ["The", " sky", " is", " blue."],
    "byte fallback": [" The", " sky", " is", " blu", "e."],
    "unigram": [" The", " ", "sk", "y", " is", " blue", "."],
    "word piece": [" The", " sky", " is", " blue", "."],
}
"""The texts of 'The sky is blue.' by tokenizer, as the vocabulary writes its tokens ('▁sky', 'Ġsky', 'sky')."""


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False).input_ids


@pytest.fixture(name="saved", scope="module", params=KINDS)
def provide_saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = save_llama(tmp_path_factory.mktemp("model"), make_tokenizer(request.param))
    subject = find_subject(f"local:{folder}")
    return SimpleNamespace(kind=request.param, subject=subject, tokenizer=AutoTokenizer.from_pretrained(folder))


def test_a_token_has_the_text_that_it_has_inside_a_text(saved: Any) -> None:
    ids = encode(saved.tokenizer, "The sky is blue.")
    assert [read_token(saved.tokenizer, i) for i in ids] == SKY[saved.kind]
    assert read_text(saved.tokenizer, ids) == "The sky is blue."


def test_special_tokens_and_ids_without_a_token_are_named(saved: Any) -> None:
    end, past = saved.tokenizer.eos_token_id, len(saved.tokenizer) + 3
    assert read_tokens(saved.tokenizer, [past, end]) == {end: "</s>", past: UNKNOWN}


@pytest.mark.parametrize("kind", ["byte level", "byte fallback"])
def test_parts_of_a_character_are_shown_as_their_bytes_and_together_as_the_character(kind: str) -> None:
    tokenizer = make_tokenizer(kind)
    ids = encode(tokenizer, "佳")[-3:]  # E4 BD B3; before it, some put a space
    assert [read_token(tokenizer, i) for i in ids] == ["<0xE4>", "<0xBD>", "<0xB3>"]
    assert read_text(tokenizer, ids) == "佳"
    assert read_text(tokenizer, [*encode(tokenizer, "The sky"), *ids[:2]]) == "The sky<0xE4><0xBD>"


@pytest.mark.parametrize("subject", ["smollm2-135m", "gpt2-untrained"])
def test_texts_of_catalogue_tokenizers_are_what_they_decode_to_but_for_parts_of_characters(subject: str) -> None:
    tokenizer = find_subject(subject).tokenizer()
    decoded: list[str] = tokenizer.batch_decode([[i] for i in range(len(tokenizer))])
    read = read_tokens(tokenizer, range(len(tokenizer)))
    changed = [i for i, text in enumerate(decoded) if text != read[i]]
    assert all("\ufffd" in decoded[i] and "<0x" in read[i] for i in changed)
    # The character itself, which both have as a token, is text.
    assert {text for text in read.values() if "\ufffd" in text} == {
        text for i, text in enumerate(decoded) if "\ufffd" in text and encode(tokenizer, text) == [i]
    }


def test_a_space_and_parts_of_a_character_keep_the_space() -> None:
    tokenizer = find_subject("gpt2-untrained").tokenizer()
    ids = encode(tokenizer, " 佳")
    assert "".join(read_token(tokenizer, i) for i in ids) == " <0xE4><0xBD><0xB3>"


def test_words_are_counted_whatever_the_tokenizer_puts_before_them(saved: Any) -> None:
    """Counted beside: tokens that the vocabulary writes with a space before letters."""
    arm = VocabularyArm(subject=saved.subject.id, source=saved.subject.fingerprint())
    result = Inline().run(arm).result
    assert isinstance(result, VocabularyResult)
    written = saved.tokenizer.convert_ids_to_tokens(range(len(saved.tokenizer)))
    starts = {"word piece": lambda t: (not t.startswith("##"), t)}.get(
        saved.kind, lambda t: (t[:1] in ("▁", "Ġ"), t[1:])
    )
    words = [word for begins, word in map(starts, written) if begins and word.isalpha()]
    assert result.words == len(words) > 20


def test_every_token_of_a_sentencepiece_vocabulary_is_its_own_text_inside_a_text() -> None:
    tokenizer = make_tokenizer("metaspace")
    plain = [i for i in range(len(tokenizer)) if i not in tokenizer.all_special_ids]
    assert all(encodes_to_itself(tokenizer, plain))
    assert any(not str(tokenizer.convert_ids_to_tokens(i)).startswith("▁") for i in plain)


def test_a_round_trip_tries_the_tokens_that_do_not_begin_a_word(tmp_path: Path) -> None:
    tokenizer = make_tokenizer("metaspace")
    subject = find_subject(f"local:{save_llama(tmp_path, tokenizer, vocab_size=len(tokenizer) + 5)}")
    result = Inline().run(RoundTripArm(subject=subject.id, source=subject.fingerprint())).result
    assert isinstance(result, RoundTripResult)
    assert (result.tried, result.apart, result.special) == (len(tokenizer) - 3, 0, 3)
    # Five rows have no token, and win some of the others.
    assert {f.winner_text for f in result.failures if f.winner >= len(tokenizer)} <= {UNKNOWN}


@pytest.mark.parametrize("kind", ["metaspace", "byte fallback", "unigram", "byte level"])
def test_the_next_word_is_found_with_the_space_before_it(kind: str, tmp_path: Path) -> None:
    """The word is the model's own likeliest, read from the vocabulary: '▁sky' → ' sky'."""
    tokenizer = make_tokenizer(kind)
    subject = find_subject(f"local:{save_llama(tmp_path, tokenizer)}")
    prompts = [Unit(prompt=text, seed=0) for text in SHORT]
    arm = NextTokenArm(subject=subject.id, source=subject.fingerprint(), units=tuple(prompts))
    found = Inline().run(arm)
    assert isinstance(found.result, NextTokenResult)
    written = {row.prompt: str(tokenizer.convert_ids_to_tokens(row.top[0])) for row in found.result.rows}
    prompt, word = next((p, w) for p, w in written.items() if w[:1] in "▁Ġ" or w.isascii())
    procedure = NextTokenIs(prompt=prompt, word=word.replace("▁", " ").replace("Ġ", " "))
    evidence = answer(procedure, subject)
    assert [estimate.value for estimate in evidence.estimates.values()] == [1.0]


def answer(procedure: NextTokenIs, subject: Subject) -> Any:
    rounds = procedure.rounds(Trial(subject=subject, protocol=DIRECT, effort="smoke", units=FEW))
    asked = next(rounds)
    with pytest.raises(StopIteration) as stopped:
        rounds.send([Inline().run(arm) for arm in asked])
    return stopped.value.value


READ_TEXT = ("C01", "C05", "C20", "C26", "C27", "C32")
"""Claims whose tables or readings hold tokens' texts, one of each procedure; C22's tables show walks' ends."""


@pytest.mark.slow
def test_claims_that_read_text_run_whole_on_every_kind_of_tokenizer(saved: Any, tmp_path: Path) -> None:
    scheduler = make_campaign(tmp_path)
    for name in READ_TEXT:
        claim = find_claims()[name]
        job = run_claim(scheduler, claim, saved.subject, claim.protocols[0])
        assert job.evidence is not None, (name, job.error)
        assert "\ufffd" not in str([table.rows for table in job.evidence.tables])


def cells(tables: tuple[Table, ...]) -> set[str]:
    return {cell for table in tables for row in table.rows for cell in row if isinstance(cell, str)}


def test_a_film_shows_tokens_of_other_scripts_readably(tmp_path: Path) -> None:
    subject = find_subject(f"local:{save_llama(tmp_path / 'model', make_tokenizer('byte level'))}")
    claim = find_claims()["C27"]
    job = run_claim(make_campaign(tmp_path / "ledger"), claim, subject, claim.protocols[0], prompts=("你好",))
    assert job.evidence is not None, job.error
    assert {"<0xE4>", "<0xBD>", "<0xA0>"} <= cells(job.evidence.tables)


def test_the_quick_look_shows_tokens_of_other_scripts_readably(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save(tmp_path / "model", make_gpt2())
    options = ["--iterations", "20", "--step", "0.01", "--device", "cpu", "--ledger", str(tmp_path / "ledger")]
    assert main(["你好", "--subject", f"local:{model}", *options]) == 0
    shown = capsys.readouterr().out
    assert "\ufffd" not in shown
    assert "<0xE4>" in shown
    assert "你好" in shown
