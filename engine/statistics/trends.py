"""Trends: whether a reading rises over ordered conditions, unit by unit."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

from engine.errors import DeclarationError, explain
from engine.statistics.estimate import Estimate
from engine.statistics.looks import ONLY, Look
from engine.statistics.paired import paired_mean


def trend(
    name: str,
    rows: Sequence[Sequence[float]],
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int,
    look: Look = ONLY,
) -> Estimate:
    """Mean over units of Kendall's τ between the conditions' order and the unit's readings: 1 rises, −1 falls.

    rows: [units, conditions], at least three conditions. A unit whose readings are all equal counts 0. The method
    text includes the p of Page's test for a rise over all units at once.
    Raises DeclarationError for fewer conditions or rows of different lengths. Source: Kendall 1938; Page 1963.
    """
    conditions = {len(row) for row in rows}
    if rows and (len(conditions) > 1 or min(conditions) < 3):
        raise DeclarationError(
            explain(
                who=f"trend {name}",
                got=f"rows of {', '.join(map(str, sorted(conditions)))} readings",
                expected="one reading in each of three conditions or more",
                remedy="compare two conditions as a paired difference",
            )
        )
    # Imported here: scipy takes longer to load than a claim to declare.
    from scipy.stats import kendalltau, page_trend_test

    found: list[Any] = [kendalltau(range(len(row)), row) if min(row) < max(row) else None for row in rows]
    taus = [0.0 if one is None else float(one.statistic) for one in found]
    mean = paired_mean(name, taus, bounds=(-1.0, 1.0), clusters=clusters, seed=seed, counts="units", look=look)
    chance = float(page_trend_test(rows).pvalue) if len(rows) > 1 else math.nan
    method = f"mean of Kendall's τ; {mean.method}; Page's test for a rise: p = {chance:.2g}"
    return Estimate(
        name=name,
        value=mean.value,
        low=mean.low,
        high=mean.high,
        n=mean.n,
        counts="units",
        method=method,
        scale="linear",
        alpha=mean.alpha,
    )
