"""A smallest effect of interest: an interval inside it means that there is none; a direction must reach beyond it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from engine.arms.protocol import DIRECT
from engine.claim.claim import Claim
from engine.claim.criteria import Above, AtLeast, Below, Criterion, Ruling
from engine.claim.verdict import judge_criterion
from engine.errors import DeclarationError
from engine.statistics import Estimate

WHY: Any = {"because": "planted", "least_because": "planted"}
TENTH = Above("x", 0, least=0.1, **WHY)
FALL = Below("x", 0, least=0.1, **WHY)
TWOFOLD = Above("x", 1, least=2, **WHY)


def make_estimate(low: float, value: float, high: float, *, scale: Any = "linear", n: int = 36) -> Estimate:
    return Estimate(name="x", value=value, low=low, high=high, n=n, method="planted", scale=scale)


@pytest.mark.parametrize(
    ("criterion", "interval", "ruling"),
    [
        (TENTH, (0.004, 0.014, 0.024), Ruling.REFUTED),
        (TENTH, (-0.05, 0.0, 0.05), Ruling.REFUTED),
        (TENTH, (-0.1, 0.0, 0.1), Ruling.REFUTED),
        (TENTH, (0.01, 0.06, 0.11), Ruling.SUPPORTED),
        (TENTH, (0.2, 0.3, 0.4), Ruling.SUPPORTED),
        (TENTH, (-0.01, 0.05, 0.11), Ruling.INCONCLUSIVE),
        (TENTH, (-0.3, -0.2, -0.15), Ruling.REFUTED),
        (TENTH, (-0.3, -0.1, -0.05), Ruling.REFUTED),
        (TENTH, (-0.3, 0.0, 0.05), Ruling.INCONCLUSIVE),
        (FALL, (-0.02, -0.01, -0.001), Ruling.REFUTED),
        (FALL, (-0.3, -0.2, -0.05), Ruling.SUPPORTED),
        (FALL, (0.05, 0.2, 0.3), Ruling.REFUTED),
    ],
)
def test_an_interval_of_a_difference(
    criterion: Criterion, interval: tuple[float, float, float], ruling: Ruling
) -> None:
    assert judge_criterion(criterion, make_estimate(*interval)).ruling is ruling


@pytest.mark.parametrize(
    ("interval", "ruling"),
    [
        ((0.6, 1.1, 1.9), Ruling.REFUTED),
        ((1.2, 1.5, 1.9), Ruling.REFUTED),
        ((1.2, 1.8, 2.4), Ruling.SUPPORTED),
        ((0.4, 1.1, 1.9), Ruling.INCONCLUSIVE),
        ((0.6, 1.1, float("inf")), Ruling.INCONCLUSIVE),
        ((0.1, 0.2, 0.4), Ruling.REFUTED),
    ],
)
def test_an_interval_of_a_ratio_is_compared_with_a_factor(interval: tuple[float, float, float], ruling: Ruling) -> None:
    assert judge_criterion(TWOFOLD, make_estimate(*interval, scale="log")).ruling is ruling


def test_the_sentence_says_that_there_is_no_effect_of_that_size() -> None:
    found = judge_criterion(TENTH, make_estimate(0.004, 0.014, 0.024))
    assert found.sentence == (
        "x = 0.014 [0.004, 0.024] (n = 36 units) lies between -0.1 and 0.1: no effect of the size that counts for x > "
        "0."
    )
    # Where the interval leaves no doubt of the direction, the size plays no part in the sentence.
    assert "lies outside x > 0" in judge_criterion(TENTH, make_estimate(-0.4, -0.3, -0.2)).sentence


def test_without_a_smallest_effect_any_direction_counts() -> None:
    plain = Above("x", 0, because="planted")
    assert judge_criterion(plain, make_estimate(0.004, 0.014, 0.024)).ruling is Ruling.SUPPORTED
    assert judge_criterion(plain, make_estimate(-0.05, 0.0, 0.05)).ruling is Ruling.INCONCLUSIVE


def test_the_units_that_would_decide_are_those_of_the_nearer_edge() -> None:
    """A value of 0.02 in [-0.13, 0.17] rules "none" once the interval ends at 0.1, long before it excludes 0."""
    estimate = make_estimate(-0.13, 0.02, 0.17)
    assert TENTH.count_to_decide(estimate) == pytest.approx(36 * (0.15 / 0.08) ** 2, abs=1.5)
    plain = Above("x", 0, because="planted")
    assert plain.count_to_decide(estimate) == pytest.approx(36 * (0.15 / 0.02) ** 2, abs=1.5)
    # Beyond the smallest effect, only the direction is open.
    assert TENTH.count_to_decide(make_estimate(-0.1, 0.3, 0.7)) == pytest.approx(36 * (0.4 / 0.3) ** 2, abs=1.5)


def make_claim(*criteria: Criterion) -> Claim:
    return Claim(
        id="T01",
        section="none",
        sentence="A sentence.",
        estimand="a number",
        document="nothing",
        procedure=None,  # pyright: ignore[reportArgumentType]
        criteria=criteria,
        subjects=("gpt2-untrained",),
        protocols=(DIRECT,),
    )


def test_a_claim_goes_on_where_more_units_could_show_that_there_is_none() -> None:
    estimate = make_estimate(-0.13, 0.02, 0.17)
    assert make_claim(TENTH).could_be_decided({"x": estimate}, ("every",), 4)
    assert not make_claim(Above("x", 0, because="planted")).could_be_decided({"x": estimate}, ("every",), 4)


def test_a_refuted_direction_refutes_its_claim_whatever_the_magnitude() -> None:
    direction = Above("x", 1, role="direction", least=2, **WHY)
    magnitude = AtLeast("x", 30, role="magnitude", because="planted")
    judged = make_claim(direction, magnitude).judge({"x": make_estimate(0.6, 1.1, 1.9, scale="log")})
    assert judged.ruling is Ruling.REFUTED


@pytest.mark.parametrize(
    ("interval", "ruling"),
    [
        ((4.0, 12.0, 28.0), Ruling.PARTLY),
        ((0.3, 1.2, 6.0), Ruling.REFUTED),
        ((0.3, 12.0, 90.0), Ruling.INCONCLUSIVE),
        ((0.6, 1.1, 1.9), Ruling.REFUTED),
        ((35.0, 50.0, 90.0), Ruling.SUPPORTED),
    ],
    ids=["direction holds", "direction open, size excluded", "both open", "no effect", "both hold"],
)
def test_direction_and_magnitude(interval: tuple[float, float, float], ruling: Ruling) -> None:
    direction = Above("x", 1, role="direction", least=2, **WHY)
    claim = make_claim(direction, AtLeast("x", 30, role="magnitude", because="planted"))
    judged = claim.judge({"x": make_estimate(*interval, scale="log")})
    assert judged.ruling is ruling
    assert judged.sentence.endswith("whether there is a difference at all is open.") == (interval == (0.3, 1.2, 6.0))


@pytest.mark.parametrize("least", [0.0, -0.1, math.inf, math.nan])
def test_a_smallest_effect_is_above_zero(least: float) -> None:
    with pytest.raises(DeclarationError, match="expected a smallest effect above 0"):
        Above("x", 0, least=least, **WHY)


@pytest.mark.parametrize(("bound", "least"), [(1, 0.5), (1, 1), (0, 2)])
def test_a_smallest_effect_of_a_ratio_is_a_factor(bound: float, least: float) -> None:
    with pytest.raises(DeclarationError, match="a factor above 1 around a bound above 0"):
        Above("x", bound, least=least, **WHY).rule(make_estimate(1.1, 1.2, 1.3, scale="log"))


@pytest.mark.parametrize("changed", [{"least": 0.1}, {"least_because": "so"}])
def test_a_smallest_effect_has_a_reason_and_a_reason_an_effect(changed: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match="least and least_because together"):
        Above("x", 0, because="planted", **changed)


def test_a_criterion_for_another_model_leaves_the_claim_untested() -> None:
    judged = make_claim(AtLeast("x", 1, because="planted", on="trained GPT-2")).judge({}, ("every", "trained"))
    assert judged.ruling is Ruling.NOT_TESTED
    assert judged.sentence == (
        "Not tested on this model: trained GPT-2 alone can decide it; the tables show this model."
    )
