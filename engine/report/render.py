"""Records into one HTML file that opens offline, and into a Markdown table. Pure but for write_report."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from engine.files import write_whole
from engine.records import CriterionRecord, Record, write_records
from engine.report.charts.vega import DrawingError, VegaRenderer, read_bundle
from engine.report.history import Run
from engine.report.intervals import Axis, IntervalView, arrange_interval
from engine.report.overview import (
    arrange_matrix,
    count_outcomes,
    count_registrations,
    count_verdicts,
    find_changes,
    gather_facts,
    group_skipped,
    group_unregistered,
    list_figures,
    list_filters,
    roll_up,
)
from engine.report.templates import load_template, read_data
from engine.report.views import are_many, arrange_claims
from engine.report.words import OUTCOMES, find_record_symbol, find_symbol, sort_records, write_headline
from engine.text import write_markdown_cell

TITLE = "LM Claims"
PAGE = "index.html"
CALIBRATION_PAGE = "calibration.html"
BESIDE = {CALIBRATION_PAGE: "How often a verdict is false"}
"""Pages that a report links to where they lie beside it, with the words of the link."""

ROWS = (1000, 300, 100, 40, 12, 4)
MOST_CELLS = 25_000
"""Table cells that a page holds: at about 35 bytes each, they stay near a tenth of the 8 MB that it may have."""

LEAST_ROOM = 400
"""Bytes of a Markdown table from which rows may be left out: its head and the line that says so."""

_REMARK = 150
"""Bytes for the line that says how many rows were left out."""

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

    rendered_at: the date to print; no clock is read. previous: the run before, to compare with. history: the kept
    runs, whose estimates are drawn over time. beside: which pages of BESIDE lie in the page's folder.
    """
    drawn = {(r.claim, t.kind) for r in records for t in r.tables if t.kind}
    with VegaRenderer(len(drawn)) as renderer:
        bundle = read_bundle(renderer.submit) if drawn or history else None
        claims = arrange_claims(records, previous, history, renderer.submit)
        scripts = [read_data("page.js")]
        if bundle is not None and any(claim.charts for claim in claims):
            with suppress(DrawingError):  # the charts stay static
                scripts.append(bundle())
        # The page's policy names its scripts by their hash, so that no other one runs. Source: CSP 3.
        hashes = [b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
        items = [item for claim in claims for item in claim.items]
        # The more tables there are, the fewer rows of each the page shows; records.jsonl holds them all.
        tables = [table for item in items for table in (*item.variants, *item.tables)]
        sizes = {rows: sum(min(rows, len(t.rows)) * len(t.columns) for t in tables) for rows in ROWS}
        return load_template("report.html.j2").render(
            title=title,
            rendered_at=rendered_at,
            style=read_data("style.css") + read_data("film.css"),
            scripts=tuple(scripts),
            script_sources=" ".join(f"'sha256-{digest}'" for digest in hashes),
            claims=claims,
            items=len(records),
            condensed=are_many(records),
            verdicts=count_verdicts(claims),
            rolled=roll_up(claims),
            figures=list_figures(claims),
            outcomes=count_outcomes(records),
            outcome_words=OUTCOMES,
            registrations=count_registrations(records),
            unregistered=group_unregistered(claims),
            facts=gather_facts(records),
            matrix=arrange_matrix(claims),
            filters=list_filters(claims),
            drifts=[item for item in items if item.record.outcome == "drift"],
            errors=[item for item in items if item.record.outcome == "error"],
            changes=find_changes(claims, previous),
            skipped=group_skipped(claims),
            legend=_arrange_legend(),
            rows_shown=next((rows for rows in ROWS if sizes[rows] <= MOST_CELLS), ROWS[-1]),
            beside=[(name, BESIDE[name]) for name in beside],
        )


def _arrange_legend() -> list[tuple[str, IntervalView | None]]:
    """The three ways in which an interval can lie, drawn as the report draws them."""
    legend: list[tuple[str, IntervalView | None]] = []
    for word, low, value, high in (
        ("supported", 6.0, 8.0, 10.0),
        ("refuted", 0.5, 1.2, 2.4),
        ("inconclusive", 2.6, 4.0, 6.2),
    ):
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
        legend.append((word, arrange_interval([example], Axis(low=0.0, high=10.0), find_symbol(word).css_class)))
    return legend


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
    # First, so that no fault of the page can cost the records.
    write_records(sort_records(records), folder / "records.jsonl")
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
        # A line for each item with an estimate, and one for all items that lack theirs for the same reason.
        lines: list[str] = []
        bare: dict[str, list[str]] = {}
        for record in items:
            symbol, headline = find_record_symbol(record), write_headline(record)
            verdict = f"{symbol.sign} {symbol.word}"
            if headline:
                lines.append(f"{record.subject}, {record.protocol}: {verdict}, {headline}")
            else:
                bare.setdefault(verdict, []).append(record.subject)
        lines += [f"{', '.join(dict.fromkeys(subjects))}: {verdict}" for verdict, subjects in bare.items()]
        verdicts = "<br>".join(map(write_markdown_cell, lines))
        name, statement, document = (
            write_markdown_cell(text) for text in (name, items[0].statement, items[0].document or "—")
        )
        rows.append((name, statement, verdicts, document))
    written = [f"| {' | '.join(row)} |" for row in rows]
    sizes = [len(line.encode()) + 1 for line in written]
    if most is None or sum(sizes) <= most:
        return "\n".join(written)
    room = most - sum(sizes[:2]) - _REMARK
    fitting: list[str] = []
    for line, size in zip(written[2:], sizes[2:], strict=True):
        if size <= room:
            fitting.append(line)
            room -= size
    left_out = f"{len(claims) - len(fitting)} of {len(claims)} claims"
    remark = f"Left out to save room: {left_out}. The run's report, index.html, has them all."
    return "\n".join([*written[:2], *fitting, "", remark])
