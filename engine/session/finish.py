"""What a session does with its records: the run is kept, then reported on beside those before it."""

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
    """Keep the run and write the report; whether both could be written. tell: given what there is to say, by lines.

    Neither waits for the other: a disk that refuses one may take the other. asked: what the session was asked for, all
    items where it is None. The report of a whole run is replaced by none that leaves out what it holds: that of a part
    goes to a folder of its own.
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
        place.unlink()  # what a link leads to is none of ours to write to
    runs = read_runs([folder], warn=tell) if os.path.exists(folder) else ()
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
            what = say_count(len(left_out), "item")
            stays = f"it leaves out {what} of the last whole run, whose report stays: {folder / PAGE}"
            tell(write_plain(stays, LONGEST))
        elif gone and whole and asked:
            names = ", ".join(dict.fromkeys(record.claim for record in gone))
            what = say_count(len(gone), "item")
            told = f"it replaces a report with {what} that this session did not find ({names}); {RUNS}/ keeps that run"
            tell(write_plain(told, LONGEST))
    except EngineError as error:
        failures.append(str(error))
    for line in dict.fromkeys(failures):
        tell(line)
    return not failures


def finish_empty(folder: Path, *, tell: Callable[[str], None]) -> bool:
    """Write the records of a share without items, so that all shares are brought together by one command.

    A report that is there stays. Returns whether it could be written.
    """
    try:
        if not os.path.lexists(folder / LATEST):
            write_records([], folder / LATEST)
    except EngineError as error:
        tell(str(error))
        return False
    return True


def _read_standing(folder: Path) -> list[Record]:
    """The records of the report that is there, none where there is none that can be read."""
    try:
        return read_records(folder / LATEST)
    except EngineError:
        return []


def _find_gone(records: Sequence[Record], standing: Sequence[Record]) -> list[Record]:
    """What the report there holds and these records do not."""
    here = {key_of(record) for record in records}
    return [record for record in standing if key_of(record) not in here]


def check_replaced(records: Sequence[Record], folder: Path) -> None:
    """Raises UsageError where the report of a part would take the place of a whole run's that holds more."""
    standing = _read_standing(folder)
    part = explain_part(records)
    if part and standing and not explain_part(standing) and (gone := _find_gone(records, standing)):
        got = f"the report of a part for {folder}, where that of a whole run has {say_count(len(gone), 'item')} more"
        remedy = f"name another with --out, or name {folder} among the records to bring both together"
        raise UsageError(explain(who="render", got=got, expected="a folder of its own", remedy=remedy))


def _mark_part(record: Record) -> Record:
    return record if record.session is None else replace(record, session=replace(record.session, part=True))
