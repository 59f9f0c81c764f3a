"""From a drawing to the page: Altair's layers in panels as one Vega-Lite chart, its SVG, and its JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import altair as alt
import vl_convert
from markupsafe import Markup, escape

from engine.report.charts import ChartView
from engine.report.charts.panels import Row
from engine.report.charts.theme import CONFIG, VEGA_LITE
from engine.report.charts.vega import DrawingError, Job, Render

MAX_FACTS = 8
"""Facts in the words that describe a chart."""

HALF_PX, WHOLE_PX, NARROW = 580, 1160, 4
"""Width of a chart beside another one, of a chart on its own, and the most panels that the former holds."""

AXIS_PX, GAP_PX = 58, 24
"""Room for the labels of a vertical axis, and between panels."""

SMALL_PX = 250
"""The margin of a small chart, several of which stand side by side and each of which fits a phone."""

_TAG = re.compile(r"<[^<>]*>")
_ROOT = re.compile(r"<svg[^>]*?width=\"([\d.]+)\"[^>]*?viewBox=\"([^\"]*)\"[^>]*>")
_COORDINATES = re.compile(r'(?<=\s)(?:d|[xy][12]?|c[xy]|width|height|points)="[^"]*"|translate\([^()"]*\)')
_DECIMALS = re.compile(r"-?\d+\.\d{2,}(?:e-?\d+)?")
_CLIP = re.compile(r'(?<= id=")clip|(?<=url\(#)clip')
_NEEDLESS = re.compile(
    r'<path class="(?:background|foreground)"[^>]* d="(?:M0,0h0v0h0Z)?"[^>]*/>'
    r'| (?:role="graphics-(?:symbol|object)"|aria-roledescription="[a-z -]+"|aria-hidden="true"|pointer-events="none"'
    r'|(?:opacity|stroke-opacity|stroke-width)="1"|font-weight="normal"|font-family="[^"]*"|class="[^"]*"'
    r'|aria-label="[^"]*"|stroke-line(?:cap|join)="round")'
)
"""A third of what Vega writes: empty frames, defaults, classes, roles and labels of single marks (the whole chart has a
label), the font and the ends of lines (the page's)."""

_CIRCLE = re.compile(
    r'<path transform="translate\((?P<x>[-\d.]+),(?P<y>[-\d.]+)\)" '
    r'd="M(?P<r>[\d.]+),0A(?P=r),(?P=r),0,1,1,-(?P=r),0A(?P=r),(?P=r),0,1,1,(?P=r),0"'
)
_UNSTROKED = re.compile(r'(<circle (?:(?!stroke=)[^>])*?) stroke-width="[^"]*"((?:(?!stroke=)[^>])*>)')
"""A circle without an outline, which has a width all the same."""

_WRAP = re.compile(r"<g><g>((?:(?!</?g)[\s\S])*)</g></g>")
"""A group around a group that says nothing."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """The contents of a chart.

    caption: how to read it. facts: its key numbers. layers: declared without data, in painting order. rows: the data of
    all layers; 'p' names a row's panel, in the order of their first rows. packed: fields that differ from point to
    point of a mark; the other fields are written once for all of them. not_drawn: panels left out. height: of a panel,
    in pixels, None for a default. margin: pixels that labels on the left take beyond those of an axis of numbers.
    own_axes: whether each panel has its own axes.
    """

    title: str
    caption: str
    facts: Sequence[str]
    layers: Sequence[alt.Chart]
    rows: Sequence[Row]
    packed: tuple[str, ...] = ("x", "y")
    not_drawn: int = 0
    height: float | None = None
    margin: float = 0
    own_axes: bool = False

    @property
    def alt(self) -> str:
        """The chart in words, with its key numbers."""
        more = f"; and {len(self.facts) - MAX_FACTS} more" if len(self.facts) > MAX_FACTS else ""
        return f"{self.title}. {'; '.join(self.facts[:MAX_FACTS])}{more}."


def make_chart(drawing: Drawing, id: str, render: Render, *, interactive: bool = True) -> ChartView:
    """Start rendering the drawing. id: unique on the page. interactive: whether the page's script may redraw it."""
    left = drawing.not_drawn
    more = f" {left} more {'setting is' if left == 1 else 'settings are'} not drawn." if left else ""
    declared = declare_chart(drawing)
    wait = render(svg_job(declared))
    return ChartView(
        id=id,
        title=drawing.title,
        caption=drawing.caption + more,
        alt=drawing.alt,
        draw=lambda: inline_svg(wait(), id=id, label=drawing.alt),
        spec=write_spec(declared) if interactive else "",
    )


def declare_chart(drawing: Drawing) -> dict[str, Any]:
    """The drawing in Vega-Lite.

    Layers and panels are combined here and not by Altair, which would copy all channels of the layers for each.
    """
    rows = _pack(drawing.rows, drawing.packed)
    names = list(dict.fromkeys(row.get("p", "") for row in drawing.rows))
    # Up to four panels share half of the page's width with their axis and labels, more of them all of it.
    columns = 1 if len(names) == 1 else 2 if len(names) <= NARROW else 3
    room = (HALF_PX if len(names) <= NARROW else WHOLE_PX) - AXIS_PX - drawing.margin - GAP_PX * (columns - 1)
    layers = [layer.to_dict(validate=False, context={"top_level": False}) for layer in drawing.layers]
    panel: dict[str, Any] = {
        "width": round(room / columns),
        "height": drawing.height or (230 if len(names) == 1 else 185),
        "layer": [{key: value for key, value in layer.items() if key != "data"} for layer in layers],
    }
    chart = {"data": {"name": "rows"}, "datasets": {"rows": rows}, "transform": [{"flatten": list(drawing.packed)}]}
    if len(names) == 1:
        return chart | panel | {"title": names[0]}
    facet = {"field": "p", "type": "nominal", "sort": None, "title": None}
    chart |= {"facet": facet, "columns": columns, "spacing": GAP_PX, "spec": panel}
    if drawing.own_axes:
        chart["resolve"] = {"scale": {"x": "independent", "y": "independent"}}
    elif len(names) % columns:
        # One axis below each column would leave the columns that end early without an axis nearby.
        chart["resolve"] = {"axis": {"x": "independent"}}
    return chart


def _pack(rows: Sequence[Row], fields: Sequence[str]) -> list[dict[str, Any]]:
    """Merge rows that differ only in `fields` into one with lists there, in the order of their first rows.

    Each gets a list for every field, since Vega-Lite's flatten drops rows that lack one.
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


def svg_job(declared: dict[str, Any]) -> Job:
    """The call that renders a chart."""
    spec = json.dumps(declared)
    return partial(vl_convert.vegalite_to_svg, spec, vl_version=VEGA_LITE, config=CONFIG, allowed_base_urls=[])


def inline_svg(svg: str, *, id: str, label: str) -> Markup:
    """Vega's SVG made smaller, and as wide as its place on the page allows, up to its own width.

    id: unique on the page. label: the chart in words. Class 'wide' marks a chart of more than half the page's width.
    """
    root = _ROOT.match(svg)
    if root is None:
        raise DrawingError("vl-convert returned no SVG")
    width, box = float(root[1]), root[2]

    def shorten(tag: re.Match[str]) -> str:
        short = _COORDINATES.sub(lambda found: _DECIMALS.sub(_round, found[0]), _NEEDLESS.sub("", tag[0]))
        return _CLIP.sub(f"{id}-clip", short)  # ids hold for the whole page, and Vega gives the same to all charts

    wide = ' class="wide"' if width > HALF_PX * 1.3 else ""
    opening = (
        f'<svg{wide} role="img" aria-label="{escape(label)}" viewBox="{box}" '
        f'style="width:100%;min-width:{0.7 * width:.0f}px;max-width:{width:.0f}px;height:auto">'
    )
    short = _CIRCLE.sub(r'<circle cx="\g<x>" cy="\g<y>" r="\g<r>"', _TAG.sub(shorten, svg[root.end() :]))
    short = _UNSTROKED.sub(r"\1\2", short)
    return Markup(opening + _WRAP.sub(r"<g>\1</g>", short))  # noqa: S704 (Vega escapes all texts)


def _round(number: re.Match[str]) -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0")
