"""Searches side by side: how many prompts each recovers, what that costs, and how far away wrong tokens are."""

from __future__ import annotations

from statistics import median

from engine.report.charts.channels import Arms, Axis, fit_log, layer_of, name_rows, tell
from engine.report.charts.drawing import Drawing
from engine.report.charts.panels import PANELS, Panels, Row, finite, label, read_numbers, trim
from engine.report.charts.strips import ROW_PX, DotPlot, draw_dots, label_margin
from engine.report.charts.theme import SERIES, SOFT
from engine.text import format_number

SHARES = Axis(low=-0.03, high=1.95, ticks=(0, 0.5, 1))
"""For shares, with room for words to their right."""

SEARCHES = 14
"""The most searches of a panel."""


def draw_searches(panels: Panels, arms: Arms) -> Drawing | None:
    """Exact rate with its interval and mean recovery, search by search, and beside them the cost of a token."""
    # A panel for each subject and group of searches. Searches that are the only one of their group share a panel.
    groups: dict[str, list[Row]] = {}
    for panel in panels.shown:
        for row in panel.rows:
            alone = row["group"] == row["search"]
            name = panel.name if alone else f"{panel.name} · {label(row['group'], 40)}"
            groups.setdefault(name, []).append(row)
    rows: list[Row] = []
    facts: list[str] = []
    names: dict[str, dict[str, None]] = {}
    for panel, found in list(groups.items())[:PANELS]:
        for row, rate, low, high in read_numbers(found[:SEARCHES], "exact rate", "low", "high"):
            name, prompts = label(row["search"], 32), finite(row["prompts"])
            names.setdefault(panel, {})[name] = None
            count = "?" if prompts is None else f"{round(rate * prompts)} of {round(prompts)}"
            base: Row = {"p": panel, "g": name}
            rows.append(base | {"k": "i", "x": trim(low), "v": trim(high)})
            rows.append(base | {"k": "d", "x": trim(rate), "v": count})
            if (share := finite(row["mean recovery"])) is not None:
                rows.append(base | {"k": "r", "x": trim(share), "v": format_number(share)})
            rows.append(base | {"k": "t", "x": 1.08, "v": _describe_cost(row)})
            facts.append(f"{panel}, {name}: {count} exact")
    if not rows:
        return None
    every = list(dict.fromkeys(name for those in names.values() for name in those))
    x, y = SHARES.x("share of prompts; tick: of tokens", format=".0%"), name_rows(every)
    tips = tell(g="search", v="recovered")
    layers = [
        layer_of("i").mark_rule(color=SERIES[0], strokeWidth=2).encode(x=x, x2="v:Q", y=y),
        layer_of("r").mark_tick(color=SOFT, thickness=2, size=ROW_PX * 0.6).encode(x=x, y=y, tooltip=tips),
        layer_of("d").mark_circle(color=SERIES[0], size=70, opacity=1).encode(x=x, y=y, tooltip=tips),
        layer_of("t").mark_text(align="left", fontSize=11, color=SOFT).encode(x=x, y=y, text="v:N"),
    ]
    return Drawing(
        title="Prompts recovered token for token, and what a token cost",
        caption="The dot is the share of prompts recovered exactly, with its 95 % interval; the tick is the mean share "
        "of their tokens. The words give seconds, descent steps and the median of checked candidates per token.",
        facts=facts,
        layers=layers,
        rows=rows,
        packed=("x", "v"),
        height=ROW_PX * max(map(len, names.values())) + 6,
        margin=label_margin(every),
    )


def _describe_cost(row: Row) -> str:
    """The cost of a token, in words that fit beside a dot."""
    parts: list[str] = []
    if seconds := finite(row["seconds a token"]):
        parts.append(f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s")
    for column, unit in (("descent steps a token", "steps"), ("median checks a token", "checks")):
        if value := finite(row[column]):
            parts.append(f"{value:,.0f} {unit}")
    return " · ".join(parts)


def draw_margins(panels: Panels, arms: Arms) -> Drawing | None:
    """How far away the nearest other token of the vocabulary is, position by position, beside the noise."""
    limits = [limit for panel in panels.shown for _, limit in read_numbers(panel.rows, "ε")]
    plot = DotPlot(
        title="The nearest wrong token of the whole vocabulary",
        caption="A dot is a position: the distance from its activations to those of the nearest other token, relative "
        "to their size, or in rounding steps where they were rounded. Up to the dashed line (the median of ε), "
        "activations count as equal.",
        axis="distance of activations",
        group=("search",),
        column="its distance",
        fit=fit_log,
        rules=(median(limits),) if limits else (),
    )
    return draw_dots(panels, arms, plot)
