"""Records into one HTML file that opens offline, and into a Markdown table. Pure but for write_report."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from engine.files import write_whole
from engine.records import CriterionRecord, Record, Table, write_records
from engine.report.charts.vega import DrawingError, VegaRenderer, read_bundle
from engine.report.history import Run
from engine.report.intervals import Scale, draw
from engine.report.marks import OUTCOMES, find_mark, mark_record, sort_records, write_headline
from engine.report.summary import (
    arrange_matrix,
    count_registrations,
    gather_facts,
    group_unregistered,
    list_choices,
    list_registrations,
)
from engine.report.views import (
    ClaimView,
    are_many,
    arrange_claims,
    count_marks,
    count_outcomes,
    find_changes,
    group_skipped,
)
from engine.text import (
    format_duration,
    format_interval,
    format_number,
    format_percent,
    write_html,
    write_markdown_cell,
    write_plain,
)

TITLE = "LM Claims"
PAGE = "index.html"
CALIBRATION_PAGE = "calibration.html"
BESIDE = {CALIBRATION_PAGE: "How often a verdict is false"}
"""Pages that a report links to where they lie beside it, with the words of the link."""

ROWS = (1000, 300, 100, 40, 12, 4)
MOST_CELLS = 25_000
"""Table cells that a page holds: of about 35 bytes each, they stay near a tenth of the 8 MB that it may have."""
_REMARK = 150
"""Bytes for the line on what was left out."""

LEAST_ROOM = 400
"""Bytes of a Markdown table of which something may be left out: its head and the line that says so."""

_MARKDOWN_HEAD = ("claim", "statement", "verdicts: estimate [95 % interval]", "document")


def render(
    records: Sequence[Record],
    *,
    title: str,
    rendered_at: str,
    previous: Sequence[Record] = (),
    history: Sequence[Run] = (),
    beside: Sequence[str] = (),
) -> str:
    """One self-contained page: equal records give equal bytes, in whatever order they come.

    rendered_at: the date to print; no clock is read. previous: the run before, to compare with. history: the runs
    that are kept, whose estimates are drawn over time. beside: which pages of BESIDE lie in the page's folder.
    """
    drawn = {(r.claim, t.kind) for r in records for t in r.tables if t.kind}
    with VegaRenderer(len(drawn)) as renderer:
        bundle = read_bundle(renderer.submit) if drawn or history else None
        claims = arrange_claims(records, previous, history, renderer.submit)
        charted = any(claim.charts for claim in claims)
        scripts = [_read_data("page.js")]
        if bundle is not None and charted:
            with suppress(DrawingError):  # the charts stay static
                scripts.append(bundle())
        return load_template("report.html.j2").render(
            title=title,
            rendered_at=rendered_at,
            style=_read_data("style.css") + _read_data("film.css"),
            scripts=tuple(scripts),
            script_sources=" ".join(map(_name_source, scripts)),
            claims=claims,
            items=len(records),
            condensed=are_many(records),
            marks=count_marks(claims),
            outcomes=count_outcomes(records),
            outcome_words=OUTCOMES,
            registrations=count_registrations(records),
            unregistered=group_unregistered(claims),
            facts=gather_facts(records),
            matrix=arrange_matrix(claims),
            choices=list_choices(claims),
            drifts=[i for c in claims for i in c.items if i.record.outcome == "drift"],
            errors=[i for c in claims for i in c.items if i.record.outcome == "error"],
            changes=find_changes(claims, previous),
            skipped=group_skipped(claims),
            legend=_draw_legend(),
            rows_shown=_fit_rows(claims),
            beside=[(name, BESIDE[name]) for name in beside],
        )


def _name_source(script: str) -> str:
    """A script as the page's policy names it, so that no other one runs. Source: Content Security Policy 3."""
    return f"'sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _fit_rows(claims: Sequence[ClaimView]) -> int:
    """Rows of a table that the page shows, the fewer the more there are: records.jsonl holds them all."""
    tables = [table for claim in claims for item in claim.items for table in (*item.variants, *item.tables)]
    return next(
        (rows for rows in ROWS if sum(min(rows, len(t.rows)) * len(t.columns) for t in tables) <= MOST_CELLS), ROWS[-1]
    )


