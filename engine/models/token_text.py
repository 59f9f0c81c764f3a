"""Text to tokens and back: the text of each token as it stands inside a text, and characters that are lost.

Every table and film takes the text of a single token from here. Decoded alone, a token of most tokenizers that are
not byte-level loses the space before it, because their decoders strip it from the beginning of a text. Tokens that
are only a part of a character are shown as bytes.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

from engine.arms.prompts import check_prompt
from engine.errors import EscapedError, PromptError, explain, no_exits
from engine.models.families import find_context
from engine.models.subject import describe_opening
from engine.text import shorten

UNKNOWN = "(no token)"
"""The text of an id that the tokenizer does not know: models often have more rows than tokens."""

LOST = "\ufffd"
"""What decoders write for bytes that are no whole character."""

NAMED_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
"""A byte as SentencePiece writes it in its vocabularies, and as it is shown here."""

SAMPLE = "a"
"""A text that nearly any tokenizer accepts."""

LEAD = "\n"
"""A beginning behind which no tokenizer adds a space of its own."""

ENCODED_TOGETHER = 1024
"""Texts that are encoded in one call. A whole vocabulary in one call takes a third of a GB that is never freed."""

MOST_NAMED = 8
"""How many dropped characters an error names."""

SPACES = str.maketrans("", "", " \t\r\n▁")
"""Characters that a decoder may move: white space, and SentencePiece's sign for it."""


def encode(tokenizer: Any, text: str, *, who: str, dressed: bool = False) -> list[int]:
    """Tokens of a text. who: the subject. dressed: with the special tokens that the tokenizer adds around a text.

    Raises PromptError for whatever a tokenizer fails with: some have no token for unknown text, and some only now show
    what is wrong with their files. Raises EscapedError for what gets past every handler.
    """
    try:
        with no_exits():
            return list[int](tokenizer(text, add_special_tokens=dressed).input_ids)
    except EscapedError:
        raise
    except Exception as error:
        got = f"{type(error).__name__} from its tokenizer at {shorten(text)}: {error}"
        remedy = "fix the tokenizer's files or pass another text"
        raise PromptError(explain(who=who, got=got, expected="tokens", remedy=remedy)) from error


def encode_user_prompt(tokenizer: Any, config: Any, text: str, *, who: str) -> tuple[int, ...]:
    """Tokens of a user's own prompt. who: the subject. Raises PromptError for a prompt that cannot be measured.

    A prompt that loses characters is refused, because another text than the user's would be measured.
    """
    ids = encode(tokenizer, text, who=who)
    context = find_context(config) - len(find_added(tokenizer, who=who).opening)
    vocab = int(config.get_text_config(decoder=True).vocab_size)
    dropped = find_dropped(tokenizer, [text])
    check_prompt(text, ids, context=context, vocab=vocab, dropped=name_dropped(dropped), who=who)
    return tuple(ids)


def find_dropped(tokenizer: Any, texts: Iterable[str]) -> tuple[str, ...]:
    """Characters of texts that become no token, not even the one for unknown text, in the order of their codes.

    Each is tried three times in a row: vocabularies have tokens of their own for the beginning, the inside and the end
    of a word. Whatever the tokenizer's normalizer replaces a character by counts as the character.
    """
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    normalizer: Any = getattr(backend, "normalizer", None)
    model: Any = getattr(backend, "model", None)
    # The token for unknown text: the library and the tokenizer's own model may each name one.
    unknown = {getattr(tokenizer, "unk_token_id", None)}
    if type(model).__name__ == "Unigram":
        unknown.add(json.loads(bytes(model.__getstate__()))["unk_id"])
    elif getattr(model, "unk_token", None) is not None:
        unknown.add(model.token_to_id(model.unk_token))

    dropped: list[str] = []
    for character in sorted({c for text in texts for c in text if not c.isspace()}):
        text = 3 * character
        kept = (text if normalizer is None else str(normalizer.normalize_str(text))).translate(SPACES)
        try:
            ids = encode(tokenizer, text, who="tokenizer")
        except PromptError:
            continue  # an error is not a silent loss
        if not kept or unknown & set(ids):
            continue
        shown = read_text(tokenizer, ids).translate(SPACES)
        # Without a decoder tokens are shown as the vocabulary writes them, possibly in other letters.
        if not shown if getattr(backend, "decoder", None) is None else kept not in shown:
            dropped.append(character)
    return tuple(dropped)


