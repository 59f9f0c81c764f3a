"""Drawings along training: what each checkpoint comes to, and how much each part of a model changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median

from engine.report.charts.channels import SHARE, Arms, Axis, fit_log, fit_steps, layer_of, tell
from engine.report.charts.drawing import Drawing
from engine.report.charts.panels import Panels, Row, label, number, read_numbers, trim
from engine.text import format_number

SHARES = "recovery"
"""Readings that begin with this word are shares of tokens; others are above 0."""

Curves = dict[tuple[str, str], dict[str, dict[float, float]]]
"""The value at each step, of each seed, by panel and reading."""


def draw_growth(panels: Panels, arms: Arms) -> Drawing | None:
    """Iterations and other numbers above 0, checkpoint by checkpoint."""
    curves = _read(panels, "reading", "step", lambda reading: not reading.startswith(SHARES))
    if not curves:
        return None
    up = fit_log([value for seeds in curves.values() for points in seeds.values() for value in points.values()])
    title = " and ".join(dict.fromkeys(reading for _, reading in curves))
    return _draw(curves, up, f"{title[:1].upper()}{title[1:]}, along training", None, "checkpoint, steps of training")


def draw_recovery_along(panels: Panels, arms: Arms) -> Drawing | None:
    """Recovered tokens, checkpoint by checkpoint."""
    curves = _read(panels, "reading", "step", lambda reading: reading.startswith(SHARES))
    if not curves:
        return None
    return _draw(curves, SHARE, "Recovery along training", "tokens recovered", "checkpoint, steps of training")


def draw_updates(panels: Panels, arms: Arms) -> Drawing | None:
    """How much each part of a model changes in each window of training."""
    curves = _read(panels, "part", "until step", lambda part: part.startswith("block"))
    if not curves:
        return None
    up = fit_log([value for seeds in curves.values() for points in seeds.values() for value in points.values()])
    return _draw(curves, up, "Change of each block, along training", "relative change", "end of the window, steps")


def _read(panels: Panels, what: str, step: str, wanted: Callable[[str], bool]) -> Curves:
    column = "change" if what == "part" else "value"
    found: Curves = {}
    for panel, reading, rows in panels.split(what):
        if wanted(reading):
            for row, at in read_numbers(rows, step):
                if (value := number(row[column])) is not None and at >= 0:
                    seeds = found.setdefault((panel.name, reading), {})
                    seeds.setdefault(label(row["seed"]), {})[at] = value
    return found


def _draw(curves: Curves, up: Axis, title: str, axis: str | None, steps: str) -> Drawing:
    """A thin line for each seed, and a thick one for their median."""
    across = fit_steps([at for seeds in curves.values() for points in seeds.values() for at in points])
    arms = Arms(names=tuple(dict.fromkeys(reading for _, reading in curves)))
    rows: list[Row] = []
    facts: list[str] = []
    for (panel, reading), seeds in curves.items():
        for seed, points in seeds.items():
            for at, value in sorted(points.items()):
                base: Row = {"p": panel, "a": reading, "k": "l", "r": f"{reading} {seed}"}
                rows.append(base | {"x": across.place(at), "y": up.place(value), "i": trim(at), "v": seed})
        middle = {at: median(points[at] for points in seeds.values() if at in points) for at in _steps_of(seeds)}
        for at, value in middle.items():
            base = {"p": panel, "a": reading, "k": "m", "r": reading, "v": _say(value)}
            rows.append(base | {"x": across.place(at), "y": up.place(value), "i": trim(at)})
        first, last = min(middle), max(middle)
        words = f"{_say(middle[first])} at step {first:,.0f}, {_say(middle[last])} at step {last:,.0f}"
        facts.append(f"{panel}, {reading}: median {words} over {len(seeds)}")
    x, y, colour = across.x(steps, grid=False), up.y(axis), arms.colour(rows)
    tips = tell(a="reading", i="step", v="median")
    layers = [
        layer_of("l").mark_line(strokeWidth=1, opacity=0.35).encode(x=x, y=y, color=colour, detail="r:N"),
        layer_of("m").mark_line(strokeWidth=3).encode(x=x, y=y, color=colour, **arms.dash(rows)),
        layer_of("m").mark_circle(size=50, opacity=1).encode(x=x, y=y, color=colour, tooltip=tips),
    ]
    return Drawing(
        title=title,
        caption="A thin line is one training, which differs from the others by its seed; the thick one is their "
        "median. The axis of steps is logarithmic.",
        facts=facts,
        layers=layers,
        rows=rows,
        packed=("x", "y", "i", "v"),
    )


def _steps_of(seeds: dict[str, dict[float, float]]) -> list[float]:
    return sorted({at for points in seeds.values() for at in points})


def _say(value: float) -> str:
    return "beyond the cap" if math.isinf(value) else format_number(value)
