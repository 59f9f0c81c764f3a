"""How frequent a token is as an English word, by the wordfreq package."""

from __future__ import annotations

import math
from functools import cache

FLOOR = -8.0
"""log₁₀ of the frequency given to every word that is rarer than this or unknown."""


def log_frequency(token: str) -> float | None:
    """log₁₀ of a token's frequency as an English word; None for a token that is not word-initial.

    token: its text. Only a token that starts with a space and is letters after it counts: a fragment of a word has no
    frequency of its own.
    """
    word = token[1:]
    if not token.startswith(" ") or not word.isalpha():
        return None
    return _log_word_frequency(word.lower())


@cache
def _log_word_frequency(word: str) -> float:
    # Imported here because its word lists take longer to load than it takes to declare a claim.
    from wordfreq import word_frequency

    return math.log10(max(word_frequency(word, "en"), 10**FLOOR))
