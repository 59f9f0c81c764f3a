"""What is inverted and what was found, in plain sentences with their numbers."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from engine.arms.measurement import digest_of
from engine.arms.stacks import describe_stack
from engine.commands.invert.options import InvertOptions
from engine.commands.invert.plan import InvertPlan
from engine.commands.invert.runner import InversionOutcome
from engine.commands.invert.view import Match, SummaryLine, compare_token, show_token, write_bounds
from engine.experiments.inversion.arm import Stop
from engine.experiments.inversion.readings import InTopFive
from engine.experiments.recovery.searches import SearchRuns
from engine.files import STANDARD_OUTPUT
from engine.models.token_text import describe_added
from engine.text import format_duration, format_number, format_percent, is_invisible, write_plain

LONGEST_TEXT = 2000


def introduce(plan: InvertPlan) -> str:
    """What is inverted, and how."""
    sample, trial = plan.sample, plan.trial
    parts = (
        describe_stack(sample.stack),
        f"{trial.protocol.name} protocol",
        f"N = {plan.iterations}",
        f"σ = {sample.sigma:g}",
        f"start seed {plan.options.seed}",
        f"{trial.dtype} on {trial.device}",
        *describe_added(plan.tokenizer),
    )
    return f"{trial.subject.id}: {', '.join(parts)}"


def summarize(plan: InvertPlan, outcome: InversionOutcome, refused: str | None = None) -> list[SummaryLine]:
    """The result of a descent, or how far it was when it was stopped. refused: why the search was not run."""
    run, options = outcome.run, plan.options
    lines = [_summarize_bound(plan, outcome)]

    count = len(run.target)
    if run.exact:
        lines.append(SummaryLine(label="tokens", text=f"All {count} tokens came back.", style="green"))
    else:
        right, near = round(run.recovery * count), round((InTopFive().read(run, {}) or 0.0) * count)
        text = (
            f"{right} of {count} tokens came back; at {near} of {count} the prompt's is among the five most activated."
        )
        lines.append(SummaryLine(label="tokens", text=text, style="yellow" if right else "red"))

    if run.ceiling < 1:
        missed = [
            f"{show_token(plan.text(i))} (position {place}, decoded to {show_token(plan.text(top[0]))})"
            for place, (i, top) in enumerate(zip(run.target, run.target_top, strict=True), 1)
            if compare_token(i, top) is not Match.RIGHT
        ]
        able = f"The codec gives back only {count - len(missed)} of {count} from the prompt's own embeddings"
        lines.append(SummaryLine(label="ceiling", text=f"{able}; no descent recovers {', '.join(missed)}."))

    start = next((s.l2 for s in run.snapshots if s.iteration == 0), None)
    began = f"; it began {format_number(start)} away" if start is not None else ""
    text = f"The input is {format_number(run.final_l2)} away from the prompt's in L²{began}."
    lines.append(SummaryLine(label="input", text=text))

    lines.append(SummaryLine(label="prompt", text=f"“{write_plain(plan.text(*run.target), LONGEST_TEXT)}”"))
    if run.stop is not Stop.DIVERGED:
        decoded = plan.text(*(top[0] for top in run.snapshots[-1].top))
        lines.append(SummaryLine(label="decoded", text=f"“{write_plain(decoded, LONGEST_TEXT)}”"))

    if (said := run.next_tokens) is not None:
        prompt, final, decoded = (show_token(plan.text(i)) for i in (said.target, said.final, said.decoded))
        same = "the same" if said.final == said.target else "another"
        text = (
            f"The stack's next token is {prompt} after the prompt, {final} after the input found ({same}), "
            f"and {decoded} after the text that this input decodes to."
        )
        lines.append(SummaryLine(label="next", text=text))

    if outcome.search is not None:
        lines += _summarize_search(plan, outcome.search)
    elif refused is not None:
        lines.append(SummaryLine(label="search", text=f"Not run: {refused}.", style="yellow"))

    if (measurement := outcome.measurement) is None:
        text = "Nothing, since the descent did not end."
    else:
        text = f"In {options.ledger} as {digest_of(outcome.arm)[:10]}"
        also = f", and in {options.json}" if options.json and options.json != STANDARD_OUTPUT else ""
        if outcome.stored:
            since = measurement.provenance.measured_at
            text += f" since {since}{also}; it was read from there, and --fresh measures again."
        else:
            text += f"{also}; it took {format_number(round(measurement.elapsed_s, 1))} s."
    lines.append(SummaryLine(label="kept", text=text))
    return [*lines, SummaryLine(label="again", text=write_command(plan, outcome.arm.step), verbatim=True)]


def _summarize_search(plan: InvertPlan, search: SearchRuns) -> list[SummaryLine]:
    """What the recovery token by token found, and what it cost."""
    (run,), vocab = search.recoveries.runs, search.results[0].vocab
    count, right = len(run.target), round(run.recovery * len(run.target))
    checked = format_percent(sum(one.checks for one in run.found) / (len(run.found) * vocab))
    came = f"all {count} tokens" if run.exact else f"{right} of {count} tokens"
    text = (
        f"Token by token, with every candidate checked, {came} came back from the same output; "
        f"{checked} of the vocabulary was checked for each, in {format_duration(search.elapsed_s)}."
    )
    found = [one.token for one in run.found if one.token is not None]
    if len(found) < len(run.found):
        text += f" It ended at position {len(run.found)}, where no token matched."
    style = "green" if run.exact else "yellow" if right else "red"
    decoded = f"“{write_plain(plan.text(*found), LONGEST_TEXT)}”"
    return [SummaryLine(label="search", text=text, style=style), SummaryLine(label="found", text=decoded)]


def _summarize_bound(plan: InvertPlan, outcome: InversionOutcome) -> SummaryLine:
    """Whether the output came within the bound, and how its distance changed."""
    run, n = outcome.run, plan.iterations
    start, bound, final = map(format_number, (run.start_distance, run.bound, run.final_distance))
    first, last = write_bounds(run.start_distance, run.bound), write_bounds(run.final_distance, run.bound)
    began = f"its distance to the prompt's output began at {start} ({first} bounds)"
    whole = f"{began} and is {final} ({last} bounds) at iteration {run.ended_at}"
    style = ""
    if outcome.measurement is None:
        hit = f"the bound was hit at iteration {run.hit}" if run.hit is not None else "the bound was not hit yet"
        text = f"Stopped at iteration {run.ended_at} of {n}; {hit} (it is {bound}): {whole}."
    elif run.stop is Stop.DIVERGED:
        before = f"after a hit at iteration {run.hit}" if run.hit is not None else "without a hit"
        text = f"The descent diverged by iteration {run.ended_at}, {before}: {began}. A smaller --step may prevent it."
        style = "red"
    elif run.hit is None:
        text = f"The output did not come within the bound of {bound} in {n} iterations: {whole}."
        style = "yellow"
    else:
        when = f"at iteration {run.hit} of {n}" if run.hit else "from the start"
        text = f"The output came within the bound of {bound} {when}: {whole}."
        style = "green"
    return SummaryLine(label="bound", text=text, style=style)


def write_command(plan: InvertPlan, step: float) -> str:
    """The command that runs the same descent again, with every setting that decides its numbers."""
    options = plan.options
    default = InvertOptions(prompt=options.prompt, subject=options.subject)
    words: list[object] = ["--subject", options.subject, "--blocks", options.blocks]
    words += ["--head"] if options.head else []
    words += ["--protocol", options.protocol, "--iterations", plan.iterations, "--step", repr(step)]
    words += ["--seed", options.seed]
    for name in ("sigma", "metric", "dtype"):
        if getattr(options, name) != getattr(default, name):
            words += [f"--{name}", getattr(options, name)]
    words += ["--device", plan.trial.device]
    # A prompt that begins with a dash would be read as an option.
    prompt = options.prompt
    words = [*words, "--", prompt] if prompt.startswith("-") else [prompt, *words]
    return quote_words(["lm-claims", "invert", *words])


def quote_words(words: Sequence[object]) -> str:
    """A command line for a shell, with nothing in it that could act on the terminal that shows it."""
    quoted: list[str] = []
    for word in map(str, words):
        if not any(map(is_invisible, word)):
            quoted.append(shlex.quote(word))
            continue
        # Bash, zsh and ksh read escapes in quotes of this kind.
        plain = (chr(b) if 32 <= b <= 126 and chr(b) not in "\\'" else f"\\x{b:02x}" for b in word.encode())
        quoted.append(f"$'{''.join(plain)}'")
    return " ".join(quoted)
