"""The intervals against other libraries, against numbers worked by hand, and against planted truths."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import AalenJohansenFitter, KaplanMeierFitter
from scipy.stats import binom
from scipy.stats import t as student
from statsmodels.api import OLS
from statsmodels.stats.proportion import proportion_confint

from engine.errors import DeclarationError
from engine.statistics import (
    Estimate,
    HitTimes,
    exact_share,
    median_hit,
    median_ratio,
    n_to_decide,
    paired_mean,
    proportion,
)
from engine.statistics.resampling import percentile_interval

CAP = 1000
Scale = Literal["linear", "log", "proportion", "exact"]


def arm(*hits: int | None, cap: int = CAP, diverged: tuple[int, ...] = ()) -> HitTimes:
    """Hit times of one arm; `diverged` holds the positions of runs that did."""
    return HitTimes(hits=hits, cap=cap, diverged=tuple(i in diverged for i in range(len(hits))))


def ends(estimate: Estimate) -> tuple[float, float]:
    return estimate.low, estimate.high


class TestEstimate:
    @pytest.mark.parametrize(
        ("estimate", "text"),
        [
            pytest.param(
                Estimate(
                    name="ratio",
                    value=12.34,
                    low=8.1,
                    high=math.inf,
                    n=12,
                    counts="pairs",
                    method="",
                    scale="log",
                ),
                "ratio = 12.3 [8.1, ∞] (n = 12 pairs)",
                id="open above",
            ),
            pytest.param(
                Estimate(name="fall", value=-0.5, low=-math.inf, high=0.0, n=2, method="", scale="linear"),
                "fall = -0.5 [-∞, 0] (n = 2 units)",
                id="open below",
            ),
            pytest.param(
                Estimate(name="ratio", value=math.nan, low=0.0, high=math.inf, n=8, method="", scale="log"),
                "ratio unknown [0, ∞] (n = 8 units)",
                id="nothing known",
            ),
            pytest.param(
                Estimate(name="ratio", value=1234.5, low=999.6, high=1.0e6, n=1200, method="", scale="log"),
                "ratio = 1,234 [1,000, 1,000,000] (n = 1,200 units)",
                id="thousands",
            ),
            pytest.param(exact_share("share", 49_053, 49_152), "share = 0.998 (all 49,152 tokens)", id="exact"),
            pytest.param(
                exact_share("share", 49_151, 49_152),
                "share = 0.99998 (all 49,152 tokens)",
                id="one short of all",
            ),
            pytest.param(exact_share("share", 49_152, 49_152), "share = 1 (all 49,152 tokens)", id="all"),
        ],
    )
    def test_text_reads_as_a_sentence_with_sensible_digits(self, estimate: Estimate, text: str) -> None:
        assert estimate.text == text

    @pytest.mark.parametrize(
        ("value", "low", "high"),
        [
            pytest.param(0.5, 0.6, 0.9, id="value below"),
            pytest.param(0.5, 0.1, 0.4, id="value above"),
            pytest.param(0.5, 0.9, 0.1, id="crossed ends"),
            pytest.param(math.nan, math.nan, 1.0, id="nan end"),
        ],
    )
    def test_ends_that_contradict_the_value_are_refused(self, value: float, low: float, high: float) -> None:
        with pytest.raises(DeclarationError, match=r"estimate rate: got .* expected low ≤ value ≤ high"):
            Estimate(name="rate", value=value, low=low, high=high, n=9, method="", scale="proportion")


class TestUnitsToDecide:
    # Half-widths shrink with 1/√n. Linear: from 10 to 6 is 4, the edge 8 is 2 away, so n must grow more than
    # (4/2)² = 4 times. Ratio: log2 from 16 to 4 is 2, the edge 8 is 1 away, the same 4 times.
    # The next whole number of pairs is 4·10 + 1 (at 40 the interval ends on the edge and still holds it).
    @pytest.mark.parametrize(
        ("scale", "value", "low", "high", "edges", "expected"),
        [
            pytest.param("linear", 10, 6, 11, [8], 41, id="linear, edge below"),
            pytest.param("linear", 10, 9, 14, [12], 41, id="linear, edge above"),
            pytest.param("linear", 10, 6, 14, [8, 13], 41, id="the farther edge asks less"),
            pytest.param("linear", 10, 6, math.inf, [8], 41, id="the other side is open"),
            pytest.param("log", 16, 4, 20, [8], 41, id="ratio, edge below"),
            pytest.param("log", 16, 15, 64, [32], 41, id="ratio, edge above"),
            pytest.param("linear", 10, 6, 14, [2, math.inf], 10, id="no edge held: decided now"),
            pytest.param("linear", 10, 6, 14, [10], None, id="value on the edge"),
            pytest.param("log", 16, 4, math.inf, [32], None, id="no upper end"),
            pytest.param("log", 16, 0, 20, [8], None, id="ratio down to zero"),
            pytest.param("linear", math.nan, -1, 1, [0], None, id="value unknown"),
            pytest.param("linear", 10, 6, 14, [10.001], None, id="more than a million"),
            pytest.param("exact", 0.5, 0.5, 0.5, [0.5], None, id="exact on the edge"),
        ],
    )
    def test_an_interval_shrinks_until_it_clears_the_edge(
        self, scale: Scale, value: float, low: float, high: float, edges: list[float], expected: int | None
    ) -> None:
        estimate = Estimate(name="x", value=value, low=low, high=high, n=10, method="", scale=scale)
        assert n_to_decide(estimate, edges) == expected

    def test_one_pair_says_nothing_of_the_width(self) -> None:
        estimate = Estimate(name="x", value=10, low=6, high=14, n=1, method="", scale="linear")
        assert n_to_decide(estimate, [8]) is None

    @pytest.mark.parametrize(
        ("successes", "units", "edge", "expected"),
        [
            pytest.param(12, 12, 0.9, 35, id="all succeed, 0.9"),
            pytest.param(12, 12, 0.8, 16, id="all succeed, 0.8"),
            pytest.param(0, 12, 0.1, 35, id="none succeed, 0.1"),
        ],
    )
    def test_a_rate_of_all_or_none_clears_at_the_known_counts(
        self, successes: int, units: int, edge: float, expected: int
    ) -> None:
        estimate = proportion("rate", [i < successes for i in range(units)])
        assert n_to_decide(estimate, [edge]) == expected

    @pytest.mark.parametrize("edge", [0.6, 0.7, 0.8, 0.9])
    def test_a_rate_clears_exactly_where_another_librarys_intervals_do(self, edge: float) -> None:
        estimate = proportion("rate", [True, True, True, False])
        needed = n_to_decide(estimate, [edge])
        holds = {n: _within(edge, widest(0.75 * n, n)) for n in range(4, 1001)}
        assert needed == next(n for n, held in holds.items() if not held)

    def test_a_design_effect_multiplies_the_units(self) -> None:
        outcomes, clusters = [True] * 30 + [False] * 10, [0] * 20 + [1] * 20
        alone, shared = proportion("rate", outcomes), proportion("rate", outcomes, clusters=clusters)
        few, many = n_to_decide(alone, [0.7]), n_to_decide(shared, [0.7])
        effect = _robust_effect(outcomes, clusters)
        assert few is not None
        assert many is not None
        # Each count is rounded up by less than one unit.
        assert effect * (few - 1) - 1 <= many <= effect * few + 1

    def test_no_units_cannot_be_extrapolated(self) -> None:
        assert n_to_decide(proportion("rate", []), [0.5]) is None


def widest(successes: float, units: float) -> tuple[float, float]:
    """The wider of Wilson's and Clopper and Pearson's, which statsmodels calls "beta"."""
    both = [proportion_confint(successes, units, method=method) for method in ("wilson", "beta")]
    lows, highs = zip(*both, strict=True)
    return float(min(cast(tuple[float, ...], lows))), float(max(cast(tuple[float, ...], highs)))


def _within(edge: float, interval: tuple[float, float]) -> bool:
    return interval[0] <= edge <= interval[1]


def _robust_effect(outcomes: list[bool], clusters: list[int]) -> float:
    """Cluster-robust over plain variance of the intercept of an ordinary regression on nothing else."""
    model = OLS(np.array(outcomes, float), np.ones(len(outcomes)))
    robust = model.fit(cov_type="cluster", cov_kwds={"groups": np.array(clusters)})
    return float(robust.bse[0] ** 2 / model.fit().bse[0] ** 2)


class TestProportion:
    @pytest.mark.parametrize("successes", [0, 12])
    def test_of_all_or_none_it_is_wilsons(self, successes: int) -> None:
        estimate = proportion("rate", [i < successes for i in range(12)])
        # Both are closed formulas in float64: a few roundings apart.
        assert ends(estimate) == pytest.approx(proportion_confint(successes, 12, method="wilson"), abs=1e-12)

    @pytest.mark.parametrize("successes", [1, 7, 11])
    def test_else_it_is_the_wider_of_wilsons_and_the_exact_one(self, successes: int) -> None:
        estimate = proportion("rate", [i < successes for i in range(12)])
        assert ends(estimate) == pytest.approx(widest(successes, 12), abs=1e-9)

    @pytest.mark.parametrize("units", [12, 24, 36, 60, 100])
    @pytest.mark.parametrize("rate", [0.1, 0.2, 0.5, 0.75, 0.9])
    def test_no_rate_is_missed_more_often_than_it_says(self, rate: float, units: int) -> None:
        """Over every outcome. Wilson's ends at all and none may miss by a hair: 0.9 to the 35th is 0.02503."""
        outcomes = [proportion("rate", [i < k for i in range(units)]) for k in range(units + 1)]
        missed = sum(
            float(binom.pmf(k, units, rate)) for k, one in enumerate(outcomes) if not one.low <= rate <= one.high
        )
        assert missed <= 0.0501

    @pytest.mark.parametrize(("units", "clears"), [(34, False), (35, True)])
    def test_all_of_35_clear_nine_tenths_first(self, units: int, clears: bool) -> None:
        assert (proportion("rate", [True] * units).low > 0.9) is clears

    @pytest.mark.parametrize(("units", "clears"), [(15, False), (16, True)])
    def test_all_of_16_clear_eight_tenths_first(self, units: int, clears: bool) -> None:
        assert (proportion("rate", [True] * units).low > 0.8) is clears

    @pytest.mark.parametrize(
        "clusters",
        [
            pytest.param([i // 9 for i in range(36)], id="four of nine"),
            pytest.param([min(i // 5, 3) for i in range(36)], id="uneven"),
        ],
    )
    def test_clusters_shrink_n_by_the_robust_variance(self, clusters: list[int]) -> None:
        outcomes = [i < 20 for i in range(36)]
        effect = _robust_effect(outcomes, clusters)
        estimate = proportion("rate", outcomes, clusters=clusters)
        expected = widest(20 / effect, 36 / effect)
        assert effect > 2
        assert ends(estimate) == pytest.approx(expected, abs=1e-9)
        assert estimate.n == 36
        assert estimate.method == f"wider of Wilson and exact, design effect {effect:.1f}"

    @pytest.mark.parametrize(
        ("outcomes", "clusters"),
        [
            pytest.param([True, False] * 6, list(range(12)), id="one unit each"),
            pytest.param([True, False] * 6, ["a"] * 12, id="a single label"),
            pytest.param([True] * 12, [i // 4 for i in range(12)], id="all succeed"),
        ],
    )
    def test_clusters_without_excess_variance_change_nothing(
        self, outcomes: list[bool], clusters: list[object]
    ) -> None:
        clustered = proportion("rate", outcomes, clusters=clusters)
        assert ends(clustered) == pytest.approx(ends(proportion("rate", outcomes)), abs=1e-12)

    def test_units_of_a_cluster_are_alike_by_a_twentieth_at_least(self) -> None:
        # Six clusters whose shares are exactly equal: less than chance would have it, which says nothing of alikeness.
        outcomes, clusters = [True, False] * 6, [i // 2 for i in range(12)]
        effect = 1 + (2 - 1) * 0.05
        expected = widest(6 / effect, 12 / effect)
        assert ends(proportion("rate", outcomes, clusters=clusters)) == pytest.approx(expected, abs=1e-9)

    def test_no_units_leave_everything_open(self) -> None:
        estimate = proportion("rate", [])
        assert math.isnan(estimate.value)
        assert (*ends(estimate), estimate.n) == (0.0, 1.0, 0)

    def test_one_label_too_few_is_refused(self) -> None:
        with pytest.raises(DeclarationError, match="rate: got 2 cluster labels, expected one for each of 3"):
            proportion("rate", [True, False, True], clusters=[0, 1])

    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=40))
    @settings(max_examples=60, deadline=None, derandomize=True)
    def test_interval_holds_the_rate_and_clusters_only_widen_it(self, units: list[tuple[bool, int]]) -> None:
        outcomes = [success for success, _ in units]
        alone = proportion("rate", outcomes)
        clustered = proportion("rate", outcomes, clusters=[label for _, label in units])
        assert 0 <= clustered.low <= clustered.value <= clustered.high <= 1
        assert clustered.low < clustered.high
        assert clustered.high - clustered.low >= alone.high - alone.low - 1e-12


class TestExactShare:
    def test_both_ends_are_the_share(self) -> None:
        estimate = exact_share("share", 3, 4)
        assert (estimate.value, *ends(estimate), estimate.n, estimate.scale) == (0.75, 0.75, 0.75, 4, "exact")

    @pytest.mark.parametrize(("successes", "total"), [(0, 0), (5, 4), (-1, 4)])
    def test_an_impossible_count_is_refused(self, successes: int, total: int) -> None:
        with pytest.raises(DeclarationError, match="exact_share share"):
            exact_share("share", successes, total)


class TestHitTimes:
    @pytest.mark.parametrize(
        ("make", "complaint"),
        [
            pytest.param(lambda: HitTimes(hits=(1, 2), cap=9, diverged=(False,)), "2 hits and 1 flags", id="lengths"),
            pytest.param(lambda: arm(10, cap=9), "a hit at 10", id="past the cap"),
            pytest.param(lambda: arm(-1, cap=9), "a hit at -1", id="before the start"),
            pytest.param(lambda: arm(None, cap=0), "a cap of 0", id="no iterations"),
        ],
    )
    def test_contradictions_are_refused(self, make: Callable[[], HitTimes], complaint: str) -> None:
        with pytest.raises(DeclarationError, match=complaint):
            make()


class TestMedianHit:
    @given(st.lists(st.one_of(st.none(), st.integers(1, 30)), min_size=1, max_size=25))
    @settings(max_examples=60, deadline=None, derandomize=True)
    def test_median_is_kaplan_and_meiers(self, hits: list[int | None]) -> None:
        durations = [30 if hit is None else hit for hit in hits]
        fitted = KaplanMeierFitter().fit(durations, [hit is not None for hit in hits])
        survival = fitted.survival_function_.iloc[:, 0]
        # It sums logarithms, so a survival of one half comes out a rounding above it and its own median late.
        assert median_hit(arm(*hits, cap=30)) == min(survival.index[survival <= 0.5 + 1e-9], default=math.inf)

    @pytest.mark.parametrize(
        ("hits", "expected"),
        [
            pytest.param((10, 20, 30, 40), 20, id="even: where S first is one half"),
            pytest.param((10, 20, None), 20, id="odd, one censored"),
            pytest.param((10, None, None), math.inf, id="not reached"),
            pytest.param((10, CAP), 10, id="a hit on the last iteration"),
            pytest.param((0, 0, 7), 0, id="starts inside"),
        ],
    )
    def test_median_is_the_one_worked_by_hand(self, hits: tuple[int | None, ...], expected: float) -> None:
        assert median_hit(arm(*hits)) == expected

    @pytest.mark.parametrize("at", [3, 15], ids=["early", "midway"])
    def test_a_diverged_run_competes_and_is_not_censored(self, at: int) -> None:
        hits = (10, 20, 30, None, None, None)
        events, times = [1, 1, 1, 2, 2, 2], [10, 20, 30, at, at + 1, at + 2]
        incidence = AalenJohansenFitter().fit(times, events, event_of_interest=1).cumulative_density_.iloc[:, 0]
        competing = incidence.index[incidence >= 0.5 - 1e-12][0]
        censored = KaplanMeierFitter().fit(times, [event == 1 for event in events]).median_survival_time_
        assert median_hit(arm(*hits, diverged=(3, 4, 5))) == competing
        assert competing != censored

    def test_a_run_that_diverges_after_its_hit_has_hit(self) -> None:
        times = arm(10, 20, None, None, diverged=(0, 3))
        assert (median_hit(times), times.lost, times.censored) == (20, 1, 1)

    def test_no_runs_have_no_median(self) -> None:
        assert math.isnan(median_hit(arm()))


class TestPercentiles:
    @pytest.mark.parametrize(
        ("resamples", "expected"),
        [
            pytest.param(np.arange(1001.0), (25, 975), id="on a resample"),
            pytest.param(np.arange(1002.0), (25, 976), id="between two: outwards"),
            pytest.param(np.r_[[-math.inf] * 26, np.arange(948.0), [math.inf] * 27], (-math.inf, math.inf), id="inf"),
            pytest.param(np.r_[[-math.inf] * 25, np.arange(951.0), [math.inf] * 25], (0, 950), id="inf beyond"),
        ],
    )
    def test_ends_are_ranked_resamples(self, resamples: np.ndarray, expected: tuple[float, float]) -> None:
        shuffled = np.random.default_rng(0).permutation(resamples)
        assert percentile_interval(shuffled, shuffled) == expected


class TestMedianRatio:
    @pytest.mark.parametrize("cap", [500, 700, 1000, 3000])
    @pytest.mark.parametrize("pairs", [12, 24])
    def test_interval_covers_a_ratio_of_two(self, pairs: int, cap: int) -> None:
        # Of 200 intervals that cover with probability 0.95, 190 cover on average, with a standard deviation
        # of √(200·0.95·0.05) = 3.1. 180 is 3.2 of them below: 0.90.
        assert _coverage(pairs, cap, lambda hits: hits) >= 0.90

    def test_the_cap_in_place_of_censored_runs_would_not_cover(self) -> None:
        # The planted mistake that the test above must be able to see: the slow median, 600, is past the cap.
        assert _coverage(24, 500, lambda hits: tuple(500 if hit is None else hit for hit in hits)) < 0.90

    @pytest.mark.parametrize(
        ("slow", "fast", "value", "interval"),
        [
            pytest.param((200,) * 8, (50,) * 8, 4, (4, 4), id="both reached"),
            pytest.param((None,) * 8, (50,) * 8, 20, (20, math.inf), id="slow not reached"),
            pytest.param((200,) * 8, (None,) * 8, 0.2, (0, 0.2), id="fast not reached"),
            pytest.param((None,) * 8, (None,) * 8, math.nan, (0, math.inf), id="neither reached"),
            pytest.param((200,) * 8, (0,) * 8, 200, (200, math.inf), id="fast starts inside"),
            pytest.param((None,) * 8, (0,) * 8, CAP, (CAP, math.inf), id="not reached over starts inside"),
            pytest.param((0,) * 8, (0,) * 8, math.nan, (0, math.inf), id="both start inside"),
            pytest.param((0,) * 8, (None,) * 8, 0, (0, 0), id="slow starts inside"),
        ],
    )
    def test_what_a_median_does_not_tell_stays_open(
        self,
        slow: tuple[int | None, ...],
        fast: tuple[int | None, ...],
        value: float,
        interval: tuple[float, float],
    ) -> None:
        estimate = median_ratio("ratio", arm(*slow), arm(*fast), seed=0)
        assert estimate.value == pytest.approx(value, nan_ok=True)
        assert ends(estimate) == interval

    def test_method_says_when_the_value_is_a_bound_and_why_runs_have_no_hit(self) -> None:
        estimate = median_ratio("ratio", arm(*(None,) * 8, diverged=(0, 1)), arm(*(50,) * 8), seed=0)
        assert "the value is at least this" in estimate.method
        assert f"slow arm: 6 censored at {CAP}, 2 diverged" in estimate.method
        assert "fast arm" not in estimate.method

    def test_the_upper_end_opens_before_the_median_is_lost(self) -> None:
        # 3 of 8 censored: a resample holds at most 3 hits of its 8, so that its median lies beyond the cap,
        # with probability P(Bin(8, 5/8) ≤ 3) = 0.14 > 0.025.
        estimate = median_ratio("ratio", arm(*[100] * 5, *[None] * 3), arm(*[10] * 8), seed=0)
        assert (estimate.value, estimate.low, estimate.high) == (10, 10, math.inf)

    @pytest.mark.parametrize("pairs", range(6))
    def test_fewer_than_six_pairs_decide_nothing(self, pairs: int) -> None:
        estimate = median_ratio("ratio", arm(*[900] * pairs), arm(*[1] * pairs), seed=0)
        assert ends(estimate) == (0, math.inf)
        assert "fewer than 6 pairs" in estimate.method

    @pytest.mark.parametrize(
        ("slow", "fast", "complaint"),
        [
            pytest.param(arm(*[9] * 6), arm(*[9] * 6, cap=2000), "caps 1000 and 2000", id="caps"),
            pytest.param(arm(*[9] * 6), arm(*[9] * 7), "6 slow and 7 fast runs", id="runs"),
        ],
    )
    def test_arms_that_do_not_pair_are_refused(self, slow: HitTimes, fast: HitTimes, complaint: str) -> None:
        with pytest.raises(DeclarationError, match=complaint):
            median_ratio("ratio", slow, fast, seed=0)

    def test_pairs_within_few_clusters_say_less(self) -> None:
        # Four clusters whose ratios are 1, 2, 4 and 8 and that agree within: 36 pairs are worth four.
        slow = arm(*[100 * 2 ** (i // 9) + i % 9 for i in range(36)])
        fast = arm(*[100 + i % 9 for i in range(36)])
        alone = median_ratio("ratio", slow, fast, seed=0)
        clustered = median_ratio("ratio", slow, fast, clusters=[i // 9 for i in range(36)], seed=0)
        # Four independent pairs are fewer than the six whose signs could tell anything.
        assert ends(clustered) == (0, math.inf)
        assert 0 < alone.low < alone.high < math.inf

    def test_a_seed_fixes_the_interval(self) -> None:
        slow, fast = arm(*(3**i // 2**i for i in range(17))), arm(*(5**i // 4**i for i in range(17)))
        again, *others = (median_ratio("ratio", slow, fast, seed=k, resamples=50) for k in (1, *range(1, 9)))
        assert again == others[0]
        assert len(set(others)) > 1

    @given(
        st.lists(
            st.tuples(*[st.one_of(st.none(), st.integers(0, 50))] * 2, st.integers(0, 2)),
            min_size=1,
            max_size=20,
        )
    )
    @settings(max_examples=80, deadline=None, derandomize=True)
    def test_interval_holds_the_value_and_never_nan(self, pairs: list[tuple[int | None, int | None, int]]) -> None:
        slow, fast, clusters = zip(*pairs, strict=True)
        estimate = median_ratio(
            "ratio", arm(*slow, cap=50), arm(*fast, cap=50), clusters=clusters, seed=0, resamples=100
        )
        assert 0 <= estimate.low <= estimate.high
        assert math.isnan(estimate.value) or estimate.low <= estimate.value <= estimate.high


def _coverage(pairs: int, cap: int, report: Callable[[tuple[int | None, ...]], tuple[int | None, ...]]) -> float:
    """Share of 200 simulated experiments whose interval holds the true ratio of medians, 2.

    Log-normal hit times with medians 600 and 300; what a pair shares makes its two runs alike.
    `report` is what an experimenter makes of the hits, None being a censored one.
    """
    covered = 0
    for trial in range(200):
        rng = np.random.default_rng([pairs, cap, trial])
        alike = rng.normal(0, 0.4, pairs)
        runs = [median * np.exp(alike + rng.normal(0, 0.6, pairs)) for median in (600, 300)]
        seen = [report(tuple(math.ceil(hit) if hit <= cap else None for hit in run)) for run in runs]
        slow, fast = (arm(*hits, cap=cap) for hits in seen)
        estimate = median_ratio("ratio", slow, fast, seed=trial, resamples=400)
        covered += estimate.low <= 2 <= estimate.high
    return covered / 200


class TestPairedMean:
    def test_interval_agrees_with_students_on_symmetric_differences(self) -> None:
        differences = np.random.default_rng(0).normal(1, 2, 200)
        estimate = paired_mean("gain", list(differences), bounds=None, seed=0)
        error = differences.std(ddof=1) / math.sqrt(200)
        expected = student.interval(0.95, 199, loc=differences.mean(), scale=error)
        # The 2.5 % point of 4,000 resamples is known to √(0.025·0.975/4000)/φ(1.96) = 0.042 errors; Student's
        # quantile and the sample variance add 0.02. Three of the first and the second: 0.15.
        assert ends(estimate) == pytest.approx(expected, abs=0.15 * error)

    def test_clusters_that_agree_within_count_as_one_unit_each(self) -> None:
        means = np.random.default_rng(1).normal(0, 1, 40)
        differences, clusters = np.repeat(means, 5), np.repeat(np.arange(40), 5)
        estimate = paired_mean("gain", list(differences), bounds=None, clusters=list(clusters), seed=0)
        half = (estimate.high - estimate.low) / 2
        # The bootstrap's own variance of a mean of 40: ddof is 0. An end is off by 0.042 errors, as above.
        # A tenth of the half-width, 0.2 errors, also holds what the kurtosis of 40 draws does to the tails.
        assert half == pytest.approx(1.96 * means.std() / math.sqrt(40), rel=0.1)
        assert "clusters" in estimate.method

    @pytest.mark.parametrize(
        "clusters",
        [pytest.param(None, id="pairs"), pytest.param([i // 2 for i in range(24)], id="clusters of two")],
    )
    def test_interval_covers_the_mean_of_skewed_differences(self, clusters: list[int] | None) -> None:
        # Recovery falls by an exponential amount of mean 0.2. On 24 units of skewness 2 a bootstrap covers
        # some 0.92 of the time; 200 trials add a standard deviation of √(0.92·0.08/200) = 0.019: three below.
        covered = 0
        for trial in range(200):
            drops = np.random.default_rng(trial).exponential(0.2, 24)
            estimate = paired_mean("drop", list(drops), bounds=None, clusters=clusters, seed=trial, resamples=400)
            covered += estimate.low <= 0.2 <= estimate.high
        assert covered >= 200 * 0.86

    @pytest.mark.parametrize("pairs", range(6))
    @pytest.mark.parametrize(
        ("bounds", "interval"),
        [
            pytest.param((-1.0, 1.0), (-1, 1), id="bounded"),
            pytest.param(None, (-math.inf, math.inf), id="unbounded"),
        ],
    )
    def test_fewer_than_six_pairs_decide_nothing(
        self, pairs: int, bounds: tuple[float, float] | None, interval: tuple[float, float]
    ) -> None:
        estimate = paired_mean("gain", [0.9] * pairs, bounds=bounds, seed=0)
        assert ends(estimate) == interval
        assert math.isnan(estimate.value) == (pairs == 0)

    @pytest.mark.parametrize("value", [-1.0, 0.1, 1.0])
    def test_equal_differences_leave_room_for_the_unseen_ones(self, value: float) -> None:
        # Wilson's upper end for 0 of n is z²/(n + z²).
        share = 1.96**2 / (36 + 1.96**2)
        estimate = paired_mean("gain", [value] * 36, bounds=(-1.0, 1.0), seed=0)
        expected = value - share * (value + 1), value + share * (1 - value)
        # z is 1.95996…: a relative 4e-5 on the share, at most twice that on an end.
        assert ends(estimate) == pytest.approx(expected, abs=1e-4)

    def test_equal_differences_without_bounds_decide_nothing(self) -> None:
        # One tenth thrice summed is not three tenths: equal up to rounding is equal.
        estimate = paired_mean("gain", [0.3, 0.1 + 0.1 + 0.1] * 6, bounds=None, seed=0)
        assert ends(estimate) == (-math.inf, math.inf)

    @pytest.mark.parametrize(
        ("differences", "bounds", "complaint"),
        [
            pytest.param([0.0, math.nan], None, "a difference of nan", id="nan"),
            pytest.param([0.0, math.inf], (-1.0, 1.0), "a difference of inf", id="infinite"),
            pytest.param([0.0, 1.5], (-1.0, 1.0), "a difference of 1.5", id="past the bounds"),
            pytest.param([0.0], (1.0, -1.0), "bounds", id="crossed bounds"),
        ],
    )
    def test_impossible_differences_are_refused(
        self, differences: list[float], bounds: tuple[float, float] | None, complaint: str
    ) -> None:
        with pytest.raises(DeclarationError, match=f"paired_mean gain: got {complaint}"):
            paired_mean("gain", differences, bounds=bounds, seed=0)

    def test_a_seed_fixes_the_interval(self) -> None:
        differences = list(np.linspace(0, 1, 12) ** 2)
        first, again, other = (
            paired_mean("gain", differences, bounds=None, seed=seed, resamples=99) for seed in (1, 1, 2)
        )
        assert first == again
        assert first != other

    @given(st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 2)), min_size=6, max_size=20), st.booleans())
    @settings(max_examples=80, deadline=None, derandomize=True)
    def test_interval_has_width_holds_the_value_and_stays_in_bounds(
        self, pairs: list[tuple[float, int]], clustered: bool
    ) -> None:
        clusters = [label for _, label in pairs] if clustered else None
        differences = [difference for difference, _ in pairs]
        estimate = paired_mean("gain", differences, bounds=(-1, 1), clusters=clusters, seed=0, resamples=200)
        assert -1 <= estimate.low <= estimate.value <= estimate.high <= 1
        assert estimate.low < estimate.high


@pytest.mark.parametrize("differing", [1, 3, 5])
def test_a_few_pairs_that_differ_from_all_others_decide_no_direction(differing: int) -> None:
    # By sign flips 2/2⁵ is the least that five pairs can reach; pairs without a difference have no sign.
    values = [-0.2] * differing + [0.0] * (12 - differing)
    found = paired_mean("x", values, bounds=(-1, 1), seed=0)
    assert found.low < found.value < 0 < found.high


def test_six_pairs_that_differ_one_way_decide_it() -> None:
    found = paired_mean("x", [-0.2] * 6 + [0.0] * 6, bounds=(-1, 1), seed=0)
    assert found.high < 0
