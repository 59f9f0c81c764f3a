"""How charts look: colours, sizes, axes.

Colours are the page's custom properties. Vega copies them into the SVG as they are, so that `var(--s1)` follows the
page's light or dark theme without a script.
"""

from __future__ import annotations

from typing import Any

import altair as alt

VEGA_LITE = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
"""The version of Vega-Lite that Altair writes, for the SVG and for the page's script."""

INK, SOFT, LINE, PAPER = "var(--ink)", "var(--soft)", "var(--line)", "var(--paper)"
SERIES = tuple(f"var(--s{k})" for k in range(1, 7))
FONT = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica Neue, Arial, sans-serif"

CONFIG: dict[str, Any] = {
    "background": "transparent",
    # The whole figure has a label. Labels on each of thousands of marks would tell a screen reader nothing.
    "aria": False,
    "font": FONT,
    # The reader's font may be wider than the one that Vega measures texts with.
    "padding": {"left": 12, "right": 10, "top": 2, "bottom": 2},
    "view": {"stroke": None},
    "axis": {
        "domainColor": SOFT,
        "tickColor": SOFT,
        "gridColor": LINE,
        "labelColor": SOFT,
        "titleColor": SOFT,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "tickSize": 4,
        # Labels are cut before (panels.label): for a limit, Vega measures each, which doubles the time of a drawing.
        "labelLimit": 0,
        "titleLimit": 0,
    },
    "axisY": {"domain": False, "ticks": False, "labelPadding": 6},
    "header": {
        "labelColor": INK,
        "labelFontSize": 12,
        "labelFontWeight": 600,
        "labelAnchor": "start",
        "labelPadding": 6,
        "labelLimit": 0,
        "title": None,
    },
    "title": {
        "color": INK,
        "fontSize": 12,
        "fontWeight": 600,
        "anchor": "start",
        "frame": "group",
        "offset": 8,
        "limit": 0,
    },
    "legend": {
        "orient": "top",
        "title": None,
        "labelColor": INK,
        "labelFontSize": 12,
        "labelLimit": 0,
        "symbolStrokeWidth": 2.5,
        "symbolOpacity": 1,
        "columnPadding": 18,
        "offset": 10,
    },
    "line": {"strokeCap": "round", "strokeJoin": "round"},
}
