"""Files that last and folders that are shared: how everything that the engine keeps is written and read.

What is written appears whole or not at all, outlasts a power cut once it is there, and has the permissions that the
user's umask or the folder's own rules give. What is read is a file: nothing is waited for.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
from contextlib import suppress
from pathlib import Path

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
