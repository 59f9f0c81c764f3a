"""The model as its users run it: whether a shift changes its next token, and what it says next to one prompt."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from engine.arms.settings import Unit
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.experiments.language.arm import Continuation, NextTokenArm, NextTokenResult
from engine.records import Table
from engine.statistics import Estimate, proportion


@dataclass(frozen=True, kw_only=True)
class ShiftAgreement:
    """Shift each prompt's embeddings by N(0, sigma²) a few times and compare the whole model's next token.

    Gives 'agreement', the share of shifts that leave it; the shifts of one prompt are a cluster.
    """

    tag: ClassVar[str] = "ShiftAgreement"
    sigma: float = 0.05
    draws: int = 8

    def rounds(self, trial: Trial) -> Rounds:
        measurements = yield [
            NextTokenArm(
                subject=trial.subject.id,
                source=trial.subject.fingerprint(),
                units=wave,
                sigma=self.sigma,
                draws=self.draws,
                dtype=trial.dtype,
                device=trial.device,
            )
            for wave in trial.waves()
        ]
        results = [m.result for m in measurements if isinstance(m.result, NextTokenResult)]
        said = [(row, token) for result in results for row in result.rows for token in row.shifted]
        agreement = proportion(
            "agreement",
            [token == row.top[0] for row, token in said],
            clusters=[row.prompt for row, _ in said],
            counts="shifts",
            look=trial.look,
        )
        return Evidence(
            estimates=Evidence.named(agreement) if said else {},
            draw=lambda: (_shift_table(results),),
            settings={
                "stack": "the whole model, true positions",
                "σ": f"{self.sigma:g}",
                "shifts of each unit": str(self.draws),
                "dtype": trial.dtype,
                "device": trial.device,
            },
            measurements=tuple(measurements),
        )


def _shift_table(results: list[NextTokenResult]) -> Table:
    return Table(
        title="Next token of each prompt, and after its shifts",
        columns=("prompt", "seed", "next token", "probability", "kept", "what else came"),
        rows=tuple(
            (
                *(row.prompt, row.seed, repr(result.texts[row.top[0]]), row.probabilities[0]),
                *(sum(token == row.top[0] for token in row.shifted) / max(len(row.shifted), 1), _others(row, result)),
            )
            for result in results
            for row in result.rows
        ),
        note="kept: share of the shifts after which the next token is the same.",
        kind="kept",
    )


def _others(row: Continuation, result: NextTokenResult) -> str:
    """The other winners, most frequent first, with how often each came."""
    counted = Counter(token for token in row.shifted if token != row.top[0]).most_common()
    return ", ".join(f"{result.texts[token]!r} × {times}" for token, times in counted)


@dataclass(frozen=True, kw_only=True)
class NextTokenIs:
    """Whether the whole model's likeliest token after one prompt is this word. Gives 'next token is WORD': 1 or 0.

    prompt: the claim's own; after others it is another claim, and not judged. word: with its leading space.
    """

    tag: ClassVar[str] = "NextWord"
    prompt: str
    word: str

    @property
    def estimate(self) -> str:
        return f"next token is {self.word.strip()}"

    def refuse(self, trial: Trial) -> str | None:
        """Why a trial is not about this sentence; None where it is."""
        if not trial.prompts or set(trial.prompts) == {self.prompt}:
            return None
        return f"This claim is about {self.prompt!r} alone, and --prompt asks for others; leave it out to judge it."

    def rounds(self, trial: Trial) -> Rounds:
        measurements = yield [
            NextTokenArm(
                subject=trial.subject.id,
                source=trial.subject.fingerprint(),
                units=(Unit(prompt=self.prompt, seed=0),),
                dtype=trial.dtype,
                device=trial.device,
            )
        ]
        result = measurements[0].result
        assert isinstance(result, NextTokenResult)
        (row,) = result.rows
        hit = float(result.texts[row.top[0]] == self.word)
        return Evidence(
            estimates=Evidence.named(
                Estimate(
                    name=self.estimate,
                    value=hit,
                    low=hit,
                    high=hit,
                    n=1,
                    counts="prompts",
                    method="exact",
                    scale="exact",
                )
            ),
            draw=lambda: (
                Table(
                    title=f"Likeliest tokens after {self.prompt!r}",
                    columns=("rank", "token", "probability"),
                    rows=tuple(
                        (rank, repr(result.texts[token]), chance)
                        for rank, (token, chance) in enumerate(zip(row.top, row.probabilities, strict=True), 1)
                    ),
                    kind="likeliest",
                ),
            ),
            settings={
                "stack": "the whole model, true positions",
                "prompt": f"{self.prompt!r}, the claim's own: --seeds does not apply",
                "dtype": trial.dtype,
                "device": trial.device,
            },
            measurements=tuple(measurements),
        )
