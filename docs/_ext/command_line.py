"""The page of commands: what `lm-claims COMMAND --help` prints, so that the page says what the parsers say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from importlib import import_module
from io import StringIO
from typing import TYPE_CHECKING
from unittest.mock import patch

from engine.__main__ import COMMANDS
from engine.session import MARKERS
from engine.session.spelling import OPTIONS

if TYPE_CHECKING:
    from sphinx.application import Sphinx

MARK = "<!-- commands -->"
"""Where a page has this, it gets the text of `write_commands`."""

COLUMNS = "90"
"""Width of the help, which fits into a page's column."""


def read_help(name: str, *words: str) -> str:
    """What `lm-claims NAME WORDS --help` prints."""
    main = import_module(f"engine.commands.{COMMANDS[name][0]}").main
    printed = StringIO()
    # argparse reads width and colour from the environment alone.
    with patch.dict(os.environ, {"COLUMNS": COLUMNS, "NO_COLOR": "1"}), redirect_stdout(printed), suppress(SystemExit):
        main([*words, "--help"])
    return printed.getvalue().strip()


def list_subcommands(name: str) -> tuple[str, ...]:
    """The words that a command takes first, such as 'render' of `lm-claims report`."""
    return tuple(getattr(import_module(f"engine.commands.{COMMANDS[name][0]}"), "COMMANDS", ()))


def write_commands() -> str:
    """Every command and every option, in Markdown: a heading for each command, and below it its help."""
    return "\n".join([*_write_helps(), *_write_options()])


def _write_helps() -> Iterator[str]:
    for name, (_, what) in COMMANDS.items():
        yield f"## `lm-claims {name}`\n\n{what[:1].upper()}{what[1:]}.\n\n```text\n{read_help(name)}\n```\n"
        for word in list_subcommands(name):
            yield f"### `lm-claims {name} {word}`\n\n```text\n{read_help(name, word)}\n```\n"


def _write_options() -> Iterator[str]:
    yield "## Options in a pytest session\n"
    yield "| option | in any session | what it does |\n| --- | --- | --- |"
    for option in OPTIONS:
        words = option.help.replace("%%", "%")  # as argparse prints it
        yield f"| `{option.short}` | `{option.long}` | {words} |"
    yield '\n`-m MARKER` and `-m "not MARKER"` choose items by these markers:\n'
    yield "| marker | an item has it that … |\n| --- | --- |"
    for name, meaning in MARKERS.items():
        yield f"| `{name}` | {meaning} |"


def fill_in(app: Sphinx, page: str, source: list[str]) -> None:
    """Sphinx's event for a page that was read."""
    if MARK in source[0]:
        source[0] = source[0].replace(MARK, write_commands())


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", fill_in)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