def name_dropped(dropped: tuple[str, ...]) -> str | None:
    """Dropped characters in quotes, only the first few of many; None if there are none."""
    more = len(dropped) - MOST_NAMED
    return ", ".join(map(repr, dropped[:MOST_NAMED])) + (f" and {more} more" if more > 0 else "") or None


@dataclass(frozen=True, kw_only=True)
class Added:
    """Special tokens that a tokenizer adds unless it is told not to.

    opening: those before a text, as most models of Llama's and Gemma's kind were trained with. They are read before
    every prompt, as part of its context. closing: those behind a text, which are left out.
    """

    opening: tuple[int, ...] = ()
    closing: tuple[int, ...] = ()


def find_added(tokenizer: Any, *, who: str = "tokenizer") -> Added:
    """What a tokenizer adds around a text. Raises PromptError if it fails on every text."""
    # A text that the tokenizer knows: SAMPLE, or the text of a token where SAMPLE gives nothing.
    sample, bare = SAMPLE, list[int]()
    for text in _sample_texts(tokenizer):
        with suppress(PromptError):
            if ids := encode(tokenizer, text, who=who):
                sample, bare = text, ids
                break
    if not bare:
        bare = encode(tokenizer, SAMPLE, who=who)  # raises where it did above

    # What is added is what stands before and behind the bare tokens.
    dressed = encode(tokenizer, sample, who=who, dressed=True)
    if bare == dressed:
        return Added()
    first = next((k for k in range(len(dressed)) if dressed[k : k + len(bare)] == bare), 0)
    return Added(opening=tuple(dressed[:first]), closing=tuple(dressed[first + len(bare) :]))


def describe_added(tokenizer: Any) -> list[str]:
    """What a tokenizer adds, as 'behind <s>, which its tokenizer puts before a text'; empty if it adds nothing."""
    added = find_added(tokenizer)
    opening, closing = ("".join(_read(tokenizer, i) for i in ids) for ids in (added.opening, added.closing))
    without = [f"without {closing}, which its tokenizer puts behind a text"] if closing else []
    return ([describe_opening(opening)] if opening else []) + without


def _sample_texts(tokenizer: Any) -> Iterator[str]:
    yield SAMPLE
    yield from (_read(tokenizer, i) for i in range(len(tokenizer)))


def read_token(tokenizer: Any, token: int) -> str:
    """The text of one token inside a text."""
    return read_tokens(tokenizer, [token])[token]


def read_tokens(tokenizer: Any, tokens: Iterable[int]) -> dict[int, str]:
    """The text of each token inside a text, by id in rising order; UNKNOWN for ids that the tokenizer does not know.

    A token that is a part of a character shows its bytes: '<0xE4><0xBD>'.
    """
    ids = sorted(set(tokens))
    return dict(zip(ids, (_read(tokenizer, i) for i in ids), strict=True))


def read_text(tokenizer: Any, tokens: Sequence[int]) -> str:
    """The text of tokens together, parts of characters as their bytes."""
    text = _decode(tokenizer, tokens)
    if LOST not in text:
        return text
    parts = [_find_bytes(tokenizer, i) or _read(tokenizer, i).encode() for i in tokens if _knows(tokenizer, i)]
    together = _name_bytes(b"".join(parts))
    # Inside a text the first token may begin with a space, which the decoder strips from the beginning.
    return together.removeprefix(" ") if not text.startswith(" ") else together


def encodes_to_itself(tokenizer: Any, tokens: Sequence[int], *, who: str = "tokenizer") -> list[bool]:
    """Whether each token's own text is encoded as that token alone, at the beginning of a text or inside one.

    Byte-level tokenizers do not tell a beginning from an inside unless they put a space before a text, so their tokens
    are tried once. A text that the tokenizer fails on counts as encoded to nothing. Raises PromptError if it fails on
    every text.
    """
    alone = [_decode(tokenizer, [i]) for i in tokens]
    found = [ids == [i] for i, ids in zip(tokens, _encode_all(tokenizer, alone, who=who), strict=True)]
    if is_byte_level(tokenizer):
        bare, spaced, behind = _encode_all(tokenizer, [SAMPLE, f" {SAMPLE}", LEAD + SAMPLE], who=who)
        if bare != spaced:
            return found
        lead = behind[:-1]  # one token or two for the space and LEAD, depending on the vocabulary
    else:
        (lead,) = _encode_all(tokenizer, [LEAD], who=who)
    inside = _encode_all(tokenizer, [LEAD + _read(tokenizer, i) for i in tokens], who=who)
    return [at_beginning or ids == [*lead, i] for at_beginning, i, ids in zip(found, tokens, inside, strict=True)]


