"""How charts look: colours by the page's custom properties, sizes, axes.

Vega writes colours into the drawing as it is given them, so `var(--s1)` follows the page's theme without a script.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import altair as alt

INK, SOFT, LINE, PAPER = "var(--ink)", "var(--soft)", "var(--line)", "var(--paper)"
SERIES = tuple(f"var(--s{k})" for k in range(1, 7))
FONT = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica Neue, Arial, sans-serif"

CONFIG: dict[str, Any] = {
    "background": "transparent",
    # The figure says in its label what it shows; thousands of labelled marks would say nothing.
    "aria": False,
    "font": FONT,
    # Room for a reader's font that is wider than the one that was measured with.
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
        # Labels come cut: to measure them against a limit takes as long as all the rest of a drawing.
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


@dataclass(frozen=True, kw_only=True)
class Arms:
    """The arms of a claim, each with one colour in all of its charts."""

    names: tuple[str, ...]

    def colour(self, drawn: Iterable[str], *, symbol: str | None = "stroke") -> alt.Color:
        """The channel of the field 'a'. drawn: the arms of this chart; symbol: of the legend, None for none."""
        own = self._own(drawn)
        # One arm alone is named where it is drawn; a legend would have nothing to tell apart.
        legend = alt.Legend(symbolType=symbol, columns=4) if symbol and len(own) > 1 else None
        return alt.Color("a:N", scale=alt.Scale(domain=own, range=[self._shade(n) for n in own]), legend=legend)

    def dash(self, drawn: Iterable[str]) -> dict[str, Any]:
        """The channel of dashes for arms that have to share a colour, by its name; none where none has to."""
        if len(self.names) <= len(SERIES):
            return {}
        own = self._own(drawn)
        dashes = [[1, 0] if self._place(n) < len(SERIES) else [5, 3] for n in own]
        return {"strokeDash": alt.StrokeDash("a:N", scale=alt.Scale(domain=own, range=dashes))}

    def _own(self, drawn: Iterable[str]) -> list[str]:
        """Those of the claim in its order, then what is no arm of it."""
        asked = dict.fromkeys(drawn)
        return [name for name in self.names if name in asked] + [name for name in asked if name not in self.names]

    def _shade(self, name: str) -> str:
        return SERIES[self._place(name) % len(SERIES)]

    def _place(self, name: str) -> int:
        return self.names.index(name) if name in self.names else 0
