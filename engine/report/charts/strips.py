"""Strips: a row for each group of runs, a dot for each run, a bar at the middle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

import altair as alt

from engine.report.charts.drawing import Drawing
from engine.report.charts.panels import Panel, Panels, Row, number
from engine.report.charts.scales import Scale
from engine.report.charts.theme import INK, LINE, SOFT, Arms
from engine.text import format_number

STEP = 24
"""Pixels of a row."""

DOTS, DOTS_OF_A_CHART = 48, 400
"""The most dots of a row and of a chart: of more runs every so many are drawn, the ends among them."""

_BINS = 64
"""Dots nearer than the axis over this are stacked."""


@dataclass(frozen=True, kw_only=True)
class DotPlot:
    """How a column is shown.

    group: columns that name a row. fit: the axis. shade: the arm in whose colour a row is drawn, by its name; with it
    the chart has a legend. middle: what the bar is. rules: values at which a line stands. format: of the axis.
    """

    title: str
    caption: str
    axis: str
    group: tuple[str, ...]
    column: str
    fit: Callable[[Sequence[float]], Scale]
    middle: Literal["mean", "median"] = "median"
    shade: Callable[[str], str] | None = None
    rules: tuple[float, ...] = ()
    format: str = "~g"


def draw_strips(panels: Panels, arms: Arms, strip: DotPlot, bands: Sequence[Row] = ()) -> Drawing | None:
    """A row for each group of each panel; None where nothing is to be drawn.

    bands: rows with a panel 'p', 'lo', 'mid' and 'hi', drawn behind the dots.
    """
    read = [
        (panel.name, name, values)
        for panel, name, rows in panels.split(*strip.group)
        if (values := [v for row in rows if (v := number(row[strip.column])) is not None])
    ]
    if not read:
        return None
    if not bands and strip.shade is None:
        panels, read = _fold(panels, read)
    edges = [number(band[k]) for band in bands for k in ("lo", "hi")]
    scale = strip.fit([v for *_, found in read for v in found] + [*strip.rules] + [e for e in edges if e is not None])
    most = max(5, min(DOTS, DOTS_OF_A_CHART // len(read)))
    rows: list[Row] = []
    facts: list[str] = []
    for panel, name, found in read:
        centre = fmean(found) if strip.middle == "mean" else median(found)
        arm = name if name in arms.names else panel
        base: Row = {"p": panel, "g": name, "a": strip.shade(name) if strip.shade else arm}
        rows += [base | {"k": "d"} | dot for dot in _dots(found, scale, most)]
        rows.append(base | {"k": "m", "x": scale.place(centre), "o": 0, "v": format_number(centre)})
        facts.append(f"{panel}, {name}: {strip.middle} {format_number(centre)} over {len(found)}")
    names = list(dict.fromkeys(name for _, name, _ in read))
    kept = panels.keep(rows)
    lines: list[Row] = [{"p": p.name, "k": "r", "x": scale.place(v)} for p in kept.shown for v in strip.rules]
    for band in bands:
        ends = {
            f: scale.place(v) for f, k in (("x", "lo"), ("v", "hi"), ("o", "mid")) if (v := number(band[k])) is not None
        }
        lines.append({"p": band["p"], "k": "b"} | ends)
    return Drawing(
        title=strip.title,
        caption=strip.caption,
        facts=facts,
        panels=kept,
        layers=_layers(strip, arms, scale, names, rows, lines),
        rows=rows + lines,
        packed=("x", "o", "v"),
        height=STEP * len(names) + 6,
        margin=label_margin(names),
    )


Read = list[tuple[str, str, list[float]]]
"""Panel, row, values."""


def _fold(panels: Panels, read: Read) -> tuple[Panels, Read]:
    """One panel with a row for each subject and protocol, where each of theirs would have held the same one row."""
    names = {name for _, name, _ in read}
    if len(names) != 1 or len(read) == 1:
        return panels, read
    (only_row,) = names
    whole = Panel(name=only_row, columns=(), rows=())
    return Panels(shown=(whole,), left=panels.left), [(only_row, panel, values) for panel, _, values in read]


def label_margin(names: Sequence[str]) -> float:
    """Pixels that the longest of these takes on the left beyond an axis of numbers, within the limit of labels."""
    return max(0.0, min(190.0, 6.4 * max(map(len, names))) - 40)


def _dots(found: Sequence[float], scale: Scale, most: int) -> list[Row]:
    """Where each dot of a row lies: 'x' along the axis, 'o' away from the row's middle where several meet."""
    ordered = sorted(found)
    if len(ordered) > most:
        ordered = [ordered[round(k * (len(ordered) - 1) / (most - 1))] for k in range(most)]
    bins: dict[int, list[float]] = {}
    for value in ordered:
        bins.setdefault(round(scale.share(value) * _BINS), []).append(value)
    reach = min(0.3, 1.6 / max(map(len, bins.values())))
    return [
        {"x": scale.place(value), "o": round((k - (len(met) - 1) / 2) * reach, 3), "v": format_number(value)}
        for met in bins.values()
        for k, value in enumerate(met)
    ]


def _layers(
    strip: DotPlot, arms: Arms, scale: Scale, names: list[str], rows: Sequence[Row], lines: Sequence[Row]
) -> list[alt.Chart]:
    drawn = dict.fromkeys(str(row["a"]) for row in rows)
    x, middle = (
        alt.X(f"{field}:Q", scale=scale.scale(), axis=scale.axis(strip.axis, format=strip.format)) for field in "xo"
    )
    y = alt.Y("g:N", sort=names, title=None, axis=alt.Axis(labelColor=INK, labelFontSize=12, grid=False))
    offset = alt.YOffset("o:Q", scale=alt.Scale(domain=[-1, 1]))
    colour = arms.colour(drawn, symbol="circle" if strip.shade else None)
    name = alt.Tooltip("g:N", title="row")
    layers: list[alt.Chart] = []
    if any(line["k"] == "b" for line in lines):
        layers.append(layer_of("b").mark_rect(color=LINE, opacity=0.55).encode(x=x, x2="v:Q"))
        layers.append(layer_of("b").mark_rule(color=SOFT, strokeDash=[2, 2]).encode(x=middle))
    if any(line["k"] == "r" for line in lines):
        layers.append(layer_of("r").mark_rule(color=SOFT, strokeDash=[4, 3]).encode(x=x))
    dots = layer_of("d").mark_circle(size=28, opacity=0.6)
    bars = layer_of("m").mark_tick(thickness=2.5, size=STEP * 0.7, color=INK)
    layers.append(
        dots.encode(x=x, y=y, yOffset=offset, color=colour, tooltip=[name, alt.Tooltip("v:N", title="value")])
    )
    layers.append(bars.encode(x=x, y=y, tooltip=[name, alt.Tooltip("v:N", title=strip.middle)]))
    return layers


def layer_of(kind: str) -> alt.Chart:
    """A layer of the rows whose field 'k' is this."""
    return alt.Chart().transform_filter(alt.FieldEqualPredicate(field="k", equal=kind))
