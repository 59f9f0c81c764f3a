"""Texts that a tokenizer fails at, or makes nothing of in parts; prompts that a context has no room for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from engine.arms.prompts import DOCUMENT, LONG, SHORT
from engine.commands.invert.command import main
from engine.errors import PromptError, TooShallowError
from engine.experiments.embedding.arm import RoundTripArm, RoundTripResult
from engine.models import Subject, find_subject
from engine.models.token_text import Added, encodes_to_itself, find_added, find_dropped
from engine.running.executors.inline import Inline
from engine.tests.folders import change
from engine.tests.planted_claims import read_session, run_session
from engine.tests.tiny_models import make_llama, save
from engine.tests.tiny_tokenizers import KINDS, UNKNOWN, make_tokenizer, save_llama
from engine.tests.whole_claims import find_claims, make_campaign, run_claim

CLAIMS = Path(__file__).parents[3] / "claims"
SHIFT = str(CLAIMS / "representation" / "c05_shift_keeps_the_next_token.py")
QUICK = ("--iterations", "20", "--step", "0.01", "--device", "cpu")
WORDS = ("sky", "blue", "the", "is")


def wrap(made: Tokenizer) -> PreTrainedTokenizerBase:
    return PreTrainedTokenizerFast(tokenizer_object=made)


def make_words(**unknown: str) -> PreTrainedTokenizerBase:
    """Four whole words and, unless it is told one, no token for others."""
    vocab = {word: index for index, word in enumerate((*WORDS, *unknown.values()))}
    made = Tokenizer(models.WordLevel(vocab=vocab, **unknown))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return wrap(made)


def make_dropping(*, decoder: bool = True) -> PreTrainedTokenizerBase:
    """SentencePiece's kind of BPE with the letters of one sentence, and no token for others."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    if decoder:
        made.decoder = decoders.Metaspace()
    made.train_from_iterator(["the sky is blue"] * 5, trainers.BpeTrainer(vocab_size=40))
    return wrap(made)


def save_subject(folder: Path, tokenizer: PreTrainedTokenizerBase, **changes: object) -> Subject:
    return find_subject(f"local:{save_llama(folder, tokenizer, **changes)}")


def spoil_length(folder: Path) -> Path:
    """A folder whose tokenizer loads, and fails at every text: its greatest length is no number."""
    save(folder, make_llama(max_position_embeddings=64))
    change(folder / "tokenizer_config.json", model_max_length="x")
    return folder


@pytest.fixture(name="failing", params=["no token for unknown words", "a length that is no number"])
def provide_failing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Subject, str]]:
    if request.param.startswith("no token"):
        yield save_subject(tmp_path / "m", make_words()), "Missing [UNK] token"
    else:
        yield find_subject(f"local:{spoil_length(tmp_path / 'm')}"), "TypeError from its tokenizer at"


@pytest.mark.parametrize("name", ["C05", "C22", "C27", "C31", "C32"])
def test_a_tokenizer_that_fails_at_a_text_is_one_line(name: str, failing: tuple[Subject, str], tmp_path: Path) -> None:
    (subject, why), claim = failing, find_claims()[name]
    job = run_claim(make_campaign(tmp_path / "l"), claim, subject, claim.protocols[0])
    assert isinstance(job.error, PromptError)
    assert str(job.error).startswith(f"{subject.id}: got ")
    assert why in str(job.error)
    assert str(job.error).endswith("expected tokens; fix the tokenizer's files or pass another text")


