"""`engine.verify` and `engine.invert`: the two commands for a notebook or a script, with results in place of pages."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.errors import UsageError, explain
from engine.report.results import RECORDS, Results, load
from engine.text import format_number

if TYPE_CHECKING:
    import pandas as pd

    from engine.experiments.inversion.arm import InversionRun

PATIENCE_S = 30
"""How long a session that is interrupted has to store what it measures."""

Texts = str | Sequence[str]


def verify(
    claims: Texts,
    *,
    subject: Texts = (),
    protocol: Texts = (),
    effort: Literal["smoke", "standard", "full"] = "standard",
    prompt: Texts = (),
    device: str = "auto",
    ledger: str | Path | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> Results:
    """Measure what is not stored yet of some claims, and judge them: `lm-claims verify`, in a process of its own.

    claims: 'C16', or several. subject, protocol, prompt: one or several; empty for each claim's own.
    ledger: where measurements are stored and looked up; None takes the command's own. folder: where the claims are;
    None takes those that the command would. progress: print how far it is on standard error.
    Raises UsageError for a claim that there is not, and for what the command refuses.
    """
    from engine.commands.verify import find_claims as find_folder

    place = find_folder(Path.cwd()) if folder is None else Path(folder)
    given = {"subject": subject, "protocol": protocol, "prompt": prompt}
    words = [str(file) for file in _find_files(_list(claims), place)]
    words += [word for name, texts in given.items() for text in _list(texts) for word in (f"--{name}", text)]
    words += ["--effort", effort, "--device", device, *(["--ledger", str(ledger)] if ledger is not None else [])]
    with tempfile.TemporaryDirectory(prefix="lm-claims-") as made:
        output = _run([*words, "--report-dir", made, "-p", "no:cacheprovider", "-p", "no:benchmark"], progress=progress)
        written = Path(made) / RECORDS
        if not written.is_file():
            lines = [re.sub(r"^ERROR: ", "", line) for line in output.splitlines() if line.strip()]
            refused = next((line for line in reversed(lines) if ": got " in line), lines[-1] if lines else "no output")
            raise UsageError(refused)
        return load(written)


def _list(texts: Texts) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)


def _find_files(claims: Sequence[str], place: Path) -> list[Path]:
    from engine.claim.discover import find_claims

    declared = {found.claim.id.lower(): found.file for found in find_claims(place)}
    for claim in claims:
        if claim.lower() not in declared:
            near = [name.upper() for name in get_close_matches(claim.lower(), declared, n=3, cutoff=0.3)]
            remedy = f"did you mean {' or '.join(near)}?" if near else "name one of them"
            got, expected = f"no claim {claim!r}", f"one of the {len(declared)} in {place}"
            raise UsageError(explain(who="verify", got=got, expected=expected, remedy=remedy))
    return [declared[claim.lower()] for claim in claims]


def _run(words: list[str], *, progress: bool) -> str:
    """Run the command, and return what it wrote. Its progress is passed on as it comes."""
    lines: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-m", "engine", "verify", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line)
                if progress and line.startswith("measuring "):
                    print(line, end="", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            # What is measured is stored; a second interrupt ends it at once.
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=PATIENCE_S)
            process.kill()
            raise
    return "".join(lines)


@dataclass(frozen=True, kw_only=True, repr=False)
class Inversion:
    """A prompt sought by descent on its activations.

    prompt, found: the text of each token, of the prompt and of the end of the descent. step: η.
    run: everything that was measured of the descent.
    """

    prompt: tuple[str, ...]
    found: tuple[str, ...]
    step: float
    run: InversionRun

    @property
    def exact(self) -> bool:
        """Whether every token came back."""
        return self.run.exact

    @property
    def recovery(self) -> float:
        """The share of tokens that came back."""
        return self.run.recovery

    @property
    def hit(self) -> int | None:
        """The first iteration within the bound; None if there was none."""
        return self.run.hit

    def to_frame(self) -> pd.DataFrame:
        """One row for each position: the prompt's token, the one that was found, and whether they are the same."""
        import pandas as pd

        rows = [(a, b, i == top[0]) for a, b, i, top in self._positions()]
        return pd.DataFrame(rows, columns=pd.Index(["prompt", "found", "same"]))

    def _positions(self) -> list[tuple[str, str, int, tuple[int, ...]]]:
        top = self.run.snapshots[-1].top
        return list(zip(self.prompt, self.found, self.run.target, top, strict=True))

    def __repr__(self) -> str:
        right = round(self.recovery * len(self.prompt))
        within = f"within the bound at iteration {self.hit}" if self.hit is not None else "never within the bound"
        shown = "".join(self.found)
        head = f"Inverted: {right} of {len(self.prompt)} tokens came back, {within}, η = {format_number(self.step)}"
        return f"{head}\n{shown if len(shown) <= 100 else shown[:99] + '…'}"

    def _repr_html_(self) -> str:
        title = escape(repr(self).partition("\n")[0])
        cells = ""
        for a, b, i, top in self._positions():
            colour, sign = ("#176b3a", "✓") if i == top[0] else ("#a3271e", "×")
            found = f"<span style='color:{colour}'>{sign} {escape(b)}</span>"
            cells += f"<td style='padding:.2em .6em'>{escape(a)}<br>{found}</td>"
        return f"<p>{title}</p><table><tr>{cells}</tr></table>"


def invert(
    prompt: str,
    *,
    subject: str = "smollm2-135m",
    blocks: int | Literal["all"] = 1,
    head: bool = False,
    protocol: str = "page",
    iterations: int | None = None,
    step: float | None = None,
    seed: int = 0,
    device: str = "auto",
    ledger: str | Path = ".ledger",
) -> Inversion:
    """Seek a prompt by descent on its activations behind some blocks: `lm-claims invert`, with a result.

    iterations, step: None takes as many as claims do, and the protocol's step size or a tuned one. seed: of the start.
    Raises UsageError, PromptError, MissingError or SubjectError for what does not fit the model or this machine.
    """
    import io

    from engine.commands.invert.options import InvertOptions
    from engine.commands.invert.plan import plan_inversion
    from engine.commands.invert.runner import Runner
    from engine.commands.invert.view import View
    from engine.ledger import Ledger
    from engine.models import find_subject

    find_subject(subject)
    options = InvertOptions(
        prompt=prompt,
        subject=subject,
        blocks=blocks,
        head=head,
        protocol=protocol,
        iterations=iterations,
        step=step,
        seed=seed,
        device=device,
        ledger=Path(ledger),
        live=False,
    )
    plan = plan_inversion(options)
    outcome = Runner(plan, Ledger(Path(ledger)), View(io.StringIO())).run()
    top = outcome.run.snapshots[-1].top
    return Inversion(
        prompt=tuple(plan.text(i) for i in outcome.run.target),
        found=tuple(plan.text(ids[0]) for ids in top),
        step=outcome.tuned.step,
        run=outcome.run,
    )
