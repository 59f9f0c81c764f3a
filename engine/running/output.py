"""What is written to a terminal, a pipe or a log never fails for its characters or for who has stopped reading."""

from __future__ import annotations

import codecs
import os
import sys
import unicodedata
from typing import IO, Any, TextIO, cast

READABLE = "engine.readable"
"""The name under which Python's encoders find what stands in for characters that they do not have."""

_SIGNS = {
    "✓": "+",
    "✗": "x",
    "◐": "~",
    "○": "o",
    "●": "*",
    "•": "*",
    "·": ".",
    "×": "x",
    "→": "->",
    "←": "<-",
    "–": "-",
    "—": "-",
    "−": "-",
    "‖": "||",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "≈": "~",
    "±": "+/-",
    "∞": "inf",
    "“": '"',
    "”": '"',
    "„": '"',
    "‘": "'",
    "’": "'",
    "…": "...",
    "⁺": "+",
    "⁻": "-",
    "√": "sqrt",
    "∈": "in",
    **dict(zip("▁▂▃▄▅▆▇█", "_.:-=+*#", strict=True)),
    "▏": "|",
}


def say_in_ascii(character: str) -> str:
    """A character in ASCII that people can read: its sign, name or plain letters, else its escape."""
    if character in _SIGNS:
        return _SIGNS[character]
    name = unicodedata.name(character, "")
    if name.startswith(("GREEK SMALL LETTER", "GREEK CAPITAL LETTER")):
        return name.split()[3].lower() if "SMALL" in name else name.split()[3].capitalize()
    if name.startswith("BOX DRAWINGS"):
        parts = {"HORIZONTAL", "VERTICAL", "LEFT", "RIGHT", "UP", "DOWN"} & set(name.replace("-", " ").split())
        return "-" if parts <= {"HORIZONTAL", "LEFT", "RIGHT"} else "|" if parts <= {"VERTICAL", "UP", "DOWN"} else "+"
    if name.startswith("BRAILLE PATTERN"):
        return "*"
    plain = "".join(c for c in unicodedata.normalize("NFKD", character) if c.isascii())
    return plain or character.encode("ascii", "backslashreplace").decode()


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(say_in_ascii, error.object[error.start : error.end])), error.end


codecs.register_error(READABLE, _stand_in)


def prepare_output() -> None:
    """Let this process's standard output and error take any character, and be there where they were closed.

    Everything that is written through them is covered, whichever library writes it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if cast("TextIO | None", getattr(sys, name)) is None:
            stream = _open_nothing(number)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
    # While output is captured, the terminal is where it was when Python began.
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=READABLE)


def _open_nothing(number: int) -> TextIO:
    """The null device in a closed stream's place, so that no file opened later takes the number and what is said."""
    try:
        os.fstat(number)
        taken = True
    except OSError:
        taken = False
    null = os.open(os.devnull, os.O_RDWR)
    if not taken:
        if null != number:
            os.dup2(null, number)
            os.close(null)
        os.set_inheritable(number, True)  # as the others are
        null = number
    return open(null, "w" if number else "r", encoding="utf-8", errors=READABLE, closefd=False)


class Unbroken:
    """A stream that drops what can't be written, as nobody reads it or its disk is full; otherwise like its own."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except UnicodeError:
            raise
        except (OSError, ValueError):
            forget(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            forget(self._stream)


def forget(stream: IO[str]) -> None:
    """Let what a stream still holds go nowhere: Python would complain once more when it flushes at the end."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):
        return
