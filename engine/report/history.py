"""Runs that were kept: one file of records for each session, so that a report can look back."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
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
    "The estimate that the verdict turns on, as each kept run judged it. A run may have judged measurements that an "
    "earlier one made, and its interval is then the same."
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one session left.

    began, commit, dirty: of the newest session among its records; of the newest measurement where no session is
    named; '' where neither is. source: name of its file. records: those of `read_runs` come without their tables,
    which are most of a run and which no look back needs.
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
    """When the session of a record began, when it was measured where no session is named, '' where neither is known."""
    if record.session is not None:
        return record.session.began
    return record.provenance.measured_at if record.provenance is not None else ""


def find_file(path: Path) -> Path:
    """The records in a report's folder; a file is itself."""
    # Unlike Path.is_dir, this is no error where the folder may not even be looked at.
    return path / LATEST if os.path.isdir(path) else path


def merge_records(sources: Sequence[Sequence[Record]]) -> list[Record]:
    """Records of several runs as of one: of an item the newest measurement counts, and of equals the first.

    What was not measured gives way to what was. A single run is left as it is; a whole one and parts are a whole.
    """
    if len(sources) == 1:
        return list(sources[0])
    newest: dict[tuple[str, str, str], Record] = {}
    for record in (record for source in sources for record in source):
        known = newest.setdefault(key_of(record), record)
        if _rank(record) > _rank(known):
            newest[key_of(record)] = record
    whole = any(source and not explain_part(source) for source in sources)
    return [_mark_whole(record) if whole else record for record in newest.values()]


def _mark_whole(record: Record) -> Record:
    return record if record.session is None else replace(record, session=replace(record.session, part=False, dealt=0))


def _rank(record: Record) -> tuple[bool, datetime, datetime]:
    measured = read_moment(record.provenance.measured_at) if record.provenance else read_moment("")
    return is_measured(record), measured, read_moment(date_record(record))


def gather_run(records: Sequence[Record], source: str = "") -> Run:
    """The records as one run, dated by the newest of them."""
    newest = max(records, key=lambda record: read_moment(date_record(record)), default=None)
    judged = newest and (newest.session or newest.provenance)
    return Run(
        began=date_record(newest) if newest else "",
        commit=judged.commit if judged else "",
        dirty=judged.dirty if judged else False,
        records=tuple(records),
        source=source,
    )


def keep_run(records: Sequence[Record], report_dir: Path) -> Path:
    """Write the records to a file of their own in the report's `runs`; no earlier file is touched.

    Raises LedgerError when it cannot be written.
    """
    run = gather_run(records)
    began = run.began.replace("+00:00", "Z").replace(":", "")
    parts = (re.sub(r"[^A-Za-z0-9-]+", "-", part).strip("-") for part in (began[:40], run.commit[:7]))
    name = "_".join(part or "unknown" for part in parts)
    held = _hold(report_dir / RUNS, name)
    try:
        write_records(list(records), path := held.with_suffix(""))
    finally:
        held.unlink(missing_ok=True)
    return path


def _hold(folder: Path, name: str) -> Path:
    """The name of a run that is not there yet, with '.held' behind it: a file that keeps the name from other sessions.

    Not the run itself, which a session that is killed would leave empty, and called unreadable ever after.
    """
    number = 1
    try:
        make_folder(folder)
        while True:
            held = folder / (f"{name}.jsonl.held" if number == 1 else f"{name}_{number}.jsonl.held")
            with suppress(FileExistsError):
                held.touch(exist_ok=False)
                if not held.with_suffix("").exists():
                    return held
                held.unlink()
            number += 1
    except OSError as error:
        got, expected = f"{folder}: {error.strerror}", "a folder that can be written"
        remedy = "choose another with --report-dir"
        raise LedgerError(explain(who="history", got=got, expected=expected, remedy=remedy)) from error


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


