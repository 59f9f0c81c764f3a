"""Where is kept what can be made again: de-quantized weights, the script of a report's charts."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """LM_CLAIMS_CACHE, or the user's cache folder."""
    import platformdirs

    chosen = os.environ.get("LM_CLAIMS_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("lm-claims"))
