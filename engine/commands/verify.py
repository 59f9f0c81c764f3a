"""`lm-claims verify`: the claims in a session of pytest, with the options by their short names."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from engine.claim.discover import declares_claim
from engine.claim.registration import LOCK
from engine.commands.command_line import Parser, make_parser
from engine.session.spelling import BY_SPELLING, GROUPS, LOADED_BEFORE, SHORT, expand_files, spell_out

FILES = ("test_*.py", "c[0-9][0-9]_*.py", "a[0-9][0-9]_*.py")
"""How files of claims are named."""


def main(words: Sequence[str]) -> int:
    """Run the claims in a session of pytest; its exit code.

    words: paths of claims, options of ours and pytest's. Raises UsageError for an option of ours that is wrong.
    """
    parser, words = build_parser(), expand_files(words)
    if {"-h", "--help"} & set(words):
        parser.print_help()
        return 0
    parser.parse_known_args(words)
    # Holds where no settings of pytest are found, as beside an installed package; what the caller gives comes last.
    files = f"--override-ini=python_files={' '.join(FILES)}"
    # Not loaded twice where the entry point, or a conftest, names it as well.
    return pytest.main([*LOADED_BEFORE, "-p", "engine.session", files, *spell_out(words)], plugins=[WithoutPath()])


class WithoutPath:
    """Names the folder of claims where the command line names no path."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_load_initial_conftests(
        self, early_config: pytest.Config, args: list[str]
    ) -> Generator[None, object, object]:
        # By now every plugin has said which words are values of its options.
        if not early_config.known_args_namespace.file_or_dir:
            folder = find_claims(early_config.invocation_params.dir)
            args.append(os.path.relpath(folder, early_config.invocation_params.dir))
            early_config.known_args_namespace.file_or_dir = [args[-1]]
        return (yield)


def find_claims(here: Path) -> Path:
    """The claims that a bare `lm-claims verify` runs: those in this folder, in `claims` in it or above, else ours."""
    if any(declares_claim(path) for path in here.glob("*.py")):
        return here
    for folder in (here, *here.parents):
        if (folder / "claims" / LOCK).is_file() or (folder == here and (folder / "claims").is_dir()):
            return folder / "claims"
        if (folder / LOCK).is_file():
            return here  # among the folders of registered claims
    spec = find_spec("claims")
    return Path(next(iter(spec.submodule_search_locations or ()))) if spec is not None else here


def build_parser() -> Parser:
    """A parser that knows our options alone, for its help and for what is wrong with them; pytest reads them."""
    parser = make_parser("options that it has")(
        prog="lm-claims verify",
        usage="lm-claims verify [OPTIONS] [PATH …]",
        description="Test claims: measure what is not stored, judge, write the report. Without a path: the claims in "
        "this folder, in claims/ here or above, or else those of the package.",
        epilog="Any option of pytest works beside these, such as -k c11, -x or -n 4. In a session that pytest itself "
        "starts, each is also there as --claims-NAME, whatever other plugins have.",
        allow_abbrev=False,
    )
    for title, names in GROUPS.items():
        group = parser.add_argument_group(title)
        for name in names:
            option = BY_SPELLING[SHORT + name]
            group.add_argument(option.short, help=option.help, **option.details)
    return parser
