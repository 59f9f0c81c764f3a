"""Reads and writes every file that the engine keeps.

Writes are atomic and survive a power cut, and files get the permissions of the user's umask or the folder's rules.
Reads take regular files alone, so that they never wait for a pipe or a device.
"""

from __future__ import annotations

import atexit
import errno
import hashlib
import json
import os
import secrets
import stat
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeVar

from engine.errors import LedgerError, explain

STANDARD_OUTPUT = Path("/dev/stdout")
"""The path that stands for standard output, so that the next command of a pipe can read what is written."""

UNFINISHED = ".unfinished"
"""Suffix of a file that is still being written."""

MOST_BYTES = 1 << 30
"""Largest file that is read: three hundred times the records of the reference run."""

_NAME = 50
"""Characters of a file's name that are kept in its temporary name: names have up to 255 bytes, a character up to 4."""

_SYSTEMS = tuple(map(Path, ("/dev", "/dev/fd", "/proc/self/fd")))
"""Folders of devices and pipes. These are written to directly: replacing /dev/null by a file breaks a machine."""

_PIECE = 1 << 20

_UNSYNCED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES, errno.EPERM, errno.EBADF})
"""Errors of file systems that cannot sync folders, and of folders that may be written but not read."""

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


def write_whole(path: Path, content: bytes, *, who: str = "report", remedy: str = "choose another with --out") -> None:
    """Write a file atomically and durably, and create its folder. Raises LedgerError if it cannot be written."""
    if path == STANDARD_OUTPUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        if path.parent in _SYSTEMS:
            with open(os.open(path, os.O_WRONLY), "wb") as device:
                device.write(content)
            return
        make_folder(path.parent)
        put_in_place(path, content)
    except OSError as error:
        got, expected = f"{path}: {error.strerror}", "a folder that can be written"
        raise LedgerError(explain(who=who, got=got, expected=expected, remedy=remedy)) from error


def output_path(text: str) -> Path:
    """The path that an option for output names. '-' is standard output; './-' is a file of that name."""
    return STANDARD_OUTPUT if text == "-" else Path(text)


def put_in_place(path: Path, content: bytes) -> None:
    """Write a file into an existing folder: under a temporary name, synced, then renamed. Raises OSError."""
    unfinished = name_unfinished(path)
    # A new file, so that no link is followed, with the mode that umask and folder allow.
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            _sync(file.fileno())
        os.replace(unfinished, path)
        sync(path.parent)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


def name_unfinished(path: Path) -> Path:
    """A unique temporary name beside a path. Process ids would not do: two containers may share them and a folder."""
    return path.with_name(f"{path.name[:_NAME]}.{secrets.token_hex(8)}{UNFINISHED}")


def make_folder(path: Path) -> None:
    """Create a folder and its parents durably. Raises OSError, also if something else is there."""
    missing = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync(folder.parent)


def sync(path: Path) -> None:
    """Sync a file, or the names in a folder, to the disk if the file system can. Raises OSError if that fails."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError as error:
        if error.errno in _UNSYNCED:
            return
        raise
    try:
        _sync(handle)
    finally:
        os.close(handle)


def _sync(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _UNSYNCED:
            raise


def read_whole(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a regular file. Raises OSError for anything else, and for more than `most` bytes.

    It never waits for a pipe, and opens no device.
    """
    _check(os.stat(path), path, most)
    # It may have been replaced since the first check; and a file on a network may block.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    with open(handle, "rb") as file:
        _check(os.fstat(handle), path, most)
        content = bytearray()
        while piece := file.read(_PIECE):
            content += piece
            if len(content) > most:  # it grows, or reports no size
                raise _too_large(path, most)
    return bytes(content)


def _check(status: os.stat_result, path: Path, most: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a folder, not a file", str(path))
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(errno.EINVAL, f"{kind}, not a file", str(path))
    if status.st_size > most:
        raise _too_large(path, most)


def _too_large(path: Path, most: int) -> OSError:
    return OSError(errno.EFBIG, f"more than {most:,} bytes", str(path))


T = TypeVar("T")


def read_once(read: Callable[[Path], T], path: Path) -> T:
    """`read(path)`, cached as long as the file is neither replaced nor written to."""
    status = path.stat()
    # A copy may keep the time of modification, but not the file system's own time of change.
    found: T = _read(read, path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return found


def hash_file(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    return read_once(_hash, path)


def hash_files(folder: Path, names: Iterable[str]) -> str:
    """SHA-256 of files of a folder and their names, whatever their order."""
    digest = hashlib.sha256()
    for name in sorted(names):
        # As JSON: a name may contain line breaks, or bytes that are no text.
        digest.update(f"{json.dumps(name)} {hash_file(folder / name)}\n".encode())
    return digest.hexdigest()


@lru_cache(maxsize=256)
def _read(read: Callable[[Path], Any], path: Path, *state: int) -> Any:
    return read(path)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_KEPT = ExitStack()
atexit.register(_KEPT.close)


def cache_folder() -> Path:
    """The folder LM_CLAIMS_CACHE, or the user's cache folder."""
    import platformdirs

    chosen = os.environ.get("LM_CLAIMS_CACHE")
    if chosen:
        return expand_home(chosen)
    try:
        folder = Path(platformdirs.user_cache_dir("lm-claims"))
    except RuntimeError:  # older versions return a folder named ~
        return _temporary_cache()
    return folder if folder.is_absolute() else _temporary_cache()


@cache
def _temporary_cache() -> Path:
    """A temporary folder of this process, for a user without a home, as in some containers."""
    try:
        return Path(_KEPT.enter_context(tempfile.TemporaryDirectory(prefix="lm-claims-")))
    except OSError:  # nothing can be cached, which only costs time
        return Path(os.devnull) / "lm-claims"


def expand_home(path: str | Path) -> Path:
    """Expand a leading ~ to a home folder. The path is unchanged if there is no such user."""
    try:
        return Path(os.path.expanduser(path))
    except ValueError:  # a zero byte in the name
        return Path(path)


parse_toml = lru_cache(maxsize=8)(tomllib.loads)
"""Parse TOML, cached: every item of a session reads the same few files. Raises what tomllib raises."""


def find_nearest(name: str, claim_file: Path, root: Path) -> Path | None:
    """The nearest path of that name at or above a claim's folder, up to `root`.

    It need not be a file. Anything else is refused when it is read, rather than skipped in favour of a folder above.
    """
    for folder in claim_file.resolve().parents:
        if os.path.lexists(folder / name):
            return folder / name
        if folder == root.resolve():
            break
    return None
