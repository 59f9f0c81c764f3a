"""The ledger: a store of measurements, one file for each, named by the digest of its arm.

Files are written atomically, so that a killed run resumes. Two ledgers merge by copying one into the other, or are
read together. A file that cannot be trusted is set aside and measured again; it is never deleted.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from engine.arms.arm import Arm
from engine.arms.measurement import SCHEMA, Measurement, digest_of, measurement_type
from engine.errors import EngineError, LedgerError, explain
from engine.files import UNFINISHED, make_folder, name_unfinished, put_in_place, read_whole, sync

NAMED = 3
"""Most files that a line names."""


class Ledger:
    """Measurements under `folder`, and in `others`, which are read after it and never written.

    locks: whether arms will be locked, which needs a file system with locks. Raises LedgerError if the folder cannot
    be created or written or has no locks, or if one of `others` is no ledger.
    """

    def __init__(self, folder: Path, others: Sequence[Path] = (), *, locks: bool = True) -> None:
        self.folder = folder
        self._others = [find_measurements(other) for other in others]
        self._measurements = folder / "measurements"
        self._aside = folder / "aside"
        self._locks = folder / "locks"
        self._untrusted: dict[Path, str] = {}
        try:
            for place in (self._measurements, self._locks):
                make_folder(place)
            with tempfile.TemporaryFile(dir=self._measurements):
                pass
        except OSError as error:
            raise LedgerError(
                explain(
                    who="--ledger",
                    got=f"{folder}: {error.strerror}",
                    expected="a folder that can be written",
                    remedy="choose another folder or fix its permissions",
                )
            ) from error
        if locks:
            self._try_locks()

    def get(self, arm: Arm) -> Measurement | None:
        """The stored measurement of `arm`, from the first ledger that has a trustworthy one; None without."""
        path = self._path(digest_of(arm))
        try:
            if found := _read(path, arm):
                return found
        except UntrustedError as reason:
            self._untrusted[path] = str(reason)
            self._set_aside(path, str(reason))
        for other in self._others:
            place = other / path.parent.name / path.name
            try:
                if found := _read(place, arm):
                    return found
            except UntrustedError as reason:
                self._untrusted[place] = str(reason)  # it belongs to another ledger, and stays
        return None

    def __contains__(self, arm: Arm) -> bool:
        return self.get(arm) is not None

    def put(self, measurement: Measurement) -> None:
        """Store a measurement atomically and durably. Raises LedgerError if the disk refuses."""
        path = self._path(
            digest_of(measurement.arm)
        )  # computed here: a digest in the measurement might name another path
        envelope = {
            "schema": SCHEMA,
            "content": measurement.content(),
            "measurement": measurement_type().dump_python(measurement, mode="json"),
        }
        content = json.dumps(envelope, ensure_ascii=False).encode()
        try:
            make_folder(path.parent)
            put_in_place(path, content)
        except OSError as error:
            raise _unwritable(path, error, self.folder) from error

    @contextmanager
    def lock_arm(self, arm: Arm) -> Generator[None, None, None]:
        """Lock `arm` while it is measured, so that two workers on one ledger never measure it twice."""
        lock = self._lock(arm, wait=True)
        assert lock is not None
        try:
            yield
        finally:
            lock.release()

    def try_lock(self, arm: Arm) -> FileLock | None:
        """Lock `arm` until the lock is released. None while another session measures it."""
        return self._lock(arm, wait=False)

    def list_untrusted(self) -> list[str]:
        """Lines about stored files that were not trusted, and what became of them; empty if there were none."""
        lines: list[str] = []
        for own in (True, False):
            found = {p: why for p, why in self._untrusted.items() if p.is_relative_to(self._measurements) is own}
            if not found:
                continue
            named = ", ".join(f"{path.name} ({why})" for path, why in list(found.items())[:NAMED])
            more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
            where = f"they are set aside in {self._aside}" if own else "they are left where they are"
            got, expected = f"{named}{more}, not to be trusted", "measurements of this version"
            lines.append(explain(who="ledger", got=got, expected=expected, remedy=f"{where}, and measured again"))
        return lines

    def _lock(self, arm: Arm, *, wait: bool) -> FileLock | None:
        """Acquire an arm's lock. None if it is held and `wait` is false. Raises LedgerError if the disk refuses."""
        digest = digest_of(arm)
        path = self._locks / f"{digest}.lock"
        # Without the library's soft locks, which a killed session would leave behind.
        lock = FileLock(path, fallback_to_soft=False)
        try:
            lock.acquire(blocking=wait)
        except Timeout:
            return None
        except OSError as error:
            raise explain_lock(path, error, self.folder) from error
        shard = self._path(digest).parent
        with suppress(OSError):  # no folder before its first measurement
            for name in os.listdir(shard):
                if name.startswith(f"{digest}.") and name.endswith(UNFINISHED):
                    (shard / name).unlink()  # left by a killed session
        return lock

    def _try_locks(self) -> None:
        """Raise LedgerError if the file system has no locks, before anything is measured."""
        probe = name_unfinished(self._locks / "probe")
        try:
            with FileLock(probe, fallback_to_soft=False, blocking=False):
                pass
        except OSError as error:  # other errors are reported where they matter
            if error.errno in _NO_LOCKS:
                raise explain_lock(self._locks, error, self.folder) from error
        finally:
            with suppress(OSError):
                probe.unlink()

    def _path(self, digest: str) -> Path:
        return self._measurements / digest[:2] / f"{digest}.json"

    def _set_aside(self, path: Path, reason: str) -> None:
        try:
            make_folder(self._aside)
            number = sum(1 for _ in self._aside.glob(f"{path.stem}.*"))
            os.replace(path, self._aside / f"{path.stem}.{number}.{reason.replace(' ', '-')}.json")
            sync(self._aside)
        except FileNotFoundError:
            return  # another worker has set it aside
        except OSError as error:
            raise explain_unreadable(path, error) from error


