"""Lines from one number to the next: of runs and prompts from before to after, of an estimate from run to run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

import altair as alt

from engine.records import Table
from engine.report.charts.channels import SHARE, Arms, layer_of, tell
from engine.report.charts.descents import choose_runs
from engine.report.charts.drawing import Drawing
from engine.report.charts.panels import PANELS, Panels, Row, label, number, read_numbers, read_rows, trim
from engine.report.charts.theme import INK, SOFT
from engine.report.history import read_moment
from engine.text import format_number

SLOPES_OF_A_PANEL, SLOPES_OF_A_CHART = 36, 64
"""The most thin lines that are drawn."""

SESSIONS = 40
"""The most runs of the suite that are drawn: the latest ones."""

VERDICTS = {
    "supported": ("var(--supported)", "circle"),
    "partly supported": ("var(--partly)", "diamond"),
    "refuted": ("var(--refuted)", "triangle-down"),
    "inconclusive": ("var(--inconclusive)", "square"),
}
"""The colour and shape of each verdict, so that colour alone never tells them apart."""

Slopes = Sequence[tuple[str, str, Sequence[tuple[float, float]]]]
"""Panel, arm, and a pair of numbers for each run."""


def draw_repetition(panels: Panels, arms: Arms) -> Drawing | None:
    """The share of repeated tokens at the start and at the end of every run."""
    return draw_slopes(
        [
            (panel.name, arm, [(a, b) for _, a, b in read_numbers(rows, "at the start", "at the end")])
            for panel, arm, rows in panels.split("arm")
        ],
        arms,
        stages=("start", "end"),
        title="Repetition at the start and at the end",
        axis="share of repeated tokens",
        caption="A thin line is a run from its start to its end, a thick one the mean of its arm.",
    )


def draw_decodings(panels: Panels, arms: Arms) -> Drawing | None:
    """The repetition of the greedy continuation and of beam search, prompt by prompt."""
    return draw_slopes(
        [
            (panel.name, "prompts", [(a, b) for _, a, b in read_numbers(panel.rows, "greedy", "beam")])
            for panel in panels.shown
        ],
        Arms(names=("prompts",)),
        stages=("greedy", "beam"),
        title="Repetition, greedy and with beam search",
        axis="repeated 4-grams",
        caption="A thin line is a prompt, the thick one the mean.",
    )


def draw_slopes(
    slopes: Slopes, arms: Arms, *, stages: tuple[str, str], title: str, axis: str, caption: str
) -> Drawing | None:
    """A thin line from the first to the second number of each pair, and a thick one for their means."""
    slopes = [(panel, arm, pairs) for panel, arm, pairs in slopes if pairs]
    if not slopes:
        return None
    most = max(1, min(SLOPES_OF_A_PANEL, SLOPES_OF_A_CHART // len(slopes)))
    rows: list[Row] = []
    facts: list[str] = []
    for panel, arm, pairs in slopes:
        means = fmean(a for a, _ in pairs), fmean(b for _, b in pairs)
        lines = [(pairs[k], "l") for k in choose_runs(len(pairs), most)]
        for k, (pair, kind) in enumerate([*lines, (means, "m")]):
            base: Row = {"p": panel, "a": arm, "k": kind, "r": k}
            rows += [base | {"s": stage, "y": trim(value)} for stage, value in zip(stages, pair, strict=True)]
        words = f"{stages[0]} {format_number(means[0])}, {stages[1]} {format_number(means[1])}"
        facts.append(f"{panel}, {arm}: {words} over {len(pairs)}")
    if any(len(pairs) > most for *_, pairs in slopes):
        caption = f"{caption} At most {most} of an arm are drawn."
    x = alt.X("s:N", sort=list(stages), axis=alt.Axis(title=None, labelAngle=0, labelColor=INK, labelFontSize=12))
    y, colour = SHARE.y(axis, format=".0%"), arms.colour(rows)
    tips = tell(a="arm", s="at", y=(axis, ".1%"))
    layers = [
        layer_of("l").mark_line(strokeWidth=1, opacity=0.28).encode(x=x, y=y, color=colour, detail="r:N"),
        layer_of("m").mark_line(strokeWidth=3).encode(x=x, y=y, color=colour, **arms.dash(rows)),
        layer_of("m").mark_circle(size=70, opacity=1).encode(x=x, y=y, color=colour, tooltip=tips),
    ]
    return Drawing(title=title, caption=caption, facts=facts, layers=layers, rows=rows, packed=("s", "y"))


def draw_trend(table: Table) -> Drawing | None:
    """An estimate in one run of the suite after another, with a panel for each item."""
    if not {"item", "began", "estimate", "value", "low", "high", "ruling"} <= set(table.columns):
        return None
    items: dict[str, list[tuple[Row, float]]] = {}
    for row, value in read_numbers(read_rows(table), "value", read=number):
        items.setdefault(label(row["item"], 44), []).append((row, value))
    # Runs are numbered in the order of time, over all items, so that their panels can be compared.
    moments = {str(row["began"]) for found in items.values() for row, _ in found}
    latest = sorted(moments, key=lambda moment: (read_moment(moment), moment))[-SESSIONS:]
    runs = {began: k for k, began in enumerate(latest, 1)}
    rows: list[Row] = []
    facts: list[str] = []
    for name, found in list(items.items())[:PANELS]:
        recent = [(row, value) for row, value in found if str(row["began"]) in runs]
        recent.sort(key=lambda pair: runs[str(pair[0]["began"])])
        for row, value in recent:
            if math.isfinite(value):
                ends = (number(row[column]) for column in ("low", "high"))
                low, high = (trim(end if end is not None and math.isfinite(end) else value) for end in ends)
                words = f"{label(row['estimate'])} {format_number(value)}, {label(row['began'], 20)}"
                base: Row = {"p": name, "c": label(row["ruling"], 30)}
                rows.append(base | {"x": runs[str(row["began"])], "y": trim(value), "lo": low, "hi": high, "v": words})
        if recent:
            facts.append(f"{name}: {len(found)} runs, now {format_number(recent[-1][1])}")
    if not rows:
        return None
    verdicts = list(dict.fromkeys(str(row["c"]) for row in rows))
    shades, shapes = zip(*(VERDICTS.get(verdict, (SOFT, "stroke")) for verdict in verdicts), strict=True)
    colour = alt.Color("c:N", scale=alt.Scale(domain=verdicts, range=list(shades)))
    shape = alt.Shape("c:N", scale=alt.Scale(domain=verdicts, range=list(shapes)))
    axis = alt.Axis(title="run", tickMinStep=1, grid=False)
    x = alt.X("x:Q", scale=alt.Scale(nice=False, zero=False, padding=14), axis=axis)
    y, low = (
        alt.Y(f"{field}:Q", scale=alt.Scale(zero=False, padding=8), axis=alt.Axis(title=None, tickCount=4))
        for field in ("y", "lo")
    )
    points = alt.Chart().mark_point(size=70, opacity=1, filled=True)
    layers = [
        alt.Chart().mark_line(color=SOFT, strokeWidth=1, opacity=0.6).encode(x=x, y=y),
        alt.Chart().mark_rule(strokeWidth=2, opacity=0.7).encode(x=x, y=low, y2="hi:Q", color=colour),
        points.encode(x=x, y=y, color=colour, shape=shape, tooltip=tell(v="estimate", c="verdict")),
    ]
    return Drawing(
        title="The estimate, run after run",
        caption="A mark is one run of the suite, oldest first, with its 95 % interval where that is finite. Each panel "
        "has its own axis.",
        facts=facts,
        layers=layers,
        rows=rows,
        packed=("x", "y", "lo", "hi", "v"),
        not_drawn=max(0, len(items) - PANELS),
        own_axes=True,
    )
