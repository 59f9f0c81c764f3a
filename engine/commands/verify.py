"""`lm-claims verify`: run claims in a pytest session, with the options by their short names."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from engine.claim.discover import declares_claim
from engine.claim.registration import LOCK
from engine.commands.command_line import Parser
from engine.session.spelling import BY_SPELLING, GROUPS, LOADED_BEFORE, SHORT, expand_files, find_taken, spell_out

FILES = ("test_*.py", "c[0-9][0-9]_*.py", "a[0-9][0-9]_*.py")
"""Names of claim files."""


def main(words: Sequence[str]) -> int:
    """Run the claims in a pytest session and return its exit code.

    words: paths of claims, our options and pytest's. Raises UsageError for a wrong option of ours.
    """
    parser, words = build_parser(), expand_files(words)
    if {"-h", "--help"} & set(words):
        parser.print_help()
        return 0
    parser.parse_known_args(words)
    # Needed where pytest finds no settings, as beside an installed package. A user's own override comes later and wins.
    files = f"--override-ini=python_files={' '.join(FILES)}"
    # pytest loads a plugin once, even if an entry point or a conftest names it as well.
    return pytest.main([*LOADED_BEFORE, "-p", "engine.session", files, *spell_out(words)], plugins=[DefaultPath()])


class DefaultPath:
    """A pytest plugin that adds the folder of claims to a command line without a path."""

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_load_initial_conftests(
        self, early_config: pytest.Config, parser: pytest.Parser, args: list[str]
    ) -> Generator[None, object, object]:
        given = early_config.invocation_params
        folder = os.path.relpath(find_claims(given.dir), given.dir)
        # Every plugin has declared its options by now, so values of options no longer look like paths.
        if not early_config.known_args_namespace.file_or_dir:
            early_config.known_args_namespace.file_or_dir = [folder]  # the conftests to load
        loaded = yield
        # Now the conftests have declared theirs, too. A line that cannot be parsed is left for pytest to refuse.
        with suppress(pytest.UsageError, SystemExit):
            if not parser.parse_known_args(spell_out(args, find_taken(parser))).file_or_dir:
                args.append(folder)
                # Workers of pytest-xdist start from these.
                early_config.invocation_params = replace(given, args=(*given.args, folder))
        return loaded


def find_claims(here: Path) -> Path:
    """The claims that a bare `lm-claims verify` runs.

    These are the claims in `here`, or in `claims` in it or above it, or else those of the package.
    """
    if any(declares_claim(path) for path in here.glob("*.py")):
        return here
    for folder in (here, *here.parents):
        if (folder / "claims" / LOCK).is_file() or (folder == here and (folder / "claims").is_dir()):
            return folder / "claims"
        if (folder / LOCK).is_file():
            return here  # a folder of the registered claims
    spec = find_spec("claims")
    return Path(next(iter(spec.submodule_search_locations or ()))) if spec is not None else here


def build_parser() -> Parser:
    """A parser of our options alone. It prints help and refuses wrong values; pytest reads the options."""
    parser = Parser(
        prog="lm-claims verify",
        usage="lm-claims verify [OPTIONS] [PATH …]",
        description="Test claims: measure what is not stored, judge, and write a report. Without a path, this runs the "
        "claims in this folder, in claims/ here or above, or else those of the package.",
        epilog="Every option of pytest works, too, such as -k c11, -x or -n 4. Sessions started by pytest itself also "
        "take each option as --claims-NAME, which clashes with no other plugin.",
        allow_abbrev=False,
    )
    for title, names in GROUPS.items():
        group = parser.add_argument_group(title)
        for name in names:
            option = BY_SPELLING[SHORT + name]
            group.add_argument(option.short, help=option.help, **option.details)
    return parser
