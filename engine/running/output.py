"""Makes output robust: no character fails to print, and no reader who has left ends the measuring."""

from __future__ import annotations

import codecs
import os
import sys
import unicodedata
from typing import IO, Any, TextIO, cast

READABLE = "engine.readable"
"""Name of the codec error handler that replaces characters an encoding lacks."""

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


def to_ascii(character: str) -> str:
    """A readable ASCII form of a character: a sign, its name, its plain letters, or its escape."""
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
    return "".join(map(to_ascii, error.object[error.start : error.end])), error.end


codecs.register_error(READABLE, _stand_in)


def prepare_output() -> None:
    """Let standard output and error accept any character, and open a null device in place of closed streams.

    This covers everything written through them, whichever library writes it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if cast("TextIO | None", getattr(sys, name)) is None:
            stream = _open_nothing(number)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
    # While pytest captures output, sys.__stdout__ still leads to the terminal.
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=READABLE)


def _open_nothing(number: int) -> TextIO:
    """A null device under a closed stream's number: otherwise a file opened later gets the number, and the output."""
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
        os.set_inheritable(number, True)  # like the other standard streams
        null = number
    return open(null, "w" if number else "r", encoding="utf-8", errors=READABLE, closefd=False)


class ForgivingStream:
    """A stream that drops what it cannot write because its reader has left or its disk is full."""

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
            discard_buffer(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            discard_buffer(self._stream)


def discard_buffer(stream: IO[str]) -> None:
    """Discard what a stream still buffers: Python would complain again when it flushes it at exit."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):
        return
