"""Charts of a claim: what its tables show, as SVG that needs no script, and interactive where the page's script runs.

Charts are declared with Altair. It takes half a second to import, so only the functions that draw import it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markupsafe import Markup

from engine.records import Record, Table
from engine.report.charts.vega import DrawingError, Render, describe_error, fail, render_inline
from engine.text import write_plain

LOST = '<p class="small">This drawing could not be made: {}. The numbers that it would show are in the tables.</p>'

try:
    Path.home()
except RuntimeError:
    # While it is imported, Altair looks for its examples in the home folder, and this user has none.
    os.environ["HOME"] = os.devnull
    try:
        with suppress(ImportError):
            import altair as altair
    finally:
        del os.environ["HOME"]


@dataclass(frozen=True, kw_only=True)
class ChartView:
    """A chart, ready for the page.

    id: unique on the page. caption: how to read it, in one sentence. alt: the chart in words, with its key numbers.
    draw: waits for the SVG; raises DrawingError. spec: Vega-Lite as JSON that can stand in a script element; '' for a
    chart that stays as it is.
    """

    id: str
    title: str
    caption: str
    alt: str
    draw: Callable[[], Markup]
    spec: str

    @cached_property
    def svg(self) -> Markup:
        """The SVG, in colours that are custom properties of the page; a sentence where it could not be drawn."""
        try:
            return self.draw()
        except DrawingError as error:
            return Markup(LOST).format(write_plain(str(error)))  # noqa: S704 (format escapes what it inserts)


def draw_charts(
    records: Sequence[Record], anchor: str, extra: Sequence[Table] = (), render: Render = render_inline
) -> tuple[ChartView, ...]:
    """The charts of one claim, from all of its records: a panel for each subject and protocol.

    anchor: the claim's id on the page, with which the ids of its charts begin. extra: tables of the claim that belong
    to no record. A table is drawn if its kind has a drawing and it has the columns that the drawing reads.
    """
    if not extra and not any(table.kind for record in records for table in record.tables):
        return ()
    try:
        from engine.report.charts.registry import draw_all

        return draw_all(records, anchor, extra, render)
    except Exception as error:  # the page still shows this claim's numbers, and all other claims
        reason = describe_error(error)
        return (ChartView(id=f"{anchor}-charts", title="Charts", caption="", alt="", draw=fail(reason), spec=""),)
