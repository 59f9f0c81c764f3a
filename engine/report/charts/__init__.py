"""Charts of a claim: what its tables show, drawn once for the page as it stands and for its script.

Declared with Altair; a still SVG is what everybody sees, and the same declaration becomes interactive where the page's
script runs. Altair takes half a second to load, so it is loaded by those who draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from markupsafe import Markup

from engine.records import Record, Table


@dataclass(frozen=True, kw_only=True)
class ChartView:
    """A chart, ready for the page.

    id: unique on the page. caption: one sentence on how to read it. alt: the drawing in words, with its key numbers.
    svg: still, coloured by the page's custom properties. spec: Vega-Lite as JSON that can stand in a script element.
    """

    id: str
    title: str
    caption: str
    alt: str
    svg: Markup
    spec: str


def draw_charts(records: Sequence[Record], anchor: str, extra: Sequence[Table] = ()) -> tuple[ChartView, ...]:
    """The charts of one claim, from all of its records: a panel for each subject and protocol.

    anchor: the claim's id on the page, with which those of its charts begin. extra: tables that are the claim's and no
    record's. A table without a kind, or whose columns are not the ones a drawing knows, is not drawn.
    """
    if not extra and not any(table.kind for record in records for table in record.tables):
        return ()
    from engine.report.charts.gallery import draw_all

    return draw_all(records, anchor, extra)


@cache
def read_bundle() -> str:
    """The one script that makes charts interactive: Vega, Vega-Lite, their embedding, and ours. It requests nothing."""
    from engine.report.charts.bundle import bundle

    return bundle()
