"""Drawings of descents: when they hit, what they recover, how their distance falls, how much they repeat."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from engine.report.charts.drawing import Drawing
from engine.report.charts.panels import ARMS, Panel, Panels, Row, finite, group_by, number, trim
from engine.report.charts.scales import SHARE, fit_log, fit_steps
from engine.report.charts.strips import DotPlot, draw_strips, layer_of
from engine.report.charts.theme import INK, SOFT, Arms
from engine.text import format_number

RUNS_OF_A_PANEL, RUNS_OF_A_CHART = 12, 45
"""The most curves that are drawn."""

POINTS = 16
"""The most points of a drawn curve."""


def draw_hits(panels: Panels, arms: Arms) -> Drawing | None:
    """The share of runs that have hit, by iteration, for arms that are read at the hit.

    Runs are only censored at their arm's N, and one that diverged never hits: below N the share of all runs that have
    hit is at once the Kaplan–Meier and the Aalen–Johansen estimate. Source: engine.statistics.hit_times.
    """
    read = [(p.name, arm, rows) for p, arm, rows in panels.split("arm") if rows[0]["read at"] == "hit"]
    marks = [(panel, arm, mark) for panel, arm, runs in read for mark in find_marks(runs)]
    if not marks:
        return None
    scale = fit_steps([mark.at for *_, mark in marks])
    rows: list[Row] = []
    for panel, arm, mark in marks:
        base: Row = {"p": panel, "a": arm, "k": mark.kind, "v": mark.words}
        rows.append(base | {"x": scale.place(mark.at), "i": trim(mark.at), "y": trim(mark.share)})
    drawn = dict.fromkeys(arm for _, arm, _ in read)
    rows.extend({"p": panel, "k": "r", "y": 0.5} for panel in dict.fromkeys(panel for panel, *_ in read))
    x = alt.X("x:Q", scale=scale.scale(), axis=scale.axis("iteration", grid=False))
    y = alt.Y("y:Q", scale=SHARE.scale(), axis=SHARE.axis("share of runs that have hit", format=".0%"))
    colour = arms.colour(drawn)
    arm = alt.Tooltip("a:N", title="arm")
    at = alt.Tooltip("i:Q", title="iteration")
    tips = [arm, at, alt.Tooltip("y:Q", title="have hit", format=".0%")]
    why = [arm, at, alt.Tooltip("v:N", title="runs")]
    layers = [
        layer_of("r").mark_rule(color=SOFT, strokeDash=[2, 3], opacity=0.6).encode(y=y),
        layer_of("s")
        .mark_line(interpolate="step-after", strokeWidth=2.2)
        .encode(x=x, y=y, color=colour, **arms.dash(drawn)),
        layer_of("s").mark_circle(size=14, opacity=1).encode(x=x, y=y, color=colour, tooltip=tips),
        layer_of("c").mark_tick(orient="vertical", size=13, thickness=2).encode(x=x, y=y, color=colour, tooltip=why),
        layer_of("x")
        .mark_point(shape="cross", angle=45, size=60, filled=True, opacity=1)
        .encode(x=x, y=y, color=colour, tooltip=why),
    ]
    return Drawing(
        title="Share of runs that have hit, by iteration",
        caption="A hit is the first iteration within the bound. Where a line crosses one half is its median; an "
        "upright tick: runs still going at the cap N, a cross: a run that diverged and never hits.",
        facts=[_tell_hits(panel, arm, runs) for panel, arm, runs in read],
        panels=panels.keep(rows),
        layers=layers,
        rows=rows,
        packed=("x", "y", "i", "v"),
    )


@dataclass(frozen=True)
class Mark:
    """A mark of one arm's curve: 's' a corner of its steps, 'c' runs censored at the cap, 'x' runs that diverged."""

    kind: str
    at: float
    share: float
    words: str = ""


def find_marks(runs: Sequence[Row]) -> list[Mark]:
    """One arm's curve from (0, 0) to its cap, then its ticks; none where no run says what its cap was."""
    hits = sorted(h for run in runs if (h := finite(run["hit"])) is not None)
    caps = [n for run in runs if (n := finite(run["N"])) is not None]
    if not caps:
        return []
    cap, share = max(caps), {h: (k + 1) / len(runs) for k, h in enumerate(hits)}
    corners = {0.0: 0.0, **share, cap: len(hits) / len(runs)}
    marks = [Mark("s", at, corners[at]) for at in sorted(corners)]
    lost = sorted(
        end for r in runs if r["stop"] == "diverged" and r["hit"] is None and (end := finite(r["ended at"])) is not None
    )
    going = len(runs) - len(hits) - len(lost)
    if going > 0:
        marks.append(Mark("c", cap, corners[cap], f"{going} of {len(runs)} still going"))
    for end in dict.fromkeys(lost):
        level = max((share[h] for h in hits if h <= end), default=0.0)
        marks.append(Mark("x", end, level, f"{lost.count(end)} of {len(runs)} diverged"))
    return marks


