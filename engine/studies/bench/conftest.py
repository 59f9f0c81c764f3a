"""Prints the contests and the growth of a bench run at its end."""

from __future__ import annotations

from typing import Any

import pytest

from engine.studies.bench.alternation import describe_machine
from engine.studies.bench.tables import list_contests, list_executors, list_growth, list_scheduler, list_searches

KINDS = ("contest", "growth", "executors", "searches", "scheduler")
_FOUND = pytest.StashKey[dict[str, list[dict[str, Any]]]]()


class Board:
    """Where a test leaves its figures: in the plugin's saved run, and for the table at the end."""

    def __init__(self, found: dict[str, list[dict[str, Any]]]) -> None:
        self._found = found

    def note(self, benchmark: Any, kind: str, figures: dict[str, Any]) -> None:
        benchmark.extra_info.update({kind: figures, "on": describe_machine()})
        self._found[kind].append(figures)


@pytest.fixture(scope="session")
def board(pytestconfig: pytest.Config) -> Board:
    return Board(pytestconfig.stash.setdefault(_FOUND, {kind: [] for kind in KINDS}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(_FOUND, None)
    if found is None:
        return
    terminalreporter.section("the engine between the literal loop and the bare products")
    contests = list_contests(found["contest"]) if found["contest"] else ()
    others = (
        *list_growth(found["growth"]),
        *list_executors(found["executors"]),
        *list_searches(found["searches"]),
        *list_scheduler(found["scheduler"]),
    )
    for line in (*contests, "", *others):
        terminalreporter.write_line(line)
