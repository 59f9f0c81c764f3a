"""Procedures on the whole model as users run it: its next tokens, and how its continuations repeat themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from engine.arms.settings import Unit
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.experiments.language.arm import GenerationArm, GenerationResult, NextTokenArm, NextTokenResult
from engine.models import find_subject
from engine.records import Table
from engine.statistics import Estimate, exact_value, paired_mean, proportion

GRAM = 4

SHOWN_PROMPTS = 6
"""Prompts whose continuations a table shows."""

SHOWN_CHARACTERS = 160
"""Characters that it shows of each."""


@dataclass(frozen=True, kw_only=True)
class ShiftAgreement:
    """Shift each prompt's embeddings by N(0, sigma²) a few times and compare the whole model's next token.

    Gives 'agreement', the share of shifts after which the next token is the same; each prompt's shifts are a cluster.
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


@dataclass(frozen=True, kw_only=True)
class CompareDecoding:
    """Continue each prompt greedily and by beam search, and compare how much the new tokens repeat themselves.

    Gives 'greedy − beam', and on the subject `larger` also 'base − xl': `smaller` minus `larger`, both greedy.
    Repetition is seq-rep-4 of Welleck et al. 2019 (arXiv 1908.04319): 1 − distinct 4-grams / 4-grams.
    batch: prompts that are continued together.
    """

    tag: ClassVar[str] = "CompareDecoding"
    new_tokens: int = 64
    beams: int = 5
    batch: int = 12
    smaller: str = "gpt2"
    larger: str = "gpt2-xl"

    def rounds(self, trial: Trial) -> Rounds:
        # Decoding is deterministic: another start of a prompt would have the same continuation.
        waves, prompts = list[tuple[Unit, ...]](), set[str]()
        for wave in trial.waves():
            new = list[Unit]()
            for unit in wave:
                if unit.prompt not in prompts:
                    prompts.add(unit.prompt)
                    new.append(unit)
            if new:
                waves.append(tuple(new))
        decodings = [("greedy", trial.subject, 1), ("beam", trial.subject, self.beams)]
        if trial.subject.id == self.larger:
            decodings.append((self.smaller, find_subject(self.smaller), 1))
        measurements = yield [
            GenerationArm(
                subject=subject.id,
                source=subject.fingerprint(),
                units=wave,
                new_tokens=self.new_tokens,
                beams=beams,
                batch=self.batch,
                dtype=trial.dtype,
                device=trial.device,
            )
            for _, subject, beams in decodings
            for wave in waves
        ]
        remaining = iter(measurements)
        continued = {name: _read_continuations([next(remaining).result for _ in waves]) for name, _, _ in decodings}

        def difference(name: str, more: str, less: str) -> Estimate:
            # Over the prompts where both continuations have a 4-gram.
            pairs = zip(continued[more], continued[less], strict=True)
            values = [(a.repetition, b.repetition) for a, b in pairs]
            known = [a - b for a, b in values if a is not None and b is not None]
            return paired_mean(name, known, bounds=(-1.0, 1.0), seed=0, look=trial.look)

        estimates: list[Estimate] = []
        if waves:
            estimates.append(difference("greedy − beam", "greedy", "beam"))
            if self.smaller in continued:
                estimates.append(difference("base − xl", self.smaller, "greedy"))
        return Evidence(
            estimates=Evidence.named(*estimates),
            make_tables=lambda: _draw_continuations(continued),
            settings={
                "new tokens": f"up to {self.new_tokens}",
                "beams": str(self.beams),
                "prompts together": str(self.batch),
                "dtype": trial.dtype,
                "device": trial.device,
            },
            measurements=tuple(measurements),
        )


def repetition(tokens: Sequence[int]) -> float | None:
    """1 − distinct 4-grams / 4-grams: 0 if no 4-gram occurs twice; None without any 4-gram.

    Source: seq-rep-n of Welleck et al. 2019, with n = 4.
    """
    grams = [tuple(tokens[i : i + GRAM]) for i in range(len(tokens) - GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else None


@dataclass(frozen=True, kw_only=True)
class _Continued:
    """One prompt's continuation."""

    prompt: str
    tokens: tuple[int, ...]
    text: str
    repetition: float | None


def _read_continuations(results: Sequence[object]) -> list[_Continued]:
    """The continuations of one decoding, in the order of the units."""
    return [
        _Continued(prompt=prompt, tokens=tokens, text=text, repetition=repetition(tokens))
        for result in results
        if isinstance(result, GenerationResult)
        for prompt, tokens, text in zip(result.prompts, result.tokens, result.text, strict=True)
    ]


def _draw_continuations(continued: dict[str, list[_Continued]]) -> tuple[Table, ...]:
    """Tables by decoding, by prompt, and of some of the texts."""
    decodings: list[tuple[str | int | float | None, ...]] = []
    for name, rows in continued.items():
        known = [row.repetition for row in rows if row.repetition is not None]
        mean = sum(known) / len(known) if known else None
        length = sum(len(row.tokens) for row in rows) / len(rows) if rows else None
        decodings.append((name, mean, len(known), len(rows) - len(known), length))
    by_prompt = list(zip(*continued.values(), strict=True))  # for each prompt, its continuation by each decoding
    return (
        Table(
            title="Repetition by decoding",
            columns=("decoding", "mean repetition", "prompts", f"too short for a {GRAM}-gram", "mean new tokens"),
            rows=tuple(decodings),
            note="A continuation of fewer than four tokens has no 4-gram; its prompt is left out of the pairs.",
        ),
        Table(
            title="Repetition by prompt",
            columns=("prompt", *continued),
            rows=tuple((same[0].prompt, *(one.repetition for one in same)) for same in by_prompt),
            kind="decoding",
        ),
        Table(
            title="Some continuations",
            columns=("prompt", "decoding", "continuation"),
            rows=tuple(
                (one.prompt, name, one.text[:SHOWN_CHARACTERS] + "…" * (len(one.text) > SHOWN_CHARACTERS))
                for same in by_prompt[:SHOWN_PROMPTS]
                for name, one in zip(continued, same, strict=True)
            ),
        ),
    )
