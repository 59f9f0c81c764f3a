"""What the engine's commands with subcommands have in common: mistakes in one line, and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, TextIO

from engine.errors import EngineError, UsageError, explain
from engine.report.text import write_plain

EXIT_USAGE = 4

Command = Callable[[argparse.Namespace], None]


def say(line: str, limit: int = 2000, file: TextIO | None = None) -> None:
    """Print a line in which nothing can act on a terminal: names in files are other people's text."""
    print(write_plain(line, limit), file=file or sys.stdout, flush=True)


class Parser(argparse.ArgumentParser):
    """Complains in one line, as the rest of the engine does. prog: 'python -m MODULE', and a subcommand's name."""

    commands: tuple[str, ...] = ()
    """What may be asked for; a subcommand's parser takes its parent's."""

    def error(self, message: str) -> NoReturn:
        who = self.prog.split()[2]
        expected = f"{', '.join(self.commands[:-1])} or {self.commands[-1]}"
        raise UsageError(explain(who=who, got=message, expected=expected, remedy=f"see {self.prog} --help"))


def parser_of(commands: Sequence[str]) -> type[Parser]:
    """A parser that names these commands when it complains."""
    return type("Parser", (Parser,), {"commands": tuple(commands)})


def run_command(
    build: Callable[[], argparse.ArgumentParser], commands: Mapping[str, Command], arguments: Sequence[str] | None
) -> int:
    """Run the command that is asked for. Exit code 0, or 4 after one line on stderr."""
    try:
        chosen = build().parse_args(arguments)
        commands[chosen.command](chosen)
    except EngineError as error:
        say(str(error), file=sys.stderr)
        return EXIT_USAGE
    except BrokenPipeError:  # whoever reads along has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
