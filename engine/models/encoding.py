"""Prompts of a user's own as tokens, and the characters that a tokenizer drops without a word."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from engine.arms.prompts import check_prompt
from engine.errors import PromptError
from engine.models.token_text import encode, read_text

MOST_NAMED = 8
"""Dropped characters that a line names."""

SPACES = str.maketrans("", "", " \t\r\n▁")
"""What a decoder may move: white space, and the sign that SentencePiece writes for it."""


def encode_own(tokenizer: Any, config: Any, text: str, *, who: str) -> tuple[int, ...]:
    """Tokens of a prompt that a user passed. who: the subject. Raises PromptError for one that cannot be measured.

    One that loses characters is refused: what would be measured is another text than the user's.
    """
    ids = encode(tokenizer, text, who=who)
    context, vocab = int(config.max_position_embeddings), int(config.vocab_size)
    dropped = find_dropped(tokenizer, [text])
    check_prompt(text, ids, context=context, vocab=vocab, dropped=name_dropped(dropped), who=who)
    return tuple(ids)


def find_dropped(tokenizer: Any, texts: Iterable[str]) -> tuple[str, ...]:
    """Characters of texts that come to no token, not even to the one for unknown text, in the order of their codes.

    Each is tried three times in a row, at a beginning, inside and at an end, for which vocabularies have tokens of
    their own. What the tokenizer's normalizer makes of a character counts as the character.
    """
    each = sorted({c for text in texts for c in text if not c.isspace()})
    unknown = _find_unknown(tokenizer)
    return tuple(c for c in each if _is_dropped(tokenizer, c, unknown))


def name_dropped(dropped: tuple[str, ...]) -> str | None:
    """Characters in quotes, the first few of many; None for none."""
    more = len(dropped) - MOST_NAMED
    return ", ".join(map(repr, dropped[:MOST_NAMED])) + (f" and {more} more" if more > 0 else "") or None


def _is_dropped(tokenizer: Any, character: str, unknown: set[int]) -> bool:
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    normalizer: Any = getattr(backend, "normalizer", None)
    text = 3 * character
    said = (text if normalizer is None else str(normalizer.normalize_str(text))).translate(SPACES)
    try:
        ids = encode(tokenizer, text, who="tokenizer")
    except PromptError:
        return False  # that is no silence
    if not said or unknown & set(ids):
        return False
    shown = read_text(tokenizer, ids).translate(SPACES)
    # Without a decoder tokens are shown as the vocabulary writes them, which may be in other letters.
    return not shown if getattr(backend, "decoder", None) is None else said not in shown


def _find_unknown(tokenizer: Any) -> set[int]:
    """Ids of the token for unknown text, which the library and the tokenizer's own model name each by itself."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    model: Any = getattr(backend, "model", None)
    named = [getattr(tokenizer, "unk_token_id", None)]
    if type(model).__name__ == "Unigram":
        named.append(json.loads(bytes(model.__getstate__()))["unk_id"])
    elif getattr(model, "unk_token", None) is not None:
        named.append(model.token_to_id(model.unk_token))
    return {int(i) for i in named if i is not None}
