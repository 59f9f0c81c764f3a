"""Files that last and folders that are shared: how everything that the engine keeps is written and read.

What is written appears whole or not at all, outlasts a power cut once it is there, and has the permissions that the
user's umask or the folder's own rules give. What is read is a file: nothing is waited for.
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
"""What stands for it among the paths: a page, a table or figures go where they can be read by the next command."""

UNFINISHED = ".unfinished"
"""How the name of a file ends that is being written."""

MOST_BYTES = 1 << 30
"""Of a file that is read at all: three hundred times the records of the reference run."""

_NAME = 50
"""Characters of a file's name that its unfinished one begins with: file systems take 255 bytes, and one may take 4."""

_SYSTEMS = tuple(map(Path, ("/dev", "/dev/fd", "/proc/self/fd")))
"""Folders of devices and open pipes, which are written to: another file in the place of /dev/null breaks a machine."""

_PIECE = 1 << 20

_UNSYNCED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES, errno.EPERM, errno.EBADF})
"""What a file system says that syncs no folders, or a folder that may be written and not read."""

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


def write_whole(path: Path, content: bytes, *, who: str = "report", remedy: str = "choose another with --out") -> None:
    """Write a file, whole or not at all, for good; its folder is made. Raises LedgerError when it cannot be written."""
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


def read_target(text: str) -> Path:
    """The path that an option names for what is written; '-' is standard output, and './-' a file of that name."""
    return STANDARD_OUTPUT if text == "-" else Path(text)


def put_in_place(path: Path, content: bytes) -> None:
    """Write a file into a folder that is there: beside its place, to the disk, then there. Raises OSError."""
    unfinished = name_unfinished(path)
    # Made anew, so that no link is written through, with the mode that umask and folder leave of it.
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
    """A name beside a path that nobody else chooses: process ids are the same in two containers on one folder."""
    return path.with_name(f"{path.name[:_NAME]}.{secrets.token_hex(8)}{UNFINISHED}")


def make_folder(path: Path) -> None:
    """Make a folder and those above it, for good. Raises OSError, also where something else lies there."""
    missing = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync(folder.parent)


def sync(path: Path) -> None:
    """Let a file, or the names in a folder, outlast a power cut, where the file system can. Raises OSError when not."""
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
    """The content of a file. Raises OSError for anything else that lies there, and for more than `most` bytes.

    A pipe is not waited for, and no device is opened.
    """
    _check(os.stat(path), path, most)
    # Between the two looks it may have been replaced; and a network's file may be one that is waited for.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    with open(handle, "rb") as file:
        _check(os.fstat(handle), path, most)
        content = bytearray()
        while piece := file.read(_PIECE):
            content += piece
            if len(content) > most:  # it grows, or does not say how long it is
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


_KEPT = ExitStack()
atexit.register(_KEPT.close)


def cache_folder() -> Path:
    """LM_CLAIMS_CACHE, or the user's cache folder."""
    import platformdirs

    chosen = os.environ.get("LM_CLAIMS_CACHE")
    if chosen:
        return expand_home(chosen)
    try:
        folder = Path(platformdirs.user_cache_dir("lm-claims"))
    except RuntimeError:  # older ones give a folder named ~
        return _find_place_for_now()
    return folder if folder.is_absolute() else _find_place_for_now()


@cache
def _find_place_for_now() -> Path:
    """For a user without a home, as in some containers: a folder of this process alone, as nobody else's is trusted."""
    try:
        return Path(_KEPT.enter_context(tempfile.TemporaryDirectory(prefix="lm-claims-")))
    except OSError:  # nothing can be kept anywhere, which costs time
        return Path(os.devnull) / "lm-claims"


def expand_home(path: str | Path) -> Path:
    """The path with a leading ~ made a home folder; as it is where there is no such user."""
    try:
        return Path(os.path.expanduser(path))
    except ValueError:  # no user has a zero byte in the name
        return Path(path)


parse_toml = lru_cache(maxsize=8)(tomllib.loads)
"""A text as TOML; every item of a session asks for the same few files. Raises as tomllib does."""


def find_nearest(name: str, claim_file: Path, root: Path) -> Path | None:
    """The nearest of that name at or above a claim's folder, up to `root`.

    It need not be a file: what lies there is refused when it is read, not taken for the rules of a folder above.
    """
    for folder in claim_file.resolve().parents:
        if os.path.lexists(folder / name):
            return folder / name
        if folder == root.resolve():
            break
    return None
