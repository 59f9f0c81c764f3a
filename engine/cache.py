"""Where is kept what can be made again: de-quantized weights, the script of a report's charts."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """LM_CLAIMS_CACHE, or the user's cache folder."""
    import platformdirs

    chosen = os.environ.get("LM_CLAIMS_CACHE")
    return expand_home(chosen) if chosen else Path(platformdirs.user_cache_dir("lm-claims"))


def expand_home(path: str | Path) -> Path:
    """The path with a leading ~ made a home folder; as it is where there is no such user."""
    try:
        return Path(os.path.expanduser(path))
    except ValueError:  # no user has a zero byte in the name
        return Path(path)
