"""Kept runs: one file of records for each session, so that a report can look back."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from engine.errors import LedgerError, explain
from engine.files import make_folder
from engine.records import (
    Record,
    Table,
    dump_record,
    explain_part,
    find_headline,
    is_measured,
    key_of,
    read_records,
    write_records,
)
from engine.text import write_plain

RUNS = "runs"
"""Folder of kept runs in a report's folder."""

LATEST = "records.jsonl"

_TREND = ("item", "began", "estimate", "value", "low", "high", "ruling")
_TREND_NOTE = (
    "The estimate that the verdict turns on, as each kept run judged it. A run that judged measurements of an earlier "
    "one has the same interval."
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one session left.

    began, commit, dirty: of the newest session among its records; of the newest measurement where none names a
    session; '' where neither is known. source: name of its file. The records of `read_runs` come without their
    tables, which are most of a run and which nothing here needs.
    """

    began: str
    commit: str
    dirty: bool
    records: tuple[Record, ...]
    source: str


def read_moment(text: str) -> datetime:
    """An ISO 8601 moment, in UTC where it names no zone; the beginning of time for anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def date_record(record: Record) -> str:
    """When a record's session began; when it was measured where it names no session; '' where neither is known."""
    if record.session is not None:
        return record.session.began
    return record.provenance.measured_at if record.provenance is not None else ""


def find_records_file(path: Path) -> Path:
    """The records in a report's folder; a file is itself."""
    # Unlike Path.is_dir, this raises nothing where the folder may not be looked at.
    return path / LATEST if os.path.isdir(path) else path


def merge_records(sources: Sequence[Sequence[Record]]) -> list[Record]:
    """Merge runs: for each item keep the newest measurement, and on ties the first.

    A measured item replaces one that was not measured. A single run is left as it is. The whole run among them makes
    the parts whole.
    """
    if len(sources) == 1:
        return list(sources[0])

    def rank(record: Record) -> tuple[bool, datetime, datetime]:
        measured = read_moment(record.provenance.measured_at if record.provenance else "")
        return is_measured(record), measured, read_moment(date_record(record))

    newest: dict[tuple[str, str, str], Record] = {}
    for record in (record for source in sources for record in source):
        known = newest.setdefault(key_of(record), record)
        if rank(record) > rank(known):
            newest[key_of(record)] = record
    if not any(source and not explain_part(source) for source in sources):
        return list(newest.values())
    return [
        replace(record, session=replace(record.session, part=False, dealt=0)) if record.session else record
        for record in newest.values()
    ]


def gather_run(records: Sequence[Record], source: str = "") -> Run:
    """The records as one run, dated by the newest of them."""
    newest = max(records, key=lambda record: read_moment(date_record(record)), default=None)
    origin = newest and (newest.session or newest.provenance)
    return Run(
        began=date_record(newest) if newest else "",
        commit=origin.commit if origin else "",
        dirty=origin.dirty if origin else False,
        records=tuple(records),
        source=source,
    )


def keep_run(records: Sequence[Record], report_dir: Path) -> Path:
    """Write the records to a file of their own in the report's `runs`, and leave earlier files alone.

    Raises LedgerError when it cannot be written.
    """
    run, folder = gather_run(records), report_dir / RUNS
    began = run.began.replace("+00:00", "Z").replace(":", "")
    parts = (re.sub(r"[^A-Za-z0-9-]+", "-", part).strip("-") for part in (began[:40], run.commit[:7]))
    name = "_".join(part or "unknown" for part in parts)
    # A file beside the run reserves its name from other sessions. Were it the run itself, a session that is killed
    # would leave it empty, and every later report would call it unreadable.
    number = 1
    try:
        make_folder(folder)
        while True:
            reserved = folder / (f"{name}.jsonl.held" if number == 1 else f"{name}_{number}.jsonl.held")
            with suppress(FileExistsError):
                reserved.touch(exist_ok=False)
                if not reserved.with_suffix("").exists():
                    break
                reserved.unlink()
            number += 1
    except OSError as error:
        got, expected = f"{folder}: {error.strerror}", "a folder that can be written"
        remedy = "choose another with --report-dir"
        raise LedgerError(explain(who="history", got=got, expected=expected, remedy=remedy)) from error
    try:
        write_records(list(records), path := reserved.with_suffix(""))
    finally:
        reserved.unlink(missing_ok=True)
    return path


def _warn(line: str) -> None:
    print(line, file=sys.stderr)


def read_runs(folder_or_files: Sequence[Path], *, warn: Callable[[str], None] = _warn) -> tuple[Run, ...]:
    """The runs in report folders, folders of runs and files, each once, oldest first.

    Unreadable files are left out; `warn` gets one line that names them.
    """
    files: dict[Path, None] = {}
    for path in folder_or_files:
        is_folder = os.path.isdir(path)
        inside = [*sorted((path / RUNS).glob("*.jsonl")), *sorted(path.glob("*.jsonl"))] if is_folder else [path]
        files |= dict.fromkeys(inside)
    runs: list[Run] = []
    unread: list[str] = []
    for path in files:
        try:
            records = read_records(path)
        except LedgerError:
            records = []
        if not records:
            unread.append(path.name)
            continue
        run = gather_run([replace(record, tables=()) for record in records], path.name)
        if not any(_is_same(run, other) for other in runs):
            runs.append(run)
    if unread:
        got, expected = f"unreadable {', '.join(unread)}", "runs that this version can read"
        remedy = "they are left out; move them away to silence this"
        warn(write_plain(explain(who="history", got=got, expected=expected, remedy=remedy), 2000))
    return tuple(sorted(runs, key=lambda run: (read_moment(run.began), run.began)))


def _is_same(run: Run, other: Run) -> bool:
    """Whether two files hold one run, in whatever order, tables aside."""
    if (run.began, run.commit, len(run.records)) != (other.began, other.commit, len(other.records)):
        return False
    pairs = zip(sorted(run.records, key=key_of), sorted(other.records, key=key_of), strict=True)
    return all(_is_equal(one, two) for one, two in pairs)


def _is_equal(one: Record, two: Record) -> bool:
    one, two = replace(one, tables=()), replace(two, tables=())
    return one == two or dump_record(one) == dump_record(two)  # written out, NaN equals NaN


def find_previous(run_records: Sequence[Record], runs: Sequence[Run]) -> Run | None:
    """The run before these records: the newest other one that is not later and shares items with them.

    Where it lacks items, as a run of a single claim does, they come from the newest run that has them.
    """
    now, items = read_moment(gather_run(run_records).began), {key_of(record): record for record in run_records}
    before: Run | None = None
    newest: dict[tuple[str, str, str], Record] = {}
    for run in sorted(runs, key=lambda run: read_moment(run.began), reverse=True):
        shared = [record for record in run.records if key_of(record) in items]
        itself = all(_is_equal(record, items[key_of(record)]) for record in shared)
        if not shared or (itself and before is None) or read_moment(run.began) > now:
            continue
        for record in shared if before else run.records:
            newest.setdefault(key_of(record), record)
        before = before or run
    return before and replace(before, records=tuple(newest.values()))


def trend_table(claim_records: Sequence[Record], runs: Sequence[Run]) -> Table | None:
    """The headline estimate of each of a claim's items over the runs; None where no item was measured in two of them.

    claim_records: the claim's items in the run that is shown, which `runs` may hold as well. Each item's rows follow
    the estimate that its newest verdict turns on, even if an older verdict turned on another.
    """
    # The records of each item, by when their run began; the run that is shown wins.
    items: dict[tuple[str, str, str], dict[str, Record]] = {key_of(record): {} for record in claim_records}
    for record in (record for run in runs for record in run.records):
        if (dated := items.get(key_of(record))) is not None:
            dated.setdefault(date_record(record), record)
    for record in claim_records:
        items[key_of(record)][date_record(record)] = record
    rows: list[tuple[str | float | None, ...]] = []
    for dated in items.values():
        ordered = sorted(dated.items(), key=lambda pair: (read_moment(pair[0]), pair[0]))
        headlines = [c for _, record in ordered if (c := find_headline(record)) and c.value is not None]
        name = headlines[-1].estimate if headlines else None
        points: list[tuple[str | float | None, ...]] = []
        for began, record in ordered:
            c = next((c for c in record.criteria if c.estimate == name and c.value is not None), None)
            if c is not None:
                item = f"{record.subject} · {record.protocol}"
                points.append((item, began, c.estimate, c.value, c.low, c.high, record.ruling))
        if len(points) > 1:
            rows += points
    if not rows:
        return None
    return Table(title="Over the runs", columns=_TREND, rows=tuple(rows), note=_TREND_NOTE, kind="trend")
