"""Drawings of walks: how far the input moves for what the output does, and how orthogonal vectors are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from engine.report.charts.drawing import Drawing
from engine.report.charts.panels import Panels, Row, finite, label, number, trim
from engine.report.charts.scales import SHARE, Scale, fit_log
from engine.report.charts.strips import DotPlot, draw_strips, layer_of
from engine.report.charts.theme import INK, SOFT, Arms
from engine.text import format_number

FACTORS = (1.0, 10.0, 100.0)
"""A gain of nothing, and those that the document has for one inner step and for many."""

WALKS, WALKS_OF_A_CHART = 60, 400
"""The most walks of a group and of a chart that are drawn."""

SINGULAR_POINTS = 64


def draw_walks(panels: Panels, arms: Arms) -> Drawing | None:
    """r of every walk against r of a random step as long, with lines of equal gain."""
    read: list[tuple[str, str, float, float]] = []
    groups = panels.split("walk")
    most = max(4, min(WALKS, WALKS_OF_A_CHART // max(1, len(groups))))
    for panel, walk, found in groups:
        pairs = [(number(r["r of a random step"]), number(r["r"])) for r in _thin(found, most)]
        read += [(panel.name, walk, a, b) for a, b in pairs if a is not None and b is not None]
    if not read:
        return None
    across = fit_log([a for *_, a, _ in read], most=4)
    up = fit_log([b for *_, b in read] + [a for *_, a, _ in read], most=5)
    rows: list[Row] = [
        {"p": p, "a": walk, "k": "d", "x": across.place(a), "y": up.place(b), "v": format_number(b / a) if a else "—"}
        for p, walk, a, b in read
    ]
    names = dict.fromkeys(p for p, *_ in read)
    rows += [row | {"p": name} for name in names for factor in FACTORS for row in _diagonal(factor, across, up)]
    drawn = dict.fromkeys(walk for _, walk, *_ in read)
    x = alt.X("x:Q", scale=across.scale(), axis=across.axis("r of a random step as long", grid=False))
    y = alt.Y("y:Q", scale=up.scale(), axis=up.axis("r of the walk", grid=False))
    tips = [alt.Tooltip("a:N", title="walk"), alt.Tooltip("v:N", title="gain"), alt.Tooltip("y:Q", title="r")]
    layers = [
        layer_of("r").mark_line(color=SOFT, strokeWidth=1, strokeDash=[4, 3]).encode(x=x, y=y, detail="f:N"),
        layer_of("t").mark_text(color=SOFT, fontSize=11, align="right", dx=-3, dy=-5).encode(x=x, y=y, text="f:N"),
        layer_of("d")
        .mark_circle(size=44, opacity=0.7)
        .encode(x=x, y=y, color=arms.colour(drawn, symbol="circle"), tooltip=tips),
    ]
    gains = {(p, w): sorted(b / a for q, v, a, b in read if (q, v) == (p, w) and a) for p, w, *_ in read}
    return Drawing(
        title="How far the input moves for what the output does",
        caption="r is the input’s distance over the output’s: a dot is a walk against a random step as long; dashed "
        "lines stand where the walk gains nothing, 10 or 100 times.",
        facts=[
            f"{p}, {w}: median gain {format_number(found[(len(found) - 1) // 2])} of {len(found)} walks"
            for (p, w), found in gains.items()
            if found
        ],
        panels=panels.keep(rows),
        layers=layers,
        rows=rows,
        packed=("x", "y", "v"),
    )


def _diagonal(factor: float, across: Scale, up: Scale) -> list[Row]:
    """The part of the line y = factor · x that lies within the axes, and its name at the upper end."""
    left, right = max(across.low, up.low / factor), min(across.high, up.high / factor)
    if right <= left * 1.02:
        return []
    name: Row = {"f": f"× {factor:g}"}
    ends: list[Row] = [name | {"k": "r", "x": trim(x), "y": trim(factor * x)} for x in (left, right)]
    return [*ends, name | {"k": "t", "x": ends[1]["x"], "y": ends[1]["y"]}]


def draw_tried(panels: Panels, arms: Arms) -> Drawing | None:
    """The gain of every setting that was tried, by its step size."""
    return _draw_settings(
        panels,
        arms,
        across=("step", "step size"),
        up=("median gain", "median gain"),
        caption="A dot is one of the settings tried on the tuning walks, hollow where not all of them arrived; the "
        "ring is the one that was taken.",
    )


def draw_tried_for_text(panels: Panels, arms: Arms) -> Drawing | None:
    """What every setting leaves of the text, by how far it let the output go."""
    return _draw_settings(
        panels,
        arms,
        across=("median largest ‖ΔO‖₁ / m", "largest output distance / bound (median)"),
        up=("mean recovery", "mean recovery"),
        caption="A dot is one of the settings tried; the ring is the one that was taken: the lowest recovery among "
        "those left of the dashed line, where the output stays within its bound.",
        rule=1.0,
    )


def _draw_settings(
    panels: Panels, arms: Arms, *, across: tuple[str, str], up: tuple[str, str], caption: str, rule: float | None = None
) -> Drawing | None:
    read = [
        (panel.name, walk, a, b, row)
        for panel, walk, found in panels.split("walk")
        for row in found
        if (a := number(row[across[0]])) is not None and (b := number(row[up[0]])) is not None
    ]
    if not read:
        return None
    x_scale = fit_log([a for *_, a, _, _ in read], most=5, also=() if rule is None else (rule,))
    y_scale = SHARE if up[0] == "mean recovery" else fit_log([b for *_, b, _ in read], most=5)
    rows: list[Row] = []
    for panel, walk, a, b, row in read:
        whole = row["arrived"] == row["walks"] or rule is not None
        base: Row = {"p": panel, "a": walk, "x": x_scale.place(a), "y": y_scale.place(b)}
        words = f"noise {_say(row['noise'])}, step {_say(row['step'])}, {_say(row['outer steps'])} outer steps"
        rows.append(base | {"k": "d" if whole else "o", "v": words})
        if row["chosen"] == "yes":
            rows.append(base | {"k": "c"})
    if rule is not None:
        rows.extend({"p": p, "k": "r", "x": rule} for p in dict.fromkeys(p for p, *_ in read))
    drawn = dict.fromkeys(walk for _, walk, *_ in read)
    x = alt.X("x:Q", scale=x_scale.scale(), axis=x_scale.axis(across[1], grid=False))
    y = alt.Y("y:Q", scale=y_scale.scale(), axis=y_scale.axis(up[1], format=".0%" if y_scale is SHARE else "~g"))
    channels: dict[str, Any] = {"x": x, "y": y, "color": arms.colour(drawn, symbol="circle")}
    tips = [alt.Tooltip("a:N", title="walk"), alt.Tooltip("v:N", title="setting"), alt.Tooltip("y:Q", title=up[1])]
    layers = [
        *([layer_of("r").mark_rule(color=INK, strokeDash=[4, 3]).encode(x=x)] if rule is not None else []),
        layer_of("d").mark_circle(size=40, opacity=0.8).encode(**channels, tooltip=tips),
        layer_of("o").mark_point(size=34, strokeWidth=1.4, filled=False, opacity=0.8).encode(**channels, tooltip=tips),
        layer_of("c").mark_point(size=170, strokeWidth=2, filled=False, color=INK, opacity=1).encode(x=x, y=y),
    ]
    return Drawing(
        title="Settings tried",
        caption=caption,
        facts=[f"{p}, {w}: {up[1]} {format_number(b)} taken" for p, w, _, b, row in read if row["chosen"] == "yes"],
        panels=panels.keep(rows),
        layers=layers,
        rows=rows,
        packed=("x", "y", "v"),
    )


def _say(cell: object) -> str:
    return format_number(number(cell))


def draw_orthogonality(panels: Panels, arms: Arms) -> Drawing | None:
    """|g·v| / (‖g‖‖v‖) of every walk at its start, by stack and precision."""
    strip = DotPlot(
        title="How far the vector is from orthogonal",
        caption="A dot is a walk, a bar the median of its stack: the largest |g·v| / (‖g‖‖v‖) over its tokens at "
        "the start.",
        axis="|g·v| / (‖g‖‖v‖)",
        group=("walk",),
        column="relative",
        fit=fit_log,
        shade=_precision,
    )
    return draw_strips(panels, PRECISIONS, strip)


def draw_drift(panels: Panels, arms: Arms) -> Drawing | None:
    """d_o / d_i of every orthogonal walk, by stack."""
    strip = DotPlot(
        title="How far the output moves for what the input does",
        caption="A dot is a walk, a bar the median of its stack; right of the dashed line the output moved farther "
        "than the input.",
        axis="d_o / d_i",
        group=("walk",),
        column="d_o / d_i",
        fit=fit_log,
        shade=_precision,
        rules=(1.0,),
    )
    return draw_strips(panels, PRECISIONS, strip)


def draw_gradients(panels: Panels, arms: Arms) -> Drawing | None:
    """The largest relative difference between ways to one gradient, by stack and precision."""
    strip = DotPlot(
        title="How far three ways to one gradient differ",
        caption="A dot is a prompt, a bar the median: the largest difference of an element over the largest |g|; "
        "dashed lines stand at 1e-12 and 1e-6.",
        axis="largest difference / max |g|",
        group=("stack", "dtype"),
        column="relative",
        fit=fit_log,
        shade=_precision,
        rules=(1e-12, 1e-6),
    )
    return draw_strips(panels, PRECISIONS, strip)


PRECISIONS = Arms(names=("float32", "float64"))


def _precision(name: str) -> str:
    return "float64" if name.endswith("float64") else "float32"


def draw_singular(panels: Panels, arms: Arms) -> Drawing | None:
    """The singular values of first gradients by index."""
    read: list[tuple[str, str, str, float, float]] = []
    groups = panels.split("walk")
    # Both precisions have the same values to the eye: a second line would lie on the first.
    known = {(panel.name, walk) for panel, walk, _ in groups}
    for panel, walk, found in groups:
        if (panel.name, walk.removesuffix(", float64")) in known - {(panel.name, walk)}:
            continue
        for row in _thin(found, SINGULAR_POINTS * 4):
            index, value = finite(row["index"]), number(row["singular value"])
            if index is not None and value is not None:
                read.append((panel.name, walk, label(row["run"], 12), index, value))
    if not read:
        return None
    up = fit_log([v for *_, v in read], most=6)
    last = max(index for *_, index, _ in read)
    across = Scale(low=0.7, high=last + 0.3, ticks=tuple(range(1, int(last) + 1, 1 + int(last) // 10)))
    rows: list[Row] = [
        {"p": p, "a": walk, "r": run, "x": trim(index), "y": up.place(value)} for p, walk, run, index, value in read
    ]
    drawn = dict.fromkeys(walk for _, walk, *_ in read)
    x = alt.X("x:Q", scale=across.scale(), axis=across.axis("index", grid=False))
    y = alt.Y("y:Q", scale=up.scale(), axis=up.axis("singular value"))
    tips = [alt.Tooltip("a:N", title="walk"), alt.Tooltip("r:N", title="run")]
    lines = alt.Chart().mark_line(strokeWidth=1.4, opacity=0.8)
    channels: dict[str, Any] = {"x": x, "y": y, "color": arms.colour(drawn), "detail": "r:N", "tooltip": tips}
    return Drawing(
        title="Singular values of the first gradient",
        caption="A line is one of the first few walks of its stack.",
        facts=[f"{p}, {w}: {_span(read, p, w)}" for p, w in dict.fromkeys((p, w) for p, w, *_ in read)],
        panels=panels.keep(rows),
        layers=[lines.encode(**channels, **arms.dash(drawn))],
        rows=rows,
    )


def _span(read: Sequence[tuple[str, str, str, float, float]], panel: str, walk: str) -> str:
    values = [v for p, w, _, _, v in read if (p, w) == (panel, walk)]
    return f"{format_number(min(values))} to {format_number(max(values))}"


def _thin(rows: Sequence[Row], most: int) -> Sequence[Row]:
    return rows if len(rows) <= most else [rows[round(k * (len(rows) - 1) / (most - 1))] for k in range(most)]
