"""De-quantized weights, kept in a cache folder so that only the first start has to unpack them.

An entry is a folder in transformers' format with a manifest. It is written beside its place and moved there
whole, so that a reader never sees half of it, and one process unpacks while the others wait.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from engine.cache import cache_folder
from engine.errors import SubjectError
from engine.subjects.files import hash_file

MANIFEST = "manifest.json"
_log = logging.getLogger(__name__)


def keep(key: str, unpack: Callable[[Path], None]) -> Path | None:
    """The cache's entry called `key`, written by `unpack` into an empty folder when it is absent or damaged.

    None when the cache cannot be written (no space, read-only): the caller then does without.
    """
    root = cache_folder()
    entry = root / key
    if is_whole(entry):
        return entry
    from filelock import FileLock

    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f"{key}.lock"):
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
        manifest = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))
        return bool(manifest) and all(_is_same(entry / name, facts) for name, facts in manifest.items())
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False


def _is_same(path: Path, facts: dict[str, int | str]) -> bool:
    status = path.stat()
    if status.st_size != facts["size"]:
        return False
    return status.st_mtime_ns == facts["changed_ns"] or hash_file(path) == facts["sha256"]


def _write(entry: Path, unpack: Callable[[Path], None]) -> None:
    beside = Path(tempfile.mkdtemp(dir=entry.parent, prefix=f"{entry.name}.writing-"))
    try:
        unpack(beside)
        manifest = {path.name: _facts(path) for path in sorted(beside.iterdir())}
        (beside / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        if entry.exists():
            set_aside(entry)
        beside.replace(entry)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _facts(path: Path) -> dict[str, int | str]:
    status = path.stat()
    return {"size": status.st_size, "changed_ns": status.st_mtime_ns, "sha256": hash_file(path)}
