"""Why a model on disk is refused, in one line, and the JSON that is read on the way there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.errors import SubjectError, explain

SAVE_AGAIN = "save it again with save_pretrained"


def refusal(who: str, got: str, expected: str, remedy: str = SAVE_AGAIN) -> SubjectError:
    """The error to raise."""
    return SubjectError(explain(who=who, got=got, expected=expected, remedy=remedy))


def read_json(who: str, path: Path, remedy: str = SAVE_AGAIN) -> dict[str, Any]:
    """The object in a JSON file. Raises SubjectError when there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise refusal(who, f"{path.name}: {error}", "readable JSON", remedy) from error
    if not isinstance(content, dict):
        raise refusal(who, f"{path.name} with a JSON {type(content).__name__}", "a JSON object", remedy)
    return content
