"""The script of the page's charts: Vega from vl-convert's own copy, and `charts.js` in the same scope."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib.resources import files

from engine.report.charts.drawing import VERSION
from engine.report.charts.kiln import Fire
from engine.report.charts.look import CONFIG

_SCRIPT_END = re.compile(r"</(?=script)|<!--", re.IGNORECASE)


_made: dict[str, str] = {}


def bundle(fire: Fire) -> Callable[[], str]:
    """JavaScript that can stand in a script element, put together once a process; see engine.report.charts.read_bundle.

    Vega's expressions are walked by its interpreter (`ast`), never compiled, so that the page needs no unsafe-eval.
    """
    if VERSION in _made:
        return lambda: _made[VERSION]
    ours = files("engine.report").joinpath("charts.js").read_text(encoding="utf-8")
    drawn = fire({"script": ours.replace("__CONFIG__", json.dumps(CONFIG)), "version": VERSION})
    return lambda: _made.setdefault(VERSION, _fit_script(drawn()))


def _fit_script(script: str) -> str:
    # Only strings and regular expressions hold these; there a backslash before the second character changes nothing.
    return _SCRIPT_END.sub(lambda m: f"{m[0][0]}\\{m[0][1:]}", script)
