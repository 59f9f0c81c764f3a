"""The figures of a bench run: what its tests save through pytest-benchmark, what is kept of it, and its Markdown."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from engine.errors import LedgerError, explain
from engine.files import read_whole, write_whole
from engine.report.pages import Figures, Share, Word, read_figures, write_rows
from engine.studies.bench.profile import PRODUCTS
from engine.text import format_number, write_markdown_cell

STORAGE = Path(".benchmarks")
"""Where pytest-benchmark saves its runs."""

KEPT, TABLE = Path("reports/reference/bench.json"), Path("docs/benchmarks.md")
VARIANTS = ("reference", "engine", "lower_bound")

INTRODUCTION = """\
# What the engine costs

`make bench` times each piece of work in three variants, which take turns within one run:

- **reference**: one run after the other, as the document's listing does;
- **engine**: all runs together, as the claims are measured;
- **lower bound**: only the matrix products of the work, back to back.

Times are medians over the rounds, and ratios are medians of the ratios within each round. The peak of memory is what a
variant takes beyond its weights and inputs, in a process of its own. A bar is what the engine should reach. A time
below the lower bound is possible: the round trip rules out products that its lower bound computes, and times vary.

Every run is saved, and `pytest-benchmark compare` shows saved runs side by side. `make figures` writes this page and
[bench.json](../reports/reference/bench.json) from the last run.
"""

Amount = Annotated[float, Field(gt=1e-12, lt=1e12)]
Size = Annotated[float, Field(ge=0, lt=1e12)]


class PeakMemory(Figures):
    """Megabytes beyond what weights and inputs take, by variant."""

    reference: Size
    engine: Size
    lower_bound: Size


class CaseResult(Figures):
    """One case: medians in seconds, ratios beside their bars, memory, and shares of the engine's time by kind."""

    title: Word
    reference_s: Amount
    engine_s: Amount
    lower_bound_s: Amount
    rounds: int
    speedup: Amount
    min_speedup: Amount | None
    times_lower_bound: Amount
    max_times_lower_bound: Amount | None
    ms_per_run_step: Amount
    peak_mb: PeakMemory
    shares: Annotated[dict[Word, Share], Field(min_length=1, max_length=8)]

    def explain_misses(self) -> list[str]:
        """A sentence for each missed bar: whether it can be met, and where the engine's time goes."""
        others = sorted(((share, kind) for kind, share in self.shares.items() if kind != PRODUCTS), reverse=True)[:2]
        spent = (
            f"Under the profiler it spends {100 * self.shares.get(PRODUCTS, 0):.0f} % on products, "
            f"{' and '.join(f'{100 * share:.0f} % on {kind}' for share, kind in others)}."
        )
        sentences: list[str] = []
        if self.min_speedup is not None and self.speedup < self.min_speedup:
            # No implementation is faster than its products: a bar beyond them is the machine's miss, not the engine's.
            bar, limit = format_number(self.min_speedup), self.reference_s / self.lower_bound_s
            if limit < self.min_speedup:
                sentences.append(
                    f"Even the bare products are only {limit:.1f} times as fast as the reference, so {bar} is out of "
                    "reach here."
                )
            else:
                sentences.append(
                    f"The engine is {self.speedup:.1f} times as fast as the reference instead of {bar} times; the bare "
                    f"products are {limit:.1f} times as fast. {spent}"
                )
        if self.max_times_lower_bound is not None and self.times_lower_bound > self.max_times_lower_bound:
            beside_ms = 1e3 * (self.times_lower_bound - 1) * self.lower_bound_s
            excess_ms = 1e3 * (self.times_lower_bound - self.max_times_lower_bound) * self.lower_bound_s
            sentences.append(
                f"The engine takes {self.times_lower_bound:.2f} times as long as the bare products instead of at most "
                f"{format_number(self.max_times_lower_bound)} times: {excess_ms:.0f} of the {beside_ms:.0f} ms beside "
                f"the products would have to go. {spent}"
            )
        return sentences


class Growth(Figures):
    """Milliseconds per run-step of each variant, at each size of what grows. around: what stays the same."""

    axis: Word
    around: str
    sizes: Annotated[list[Amount], Field(min_length=2, max_length=12)]
    reference_ms: list[Amount] | None = None
    engine_ms: list[Amount]
    lower_bound_ms: list[Amount]

    @model_validator(mode="after")
    def _check(self) -> Self:
        lines = (self.reference_ms, self.engine_ms, self.lower_bound_ms)
        if any(line is not None and len(line) != len(self.sizes) for line in lines):
            raise ValueError("sizes and costs differ in number")
        if sorted(set(self.sizes)) != self.sizes:
            raise ValueError("sizes do not ascend")
        return self


class Measure(Figures):
    """A single figure. bar: what it should be at least, or at most."""

    title: Word
    value: Size
    at_least: Size | None = None
    at_most: Size | None = None


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
    cases: Annotated[list[CaseResult], Field(max_length=60)]
    growth: Annotated[list[Growth], Field(max_length=12)]
    measures: Annotated[list[Measure], Field(max_length=60)] = Field(default_factory=list[Measure])


def read_bench(path: Path) -> Bench:
    """The figures in a file. Raises UsageError when it cannot be read or does not hold a bench run's."""
    return read_figures(Bench, path, who="bench", remedy="make one with make bench figures")


