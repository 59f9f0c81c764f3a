"""Charts of the benchmarks: contests between their ways, where the engine's time goes, cost as the work grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import altair as alt

from engine.report.charts import ChartView
from engine.report.charts.channels import fit_log, layer_of
from engine.report.charts.drawing import SMALL_PX, Drawing, make_chart
from engine.report.charts.panels import Row, label, trim
from engine.report.charts.theme import INK, PAPER, SERIES, SOFT
from engine.report.charts.vega import render_inline
from engine.studies.bench.results import WAYS, Contest, Growth
from engine.text import format_number

SHAPES = {"literal": "diamond", "engine": "circle", "floor": "square"}
SHADES = {"literal": SERIES[1], "engine": SERIES[0], "floor": SOFT}
PITCH, TITLE_CUT = 44, 60
"""Pixels of a contest, which has its name above its marks; and the characters of a name."""

NARROW = 90
"""Pixels by which a chart is narrower than half a page, so that a phone shows it whole."""


def draw_contests(contests: Sequence[Contest]) -> ChartView:
    """Each contest's ways on one axis of seconds."""
    found = {k: {way: float(getattr(one, f"{way}_s")) for way in WAYS} for k, one in enumerate(contests)}
    scale = fit_log([s for one in found.values() for s in one.values()])
    rows: list[Row] = []
    for k, seconds in found.items():
        rows.append({"k": "l", "x": scale.low, "x2": 0, "y": k, "v": label(contests[k].title, TITLE_CUT)})
        rows.append({"k": "r", "x": min(seconds.values()), "x2": max(seconds.values()), "y": k, "v": ""})
        for way, s in seconds.items():
            rows.append({"k": "d", "c": way, "x": trim(s), "x2": 0, "y": k, "v": ""})
    x, y = scale.x("seconds, logarithmic", grid=True), _rows_channel(len(contests))
    layers = [
        layer_of("l").mark_text(align="left", dy=-15, dx=2, color=INK, fontSize=12).encode(x=x, y=y, text="v:N"),
        layer_of("r").mark_rule(color=SOFT, strokeWidth=1.5).encode(x=x, x2="x2:Q", y=y),
        layer_of("d")
        .mark_point(size=85, filled=True, opacity=1)
        .encode(x=x, y=y, color=_colour(WAYS), shape=_shape(WAYS)),
    ]
    facts = [
        f"{label(one.title, TITLE_CUT)}: {', '.join(f'{way} {format_number(s, 3)} s' for way, s in found[k].items())}"
        for k, one in enumerate(contests)
    ]
    return make_chart(
        Drawing(
            title="How long each way takes",
            caption="One row is one piece of work; left is faster. The engine belongs close to the floor.",
            facts=facts,
            layers=layers,
            rows=rows,
            packed=("x", "x2", "y", "v"),
            height=PITCH * len(contests),
            margin=NARROW,
        ),
        "contests",
        render_inline,
        interactive=False,
    )


def draw_shares(contests: Sequence[Contest]) -> ChartView:
    """The engine's time by kind of work, one bar a contest."""
    kinds = list(dict.fromkeys(kind for one in contests for kind in one.shares))
    names = {kind: label(kind, 30) for kind in kinds}
    rows: list[Row] = []
    for k, one in enumerate(contests):
        rows.append({"k": "l", "x": 0, "x2": 0, "y": k, "v": label(one.title, TITLE_CUT)})
        at, whole = 0.0, sum(one.shares.values()) or 1.0
        for kind, share in one.shares.items():
            end = at + share / whole
            rows.append({"k": "b", "c": names[kind], "x": trim(at), "x2": trim(end), "y": k, "v": ""})
            if end - at >= 0.08:
                rows.append({"k": "t", "x": trim((at + end) / 2), "x2": 0, "y": k, "v": f"{100 * (end - at):.0f}"})
            at = end
    axis = alt.Axis(values=[0, 0.25, 0.5, 0.75, 1], format=".0%", title="share of the engine's own time", grid=False)
    x = alt.X("x:Q", scale=alt.Scale(domain=[0, 1], nice=False), axis=axis)
    y = _rows_channel(len(contests))
    shades = (*SERIES[:5], SOFT, SERIES[5], INK)
    chosen = alt.Scale(domain=list(names.values()), range=list(shades[: len(kinds)]))
    colour = alt.Color("c:N", scale=chosen, legend=alt.Legend(symbolType="square", columns=3))
    layers = [
        layer_of("l").mark_text(align="left", dy=-17, color=INK, fontSize=12).encode(x=x, y=y, text="v:N"),
        layer_of("b").mark_bar(size=15, stroke=PAPER, strokeWidth=1).encode(x=x, x2="x2:Q", y=y, color=colour),
        layer_of("t").mark_text(color=PAPER, fontSize=11, fontWeight=600).encode(x=x, y=y, text="v:N"),
    ]
    told = [", ".join(f"{names[kind]} {100 * s:.0f} %" for kind, s in one.shares.items()) for one in contests]
    facts = [f"{label(one.title, TITLE_CUT)}: {words}" for one, words in zip(contests, told, strict=True)]
    return make_chart(
        Drawing(
            title="Where the engine’s time goes",
            caption="Shares of one pass under a profiler, in per cent where there is room; the table below holds all.",
            facts=facts,
            layers=layers,
            rows=rows,
            packed=("x", "x2", "y", "v"),
            height=PITCH * len(contests),
            margin=NARROW,
        ),
        "shares",
        render_inline,
        interactive=False,
    )


def draw_growth(growth: Growth, name: str) -> ChartView:
    """The cost of a run-step over one axis, a line for each way. name: unique on the page."""
    ways = [way for way in WAYS if way in growth.lines]
    rows: list[Row] = [
        {"k": "d", "c": way, "x": size, "y": cost}
        for way in ways
        for size, cost in zip(growth.sizes, growth.lines[way], strict=True)
    ]
    across, up = fit_log(growth.sizes), fit_log([c for line in growth.lines.values() for c in line], most=5)
    x = replace(across, ticks=tuple(growth.sizes)).x(label(growth.axis, 40), format=",~r", grid=False)
    y = up.y("ms a run-step")
    layers = [
        layer_of("d").mark_line(strokeWidth=2).encode(x=x, y=y, color=_colour(ways)),
        layer_of("d")
        .mark_point(size=55, filled=True, opacity=1)
        .encode(x=x, y=y, color=_colour(ways), shape=_shape(ways)),
    ]
    return make_chart(
        Drawing(
            title=f"Over {label(growth.axis, 40)}",
            caption=label(growth.around, 120),
            facts=[growth.sentence],
            layers=layers,
            rows=rows,
            height=190,
            margin=SMALL_PX,
        ),
        name,
        render_inline,
        interactive=False,
    )


def _rows_channel(rows: int) -> alt.Y:
    # From the top, with room above the first row for its name.
    return alt.Y("y:Q", scale=alt.Scale(domain=[rows - 0.6, -0.7], nice=False, zero=False), axis=None)


def _colour(ways: Sequence[str]) -> alt.Color:
    return alt.Color("c:N", scale=alt.Scale(domain=list(ways), range=[SHADES[way] for way in ways]))


def _shape(ways: Sequence[str]) -> alt.Shape:
    return alt.Shape("c:N", scale=alt.Scale(domain=list(ways), range=[SHAPES[way] for way in ways]))
