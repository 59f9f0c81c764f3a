"""Every drawing by the kind of its table, in the order of the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from altair.utils.schemapi import debug_mode

from engine.records import Record, Table
from engine.report.charts import ChartView, descents, growth, models, searches, slopes, walks
from engine.report.charts.channels import Arms
from engine.report.charts.drawing import Drawing, make_chart
from engine.report.charts.panels import Panels, gather_panels
from engine.report.charts.vega import Render

Draw = Callable[[Panels, Arms], Drawing | None]

_RUNS = ("arm", "hit", "stop", "ended at", "N", "read at", "recovery at the end")
_TRIED = ("walk", "noise", "step", "outer steps", "arrived", "walks", "chosen")
_SEARCHES = ("group", "search", "exact rate", "low", "high", "prompts", "mean recovery")
_PRICES = ("seconds a token", "descent steps a token", "median checks a token")
_AGREEMENT = ("arm", "prompt", "last position recovered", "the same as after e")

DRAWINGS: tuple[tuple[str, str, tuple[str, ...], Draw], ...] = (
    ("searches", "searches", (*_SEARCHES, *_PRICES), searches.draw_searches),
    ("margins", "margins", ("search", "its distance", "ε"), searches.draw_margins),
    ("growth", "checkpoints", ("reading", "step", "seed", "value"), growth.draw_growth),
    ("tokens", "checkpoints", ("reading", "step", "seed", "value"), growth.draw_recovery_along),
    ("updates", "training", ("seed", "until step", "part", "change"), growth.draw_updates),
    ("hits", "runs", _RUNS, descents.draw_hits),
    ("agreement", "agreement", _AGREEMENT, models.draw_agreement),
    ("endings", "runs", _RUNS, descents.draw_endings),
    ("recovery", "recovery", ("arm", "mean recovery", "exact rate"), descents.draw_recovery),
    ("repetition", "repetition", ("arm", "at the start", "at the end"), slopes.draw_repetition),
    ("curves", "curves", ("arm", "run", "iteration", "distance / bound", "hit"), descents.draw_curves),
    ("walks", "walks", ("walk", "r", "r of a random step"), walks.draw_walks),
    ("tried", "tried", (*_TRIED, "median gain"), walks.draw_tried),
    ("settings", "tried, text", (*_TRIED, "mean recovery", "median largest ‖ΔO‖₁ / m"), walks.draw_tried_for_text),
    ("orthogonality", "orthogonal", ("walk", "relative"), walks.draw_orthogonality),
    ("drift", "orthogonal", ("walk", "d_o / d_i"), walks.draw_drift),
    ("singular", "singular", ("walk", "run", "index", "singular value"), walks.draw_singular),
    ("gradients", "gradients", ("stack", "dtype", "relative"), walks.draw_gradients),
    ("kept", "kept", ("prompt", "next token", "probability", "kept"), models.draw_kept),
    ("likeliest", "likeliest", ("token", "probability"), models.draw_likeliest),
    ("leverage", "leverage", ("token", "decoded as", "leverage", "leverage of the winner"), models.draw_leverage),
    ("inverses", "inverses", ("matrix", "difference", "tolerance"), models.draw_inverses),
    ("decodings", "decoding", ("greedy", "beam"), slopes.draw_decodings),
)
"""The name in the chart's id, the kind of its table, the columns that the drawing reads, the drawing."""


def draw_all(records: Sequence[Record], anchor: str, extra: Sequence[Table], render: Render) -> tuple[ChartView, ...]:
    """Every chart that the tables of one claim fill; see engine.report.charts.draw_charts."""
    gathered = [(name, gather_panels(records, kind, columns), draw) for name, kind, columns, draw in DRAWINGS]
    frequency = gather_panels(records, "frequency", ("arm", "mean log₁₀ frequency"))
    vocabulary = gather_panels(records, "vocabulary", ("lower quartile", "median", "upper quartile"))

    # Every arm once, in the order in which the tables name them, so that it has one colour in all charts of the claim.
    names: dict[str, None] = {}
    for panels in (*(panels for _, panels, _ in gathered), frequency):
        for column in ("arm", "walk"):
            if all(column in panel.rows[0] for panel in panels.shown):
                names |= dict.fromkeys(name for _, name, _ in panels.split(column))
    arms = Arms(names=tuple(names))

    with debug_mode(False):  # Altair's validation takes longer than the drawings: it is for the tests
        drawings: list[tuple[str, Drawing | None]] = []
        draw_frequency = partial(models.draw_frequency, vocabulary=vocabulary)
        for name, panels, draw in (("frequency", frequency, draw_frequency), *gathered):
            if panels.shown and (drawing := draw(panels, arms)) is not None:
                drawings.append((name, replace(drawing, not_drawn=panels.not_drawn)))
        # A page begins with what a run looks like, and ends with how the estimate went from run to run.
        drawings += [("trend", slopes.draw_trend(table)) for table in extra if table.kind == "trend"]
        return tuple(make_chart(drawn, f"{anchor}-{name}", render) for name, drawn in drawings if drawn is not None)
