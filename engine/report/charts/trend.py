"""The estimate of an item over the runs of the suite."""

from __future__ import annotations

import math
from collections.abc import Sequence

import altair as alt

from engine.records import Table
from engine.report.charts.drawing import Drawing
from engine.report.charts.panels import PANELS, Panel, Panels, Row, label, number, read_rows, trim
from engine.report.charts.strips import layer_of
from engine.report.charts.theme import SOFT
from engine.report.history import read_moment
from engine.text import format_number

SESSIONS = 40
"""The latest runs that are drawn."""

RULINGS = {
    "supported": ("var(--supported)", "circle"),
    "partly supported": ("var(--partly)", "diamond"),
    "refuted": ("var(--refuted)", "triangle-down"),
    "inconclusive": ("var(--inconclusive)", "square"),
}
"""Each verdict's colour and shape: no verdict is told by colour alone."""


def draw_trend(table: Table) -> Drawing | None:
    """An estimate over the runs of the suite, item by item."""
    asked = ("item", "began", "estimate", "value", "low", "high", "ruling")
    if not set(asked) <= set(table.columns):
        return None
    groups: dict[str, list[Row]] = {}
    for row in read_rows(table):
        if number(row["value"]) is not None:
            groups.setdefault(f"{label(row['item'], 44)}", []).append(row)
    moments = {str(row["began"]) for found in groups.values() for row in found}
    runs = {began: k for k, began in enumerate(sorted(moments, key=lambda m: (read_moment(m), m))[-SESSIONS:], 1)}
    panels: list[Panel] = []
    rows: list[Row] = []
    facts: list[str] = []
    for name, found in list(groups.items())[:PANELS]:
        panels.append(Panel(name=name, columns=table.columns, rows=()))
        latest = sorted((row for row in found if str(row["began"]) in runs), key=lambda row: runs[str(row["began"])])
        for row in latest:
            value, ends = number(row["value"]), [number(row[c]) for c in ("low", "high")]
            words = f"{label(row['estimate'])} {format_number(value)}, {label(row['began'], 20)}"
            if value is not None and math.isfinite(value):
                low, high = (trim(e if e is not None and math.isfinite(e) else value) for e in ends)
                base: Row = {"p": name, "c": label(row["ruling"], 30), "k": "d"}
                rows.append(base | {"x": runs[str(row["began"])], "y": trim(value), "lo": low, "hi": high, "v": words})
        if latest:
            facts.append(f"{name}: {len(found)} runs, now {format_number(number(latest[-1]['value']))}")
    if not rows:
        return None
    return Drawing(
        title="The estimate, run after run",
        caption="A mark is one run of the suite, oldest first, with its 95 % interval where that is finite; each panel "
        "has its own axis.",
        facts=facts,
        panels=Panels(shown=tuple(panels), left=max(0, len(groups) - PANELS)).keep(rows),
        layers=_trend_layers(rows),
        rows=rows,
        packed=("x", "y", "lo", "hi", "v"),
        own_scales=True,
    )


def _trend_layers(rows: Sequence[Row]) -> list[alt.Chart]:
    seen = list(dict.fromkeys(str(row["c"]) for row in rows))
    shades, shapes = zip(*(RULINGS.get(word, (SOFT, "stroke")) for word in seen), strict=True)
    colour = alt.Color("c:N", scale=alt.Scale(domain=seen, range=list(shades)))
    shape = alt.Shape("c:N", scale=alt.Scale(domain=seen, range=list(shapes)))
    x = alt.X(
        "x:Q",
        scale=alt.Scale(nice=False, zero=False, padding=14),
        axis=alt.Axis(title="run", tickMinStep=1, grid=False),
    )
    y, ends = (
        alt.Y(f"{field}:Q", scale=alt.Scale(zero=False, padding=8), axis=alt.Axis(title=None, tickCount=4))
        for field in ("y", "lo")
    )
    tips = [alt.Tooltip("v:N", title="estimate"), alt.Tooltip("c:N", title="verdict")]
    return [
        layer_of("d").mark_line(color=SOFT, strokeWidth=1, opacity=0.6).encode(x=x, y=y),
        layer_of("d").mark_rule(strokeWidth=2, opacity=0.7).encode(x=x, y=ends, y2="hi:Q", color=colour),
        layer_of("d")
        .mark_point(size=70, opacity=1, filled=True)
        .encode(x=x, y=y, color=colour, shape=shape, tooltip=tips),
    ]
