"""What all commands share: a parser that refuses mistakes in one line, safe output, and exit codes."""

from __future__ import annotations

import argparse
import errno
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, TextIO

from engine.errors import EngineError, UsageError, explain
from engine.running.endings import Endings, explain_ending
from engine.running.output import discard_buffer, prepare_output
from engine.text import write_plain

EXIT_FAILED, EXIT_USAGE = 3, 4
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of a disk that takes no more output."""

Command = Callable[[argparse.Namespace], None]


def say(line: str, limit: int = 2000, file: TextIO | None = None) -> None:
    """Print a line, with control characters escaped: names in it come from other people's files."""
    print(write_plain(line, limit), file=file or sys.stdout, flush=True)


class Parser(argparse.ArgumentParser):
    """Refuses a command line in one line: who, got, expected, remedy. prog: "lm-claims COMMAND [SUBCOMMAND]"."""

    expected = "one of its options"
    """What may be given, for complaints of argparse that do not say so."""

    def error(self, message: str) -> NoReturn:
        who = self.prog.removeprefix("lm-claims ").split()[0]
        got, expected = _read_complaint(message)
        remedy = f"see {self.prog} --help"
        raise UsageError(explain(who=who, got=got, expected=expected or self.expected, remedy=remedy))


def make_parser(expected: str) -> type[Parser]:
    """A class of parsers that expect this. Give it to `add_subparsers`, too: argparse calls it without arguments."""
    return type("Parser", (Parser,), {"expected": expected})


def list_words(words: Sequence[str]) -> str:
    """'a, b or c'."""
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]


def _read_complaint(message: str) -> tuple[str, str | None]:
    """What argparse got, and what it expected if it says so. Any other complaint is passed on as it is."""
    if found := re.fullmatch(r"the following arguments are required: (.+)", message):
        return f"no {found[1]}", None if found[1] == "command" else f"{found[1]} on the command line"
    if found := re.fullmatch(r"unrecognized arguments: (.+)", message):
        return found[1], None
    if found := re.fullmatch(r"argument (.+?): expected (?:one|at least one) argument", message):
        return f"{found[1]} without a value", "a value behind it"
    if found := re.fullmatch(r"argument (.+?): invalid choice: (.+) \(choose from (.+)\)", message):
        return f"{found[2]} for {found[1]}", list_words([word.strip("'") for word in found[3].split(", ")])
    if found := re.fullmatch(r"argument (.+?): invalid (int|float) value: (.+)", message):
        return f"{found[3]} for {found[1]}", {"int": "a whole number", "float": "a number"}[found[2]]
    return message, None


def run_command(
    build: Callable[[], argparse.ArgumentParser], commands: Mapping[str, Command], arguments: Sequence[str] | None
) -> int:
    """Run the subcommand that the arguments name. Returns exit code 0, or 4 after one line on stderr."""
    try:
        chosen = build().parse_args(arguments)
        commands[chosen.command](chosen)
    except EngineError as error:
        say(str(error), file=sys.stderr)
        return EXIT_USAGE
    return 0


def run_main(main: Callable[[], int], who: str) -> int:
    """Run a command with output that can hold any character. Returns its exit code.

    An error that the user can fix is one line on stderr and exit code 4. A full disk is one line and exit code 3.
    Ctrl-C or a signal is one line and 128 plus the signal's number. A reader that leaves early, as `head` does, is
    no error.
    """
    prepare_output()
    with Endings() as endings:
        try:
            code = main()
            sys.stdout.flush()
            # A command that handles an early end by itself still leaves with the signal's exit code.
            return endings.exit_code if code and endings.name else code
        except EngineError as error:
            say(str(error), file=sys.stderr)
            return EXIT_USAGE
        except BrokenPipeError:
            discard_buffer(sys.stdout)
            return 0
        except KeyboardInterrupt:
            endings.hold()
            print(f"{who}: {explain_ending(endings.name or 'SIGINT')} before it was done", file=sys.stderr)
            return endings.exit_code
        except OSError as error:
            if error.errno not in DISK_FULL or error.filename is not None:
                raise
            discard_buffer(sys.stdout)
            got, remedy = f"output that cannot be written ({error.strerror})", "free some space or write elsewhere"
            print(explain(who=who, got=got, expected="a place for it", remedy=remedy), file=sys.stderr)
            return EXIT_FAILED
