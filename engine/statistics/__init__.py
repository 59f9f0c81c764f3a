"""Estimates with 95 % intervals, from the outcomes of units, pairs and hit times. No tensors, no files."""

from engine.statistics.estimate import Estimate, n_to_decide
from engine.statistics.hit_times import HitTimes, median_hit, median_ratio
from engine.statistics.medians import median
from engine.statistics.paired import geometric_ratio, paired_mean
from engine.statistics.proportions import exact_share, proportion

__all__ = [
    "Estimate",
    "HitTimes",
    "exact_share",
    "geometric_ratio",
    "median",
    "median_hit",
    "median_ratio",
    "n_to_decide",
    "paired_mean",
    "proportion",
]
