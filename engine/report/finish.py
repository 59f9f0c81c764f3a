"""What a session does with its records: the run is kept, then reported on beside those before it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from engine.errors import EngineError
from engine.records import Record, read_records
from engine.report.history import LATEST, find_previous, keep_run, read_runs
from engine.report.render import write_report


def finish_report(records: Sequence[Record], folder: Path, *, tell: Callable[[str], None]) -> bool:
    """Keep the run and write the report; whether both could be written. tell: given what there is to say, by lines.

    Neither waits for the other: a disk that refuses one may take the other.
    """
    runs = read_runs([folder], tell=tell) if os.path.exists(folder) else ()
    previous = find_previous(records, runs)
    failures: list[str] = []
    try:
        if any(run.source == LATEST for run in runs):  # about to be overwritten, and among no runs that were kept
            keep_run(read_records(folder / LATEST), folder)
        keep_run(records, folder)
    except EngineError as error:
        failures.append(str(error))
    try:
        when = datetime.now(UTC).isoformat(timespec="seconds")
        before = previous.records if previous else ()
        tell(f"report: {write_report(records, folder, rendered_at=when, previous=before, history=runs)}")
    except EngineError as error:
        failures.append(str(error))
    for line in dict.fromkeys(failures):
        tell(line)
    return not failures
