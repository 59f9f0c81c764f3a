"""Charts of a claim: what its tables show, drawn once for the page as it stands and for its script.

Declared with Altair; a still SVG is what everybody sees, and the same declaration becomes interactive where the page's
script runs. Altair takes half a second to load, so it is loaded by those who draw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from markupsafe import Markup

from engine.records import Record, Table
from engine.report.charts.kiln import Fire, fire_when_asked


@dataclass(frozen=True, kw_only=True)
class ChartView:
    """A chart, ready for the page.

    id: unique on the page. caption: one sentence on how to read it. alt: the drawing in words, with its key numbers.
    still: waits for the drawing. spec: Vega-Lite as JSON that can stand in a script element.
    """

    id: str
    title: str
    caption: str
    alt: str
    still: Callable[[], Markup]
    spec: str

    @cached_property
    def svg(self) -> Markup:
        """The still drawing, coloured by the page's custom properties."""
        return self.still()


def draw_charts(
    records: Sequence[Record], anchor: str, extra: Sequence[Table] = (), fire: Fire = fire_when_asked
) -> tuple[ChartView, ...]:
    """The charts of one claim, from all of its records: a panel for each subject and protocol.

    anchor: the claim's id on the page, with which those of its charts begin. extra: tables that are the claim's and no
    record's. fire: of the kiln in which they are drawn. A table without a kind, or whose columns are not the ones a
    drawing knows, is not drawn.
    """
    if not extra and not any(table.kind for record in records for table in record.tables):
        return ()
    from engine.report.charts.gallery import draw_all

    return draw_all(records, anchor, extra, fire)


def read_bundle(fire: Fire = fire_when_asked) -> Callable[[], str]:
    """The one script that makes charts interactive: Vega, Vega-Lite, their embedding, and ours. It requests nothing.

    Gives what to call for it, as it takes more than a second to put together.
    """
    from engine.report.charts.bundle import bundle

    return bundle(fire)
