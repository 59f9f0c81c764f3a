"""`lm-claims invert "The sky is blue." --subject smollm2-135m --blocks 1`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from engine.errors import EngineError, explain, no_exits
from engine.running.output import discard_buffer

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 3, 4, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0; 4 after one line on stderr for what the user can mend, 3 for a failure of ours, 130 for Ctrl-C."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        # Imported late, so that --help does not wait for what it does not need.
        from engine.commands.invert.options import parse

        wish = parse(given)
        from engine.commands.invert.show import show

        with no_exits():
            return 0 if show(wish) else EXIT_INTERRUPTED
    except EngineError as error:
        _complain(str(error))
        return EXIT_USAGE
    except KeyboardInterrupt:
        _complain("stopped before anything was found")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever read the output has gone
        discard_buffer(sys.stdout)
        return EXIT_FAILED
    except Exception as error:
        if "--traceback" in given:
            raise
        what = f"{type(error).__name__}: {error}"
        _complain(explain(who="invert", got=what, expected="to finish", remedy="see where with --traceback"))
        return EXIT_FAILED


def _complain(line: str) -> None:
    from engine.text import write_plain

    print(write_plain(line, limit=2000), file=sys.stderr)
