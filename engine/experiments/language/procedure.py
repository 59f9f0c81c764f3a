"""Procedures on the next tokens of the whole model as users run it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from engine.arms.settings import Unit
from engine.arms.stacks import WHOLE
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.experiments.language.arm import NextTokenArm, NextTokenResult
from engine.experiments.sampling import assign_units, draw_subject, find_seeds
from engine.records import Table
from engine.statistics import exact_value, proportion


@dataclass(frozen=True, kw_only=True)
class ShiftAgreement:
    """Shift each prompt's embeddings by N(0, sigma²) a few times and compare the whole model's next token.

    Gives 'agreement', the share of shifts after which the next token is the same; each prompt's shifts are a cluster.
    """

    tag: ClassVar[str] = "ShiftAgreement"
    sigma: float = 0.05
    draws: int = 8

    def rounds(self, trial: Trial) -> Rounds:
        def make(seed: int | None, units: tuple[Unit, ...]) -> NextTokenArm:
            subject = draw_subject(trial.subject, seed)
            return NextTokenArm(
                subject=subject.id,
                source=subject.fingerprint(),
                units=units,
                sigma=self.sigma,
                draws=self.draws,
                dtype=trial.dtype,
                device=trial.device,
            )

        assigned = assign_units(trial, make, find_seeds(WHOLE, trial.subject))
        measurements = yield [one.arm for one in assigned]
        results = [m.result for m in measurements if isinstance(m.result, NextTokenResult)]
        shifts = [(row, token) for result in results for row in result.rows for token in row.shifted]
        agreement = proportion(
            "agreement",
            [token == row.top[0] for row, token in shifts],
            clusters=[row.prompt for row, _ in shifts],
            counts="shifts",
            look=trial.look,
        )

        def draw_tables() -> tuple[Table, ...]:
            rows: list[tuple[str | int | float, ...]] = []
            for result in results:
                for row in result.rows:
                    first = row.top[0]
                    kept = sum(token == first for token in row.shifted) / max(len(row.shifted), 1)
                    # The most frequent first.
                    others = Counter(token for token in row.shifted if token != first).most_common()
                    listed = ", ".join(f"{result.texts[token]!r} × {times}" for token, times in others)
                    next_token = repr(result.texts[first])
                    rows.append((row.prompt, row.seed, next_token, row.probabilities[0], kept, listed))
            table = Table(
                title="Next token of each prompt, and after its shifts",
                columns=("prompt", "seed", "next token", "probability", "kept", "other next tokens"),
                rows=tuple(rows),
                note="kept: share of the shifts after which the next token is the same.",
                kind="kept",
            )
            return (table,)

        return Evidence(
            estimates=Evidence.named(agreement) if shifts else {},
            make_tables=draw_tables,
            settings={
                "stack": "the whole model, true positions",
                "σ": f"{self.sigma:g}",
                "shifts of each unit": str(self.draws),
                "dtype": trial.dtype,
                "device": trial.device,
            },
            measurements=tuple(measurements),
        )


@dataclass(frozen=True, kw_only=True)
class NextTokenIs:
    """Whether the whole model's likeliest token after one prompt is this word. Gives 'next token is WORD': 1 or 0.

    prompt: fixed by the claim. A trial with other prompts is not judged. word: with its leading space.
    """

    tag: ClassVar[str] = "NextWord"
    prompt: str
    word: str

    @property
    def estimate(self) -> str:
        return f"next token is {self.word.strip()}"

    def refuse(self, trial: Trial) -> str | None:
        """Why a trial is not about this prompt; None if it is."""
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
        estimate = exact_value(self.estimate, hit, 1, counts="prompts")

        def draw_tables() -> tuple[Table, ...]:
            ranked = enumerate(zip(row.top, row.probabilities, strict=True), 1)
            table = Table(
                title=f"Likeliest tokens after {self.prompt!r}",
                columns=("rank", "token", "probability"),
                rows=tuple((rank, repr(result.texts[token]), probability) for rank, (token, probability) in ranked),
                kind="likeliest",
            )
            return (table,)

        return Evidence(
            estimates=Evidence.named(estimate),
            make_tables=draw_tables,
            settings={
                "stack": "the whole model, true positions",
                "prompt": f"{self.prompt!r}, the claim's own: --seeds does not apply",
                "dtype": trial.dtype,
                "device": trial.device,
            },
            measurements=tuple(measurements),
        )
