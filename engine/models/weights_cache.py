"""De-quantized weights, kept in a cache folder so that only the first start has to unpack them.

An entry is a folder in transformers' format with a manifest. It is written beside its place and moved there
whole, so that a reader never sees half of it, and one process unpacks while the others wait.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import stat
from collections.abc import Callable, Generator
from pathlib import Path

from engine.errors import SubjectError
from engine.files import cache_folder, hash_file, make_folder, name_unfinished, put_in_place, read_whole, sync

MANIFEST = "manifest.json"
_log = logging.getLogger(__name__)


def cached_weights(key: str, unpack: Callable[[Path], None]) -> Path | None:
    """The cache's entry called `key`, written by `unpack` into an empty folder when it is absent or damaged.

    None when the cache cannot be written (no space, read-only): the caller then does without.
    """
    root = cache_folder()
    entry = root / key
    if is_whole(entry):
        return entry
    try:
        make_folder(root)
        with _take_turns(root / f"{key}.lock"):
            # Another process may have written it while this one waited.
            if not is_whole(entry):
                _write(entry, unpack)
        return entry
    except (OSError, SubjectError) as error:
        _log.warning("%s cannot be written (%s): every start unpacks the weights again", root, error)
        return None


def set_aside(entry: Path) -> None:
    """Move a damaged entry out of the way, to its name with '.damaged'; an older one there is dropped."""
    aside = entry.with_name(entry.name + ".damaged")
    shutil.rmtree(aside, ignore_errors=True)
    # Another process may have been faster.
    with contextlib.suppress(OSError):
        entry.replace(aside)
        _log.warning("%s was damaged; it is now %s", entry, aside.name)


def is_whole(entry: Path) -> bool:
    """Whether every file of an entry is the one that was written.

    A file of the same size and time of change is taken for the same; any other is hashed.
    """
    try:
        manifest = json.loads(read_whole(entry / MANIFEST))
        return bool(manifest) and all(_is_same(entry / name, facts) for name, facts in manifest.items())
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False


def _is_same(path: Path, facts: dict[str, int | str]) -> bool:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size != facts["size"]:
        return False
    return status.st_mtime_ns == facts["changed_ns"] or hash_file(path) == facts["sha256"]


@contextlib.contextmanager
def _take_turns(path: Path) -> Generator[None]:
    """Hold a lock, where there are any: it only spares the work, since entries are put in place whole."""
    from filelock import FileLock

    lock = FileLock(path, fallback_to_soft=False)
    with contextlib.ExitStack() as held:
        # A file system without locks, or another user's lock.
        with contextlib.suppress(OSError):
            held.enter_context(lock)
        yield


def _write(entry: Path, unpack: Callable[[Path], None]) -> None:
    beside = name_unfinished(entry)
    try:
        beside.mkdir()  # with the mode that umask leaves: others on this cache read it, too
        unpack(beside)
        paths = sorted(beside.iterdir())
        for path in paths:
            sync(path)  # else a power cut could leave the size and time that the manifest names, and no content
        put_in_place(beside / MANIFEST, json.dumps({path.name: _facts(path) for path in paths}, indent=1).encode())
        if os.path.lexists(entry):
            set_aside(entry)
        try:
            beside.replace(entry)
        except OSError:
            if not is_whole(entry):  # else another process without a lock was faster
                raise
        sync(entry.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _facts(path: Path) -> dict[str, int | str]:
    status = path.stat()
    return {"size": status.st_size, "changed_ns": status.st_mtime_ns, "sha256": hash_file(path)}