def _tell_hits(panel: str, arm: str, runs: Sequence[Row]) -> str:
    hits = sorted(h for run in runs if (h := finite(run["hit"])) is not None)
    half = (len(runs) - 1) // 2
    median = f"median {format_number(hits[half])}" if len(hits) > half else "median beyond the cap"
    return f"{panel}, {arm}: {len(hits)} of {len(runs)} hit, {median}"


def draw_endings(panels: Panels, arms: Arms) -> Drawing | None:
    """The recovery at the end of every run, for arms that are read at N."""
    kept = tuple(
        Panel(name=p.name, columns=p.columns, rows=tuple(r for r in p.rows if r["read at"] == "N"))
        for p in panels.shown
        if any(r["read at"] == "N" for r in p.rows)
    )
    strip = DotPlot(
        title="Recovery at the end, run by run",
        caption="A dot is a run, a bar the mean of its arm; dots that would cover each other are spread.",
        axis="share of positions recovered",
        group=("arm",),
        column="recovery at the end",
        fit=lambda _: SHARE,
        middle="mean",
        format=".0%",
    )
    return draw_strips(Panels(shown=kept, left=panels.left), arms, strip)


def draw_recovery(panels: Panels, arms: Arms) -> Drawing | None:
    """Mean recovery and the rate of exact recoveries by iteration."""
    read: list[tuple[str, str, float, float, float | None]] = []
    counted = "iteration" if any("iteration" in p.columns for p in panels.shown) else "outer steps"
    for panel, arm, rows in panels.split("arm"):
        for row in rows:
            n, mean = finite(row.get(counted)), finite(row["mean recovery"])
            if n is not None and mean is not None:
                read.append((panel.name, arm, n, mean, finite(row["exact rate"])))
    if not read:
        return None
    scale = fit_steps([n for _, _, n, _, _ in read])
    rows: list[Row] = []
    for panel, arm, n, mean, exact in read:
        base: Row = {"p": panel, "a": arm, "i": trim(n), "x": scale.place(n)}
        rows.append(base | {"m": "mean recovery", "y": trim(mean)})
        if exact is not None:
            rows.append(base | {"m": "recovered exactly", "y": trim(exact)})
    drawn = dict.fromkeys(arm for _, arm, *_ in read)
    x = alt.X("x:Q", scale=scale.scale(), axis=scale.axis(counted, grid=False))
    y = alt.Y("y:Q", scale=SHARE.scale(), axis=SHARE.axis("share", format=".0%"))
    measures = ["mean recovery", "recovered exactly"]
    dash = alt.StrokeDash(
        "m:N",
        scale=alt.Scale(domain=measures, range=[[1, 0], [4, 4]]),
        legend=alt.Legend(symbolType="stroke", symbolStrokeColor=SOFT),
    )
    tips = [alt.Tooltip("a:N", title="arm"), alt.Tooltip("i:Q", title=counted), alt.Tooltip("m:N", title="measure")]
    tips.append(alt.Tooltip("y:Q", title="share", format=".1%"))
    layers = [
        alt.Chart().mark_line(strokeWidth=2.2).encode(x=x, y=y, color=arms.colour(drawn), strokeDash=dash),
        alt.Chart().mark_circle(size=34, opacity=1).encode(x=x, y=y, color=arms.colour(drawn), tooltip=tips),
    ]
    ends = {(panel, arm): (n, mean) for panel, arm, n, mean, _ in sorted(read, key=lambda r: r[2])}
    return Drawing(
        title=f"Recovery by {counted}",
        caption="The share of positions that decode to the target, and of units that do so at every position, over "
        "units whose ceiling is 1.",
        facts=[f"{p}, {a}: mean recovery {format_number(m)} at {format_number(n)}" for (p, a), (n, m) in ends.items()],
        panels=panels.keep(rows),
        layers=layers,
        rows=rows,
        packed=("x", "y", "i"),
    )


