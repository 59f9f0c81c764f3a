"""Drawings of walks: how far the input moves for what the output does, and how orthogonal vectors are."""

from __future__ import annotations

import math
from functools import partial

import altair as alt

from engine.report.charts.channels import SHARE, Arms, Axis, fit_log, layer_of, tell
from engine.report.charts.drawing import Drawing
from engine.report.charts.panels import Panels, Row, in_every_panel, label, number, pick_evenly, read_numbers, trim
from engine.report.charts.strips import DotPlot, draw_dots
from engine.report.charts.theme import INK, SOFT
from engine.text import format_number

GAINS = (1.0, 10.0, 100.0)
"""No gain, and those that the document states for one inner step and for many."""

WALKS, WALKS_OF_A_CHART = 60, 400
"""The most walks of a group and of a chart that are drawn."""

SINGULAR_VALUES = 256
"""The most singular values of a walk that are drawn."""

PRECISIONS = Arms(names=("float32", "float64"))


def draw_walks(panels: Panels, arms: Arms) -> Drawing | None:
    """r of every walk against r of a random step as long, with lines of equal gain."""
    groups = panels.split("walk")
    most = max(4, min(WALKS, WALKS_OF_A_CHART // max(1, len(groups))))
    read = [
        (panel.name, walk, random, own)
        for panel, walk, found in groups
        for _, random, own in read_numbers(pick_evenly(found, most), "r of a random step", "r", read=number)
    ]
    if not read:
        return None
    across = fit_log([random for _, _, random, _ in read], most=4)
    up = fit_log([r for *_, random, own in read for r in (own, random)], most=5)
    rows: list[Row] = []
    gains: dict[tuple[str, str], list[float]] = {}
    for panel, walk, random, own in read:
        if random:
            gains.setdefault((panel, walk), []).append(own / random)
        words = format_number(own / random) if random else "—"
        rows.append({"p": panel, "a": walk, "k": "d", "x": across.place(random), "y": up.place(own), "v": words})
    lines: list[Row] = []
    for gain in GAINS:
        # The part of y = gain · x that lies within both axes, with its name at the upper end.
        left, right = max(across.low, up.low / gain), min(across.high, up.high / gain)
        if right > left * 1.02:
            for kind, end in (("r", left), ("r", right), ("t", right)):
                lines += in_every_panel(rows, f=f"× {gain:g}", k=kind, x=trim(end), y=trim(gain * end))
    x, y = across.x("r of a random step as long", grid=False), up.y("r of the walk", grid=False)
    colour, tips = arms.colour(rows, symbol="circle"), tell(a="walk", v="gain", y="r")
    layers = [
        layer_of("r").mark_line(color=SOFT, strokeWidth=1, strokeDash=[4, 3]).encode(x=x, y=y, detail="f:N"),
        layer_of("t").mark_text(color=SOFT, fontSize=11, align="right", dx=-3, dy=-5).encode(x=x, y=y, text="f:N"),
        layer_of("d").mark_circle(size=44, opacity=0.7).encode(x=x, y=y, color=colour, tooltip=tips),
    ]
    return Drawing(
        title="How far the input moves for what the output does",
        caption="r is the input’s distance over the output’s. A dot is a walk against a random step as long; on the "
        "dashed lines the walk gains nothing, 10 or 100 times.",
        facts=[
            f"{p}, {w}: median gain {format_number(sorted(found)[(len(found) - 1) // 2])} of {len(found)} walks"
            for (p, w), found in gains.items()
        ],
        layers=layers,
        rows=rows + lines,
        packed=("x", "y", "v"),
    )


def draw_tried(panels: Panels, arms: Arms) -> Drawing | None:
    """The gain of every setting that was tried, by its step size."""
    return _draw_settings(
        panels,
        arms,
        across=("step", "step size"),
        up=("median gain", "median gain"),
        caption="A dot is a setting tried on the tuning walks, hollow where some of them did not arrive. The ring is "
        "the one that was chosen.",
    )


def draw_tried_for_text(panels: Panels, arms: Arms) -> Drawing | None:
    """How much of the text every setting leaves, by how far it lets the output go."""
    return _draw_settings(
        panels,
        arms,
        across=("median largest ‖ΔO‖₁ / m", "largest output distance / bound (median)"),
        up=("mean recovery", "mean recovery"),
        caption="A dot is a setting that was tried. The ring is the one that was chosen: the lowest recovery left of "
        "the dashed line, where the output stays within its bound.",
        rule=1.0,
    )


def _draw_settings(
    panels: Panels, arms: Arms, *, across: tuple[str, str], up: tuple[str, str], caption: str, rule: float | None = None
) -> Drawing | None:
    """Settings as dots. across, up: a column, and the title of its axis. rule: where an upright line stands."""
    read = [
        (panel.name, walk, a, b, row)
        for panel, walk, found in panels.split("walk")
        for row, a, b in read_numbers(found, across[0], up[0], read=number)
    ]
    if not read:
        return None
    x_axis = fit_log([a for *_, a, _, _ in read], most=5, also=() if rule is None else (rule,))
    shares = up[0] == "mean recovery"
    y_axis = SHARE if shares else fit_log([b for *_, b, _ in read], most=5)
    rows: list[Row] = []
    facts: list[str] = []
    for panel, walk, a, b, row in read:
        noise, step, outer = (format_number(number(row[column])) for column in ("noise", "step", "outer steps"))
        filled = row["arrived"] == row["walks"] or rule is not None
        base: Row = {"p": panel, "a": walk, "x": x_axis.place(a), "y": y_axis.place(b)}
        words = f"noise {noise}, step {step}, {outer} outer steps"
        rows.append(base | {"k": "d" if filled else "o", "v": words})
        if row["chosen"] == "yes":
            rows.append(base | {"k": "c"})
            facts.append(f"{panel}, {walk}: {up[1]} {format_number(b)} chosen")
    x = x_axis.x(across[1], grid=False)
    y = y_axis.y(up[1], format=".0%" if shares else "~g")
    colour, tips = arms.colour(rows, symbol="circle"), tell(a="walk", v="setting", y=up[1])
    dot, hollow = (layer_of(kind).encode(x=x, y=y, color=colour, tooltip=tips) for kind in "do")
    layers = [
        dot.mark_circle(size=40, opacity=0.8),
        hollow.mark_point(size=34, strokeWidth=1.4, filled=False, opacity=0.8),
        layer_of("c").mark_point(size=170, strokeWidth=2, filled=False, color=INK, opacity=1).encode(x=x, y=y),
    ]
    lines: list[Row] = []
    if rule is not None:
        lines = in_every_panel(rows, k="r", x=rule)
        layers.insert(0, layer_of("r").mark_rule(color=INK, strokeDash=[4, 3]).encode(x=x))
    return Drawing(
        title="Settings tried",
        caption=caption,
        facts=facts,
        layers=layers,
        rows=rows + lines,
        packed=("x", "y", "v"),
    )


def _find_precision(name: str) -> str:
    return "float64" if name.endswith("float64") else "float32"


_PRECISION_PLOT = partial(DotPlot, fit=fit_log, shade=_find_precision)
"""A dot plot whose rows have the colour of their precision."""


def draw_orthogonality(panels: Panels, arms: Arms) -> Drawing | None:
    """|g·v| / (‖g‖‖v‖) of every walk at its start, by stack and precision."""
    plot = _PRECISION_PLOT(
        title="How far the vector is from orthogonal",
        caption="A dot is a walk, a bar the median of its stack: the largest |g·v| / (‖g‖‖v‖) over its tokens at "
        "the start.",
        axis="|g·v| / (‖g‖‖v‖)",
        group=("walk",),
        column="relative",
    )
    return draw_dots(panels, PRECISIONS, plot)


def draw_drift(panels: Panels, arms: Arms) -> Drawing | None:
    """d_o / d_i of every orthogonal walk, by stack."""
    plot = _PRECISION_PLOT(
        title="How far the output moves for what the input does",
        caption="A dot is a walk, a bar the median of its stack. Right of the dashed line the output moved farther "
        "than the input.",
        axis="d_o / d_i",
        group=("walk",),
        column="d_o / d_i",
        rules=(1.0,),
    )
    return draw_dots(panels, PRECISIONS, plot)


def draw_gradients(panels: Panels, arms: Arms) -> Drawing | None:
    """The largest relative difference between ways to one gradient, by stack and precision."""
    plot = _PRECISION_PLOT(
        title="How far three ways to one gradient differ",
        caption="A dot is a prompt, a bar the median: the largest difference of an element over the largest |g|. "
        "Dashed lines stand at 1e-12 and 1e-6.",
        axis="largest difference / max |g|",
        group=("stack", "dtype"),
        column="relative",
        rules=(1e-12, 1e-6),
    )
    return draw_dots(panels, PRECISIONS, plot)


def draw_singular(panels: Panels, arms: Arms) -> Drawing | None:
    """The singular values of first gradients by index."""
    groups = panels.split("walk")
    present = {(panel.name, walk) for panel, walk, _ in groups}
    read: list[tuple[str, str, str, float, float]] = []
    for panel, walk, found in groups:
        # float64 looks the same as float32: its line would only cover the other.
        if walk.endswith(", float64") and (panel.name, walk.removesuffix(", float64")) in present:
            continue
        chosen = pick_evenly(found, SINGULAR_VALUES)
        for row, index, value in read_numbers(chosen, "index", "singular value", read=number):
            if math.isfinite(index):
                read.append((panel.name, walk, label(row["run"], 12), index, value))
    if not read:
        return None
    up = fit_log([value for *_, value in read], most=6)
    last = max(index for *_, index, _ in read)
    across = Axis(low=0.7, high=last + 0.3, ticks=tuple(range(1, int(last) + 1, 1 + int(last) // 10)))
    rows: list[Row] = []
    values: dict[tuple[str, str], list[float]] = {}
    for panel, walk, run, index, value in read:
        rows.append({"p": panel, "a": walk, "r": run, "x": trim(index), "y": up.place(value)})
        values.setdefault((panel, walk), []).append(value)
    lines = alt.Chart().mark_line(strokeWidth=1.4, opacity=0.8)
    return Drawing(
        title="Singular values of the first gradient",
        caption="A line is one of the first few walks of its stack.",
        facts=[f"{p}, {w}: {format_number(min(v))} to {format_number(max(v))}" for (p, w), v in values.items()],
        layers=[
            lines.encode(
                x=across.x("index", grid=False),
                y=up.y("singular value"),
                color=arms.colour(rows),
                detail="r:N",
                tooltip=tell(a="walk", r="run"),
                **arms.dash(rows),
            )
        ],
        rows=rows,
    )
