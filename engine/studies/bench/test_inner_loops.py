"""The engine between the plainest way of doing its work and the matrix products that the work is made of.

A round goes through all ways in turn; times are medians of the rounds, ratios medians of the rounds' own. Nothing
fails for being slow: the table at the end shows each figure beside its bar.
"""

from __future__ import annotations

from typing import Any

import pytest

from engine.studies.bench.alternation import alternate
from engine.studies.bench.contests import CONTESTS, Contest
from engine.studies.bench.peak import measure_apart
from engine.studies.bench.shares import measure_shares
from engine.studies.bench.tables import Figures

WAYS = ("literal", "floor", "engine")


@pytest.mark.benchmark(group="inner loops: the engine's own time")
@pytest.mark.parametrize("contest", CONTESTS.values(), ids=CONTESTS)
def test_the_engine_against_both(benchmark: Any, board: Any, contest: Contest) -> None:
    ways = contest.prepare()
    seconds = alternate(
        benchmark, {name: getattr(ways, name) for name in WAYS}, measured="engine", rounds=contest.rounds
    )
    figures = Figures(
        title=contest.title,
        seconds=seconds,
        run_steps=ways.run_steps,
        faster_bar=contest.faster,
        floor_bar=contest.above_floor,
        peaks={name: measure_apart(contest.title, name) for name in WAYS},
        shares=measure_shares(ways.engine),
    )
    board.note(benchmark, "contest", figures.summarize())
