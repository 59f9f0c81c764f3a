"""Whether a session was asked for a part of the items, so that its report is none of them all."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.records import Record
from engine.session.options import SessionOptions

_SELECTING = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "stepwise")
"""pytest's options that leave items out, by the names that it keeps them under."""

_WHOLE = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
"""How a session ends that came to its last item."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a session was asked for. part: whether of something only a part, its share of several machines' aside.

    shared: whether it had such a share. leads_to: whether a record's claim lies where the session looked for claims.
    """

    part: bool
    shared: bool
    leads_to: Callable[[Record], bool]


def read_selection(session: pytest.Session, exitstatus: int, choices: SessionOptions, *, cut: bool) -> Selection:
    """What the command line asks for. cut: whether a disk that refused ended the measuring."""
    config = session.config
    ended_early = cut or bool(session.shouldfail or session.shouldstop) or exitstatus not in _WHOLE
    here = config.invocation_params.dir
    places = [(here / argument.partition("::")[0]).resolve() for argument in config.args]
    narrowed = any(getattr(config.option, name, None) for name in _SELECTING)
    narrowed |= any("::" in argument for argument in config.args) or any(place.is_file() for place in places)
    narrowed |= bool(choices.subjects or choices.protocols)
    return Selection(
        part=narrowed or ended_early,
        shared=choices.slice is not None,
        leads_to=lambda record: _lies_in(record, choices.root, places),
    )


def _lies_in(record: Record, root: Path, places: list[Path]) -> bool:
    try:
        file = (root / shlex.split(record.command)[1]).resolve()  # "pytest FILE …"
    except (ValueError, IndexError, OSError):
        return True
    return any(file.is_relative_to(place) for place in places)
