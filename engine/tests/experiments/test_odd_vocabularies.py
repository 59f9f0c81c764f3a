"""Vocabularies smaller than d_model or than five, larger than the model's, without an end; prompts that they meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from engine.commands.invert.command import main
from engine.errors import PromptError, SubjectError
from engine.experiments.embedding.arm import PseudoInverseArm, PseudoInverseResult
from engine.experiments.embedding.measure import compare_with_ridge
from engine.experiments.inputs import make_generator
from engine.models import Subject, find_subject
from engine.models.subject import describe_opening
from engine.models.token_text import describe_added
from engine.running.executors.inline import Inline
from engine.tests.planted_claims import read_session, run_session
from engine.tests.tiny_tokenizers import make_tokenizer, save_llama
from engine.tests.whole_claims import find_claims, make_campaign, run_claim

WORDS = ("<unk>", "The", "sky", "is", "blue", ".", "This", "a", "prompt", "sentence")
SMALL = {"hidden_size": 4, "intermediate_size": 6}


def make_words(count: int) -> PreTrainedTokenizerBase:
    """A tokenizer of so many whole words; others are unknown."""
    vocab = {word: index for index, word in enumerate(WORDS[:count])}
    made = Tokenizer(models.WordLevel(vocab=vocab, unk_token=WORDS[0]))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token=WORDS[0])


def save_subject(folder: Path, tokenizer: PreTrainedTokenizerBase, **changes: object) -> Subject:
    return find_subject(f"local:{save_llama(folder, tokenizer, **changes)}")


PROCEDURES = ("A01", "C01", "C02", "C03", "C05", "C07", "C18", "C20", "C22", "C26", "C27", "C31", "C32", "C45", "C46")
"""A claim of every kind of procedure and of every reading that looks at several tokens."""


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_claims_run_whole_on_a_vocabulary_of_fewer_than_five(count: int, tmp_path: Path) -> None:
    subject, scheduler = save_subject(tmp_path / "m", make_words(count), **SMALL), make_campaign(tmp_path / "l")
    for name in PROCEDURES:
        claim = find_claims()[name]
        job = run_claim(scheduler, claim, subject, claim.protocols[0])
        assert job.evidence is not None, (name, job.error)


@pytest.mark.parametrize("name", ["C05", "C27", "C31", "C32"])
def test_a_reading_of_five_tokens_takes_what_a_vocabulary_of_three_has(name: str, tmp_path: Path) -> None:
    claim = find_claims()[name]
    subject = save_subject(tmp_path / "m", make_words(3), **SMALL)
    job = run_claim(make_campaign(tmp_path / "l"), claim, subject, claim.protocols[0])
    assert job.evidence is not None, job.error


def test_beam_search_among_one_token_is_refused_in_one_line(tmp_path: Path) -> None:
    claim = find_claims()["C31"]
    job = run_claim(
        make_campaign(tmp_path / "l"), claim, save_subject(tmp_path / "m", make_words(1), **SMALL), claim.protocols[0]
    )
    assert isinstance(job.error, SubjectError)
    assert "got a vocabulary of 1, expected at least 2 tokens for beam search" in str(job.error)


@pytest.mark.parametrize("shape", [(10, 32), (32, 32), (1, 8)], ids=["wide", "square", "one row"])
def test_a_matrix_without_more_rows_than_columns_is_held_to_its_rows(shape: tuple[int, int]) -> None:
    """Its pseudo-inverse is numpy's, its rank that of its rows, and no other solution is shorter: there is none."""
    weight = torch.randn(shape, generator=make_generator("wide", 0), dtype=torch.float64)
    found = compare_with_ridge(weight, expected_rank=min(shape), noise=make_generator("norm", 0))
    assert found.rank == found.expected_rank == shape[0]
    assert found.difference < found.tolerance
    assert found.excess_norm == pytest.approx(1, abs=1e-12)


def test_a_vocabulary_smaller_than_d_model_has_full_rank_and_gives_every_token_back(tmp_path: Path) -> None:
    subject, scheduler = save_subject(tmp_path / "m", make_words(10), hidden_size=32), make_campaign(tmp_path / "l")
    for name in ("C01", "C02"):
        claim = find_claims()[name]
        job = run_claim(scheduler, claim, subject, claim.protocols[0])
        assert job.evidence is not None, job.error
        assert claim.judge(job.evidence.estimates, job.trial.scopes).supported
    assert job.evidence.settings["full rank"] == "10, the vocabulary, which is smaller than d_model"
    result = Inline().run(PseudoInverseArm(subject=subject.id, source=subject.fingerprint(), matrix="embedding")).result
    assert isinstance(result, PseudoInverseResult)
    assert (result.rank, result.expected_rank) == (10, 10)


@pytest.fixture(name="extended")
def provide_extended(tmp_path: Path) -> Subject:
    """A tokenizer with a token more than its model has rows."""
    tokenizer = make_tokenizer("metaspace")
    rows = len(tokenizer)
    tokenizer.add_tokens(["[EXTRA]"])
    return save_subject(tmp_path / "extended", tokenizer, vocab_size=rows)


COMPLAINT = "got token 400, which the model has no embedding of, in 'The sky [EXTRA] is', expected tokens below 400"


