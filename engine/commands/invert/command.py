"""`lm-claims invert "The sky is blue." --subject smollm2-135m --blocks 1`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.commands.command_line import EXIT_FAILED, EXIT_USAGE, say
from engine.errors import EngineError, explain, no_exits
from engine.running.output import discard_buffer

if TYPE_CHECKING:
    from engine.commands.invert.options import InvertOptions
    from engine.commands.invert.view import View

EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Return exit code 0, 4 for an error that the user can fix, 3 for an unexpected one, or 130 after Ctrl-C.

    Each error is one line on standard error.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        # Imported late, so that --help does not wait for libraries that it does not need.
        from engine.commands.invert.options import parse

        options = parse(given)
        with no_exits():
            return 0 if invert(options) else EXIT_INTERRUPTED
    except EngineError as error:
        say(str(error), file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        say("stopped before anything was found", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of the output has gone
        discard_buffer(sys.stdout)
        return EXIT_FAILED
    except Exception as error:
        if "--traceback" in given:
            raise
        got = f"{type(error).__name__}: {error}"
        line = explain(who="invert", got=got, expected="to finish", remedy="run it with --traceback to see where")
        say(line, file=sys.stderr)
        return EXIT_FAILED


def invert(options: InvertOptions, view: View | None = None) -> bool:
    """Run an inversion and show it as it goes. Returns False if Ctrl-C ended it early.

    Raises EngineError, with one line, if the options do not fit the subject or this machine.
    """
    from engine.arms.measurement import measurement_type
    from engine.commands.invert.view import ProgressStage, SummaryLine, choose_view
    from engine.files import STANDARD_OUTPUT, write_whole
    from engine.ledger import Ledger
    from engine.models import find_subject

    find_subject(options.subject)  # an unknown name is refused before anything is shown
    with view or choose_view(live=options.live, on_stderr=options.json == STANDARD_OUTPUT) as view:
        view.begin(ProgressStage(label=f"loading {options.subject}"))
        # Imported while the view shows that something is going on: torch takes seconds.
        from engine.commands.invert.plan import plan_inversion
        from engine.commands.invert.runner import Interrupted, Runner
        from engine.commands.invert.summary import introduce, summarize

        plan = plan_inversion(options)
        view.say(introduce(plan))
        runner = Runner(plan, Ledger(options.ledger), view)
        try:
            outcome = runner.run()
        except Interrupted as interrupted:
            if interrupted.outcome is not None:
                view.show_summary(summarize(plan, interrupted.outcome))
            else:
                text = f"Stopped before {interrupted.before}: nothing was found yet. Stored measurements stay."
                view.show_summary([SummaryLine(label="stopped", text=text)])
            return False
        if options.json is not None:
            assert outcome.measurement is not None
            content = measurement_type().dump_json(outcome.measurement, indent=2) + b"\n"
            write_whole(options.json, content, who="--json", remedy="choose another file")
        interrupted, refused = False, None
        if options.search:
            try:
                outcome = replace(outcome, search=runner.search())
            except KeyboardInterrupt:
                interrupted = True
            except EngineError as error:  # such as a context that is too short for the prompts of tuning
                refused = str(error)
        view.show_summary(summarize(plan, outcome, refused))
    return not interrupted