def gather_figures(run: dict[str, Any]) -> Bench:
    """The figures of a run in pytest-benchmark's format. The machine goes by its make, never by its name."""
    # A benchmark saves at most one of these; times that only the plugin shows have none.
    saved: list[dict[str, Any]] = [one["extra_info"] for one in run["benchmarks"]]
    return Bench(
        measured_on=run["datetime"][:10],
        commit=run["commit_info"]["id"],
        dirty=run["commit_info"]["dirty"],
        largest_load=max((info["load"] for info in saved if "load" in info), default=None),
        cases=[info["case"] for info in saved if "case" in info],
        growth=[info["growth"] for info in saved if "growth" in info],
        measures=[measure for info in saved for measure in info.get("measures", ())],
        **run["machine_info"]["bench"],
    )


def keep_figures(root: Path) -> str:
    """Write the last saved run's figures and their page below `root`. Returns what was written, in a line.

    Raises LedgerError where no run of the cases was saved.
    """
    saved = [path for path in (root / STORAGE).glob("*/*.json") if path.is_file()]
    newest_first = sorted(saved, key=lambda path: path.stat().st_mtime, reverse=True)
    runs = (json.loads(read_whole(path)) for path in newest_first)
    # pytest-benchmark's folder may hold runs of other suites.
    run = next((run for run in runs if "bench" in run["machine_info"]), None)
    bench = None if run is None else gather_figures(run)
    if bench is None or not bench.cases:
        got, expected = "no saved run of the inner loops", f"one in {STORAGE}"
        raise LedgerError(explain(who="bench", got=got, expected=expected, remedy="run make bench first"))
    write_whole(root / KEPT, (bench.model_dump_json(indent=1) + "\n").encode(), who="bench")
    write_whole(root / TABLE, write_page(bench).encode(), who="bench")
    return f"{KEPT}, {TABLE}: {len(bench.cases)} cases, {len(bench.growth)} lines of growth"


def write_page(bench: Bench) -> str:
    """The page of the kept figures, in Markdown: equal figures give equal bytes."""
    return "\n".join([INTRODUCTION, *write_tables(bench), ""])


def write_tables(bench: Bench) -> list[str]:
    """Lines of Markdown: the cases, their missed bars, growth, single figures, and where they were measured."""
    lines: list[str] = []
    if bench.cases:
        speedup = _write_range([case.speedup for case in bench.cases], ".1f")
        times = _write_range([case.times_lower_bound for case in bench.cases], ".2f")
        engine = f"The engine is {speedup} times as fast as the reference"
        lines += [f"{engine}, and takes {times} times as long as the lower bound.", ""]
        head = (
            "work",
            "reference, engine, lower bound: s",
            "× the reference's speed",
            "bar",
            "× the lower bound's time",
            "bar",
            "ms per run-step",
            "peak MB: reference, engine, lower bound",
            "the engine's time on products",
        )
        rows = [
            (
                write_markdown_cell(case.title),
                _join(getattr(case, f"{variant}_s") for variant in VARIANTS),
                f"{case.speedup:.1f}",
                _write_bar(case.speedup, at_least=case.min_speedup),
                f"{case.times_lower_bound:.2f}",
                _write_bar(case.times_lower_bound, at_most=case.max_times_lower_bound),
                # Work that is one piece has no steps.
                ""
                if math.isclose(case.ms_per_run_step, 1e3 * case.engine_s, rel_tol=0.01)
                else format_number(case.ms_per_run_step, 3),
                ", ".join(f"{getattr(case.peak_mb, variant):,.0f}" for variant in VARIANTS),
                f"{100 * case.shares.get(PRODUCTS, 0):.0f} %",
            )
            for case in bench.cases
        ]
        lines += [*write_rows(head, rows), ""]
    if misses := [f"{case.title}: {sentence}" for case in bench.cases for sentence in case.explain_misses()]:
        lines += ["Missed bars:", "", *(f"- {write_markdown_cell(miss, 600)}" for miss in misses), ""]
    if bench.growth:
        head = ("ms per run-step over", "sizes", "reference", "engine", "lower bound")
        rows = [
            (
                write_markdown_cell(f"{one.axis} ({one.around})"),
                ", ".join(f"{size:,.0f}" for size in one.sizes),
                *(_join(line or ()) for line in (one.reference_ms, one.engine_ms, one.lower_bound_ms)),
            )
            for one in bench.growth
        ]
        lines += [*write_rows(head, rows), ""]
    if bench.measures:
        rows = [
            (
                write_markdown_cell(one.title),
                format_number(one.value, 3),
                _write_bar(one.value, at_least=one.at_least, at_most=one.at_most),
            )
            for one in bench.measures
        ]
        lines += [*write_rows(("figure", "value", "bar"), rows), ""]
    cores = "" if bench.cores is None else f", {bench.cores} cores"
    load = "" if bench.largest_load is None else f", load at most {format_number(bench.largest_load)}"
    where = f"{bench.measured_on}: {bench.machine}{cores}, {bench.threads} threads{load}"
    versions = ", ".join(f"{name} {version}" for name, version in bench.versions.items())
    commit = f"commit {bench.commit[:12]}{', with changes' if bench.dirty else ''}" if bench.commit else ""
    about = "; ".join(part for part in (where, versions, commit) if part)
    return [*lines, f"Measured {write_markdown_cell(about, 600, commits=True)}."]


def _join(values: Iterable[float]) -> str:
    return ", ".join(format_number(value, 3) for value in values)


def _write_range(values: Iterable[float], form: str) -> str:
    ends = sorted(values)
    low, high = format(ends[0], form), format(ends[-1], form)
    return low if low == high else f"{low} to {high}"


def _write_bar(value: float, *, at_least: float | None = None, at_most: float | None = None) -> str:
    if at_least is not None:
        return f"≥ {format_number(at_least)} {'✓' if value >= at_least else '✗'}"
    return "" if at_most is None else f"≤ {format_number(at_most)} {'✓' if value <= at_most else '✗'}"