def draw_curves(panels: Panels, arms: Arms) -> Drawing | None:
    """The distance to the target over iterations, in units of each run's bound."""
    most = min(RUNS_OF_A_PANEL, max(1, RUNS_OF_A_CHART // max(1, len(panels.shown))))
    read = _read_curves(panels, most)
    if not read:
        return None
    points = [point for *_, curve, _ in read for point in curve]
    hits = [hit for *_, hit in read if hit is not None]
    across = fit_steps([n for n, _ in points] + hits)
    up = fit_log([d for _, d in points], also=(1.0,), most=5)
    rows: list[Row] = []
    for panel, arm, name, middle, curve, hit in read:
        base: Row = {"p": panel, "a": arm, "r": name}
        for n, d in curve:
            rows.append(base | {"k": "m" if middle else "l", "x": across.place(n), "y": up.place(d)})
        if hit is not None:
            rows.append(base | {"k": "h", "x": across.place(hit), "y": 1})
    drawn = dict.fromkeys(arm for _, arm, *_ in read)
    rows.extend({"p": panel, "k": "r", "y": 1} for panel in dict.fromkeys(panel for panel, *_ in read))
    x = alt.X("x:Q", scale=across.scale(), axis=across.axis("iteration", grid=False))
    y = alt.Y("y:Q", scale=up.scale(), axis=up.axis("distance to the target / bound", grid=False))
    colour, tips = arms.colour(drawn), [alt.Tooltip("a:N", title="arm"), alt.Tooltip("r:N", title="run")]
    channels: dict[str, Any] = {"x": x, "y": y, "color": colour, "detail": "r:N", "tooltip": tips}
    layers = [
        layer_of("r").mark_rule(color=INK, strokeDash=[4, 3]).encode(y=y),
        layer_of("l").mark_line(strokeWidth=1, opacity=0.45).encode(**channels),
        layer_of("m").mark_line(strokeWidth=2.8).encode(**channels),
        layer_of("h").mark_circle(size=36, opacity=1).encode(x=x, y=y, color=colour, tooltip=tips),
    ]
    return Drawing(
        title="Distance to the target on the way",
        caption="Below the dashed line a run is within its bound, and a dot marks where it first was. The thick "
        f"line is the middle run by hit, then by ending. At most {most} runs of a panel are drawn.",
        facts=[_tell_ending(panel, arm, curve) for panel, arm, _, middle, curve, _ in read if middle],
        panels=panels.keep(rows),
        layers=layers,
        rows=rows,
    )


Curve = tuple[str, str, str, bool, list[tuple[float, float]], float | None]
"""Panel, arm, the run in words, whether it is the median one, (iteration, distance), hit."""


def _read_curves(panels: Panels, most: int) -> list[Curve]:
    read: list[Curve] = []
    for panel in panels.shown:
        groups = list(group_by(panel.rows, "arm").items())[:ARMS]
        for (arm,), rows in groups:
            runs = [_read_curve(name, own) for (name,), own in group_by(rows, "run").items()]
            runs = sorted((run for run in runs if run[1]), key=_order_run)
            chosen = choose_runs(len(runs), max(1, most // len(groups)))
            middle = (len(runs) - 1) // 2
            read += [(panel.name, arm, runs[k][0], k == middle, runs[k][1], runs[k][2]) for k in chosen]
    return read


def _read_curve(name: str, rows: Sequence[Row]) -> tuple[str, list[tuple[float, float]], float | None]:
    hit = finite(rows[0]["hit"])
    found = [(finite(row["iteration"]), number(row["distance / bound"])) for row in rows]
    # A distance that is not finite has no place on the way: the line ends before it.
    points = [(n, d) for n, d in found if n is not None and d is not None and d > 0 and math.isfinite(d)]
    if len(points) > POINTS:
        spread = {points[round(k * (len(points) - 1) / (POINTS - 1))] for k in range(POINTS)}
        points = sorted(spread | {point for point in points if point[0] == hit})
    words = f"{name}, hit at {format_number(hit)}" if hit is not None else f"{name}, no hit"
    return words, points, hit


def _order_run(run: tuple[str, list[tuple[float, float]], float | None]) -> tuple[float, float]:
    return (float("inf") if run[2] is None else run[2], run[1][-1][1])


def choose_runs(runs: int, most: int) -> list[int]:
    """Places of at most so many runs, spread evenly over their order, the median among them."""
    if runs <= most:
        return list(range(runs))
    middle = (runs - 1) // 2
    spread = {round(k * (runs - 1) / (most - 1)) for k in range(most)} if most > 1 else {middle}
    if middle not in spread:
        spread.remove(min(spread, key=lambda k: abs(k - middle)))
    return sorted(spread | {middle})


def _tell_ending(panel: str, arm: str, curve: Sequence[tuple[float, float]]) -> str:
    n, distance = curve[-1]
    return f"{panel}, {arm}: the median run ends at {format_number(distance)} bounds after {format_number(n)}"
