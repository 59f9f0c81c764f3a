"""Rank correlations of medians: the library's own coefficient, intervals that hold it, and what has none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from engine.errors import DeclarationError
from engine.statistics import Look, rank_correlation

SEEDS = (0, 1, 2)
CLUSTERS = [k % 3 for k in range(36)]
Rng = np.random.Generator


def draw(rng: Rng, truth: float, *, conditions: int = 20) -> tuple[list[list[float]], list[list[float]]]:
    """Readings whose medians over conditions are correlated as told, the units spread a little around them."""
    centres = rng.normal(size=(2, 3, conditions))
    centres[1] = truth * centres[0] + math.sqrt(1 - truth**2) * centres[1]
    return tuple(  # pyright: ignore[reportReturnType]
        [[side[seed, k] + 0.1 * rng.normal() for seed in CLUSTERS] for k in range(conditions)] for side in centres
    )


def test_it_is_the_mean_over_clusters_of_the_librarys_coefficient_of_their_medians() -> None:
    first, second = draw(np.random.default_rng(0), 0.6)
    found = rank_correlation("ρ", first, second, clusters=CLUSTERS, seed=0)
    each: list[float] = []
    for seed in SEEDS:
        # Of twelve units, the sixth is the smallest that half of them do not exceed.
        medians = [
            [sorted(row[k] for k in range(36) if CLUSTERS[k] == seed)[5] for row in side] for side in (first, second)
        ]
        each.append(float(spearmanr(*medians).statistic))  # pyright: ignore[reportAttributeAccessIssue]
    assert found.value == pytest.approx(sum(each) / 3)
    assert found.low <= found.value <= found.high
    assert (found.n, found.counts) == (36, "units")


def test_runs_that_never_hit_are_later_than_all_and_tie() -> None:
    first = [[float(k)] * 6 for k in range(5)]
    second = [[1.0] * 6, [2.0] * 6, [3.0] * 6, [math.inf] * 6, [math.inf] * 6]
    expected = spearmanr([0, 1, 2, 3, 4], [1, 2, 3, 9, 9]).statistic  # pyright: ignore[reportAttributeAccessIssue]
    assert rank_correlation("ρ", first, second, seed=0).value == pytest.approx(float(expected))


def test_a_side_that_never_changes_tells_nothing() -> None:
    rows, flat = [[float(k)] * 6 for k in range(5)], [[math.inf] * 6] * 5
    found = rank_correlation("ρ", rows, flat, seed=0)
    assert math.isnan(found.value)
    assert (found.low, found.high) == (-1, 1)
    # Where it does so in one of two clusters, the mean may be half of what it is in the other, more or less.
    both = rank_correlation(
        "ρ", [row * 2 for row in rows], [[*a, *b] for a, b in zip(rows, flat, strict=True)],
        clusters=[0] * 6 + [1] * 6, seed=0,
    )  # fmt: skip
    assert math.isnan(both.value)
    assert (both.low, both.high) == (0, 1)


def test_an_interval_over_units_holds_the_coefficient_of_their_population_nearly_always() -> None:
    """Conditions far apart for their number: the population's coefficient is that of the centres."""
    centres = [[float(k) for k in range(8)], [0.0, 1.0, 3.0, 2.0, 5.0, 4.0, 7.0, 6.0]]
    truth = float(spearmanr(*centres).statistic)  # pyright: ignore[reportAttributeAccessIssue]
    held = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        first, second = (
            [[centre + 0.8 * float(rng.normal()) for _ in range(36)] for centre in side] for side in centres
        )
        found = rank_correlation("ρ", first, second, clusters=CLUSTERS, seed=0)
        held += found.low <= truth <= found.high
    # A median of a resample is drawn apart further than that of a sample, so that the interval is on the wide side.
    assert held >= 38


def test_a_few_units_have_no_interval_and_neither_has_an_early_look() -> None:
    first, second = draw(np.random.default_rng(0), 0.9)
    few = rank_correlation(
        "ρ", [row[:15] for row in first], [row[:15] for row in second], clusters=CLUSTERS[:15], seed=0
    )
    assert (few.low, few.high) == (-1, 1)
    some = [[row[:15] for row in side] for side in (first, second)]
    look = Look(number=1, of=2, as_last=True)
    assert rank_correlation("ρ", some[0], some[1], clusters=CLUSTERS[:15], seed=0, look=look).is_open
    early = rank_correlation("ρ", first, second, clusters=CLUSTERS, seed=0, look=Look(number=1, of=2))
    assert (early.low, early.high) == (-math.inf, math.inf)
    assert early.is_open
    assert early.value == rank_correlation("ρ", first, second, clusters=CLUSTERS, seed=0).value


ROW = [1.0] * 6


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ([ROW, ROW], [ROW, ROW], "2 and 2 conditions of 6 units"),
        ([ROW] * 3, [ROW] * 4, "3 and 4 conditions"),
        ([ROW] * 3, [ROW, ROW, ROW[:5]], "conditions of 5, 6 units"),
        ([ROW] * 3, [ROW, ROW, [math.nan] * 6], "got NaN"),
    ],
)
def test_readings_that_do_not_fit_are_one_line(first: list[list[float]], second: list[list[float]], words: str) -> None:
    with pytest.raises(DeclarationError, match=words):
        rank_correlation("ρ", first, second, seed=0)


def test_no_units_have_no_value() -> None:
    found = rank_correlation("ρ", [[]] * 3, [[]] * 3, seed=0)
    assert math.isnan(found.value)
    assert (found.low, found.high) == (-1, 1)
