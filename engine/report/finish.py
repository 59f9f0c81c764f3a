"""What a session does with its records: the run is kept, then reported on beside those before it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from engine.errors import EngineError
from engine.records import Record, key_of, read_records
from engine.report.history import LATEST, find_previous, keep_run, read_runs
from engine.report.render import PAGE, write_report
from engine.report.results import LONGEST
from engine.report.text import write_plain
from engine.selection import Selection

PART = "part"
"""Folder of the report of a part, in the folder of the whole one."""


def finish_report(
    records: Sequence[Record], folder: Path, *, tell: Callable[[str], None], asked: Selection | None = None
) -> bool:
    """Keep the run and write the report; whether both could be written. tell: given what there is to say, by lines.

    Neither waits for the other: a disk that refuses one may take the other. asked: what the session was asked for, all
    items where it is None. The report of a whole run is replaced by none that leaves out what it holds: that of a part
    goes to a folder of its own.
    """
    standing = _read_standing(folder)
    left_out = _find_left_out(records, standing, asked) if asked else []
    whole = any(not (r.session and r.session.part) for r in standing)
    whole_stays = bool(left_out) and whole
    if left_out or (asked and asked.part and not whole):
        records = [_mark_part(record) for record in records]
    place = folder / PART if whole_stays else folder
    if whole_stays and place.is_symlink():
        place.unlink()  # what a link leads to is none of ours to write to
    runs = read_runs([folder], tell=tell) if os.path.exists(folder) else ()
    previous = find_previous(records, runs)
    failures: list[str] = []
    try:
        if any(run.source == LATEST for run in runs):  # about to be overwritten, and among no runs that were kept
            keep_run(standing, folder)
        keep_run(records, folder)
    except EngineError as error:
        failures.append(str(error))
    try:
        when = datetime.now(UTC).isoformat(timespec="seconds")
        before = previous.records if previous else ()
        page = write_report(records, place, rendered_at=when, previous=before, history=runs)
        tell(write_plain(f"report: {page}", LONGEST))
        if whole_stays:
            what = "1 item" if len(left_out) == 1 else f"{len(left_out)} items"
            stays = f"it leaves out {what} of the last whole run, whose report stays: {folder / PAGE}"
            tell(write_plain(stays, LONGEST))
    except EngineError as error:
        failures.append(str(error))
    for line in dict.fromkeys(failures):
        tell(line)
    return not failures


def _read_standing(folder: Path) -> list[Record]:
    """The records of the report that is there, none where there is none that can be read."""
    try:
        return read_records(folder / LATEST)
    except EngineError:
        return []


def _find_left_out(records: Sequence[Record], standing: Sequence[Record], asked: Selection) -> list[Record]:
    """What the report there holds and a part does not. Of a whole run nothing: what it lacks was withdrawn."""
    here = {key_of(record) for record in records}
    return [r for r in standing if key_of(r) not in here and (asked.part or not asked.leads_to(r))]


def _mark_part(record: Record) -> Record:
    return record if record.session is None else replace(record, session=replace(record.session, part=True))
