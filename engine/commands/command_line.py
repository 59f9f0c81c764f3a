"""What the engine's commands with subcommands have in common: mistakes in one line, and an exit code."""

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
REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What a disk says that takes no more output."""

Command = Callable[[argparse.Namespace], None]


def say(line: str, limit: int = 2000, file: TextIO | None = None) -> None:
    """Print a line in which nothing can act on a terminal: names in files are other people's text."""
    print(write_plain(line, limit), file=file or sys.stdout, flush=True)


class Parser(argparse.ArgumentParser):
    """Complains in one line, as the rest of the engine does. prog: "lm-claims COMMAND", and a subcommand's name."""

    expected = "options that it has"
    """What it may be given, where argparse's own complaint does not say; a subcommand's parser takes its parent's."""

    def error(self, message: str) -> NoReturn:
        who = self.prog.removeprefix("lm-claims ").split()[0]
        got, expected = _read_complaint(message)
        remedy = f"see {self.prog} --help"
        raise UsageError(explain(who=who, got=got, expected=expected or self.expected, remedy=remedy))


def make_parser(expected: str) -> type[Parser]:
    """A parser that says this of what it may be given."""
    return type("Parser", (Parser,), {"expected": expected})


def list_words(words: Sequence[str]) -> str:
    """'a, b or c'."""
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]


def _read_complaint(message: str) -> tuple[str, str | None]:
    """What argparse got, and what it expected where it says so. A complaint of another form is passed on."""
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
    """Run the command that is asked for. Exit code 0, or 4 after one line on stderr."""
    try:
        chosen = build().parse_args(arguments)
        commands[chosen.command](chosen)
    except EngineError as error:
        say(str(error), file=sys.stderr)
        return EXIT_USAGE
    return 0


def run_main(main: Callable[[], int], who: str) -> int:
    """Run a command of the engine with output that holds any character. Returns its exit code.

    What the user can mend is one line on stderr, with exit code 4. Whoever reads along may stop, as `head` does. A
    disk that takes no output is told in one line, with exit code 3, and so is what ends it early (Ctrl-C, a signal),
    with 128 and the signal's number.
    """
    prepare_output()
    with Endings() as endings:
        try:
            code = main()
            sys.stdout.flush()
            # What has told by itself how far it had come still leaves with the number of what ended it.
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
            if error.errno not in REFUSED or error.filename is not None:
                raise
            discard_buffer(sys.stdout)
            got, remedy = f"output that cannot be written ({error.strerror})", "free some space or write elsewhere"
            print(explain(who=who, got=got, expected="a place for it", remedy=remedy), file=sys.stderr)
            return EXIT_FAILED
