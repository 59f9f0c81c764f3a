"""The quick look as a whole: check, show, tell."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from rich.console import Console

from engine.arms.measurement import measurement_type
from engine.arms.stacks import describe_stack
from engine.commands.invert.options import InvertOptions
from engine.commands.invert.outcome import Interrupted
from engine.commands.invert.plan import InvertPlan, plan_inversion
from engine.commands.invert.screen import Screen
from engine.commands.invert.summary import tell
from engine.commands.invert.view import Lines, ProgressStage, SummaryLine, View
from engine.files import STANDARD_OUTPUT, write_whole
from engine.ledger import Ledger
from engine.models import find_subject
from engine.models.token_text import name_added


def show(wish: InvertOptions, view: View | None = None) -> bool:
    """Invert, with everything shown as it goes. Returns False when Ctrl-C ended it early.

    Raises EngineError with one line where the wish or the machine is at fault.
    """
    find_subject(wish.subject)  # a name that is none is refused before anything is shown
    with view or choose_view(live=wish.live, aside=wish.json == STANDARD_OUTPUT) as watching:
        watching.begin(ProgressStage(label=f"getting {wish.subject} ready"))
        plan = plan_inversion(wish)
        watching.say(introduce(plan))
        # Imported late: it brings torch, which takes seconds.
        from engine.commands.invert.runner import Runner

        try:
            found = Runner(plan, Ledger(wish.ledger), watching).run()
        except Interrupted as stopped:
            nothing = f"It was stopped before {stopped.before}: nothing was found yet. What is stored stays."
            watching.tell(tell(plan, stopped.found) if stopped.found else [SummaryLine(label="stopped", text=nothing)])
            return False
        if wish.json is not None:
            assert found.measurement is not None
            content = measurement_type().dump_json(found.measurement, indent=2) + b"\n"
            write_whole(wish.json, content, who="--json", remedy="choose another file")
        watching.tell(tell(plan, found))
    return True


def choose_view(*, live: bool, environment: Mapping[str, str] = os.environ, aside: bool = False) -> View:
    """A live view on a terminal with colours; plain lines in a pipe, under CI or NO_COLOR, or where asked for.

    aside: on standard error, since the measurement has standard output.
    """
    out = sys.stderr if aside else sys.stdout
    console = Console(file=out, highlight=False, markup=False, emoji=False)
    dull = environment.get("NO_COLOR") or environment.get("CI") or not out.isatty() or console.is_dumb_terminal
    return Screen(console) if live and not dull else Lines(out)


def introduce(plan: InvertPlan) -> str:
    """What is inverted, how."""
    sample, trial = plan.sample, plan.trial
    parts = (
        describe_stack(sample.stack),
        f"{trial.protocol.name} protocol",
        f"N = {plan.iterations}",
        f"σ = {sample.sigma:g}",
        f"start seed {plan.wish.seed}",
        f"{trial.dtype} on {trial.device}",
        *([f"without what its tokenizer puts, {added}"] if (added := name_added(plan.tokenizer)) else ()),
    )
    return f"{trial.subject.id}: {', '.join(parts)}"