def _encode_all(tokenizer: Any, texts: Sequence[str], *, who: str) -> list[list[int]]:
    """Tokens of each text, none for one that the tokenizer fails on.

    Raises PromptError if it fails on every text of a call.
    """
    found: list[list[int]] = []
    for first in range(0, len(texts), ENCODED_TOGETHER):
        part = list(texts[first : first + ENCODED_TOGETHER])
        encoded: list[list[int]] | None = None
        with suppress(Exception):
            encoded = tokenizer(part, add_special_tokens=False).input_ids
        if encoded is None:
            # One text is enough to fail the call, so each is tried by itself.
            encoded = []
            failures: list[PromptError] = []
            for text in part:
                try:
                    encoded.append(encode(tokenizer, text, who=who))
                except PromptError as error:
                    encoded.append([])
                    failures.append(error)
            if len(failures) == len(part):
                raise failures[0]
        found += encoded
    return found


def is_byte_level(tokenizer: Any) -> bool:
    """Whether its tokens are strings of bytes, spaces included, as those of GPT-2."""
    decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    return decoder is not None and "ByteLevel" in _name_parts(bytes(decoder.__getstate__()))


@cache
def _name_parts(state: bytes) -> frozenset[str]:
    """The types of a decoder and of those in a sequence of decoders. Cached: each token that is read asks for it."""
    plain = json.loads(state)
    return frozenset(part["type"] for part in (plain, *plain.get("decoders", ())))


def _read(tokenizer: Any, token: int) -> str:
    if not _knows(tokenizer, token):
        return UNKNOWN
    # Parts of characters cannot be decoded alone, so their bytes come from the vocabulary.
    alone = _decode(tokenizer, [token])
    if LOST in alone:
        known = _find_bytes(tokenizer, token)
        return alone if known is None else _name_bytes(known)
    # The decoders of byte-level tokenizers strip no space, and added tokens have none.
    if is_byte_level(tokenizer) or token in getattr(tokenizer, "added_tokens_decoder", {}):
        return alone
    # Decoded twice in a row, only the first one is at the beginning. What follows it is the text of one inside.
    twice = _decode(tokenizer, [token, token])
    return twice.removeprefix(alone) if twice != alone and twice.startswith(alone) else alone


def _find_bytes(tokenizer: Any, token: int) -> bytes | None:
    """The bytes of a token that the vocabulary writes as bytes; None if it writes text."""
    written = str(tokenizer.convert_ids_to_tokens(token))
    named = NAMED_BYTE.fullmatch(written)
    if named is not None and not is_byte_level(tokenizer):
        return bytes([int(named.group(1), 16)])
    letters = _byte_letters()
    if is_byte_level(tokenizer) and all(letter in letters for letter in written):
        return bytes(letters[letter] for letter in written)
    return None


@cache
def _byte_letters() -> dict[str, int]:
    """The byte for each of the 256 letters in which byte-level vocabularies are written."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {letter: byte for byte, letter in bytes_to_unicode().items()}


def _name_bytes(content: bytes) -> str:
    """Text, with bytes that are part of no whole character written as '<0xE4>'."""
    return content.decode("utf-8", errors="name-bytes")


def _name_lost(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"<0x{byte:02X}>" for byte in error.object[error.start : error.end]), error.end


codecs.register_error("name-bytes", _name_lost)


def _knows(tokenizer: Any, token: int) -> bool:
    named = getattr(tokenizer, "convert_ids_to_tokens", None)
    return named is None or named(token) is not None


def _decode(tokenizer: Any, tokens: Sequence[int]) -> str:
    # The library may strip spaces before full stops, which the model's tokens have.
    plain = {"clean_up_tokenization_spaces": False} if hasattr(tokenizer, "clean_up_tokenization_spaces") else {}
    return str(tokenizer.decode(list(tokens), **plain))
