"""Charts of simulated claims, one for each kind of estimand: false verdicts at the edge, decided ones beside it."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from engine.report.charts import ChartView
from engine.report.charts.channels import SHARE, Axis, fit_linear, layer_of
from engine.report.charts.drawing import SMALL_PX, Drawing, make_chart
from engine.report.charts.panels import Row, label, trim
from engine.report.charts.theme import PAPER, SERIES, SOFT
from engine.report.charts.vega import Render, render_inline
from engine.studies.calibration.figures import MOST_FALSE, MOST_FALSE_SURELY
from engine.studies.calibration.results import EDGE, INSIDE, OUTSIDE, World
from engine.text import format_percent

HEIGHT = 190
SHAPES = ("circle", "square", "diamond", "triangle-up")
APART = 0.16
"""Of the way to the next number of units, by which marks of two kinds of claims stand apart."""


def draw_false(worlds: Sequence[World], every: Sequence[World], name: str, render: Render = render_inline) -> ChartView:
    """False verdicts at the edge by the number of units, with the interval's upper end and lines at both bars.

    worlds: of one estimand. every: whose figures have to fit the axis, so that charts can be compared. name: unique on
    the page.
    """
    marks = _place(worlds)
    rows: list[Row] = [{"k": k, "x": 0, "y": bar, "hi": 0} for k, bar in (("b", MOST_FALSE), ("s", MOST_FALSE_SURELY))]
    facts: list[str] = []
    for world in worlds:
        told: list[str] = []
        for n in world.sizes:
            if (cell := world.find(n, EDGE)) is not None:
                ends: Row = {"y": trim(cell.false), "hi": trim(cell.false_high)}
                rows.append({"k": "d", "c": world.traits, "x": marks[world.traits, n]} | ends)
                told.append(f"{n} units {format_percent(cell.false)} up to {format_percent(cell.false_high)}")
        facts.append(f"{world.traits}: {', '.join(told) or 'nothing at the edge'}")
    x, colour, shape = _channels(worlds)
    axis = _fit_false([cell.false_high for world in every for cell in world.cells if cell.position == EDGE])
    y, high = (axis.y("decisive at the edge", field, format=".0%", grid=False) for field in ("y", "hi"))
    layers = [
        layer_of("b").mark_rule(color=SOFT).encode(y=y),
        layer_of("s").mark_rule(color=SOFT, strokeDash=[4, 3]).encode(y=y),
        layer_of("d").mark_rule(strokeWidth=1.5, opacity=0.7).encode(x=x, y=y, y2="hi:Q", color=colour),
        layer_of("d").mark_tick(thickness=2, size=7, orient="horizontal").encode(x=x, y=high, color=colour),
        layer_of("d").mark_point(size=50, filled=True, opacity=1).encode(x=x, y=y, color=colour, shape=shape),
    ]
    return _finish(worlds, "false at the edge", facts, layers, rows, ("x", "y", "hi"), name, render)


def draw_decided(worlds: Sequence[World], name: str, render: Render = render_inline) -> ChartView:
    """Decided claims just inside and just outside of the edge by the number of units. worlds: of one estimand."""
    marks = _place(worlds)
    rows: list[Row] = []
    facts: list[str] = []
    for world in worlds:
        for kind, position in (("inside", INSIDE), ("outside", OUTSIDE)):
            cells = [cell for n in world.sizes if (cell := world.find(n, position)) is not None]
            for cell in cells:
                x = marks[world.traits, cell.n]
                rows.append({"k": kind, "c": world.traits, "x": x, "y": trim(cell.decided)})
            told = ", ".join(f"{cell.n} units {format_percent(cell.decided)}" for cell in cells)
            facts.append(f"{world.traits}, {kind}: {told or 'nothing'}")
    x, colour, shape = _channels(worlds)
    y = SHARE.y("decided", format=".0%")
    inside, outside = (
        layer_of("inside").encode(x=x, y=y, color=colour),
        layer_of("outside").encode(x=x, y=y, color=colour),
    )
    layers = [
        outside.mark_line(strokeWidth=1.5, strokeDash=[4, 3]),
        inside.mark_line(strokeWidth=2),
        outside.mark_point(size=50, filled=False, fill=PAPER, opacity=1, strokeWidth=1.5).encode(shape=shape),
        inside.mark_point(size=50, filled=True, opacity=1).encode(shape=shape),
    ]
    return _finish(worlds, "decided beside the edge", facts, layers, rows, ("x", "y"), name, render)


def _fit_false(highs: Sequence[float]) -> Axis:
    """An axis from 0 with ticks at both bars; with round ones where so much is false that the bars lie close."""
    most = max([*highs, MOST_FALSE_SURELY]) * 1.06
    if most > 0.25:
        return Axis(low=0, high=most, ticks=fit_linear([0, most]).ticks)
    ticks = (0, MOST_FALSE, MOST_FALSE_SURELY, 0.1, 0.15, 0.2)
    return Axis(low=0, high=most, ticks=tuple(tick for tick in ticks if tick <= most))


def _list_sizes(worlds: Sequence[World]) -> list[int]:
    return sorted({n for world in worlds for n in world.sizes})


def _place(worlds: Sequence[World]) -> dict[tuple[str, int], float]:
    """Where each kind of claim stands at each number of units: side by side, around the number's place in order."""
    step = min(APART, 0.7 / len(worlds))
    middle = (len(worlds) - 1) / 2
    return {
        (world.traits, n): trim(place + (k - middle) * step)
        for place, n in enumerate(_list_sizes(worlds))
        for k, world in enumerate(worlds)
    }


def _channels(worlds: Sequence[World]) -> tuple[alt.X, alt.Color, alt.Shape]:
    """Units in their order, at equal steps; a colour and a shape for each kind of claim."""
    sizes, names = _list_sizes(worlds), [world.traits for world in worlds]
    axis = alt.Axis(
        values=list(range(len(sizes))), labelExpr=f"{[str(n) for n in sizes]}[datum.value]", title="units", grid=False
    )
    x = alt.X("x:Q", scale=alt.Scale(domain=[-0.5, len(sizes) - 0.5], nice=False, zero=False), axis=axis)
    shades = [SERIES[k % len(SERIES)] for k in range(len(names))]
    shapes = [SHAPES[k % len(SHAPES)] for k in range(len(names))]
    # Below, so that the panels of a row begin at one height however many kinds each has.
    legend = alt.Legend(orient="bottom", columns=1)
    colour = alt.Color("c:N", scale=alt.Scale(domain=names, range=shades), legend=legend)
    return x, colour, alt.Shape("c:N", scale=alt.Scale(domain=names, range=shapes), legend=legend)


def _finish(
    worlds: Sequence[World],
    what: str,
    facts: Sequence[str],
    layers: Sequence[alt.Chart],
    rows: Sequence[Row],
    packed: tuple[str, ...],
    name: str,
    render: Render,
) -> ChartView:
    title = label(worlds[0].estimand, 40)
    drawing = Drawing(
        title=f"{title[:1].upper()}{title[1:]}",
        caption="",
        facts=[f"{what}, {fact}" for fact in facts],
        layers=layers,
        rows=rows,
        packed=packed,
        height=HEIGHT,
        margin=SMALL_PX,
    )
    return make_chart(drawing, name, render, interactive=False)
