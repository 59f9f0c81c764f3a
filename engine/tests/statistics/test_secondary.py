"""What stands beside a verdict's estimate and decides nothing: failure times, restricted means, trends."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import weibull_min

from engine.errors import DeclarationError
from engine.statistics import HitTimes, secondary_estimates, trend

CAP = 1000


def draw_arm(rng: np.random.Generator, scale: float, n: int) -> HitTimes:
    """Weibull times of shape 2, cut off at the cap."""
    times = np.ceil(weibull_min.rvs(2, scale=scale, size=n, random_state=rng))
    return HitTimes(hits=tuple(int(t) if t <= CAP else None for t in times), cap=CAP, diverged=(False,) * n)


def test_a_weibull_model_finds_the_factor_that_it_was_drawn_with() -> None:
    rng = np.random.default_rng(0)
    slow, fast = draw_arm(rng, 900, 400), draw_arm(rng, 300, 400)
    model, _ = secondary_estimates("ratio", slow, fast, seed=0)
    # A Weibull scale of shape k is known to 1.05/(k√n) on the logarithm: two arms of 400 to 0.037, a third more for
    # the 30 % that are censored. Three of that are 0.15.
    assert math.log(model.value / 3) == pytest.approx(0, abs=0.15)
    assert model.low < 3 < model.high
    assert model.name == "ratio, accelerated failure time"


def test_restricted_means_are_those_of_times_cut_at_the_cap() -> None:
    slow = HitTimes(hits=(500, None, 700, 900, None, 100), cap=CAP, diverged=(False,) * 6)
    fast = HitTimes(hits=(50, 60, 70, 80, 90, 100), cap=CAP, diverged=(False,) * 6)
    *_, mean = secondary_estimates("ratio", slow, fast, seed=0)
    assert mean.value == pytest.approx((500 + 1000 + 700 + 900 + 1000 + 100) / 450)
    assert mean.low < mean.value < mean.high


def test_two_hits_are_too_few_for_a_model() -> None:
    few = HitTimes(hits=(5, 6, *[None] * 10), cap=CAP, diverged=(False,) * 12)
    many = HitTimes(hits=tuple(range(5, 17)), cap=CAP, diverged=(False,) * 12)
    assert [one.name for one in secondary_estimates("x", few, many, seed=0)] == ["x, restricted means"]


def test_too_few_pairs_have_no_companion() -> None:
    arm = HitTimes(hits=(5, None), cap=CAP, diverged=(False,) * 2)
    assert secondary_estimates("x", arm, arm, seed=0) == ()


class TestTrend:
    def test_rises_and_falls_are_kendalls(self) -> None:
        # Over three conditions: all three pairs rise; all fall; one of three falls (2 − 1)/3; no pair differs.
        rows = [[1, 2, 3], [3, 2, 1], [1, 3, 2], [5, 5, 5]] * 3
        found = trend("x", rows, seed=0)
        assert found.value == pytest.approx((1 - 1 + 1 / 3 + 0) / 4)
        assert found.n == 12

    @pytest.mark.parametrize(("step", "rises"), [(1, True), (-1, False)])
    def test_pages_test_tells_a_rise_from_a_fall(self, step: int, rises: bool) -> None:
        rows = [[step * (k + unit) for k in range(4)] for unit in range(8)]
        chance = float(trend("x", rows, seed=0).method.rsplit("p = ", 1)[1])
        assert (chance < 0.001) is rises

    def test_two_conditions_are_no_trend(self) -> None:
        with pytest.raises(DeclarationError, match="trend x: got rows of 2 readings"):
            trend("x", [[1, 2]] * 6, seed=0)

    def test_no_units_tell_nothing(self) -> None:
        assert math.isnan(trend("x", [], seed=0).value)
