"""Hashes of files, taken once for each state of a file within a process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path


def hash_file(path: Path) -> str:
    """SHA-256 of a file in hexadecimal. One that was neither replaced nor written to since is not read again."""
    status = path.stat()
    # Copies keep times of change, and the file system's own time is none that a copy can keep.
    return _hash(path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def hash_files(folder: Path, names: Iterable[str]) -> str:
    """SHA-256 of files of a folder, their names included, whatever their order."""
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(f"{name} {hash_file(folder / name)}\n".encode())
    return digest.hexdigest()


@lru_cache(maxsize=256)
def _hash(path: Path, *state: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
