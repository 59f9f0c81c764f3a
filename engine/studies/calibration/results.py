"""The figures of simulated claims, as they are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.report.pages import Figures, Share, Word, read_figures
from engine.studies.calibration.figures import COVERED_FROM, LEAST_COVERED, MOST_FALSE, MOST_FALSE_SURELY, list_misses
from engine.text import format_number, format_percent

EDGE, INSIDE, OUTSIDE = 0, 1, -1


SIDES = {EDGE: "at the edge", INSIDE: "inside", OUTSIDE: "outside"}


ACROSS = (OUTSIDE, EDGE, INSIDE)
"""The positions as they lie on the axis of an estimate."""


PLANNED = 36
"""Units of a claim at standard effort: the size at which one line tells what is decided, and with how many units."""


BARS = (
    f"At most {format_percent(MOST_FALSE)} false verdicts, the upper end of their 95 % interval below "
    f"{format_percent(MOST_FALSE_SURELY)}; from {COVERED_FROM} units on the truth inside at least "
    f"{format_percent(LEAST_COVERED)} of intervals."
)


class Cell(Figures):
    """One kind of claim at one number of units, with its truth at, inside or outside of its criterion's edge.

    false: verdicts that contradict the truth, at the edge every decisive one; false_high: upper end of its interval.
    covered: truths inside the last interval. units: that a claim used, in the mean.
    """

    estimand: Word
    edge: float
    censored: Share
    alike: Share
    n: Annotated[int, Field(ge=1, le=1_000_000)]
    position: Literal[0, 1, -1]
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
        return ", ".join(list_misses(self.model_dump()))


@dataclass(frozen=True, kw_only=True)
class World:
    """The cells of one kind of claim, at every number of units and every position.

    traits: what tells it from others of its estimand.
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
        return _find_worst(self.cells)

    @property
    def least_covered(self) -> float | None:
        """The least coverage of those of which it is asked."""
        return _find_least_covered(self.cells)

    @property
    def misses(self) -> list[str]:
        """A phrase for each cell that misses a bar."""
        return [f"n = {cell.n}, {SIDES[cell.position]}: {cell.misses}" for cell in self.cells if cell.misses]

    def find(self, n: int, position: int) -> Cell | None:
        """The cell with so many units at a position."""
        return next((cell for cell in self.cells if (cell.n, cell.position) == (n, position)), None)

    def list_sides(self, n: int, name: str, positions: Sequence[int] = ACROSS) -> list[float | None]:
        """One figure of the cells with n units, position by position."""
        found = [self.find(n, position) for position in positions]
        return [None if cell is None else getattr(cell, name) for cell in found]


class Calibration(Figures):
    """A run of the simulation."""

    measured_on: str
    commit: str = ""
    dirty: bool = False
    cells: Annotated[list[Cell], Field(min_length=1, max_length=3000)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len({(*_identify(cell), cell.n, cell.position) for cell in self.cells}) < len(self.cells):
            raise ValueError("a cell is there twice")
        if _find_worst(self.cells) is None:
            raise ValueError("no cell is at the edge")
        return self

    @property
    def worlds(self) -> list[World]:
        """The kinds of claims, in the file's order."""
        groups: dict[tuple[str, float, float, float], list[Cell]] = {}
        for cell in self.cells:
            groups.setdefault(_identify(cell), []).append(cell)
        return [
            World(estimand=cells[0].estimand, traits=", ".join(_name_traits(cells[0])), cells=tuple(cells))
            for cells in groups.values()
        ]

    @property
    def claims(self) -> int:
        return sum(cell.claims for cell in self.cells)

    @property
    def size(self) -> int:
        """The number of units at which one line tells what is decided: standard effort's, or else the most."""
        sizes = {cell.n for cell in self.cells}
        return PLANNED if PLANNED in sizes else max(sizes)

    @property
    def sentence(self) -> str:
        """The main result: the promise, and how it is kept where it is kept worst."""
        at_edge = [cell for cell in self.cells if cell.position == EDGE]
        worst, high = max(cell.false for cell in at_edge), max(cell.false_high for cell in at_edge)
        words = (
            "Of claims whose truth lies exactly on the edge, at most one in twenty may get a decisive verdict; of "
            f"those that were simulated, {format_percent(worst)} did where it was most (upper ends of 95 % intervals "
            f"up to {format_percent(high)})."
        )
        if beside := [cell.false for cell in self.cells if cell.position != EDGE]:
            most = f"at most {format_percent(max(beside))}" if any(beside) else "none"
            words += f" Beside the edge {most} got a wrong one."
        if (covered := _find_least_covered(self.cells)) is not None:
            words += f" From {COVERED_FROM} units on, at least {format_percent(covered)} of intervals held the truth."
        return words

    @property
    def standing(self) -> str:
        """How many settings keep the bars."""
        kept, every = sum(not cell.misses for cell in self.cells), len(self.cells)
        if kept == every:
            return f"No bar is missed in any of {every:,} settings."
        return f"{every - kept:,} of {every:,} settings miss a bar."


def read_calibration(path: Path) -> Calibration:
    """The figures in a file. Raises UsageError when it cannot be read or does not hold a calibration's."""
    return read_figures(Calibration, path, who="calibration", remedy="make one with lm-claims calibrate")


def _identify(cell: Cell) -> tuple[str, float, float, float]:
    return cell.estimand, cell.edge, cell.alike, cell.censored


def _name_traits(cell: Cell) -> Iterator[str]:
    yield f"edge {format_number(cell.edge)}"
    if cell.censored:
        yield f"{format_percent(cell.censored)} censored"
    if cell.alike:
        yield f"clusters alike by {format_number(cell.alike)}"


def _find_worst(cells: Sequence[Cell]) -> Cell | None:
    at_edge = [cell for cell in cells if cell.position == EDGE]
    return max(at_edge, key=lambda cell: (cell.false, cell.false_high), default=None)


def _find_least_covered(cells: Sequence[Cell]) -> float | None:
    return min((cell.covered for cell in cells if cell.n >= COVERED_FROM), default=None)
