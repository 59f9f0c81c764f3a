"""What is read of a file, once for each state of it within a process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def read_once(read: Callable[[Path], T], path: Path) -> T:
    """What `read` makes of a file; what it made before of one that was neither replaced nor written to since."""
    status = path.stat()
    # Copies keep times of change, and the file system's own time is none that a copy can keep.
    found: T = _read(read, path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return found


def hash_file(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    return read_once(_hash, path)


def hash_files(folder: Path, names: Iterable[str]) -> str:
    """SHA-256 of files of a folder, their names included, whatever their order."""
    digest = hashlib.sha256()
    for name in sorted(names):
        # As JSON: a name may hold line breaks, or bytes that are no text.
        digest.update(f"{json.dumps(name)} {hash_file(folder / name)}\n".encode())
    return digest.hexdigest()


@lru_cache(maxsize=256)
def _read(read: Callable[[Path], Any], path: Path, *state: int) -> Any:
    return read(path)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
