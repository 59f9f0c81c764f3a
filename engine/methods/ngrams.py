"""An interpolated trigram: what a language model has to beat before anything is said of it.

Source: Jelinek and Mercer (1980), with weights by how often a context was seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Shares = NDArray[np.float64]

HELD_OUT = 0.05
"""Share of the text, at its end, on which the weights are fitted. Counts are then taken over all of it."""

ROUNDS = 30
"""Rounds of expectation–maximization. Weights move by less than 1e-3 after a dozen."""


@dataclass(frozen=True, kw_only=True)
class _Counts:
    """Counts of tokens and of what they precede [vocabulary], and of pairs, of what these precede, and of triples.

    Those of pairs and triples are sorted keys with a count each.
    """

    vocabulary: int
    singles: Ids
    before_one: Ids
    pairs: tuple[Ids, Ids]
    before_two: tuple[Ids, Ids]
    triples: tuple[Ids, Ids]

    @classmethod
    def of(cls, ids: Ids, vocabulary: int) -> _Counts:
        pairs = ids[:-1] * vocabulary + ids[1:]
        return cls(
            vocabulary=vocabulary,
            singles=np.bincount(ids, minlength=vocabulary),
            before_one=np.bincount(ids[:-1], minlength=vocabulary),
            pairs=np.unique(pairs, return_counts=True),
            before_two=np.unique(pairs[:-1], return_counts=True),
            triples=np.unique(pairs[:-1] * vocabulary + ids[2:], return_counts=True),
        )

    def read(self, ids: Ids) -> tuple[Shares, Ids]:
        """The chance of each token from the third on by order: [n, 4], and how often its context of two was seen.

        Where a context was never seen, the next lower order stands in.
        """
        two_before, before, token = ids[:-2], ids[1:-1], ids[2:]
        context = two_before * self.vocabulary + before
        seen = _find(self.before_two, context)
        by_none = np.full(len(token), 1 / self.vocabulary)
        by_one = self.singles[token] / self.singles.sum()
        by_two = _divide(_find(self.pairs, before * self.vocabulary + token), self.before_one[before], by_one)
        by_three = _divide(_find(self.triples, context * self.vocabulary + token), seen, by_two)
        return np.stack([by_three, by_two, by_one, by_none], axis=1), seen


def _find(counts: tuple[Ids, Ids], wanted: Ids) -> Ids:
    keys, numbers = counts
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, numbers[places], 0)


def _divide(part: Ids, whole: Ids, otherwise: Shares) -> Shares:
    return np.where(whole > 0, part / np.maximum(whole, 1), otherwise)


def _sort_into_bins(seen: Ids) -> Ids:
    """Contexts by the power of two of how often they were seen."""
    return np.log2(1 + seen).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Trigram:
    """weights: of the orders three, two, one and none, for each bin of contexts: [bins, 4], rows add up to 1."""

    counts: _Counts
    weights: Shares

    def loss(self, ids: NDArray[np.unsignedinteger] | Ids) -> float:
        """Mean cross-entropy in nats of the tokens from the third on, each given the two before it."""
        chances, seen = self.counts.read(ids.astype(np.int64))
        mixed = (chances * self.weights[np.minimum(_sort_into_bins(seen), len(self.weights) - 1)]).sum(1)
        return float(-np.log(mixed).mean())


def fit_trigram(ids: NDArray[np.unsignedinteger] | Ids, vocabulary: int) -> Trigram:
    """The trigram of a text of at least 60 tokens, fitted on this text alone."""
    ids = ids.astype(np.int64)
    held_out = max(3, round(HELD_OUT * len(ids)))
    chances, seen = _Counts.of(ids[:-held_out], vocabulary).read(ids[-held_out:])
    whole = _Counts.of(ids, vocabulary)
    bins = _sort_into_bins(seen)
    weights = np.full((int(_sort_into_bins(whole.pairs[1]).max()) + 1, 4), 0.25)
    # One weight a bin where it was seen; a bin that the held-out text lacks takes those of the nearest below.
    for bin in range(len(weights)):
        own = chances[bins == bin]
        if len(own) == 0:
            weights[bin] = weights[bin - 1] if bin else weights[bin]
            continue
        for _ in range(ROUNDS):
            shares = own * weights[bin]
            weights[bin] = (shares / shares.sum(1, keepdims=True)).mean(0)
    # No token may have a chance of zero.
    weights = np.maximum(weights, 1e-6)
    return Trigram(counts=whole, weights=weights / weights.sum(1, keepdims=True))