def read_runs(folder_or_files: Sequence[Path], *, tell: Callable[[str], None] = _tell) -> tuple[Run, ...]:
    """The runs in report folders, folders of runs and files, each once, oldest first.

    What cannot be read is left out and named in one line to `tell`.
    """
    runs: list[Run] = []
    unread: list[str] = []
    for path in _list_files(folder_or_files):
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
        remedy = "they are left out; move them away to be told no more"
        tell(write_plain(explain(who="history", got=got, expected=expected, remedy=remedy), 2000))
    return tuple(sorted(runs, key=lambda run: (read_moment(run.began), run.began)))


def _list_files(paths: Iterable[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if os.path.isdir(path):
            files += [*sorted((path / RUNS).glob("*.jsonl")), *sorted(path.glob("*.jsonl"))]
        else:
            files.append(path)
    return list(dict.fromkeys(files))


def _is_same(run: Run, other: Run) -> bool:
    """Whether two files hold one run, in whatever order, tables aside."""
    if (run.began, run.commit, len(run.records)) != (other.began, other.commit, len(other.records)):
        return False
    pairs = zip(sorted(run.records, key=key_of), sorted(other.records, key=key_of), strict=True)
    return all(_is_equal(one, two) for one, two in pairs)


def _is_equal(one: Record, two: Record) -> bool:
    one, two = replace(one, tables=()), replace(two, tables=())
    # Written out, NaN equals NaN.
    return one == two or dump_record(one) == dump_record(two)


def find_previous(run_records: Sequence[Record], runs: Sequence[Run]) -> Run | None:
    """What was before these records: the newest run that is not later and shares items with them, themselves aside.

    Items that it leaves out, as a run of a single claim does, are those of the newest run that has them.
    """
    now, items = read_moment(gather_run(run_records).began), {key_of(record): record for record in run_records}
    before: Run | None = None
    newest: dict[tuple[str, str, str], Record] = {}
    for run in sorted(runs, key=lambda run: read_moment(run.began), reverse=True):
        shared = [record for record in run.records if key_of(record) in items]
        again = all(_is_equal(record, items[key_of(record)]) for record in shared)
        if not shared or (again and before is None) or read_moment(run.began) > now:
            continue
        for record in shared if before else run.records:
            newest.setdefault(key_of(record), record)
        before = before or run
    return before and replace(before, records=tuple(newest.values()))


def trend_table(claim_records: Sequence[Record], runs: Sequence[Run]) -> Table | None:
    """The headline estimate of each of a claim's items over the runs; None where no item was measured in two of them.

    claim_records: the claim's items in the run that is shown, which `runs` may hold, too. An item keeps to the
    estimate that its newest verdict turns on, wherever its older ones did.
    """
    wanted = {key_of(record) for record in claim_records}
    found: dict[tuple[str, str, str], dict[str, Record]] = {key_of(record): {} for record in claim_records}
    for record in (r for run in runs for r in run.records if key_of(r) in wanted):
        found[key_of(record)].setdefault(date_record(record), record)
    for record in claim_records:
        found[key_of(record)][date_record(record)] = record
    rows = tuple(row for dated in found.values() for row in _trace(dated))
    return Table(title="Over the runs", columns=_TREND, rows=rows, note=_TREND_NOTE, kind="trend") if rows else None


def _trace(dated: dict[str, Record]) -> list[tuple[str | float | None, ...]]:
    """An item's rows, oldest first; none where fewer than two runs measured it."""
    ordered = sorted(dated.items(), key=lambda pair: (read_moment(pair[0]), pair[0]))
    heads = [head for _, record in ordered if (head := find_headline(record)) and head.value is not None]
    if not heads:
        return []
    name = heads[-1].estimate
    rows: list[tuple[str | float | None, ...]] = []
    for began, record in ordered:
        head = next((c for c in record.criteria if c.estimate == name and c.value is not None), None)
        if head is not None:
            item = f"{record.subject} · {record.protocol}"
            rows.append((item, began, name, head.value, head.low, head.high, record.ruling))
    return rows if len(rows) > 1 else []
