"""What was found, in plain sentences with their numbers."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from engine.arms.measurement import digest_of
from engine.commands.invert.options import WHO, InvertOptions
from engine.commands.invert.outcome import InversionOutcome
from engine.commands.invert.plan import InvertPlan
from engine.commands.invert.token_view import Match, judge, show_token, write_bounds
from engine.commands.invert.view import SummaryLine
from engine.experiments.inversion.arm import InversionRun, Stop
from engine.experiments.inversion.readings import InTopFive
from engine.files import STANDARD_OUTPUT
from engine.text import format_number, is_invisible, write_plain

TEXT_LIMIT = 2000


def tell(plan: InvertPlan, found: InversionOutcome) -> list[SummaryLine]:
    """The end of a descent, or how far it had come when it was stopped."""
    run = found.run
    lines = [_tell_bound(plan, found), _tell_tokens(plan, run)]
    if run.ceiling < 1:
        lines.append(_tell_ceiling(plan, run))
    lines.append(_tell_input(run))
    lines.append(SummaryLine(label="prompt", text=_quote_text(plan.text(*run.target))))
    if run.stop is not Stop.DIVERGED:
        lines.append(SummaryLine(label="decoded", text=_quote_text(plan.text(*_decode(run)))))
    if run.next_tokens is not None:
        lines.append(_tell_next(plan, run))
    lines.append(SummaryLine(label="kept", text=_tell_kept(plan.wish, found)))
    return [*lines, SummaryLine(label="again", text=write_command(plan, found.arm.step), verbatim=True)]


def _tell_bound(plan: InvertPlan, found: InversionOutcome) -> SummaryLine:
    run, n = found.run, plan.iterations
    start, bound, final = map(format_number, (run.start_distance, run.bound, run.final_distance))
    ratio, first = write_bounds(run.final_distance, run.bound), write_bounds(run.start_distance, run.bound)
    way = f"its distance to the prompt's output began at {start} ({first} bounds)"
    end = f"and is {final} ({ratio} bounds) at iteration {run.ended_at}"
    if found.measurement is None:
        hit = f"the bound was hit at iteration {run.hit}" if run.hit is not None else "the bound was not hit yet"
        return SummaryLine(
            label="bound", text=f"Stopped at iteration {run.ended_at} of {n}; {hit} (it is {bound}): {way} {end}."
        )
    if run.stop is Stop.DIVERGED:
        before = f"after a hit at iteration {run.hit}" if run.hit is not None else "without a hit"
        text = f"The descent diverged by iteration {run.ended_at}, {before}: {way}. A smaller --step may hold it."
        return SummaryLine(label="bound", text=text, style="red")
    if run.hit is None:
        text = f"The output did not come within the bound of {bound} in {n} iterations: {way} {end}."
        return SummaryLine(label="bound", text=text, style="yellow")
    when = f"at iteration {run.hit} of {n}" if run.hit else "from the start"
    return SummaryLine(
        label="bound", text=f"The output came within the bound of {bound} {when}: {way} {end}.", style="green"
    )


def _tell_tokens(plan: InvertPlan, run: InversionRun) -> SummaryLine:
    count = len(run.target)
    right, near = round(run.recovery * count), round((InTopFive().read(run, {}) or 0.0) * count)
    if run.exact:
        return SummaryLine(label="tokens", text=f"All {count} tokens came back.", style="green")
    text = f"{right} of {count} tokens came back; at {near} of {count} the prompt's is among the five most activated."
    return SummaryLine(label="tokens", text=text, style="yellow" if right else "red")


def _tell_ceiling(plan: InvertPlan, run: InversionRun) -> SummaryLine:
    missed = [
        f"{show_token(plan.text(i))} (position {place}, decoded to {show_token(plan.text(top[0]))})"
        for place, (i, top) in enumerate(zip(run.target, run.target_top, strict=True), 1)
        if judge(i, top) is not Match.RIGHT
    ]
    count = len(run.target)
    able = f"The codec gives back only {count - len(missed)} of {count} from the prompt's own embeddings"
    return SummaryLine(label="ceiling", text=f"{able}; no descent recovers {', '.join(missed)}.")


def _tell_input(run: InversionRun) -> SummaryLine:
    start = next((s.l2 for s in run.snapshots if s.iteration == 0), None)
    began = f"; it began {format_number(start)} away" if start is not None else ""
    return SummaryLine(
        label="input", text=f"The input is {format_number(run.final_l2)} away from the prompt's in L²{began}."
    )


def _decode(run: InversionRun) -> tuple[int, ...]:
    return tuple(top[0] for top in run.snapshots[-1].top)


def _tell_next(plan: InvertPlan, run: InversionRun) -> SummaryLine:
    said = run.next_tokens
    assert said is not None
    prompt, final, decoded = (show_token(plan.text(i)) for i in (said.target, said.final, said.decoded))
    same = "the same" if said.final == said.target else "another"
    text = (
        f"The stack's next token is {prompt} after the prompt, {final} after the found input ({same}), "
        f"and {decoded} after the text that this decodes to."
    )
    return SummaryLine(label="next", text=text)


def _tell_kept(wish: InvertOptions, found: InversionOutcome) -> str:
    if found.measurement is None:
        return "Nothing, since the descent did not end."
    name = digest_of(found.arm)[:10]
    also = f", and in {wish.json}" if wish.json and wish.json != STANDARD_OUTPUT else ""
    if found.stored:
        since = found.measurement.provenance.measured_at
        return f"In {wish.ledger} as {name} since {since}{also}; it was read from there, --fresh measures again."
    return f"In {wish.ledger} as {name}{also}; it took {format_number(round(found.measurement.elapsed_s, 1))} s."


def _quote_text(text: str) -> str:
    return f"“{write_plain(text, limit=TEXT_LIMIT)}”"


def write_command(plan: InvertPlan, step: float) -> str:
    """The command that runs the same descent again: every setting that decides its numbers."""
    wish = plan.wish
    parts: list[object] = ["python", "-m", WHO, wish.prompt, "--subject", wish.subject, "--blocks", wish.blocks]
    parts += ["--head"] if wish.head else []
    parts += ["--protocol", wish.protocol, "--iterations", plan.iterations, "--step", repr(step), "--seed", wish.seed]
    plain = InvertOptions(prompt=wish.prompt, subject=wish.subject)
    for name in ("sigma", "metric", "dtype"):
        if getattr(wish, name) != getattr(plain, name):
            parts += [f"--{name}", getattr(wish, name)]
    return quote_words([*parts, "--device", plan.trial.device])


def quote_words(words: Sequence[object]) -> str:
    """Words as a shell takes them, with nothing in them that could act on the terminal that they are printed on."""
    return " ".join(_quote_word(str(word)) for word in words)


def _quote_word(word: str) -> str:
    if not any(map(is_invisible, word)):
        return shlex.quote(word)
    # Bash, zsh and ksh read escapes in this kind of quotes.
    escaped = "".join(_escape_byte(b) if b < 32 or b > 126 or chr(b) in "\\'" else chr(b) for b in word.encode())
    return f"$'{escaped}'"


def _escape_byte(byte: int) -> str:
    return f"\\x{byte:02x}"
