"""Whether a tokenizer's settings name a file elsewhere: the library would open it, whatever the entry is called.

Every entry of `tokenizer_config.json` and `special_tokens_map.json` reaches the tokenizer's class as an argument.
Some of them are paths (a vocabulary, a model of sentences' pieces, a dictionary), and a path may lead anywhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.files import expand_home
from engine.models.refusals import read_json, refusal
from engine.text import shorten

ABOUT = frozenset({"name_or_path", "_name_or_path", "special_tokens_map_file", "_commit_hash"})
"""Where a tokenizer comes from: never opened. The library puts the folder in the place of the first."""

TEXT = re.compile(
    r"\w+_tokens?|added_tokens_decoder|model_specific_special_tokens|chat_template|response_template|auto_map"
)
"""Entries that hold tokens and templates, which may look like anything. Code that `auto_map` names is not run."""

FILES = re.compile(r"\w*_files?|\w*_file_\w+|vocab|merges|init_inputs|tokenizer_object|sp_model_kwargs|\w+_kwargs")
"""Entries that a class may take for the name of a file."""

VERSIONED = re.compile(r"tokenizer\.[0-9][0-9.]*\.json")

REMEDY = "delete the entry, or save the tokenizer beside the model (tokenizer.save_pretrained)"


def check_settings(who: str, path: Path) -> None:
    """Raises SubjectError for an entry of a tokenizer's settings that names a file."""
    for key, value in read_json(who, path, REMEDY).items():
        if key in ABOUT or TEXT.fullmatch(key):
            continue
        for text in _texts(value):
            if key == "fast_tokenizer_files":
                # Of these the library takes the newest that it understands; each lies beside, and is covered.
                if text == "tokenizer.json" or VERSIONED.fullmatch(text):
                    continue
            elif not (_leads_out(text, path.parent) or (FILES.fullmatch(key) and _exists(text))):
                continue
            got = f"{path.name} whose {shorten(key)} names the file {shorten(text)}"
            raise refusal(who, got, "a tokenizer in the folder's own files", REMEDY)


def _texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, at any depth."""
    left: list[Any] = [value]
    while left:
        part = left.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict | list):
            left += part.values() if isinstance(part, dict) else part  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]


def _leads_out(text: str, folder: Path) -> bool:
    """Whether a text is written like a path that leads somewhere."""
    if ".." in Path(text).parts:
        return True  # from a folder that only the library knows
    written = text.startswith(("~", ".")) or "/" in text or os.sep in text
    # A sign, such as a stroke, is no file's name.
    return written and bool(text.strip("./~")) and (_exists(text) or os.path.exists(folder / text))


def _exists(text: str) -> bool:
    """Whether something lies at a path as the library would look for it: seen from the working folder."""
    return bool(text) and os.path.exists(expand_home(text))
