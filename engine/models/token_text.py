"""What tokens say: each one as it stands inside a text, with the space that begins it, and bytes where it is no text.

Every reading, table and film takes a single token's text from here. Decoded alone, a token of most tokenizers that
are not byte-level has lost the space before it: their decoders take it off whatever begins a text.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from typing import Any

from engine.errors import EscapedError, PromptError, explain, no_exits
from engine.text import shorten

UNKNOWN = "(no token)"
"""What an id says that the tokenizer does not know: models often have more rows than tokens."""

LOST = "\ufffd"
"""What decoders put for bytes that are no whole character."""

NAMED_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
"""A byte as SentencePiece names it in its vocabularies, and as it is shown here."""

SAMPLE = "a"
"""A text that nearly any tokenizer takes."""

LEAD = "\n"
"""Before LEAD and a token's text, no tokenizer puts a space of its own between the two."""


def encode(tokenizer: Any, text: str, *, who: str) -> list[int]:
    """Tokens of a text, without what the tokenizer would put around it. who: the subject.

    Raises PromptError with one line for whatever a tokenizer fails with: some have no token for unknown text, and
    some show what is wrong with their files no earlier. Raises EscapedError for what gets past every handler.
    """
    try:
        with no_exits():
            return list[int](tokenizer(text, add_special_tokens=False).input_ids)
    except EscapedError:
        raise
    except Exception as error:
        got = f"{type(error).__name__} from its tokenizer at {shorten(text)}: {error}"
        remedy = "fix the tokenizer's files or pass another text"
        raise PromptError(explain(who=who, got=got, expected="tokens", remedy=remedy)) from error


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
    """What tokens say together, parts of characters as their bytes."""
    text = _decode(tokenizer, tokens)
    if LOST not in text:
        return text
    parts = [_find_bytes(tokenizer, i) or _read(tokenizer, i).encode() for i in tokens if _knows(tokenizer, i)]
    together = _name_bytes(b"".join(parts))
    # The decoder takes a space off the beginning that the first token has inside a text.
    return together.removeprefix(" ") if not text.startswith(" ") else together


def encodes_to_itself(tokenizer: Any, tokens: Sequence[int], *, who: str = "tokenizer") -> list[bool]:
    """Whether a token's own text gives it and nothing else, at the beginning of a text or inside one, for each id.

    Byte-level tokenizers tell no beginning from an inside unless they put a space before a text, so that theirs are
    tried once. A text that the tokenizer fails at gives nothing. Raises PromptError where it fails at every one.
    """
    alone = [_decode(tokenizer, [i]) for i in tokens]
    found = [ids == [i] for i, ids in zip(tokens, _encode(tokenizer, alone, who=who), strict=True)]
    if is_byte_level(tokenizer):
        bare, spaced, behind = _encode(tokenizer, [SAMPLE, f" {SAMPLE}", LEAD + SAMPLE], who=who)
        if bare != spaced:
            return found
        lead = behind[:-1]  # the space and LEAD are one token or two, as the vocabulary has it
    else:
        (lead,) = _encode(tokenizer, [LEAD], who=who)
    inside = _encode(tokenizer, [LEAD + _read(tokenizer, i) for i in tokens], who=who)
    return [at_beginning or ids == [*lead, i] for at_beginning, i, ids in zip(found, tokens, inside, strict=True)]


def name_added(tokenizer: Any) -> str | None:
    """What a tokenizer puts around a text unless it is told not to: '<s> before a text'; None for nothing."""
    sample, bare = _find_sample(tokenizer)
    dressed = list[int](tokenizer(sample).input_ids)
    if bare == dressed:
        return None
    first = next((k for k in range(len(dressed)) if dressed[k : k + len(bare)] == bare), 0)
    before = "".join(_read(tokenizer, i) for i in dressed[:first])
    behind = "".join(_read(tokenizer, i) for i in dressed[first + len(bare) :])
    parts = ((before, "before"), (behind, "behind"))
    return " and ".join(f"{tokens} {where} a text" for tokens, where in parts if tokens) or None


