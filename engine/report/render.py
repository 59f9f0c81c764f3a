"""Write the report of a run: the records, the site, or one file; and a Markdown table of the verdicts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from engine.errors import LedgerError, explain
from engine.files import write_whole
from engine.records import Record, write_records
from engine.report.history import LATEST, Run
from engine.report.site import FOLDERS, GENERATOR, INDEX, arrange_report, render_single, render_site
from engine.report.words import find_record_symbol, sort_records, write_headline
from engine.text import write_markdown_cell

TITLE = "LM Claims"
PAGE = INDEX
CALIBRATION_PAGE, RUNS_PAGE = "calibration.html", "runs.html"
BESIDE = {CALIBRATION_PAGE: "How often a verdict is false", RUNS_PAGE: "Two runs compared"}
"""Pages that a report links to where they lie beside it, with the words of the link."""

LEAST_ROOM = 400
"""Bytes of a Markdown table from which rows may be left out: its head and the line that says so."""

_REMARK = 150
"""Bytes for the line that says how many rows were left out."""

_MARKDOWN_HEAD = ("claim", "statement", "verdicts: estimate [95 % interval]", "document")


def render(
    records: Sequence[Record],
    *,
    title: str = TITLE,
    rendered_at: str,
    previous: Sequence[Record] = (),
    history: Sequence[Run] = (),
) -> str:
    """The whole report in one file: equal records give equal bytes, in whatever order they come.

    rendered_at: the date to print; no clock is read. previous: the run before, to compare with. history: the kept
    runs, whose estimates are drawn over time.
    """
    return render_single(
        arrange_report(records, title=title, rendered_at=rendered_at, previous=previous, history=history)
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
    """Write records.jsonl, sorted, and the site, each file whole or not at all. Returns the path of index.html.

    Pages of claims that an earlier report left and this one lacks are removed. Raises LedgerError when the folder
    cannot be written.
    """
    beside = [(name, words) for name, words in BESIDE.items() if (folder / name).is_file()]
    # First, so that no fault of a page can cost the records.
    write_records(sort_records(records), folder / LATEST)
    report = arrange_report(
        records, title=title, rendered_at=rendered_at, previous=previous, history=history, beside=beside
    )
    files = render_site(report)
    _remove_links(folder)
    for path, content in files.items():  # the index is the last of them: it never names a page that is not there
        write_whole(folder / path, content, remedy="choose another with --report-dir")
    _remove_pages(folder, keep=files)
    return folder / PAGE


def _remove_links(folder: Path) -> None:
    """Remove links that stand where the site has folders: nothing is ever written to where they lead."""
    for name in FOLDERS:
        if (folder / name).is_symlink():
            try:
                (folder / name).unlink()
            except OSError as error:
                got, expected = f"{folder / name}: {error.strerror}", "a folder that can be written"
                raise LedgerError(explain(who="report", got=got, expected=expected, remedy="remove it")) from error


def _remove_pages(folder: Path, keep: Collection[str]) -> None:
    """Remove the pages of claims that are not to be kept, and what belongs to them; nothing that is not ours."""
    for page in (folder / "claims").glob("*.html"):
        if f"claims/{page.name}" in keep or page.is_symlink():
            continue
        try:
            with open(page, "rb") as file:
                ours = GENERATOR.encode() in file.read(1000)
            if ours:
                page.unlink()
                (folder / "data" / f"{page.stem}.csv").unlink(missing_ok=True)
        except OSError as error:
            got, expected = f"{page}: {error.strerror}", "a folder that can be written"
            raise LedgerError(explain(who="report", got=got, expected=expected, remedy="remove it")) from error


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
