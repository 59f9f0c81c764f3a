"""`lm-claims COMMAND`, or `python -m engine COMMAND`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from engine.commands.command_line import EXIT_USAGE, list_words, run_main
from engine.errors import EngineError, explain

COMMANDS = {
    "verify": ("verify", "test claims: measure what is not stored, judge, write a report"),
    "report": ("report", "render, compare, export or tabulate the records of sessions"),
    "ledger": ("ledger", "list, merge, prune or export measurements"),
    "invert": ("invert.command", "run one inversion and show it as it goes"),
    "register": ("register", "record what decides each claim, before it is measured"),
    "weights": ("weights", "fetch the pinned weights that items on GPUs need"),
    "gpu-check": ("gpu_check", "compare what a GPU measures with what the CPU measures"),
    "calibrate": ("calibrate", "simulate claims of known truth, and count false verdicts"),
    "bench": ("bench", "keep or print the figures of a bench run, or time a whole run beside its products"),
}
"""Each command's module in engine.commands, whose `main` runs it, and what the command does."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 4, after one line, for an unknown command."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] in (["-h"], ["--help"]):
        return run_main(_print_commands, "lm-claims")
    if not words or words[0] not in COMMANDS:
        got = repr(words[0]) if words else "no command"
        remedy = "write lm-claims verify to test claims, or see lm-claims --help"
        print(explain(who="lm-claims", got=got, expected=list_words([*COMMANDS]), remedy=remedy), file=sys.stderr)
        return EXIT_USAGE
    name, rest = words[0], words[1:]
    # Imported now, so that no command waits for what only another one needs.
    command: Callable[[Sequence[str]], int] = import_module(f"engine.commands.{COMMANDS[name][0]}").main
    if name != "verify" or {"-h", "--help"} & set(rest):
        return run_main(lambda: command(rest), name)
    try:
        return command(rest)  # pytest handles signals and output itself
    except EngineError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE


def _print_commands() -> int:
    print("usage: lm-claims COMMAND …\n")
    width = max(map(len, COMMANDS))
    print("\n".join(f"  {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items()))
    print("\nlm-claims COMMAND --help lists a command's options")
    return 0


if __name__ == "__main__":
    sys.exit(main())
