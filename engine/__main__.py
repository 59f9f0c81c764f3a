"""`lm-claims COMMAND`, which is `python -m engine COMMAND`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from engine.errors import EngineError, explain

COMMANDS = {"verify": "test claims: measure what is not stored, judge, write the report"}
EXIT_USAGE = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code, or 4 after one line for a command that is none."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] in (["-h"], ["--help"]):
        print("usage: lm-claims COMMAND …\n")
        print("\n".join(f"  {name:<8} {what}" for name, what in COMMANDS.items()))
        print("\nlm-claims COMMAND --help lists a command's options")
        return 0
    if not words or words[0] not in COMMANDS:
        got = repr(words[0]) if words else "no command"
        expected, remedy = " or ".join(COMMANDS), "write lm-claims verify, or see lm-claims --help"
        print(explain(who="lm-claims", got=got, expected=expected, remedy=remedy), file=sys.stderr)
        return EXIT_USAGE
    from engine.verify import main as verify  # pytest is not loaded for a mistake

    try:
        return verify(words[1:])
    except EngineError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