BESIDE = ("--ledger", "a ledger to read besides the first", "only the first --ledger is created if missing")


def find_measurements(folder: Path, *, complaint: tuple[str, str, str] = BESIDE) -> Path:
    """The folder of measurements of the ledger in `folder`.

    complaint: for the message: who asks, what was expected, and a remedy besides checking the path.
    Raises LedgerError unless it is a readable ledger.
    """
    measurements = folder / "measurements"
    try:
        with os.scandir(measurements):
            return measurements
    except OSError as error:
        who, expected, remedy = complaint
        got = f"{measurements}: {error.strerror}"
        raise LedgerError(explain(who=who, got=got, expected=expected, remedy=f"check the path; {remedy}")) from error


class UntrustedError(Exception):
    """A stored file is not what its name says; the message says why."""


_ODD = {
    errno.EISDIR: "a folder",
    errno.EINVAL: "no file",
    errno.ELOOP: "a looped link",
    errno.EACCES: "not readable",
    errno.EPERM: "not readable",
    errno.EFBIG: "too large",
    errno.ENOTDIR: "in no folder",
}
"""Errors of the file itself, in words. All others are errors of the disk or the machine."""


def read_stored(path: Path) -> bytes | None:
    """The content of a measurement's file; None without one.

    Raises UntrustedError for anything that is no readable file, and LedgerError for errors of the disk.
    """
    try:
        return read_whole(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if why := _ODD.get(error.errno or 0):
            raise UntrustedError(why) from error
        raise explain_unreadable(path, error) from error


def _read(path: Path, arm: Arm) -> Measurement | None:
    """The measurement in a file; None without one. Raises UntrustedError, or LedgerError for errors of the disk."""
    content = read_stored(path)
    return None if content is None else verify_stored(content, arm)


def verify_stored(content: bytes, arm: Arm) -> Measurement:
    """The measurement of `arm` in a stored file. Raises UntrustedError if the file holds anything else."""
    measurement = read_measurement(content)
    if measurement.arm != arm:
        raise UntrustedError("other-arm")
    return measurement


def read_measurement(content: bytes) -> Measurement:
    """The measurement in a stored file. Raises UntrustedError."""
    try:
        envelope = json.loads(content)
        schema = envelope["schema"]
        body = envelope["measurement"]
        checksum = envelope["content"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UntrustedError("unreadable") from error
    if schema != SCHEMA:
        raise UntrustedError("other-schema")
    try:
        measurement = measurement_type().validate_python(body)
    except (ValidationError, RecursionError, EngineError) as error:  # such as settings that contradict themselves
        raise UntrustedError("invalid") from error
    if measurement.digest != digest_of(measurement.arm):
        raise UntrustedError("other-arm")
    if measurement.content() != checksum:
        raise UntrustedError("altered")
    return measurement


_DENIED = frozenset({errno.EACCES, errno.EPERM})
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})


def _unwritable(path: Path, error: OSError, folder: Path) -> LedgerError:
    expected, remedy = "room to write a measurement", "free some space or choose another folder with --ledger"
    if error.errno in _DENIED:
        expected = "a ledger that may be written"
        remedy = f"let its owner run chmod -R g+rwX {shlex.quote(str(folder))}, or choose another folder with --ledger"
    elif error.errno in {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP}:
        expected, remedy = "a folder of measurements", "move away what lies there, or choose another with --ledger"
    return LedgerError(explain(who="ledger", got=f"{path}: {error.strerror}", expected=expected, remedy=remedy))


def explain_lock(path: Path, error: OSError, folder: Path) -> LedgerError:
    """The error for a lock that cannot be acquired, with its remedy."""
    expected, remedy = "a lock", "move away what lies there, or choose another folder with --ledger"
    if error.errno in _NO_LOCKS:
        expected = "a file system that has locks"
        merge = f"lm-claims ledger merge {shlex.quote(str(folder))} FROM"
        remedy = f"choose a folder on a local disk with --ledger, and bring it here with {merge}"
    elif error.errno in _DENIED:
        expected = "a lock that may be written"
        prune = f"lm-claims ledger prune {shlex.quote(str(folder))} --yes"
        remedy = f"let its owner run {prune}, which removes locks that nobody holds, or choose another with --ledger"
    elif error.errno in {errno.ENOSPC, errno.EDQUOT}:
        expected, remedy = "room to write a lock", "free some space or choose another folder with --ledger"
    return LedgerError(explain(who="ledger", got=f"{path}: {error.strerror}", expected=expected, remedy=remedy))


def explain_unreadable(path: Path, error: OSError) -> LedgerError:
    """The error for a file that cannot be read or moved."""
    return LedgerError(
        explain(
            who="ledger",
            got=f"{path}: {error.strerror}",
            expected="a readable file",
            remedy="fix its permissions, move it away or choose another folder with --ledger",
        )
    )
