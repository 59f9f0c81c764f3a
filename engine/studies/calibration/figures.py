"""What became of simulated claims, as shares beside their bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.statistics import proportion

if TYPE_CHECKING:  # a page holds figures against the same bars, and needs nothing of what simulates
    from engine.studies.calibration.simulate import Cell, Counts

MOST_FALSE, MOST_FALSE_SURELY, LEAST_COVERED, COVERED_FROM = 0.05, 0.07, 0.93, 12
"""False decisive verdicts, the upper end of their interval, coverage, and the units from which it is asked."""


def summarize(cell: Cell, counts: Counts) -> dict[str, Any]:
    """A cell's shares, the false ones with their interval."""
    false = proportion("false", [True] * counts.false + [False] * (counts.claims - counts.false))
    world = cell.world
    return {
        "estimand": world.estimand,
        "edge": world.edge,
        "censored": world.censored,
        "alike": world.alike,
        "n": cell.n,
        "position": cell.position,
        "claims": counts.claims,
        "false": false.value,
        "false_high": false.high,
        "covered": counts.covered / counts.claims,
        "decided": counts.decided / counts.claims,
        "units": counts.units / counts.claims,
    }


def list_misses(figures: dict[str, Any]) -> list[str]:
    """Bars that a cell misses, in words; nothing where it meets them."""
    misses: list[str] = []
    if figures["false"] > MOST_FALSE or figures["false_high"] >= MOST_FALSE_SURELY:
        misses.append(f"{figures['false']:.1%} false verdicts, up to {figures['false_high']:.1%}")
    if figures["n"] >= COVERED_FROM and figures["covered"] < LEAST_COVERED:
        misses.append(f"{figures['covered']:.1%} covered")
    return misses
