"""Charts of simulated claims, one for each estimand: false verdicts at the edge, decided claims beside it."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from engine.report.charts import ChartView
from engine.report.charts.drawing import ONE_PANEL, SMALL, Drawing, show_still
from engine.report.charts.panels import Row, label, trim
from engine.report.charts.scales import SHARE, Scale, fit_linear
from engine.report.charts.strips import layer_of
from engine.report.charts.theme import PAPER, SERIES, SOFT
from engine.studies.calibration.results import EDGE, INSIDE, MOST_FALSE, MOST_FALSE_SURELY, OUTSIDE, ScenarioResult
from engine.text import format_percent

HEIGHT = 190
SHAPES = ("circle", "square", "diamond", "triangle-up")
SPACING = 0.16
"""Between the marks of two scenarios, as a share of the way to the next number of units."""


def draw_false(scenarios: Sequence[ScenarioResult], every: Sequence[ScenarioResult], name: str) -> ChartView:
    """False verdicts at the edge by the number of units, with the interval's upper end and lines at both bars.

    scenarios: of one estimand. every: all scenarios, which share one axis so that their charts can be compared. name:
    unique on the page.
    """
    marks, x, colour, shape = _lay_out(scenarios)
    # In a row 'k' selects the layers that paint it, and 'c' is its scenario.
    rows: list[Row] = [{"k": k, "x": 0, "y": bar, "hi": 0} for k, bar in (("b", MOST_FALSE), ("s", MOST_FALSE_SURELY))]
    facts: list[str] = []
    for scenario in scenarios:
        cells = [cell for n in scenario.sizes if (cell := scenario.find(n, EDGE)) is not None]
        for cell in cells:
            ends: Row = {"y": trim(cell.false), "hi": trim(cell.false_high)}
            rows.append({"k": "d", "c": scenario.traits, "x": marks[scenario.traits, cell.n]} | ends)
        words = (f"{c.n} units {format_percent(c.false)} up to {format_percent(c.false_high)}" for c in cells)
        facts.append(f"{scenario.traits}: {', '.join(words) or 'nothing at the edge'}")
    # From 0, with ticks at both bars; with round ticks where so much is false that the bars lie close together.
    highs = [cell.false_high for scenario in every for cell in scenario.cells if cell.position == EDGE]
    most = max([*highs, MOST_FALSE_SURELY]) * 1.06
    ticks = [tick for tick in (0, MOST_FALSE, MOST_FALSE_SURELY, 0.1, 0.15, 0.2) if tick <= most]
    scale = Scale(low=0, high=most, ticks=fit_linear([0, most]).ticks if most > 0.25 else tuple(ticks))
    axis = scale.axis("decisive at the edge", format=".0%", grid=False)
    y, high = (alt.Y(f"{field}:Q", scale=scale.scale(), axis=axis) for field in ("y", "hi"))
    layers = [
        layer_of("b").mark_rule(color=SOFT).encode(y=y),
        layer_of("s").mark_rule(color=SOFT, strokeDash=[4, 3]).encode(y=y),
        layer_of("d").mark_rule(strokeWidth=1.5, opacity=0.7).encode(x=x, y=y, y2="hi:Q", color=colour),
        layer_of("d").mark_tick(thickness=2, size=7, orient="horizontal").encode(x=x, y=high, color=colour),
        layer_of("d").mark_point(size=50, filled=True, opacity=1).encode(x=x, y=y, color=colour, shape=shape),
    ]
    return _finish(scenarios, "false at the edge", facts, layers, rows, ("x", "y", "hi"), name)


def draw_decided(scenarios: Sequence[ScenarioResult], name: str) -> ChartView:
    """Decided claims just inside and just outside of the edge, by the number of units. scenarios: of one estimand."""
    marks, x, colour, shape = _lay_out(scenarios)
    rows: list[Row] = []
    facts: list[str] = []
    for scenario in scenarios:
        for kind, position in (("inside", INSIDE), ("outside", OUTSIDE)):
            cells = [cell for n in scenario.sizes if (cell := scenario.find(n, position)) is not None]
            for cell in cells:
                place = marks[scenario.traits, cell.n]
                rows.append({"k": kind, "c": scenario.traits, "x": place, "y": trim(cell.decided)})
            words = ", ".join(f"{cell.n} units {format_percent(cell.decided)}" for cell in cells)
            facts.append(f"{scenario.traits}, {kind}: {words or 'nothing'}")
    y = alt.Y("y:Q", scale=SHARE.scale(), axis=SHARE.axis("decided", format=".0%"))
    # Lines first, so that no line crosses a mark.
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
    return _finish(scenarios, "decided beside the edge", facts, layers, rows, ("x", "y"), name)


Marks = dict[tuple[str, int], float]


def _lay_out(scenarios: Sequence[ScenarioResult]) -> tuple[Marks, alt.X, alt.Color, alt.Shape]:
    """Numbers of units at equal steps, with the scenarios' marks side by side around each; a colour and shape for each.

    The marks are positions along x, by a scenario's traits and a number of units.
    """
    sizes, names = sorted({n for one in scenarios for n in one.sizes}), [one.traits for one in scenarios]
    step, middle = min(SPACING, 0.7 / len(names)), (len(names) - 1) / 2
    marks = {
        (name, n): trim(place + (k - middle) * step) for place, n in enumerate(sizes) for k, name in enumerate(names)
    }
    axis = alt.Axis(
        values=list(range(len(sizes))), labelExpr=f"{[str(n) for n in sizes]}[datum.value]", title="units", grid=False
    )
    x = alt.X("x:Q", scale=alt.Scale(domain=[-0.5, len(sizes) - 0.5], nice=False, zero=False), axis=axis)
    shades = [SERIES[k % len(SERIES)] for k in range(len(names))]
    shapes = [SHAPES[k % len(SHAPES)] for k in range(len(names))]
    # Below, so that the panels of a row begin at one height, however many scenarios each has.
    legend = alt.Legend(orient="bottom", columns=1)
    colour = alt.Color("c:N", scale=alt.Scale(domain=names, range=shades), legend=legend)
    return marks, x, colour, alt.Shape("c:N", scale=alt.Scale(domain=names, range=shapes), legend=legend)


def _finish(
    scenarios: Sequence[ScenarioResult],
    what: str,
    facts: Sequence[str],
    layers: Sequence[alt.Chart],
    rows: Sequence[Row],
    packed: tuple[str, ...],
    name: str,
) -> ChartView:
    title = label(scenarios[0].estimand, 40)
    drawing = Drawing(
        title=f"{title[:1].upper()}{title[1:]}",
        caption="",
        facts=[f"{what}, {fact}" for fact in facts],
        panels=ONE_PANEL,
        layers=layers,
        rows=rows,
        packed=packed,
        height=HEIGHT,
        margin=SMALL,
    )
    return show_still(drawing, name)