def test_the_quick_look_says_it_in_one_line_too(
    failing: tuple[Subject, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subject, why = failing
    assert main(["A text", "--subject", subject.id, *QUICK, "--ledger", str(tmp_path / "l")]) == 4
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert why in line


def test_a_session_refuses_the_users_prompt_before_anything_is_measured(
    failing: tuple[Subject, str], pytester: pytest.Pytester
) -> None:
    subject, why = failing
    options = ("--rootdir", str(pytester.path), "--subject", subject.id, "--effort", "smoke")
    refused = run_session(pytester, SHIFT, *options, "--prompt", "A text")
    assert refused.ret == 4
    assert why in refused.stderr.str()
    assert "Traceback" not in refused.stderr.str() + refused.stdout.str()


def test_the_remedies_for_a_text_that_a_tokenizer_fails_at_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = ("--ledger", str(tmp_path / "l"))
    bare = save_subject(tmp_path / "bare", make_words())
    assert main(["the sky is", "--subject", bare.id, *QUICK, *ledger]) == 0  # another text
    mended = save_subject(tmp_path / "mended", make_words(unk_token=UNKNOWN))
    assert main(["A text", "--subject", mended.id, *QUICK, *ledger]) == 0
    numbered = spoil_length(tmp_path / "numbered")
    change(numbered / "tokenizer_config.json", model_max_length=64)
    assert main(["A text", "--subject", f"local:{numbered}", *QUICK, *ledger]) == 0
    assert "got " not in capsys.readouterr().err


def test_tokens_whose_text_a_tokenizer_fails_at_do_not_encode_to_themselves_and_others_do() -> None:
    made = Tokenizer(models.WordLevel(vocab={"sky": 0, "two words": 1, "blue": 2}))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    assert encodes_to_itself(wrap(made), range(3)) == [True, False, True]


def test_what_is_put_around_a_text_is_found_without_the_letter_a() -> None:
    assert find_added(make_words()) == find_added(make_dropping()) == Added()


def test_a_users_prompt_that_loses_characters_is_refused(
    tmp_path: Path, pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    subject = save_subject(tmp_path / "m", make_dropping())
    said = "got 'T', 'Z', 'c', 'o', 'q', 'r', which its tokenizer drops, in 'The quick Zero sky'"
    assert main(["The quick Zero sky", "--subject", subject.id, *QUICK, "--ledger", str(tmp_path / "l")]) == 4
    assert said in capsys.readouterr().err
    options = ("--rootdir", str(pytester.path), "--subject", subject.id, "--effort", "smoke", "--prompt")
    refused = run_session(pytester, SHIFT, *options, "The quick Zero sky")
    assert refused.ret == 4
    assert f"{said}, expected characters that it has tokens for; leave them out of the prompt" in refused.stderr.str()
    assert run_session(pytester, SHIFT, *options, "the blue sky").ret == 0  # the remedy


def test_a_session_and_its_record_say_what_the_suites_prompts_lose(tmp_path: Path, pytester: pytest.Pytester) -> None:
    subject = save_subject(tmp_path / "m", make_dropping())
    result = run_session(pytester, SHIFT, "--rootdir", str(pytester.path), "--subject", subject.id, "--effort", "smoke")
    lost = "'!', ',', '.', '1', '2', '9', ';', '?'"
    result.stdout.fnmatch_lines(
        [f"{subject.id}: prompts are measured without {lost} and * more, which its tokenizer drops"]
    )
    (record,) = read_session(pytester)
    assert record.settings["prompts"].startswith(f"without {lost} and ")


TEXTS = (*DOCUMENT, *SHORT, *LONG, "We do not know, it's “fine” … ﬁne é 你好 😀 ' ` ▁")


@pytest.mark.parametrize("kind", KINDS)
def test_tokenizers_with_bytes_or_a_token_for_unknown_text_drop_nothing(kind: str) -> None:
    assert find_dropped(make_tokenizer(kind), TEXTS) == ()


@pytest.mark.parametrize("subject", ["smollm2-135m", "gpt2-untrained"])
def test_catalogue_tokenizers_drop_nothing(subject: str) -> None:
    assert find_dropped(find_subject(subject).tokenizer(), TEXTS) == ()


def make_half_bytes() -> PreTrainedTokenizerBase:
    """Byte-level, with one of the two bytes of é (C3 A9): 'Ã' is the letter of the first."""
    made = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "Ã": 2, "Ġ": 3}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return wrap(made)


def make_inside_only() -> PreTrainedTokenizerBase:
    """'b' alone begins a word: inside one it would be '##b', which is no token."""
    made = Tokenizer(models.BPE(vocab={"a": 0, "##a": 1, "b": 2}, merges=[], continuing_subword_prefix="##"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.decoder = decoders.WordPiece()
    return wrap(made)


def make_lower() -> PreTrainedTokenizerBase:
    made = make_half_bytes().backend_tokenizer
    made.normalizer = normalizers.Lowercase()
    return wrap(made)


@pytest.mark.parametrize(
    ("tokenizer", "expected"),
    [
        (make_half_bytes(), ("c", "é")),
        (make_inside_only(), ("b", "c", "é")),
        (make_lower(), ("c", "é")),
        (make_dropping(decoder=False), ("a", "c", "é")),
    ],
    ids=["half the bytes of a character", "inside a word alone", "lower case alone", "without a decoder"],
)
def test_characters_that_come_to_no_token_are_found(
    tokenizer: PreTrainedTokenizerBase, expected: tuple[str, ...]
) -> None:
    assert find_dropped(tokenizer, ["ab é", "cab"]) == expected


@pytest.mark.parametrize("prefix", [False, True], ids=["no space before a text", "a space before a text"])
def test_as_many_byte_level_tokens_are_tried_with_a_space_before_a_text(prefix: bool, tmp_path: Path) -> None:
    tokenizer = make_tokenizer("byte level").backend_tokenizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    subject = save_subject(tmp_path / "m", wrap(tokenizer))
    found = Inline().run(RoundTripArm(subject=subject.id, source=subject.fingerprint())).result
    assert isinstance(found, RoundTripResult)
    assert (found.tried, found.apart, found.special) == (269, 128, 3)


def session_of_generation(pytester: pytest.Pytester, context: int, *options: str) -> tuple[str, str]:
    """The outcome and sentence of C31 on a model of this context."""
    subject = save_subject(pytester.path / f"m{context}", make_tokenizer("byte level"), max_position_embeddings=context)
    (claim,) = CLAIMS.rglob("c31*.py")
    run_session(pytester, str(claim), "--rootdir", str(pytester.path), "--subject", subject.id, *options)
    (record,) = read_session(pytester)
    return record.outcome, record.sentence


def test_a_context_without_room_for_any_prompt_and_what_follows_skips(pytester: pytest.Pytester) -> None:
    outcome, sentence = session_of_generation(pytester, 65)
    assert outcome == "skipped"
    assert "got a context of 65 tokens, expected at least 66, for a prompt and 64 to follow" in sentence


def test_a_context_without_room_for_the_suites_own_prompts_skips(pytester: pytest.Pytester) -> None:
    outcome, sentence = session_of_generation(pytester, 68)
    assert outcome == "skipped"
    assert ", 64 tokens to follow: got " in sentence
    assert "expected at most 4; use a shorter prompt" in sentence
    # The remedy.
    outcome, sentence = session_of_generation(pytester, 68, "--prompt", "The sky")
    assert outcome != "skipped"


def test_a_users_prompt_that_leaves_no_room_is_an_error(pytester: pytest.Pytester) -> None:
    outcome, sentence = session_of_generation(pytester, 68, "--prompt", "The sky is blue and the water")
    assert outcome == "error"
    assert "expected at most 4; use a shorter prompt" in sentence


def test_a_context_of_two_more_tokens_than_follow_is_enough(tmp_path: Path) -> None:
    claim = find_claims()["C31"]
    subject = save_subject(tmp_path / "m", make_words(unk_token=UNKNOWN), max_position_embeddings=20)
    job = run_claim(make_campaign(tmp_path / "l"), claim, subject, claim.protocols[0], prompts=("the sky",))
    assert job.evidence is not None, job.error
    short = save_subject(tmp_path / "s", make_words(unk_token=UNKNOWN), max_position_embeddings=19)
    job = run_claim(make_campaign(tmp_path / "l"), claim, short, claim.protocols[0], prompts=("the sky",))
    assert isinstance(job.error, TooShallowError)
