"""Drawings of descents: when runs hit, what they recover, and how their distance falls."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt

from engine.report.charts.channels import SHARE, Arms, fit_log, fit_steps, layer_of, tell
from engine.report.charts.drawing import Drawing
from engine.report.charts.panels import (
    ARMS,
    Panel,
    Panels,
    Row,
    finite,
    group_by,
    in_every_panel,
    pick_evenly,
    read_numbers,
    trim,
)
from engine.report.charts.strips import DotPlot, draw_dots
from engine.report.charts.theme import INK, SOFT
from engine.text import format_number

RUNS_OF_A_PANEL, RUNS_OF_A_CHART = 12, 45
"""The most curves that are drawn."""

POINTS = 16
"""The most points of a curve."""


@dataclass(frozen=True)
class CurveMark:
    """A mark of one arm's curve: 's' a corner of its steps, 'c' runs censored at the cap, 'x' runs that diverged."""

    kind: str
    at: float
    share: float
    words: str = ""


def draw_hits(panels: Panels, arms: Arms) -> Drawing | None:
    """The share of runs that have hit, by iteration, for arms that are read at the hit."""
    read = [(panel.name, arm, runs) for panel, arm, runs in panels.split("arm") if runs[0]["read at"] == "hit"]
    marks = [(panel, arm, mark) for panel, arm, runs in read for mark in find_marks(runs)]
    if not marks:
        return None
    across = fit_steps([mark.at for *_, mark in marks])
    rows: list[Row] = []
    for panel, arm, mark in marks:
        base: Row = {"p": panel, "a": arm, "k": mark.kind, "v": mark.words}
        rows.append(base | {"x": across.place(mark.at), "i": trim(mark.at), "y": trim(mark.share)})
    facts: list[str] = []
    for panel, arm, runs in read:
        hits, half = _sort_hits(runs), (len(runs) - 1) // 2
        median = format_number(hits[half]) if len(hits) > half else "beyond the cap"
        facts.append(f"{panel}, {arm}: {len(hits)} of {len(runs)} hit, median {median}")

    x, y = across.x("iteration", grid=False), SHARE.y("share of runs that have hit", format=".0%")
    colour, why = arms.colour(rows), tell(a="arm", i="iteration", v="runs")
    steps = layer_of("s").encode(x=x, y=y, color=colour)
    cross = layer_of("x").mark_point(shape="cross", angle=45, size=60, filled=True, opacity=1)
    layers = [
        layer_of("r").mark_rule(color=SOFT, strokeDash=[2, 3], opacity=0.6).encode(y=y),
        steps.mark_line(interpolate="step-after", strokeWidth=2.2).encode(**arms.dash(rows)),
        steps.mark_circle(size=14, opacity=1).encode(tooltip=tell(a="arm", i="iteration", y=("have hit", ".0%"))),
        layer_of("c").mark_tick(orient="vertical", size=13, thickness=2).encode(x=x, y=y, color=colour, tooltip=why),
        cross.encode(x=x, y=y, color=colour, tooltip=why),
    ]
    return Drawing(
        title="Share of runs that have hit, by iteration",
        caption="A hit is the first iteration within the bound. A line crosses one half at its median. An upright tick "
        "marks runs that were still going at the cap N, a cross a run that diverged and never hits.",
        facts=facts,
        layers=layers,
        rows=rows + in_every_panel(rows, k="r", y=0.5),
        packed=("x", "y", "i", "v"),
    )


