"""The trigram that models have to beat: a distribution, and near the entropy of texts whose entropy is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.methods.ngrams import fit_trigram

VOCABULARY = 11


def draw(n: int, *, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(VOCABULARY, size=n).astype(np.uint16)


def test_chances_of_all_next_tokens_add_up_to_one() -> None:
    model = fit_trigram(draw(2000, seed=0), VOCABULARY)
    for context in ([3, 4], [0, 0], [10, 1]):
        chances = [math.exp(-model.loss(np.array([*context, token]))) for token in range(VOCABULARY)]
        assert sum(chances) == pytest.approx(1, abs=1e-9)
        assert min(chances) > 0


def test_a_text_without_order_costs_its_entropy() -> None:
    model = fit_trigram(draw(200_000, seed=0), VOCABULARY)
    # Counts of 1,331 contexts are not exact: a few thousandths of a nat more.
    assert model.loss(draw(50_000, seed=1)) == pytest.approx(math.log(VOCABULARY), abs=0.01)


def test_each_order_is_used_where_it_tells() -> None:
    cycle = np.tile(np.arange(VOCABULARY, dtype=np.uint16), 500)
    assert fit_trigram(cycle, VOCABULARY).loss(cycle) < 0.01  # the token before tells
    # Here the token before tells nothing, and the two before tell all: x, y, x + y modulo 11.
    rng = np.random.default_rng(2)
    text = [0, 1]
    for _ in range(60_000):
        text.append((text[-1] + text[-2]) % VOCABULARY if rng.random() < 0.9 else int(rng.integers(VOCABULARY)))
    ids = np.array(text, dtype=np.uint16)
    right = 0.9 + 0.1 / VOCABULARY
    entropy = -right * math.log(right) - (1 - right) * math.log(0.1 / VOCABULARY)
    assert fit_trigram(ids[:50_000], VOCABULARY).loss(ids[50_000:]) == pytest.approx(entropy, abs=0.05)


def test_a_token_that_was_never_seen_costs_a_finite_amount() -> None:
    model = fit_trigram(np.tile(np.array([1, 2, 3], dtype=np.uint16), 100), VOCABULARY)
    assert math.isfinite(model.loss(np.array([1, 2, 9, 9, 9])))