def write_report(
    records: Sequence[Record],
    folder: Path,
    *,
    rendered_at: str,
    title: str = TITLE,
    previous: Sequence[Record] = (),
    history: Sequence[Run] = (),
) -> Path:
    """Write records.jsonl, sorted, and index.html, each whole or not at all. Returns the path of index.html.

    Raises LedgerError when the folder cannot be written.
    """
    beside = [name for name in BESIDE if (folder / name).is_file()]
    write_records(sort_records(records), folder / "records.jsonl")  # first: no fault of the page may cost it
    page = render(records, title=title, rendered_at=rendered_at, previous=previous, history=history, beside=beside)
    index = folder / PAGE
    write_whole(index, page.encode(), remedy="choose another with --report-dir")
    return index


def tabulate(records: Sequence[Record], *, most: int | None = None) -> str:
    """A GitHub-flavoured Markdown table: a row for each claim, with a line for each subject and protocol.

    most: bytes that there is room for. Rows that do not fit are left out whole, and a line below says how many.
    """
    claims: dict[str, list[Record]] = {}
    for record in sort_records(records):
        claims.setdefault(record.claim, []).append(record)
    rows = [_MARKDOWN_HEAD, tuple("---" for _ in _MARKDOWN_HEAD)]
    for name, items in claims.items():
        statement, document = (write_markdown_cell(t) for t in (items[0].statement, items[0].document or "—"))
        rows.append((write_markdown_cell(name), statement, "<br>".join(_write_verdicts(items)), document))
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines if most is None else _fit(lines, most))


def _fit(lines: list[str], most: int) -> list[str]:
    """A table's lines, of which those that do not fit into so many bytes are left out."""
    sizes = [len(line.encode()) + 1 for line in lines]
    if sum(sizes) <= most:
        return lines
    room = most - sum(sizes[:2]) - _REMARK
    kept: list[str] = []
    for line, size in zip(lines[2:], sizes[2:], strict=True):
        if size <= room:
            kept.append(line)
            room -= size
    claims = len(lines) - 2
    remark = (
        f"Left out for want of room: {claims - len(kept)} of {claims} claims. All are in the run's report, index.html."
    )
    return [*lines[:2], *kept, "", remark]


def _write_verdicts(items: Sequence[Record]) -> list[str]:
    """A line for each item that was measured, and one for all that wait for the same reason."""
    lines: list[str] = []
    waiting: dict[str, list[str]] = {}
    for record in items:
        mark, headline = mark_record(record), write_headline(record)
        if headline:
            words = f"{record.subject}, {record.protocol}: {mark.symbol} {mark.word}, {headline}"
            lines.append(write_markdown_cell(words))
        else:
            waiting.setdefault(f"{mark.symbol} {mark.word}", []).append(record.subject)
    for why, subjects in waiting.items():
        lines.append(write_markdown_cell(f"{', '.join(dict.fromkeys(subjects))}: {why}"))
    return lines


def _read_data(name: str) -> str:
    return files("engine.report").joinpath(name).read_text(encoding="utf-8")


@cache
def load_template(name: str) -> Template:
    """A template of this package, with the filters that make other people's text inert."""
    environment = Environment(
        loader=FunctionLoader(_read_data),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The library declares the dict by the functions that it ships, and ours are others.
    filters = cast("dict[str, Any]", environment.filters)
    filters.update(
        show=write_html,
        plain=write_plain,
        number=format_number,
        percent=format_percent,
        interval=format_interval,
        duration=format_duration,
        mark=find_mark,
        registrations=list_registrations,
        numeric=_find_numeric,
    )
    return environment.get_template(name)


def _find_numeric(table: Table, rows: int) -> set[int]:
    """Columns that hold no text in the first rows."""
    texts = {k for row in table.rows[:rows] for k, cell in enumerate(row) if isinstance(cell, str)}
    return set(range(len(table.columns))) - texts


def _draw_legend() -> tuple[tuple[str, Markup], ...]:
    """The three ways in which an interval can lie, drawn as the report draws them."""
    cases = (("supported", 6.0, 8.0, 10.0), ("refuted", 0.5, 1.2, 2.4), ("inconclusive", 2.6, 4.0, 6.2))
    return tuple((word, _draw_example(word, low, value, high)) for word, low, value, high in cases)


def _draw_example(word: str, low: float, value: float, high: float) -> Markup:
    example = CriterionRecord(
        text="example > 4.4",
        role="only",
        because="",
        estimate="example",
        region_low=4.4,
        region_high=float("inf"),
        value=value,
        low=low,
        high=high,
        n=None,
        counts="",
        method="",
        ruling=word,
        sentence="",
    )
    return draw(example, Scale(low=0.0, high=10.0), kind=find_mark(word).kind)
