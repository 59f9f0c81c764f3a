"""The benchmarks' figures, from the file that `make figures` keeps: as sentences, as a page, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from engine.report.pages import render_page, write_rows
from engine.studies.bench.results import WAYS, Bench, Contest
from engine.text import format_number, write_markdown_cell


def render_bench(bench: Bench) -> str:
    """One self-contained page without a script: equal figures give equal bytes."""
    from engine.studies.bench.charts import draw_contests, draw_growth, draw_shares

    return render_page(
        "bench.html.j2",
        bench=bench,
        ways=WAYS,
        kinds=list(dict.fromkeys(kind for one in bench.contest for kind in one.shares)),
        contests=draw_contests(bench.contest),
        shares=draw_shares(bench.contest),
        growth=[draw_growth(one, f"growth-{k}") for k, one in enumerate(bench.growth)],
        misses=[(one, one.misses) for one in bench.contest if one.misses],
    )


def tabulate_bench(bench: Bench) -> str:
    """Markdown: a table of the contests, a line of growth, and the machine."""
    head = ("work", "× the literal loop's speed", "bar", "× the floor's time", "bar", "peak MB: literal, engine, floor")
    lines = write_rows(head, (tuple(_write_row(one)) for one in bench.contest))
    if missed := [f"{one.title}: {words}" for one in bench.contest for words in one.misses]:
        lines += ["", f"Bars that are missed: {write_markdown_cell(' '.join(missed), 600)}"]
    if bench.growth:
        growth = "; ".join(write_markdown_cell(one.sentence) for one in bench.growth)
        lines += ["", f"A step of one run as the work grows: {growth}."]
    return "\n".join([*lines, "", f"Measured {write_markdown_cell(f'{bench.measured_on}: {bench.where}', 400)}."])


def _write_row(one: Contest) -> Iterator[str]:
    yield write_markdown_cell(one.title)
    yield f"{one.times_as_fast_as_literal:.1f}"
    yield _write_bar("≥", one.faster_bar, one.is_fast)
    yield f"{one.times_the_floor:.2f}"
    yield _write_bar("≤", one.floor_bar, one.is_near)
    yield ", ".join(f"{getattr(one.peak_mb, way):,.0f}" for way in WAYS)


def _write_bar(sign: str, bar: float | None, met: bool | None) -> str:
    return "" if bar is None else f"{sign} {format_number(bar)} {'✓' if met else '✗'}"
