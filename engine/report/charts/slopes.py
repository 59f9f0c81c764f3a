"""Slopes: a line for each run from one number to another, and one for their means."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import altair as alt

from engine.report.charts.descents import choose_runs
from engine.report.charts.drawing import Drawing
from engine.report.charts.panels import Panels, Row, finite, trim
from engine.report.charts.scales import SHARE
from engine.report.charts.strips import layer_of
from engine.report.charts.theme import INK, Arms
from engine.text import format_number

SLOPES_OF_A_PANEL, SLOPES_OF_A_CHART = 36, 64
"""The most thin lines that are drawn."""


def draw_repetition(panels: Panels, arms: Arms) -> Drawing | None:
    """The share of repeated tokens at the start and at the end of every run."""
    pairs = [
        (p.name, arm, [(finite(r["at the start"]), finite(r["at the end"])) for r in rows])
        for p, arm, rows in panels.split("arm")
    ]
    return draw_slopes(
        panels,
        arms,
        [(panel, arm, [(a, b) for a, b in found if a is not None and b is not None]) for panel, arm, found in pairs],
        stages=("start", "end"),
        title="Repetition at the start and at the end",
        axis="share of repeated tokens",
        caption="A thin line is a run from its start to its end, a thick one the mean of its arm.",
    )


Slopes = Sequence[tuple[str, str, Sequence[tuple[float, float]]]]


def draw_slopes(
    panels: Panels, arms: Arms, slopes: Slopes, *, stages: tuple[str, str], title: str, axis: str, caption: str
) -> Drawing | None:
    """A line for each pair from its first to its second number, and one for their means: (panel, arm, pairs)."""
    slopes = [(panel, arm, pairs) for panel, arm, pairs in slopes if pairs]
    if not slopes:
        return None
    most = max(1, min(SLOPES_OF_A_PANEL, SLOPES_OF_A_CHART // len(slopes)))
    rows: list[Row] = []
    facts: list[str] = []
    for panel, arm, pairs in slopes:
        means = fmean(a for a, _ in pairs), fmean(b for _, b in pairs)
        shown = [pairs[k] for k in choose_runs(len(pairs), most)]
        for k, (pair, kind) in enumerate([*((pair, "l") for pair in shown), (means, "m")]):
            base: Row = {"p": panel, "a": arm, "k": kind, "r": k}
            rows += [base | {"s": stage, "y": trim(value)} for stage, value in zip(stages, pair, strict=True)]
        words = f"{stages[0]} {format_number(means[0])}, {stages[1]} {format_number(means[1])}"
        facts.append(f"{panel}, {arm}: {words} over {len(pairs)}")
    drawn = dict.fromkeys(arm for _, arm, _ in slopes)
    x = alt.X("s:N", sort=list(stages), axis=alt.Axis(title=None, labelAngle=0, labelColor=INK, labelFontSize=12))
    y = alt.Y("y:Q", scale=SHARE.scale(), axis=SHARE.axis(axis, format=".0%"))
    colour = arms.colour(drawn)
    tips = [
        alt.Tooltip("a:N", title="arm"),
        alt.Tooltip("s:N", title="at"),
        alt.Tooltip("y:Q", format=".1%", title=axis),
    ]
    layers = [
        layer_of("l").mark_line(strokeWidth=1, opacity=0.28).encode(x=x, y=y, color=colour, detail="r:N"),
        layer_of("m").mark_line(strokeWidth=3).encode(x=x, y=y, color=colour, **arms.dash(drawn)),
        layer_of("m").mark_circle(size=70, opacity=1).encode(x=x, y=y, color=colour, tooltip=tips),
    ]
    return Drawing(
        title=title,
        caption=f"{caption} At most {most} of an arm are drawn." if any(len(p) > most for *_, p in slopes) else caption,
        facts=facts,
        panels=panels.keep(rows),
        layers=layers,
        rows=rows,
        packed=("s", "y"),
    )


def draw_decodings(panels: Panels, arms: Arms) -> Drawing | None:
    """Repetition of the greedy continuation and of the beam's, prompt by prompt."""
    slopes = [
        (
            panel.name,
            "prompts",
            [
                (a, b)
                for row in panel.rows
                if (a := finite(row["greedy"])) is not None and (b := finite(row["beam"])) is not None
            ],
        )
        for panel in panels.shown
    ]
    return draw_slopes(
        panels,
        Arms(names=("prompts",)),
        slopes,
        stages=("greedy", "beam"),
        title="Repetition, greedy and with beam search",
        axis="repeated 4-grams",
        caption="A thin line is a prompt, the thick one the mean.",
    )
