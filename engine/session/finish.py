"""Keeps the records of a session's run, and writes the report of it and of earlier runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from engine.errors import EngineError, UsageError, explain, say_count
from engine.records import Record, explain_part, key_of, read_records, write_records
from engine.report.history import LATEST, RUNS, find_previous, keep_run, read_runs
from engine.report.render import PAGE, write_report
from engine.session.selection import Selection
from engine.session.summary import LONGEST
from engine.text import write_plain

PART = "part"
"""Folder of the report of a part, in the folder of the whole one."""


def finish_report(
    records: Sequence[Record], folder: Path, *, tell: Callable[[str], None], asked: Selection | None = None
) -> bool:
    """Keep the run and write the report. Returns whether both could be written.

    tell: receives lines for the terminal. asked: what the session was asked for; None means all items.
    Each is tried even if the other fails, since a disk may accept only one. A report that leaves out items
    of a whole run's report does not replace it: the report of a part goes to a folder of its own.
    """
    standing = _read_standing(folder)
    whole = bool(standing) and not explain_part(standing)
    gone = _find_gone(records, standing)
    left_out = [r for r in gone if asked.part or asked.shared or not asked.leads_to(r)] if asked else []
    whole_stays = bool(left_out) and whole
    if asked and ((asked.part and (left_out or not whole)) or any(not asked.leads_to(r) for r in left_out)):
        records = [_mark_part(record) for record in records]
    place = folder / PART if whole_stays else folder
    if whole_stays and place.is_symlink():
        place.unlink()  # never write to where a link leads
    runs = read_runs([folder], warn=tell) if os.path.exists(folder) else ()
    previous = find_previous(records, runs)
    failures: list[str] = []
    try:
        if any(run.source == LATEST for run in runs):  # about to be overwritten, and not yet among the kept runs
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
            what = say_count(len(left_out), "item")
            stays = f"it leaves out {what} of the last whole run, whose report stays: {folder / PAGE}"
            tell(write_plain(stays, LONGEST))
        elif gone and whole and asked:
            names = ", ".join(dict.fromkeys(record.claim for record in gone))
            what = say_count(len(gone), "item")
            line = f"the report it replaces had {what} that this session did not find ({names}); {RUNS}/ keeps that run"
            tell(write_plain(line, LONGEST))
    except EngineError as error:
        failures.append(str(error))
    for line in dict.fromkeys(failures):
        tell(line)
    return not failures


def finish_empty(folder: Path, *, tell: Callable[[str], None]) -> bool:
    """Write the records of an empty slice, so that one command merges all slices. An existing report stays.

    Returns whether they could be written.
    """
    try:
        if not os.path.lexists(folder / LATEST):
            write_records([], folder / LATEST)
    except EngineError as error:
        tell(str(error))
        return False
    return True


def _read_standing(folder: Path) -> list[Record]:
    """The records of the existing report; empty if there is none, or none that can be read."""
    try:
        return read_records(folder / LATEST)
    except EngineError:
        return []


def _find_gone(records: Sequence[Record], standing: Sequence[Record]) -> list[Record]:
    """Records of the existing report that the new records lack."""
    here = {key_of(record) for record in records}
    return [record for record in standing if key_of(record) not in here]


def check_replaced(records: Sequence[Record], folder: Path) -> None:
    """Raises UsageError if the report of a part would replace that of a whole run with more items."""
    standing = _read_standing(folder)
    part = explain_part(records)
    if part and standing and not explain_part(standing) and (gone := _find_gone(records, standing)):
        got = (
            f"a partial report for {folder}, which holds a whole run's report with {say_count(len(gone), 'item')} more"
        )
        remedy = f"name another with --out, or name {folder} among the records to bring both together"
        raise UsageError(explain(who="render", got=got, expected="a folder of its own", remedy=remedy))


def _mark_part(record: Record) -> Record:
    return record if record.session is None else replace(record, session=replace(record.session, part=True))
