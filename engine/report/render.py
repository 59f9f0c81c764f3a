"""Write the report of a run: the records, and the site or one file."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp

from engine.errors import LedgerError, explain
from engine.files import make_folder, sync, write_whole
from engine.records import Record, write_records
from engine.report.history import LATEST, Run
from engine.report.site import FOLDERS, GENERATOR, INDEX, arrange_report, render_single, render_site
from engine.report.words import sort_records

TITLE = "LM Claims"
PAGE = INDEX
CALIBRATION_PAGE, RUNS_PAGE = "calibration.html", "runs.html"
BESIDE = {CALIBRATION_PAGE: "How often a verdict is false", RUNS_PAGE: "Two runs compared"}
"""Pages that a report links to where they lie beside it, with the words of the link."""

STAGED, ABANDONED_S = ".pages-", 86_400.0
"""Beginning of the name of a folder in which pages are written first, and the age at which nobody writes there."""


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
    _put_in_place(render_site(report), folder)
    return folder / PAGE


def _put_in_place(files: Mapping[str, bytes], folder: Path) -> None:
    """Write the site's files beside the old ones, and then in their places: a disk that fills up leaves the old ones.

    The index comes last: it never names a page that is not there. Raises LedgerError.
    """
    _remove_links(folder)
    staged: Path | None = None
    try:
        _remove_staged(folder)
        staged = Path(mkdtemp(prefix=STAGED, dir=folder))
        for path, content in files.items():
            write_whole(staged / path, content, remedy="choose another with --report-dir")
        # Before others are put in place, so that two sessions cannot take away what the other one has just written.
        _remove_pages(folder, keep=files)
        for path in files:
            make_folder((folder / path).parent)
            sync(staged / path)
            os.replace(staged / path, folder / path)
            sync((folder / path).parent)
    except OSError as error:
        got = f"{error.filename2 or error.filename or folder}: {error.strerror}"
        remedy = "choose another with --report-dir"
        expected = "a folder that can be written"
        raise LedgerError(explain(who="report", got=got, expected=expected, remedy=remedy)) from error
    finally:
        if staged is not None:
            shutil.rmtree(staged, ignore_errors=True)


def _remove_staged(folder: Path) -> None:
    """Remove what sessions left that were killed while they wrote pages; what may still be written stays."""
    for left in folder.glob(f"{STAGED}*"):
        if left.is_dir() and not left.is_symlink() and left.stat().st_mtime < time.time() - ABANDONED_S:
            shutil.rmtree(left, ignore_errors=True)


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
    """Remove the pages of claims that are not to be kept, and what belongs to them; nothing that is not ours.

    What cannot be looked at stays. Raises OSError for a page of ours that cannot be removed.
    """
    for page in (folder / "claims").glob("*.html"):
        if f"claims/{page.name}" in keep or not stat.S_ISREG(page.lstat().st_mode):
            continue
        try:
            with open(page, "rb") as file:
                ours = GENERATOR.encode() in file.read(1000)
        except OSError:
            continue
        if ours:
            page.unlink()
            if f"data/{page.stem}.csv" not in keep:
                (folder / "data" / f"{page.stem}.csv").unlink(missing_ok=True)
