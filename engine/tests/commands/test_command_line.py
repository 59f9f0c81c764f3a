"""A command line that a command cannot read gives one line and exit code 4."""

from __future__ import annotations

import pytest

from engine.__main__ import main

MISTAKES = [
    ("ledger", "merge", "got no into, from, expected into, from on the command line"),
    ("ledger", "lst", "got 'lst' for command, expected list, merge, prune or export"),
    ("ledger", "list --nope", "got --nope, expected list, merge, prune or export"),
    ("report", "render", "got no records, expected records on the command line"),
    ("report", "export a --what", "got --what without a value, expected a value behind it"),
    ("invert", "", "got no prompt, expected prompt on the command line"),
    ("invert", "hi --subject x --seed y", "got 'y' for --seed, expected a whole number"),
    ("invert", "hi --subject x --sigma y", "got 'y' for --sigma, expected a number"),
    ("gpu-check", "--foo", "got --foo, expected "),
    ("weights", "", "got no marker, expected marker on the command line"),
    ("weights", "cpu", "got 'cpu' for marker, expected gpu or xl"),
    ("calibrate", "--claims x", "got 'x' for --claims, expected a whole number"),
    ("register", "a b", "got b, expected a folder, or --check"),
    ("bench", "run", "got no ledger, expected ledger on the command line"),
]


@pytest.mark.parametrize(("command", "line", "words"), MISTAKES, ids=[f"{m} {line}".strip() for m, line, _ in MISTAKES])
def test_a_command_line_that_cannot_be_read_is_refused_in_one_line(
    command: str, line: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, *line.split()]) == 4
    (line_shown,) = capsys.readouterr().err.splitlines()
    who, _, rest = line_shown.partition(": ")
    assert who == command
    assert rest.startswith(words)
    assert rest.endswith(" --help")