def _find_sample(tokenizer: Any) -> tuple[str, list[int]]:
    """A text that the tokenizer knows, and its tokens: SAMPLE, or a token's text where it makes nothing of that."""
    for text in chain([SAMPLE], (_read(tokenizer, i) for i in range(len(tokenizer)))):
        with suppress(PromptError):
            if ids := encode(tokenizer, text, who="tokenizer"):
                return text, ids
    return SAMPLE, encode(tokenizer, SAMPLE, who="tokenizer")


def is_byte_level(tokenizer: Any) -> bool:
    """Whether its tokens are strings of bytes, spaces among them, as those of GPT-2."""
    return "ByteLevel" in _decoders(tokenizer)


def _read(tokenizer: Any, token: int) -> str:
    if not _knows(tokenizer, token):
        return UNKNOWN
    alone = _decode(tokenizer, [token])
    if LOST in alone:
        known = _find_bytes(tokenizer, token)
        return alone if known is None else _name_bytes(known)
    if is_byte_level(tokenizer) or token in getattr(tokenizer, "added_tokens_decoder", {}):
        return alone
    # Behind itself it is no longer at the beginning, and its first half is what it says there.
    twice = _decode(tokenizer, [token, token])
    return twice.removeprefix(alone) if twice != alone and twice.startswith(alone) else alone


def _find_bytes(tokenizer: Any, token: int) -> bytes | None:
    """The bytes of a token that the vocabulary writes as bytes; None where it writes text."""
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
    """The byte behind each of the 256 letters in which byte-level vocabularies are written."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {letter: byte for byte, letter in bytes_to_unicode().items()}


def _name_bytes(content: bytes) -> str:
    """Text, with the bytes by name that are part of no whole character."""
    return content.decode("utf-8", errors="name-bytes")


def _name_lost(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"<0x{byte:02X}>" for byte in error.object[error.start : error.end]), error.end


codecs.register_error("name-bytes", _name_lost)


def _knows(tokenizer: Any, token: int) -> bool:
    named = getattr(tokenizer, "convert_ids_to_tokens", None)
    return named is None or named(token) is not None


def _decode(tokenizer: Any, tokens: Sequence[int]) -> str:
    # The library may take spaces before full stops off, which the model's tokens have.
    plain = {"clean_up_tokenization_spaces": False} if hasattr(tokenizer, "clean_up_tokenization_spaces") else {}
    return str(tokenizer.decode(list(tokens), **plain))


TEXTS = 1024
"""Texts that are encoded together: all at once take a third of a gigabyte that is never given back."""


def _encode(tokenizer: Any, texts: Sequence[str], *, who: str) -> list[list[int]]:
    """Tokens of each text, none for one that the tokenizer fails at. Raises PromptError where it fails at every one."""
    found: list[list[int]] = []
    for first in range(0, len(texts), TEXTS):
        part = list(texts[first : first + TEXTS])
        try:
            found += tokenizer(part, add_special_tokens=False).input_ids
        except Exception:  # one by one: a single text ends all that are encoded with it
            found += _encode_each(tokenizer, part, who)
    return found


def _encode_each(tokenizer: Any, texts: Sequence[str], who: str) -> list[list[int]]:
    found: list[list[int]] = []
    failures: list[PromptError] = []
    for text in texts:
        try:
            found.append(encode(tokenizer, text, who=who))
        except PromptError as error:
            found.append([])
            failures.append(error)
    if len(failures) == len(texts):
        raise failures[0]
    return found


def _decoders(tokenizer: Any) -> frozenset[str]:
    """Names of a tokenizer's decoders, those inside a sequence among them; none where it has no such parts."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decoder = getattr(backend, "decoder", None)
    if decoder is None:
        return frozenset()
    return _name_parts(bytes(decoder.__getstate__()))


@cache
def _name_parts(state: bytes) -> frozenset[str]:
    plain = json.loads(state)
    return frozenset(part["type"] for part in (plain, *plain.get("decoders", ())))