def find_marks(runs: Sequence[Row]) -> list[CurveMark]:
    """One arm's curve from (0, 0) to its cap, then its ticks and crosses; empty where no run has a cap.

    A run is only censored at its arm's cap, and one that diverged never hits. Below the cap, the share of all runs that
    have hit is therefore the Kaplan–Meier and the Aalen–Johansen estimate. Source: engine.statistics.hit_times.
    """
    hits = _sort_hits(runs)
    caps = [cap for _, cap in read_numbers(runs, "N")]
    if not caps:
        return []
    cap, share = max(caps), {hit: (k + 1) / len(runs) for k, hit in enumerate(hits)}
    corners = {0.0: 0.0, **share, cap: len(hits) / len(runs)}
    marks = [CurveMark("s", at, corners[at]) for at in sorted(corners)]
    diverged = [run for run in runs if run["stop"] == "diverged" and run["hit"] is None]
    lost = sorted(end for _, end in read_numbers(diverged, "ended at"))
    going = len(runs) - len(hits) - len(lost)
    if going > 0:
        marks.append(CurveMark("c", cap, corners[cap], f"{going} of {len(runs)} still going"))
    for end in dict.fromkeys(lost):
        level = max((share[hit] for hit in hits if hit <= end), default=0.0)
        marks.append(CurveMark("x", end, level, f"{lost.count(end)} of {len(runs)} diverged"))
    return marks


def _sort_hits(runs: Sequence[Row]) -> list[float]:
    return sorted(hit for _, hit in read_numbers(runs, "hit"))


def draw_endings(panels: Panels, arms: Arms) -> Drawing | None:
    """The recovery at the end of every run, for arms that are read at N."""
    ended = [Panel(name=p.name, rows=tuple(r for r in p.rows if r["read at"] == "N")) for p in panels.shown]
    plot = DotPlot(
        title="Recovery at the end, run by run",
        caption="A dot is a run, a bar the mean of its arm. Dots that would cover each other are spread.",
        axis="share of positions recovered",
        group=("arm",),
        column="recovery at the end",
        fit=lambda _: SHARE,
        bar="mean",
        format=".0%",
    )
    return draw_dots(Panels(shown=tuple(ended)), arms, plot)


def draw_recovery(panels: Panels, arms: Arms) -> Drawing | None:
    """Mean recovery and the rate of exact recoveries by iteration."""
    counted = "iteration" if any("iteration" in panel.rows[0] for panel in panels.shown) else "outer steps"
    read = [
        (panel.name, arm, n, mean, finite(row["exact rate"]))
        for panel, arm, found in panels.split("arm")
        if counted in found[0]
        for row, n, mean in read_numbers(found, counted, "mean recovery")
    ]
    if not read:
        return None
    across = fit_steps([n for _, _, n, _, _ in read])
    measures = ["mean recovery", "recovered exactly"]
    # A line between a start and an end would show a way that nobody measured.
    times = Counter((panel, arm) for panel, arm, *_ in read)
    rows: list[Row] = []
    for panel, arm, n, *shares in read:
        for measure, share in zip(measures, shares, strict=True):
            if share is not None:
                kind = "way" if times[panel, arm] > 2 else "ends"
                base: Row = {"p": panel, "a": arm, "k": kind, "m": measure}
                rows.append(base | {"i": trim(n), "x": across.place(n), "y": trim(share)})
    ends = {(panel, arm): (n, mean) for panel, arm, n, mean, _ in sorted(read, key=lambda found: found[2])}
    dash = alt.StrokeDash(
        "m:N",
        scale=alt.Scale(domain=measures, range=[[1, 0], [4, 4]]),
        legend=alt.Legend(symbolType="stroke", symbolStrokeColor=SOFT),
    )
    marks = alt.Chart().encode(
        x=across.x(counted, grid=False), y=SHARE.y("share", format=".0%"), color=arms.colour(rows)
    )
    tips = tell(a="arm", i=counted, m="measure", y=("share", ".1%"))
    return Drawing(
        title=f"Recovery by {counted}",
        caption="The share of positions that decode to the target, and of units that do so at every position, over "
        "units whose ceiling is 1. A line joins three readings or more; two are drawn as dots alone.",
        facts=[f"{p}, {a}: mean recovery {format_number(m)} at {format_number(n)}" for (p, a), (n, m) in ends.items()],
        layers=[
            marks.transform_filter(alt.FieldEqualPredicate(field="k", equal="way"))
            .mark_line(strokeWidth=2.2)
            .encode(strokeDash=dash),
            marks.mark_circle(size=34, opacity=1).encode(tooltip=tips),
        ],
        rows=rows,
        packed=("x", "y", "i"),
    )


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A run's way: its (iteration, distance / bound) pairs, and the iteration of its hit."""

    name: str
    points: list[tuple[float, float]]
    hit: float | None


