"""Charts of a claim: what its tables show, drawn once for the page as it stands and for its script.

Declared with Altair; a still SVG is what everybody sees, and the same declaration becomes interactive where the page's
script runs. Altair takes half a second to load, so it is loaded by those who draw.
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
from engine.report.charts.vega import DrawingError, Fire, fire_when_asked
from engine.text import write_plain

LOST = '<p class="small">This drawing could not be made: {}. The numbers that it would show are in the tables.</p>'

try:
    Path.home()
except RuntimeError:
    # Altair's import asks where examples would be kept, which nobody loads here.
    os.environ["HOME"] = os.devnull
    try:
        with suppress(ImportError):
            import altair as altair
    finally:
        del os.environ["HOME"]


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
        """The still drawing, coloured by the page's custom properties; a sentence where it could not be made."""
        try:
            return self.still()
        except DrawingError as error:
            return Markup(LOST).format(write_plain(str(error)))  # noqa: S704 (what is put in is escaped)


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
    try:
        from engine.report.charts.registry import draw_all

        return draw_all(records, anchor, extra, fire)
    except Exception as error:  # whatever befalls a claim's drawings leaves its numbers, and the other claims
        why = " ".join(f"{type(error).__name__}: {error}".split())
        lost = ChartView(id=f"{anchor}-charts", title="Charts", caption="", alt="", still=_lose(why), spec="")
        return (lost,)


def _lose(why: str) -> Callable[[], Markup]:
    def lose() -> Markup:
        raise DrawingError(why)

    return lose


def read_bundle(fire: Fire = fire_when_asked) -> Callable[[], str]:
    """The one script that makes charts interactive: Vega, Vega-Lite, their embedding, and ours. It requests nothing.

    Gives what to call for it, as it takes more than a second to put together. It raises DrawingError where that fails.
    """
    try:
        from engine.report.charts.bundle import bundle
    except Exception as error:  # as where the charts are declared
        words = f"{type(error).__name__}: {error}"

        def lose() -> str:
            raise DrawingError(words)

        return lose
    return bundle(fire)
