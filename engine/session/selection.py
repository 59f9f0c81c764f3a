"""Which part of the items a session was asked for."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.records import Record
from engine.session.options import SessionOptions

_SELECTING = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "stepwise")
"""pytest's options that leave out items, by the attributes that hold them."""

_WHOLE = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
"""Exit codes of a session that reached its last item."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a session was asked for.

    part: whether it was only a part of the items, apart from slices. shared: whether it had a slice of several.
    leads_to: whether a record's claim lies where the session looked for claims.
    """

    part: bool
    shared: bool
    leads_to: Callable[[Record], bool]


def read_selection(session: pytest.Session, exitstatus: int, options: SessionOptions, *, cut: bool) -> Selection:
    """What the command line asks for. cut: whether a failure ended the measuring early."""
    config = session.config
    ended_early = cut or bool(session.shouldfail or session.shouldstop) or exitstatus not in _WHOLE
    here = config.invocation_params.dir
    places = [(here / argument.partition("::")[0]).resolve() for argument in config.args]
    narrowed = any(getattr(config.option, name, None) for name in _SELECTING)
    narrowed |= any("::" in argument for argument in config.args) or any(place.is_file() for place in places)
    narrowed |= bool(options.subjects or options.protocols)
    return Selection(
        part=narrowed or ended_early,
        shared=options.slice is not None,
        leads_to=lambda record: _lies_in(record, options.root, places),
    )


def _lies_in(record: Record, root: Path, places: list[Path]) -> bool:
    try:
        file = (root / shlex.split(record.command)[1]).resolve()  # "pytest FILE …"
    except (ValueError, IndexError, OSError):
        return True
    return any(file.is_relative_to(place) for place in places)
