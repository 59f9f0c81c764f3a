"""A chart from its declaration: Altair's layers in panels, as a still drawing and as what the page's script reads."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
from markupsafe import Markup, escape

from engine.report.charts import ChartView
from engine.report.charts.panels import Panel, Panels, Row
from engine.report.charts.theme import CONFIG
from engine.report.charts.vega import DrawingError, Job, fire_when_asked

VERSION = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
"""The Vega-Lite that Altair writes for, for the still drawing and for the page's script."""

_TAG = re.compile(r"<[a-z][^<>]*>")
_COORDINATES = re.compile(r'(?<=\s)(?:d|[xy][12]?|c[xy]|width|height|points)="[^"]*"|translate\([^()"]*\)')
_DECIMALS = re.compile(r"-?\d+\.\d{2,}(?:e-?\d+)?")
_ROOT = re.compile(r"<svg[^>]*?width=\"([\d.]+)\"[^>]*?viewBox=\"([^\"]*)\"[^>]*>")
_NEEDLESS = re.compile(
    r'(?: role="graphics-(?:symbol|object)"| aria-roledescription="[a-z -]+"| aria-hidden="true"'
    r'| (?:opacity|stroke-opacity|stroke-width)="1"| pointer-events="none"| font-weight="normal"| font-family="[^"]*")'
    r"(?=[^<>]*>)"
    r'|<path class="(?:background|foreground)"[^>]* d="(?:M0,0h0v0h0Z)?"[^>]*/>'
)
"""What the drawing is the same without, a quarter of what Vega writes: the whole has a label, so that single marks need
none, and the font is the page's."""

_FACTS = 8
_AXIS = 58

HALF, WHOLE, NARROW = 580, 1160, 4
"""Pixels of a chart beside another, of one that stands alone, and the panels up to which it is the former."""

GAP = 24

SMALL = 250
"""The margin of one of several small charts, each of which a phone shows whole."""

ONE_PANEL = Panels(shown=(Panel(name="", columns=(), rows=()),))
"""Of a drawing that needs no name for its only panel."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What a chart is made of.

    layers: declared without data, in the order in which they are painted; rows: their data, each with its panel in 'p'
    where there are several. packed: fields whose values differ within a mark; the others are written once for each.
    height: of a panel, in pixels; None fits it to the number of panels. margin: pixels that labels on the left take
    beyond those of a number. own_scales: each panel has its own axes. caption: how to read it. facts: the numbers.
    """

    title: str
    caption: str
    facts: Sequence[str]
    panels: Panels
    layers: Sequence[alt.Chart]
    rows: Sequence[Row]
    packed: tuple[str, ...] = ("x", "y")
    height: float | None = None
    margin: float = 0
    own_scales: bool = False

    @property
    def alt(self) -> str:
        """The drawing in words, with its key numbers."""
        more = f"; and {len(self.facts) - _FACTS} more" if len(self.facts) > _FACTS else ""
        return f"{self.title}. {'; '.join(self.facts[:_FACTS])}{more}."


def declare_chart(drawing: Drawing) -> dict[str, Any]:
    """The drawing in Vega-Lite's words.

    Layers and panels are put together here: Altair would copy every channel once more for each of the two.
    """
    names = [panel.name for panel in drawing.panels.shown]
    columns, width, height = _arrange(len(names), drawing.margin)
    layers = [_write_layer(layer) for layer in drawing.layers]
    body: dict[str, Any] = {"width": width, "height": drawing.height or height, "layer": layers}
    rows = _pack(drawing.rows, drawing.packed)
    source = {"data": {"name": "rows"}, "datasets": {"rows": rows}, "transform": [{"flatten": list(drawing.packed)}]}
    if len(names) == 1:
        return source | body | {"title": names[0]}
    facet = {"field": "p", "type": "nominal", "sort": None, "title": None}
    framed = source | {"facet": facet, "columns": columns, "spacing": GAP, "spec": body}
    if drawing.own_scales:
        return framed | {"resolve": {"scale": {"x": "independent", "y": "independent"}}}
    # A column that ends early would hang in the air without an axis of its own.
    return framed | ({"resolve": {"axis": {"x": "independent"}}} if len(names) % columns else {})


def _write_layer(layer: alt.Chart) -> dict[str, Any]:
    written = layer.to_dict(validate=False, context={"top_level": False})
    return {key: value for key, value in written.items() if key != "data"}  # that of the whole


def _arrange(panels: int, margin: float) -> tuple[int, int, int]:
    """Columns, and a panel's width and height in pixels, within half the page's width; all of it for many panels."""
    columns = 1 if panels == 1 else 2 if panels <= NARROW else 3
    room = (HALF if panels <= NARROW else WHOLE) - _AXIS - margin - GAP * (columns - 1)
    return columns, round(room / columns), 230 if panels == 1 else 185


def _pack(rows: Sequence[Row], fields: Sequence[str]) -> list[dict[str, Any]]:
    """Rows that only differ in some fields as one with lists there, in their first order.

    Every group has a list for every field, as Vega flattens none that is missing.
    """
    packed: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        same = {k: v for k, v in row.items() if k not in fields}
        group = packed.setdefault(tuple(same.items()), same | {f: [] for f in fields})
        for field in fields:
            group[field].append(row.get(field))
    for group in packed.values():
        group.update({f: [] for f in fields if all(v is None for v in group[f])})
    return list(packed.values())


def write_spec(declared: dict[str, Any]) -> str:
    """Compact JSON that can stand in a script element: no '<' can end it."""
    text = json.dumps(declared, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def ask_still(declared: dict[str, Any]) -> Job:
    """The declaration as a job for a kiln."""
    return {"spec": json.dumps(declared), "config": CONFIG, "version": VERSION}


def finish_still(svg: str, *, name: str, words: str) -> Markup:
    """The drawing as SVG that fills its column up to its own width; class 'wide' where that is more than half the page.

    svg: as Vega writes it. name: unique on the page. words: for its label.
    """
    found = _ROOT.match(svg)
    if found is None:
        raise DrawingError("the library drew nothing")
    width, box = found.groups()
    wide = ' class="wide"' if float(width) > HALF * 1.3 else ""
    root = (
        f'<svg{wide} role="img" aria-label="{escape(words)}" viewBox="{box}" '
        f'style="width:100%;min-width:{0.7 * float(width):.0f}px;max-width:{float(width):.0f}px;height:auto">'
    )
    body = _TAG.sub(lambda tag: _tidy(tag[0], name), svg[found.end() :])
    body = _NEEDLESS.sub("", body)
    return Markup(root + body)  # noqa: S704 (Vega escapes what it writes)


def _tidy(tag: str, name: str) -> str:
    """A tag whose coordinates have one decimal, and whose clip is the drawing's own. What is told stays as it is."""
    tag = _COORDINATES.sub(lambda told: _DECIMALS.sub(_round, told[0]), tag)
    return tag.replace('id="clip', f'id="{name}-clip').replace("url(#clip", f"url(#{name}-clip")


def _round(number: re.Match[str]) -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0")


def show_still(drawing: Drawing, name: str) -> ChartView:
    """The drawing for a page without a script. name: unique on the page."""
    job = ask_still(declare_chart(drawing))
    return ChartView(
        id=name,
        title=drawing.title,
        caption=drawing.caption,
        alt=drawing.alt,
        still=lambda: finish_still(fire_when_asked(job)(), name=name, words=drawing.alt),
        spec="",
    )
