"""A store of measurements, one file each, named by the digest of the arm.

Files are written whole or not at all, so a killed run resumes; two stores merge by copying one into the other, or are
read together. A file that cannot be trusted is set aside and measured again, never deleted.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from engine.arms import Arm
from engine.errors import EngineError, LedgerError, explain
from engine.measurement import MEASUREMENT, SCHEMA, Measurement, digest_of


class Ledger:
    """Measurements under `folder`, and those of `others`, which are read after it and never written.

    Raises LedgerError when the folder cannot be made or written, or when another is not a ledger.
    """

    def __init__(self, folder: Path, others: Sequence[Path] = ()) -> None:
        self.folder = folder
        self._others = [find_measurements(other) for other in others]
        self._measurements = folder / "measurements"
        self._aside = folder / "aside"
        self._locks = folder / "locks"
        try:
            for place in (self._measurements, self._locks):
                place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._measurements):
                pass
        except OSError as error:
            raise LedgerError(
                explain(
                    who="--ledger",
                    got=f"{folder}: {error.strerror}",
                    expected="a folder that can be written",
                    remedy="choose another folder or mend its permissions",
                )
            ) from error

    def get(self, arm: Arm) -> Measurement | None:
        """The stored measurement of `arm` in the first ledger that has one, None when there is none to be trusted."""
        path = self._path(digest_of(arm))
        try:
            if found := _read(path, arm):
                return found
        except UntrustedError as reason:
            self._set_aside(path, str(reason))
        for other in self._others:
            with suppress(UntrustedError):  # not ours to move
                if found := _read(other / path.parent.name / path.name, arm):
                    return found
        return None

    def __contains__(self, arm: Arm) -> bool:
        return self.get(arm) is not None

    def put(self, measurement: Measurement) -> None:
        """Store a measurement atomically. Raises LedgerError when the disk refuses; nothing stored is touched."""
        path = self._path(digest_of(measurement.arm))  # made of hexadecimal digits, whatever a measurement says it is
        envelope = {
            "schema": SCHEMA,
            "content": measurement.content(),
            "measurement": MEASUREMENT.dump_python(measurement, mode="json"),
        }
        try:
            path.parent.mkdir(exist_ok=True)
            for left in path.parent.glob(f"{path.stem}.*.unfinished"):  # by a session that was killed at this arm
                left.unlink(missing_ok=True)
            handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}.", suffix=".unfinished")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump(envelope, file, ensure_ascii=False)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(unfinished, path)
            except BaseException:
                Path(unfinished).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise _unwritable(path, error) from error

    @contextmanager
    def claim_arm(self, arm: Arm) -> Generator[None, None, None]:
        """Hold `arm` while it is measured, so that two workers on one ledger never run it twice."""
        lock = self._lock(arm, wait=True)
        assert lock is not None
        try:
            yield
        finally:
            lock.release()

    def try_claim(self, arm: Arm) -> FileLock | None:
        """Hold `arm` until the lock is released; None while another session measures it."""
        return self._lock(arm, wait=False)

    def _lock(self, arm: Arm, *, wait: bool) -> FileLock | None:
        """A lock that is held, None where it would have to be waited for. Raises LedgerError when the disk refuses."""
        path = self._locks / f"{digest_of(arm)}.lock"
        lock = FileLock(path)
        try:
            lock.acquire(blocking=wait)
        except Timeout:
            return None
        except OSError as error:
            raise _unwritable(path, error) from error
        return lock

    def _path(self, digest: str) -> Path:
        return self._measurements / digest[:2] / f"{digest}.json"

    def _set_aside(self, path: Path, reason: str) -> None:
        try:
            self._aside.mkdir(exist_ok=True)
            number = sum(1 for _ in self._aside.glob(f"{path.stem}.*"))
            os.replace(path, self._aside / f"{path.stem}.{number}.{reason}.json")
        except FileNotFoundError:
            return  # another worker has set it aside
        except OSError as error:
            raise explain_unreadable(path, error) from error


BESIDE = ("--ledger", "a ledger, to be read beside the first", "only the first --ledger is made where there is none")


def find_measurements(folder: Path, *, complaint: tuple[str, str, str] = BESIDE) -> Path:
    """Where the ledger in `folder` keeps its measurements.

    complaint: who asks, what was expected, what to think of beside the path.
    Raises LedgerError unless it is a ledger that can be read.
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
    """Why a stored file is not what its name says."""


def _read(path: Path, arm: Arm) -> Measurement | None:
    """The measurement in a file, None without one. Raises UntrustedError, or LedgerError for the disk's errors."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explain_unreadable(path, error) from error
    return trust(content, arm)


def trust(content: bytes, arm: Arm) -> Measurement:
    """The measurement of `arm` that a stored file holds. Raises UntrustedError when it holds anything else."""
    measurement = read_measurement(content)
    if measurement.arm != arm:
        raise UntrustedError("other-arm")
    return measurement


def read_measurement(content: bytes) -> Measurement:
    """The measurement that a stored file holds. Raises UntrustedError."""
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
        measurement = MEASUREMENT.validate_python(body)
    except (ValidationError, RecursionError, EngineError) as error:  # some settings contradict themselves
        raise UntrustedError("invalid") from error
    if measurement.digest != digest_of(measurement.arm):
        raise UntrustedError("other-arm")
    if measurement.content() != checksum:
        raise UntrustedError("altered")
    return measurement


def _unwritable(path: Path, error: OSError) -> LedgerError:
    return LedgerError(
        explain(
            who="ledger",
            got=f"{path}: {error.strerror}",
            expected="room to write a measurement",
            remedy="free some space or choose another folder with --ledger",
        )
    )


def explain_unreadable(path: Path, error: OSError) -> LedgerError:
    """What to raise for a file that the disk does not give."""
    return LedgerError(
        explain(
            who="ledger",
            got=f"{path}: {error.strerror}",
            expected="a readable file",
            remedy="mend its permissions or choose another folder with --ledger",
        )
    )