def draw_curves(panels: Panels, arms: Arms) -> Drawing | None:
    """The distance to the target over iterations, in units of each run's bound."""
    most = min(RUNS_OF_A_PANEL, max(1, RUNS_OF_A_CHART // max(1, len(panels.shown))))
    read: list[tuple[str, str, Curve, bool]] = []
    for panel in panels.shown:
        groups = list(group_by(panel.rows, "arm").items())[:ARMS]
        for (arm,), rows in groups:
            curves = [_read_curve(name, own) for (name,), own in group_by(rows, "run").items()]
            # By hit, those without one last, and then by the distance at the end: the middle one is the median run.
            curves = sorted(
                (curve for curve in curves if curve.points),
                key=lambda curve: (math.inf if curve.hit is None else curve.hit, curve.points[-1][1]),
            )
            middle = (len(curves) - 1) // 2
            chosen = choose_runs(len(curves), max(1, most // len(groups)))
            read += [(panel.name, arm, curves[k], k == middle) for k in chosen]
    if not read:
        return None
    points = [point for _, _, curve, _ in read for point in curve.points]
    hits = [curve.hit for _, _, curve, _ in read if curve.hit is not None]
    across = fit_steps([n for n, _ in points] + hits)
    up = fit_log([distance for _, distance in points], also=(1.0,), most=5)
    rows: list[Row] = []
    facts: list[str] = []
    for panel, arm, curve, is_median in read:
        base: Row = {"p": panel, "a": arm, "r": curve.name}
        for n, distance in curve.points:
            rows.append(base | {"k": "m" if is_median else "l", "x": across.place(n), "y": up.place(distance)})
        if curve.hit is not None:
            rows.append(base | {"k": "h", "x": across.place(curve.hit), "y": 1})
        if is_median:
            n, distance = (format_number(end) for end in curve.points[-1])
            facts.append(f"{panel}, {arm}: the median run ends at {distance} bounds after {n}")
    x, y = across.x("iteration", grid=False), up.y("distance to the target / bound", grid=False)
    colour, tips = arms.colour(rows), tell(a="arm", r="run")
    line, median, hit = (layer_of(kind).encode(x=x, y=y, color=colour, tooltip=tips) for kind in "lmh")
    return Drawing(
        title="Distance to the target on the way",
        caption="Below the dashed line a run is within its bound, and a dot marks where it first was. The thick "
        f"line is the median run by hit, then by ending. At most {most} runs of a panel are drawn.",
        facts=facts,
        layers=[
            layer_of("r").mark_rule(color=INK, strokeDash=[4, 3]).encode(y=y),
            line.mark_line(strokeWidth=1, opacity=0.45).encode(detail="r:N"),
            median.mark_line(strokeWidth=2.8).encode(detail="r:N"),
            hit.mark_circle(size=36, opacity=1),
        ],
        rows=rows + in_every_panel(rows, k="r", y=1),
    )


def _read_curve(name: str, rows: Sequence[Row]) -> Curve:
    hit = finite(rows[0]["hit"])
    # A distance of 0 or infinity has no place on a logarithmic axis: the line leaves it out.
    points = [(n, distance) for _, n, distance in read_numbers(rows, "iteration", "distance / bound") if distance > 0]
    if len(points) > POINTS:
        points = sorted({*pick_evenly(points, POINTS), *(point for point in points if point[0] == hit)})
    words = f"hit at {format_number(hit)}" if hit is not None else "no hit"
    return Curve(name=f"{name}, {words}", points=points, hit=hit)


def choose_runs(runs: int, most: int) -> list[int]:
    """Indices of at most so many runs, evenly spaced over their order, the median among them."""
    if runs <= most:
        return list(range(runs))
    middle = (runs - 1) // 2
    spread = {round(k * (runs - 1) / (most - 1)) for k in range(most)} if most > 1 else {middle}
    if middle not in spread:
        spread.remove(min(spread, key=lambda k: abs(k - middle)))
    return sorted(spread | {middle})
