"""The figures of a bench run, as they are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from engine.report.pages import Figures, Share, Word, read_figures
from engine.text import format_number

WAYS = ("literal", "engine", "floor")


Amount = Annotated[float, Field(gt=1e-12, lt=1e12)]


Size = Annotated[float, Field(ge=0, lt=1e12)]


class Peaks(Figures):
    """Megabytes above what weights and inputs take."""

    literal: Size
    engine: Size
    floor: Size


class Contest(Figures):
    """One piece of work three ways: medians in seconds, ratios, their bars, and where the engine's time goes."""

    title: Word
    literal_s: Amount
    engine_s: Amount
    floor_s: Amount
    times_as_fast_as_literal: Amount
    times_the_floor: Amount
    faster_bar: Amount | None
    floor_bar: Amount | None
    ms_a_run_step: Amount
    peak_mb: Peaks
    shares: Annotated[dict[Word, Share], Field(min_length=1, max_length=8)]

    @property
    def has_steps(self) -> bool:
        """Whether the work is made of steps of runs, or is one piece."""
        return not math.isclose(self.ms_a_run_step, 1e3 * self.engine_s, rel_tol=0.01)

    @property
    def is_fast(self) -> bool | None:
        """Whether the bar over the literal loop is met, None where there is none."""
        return None if self.faster_bar is None else self.times_as_fast_as_literal >= self.faster_bar

    @property
    def is_near(self) -> bool | None:
        """Whether the bar over the floor is met, None where there is none."""
        return None if self.floor_bar is None else self.times_the_floor <= self.floor_bar

    @property
    def misses(self) -> tuple[str, ...]:
        """A sentence for each missed bar: whether it could be met, and what the engine's time is spent on."""
        found: list[str] = []
        if self.faster_bar is not None and not self.is_fast:
            most = self.literal_s / self.floor_s
            bar = format_number(self.faster_bar)
            if most < self.faster_bar:
                found.append(
                    f"The products alone are only {most:.1f} times as fast as the literal loop here, so {bar} is out "
                    "of reach."
                )
            else:
                found.append(
                    f"It is {self.times_as_fast_as_literal:.1f} times as fast as the literal loop and should be {bar}; "
                    f"the products alone are {most:.1f} times as fast. {self._name_cost()}"
                )
        if self.floor_bar is not None and self.is_near is False:
            beside = (self.times_the_floor - 1) * self.floor_s
            allowed = (self.floor_bar - 1) * self.floor_s
            found.append(
                f"It takes {self.times_the_floor:.2f} times as long as the products and should take "
                f"{format_number(self.floor_bar)} at most: of its {1e3 * beside:.0f} ms beside them "
                f"{1e3 * (beside - allowed):.0f} would have to go. {self._name_cost()}"
            )
        return tuple(found)

    def _name_cost(self) -> str:
        beside = sorted(((share, kind) for kind, share in self.shares.items() if kind != "products"), reverse=True)[:2]
        words = " and ".join(f"{100 * share:.0f} % on {kind}" for share, kind in beside)
        return f"Under the profiler it spends {100 * self.shares.get('products', 0):.0f} % on products, {words}."


class Growth(Figures):
    """Milliseconds of a run-step at each size of an axis."""

    axis: Word
    around: str
    sizes: Annotated[list[Amount], Field(min_length=2, max_length=12)]
    ms_a_run_step: list[Amount]
    floor_ms_a_run_step: list[Amount]
    literal_ms_a_run_step: list[Amount] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(len(costs) != len(self.sizes) for costs in self.lines.values()):
            raise ValueError("sizes and costs differ in number")
        if sorted(set(self.sizes)) != self.sizes:
            raise ValueError("sizes do not ascend")
        return self

    @property
    def lines(self) -> dict[str, list[float]]:
        """The costs of each way that was timed."""
        literal = {} if self.literal_ms_a_run_step is None else {"literal": self.literal_ms_a_run_step}
        return literal | {"engine": self.ms_a_run_step, "floor": self.floor_ms_a_run_step}

    @property
    def sentence(self) -> str:
        """The cost of a run-step from the first size to the last."""
        first, last = self.sizes[0], self.sizes[-1]
        ends = (f"{costs[0]:.3g} → {costs[-1]:.3g} ms ({way})" for way, costs in self.lines.items() if way != "literal")
        return f"{self.axis} {first:,.0f} → {last:,.0f}: {', '.join(ends)}"


class Bench(Figures):
    """A run of the benchmarks."""

    measured_on: str
    machine: str
    cores: int | None = None
    threads: int
    versions: dict[str, str] = Field(default_factory=dict[str, str])
    commit: str = ""
    dirty: bool = False
    largest_load: Size | None = None
    contest: Annotated[list[Contest], Field(min_length=1, max_length=60)]
    growth: Annotated[list[Growth], Field(max_length=12)]

    @property
    def bars(self) -> tuple[int, int]:
        """Bars that are met, and all bars."""
        given = [met for one in self.contest for met in (one.is_fast, one.is_near) if met is not None]
        return sum(given), len(given)

    @property
    def sentence(self) -> str:
        """The main result."""
        faster = _span([one.times_as_fast_as_literal for one in self.contest], ".1f")
        above = _span([one.times_the_floor for one in self.contest], ".2f")
        met, every = self.bars
        bars = f" Of {every} bars that were set, it meets {met}." if every else ""
        return (
            f"The engine is {faster} times as fast as a literal loop that does one run after the other, and takes "
            f"{above} times as long as the bare matrix products of the same work.{bars}"
        )

    @property
    def where(self) -> str:
        """The machine, in a few words."""
        cores = "" if self.cores is None else f", {self.cores} cores"
        load = "" if self.largest_load is None else f", load at most {format_number(self.largest_load)}"
        return f"{self.machine}{cores}, {self.threads} threads{load}"


def read_bench(path: Path) -> Bench:
    """The figures in a file. Raises UsageError when it cannot be read or does not hold a bench run's."""
    return read_figures(Bench, path, who="bench", remedy="make one with make bench figures")


def _span(values: Sequence[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"
