"""How far two measurements of one arm lie apart, and how far rounding alone may move them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from engine.arms.arm import Result
from engine.arms.measurement import Measurement

EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23}
"""Distance from 1 to the next number of a precision."""

NOTHING_BUT_ROUNDING = frozenset(
    {
        "product",
        "relative",
        "worst_relative",
        "constrained",
        "difference",
        "ridge",
        "noise",
        "epsilon",
        "epsilons",
        "own_distance",
    }
)
"""Numbers of results that would be zero, or nearly, without it."""

PRODUCTS_A_BLOCK = 6

RESULT = TypeAdapter[Result](Result)


def bound_rounding(dtype: str, *, steps: int, blocks: int, longest: int) -> float:
    """How far two orders of summation may move a number, as a share of it.

    A sum of n terms is off by √n · ε, its roundings being up as often as down; n is at most the longest sum there is
    (the vocabulary). Products that follow each other add theirs (six a block, forward and backward, and the head's),
    and so do steps. What a step hands on may grow in the next, over a few of them by less than a factor of 2.
    """
    products = 2 * (PRODUCTS_A_BLOCK * blocks + 1) + 1
    return 2 * steps * products * longest**0.5 * EPSILON[dtype]


def read_numbers(measurement: Measurement) -> dict[str, Any]:
    """A result as JSON holds it, without what is nothing but rounding."""
    return _leave_out(RESULT.dump_python(measurement.result, mode="json"))


def _leave_out(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _leave_out(v) for k, v in value.items() if k not in NOTHING_BUT_ROUNDING}
    return [_leave_out(v) for v in value] if isinstance(value, list) else value


def differences(one: Any, other: Any, path: str = "") -> Iterator[tuple[float, str]]:
    """Where two such results differ: the share of the larger number, and words; ∞ for what are no numbers."""
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            yield math.inf, f"{path}: the names {sorted(one)} were {sorted(other)}"
            return
        for key in other:
            yield from differences(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for k, (own, its) in enumerate(zip(one, other, strict=True)):
            yield from differences(own, its, f"{path}[{k}]")
    elif one != other or type(one) is not type(other):
        yield _share(one, other), f"{path}: {one} was {other}"


def _share(one: Any, other: Any) -> float:
    if not (isinstance(one, float) and isinstance(other, float) and math.isfinite(one) and math.isfinite(other)):
        return math.inf
    return abs(one - other) / max(abs(one), abs(other))


def find_changes(one: Any, other: Any, *, tolerance: float) -> list[str]:
    """Where two results differ by more than the tolerance, and by what."""
    return [words for share, words in differences(one, other) if share > tolerance]
