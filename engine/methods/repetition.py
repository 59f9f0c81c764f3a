"""How much a text repeats itself. Pure: no torch."""

from __future__ import annotations

from collections.abc import Sequence

GRAM = 4


def repetition(tokens: Sequence[int]) -> float | None:
    """1 − distinct 4-grams / 4-grams: 0 if no 4-gram occurs twice; None without any 4-gram.

    Source: seq-rep-n of Welleck et al. 2019, with n = 4.
    """
    grams = [tuple(tokens[i : i + GRAM]) for i in range(len(tokens) - GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else None


def mean_repetition(tokens: Sequence[int], window: int) -> float:
    """The mean repetition of a text's windows of so many tokens. A last window that is not full is left out."""
    starts = range(0, len(tokens) - window + 1, window)
    rates = [rate for first in starts if (rate := repetition(tokens[first : first + window])) is not None]
    return sum(rates) / len(rates)
