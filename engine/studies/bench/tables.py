"""The figures of a bench run as text: contests with their bars, then growth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from engine.studies.bench.alternation import Seconds, take_ratio

HEADINGS = (
    "",
    "literal s",
    "engine s",
    "floor s",
    "× faster",
    "bar",
    "× floor",
    "bar",
    "ms a run-step",
    "peak MB",
)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a contest came to. peaks: megabytes that each way takes. shares: of the engine's time, by kind of work."""

    title: str
    seconds: Seconds
    run_steps: int
    faster_bar: float | None
    floor_bar: float | None
    peaks: dict[str, float]
    shares: dict[str, float]

    def summarize(self) -> dict[str, Any]:
        """Medians of the rounds, and medians of the ratios within a round."""
        taken = {f"{way}_s": round(median(rounds), 4) for way, rounds in self.seconds.items()}
        return taken | {
            "title": self.title,
            "rounds": len(self.seconds["engine"]),
            "times_as_fast_as_literal": round(take_ratio(self.seconds["literal"], self.seconds["engine"]), 2),
            "faster_bar": self.faster_bar,
            "times_the_floor": round(take_ratio(self.seconds["engine"], self.seconds["floor"]), 3),
            "floor_bar": self.floor_bar,
            "ms_a_run_step": round(1e3 * median(self.seconds["engine"]) / self.run_steps, 3),
            "peak_mb": self.peaks,
            "shares": self.shares,
        }


def list_contests(found: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each contest, its bars beside its ratios; ✗ where a bar is missed."""
    rows: list[tuple[str, ...]] = [HEADINGS]
    for one in found:
        faster, above = one["times_as_fast_as_literal"], one["times_the_floor"]
        low, high = one["faster_bar"], one["floor_bar"]
        rows.append(
            (
                one["title"],
                *(f"{one[f'{way}_s']:.3f}" for way in ("literal", "engine", "floor")),
                f"{faster:.2f}",
                _show_bar("≥", low, missed=low is not None and faster < low),
                f"{above:.2f}",
                _show_bar("≤", high, missed=high is not None and above > high),
                f"{one['ms_a_run_step']:.2f}",
                " → ".join(f"{one['peak_mb'][way]:.0f}" for way in ("literal", "engine", "floor")),
            )
        )
    yield from _align(rows)


def list_growth(found: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each axis: the cost of a run-step at each of its sizes, the floor's in parentheses."""
    for one in found:
        each = zip(one["sizes"], one["ms_a_run_step"], one["floor_ms_a_run_step"], strict=True)
        costs = (f"{size:,}: {cost:.2f} ({floor:.2f})" for size, cost, floor in each)
        yield f"ms a run-step over {one['axis']} ({one['around']}): " + "   ".join(costs)


def list_executors(found: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each pool that was timed beside one process."""
    for one in found:
        bar = _show_bar("≥", one["bar"], missed=one["faster"] < one["bar"])
        yield f"{one['arms']} arms of one thread: {one['workers']} workers {one['faster']:.2f} × one process ({bar})"


def list_searches(found: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each full method that was timed beside a blind check of the vocabulary."""
    for one in found:
        bar = _show_bar("≥", one["bar"], missed=one["fewer_checks"] < one["bar"])
        yield (
            f"full method, one prompt of {one['tokens']} tokens: {one['seconds_a_token']:.2f} s a token, "
            f"{one['faster']:.1f} × a blind check, {one['fewer_checks']:.0f} × fewer candidates ({bar})"
        )


def _show_bar(sign: str, bar: float | None, *, missed: bool) -> str:
    return "" if bar is None else f"{sign} {bar:g}{' ✗' if missed else ''}"


def _align(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        yield "  ".join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])])


def list_scheduler(found: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each pair of sessions whose arms took no time."""
    for one in found:
        few, many = one["arms"]
        grown = _show_bar("<", one["growth_bar"], missed=one["growth"] >= one["growth_bar"])
        each = _show_bar("<", one["ms_bar"], missed=one["ms_an_arm"] >= one["ms_bar"])
        yield (
            f"scheduler, arms that take no time: {many} cost {one['growth']:.2f} × {few} ({grown}), "
            f"{one['ms_an_arm']:.2f} ms an arm ({each})"
        )
