"""`lm-claims verify`: the claims in a session of pytest, with the options by their short names."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from engine.spelling import LOADED_BEFORE, OPTIONS, spell_out

FILES = ("test_*.py", "c[0-9][0-9]_*.py", "a[0-9][0-9]_*.py")
"""How files of claims are named."""


def main(words: Sequence[str]) -> int:
    """Run the claims in a session of pytest; its exit code.

    words: paths of claims, options of ours and pytest's. Without a path: the folder `claims` here, else the package's.
    """
    if {"-h", "--help"} & set(words):
        build_help().print_help()
        return 0
    # Both hold where no settings of pytest are found, as beside an installed package; what the caller gives comes last.
    folder = shlex.quote(str(find_claims(Path.cwd())))
    settings = [f"--override-ini=python_files={' '.join(FILES)}", f"--override-ini=testpaths={folder}"]
    # Not loaded twice where the entry point, or a conftest, names it as well.
    return pytest.main([*LOADED_BEFORE, "-p", "engine.session", *settings, *spell_out(words)])


def find_claims(here: Path) -> Path:
    """The folder of claims that a bare `lm-claims verify` runs."""
    if (here / "claims").is_dir():
        return here / "claims"
    spec = find_spec("claims")
    return Path(next(iter(spec.submodule_search_locations or ()))) if spec is not None else here


def build_help() -> argparse.ArgumentParser:
    """A parser that knows our options alone, for its help; pytest reads them."""
    parser = argparse.ArgumentParser(
        prog="lm-claims verify",
        usage="lm-claims verify [OPTIONS] [PATH …]",
        description="Test claims: measure what is not stored, judge, write the report.",
        epilog="Any option of pytest works beside these, such as -k c11, -x or -n 4. In a session that pytest itself "
        "starts, each is also there as --claims-NAME, whatever other plugins have.",
        allow_abbrev=False,
    )
    for option in OPTIONS:
        parser.add_argument(option.short, help=option.help, **option.details)
    return parser