def test_a_prompt_with_a_token_that_the_model_lacks_is_refused_before_anything_is_measured(
    extended: Subject, pytester: pytest.Pytester
) -> None:
    claim = Path(__file__).parents[3] / "claims" / "representation" / "c05_shift_keeps_the_next_token.py"
    options = ("--rootdir", str(pytester.path), "--subject", extended.id, "--effort", "smoke", "--report-dir", "report")
    refused = run_session(pytester, str(claim), *options, "--prompt", "The sky [EXTRA] is")
    assert refused.ret == 4
    assert COMPLAINT in refused.stderr.str()
    # The remedy: the same prompt without it.
    assert run_session(pytester, str(claim), *options, "--prompt", "The sky is").ret == 0


def test_the_quick_look_refuses_a_token_that_the_model_lacks(
    extended: Subject, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["The sky [EXTRA] is", "--subject", extended.id, "--ledger", str(tmp_path / "ledger")]) == 4
    assert COMPLAINT in capsys.readouterr().err


def test_an_experiment_refuses_a_token_that_the_model_lacks(extended: Subject, tmp_path: Path) -> None:
    claim, prompts = find_claims()["C27"], ("The sky [EXTRA] is",)
    job = run_claim(make_campaign(tmp_path / "ledger"), claim, extended, claim.protocols[0], prompts=prompts)
    assert isinstance(job.error, PromptError)
    assert COMPLAINT in str(job.error)


PROMPTS = {
    "special tokens written out": ("The sky </s> is blue and <s> water",),
    "unknown characters": ("The 佳 sky is blue and",),
    "the same twice": ("The sky is blue and", "The sky is blue and"),
    "one token more than the least": ("The sky",),
}


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS.keys())
def test_odd_prompts_are_measured_as_they_are(prompts: tuple[str, ...], tmp_path: Path) -> None:
    subject, scheduler = save_subject(tmp_path / "m", make_tokenizer("metaspace")), make_campaign(tmp_path / "l")
    for name in ("C05", "C27", "C31"):
        claim = find_claims()[name]
        job = run_claim(scheduler, claim, subject, claim.protocols[0], prompts=prompts)
        assert job.evidence is not None, (name, job.error)


def test_rows_without_a_token_and_a_missing_end_stop_no_claim(tmp_path: Path) -> None:
    tokenizer = make_words(10)
    ends = {"eos_token_id": None, "bos_token_id": None, "pad_token_id": None}
    subject = save_subject(tmp_path / "m", tokenizer, vocab_size=30, **SMALL, **ends)
    scheduler = make_campaign(tmp_path / "l")
    for name in ("C05", "C27", "C31"):
        claim = find_claims()[name]
        job = run_claim(scheduler, claim, subject, claim.protocols[0])
        assert job.evidence is not None, (name, job.error)


def test_what_a_tokenizer_puts_around_a_text_is_named() -> None:
    assert describe_added(make_tokenizer("byte fallback")) == []
    around = make_tokenizer("byte fallback", begins=True)
    assert describe_added(around) == ["behind <s>, which its tokenizer puts before a text"]
    backend: Any = around
    backend.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    assert describe_added(around)[1:] == ["without </s>, which its tokenizer puts behind a text"]


@pytest.mark.parametrize(
    "subject", ["smollm2-135m", "gpt2-untrained", pytest.param("gemma3-270m", marks=pytest.mark.slow)]
)
def test_what_a_catalogue_subject_opens_a_text_with_is_what_its_tokenizer_puts_there(subject: str) -> None:
    found = find_subject(subject)
    assert describe_added(found.tokenizer()) == ([describe_opening(found.opening)] if found.opening else [])


def test_a_session_and_its_record_say_what_prompts_are_read_behind(
    tmp_path: Path, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    subject = save_subject(tmp_path / "m", make_tokenizer("byte fallback", begins=True))
    claim = Path(__file__).parents[3] / "claims" / "representation" / "c05_shift_keeps_the_next_token.py"
    result = run_session(
        pytester, str(claim), "--rootdir", str(pytester.path), "--subject", subject.id, "--effort", "smoke"
    )
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [f"{subject.id}: prompts are measured behind <s>, which its tokenizer puts before a text"]
    )
    (record,) = read_session(pytester)
    assert record.settings["prompts"] == "behind <s>, which its tokenizer puts before a text"
    options = ("--iterations", "20", "--step", "0.01", "--device", "cpu", "--ledger", str(tmp_path / "ledger"))
    assert main(["The sky is", "--subject", subject.id, *options]) == 0
    assert "behind <s>, which its tokenizer puts before a text" in capsys.readouterr().out


def test_a_claim_about_one_sentence_skips_under_another_prompt(tmp_path: Path, pytester: pytest.Pytester) -> None:
    subject = save_subject(tmp_path / "m", make_tokenizer("metaspace"))
    claim = Path(__file__).parents[3] / "claims" / "nonsense" / "c32_the_sky_is_blue.py"
    options = ("--rootdir", str(pytester.path), "--subject", subject.id, "--prompt")
    run_session(pytester, str(claim), *options, "My own words")
    (record,) = read_session(pytester)
    assert (record.outcome, record.sentence) == (
        "skipped",
        "This claim is about 'The sky is' alone, and --prompt asks for others; leave it out to judge it.",
    )
    run_session(pytester, str(claim), *options[:-1])
    assert [record.outcome for record in read_session(pytester)] != ["skipped"]
