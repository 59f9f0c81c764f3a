"""The script of the page's charts: Vega from vl-convert's own copy, and `charts.js` in the same scope."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from engine.errors import LedgerError
from engine.files import cache_folder, write_whole
from engine.report.charts.drawing import VERSION
from engine.report.charts.theme import CONFIG
from engine.report.charts.vega import Fire

_SCRIPT_END = re.compile(r"</(?=script)|<!--", re.IGNORECASE)


def bundle(fire: Fire) -> Callable[[], str]:
    """JavaScript that can stand in a script element; see engine.report.charts.read_bundle.

    Vega's expressions are walked by its interpreter (`ast`), never compiled, so that the page needs no unsafe-eval.
    Putting it together takes longer than twenty drawings: it is kept in the user's cache folder, by all it is made of.
    """
    ours = files("engine.report").joinpath("charts.js").read_text(encoding="utf-8")
    job = {"script": ours.replace("__CONFIG__", json.dumps(CONFIG)), "version": VERSION}
    made_of = json.dumps([job, version("vl-convert-python"), _SCRIPT_END.pattern])
    kept = cache_folder() / f"charts-{hashlib.sha256(made_of.encode()).hexdigest()}.js"
    with suppress(OSError, UnicodeDecodeError):
        script = kept.read_text(encoding="utf-8")
        return lambda: script
    drawn = fire(job)
    return lambda: _keep(_fit_script(drawn()), kept)


def _keep(script: str, path: Path) -> str:
    with suppress(LedgerError):  # a folder that cannot be written costs a second the next time, and nothing else
        write_whole(path, script.encode(), who="charts")
    return script


def _fit_script(script: str) -> str:
    # Only strings and regular expressions hold these; there a backslash before the second character changes nothing.
    return _SCRIPT_END.sub(lambda m: f"{m[0][0]}\\{m[0][1:]}", script)
