"""Shares the items of a session among machines: each computes the same shares, of about equal cost."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.errors import UsageError, explain

_FORM = re.compile(r"([1-9][0-9]{0,3})/([1-9][0-9]{0,3})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One of several shares; number: from 1."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def read_slice(text: str) -> Slice:
    """The slice that 'K/N' names. Raises UsageError for anything else."""
    found = _FORM.fullmatch(text)
    if found is None or int(found[1]) > int(found[2]):
        expected = "K/N with K from 1 to N, such as 3/8"
        raise UsageError(explain(who="--slice", got=repr(text), expected=expected, remedy="leave it out for all items"))
    return Slice(number=int(found[1]), of=int(found[2]))


def share_items(costs: Sequence[Mapping[str, float]], of: int) -> list[int]:
    """The slice of each item, from 1. The result depends on the costs and their order alone.

    costs: for each item the seconds of its arms, by digest. An arm that a slice already has costs it nothing more.
    Greedy, costliest first: an item goes to the slice where it adds the least new work, unless that slice would exceed
    its even share; then to the slice that is smallest with it.
    """
    all_arms: dict[str, float] = {}
    for cost in costs:
        all_arms |= cost
    even_share = sum(all_arms.values()) / of
    arms: list[dict[str, float]] = [{} for _ in range(of)]
    loads, counts = [0.0] * of, [0] * of
    slices = [0] * len(costs)
    for item in sorted(range(len(costs)), key=lambda k: (-sum(costs[k].values()), k)):
        own = costs[item]

        def rank(s: int, own: Mapping[str, float] = own) -> tuple[float, float, float, int, int]:
            added = sum(seconds for digest, seconds in own.items() if digest not in arms[s])
            return (max(loads[s] + added, even_share), added, loads[s] + added, counts[s], s)

        best = min(range(of), key=rank)
        arms[best] |= own
        loads[best] = sum(arms[best].values())
        counts[best] += 1
        slices[item] = best + 1
    return slices
