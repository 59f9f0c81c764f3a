"""The figures of simulated claims, as they are kept, beside the bars that they should meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.report.pages import Figures, Share, Word, read_figures
from engine.text import format_number, format_percent

Position = Literal[0, 1, -1]
EDGE: Position = 0
INSIDE: Position = 1
OUTSIDE: Position = -1
SIDES = {EDGE: "at the edge", INSIDE: "inside", OUTSIDE: "outside"}
ACROSS = (OUTSIDE, EDGE, INSIDE)
"""The positions in their order on the axis of an estimate."""

PLANNED = 36
"""Units of a claim at standard effort: summaries tell how many claims are decided at this number."""

MOST_FALSE, MOST_FALSE_SURELY, LEAST_COVERED, COVERED_FROM = 0.05, 0.07, 0.93, 12
"""Bars: the share of false verdicts, the upper end of its interval, coverage, and the units from which it counts."""

BARS = (
    f"At most {format_percent(MOST_FALSE)} false verdicts, the upper end of their 95 % interval below "
    f"{format_percent(MOST_FALSE_SURELY)}; from {COVERED_FROM} units on the truth inside at least "
    f"{format_percent(LEAST_COVERED)} of intervals."
)


class Cell(Figures):
    """A scenario at one number of units, with its truth at, inside or outside of its criterion's edge.

    false: verdicts that contradict the truth, on the edge every decisive one; false_high: upper end of its interval.
    covered: truths inside the last interval. units: mean number that a claim used.
    """

    estimand: Word
    edge: float
    censored: Share
    alike: Share
    n: Annotated[int, Field(ge=1, le=1_000_000)]
    position: Position
    claims: Annotated[int, Field(ge=1, le=1_000_000_000)]
    false: Share
    false_high: Share
    covered: Share
    decided: Share
    units: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        # Shares of equal counts are equal; an interval's end may differ from its share in the last bit.
        if self.false > self.decided or self.false > self.false_high + 1e-9:
            raise ValueError("more is false than is decided, or than its interval's upper end")
        if self.units > self.n:
            raise ValueError("more units are used than there are")
        return self

    @property
    def misses(self) -> str:
        """The bars that are missed, in words; '' where none is."""
        misses: list[str] = []
        if self.false > MOST_FALSE or self.false_high >= MOST_FALSE_SURELY:
            misses.append(f"{self.false:.1%} false verdicts, up to {self.false_high:.1%}")
        if self.n >= COVERED_FROM and self.covered < LEAST_COVERED:
            misses.append(f"{self.covered:.1%} covered")
        return ", ".join(misses)


@dataclass(frozen=True, kw_only=True)
class ScenarioResult:
    """The cells of one scenario, at every number of units and every position.

    traits: how it differs from other scenarios of its estimand.
    """

    estimand: str
    traits: str
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        return f"{self.estimand}, {self.traits}"

    @property
    def sizes(self) -> list[int]:
        return sorted({cell.n for cell in self.cells})

    @property
    def worst(self) -> Cell | None:
        """The cell at the edge with the most false verdicts."""
        at_edge = [cell for cell in self.cells if cell.position == EDGE]
        return max(at_edge, key=lambda cell: (cell.false, cell.false_high), default=None)

    @property
    def least_covered(self) -> float | None:
        """The least coverage of the cells with enough units for its bar."""
        return min((cell.covered for cell in self.cells if cell.n >= COVERED_FROM), default=None)

    @property
    def misses(self) -> list[str]:
        """A phrase for each cell that misses a bar."""
        return [f"n = {cell.n}, {SIDES[cell.position]}: {cell.misses}" for cell in self.cells if cell.misses]

    def find(self, n: int, position: int) -> Cell | None:
        """The cell with n units at a position."""
        return next((cell for cell in self.cells if (cell.n, cell.position) == (n, position)), None)

    def list_sides(self, n: int, name: str, positions: Sequence[int] = ACROSS) -> list[float | None]:
        """One figure of the cells with n units, position by position."""
        found = [self.find(n, position) for position in positions]
        return [None if cell is None else getattr(cell, name) for cell in found]


class SimulationRun(Figures):
    """When and where claims were simulated, and how many."""

    measured_on: Word
    commit: Annotated[str, Field(max_length=80)] = ""
    dirty: bool = False
    claims: Annotated[int, Field(ge=1)]


class Calibration(Figures):
    """A run of the simulation, and those whose cells it kept."""

    measured_on: str
    commit: str = ""
    dirty: bool = False
    earlier: Annotated[tuple[SimulationRun, ...], Field(max_length=100)] = ()
    cells: Annotated[list[Cell], Field(min_length=1, max_length=3000)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len({(*identify_cell(cell), cell.n, cell.position) for cell in self.cells}) < len(self.cells):
            raise ValueError("a cell is there twice")
        if all(cell.position != EDGE for cell in self.cells):
            raise ValueError("no cell is at the edge")
        if self.earlier and sum(run.claims for run in self.earlier) >= self.claims:
            raise ValueError("earlier runs simulated all claims, or more")
        return self

    @property
    def runs(self) -> tuple[SimulationRun, ...]:
        """Every run of which there are cells, the latest last."""
        own = self.claims - sum(run.claims for run in self.earlier)
        last = SimulationRun(measured_on=self.measured_on, commit=self.commit, dirty=self.dirty, claims=own)
        return (*self.earlier, last)

    @property
    def scenarios(self) -> list[ScenarioResult]:
        """The scenarios, in the file's order."""
        groups: dict[tuple[str, float, float, float], list[Cell]] = {}
        for cell in self.cells:
            groups.setdefault(identify_cell(cell), []).append(cell)
        found: list[ScenarioResult] = []
        for (estimand, edge, alike, censored), cells in groups.items():
            traits = [f"edge {format_number(edge)}"]
            if censored:
                traits.append(f"{format_percent(censored)} censored")
            if alike:
                traits.append(f"clusters alike by {format_number(alike)}")
            found.append(ScenarioResult(estimand=estimand, traits=", ".join(traits), cells=tuple(cells)))
        return found

    @property
    def claims(self) -> int:
        return sum(cell.claims for cell in self.cells)

    @property
    def size(self) -> int:
        """The number of units for which summaries tell what is decided: standard effort's, or else the largest."""
        sizes = {cell.n for cell in self.cells}
        return PLANNED if PLANNED in sizes else max(sizes)

    @property
    def sentence(self) -> str:
        """The main result: the promise, and how it is kept where it is kept worst."""
        at_edge = [cell for cell in self.cells if cell.position == EDGE]
        worst, high = max(cell.false for cell in at_edge), max(cell.false_high for cell in at_edge)
        words = (
            "Of claims whose truth lies exactly on the edge, at most one in twenty may get a false verdict; of "
            f"those that were simulated, {format_percent(worst)} did where it was most (upper ends of 95 % intervals "
            f"up to {format_percent(high)})."
        )
        if beside := [cell.false for cell in self.cells if cell.position != EDGE]:
            most = f"at most {format_percent(max(beside))}" if any(beside) else "none"
            words += f" Beside the edge {most} got a wrong one."
        if covered := [cell.covered for cell in self.cells if cell.n >= COVERED_FROM]:
            words += (
                f" From {COVERED_FROM} units on, at least {format_percent(min(covered))} of intervals held the truth."
            )
        return words

    @property
    def standing(self) -> str:
        """How many cells meet the bars."""
        met, every = sum(not cell.misses for cell in self.cells), len(self.cells)
        if met == every:
            return f"No bar is missed in any of {every:,} settings."
        return f"{every - met:,} of {every:,} settings miss a bar."


def read_calibration(path: Path) -> Calibration:
    """The figures in a file. Raises UsageError when it cannot be read or does not hold a calibration's."""
    return read_figures(Calibration, path, who="calibration", remedy="make one with lm-claims calibrate")


def identify_cell(cell: Cell) -> tuple[str, float, float, float]:
    """What tells one scenario from another."""
    return cell.estimand, cell.edge, cell.alike, cell.censored
