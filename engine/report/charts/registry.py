"""Every drawing by the kind of its table, in the order of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from altair.utils.schemapi import debug_mode

from engine.records import Record, Table
from engine.report.charts import ChartView, descents, models, searches, slopes, trend, walks
from engine.report.charts.drawing import Drawing, ask_still, declare_chart, finish_still, write_spec
from engine.report.charts.panels import Panels, gather_panels
from engine.report.charts.theme import Arms
from engine.report.charts.vega import Fire

Draw = Callable[[Panels, Arms], Drawing | None]

_RUNS = ("arm", "hit", "stop", "ended at", "N", "read at", "recovery at the end")
_TRIED = ("walk", "noise", "step", "outer steps", "arrived", "walks", "chosen")

_SEARCHES = ("group", "search", "exact rate", "low", "high", "prompts", "mean recovery")
_PRICES = ("seconds a token", "descent steps a token", "median checks a token")

DRAWINGS: tuple[tuple[str, str, tuple[str, ...], Draw], ...] = (
    ("searches", "searches", (*_SEARCHES, *_PRICES), searches.draw_searches),
    ("margins", "margins", ("search", "its distance", "ε"), searches.draw_margins),
    ("hits", "runs", _RUNS, descents.draw_hits),
    (
        "agreement",
        "agreement",
        ("arm", "prompt", "last position recovered", "the same as after e"),
        models.draw_agreement,
    ),
    ("endings", "runs", _RUNS, descents.draw_endings),
    ("recovery", "recovery", ("arm", "mean recovery", "exact rate"), descents.draw_recovery),
    ("repetition", "repetition", ("arm", "at the start", "at the end"), slopes.draw_repetition),
    ("curves", "curves", ("arm", "run", "iteration", "distance / bound", "hit"), descents.draw_curves),
    ("walks", "walks", ("walk", "r", "r of a random step"), walks.draw_walks),
    ("tried", "tried", (*_TRIED, "median gain"), walks.draw_tried),
    (
        "settings",
        "tried, text",
        (*_TRIED, "mean recovery", "median largest ‖ΔO‖₁ / m"),
        walks.draw_tried_for_text,
    ),
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
"""Name in the chart's id, kind of the table, the columns that the drawing reads, the drawing."""


def draw_all(records: Sequence[Record], anchor: str, extra: Sequence[Table], fire: Fire) -> tuple[ChartView, ...]:
    """Every chart that the tables of one claim have something for; see engine.report.charts.draw_charts."""
    with debug_mode(False):  # the tests see to it that our declarations are valid; users need not wait for it
        return tuple(_show(f"{anchor}-{name}", drawing, fire) for name, drawing in _draw(records, extra))


def _draw(records: Sequence[Record], extra: Sequence[Table]) -> Iterator[tuple[str, Drawing]]:
    gathered = [(name, gather_panels(records, kind, columns), draw) for name, kind, columns, draw in DRAWINGS]
    frequency = gather_panels(records, "frequency", ("arm", "mean log₁₀ frequency"))
    arms = _name_arms([*(panels for _, panels, _ in gathered), frequency])
    found = [("trend", trend.draw_trend(table)) for table in extra if table.kind == "trend"]
    if frequency.shown:
        vocabulary = gather_panels(records, "vocabulary", ("lower quartile", "median", "upper quartile"))
        found.append(("frequency", models.draw_frequency(frequency, arms, vocabulary)))
    found += [(name, draw(panels, arms)) for name, panels, draw in gathered if panels.shown]
    yield from ((name, drawing) for name, drawing in found if drawing is not None)


def _name_arms(several: Sequence[Panels]) -> Arms:
    """Every arm of the claim, once, in the order in which its tables name them."""
    columns = ("arm", "walk")
    names = {
        name: None
        for panels in several
        for column in columns
        for _, name, _ in (panels.split(column) if all(column in p.columns for p in panels.shown) else [])
    }
    return Arms(names=tuple(names))


def _show(name: str, drawing: Drawing, fire: Fire) -> ChartView:
    left = drawing.panels.left
    if left:
        words = "1 more setting is" if left == 1 else f"{left} more settings are"
        drawing = replace(drawing, caption=f"{drawing.caption} {words} not drawn.")
    declared = declare_chart(drawing)
    drawn = fire(ask_still(declared))
    return ChartView(
        id=name,
        title=drawing.title,
        caption=drawing.caption,
        alt=drawing.alt,
        still=lambda: finish_still(drawn(), name=name, words=drawing.alt),
        spec=write_spec(declared),
    )
