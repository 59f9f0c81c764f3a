"""Searches side by side: how many prompts each recovers, what that costs, and how far wrong tokens lie."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import altair as alt

from engine.report.charts.drawing import Drawing
from engine.report.charts.panels import PANELS, Panel, Panels, Row, finite, label, number, trim
from engine.report.charts.scales import Scale, fit_log
from engine.report.charts.strips import STEP, DotPlot, draw_strips, label_margin, layer_of
from engine.report.charts.theme import INK, SERIES, SOFT, Arms
from engine.text import format_number

SHARES = Scale(low=-0.03, high=1.95, ticks=(0, 0.5, 1))
"""An axis for shares, with room for words on its right."""

LADDER_ROWS = 14
"""The most searches of a panel."""


def draw_searches(panels: Panels, arms: Arms) -> Drawing | None:
    """Exact rate with its interval and mean recovery, search by search, with the cost of a token beside them."""
    rows: list[Row] = []
    facts: list[str] = []
    kept: list[Panel] = []
    names: dict[str, None] = {}
    for panel, found in _group(panels):
        if len(kept) == PANELS:
            break
        kept.append(panel)
        for row in found[:LADDER_ROWS]:
            rate, low, high = (finite(row[k]) for k in ("exact rate", "low", "high"))
            if rate is None or low is None or high is None:
                continue
            name = label(row["search"], 32)
            names[name] = None
            base: Row = {"p": panel.name, "g": name}
            rows.append(base | {"k": "i", "x": trim(low), "v": trim(high)})
            rows.append(base | {"k": "d", "x": trim(rate), "v": _count(row)})
            if (share := finite(row["mean recovery"])) is not None:
                rows.append(base | {"k": "r", "x": trim(share), "v": format_number(share)})
            rows.append(base | {"k": "t", "x": 1.08, "v": _price(row)})
            facts.append(f"{panel.name}, {name}: {_count(row)} exact")
    if not rows:
        return None
    return Drawing(
        title="Prompts recovered token for token, and what a token cost",
        caption="A dot with its 95 % interval is the share of prompts recovered exactly, a tick the mean share of "
        "their tokens. Beside it: seconds, descent steps and median checks of candidates a token.",
        facts=facts,
        panels=Panels(shown=tuple(kept), left=panels.left),
        layers=_layers(list(names)),
        rows=rows,
        packed=("x", "v"),
        height=STEP * max(1, max(_count_names(rows).values())) + 6,
        margin=label_margin(list(names)),
    )


def _group(panels: Panels) -> list[tuple[Panel, list[Row]]]:
    """A panel for each subject and group of searches; those that are their own group share one."""
    found: list[tuple[Panel, list[Row]]] = []
    for panel in panels.shown:
        groups: dict[str, list[Row]] = {}
        for row in panel.rows:
            own = row["group"] == row["search"]
            groups.setdefault("" if own else label(row["group"], 40), []).append(row)
        for name, rows in groups.items():
            whole = f"{panel.name} · {name}" if name else panel.name
            found.append((Panel(name=whole, columns=panel.columns, rows=()), rows))
    return found


def _count_names(rows: Sequence[Row]) -> dict[object, int]:
    """Searches of each panel."""
    named: dict[object, set[object]] = {}
    for row in rows:
        named.setdefault(row["p"], set()).add(row["g"])
    return {panel: len(names) for panel, names in named.items()}


def _count(row: Row) -> str:
    rate, prompts = finite(row["exact rate"]), finite(row["prompts"])
    if rate is None or prompts is None:
        return "?"
    return f"{round(rate * prompts)} of {round(prompts)}"


def _price(row: Row) -> str:
    """What a token cost, in words that fit beside a dot."""
    units = (("descent steps a token", " steps"), ("median checks a token", " checks"))
    known = [(finite(row[column]), unit) for column, unit in units]
    counts = [f"{value:,.0f}{unit}" for value, unit in known if value]
    return " · ".join([*_time(finite(row["seconds a token"])), *counts])


def _time(seconds: float | None) -> list[str]:
    # A drawing keeps one digit behind the point, in texts too.
    if not seconds:
        return []
    return [f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"]


def _layers(names: list[str]) -> list[alt.Chart]:
    axis = SHARES.axis("share of prompts; tick: of tokens", format=".0%")
    x = alt.X("x:Q", scale=SHARES.scale(), axis=axis)
    y = alt.Y("g:N", sort=names, title=None, axis=alt.Axis(labelColor=INK, labelFontSize=12, grid=False))
    tips = [alt.Tooltip("g:N", title="search"), alt.Tooltip("v:N", title="recovered")]
    return [
        layer_of("i").mark_rule(color=SERIES[0], strokeWidth=2).encode(x=x, x2="v:Q", y=y),
        layer_of("r").mark_tick(color=SOFT, thickness=2, size=STEP * 0.6).encode(x=x, y=y, tooltip=tips),
        layer_of("d").mark_circle(color=SERIES[0], size=70, opacity=1).encode(x=x, y=y, tooltip=tips),
        layer_of("t").mark_text(align="left", fontSize=11, color=SOFT).encode(x=x, y=y, text="v:N"),
    ]


def draw_margins(panels: Panels, arms: Arms) -> Drawing | None:
    """How far the nearest other token of the vocabulary lies, position by position, beside the noise."""
    limits = [value for panel in panels.shown for row in panel.rows if (value := number(row["ε"])) is not None]
    strip = DotPlot(
        title="The nearest wrong token of the whole vocabulary",
        caption="A dot is a position: how far the activations of the nearest other token lie from those seen, relative "
        "to their size, or in steps of the rounding where they were rounded. The dashed line is the distance up to "
        "which activations count as equal (ε, the median).",
        axis="distance of activations",
        group=("search",),
        column="its distance",
        fit=fit_log,
        rules=(median(limits),) if limits else (),
    )
    return draw_strips(panels, arms, strip)
