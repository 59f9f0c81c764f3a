"""Estimates from outcomes of units, pairs and hit times. Their intervals hold over all interim looks at a claim."""

from engine.statistics.correlations import rank_correlation
from engine.statistics.estimate import Estimate, exact_value, hold_choices, n_to_decide
from engine.statistics.hit_times import HitTimes, median_hit, median_ratio
from engine.statistics.looks import ONLY, Look, count_fewest
from engine.statistics.medians import median
from engine.statistics.paired import geometric_ratio, paired_mean
from engine.statistics.proportions import exact_share, proportion
from engine.statistics.secondary import secondary_estimates
from engine.statistics.trends import trend

__all__ = [
    "ONLY",
    "Estimate",
    "HitTimes",
    "Look",
    "count_fewest",
    "exact_share",
    "exact_value",
    "geometric_ratio",
    "hold_choices",
    "median",
    "median_hit",
    "median_ratio",
    "n_to_decide",
    "paired_mean",
    "proportion",
    "rank_correlation",
    "secondary_estimates",
    "trend",
]
