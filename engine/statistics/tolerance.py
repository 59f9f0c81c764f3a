"""Upper tolerance limits: from a sample, a limit that nearly all of a population stays below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

from engine.errors import DeclarationError, explain

CONTENT = 1 - 1e-6
"""Share of the population below the limit: among as many values as a vocabulary has tokens, few exceed it."""

CONFIDENCE = 0.95


def tolerance_limit(values: Sequence[float]) -> float:
    """Upper one-sided tolerance limit of positive values whose logarithms are normal; never below the largest seen.

    Raises DeclarationError for fewer than two values or one that is not positive. Source: Hahn and Meeker 1991.
    """
    if len(values) < 2 or min(values) <= 0:
        got, expected = f"{len(values)} values, the least {min(values, default=math.nan)}", "two or more, all above 0"
        raise DeclarationError(explain(who="tolerance_limit", got=got, expected=expected, remedy="measure more noise"))
    logs = [math.log(value) for value in values]
    n, mean = len(logs), math.fsum(logs) / len(logs)
    spread = math.sqrt(math.fsum((x - mean) ** 2 for x in logs) / (n - 1))
    return max(*values, math.exp(mean + tolerance_factor(n) * spread))


@cache
def tolerance_factor(n: int) -> float:
    """The limit of n normal values, in standard deviations above their mean."""
    # Imported here: they take longer to load than a claim to declare.
    from scipy.stats import nct, norm

    quantile: Any = norm.ppf(CONTENT)
    factor: Any = nct.ppf(CONFIDENCE, n - 1, quantile * math.sqrt(n))
    return float(factor) / math.sqrt(n)
