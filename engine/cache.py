"""Where is kept what can be made again: de-quantized weights, the script of a report's charts."""

from __future__ import annotations

import atexit
import os
import tempfile
from contextlib import ExitStack
from functools import cache
from pathlib import Path

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
