"""How likely a token is as a word of English text, from the frequencies of the wordfreq package."""

from __future__ import annotations

import math
from functools import cache

FLOOR = -8.0
"""log₁₀ of the frequency that any rarer word, or one that was never seen, is given."""


def log_frequency(token: str) -> float | None:
    """log₁₀ of a token's frequency as an English word; None for a token that is no whole beginning of a word.

    token: its text. Only tokens that begin a word (with a space before it) and hold letters only are judged: a piece
    of a word has no frequency of its own.
    """
    word = token[1:]
    if not token.startswith(" ") or not word.isalpha():
        return None
    return _look_up(word.lower())


@cache
def _look_up(word: str) -> float:
    # Imported where it is used: its word lists take longer to load than a claim to declare.
    from wordfreq import word_frequency

    return math.log10(max(word_frequency(word, "en"), 10**FLOOR))
