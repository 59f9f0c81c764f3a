"""Operations on whole ledgers: list, merge, prune, export."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from engine.arms.arm import weights_of
from engine.arms.measurement import Measurement
from engine.arms.settings import DescentSettings, StackSettings
from engine.arms.stacks import describe_stack
from engine.errors import LedgerError, explain
from engine.files import UNFINISHED
from engine.ledger.store import Ledger, UntrustedError, find_measurements, read_measurement, read_stored
from engine.sheets import Cell, Sheet

COLUMNS = {
    "digest": "text",
    "kind": "text",
    "subject": "text",
    "source": "text",
    "stack": "text",
    "protocol": "text",
    "iterations": "integer",
    "units": "integer",
    "elapsed_s": "number",
    "peak_bytes": "integer",
    "gpu_s": "number",
    "gpu_peak_bytes": "integer",
    "measured_at": "text",
    "commit": "text",
    "dirty": "flag",
    "machine": "text",
    "device": "text",
    "gpu": "text",
    "tf32": "flag",
    "dtype": "text",
    "threads": "integer",
    "content": "text",
}
"""Columns of an exported ledger. content: a digest of the numbers, equal for equal numbers."""


_COMPLAINT = ("ledger", "a ledger", "pytest claims makes one in .ledger")


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file of a ledger: its measurement, or why it cannot be trusted."""

    path: Path
    measurement: Measurement | None = None
    reason: str = ""


@dataclass(kw_only=True)
class MergeResult:
    """The result of a merge. differing: arms for which the ledgers hold different numbers; the target's are kept."""

    taken: list[Measurement] = field(default_factory=list)
    known: list[Measurement] = field(default_factory=list)
    differing: list[Measurement] = field(default_factory=list)
    refused: list[StoredFile] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Removable:
    """A file that pruning removes, and why."""

    path: Path
    why: str

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, which is never removed: it may hold anything."""
        return self.path.is_dir() and not self.path.is_symlink()


def read_ledger(folder: Path) -> Iterator[StoredFile]:
    """All stored files of a ledger, by digest. A file that is no measurement comes with the reason.

    Raises LedgerError if the folder is no ledger, or the disk fails.
    """
    for path in sorted(find_measurements(folder, complaint=_COMPLAINT).glob("??/*.json")):
        try:
            content = read_stored(path)
            if content is None:
                if os.path.lexists(path):
                    yield StoredFile(path=path, reason="a link that leads nowhere")
                continue  # a session has set it aside meanwhile
            measurement = read_measurement(content)
        except UntrustedError as reason:
            yield StoredFile(path=path, reason=str(reason))
        else:
            named = measurement.digest == path.stem
            yield StoredFile(path=path, measurement=measurement) if named else StoredFile(path=path, reason="other-arm")


def merge(into: Path, sources: Sequence[Path]) -> MergeResult:
    """Copy into `into` the measurements it lacks. Nothing it holds is replaced.

    Raises LedgerError if a source is no ledger, before anything is written, or if the disk refuses.
    """
    for source in sources:
        find_measurements(source, complaint=_COMPLAINT)
    # Without locks: files that sessions store meanwhile are whole, and a shared folder may have no locks.
    ledger, done = Ledger(into, locks=False), MergeResult()
    for stored in (stored for source in sources for stored in read_ledger(source)):
        if stored.measurement is None:
            done.refused.append(stored)
            continue
        own = ledger.get(stored.measurement.arm)
        if own is None:
            ledger.put(stored.measurement)
            done.taken.append(stored.measurement)
        elif own.content() == stored.measurement.content():
            done.known.append(stored.measurement)
        else:
            done.differing.append(stored.measurement)
    return done


def find_leftovers(folder: Path, *, subjects: Sequence[str] = (), before: str = "") -> list[Removable]:
    """Files that no session needs: of other versions, set aside, unfinished, or locks that nobody holds.

    subjects: also their measurements. before: also measurements older than this moment (ISO 8601).
    Raises LedgerError if the folder is no ledger or cannot be read.
    """
    found = [_judge(stored, subjects, before) for stored in read_ledger(folder)]
    measurements = find_measurements(folder, complaint=_COMPLAINT)
    leftovers = [leftover for leftover in found if leftover is not None]
    for path in sorted((folder / "aside").glob("*.json")):
        leftovers.append(Removable(path=path, why=f"set aside: {path.name.split('.')[-2]}"))
    for path in sorted(folder.glob("locks/*.lock")):
        if _is_free(path):
            leftovers.append(Removable(path=path, why="lock that nobody holds"))
    for path in sorted([*measurements.glob(f"??/*{UNFINISHED}"), *folder.glob(f"locks/*{UNFINISHED}")]):
        if _is_free(folder / "locks" / f"{path.name.split('.')[0]}.lock"):
            leftovers.append(Removable(path=path, why="never finished"))
    return leftovers


def _judge(stored: StoredFile, subjects: Sequence[str], before: str) -> Removable | None:
    if stored.measurement is None:
        return Removable(path=stored.path, why=f"not to be trusted: {stored.reason}")
    subject, measured_at = weights_of(stored.measurement.arm)[0], stored.measurement.provenance.measured_at
    if subject in subjects:
        return Removable(path=stored.path, why=f"of {subject}")
    return Removable(path=stored.path, why=f"measured at {measured_at}") if measured_at < before else None


def _is_free(lock: Path) -> bool:
    """Whether no session holds a lock."""
    if not lock.exists():
        return True
    held = FileLock(lock, fallback_to_soft=False)
    try:
        held.acquire(blocking=False)
    except (Timeout, OSError):
        return False
    held.release()
    return True


def remove(leftovers: Sequence[Removable]) -> None:
    """Delete files, but no folders. Raises LedgerError for the first that cannot be deleted."""
    for leftover in leftovers:
        if leftover.is_folder:
            continue
        try:
            leftover.path.unlink(missing_ok=True)
        except OSError as error:
            got, expected = f"{leftover.path}: {error.strerror}", "a file that can be removed"
            raise LedgerError(
                explain(who="prune", got=got, expected=expected, remedy="fix its permissions and prune again")
            ) from error


def tabulate_ledger(folder: Path) -> Sheet:
    """A row for each trusted measurement. Raises LedgerError as `read_ledger` does."""
    rows = (_row(stored.measurement) for stored in read_ledger(folder) if stored.measurement is not None)
    return Sheet(columns=COLUMNS, rows=tuple(rows))


def _row(m: Measurement) -> tuple[Cell, ...]:
    settings = getattr(m.arm, "settings", None)
    stack = settings if isinstance(settings, StackSettings) else None
    units = getattr(m.arm, "units", None)
    p = m.provenance
    return (
        m.digest,
        m.arm.kind,
        *weights_of(m.arm),
        describe_stack(stack.stack) if stack else None,
        stack.protocol.name if stack else None,
        stack.iterations if isinstance(stack, DescentSettings) else None,
        len(units) if units is not None else None,
        *(m.elapsed_s, m.peak_bytes, m.gpu_s, m.gpu_peak_bytes),
        *(p.measured_at, p.commit, p.dirty, p.machine, p.device, p.gpu, p.tf32, p.dtype, p.threads),
        m.content(),
    )
