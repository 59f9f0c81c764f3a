"""Dot plots: a row for each group of runs, with a dot for each run and a bar at the mean or median."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

import altair as alt

from engine.report.charts.channels import Arms, Axis, layer_of, name_rows, tell
from engine.report.charts.drawing import Drawing
from engine.report.charts.panels import Panels, Row, in_every_panel, number, pick_evenly, read_numbers
from engine.report.charts.theme import INK, LINE, SOFT
from engine.text import format_number

ROW_PX = 24

DOTS, DOTS_OF_A_CHART = 48, 400
"""The most dots of a row and of a chart. Of more runs an even selection is drawn, with both ends."""

BINS = 64
"""Parts of an axis. Dots in the same part are spread across their row."""


@dataclass(frozen=True, kw_only=True)
class DotPlot:
    """How a column is drawn.

    axis: its title. group: columns whose labels name a row. fit: makes the axis. bar: what stands at its place.
    shade: names the arm in whose colour a row is drawn, by the row's name; adds a legend. rules: values with a dashed
    line. format: of numbers on the axis.
    """

    title: str
    caption: str
    axis: str
    group: tuple[str, ...]
    column: str
    fit: Callable[[Sequence[float]], Axis]
    bar: Literal["mean", "median"] = "median"
    shade: Callable[[str], str] | None = None
    rules: tuple[float, ...] = ()
    format: str = "~g"


def draw_dots(panels: Panels, arms: Arms, plot: DotPlot, bands: Sequence[Row] = ()) -> Drawing | None:
    """A row for each group of each panel; None where there are no numbers.

    bands: rows with a panel 'p' and its 'lo', 'mid' and 'hi', drawn behind the dots.
    """
    groups = [
        (panel.name, name, [value for _, value in read_numbers(rows, plot.column, read=number)])
        for panel, name, rows in panels.split(*plot.group)
    ]
    groups = [group for group in groups if group[2]]
    if not groups:
        return None
    only = {name for _, name, _ in groups}
    if len(only) == 1 < len(groups) and not bands and plot.shade is None:
        # Every panel would hold the same single row: one panel with a row for each subject and protocol says more.
        groups = [(name, panel, values) for panel, name, values in groups]
    ends = [v for band in bands for k in ("lo", "hi") if (v := number(band[k])) is not None]
    axis = plot.fit([*(v for *_, values in groups for v in values), *plot.rules, *ends])
    most = max(5, min(DOTS, DOTS_OF_A_CHART // len(groups)))
    rows: list[Row] = []
    facts: list[str] = []
    for panel, name, values in groups:
        centre = fmean(values) if plot.bar == "mean" else median(values)
        arm = name if name in arms.names else panel
        base: Row = {"p": panel, "g": name, "a": plot.shade(name) if plot.shade else arm}
        rows += [base | {"k": "d"} | dot for dot in _spread_dots(values, axis, most)]
        rows.append(base | {"k": "m", "x": axis.place(centre), "o": 0, "v": format_number(centre)})
        facts.append(f"{panel}, {name}: {plot.bar} {format_number(centre)} over {len(values)}")
    names = list(dict.fromkeys(name for _, name, _ in groups))
    lines = [line for rule in plot.rules for line in in_every_panel(rows, k="r", x=axis.place(rule))]
    for band in (band for band in bands if any(row["p"] == band["p"] for row in rows)):
        places = {field: number(band[k]) for field, k in (("x", "lo"), ("v", "hi"), ("o", "mid"))}
        lines.append({"p": band["p"], "k": "b"} | {f: axis.place(v) for f, v in places.items() if v is not None})

    x, y = axis.x(plot.axis, format=plot.format), name_rows(names)
    layers: list[alt.Chart] = []
    if bands:
        band = layer_of("b")
        layers.append(band.mark_rect(color=LINE, opacity=0.55).encode(x=x, x2="v:Q"))
        middle = axis.x(plot.axis, "o", format=plot.format)
        layers.append(band.mark_rule(color=SOFT, strokeDash=[2, 2]).encode(x=middle))
    if plot.rules:
        layers.append(layer_of("r").mark_rule(color=SOFT, strokeDash=[4, 3]).encode(x=x))
    layers += [
        layer_of("d")
        .mark_circle(size=28, opacity=0.6)
        .encode(
            x=x,
            y=y,
            yOffset=alt.YOffset("o:Q", scale=alt.Scale(domain=[-1, 1])),
            color=arms.colour(rows, symbol="circle" if plot.shade else None),
            tooltip=tell(g="row", v="value"),
        ),
        layer_of("m")
        .mark_tick(thickness=2.5, size=ROW_PX * 0.7, color=INK)
        .encode(x=x, y=y, tooltip=tell(g="row", v=plot.bar)),
    ]
    return Drawing(
        title=plot.title,
        caption=plot.caption,
        facts=facts,
        layers=layers,
        rows=rows + lines,
        packed=("x", "o", "v"),
        height=ROW_PX * len(names) + 6,
        margin=label_margin(names),
    )


def _spread_dots(values: Sequence[float], axis: Axis, most: int) -> list[Row]:
    """The dots of a row: 'x' along the axis, and 'o' across the row where several would cover each other."""
    bins: dict[int, list[float]] = {}
    for value in pick_evenly(sorted(values), most):
        bins.setdefault(round(axis.share(value) * BINS), []).append(value)
    step = min(0.3, 1.6 / max(map(len, bins.values())))
    return [
        {"x": axis.place(value), "o": round((k - (len(together) - 1) / 2) * step, 3), "v": format_number(value)}
        for together in bins.values()
        for k, value in enumerate(together)
    ]


def label_margin(names: Sequence[str]) -> float:
    """Pixels that the longest name needs on the left beyond the labels of an axis of numbers, up to a limit."""
    return max(0.0, min(190.0, 6.4 * max(map(len, names))) - 40)
