"""What the commands make of a command line that they cannot read: one line, exit code 4."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import pytest

from engine.command_line import run_main

MISTAKES = [
    ("ledger.__main__", "merge", "got no into, from, expected into, from on the command line"),
    ("ledger.__main__", "lst", "got 'lst' for command, expected list, merge, prune or export"),
    ("ledger.__main__", "list --nope", "got --nope, expected list, merge, prune or export"),
    ("report.__main__", "render", "got no records, expected records on the command line"),
    ("report.__main__", "export a --what", "got --what without a value, expected a value behind it"),
    ("invert.__main__", "", "got no prompt, --subject, expected prompt, --subject on the command line"),
    ("invert.__main__", "hi --subject x --seed y", "got 'y' for --seed, expected a whole number"),
    ("invert.__main__", "hi --subject x --sigma y", "got 'y' for --sigma, expected a number"),
    ("gpu_check", "--foo", "got --foo, expected "),
    ("weights", "", "got no marker, expected marker on the command line"),
    ("weights", "cpu", "got 'cpu' for marker, expected gpu or xl"),
    ("calibration.__main__", "--claims x", "got 'x' for --claims, expected a whole number"),
    ("scale.__main__", "now", "got now, expected "),
    ("register", "a b", "got b, expected a folder, or --check"),
    ("benchmarks.whole_run", "", "got no ledger, expected ledger on the command line"),
]


@pytest.mark.parametrize(("module", "line", "words"), MISTAKES, ids=[f"{m} {line}".strip() for m, line, _ in MISTAKES])
def test_a_command_line_that_cannot_be_read_is_refused_in_one_line(
    module: str, line: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main: Callable[[list[str]], int] = importlib.import_module(f"engine.{module}").main
    assert run_main(lambda: main(line.split()), "a command") == 4
    (told,) = capsys.readouterr().err.splitlines()
    who, _, rest = told.partition(": ")
    assert who == f"engine.{module.removesuffix('.__main__')}"
    assert rest.startswith(words)
    assert rest.endswith(" --help")
