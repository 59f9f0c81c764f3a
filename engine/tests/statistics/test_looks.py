"""Intervals at early looks: errors that add up, and the sequences and order statistics behind them."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from scipy.stats import t as student

from engine.errors import DeclarationError
from engine.statistics import HitTimes, Look, geometric_ratio, median, median_ratio, paired_mean, proportion
from engine.statistics.proportions import find_sequence_interval

EARLY_LOOK, LAST_LOOK = Look(number=1, of=3), Look(number=3, of=3)


@pytest.mark.parametrize("of", [1, 2, 3, 5, 30])
def test_the_errors_of_all_looks_add_up_to_a_twentieth(of: int) -> None:
    assert sum(Look(number=k, of=of).alpha for k in range(1, of + 1)) == pytest.approx(0.05, abs=1e-12)


def test_thirty_six_of_thirty_six_clear_nine_tenths_at_the_last_look() -> None:
    assert proportion("rate", [True] * 36, look=LAST_LOOK).low > 0.9
    assert proportion("rate", [True] * 36, look=EARLY_LOOK).low < 0.9


@pytest.mark.parametrize(("number", "of"), [(0, 1), (2, 1), (-1, 3)])
def test_a_look_that_is_not_planned_is_refused(number: int, of: int) -> None:
    with pytest.raises(DeclarationError, match=f"look: got look {number} of {of}"):
        Look(number=number, of=of)


@pytest.mark.parametrize("look", [Look(), EARLY_LOOK, LAST_LOOK], ids=["only", "early", "last"])
def test_as_many_signs_are_asked_for_as_can_reach_the_error(look: Look) -> None:
    # Two-sided: all signs alike, one way or the other.
    assert 2 * 0.5**look.fewest <= look.alpha < 2 * 0.5 ** (look.fewest - 1)


def test_a_look_that_asks_what_the_last_would_say_has_its_error() -> None:
    hoped = Look(number=1, of=3, as_last=True)
    assert (hoped.alpha, hoped.fewest) == (LAST_LOOK.alpha, LAST_LOOK.fewest)
    assert not hoped.last


class TestSequence:
    @pytest.mark.parametrize(("successes", "n"), [(0, 12), (5, 12), (12, 12), (17, 24), (30, 60)])
    def test_its_ends_are_where_the_mixture_wins_one_over_alpha(self, successes: int, n: int) -> None:
        alpha = 0.004
        low, high = find_sequence_interval(successes / n, n, alpha)
        # The uniform mixture gives each number of successes the probability 1/(n + 1).
        for end in {low, high} - {0.0, 1.0}:
            odds = 1 / (n + 1) / binom.pmf(successes, n, end)
            assert odds == pytest.approx(1 / alpha, rel=1e-6)

    @given(st.integers(1, 60), st.data())
    @settings(max_examples=60, deadline=None, derandomize=True)
    def test_it_holds_the_rate_and_more_than_an_exact_interval(self, n: int, data: st.DataObject) -> None:
        successes = data.draw(st.integers(0, n))
        low, high = find_sequence_interval(successes / n, n, 0.05)
        exact = binomtest(successes, n).proportion_ci(0.95)
        assert low <= successes / n <= high
        assert low <= exact.low + 1e-9
        assert high >= exact.high - 1e-9

    @pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
    def test_looked_at_after_every_unit_it_misses_as_often_as_it_says_at_most(self, rate: float) -> None:
        # 400 walks of 60 units at 5 %: 20 misses are expected at most, three standard deviations of 4.4 above are 33.
        rng, missed = np.random.default_rng(0), 0
        for _ in range(400):
            found = np.cumsum(rng.random(60) < rate)
            ends = (find_sequence_interval(found[n - 1] / n, n, 0.05) for n in range(5, 61, 5))
            missed += any(not low <= rate <= high for low, high in ends)
        assert missed <= 33

    def test_wilsons_interval_would_miss_far_more_often(self) -> None:
        """The mistake that the test above must be able to see."""
        rng, missed = np.random.default_rng(0), 0
        for _ in range(400):
            outcomes = rng.random(60) < 0.5
            found = [proportion("rate", list(outcomes[:n])) for n in range(5, 61, 5)]
            missed += any(not one.low <= 0.5 <= one.high for one in found)
        assert missed > 50


class TestEarlyIntervals:
    def test_a_mean_has_students(self) -> None:
        values = np.random.default_rng(0).normal(0.3, 0.2, 12).clip(-1, 1)
        found = paired_mean("x", list(values), bounds=(-1, 1), seed=0, look=EARLY_LOOK)
        error = values.std(ddof=1) / math.sqrt(12)
        expected = student.interval(1 - EARLY_LOOK.alpha, 11, loc=values.mean(), scale=error)
        assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)

    def test_a_median_lies_between_order_statistics(self) -> None:
        # P(at most 0 of 12 below) = 1/4096 ≤ 0.001 < 13/4096: the lowest and the highest value.
        values = [float(k) for k in range(1, 13)]
        found = median("x", values, look=EARLY_LOOK)
        assert (found.low, found.value, found.high) == (1, 6, 12)

    @pytest.mark.parametrize(("n", "rank"), [(6, 1), (9, 2), (12, 3), (36, 12)])
    def test_at_a_single_look_they_are_those_of_the_sign_test(self, n: int, rank: int) -> None:
        # The published ranks of 95 % intervals for a median: 1 of 6, 2 of 9, 3 of 12, 12 of 36.
        found = median("x", [float(k) for k in range(1, n + 1)])
        assert (found.low, found.high) == (rank, n + 1 - rank)

    def test_a_ratio_takes_the_farthest_of_both_arms(self) -> None:
        slow, fast = (
            HitTimes(hits=tuple(range(first, first + 12)), cap=1000, diverged=(False,) * 12) for first in (200, 10)
        )
        found = median_ratio("x", slow, fast, seed=0, look=EARLY_LOOK)
        # Half of 0.002 an arm: P(0 of 12) = 1/4096 ≤ 0.0005, so again the lowest and the highest.
        assert (found.low, found.high) == pytest.approx((200 / 21, 211 / 10))

    @pytest.mark.parametrize("n", [6, 9])
    def test_too_few_for_an_early_look_decide_nothing(self, n: int) -> None:
        ones = [1.0] * n
        assert median("x", ones, look=EARLY_LOOK).is_open
        assert geometric_ratio("x", [2.0 + k for k in range(n)], ones, seed=0, look=EARLY_LOOK).is_open
        assert paired_mean("x", ones, bounds=None, seed=0, look=EARLY_LOOK).is_open


def test_an_interval_of_a_stricter_look_holds_that_of_a_laxer_one() -> None:
    values = list(np.random.default_rng(1).normal(0.2, 0.3, 24).clip(-1, 1))
    looks = (Look(), LAST_LOOK, EARLY_LOOK)
    found = [paired_mean("x", values, bounds=(-1, 1), seed=0, look=look) for look in looks]
    for lax, strict in pairwise(found):
        assert strict.low <= lax.low + 1e-9
        assert strict.high >= lax.high - 1e-9


def test_the_method_names_the_look() -> None:
    assert proportion("x", [True] * 12, look=EARLY_LOOK).method.endswith("; look 1 of 3, 99.8 %")
    assert "look" not in proportion("x", [True] * 12).method
