"""De-quantized weights in a cache folder, so that only the first start has to unpack them.

An entry is a folder in transformers' format with a manifest. It is written beside its place and moved there whole, so
that a reader never sees half of it. One process unpacks while the others wait.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from engine.errors import SubjectError
from engine.files import cache_folder, hash_file, make_folder, name_unfinished, put_in_place, read_whole, sync

MANIFEST = "manifest.json"
_log = logging.getLogger(__name__)


def cached_weights(key: str, unpack: Callable[[Path], None]) -> Path | None:
    """The cache's entry called `key`. If it is absent or damaged, `unpack` writes it into an empty folder first.

    None if the cache cannot be written (no space, read-only); the caller then does without.
    """
    from filelock import FileLock

    root = cache_folder()
    entry = root / key
    if is_whole(entry):
        return entry
    try:
        make_folder(root)
        with ExitStack() as held:
            # The lock only spares work, since entries are moved into place whole. It may fail on a file system
            # without locks, or for a lock of another user.
            with suppress(OSError):
                held.enter_context(FileLock(root / f"{key}.lock", fallback_to_soft=False))
            # Another process may have written the entry while this one waited.
            if not is_whole(entry):
                _write(entry, unpack)
        return entry
    except (OSError, SubjectError) as error:
        _log.warning("%s cannot be written (%s): every start unpacks the weights again", root, error)
        return None


def set_aside(entry: Path) -> None:
    """Rename a damaged entry to its name with '.damaged', in place of an older one of that name."""
    aside = entry.with_name(entry.name + ".damaged")
    shutil.rmtree(aside, ignore_errors=True)
    # Another process may have been faster.
    with suppress(OSError):
        entry.replace(aside)
        _log.warning("%s was damaged; it is now %s", entry, aside.name)


def is_whole(entry: Path) -> bool:
    """Whether every file of an entry is as it was written.

    A file with the same size and time of change counts as the same. If only the time differs, its hash decides.
    """
    try:
        manifest = json.loads(read_whole(entry / MANIFEST))
        for name, facts in manifest.items():
            path = entry / name
            status = path.stat()
            if not stat.S_ISREG(status.st_mode) or status.st_size != facts["size"]:
                return False
            if status.st_mtime_ns != facts["changed_ns"] and hash_file(path) != facts["sha256"]:
                return False
        return bool(manifest)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False


def _write(entry: Path, unpack: Callable[[Path], None]) -> None:
    """Write an entry beside its place and move it there. Raises OSError, and whatever `unpack` raises."""
    beside = name_unfinished(entry)
    try:
        beside.mkdir()  # with the mode that umask leaves: other users of this cache read it, too
        unpack(beside)
        manifest: dict[str, dict[str, int | str]] = {}
        for path in sorted(beside.iterdir()):
            # Otherwise a power cut could leave the size and time that the manifest names, but no content.
            sync(path)
            status = path.stat()
            sha256 = hash_file(path)
            manifest[path.name] = {"size": status.st_size, "changed_ns": status.st_mtime_ns, "sha256": sha256}
        put_in_place(beside / MANIFEST, json.dumps(manifest, indent=1).encode())
        if os.path.lexists(entry):
            set_aside(entry)
        try:
            beside.replace(entry)
        except OSError:
            # Without a lock, another process may have been faster.
            if not is_whole(entry):
                raise
        sync(entry.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
