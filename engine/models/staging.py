"""A folder of links that holds exactly the files that a subject is named by, so that a library can open no other.

What a library opens beside the files that it is asked for (an adapter, a second vocabulary, settings for generation)
changes with its version and with what else is installed. A list of what it is known to open would fall behind.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from engine.errors import EngineError
from engine.files import cache_folder
from engine.models.refusals import refusal

MEMORY = Path("/dev/shm")  # noqa: S108 (a folder with a name of its own is made in it)
"""Where links can be laid on many machines although every disk is full."""


@contextmanager
def staged(who: str, folder: Path, names: Iterable[str]) -> Generator[Path]:
    """A folder with links to these files of `folder` and nothing else, gone at the end.

    names: relative to `folder`, possibly with a subfolder. Raises SubjectError where no folder can be made.
    """
    with _make_folder(who) as made:
        stage = Path(made)
        try:
            for name in names:
                (stage / name).parent.mkdir(parents=True, exist_ok=True)
                (stage / name).symlink_to((folder / name).resolve())
        except OSError as error:
            raise _no_room(who, error) from error
        yield stage


def _make_folder(who: str) -> tempfile.TemporaryDirectory[str]:
    """An empty folder among the temporary ones, or where those cannot be written to, among what can be made again."""
    problem: OSError | None = None
    for place in (None, cache_folder(), MEMORY):
        try:
            return tempfile.TemporaryDirectory(prefix="lm-claims-", dir=place)
        except OSError as error:
            problem = problem or error
    assert problem is not None
    raise _no_room(who, problem) from problem


def _no_room(who: str, error: OSError) -> EngineError:
    got, expected = f"no folder for temporary files ({error})", "one that can be written"
    return refusal(who, got, expected, "set TMPDIR to one")
