"""What is done with whole ledgers: looked through, brought together, tidied, written as a table."""

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
"""Of an exported ledger. content: a digest of the numbers, equal for equal ones."""


_COMPLAINT = ("ledger", "a ledger", "pytest claims makes one in .ledger")


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file of a ledger: its measurement, or why it can't be trusted."""

    path: Path
    measurement: Measurement | None = None
    reason: str = ""


@dataclass(kw_only=True)
class MergeResult:
    """What a merge did. differing: arms that both ledgers hold with other numbers; the first one's are kept."""

    taken: list[Measurement] = field(default_factory=list)
    known: list[Measurement] = field(default_factory=list)
    differing: list[Measurement] = field(default_factory=list)
    refused: list[StoredFile] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Removable:
    """A file that a tidied ledger does without, and why."""

    path: Path
    why: str

    @property
    def is_folder(self) -> bool:
        """Whether it is more than a file, so that nobody knows what goes with it."""
        return self.path.is_dir() and not self.path.is_symlink()


def read_ledger(folder: Path) -> Iterator[StoredFile]:
    """Everything under a measurement's name in a ledger, by digest; what is no measurement with the reason.

    Raises LedgerError when the folder is none or the disk fails.
    """
    for path in sorted(find_measurements(folder, complaint=_COMPLAINT).glob("??/*.json")):
        try:
            content = read_stored(path)
            if content is None:
                if os.path.lexists(path):
                    yield StoredFile(path=path, reason="a link that leads nowhere")
                continue  # else it was set aside by a session meanwhile
            measurement = read_measurement(content)
        except UntrustedError as reason:
            yield StoredFile(path=path, reason=str(reason))
        else:
            named = measurement.digest == path.stem
            yield StoredFile(path=path, measurement=measurement) if named else StoredFile(path=path, reason="other-arm")


def merge(into: Path, sources: Sequence[Path]) -> MergeResult:
    """Give `into` what the sources hold and it does not; nothing that it holds is replaced.

    Raises LedgerError when a source is no ledger, before anything is written, or when the disk refuses.
    """
    for source in sources:
        find_measurements(source, complaint=_COMPLAINT)
    # Without locks: what sessions store meanwhile is whole, and a shared folder may have none.
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
    """Files that no session asks for: of other versions or set aside, unfinished, locks that nobody holds.

    subjects: their measurements as well. before: measurements older than this moment (ISO 8601) as well.
    Raises LedgerError when the folder is no ledger or cannot be read.
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
    """Remove files for good, and no folder. Raises LedgerError for the first that the disk keeps."""
    for leftover in leftovers:
        if leftover.is_folder:
            continue
        try:
            leftover.path.unlink(missing_ok=True)
        except OSError as error:
            got, expected = f"{leftover.path}: {error.strerror}", "a file that can be removed"
            raise LedgerError(
                explain(who="prune", got=got, expected=expected, remedy="mend its permissions and prune again")
            ) from error


def tabulate_ledger(folder: Path) -> Sheet:
    """A row for each measurement that can be trusted. Raises LedgerError as `read_ledger` does."""
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
