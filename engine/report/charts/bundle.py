"""The script of the page's charts: Vega from vl-convert's own copy, and `charts.js` in the same scope."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import vl_convert

from engine.report.charts.drawing import VERSION
from engine.report.charts.look import CONFIG

_SCRIPT_END = re.compile(r"</(?=script)|<!--", re.IGNORECASE)


def bundle() -> str:
    """JavaScript that can stand in a script element.

    Vega's expressions are walked by its interpreter (`ast`), never compiled, so that the page needs no unsafe-eval.
    """
    ours = files("engine.report").joinpath("charts.js").read_text(encoding="utf-8")
    script = vl_convert.javascript_bundle(ours.replace("__CONFIG__", json.dumps(CONFIG)), vl_version=VERSION)
    # Only strings and regular expressions hold these; there a backslash before the second character changes nothing.
    return _SCRIPT_END.sub(lambda m: f"{m[0][0]}\\{m[0][1:]}", script)
