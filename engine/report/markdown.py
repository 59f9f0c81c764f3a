"""The verdicts of a run as Markdown tables: a line for each model and protocol, or a line a claim."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.records import Record, find_headline
from engine.report.pages import write_rows
from engine.report.standing import ClaimStanding, Standing, find_standings
from engine.report.words import find_record_symbol, sort_records, write_headline
from engine.text import format_number, write_markdown_cell

LEAST_ROOM = 400
"""Bytes of a Markdown table from which rows may be left out: its head and the line that says so."""

_REMARK = 150
"""Bytes for the line that says how many rows were left out."""

_HEAD = ("claim", "statement", "verdicts: estimate [95 % interval]", "document")


def tabulate_claims(records: Sequence[Record]) -> str:
    """A GitHub-flavoured Markdown table with a line a claim: its question, its standing and the first estimate.

    Claims that no model here could decide have one line below the table for all of them.
    """
    groups: dict[str, Record] = {}
    for record in sort_records(records):
        groups.setdefault(record.claim, record)
    standings = find_standings(sort_records(records))
    rows = [
        (
            write_markdown_cell(one.claim),
            write_markdown_cell(groups[one.claim].question or groups[one.claim].statement),
            f"{one.symbol.sign} {one.standing}",
            write_markdown_cell(_write_reading(one)),
        )
        for one in standings
        if one.standing != Standing.UNTESTED
    ]
    untested = [one.claim for one in standings if one.standing == Standing.UNTESTED]
    below = ["", f"Not tested yet: {', '.join(map(write_markdown_cell, untested))}."] if untested else []
    return "\n".join([*write_rows(("", "question", "answer", "measured"), rows), *below])


def _write_reading(standing: ClaimStanding) -> str:
    """'ratio 2.24 (document: 100)': the estimate that the first verdict turns on, beside the document's figure."""
    rows = standing.decided or standing.open
    c = find_headline(rows[0]) if rows else None
    if c is None or c.value is None or not math.isfinite(c.value):
        return ""
    figure = f" (document: {format_number(c.figure)})" if c.figure is not None else ""
    return f"{c.estimate} {format_number(c.value, 3)}{figure}"


def tabulate(records: Sequence[Record], *, most: int | None = None) -> str:
    """A GitHub-flavoured Markdown table: a row for each claim, with a line for each subject and protocol.

    most: bytes that there is room for. Rows that do not fit are left out whole, and a line below says how many.
    """
    claims: dict[str, list[Record]] = {}
    for record in sort_records(records):
        claims.setdefault(record.claim, []).append(record)
    rows = [_HEAD, tuple("---" for _ in _HEAD)]
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
