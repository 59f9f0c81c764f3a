"""Repetition in what a model generates: greedy decoding against beam search, a small model against a large one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from engine.arms.measurement import Measurement
from engine.arms.settings import Unit
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.experiments.language.arm import GenerationArm, GenerationResult
from engine.models import Subject, find_subject
from engine.records import Table
from engine.statistics import Estimate, Look, paired_mean

GRAM = 4
SHOWN = 6
"""Prompts whose continuations a table shows."""

CUT = 160
"""Characters of a continuation that it shows."""


@dataclass(frozen=True, kw_only=True)
class CompareDecoding:
    """Continue each prompt greedily and by beam search, and compare how much the new tokens repeat themselves.

    Gives 'greedy − beam', and on the subject `larger` also 'base − xl': `smaller` less `larger`, both greedy.
    Repetition is seq-rep-4 of Welleck et al. 2019 (arXiv 1908.04319): 1 − distinct 4-grams / 4-grams. Nothing is
    drawn, so that a prompt is continued once, however many starts are asked for.
    batch: prompts that are continued together.
    """

    tag: ClassVar[str] = "CompareDecoding"
    new_tokens: int = 64
    beams: int = 5
    batch: int = 12
    smaller: str = "gpt2"
    larger: str = "gpt2-xl"

    def rounds(self, trial: Trial) -> Rounds:
        waves = _once_each(trial.waves())
        runs = [("greedy", trial.subject, 1), ("beam", trial.subject, self.beams)]
        if trial.subject.id == self.larger:
            runs.append((self.smaller, find_subject(self.smaller), 1))
        measurements = yield [self._arm(trial, subject, wave, beams) for _, subject, beams in runs for wave in waves]
        found = {
            name: _gather(measurements[k * len(waves) : (k + 1) * len(waves)]) for k, (name, _, _) in enumerate(runs)
        }
        estimates = [_difference("greedy − beam", found["greedy"], found["beam"], trial.look)]
        if self.smaller in found:
            estimates.append(_difference("base − xl", found[self.smaller], found["greedy"], trial.look))
        return Evidence(
            estimates=Evidence.named(*estimates) if waves else {},
            draw=lambda: (_count_table(found), _prompt_table(found), _text_table(found)),
            settings={
                "new tokens": f"up to {self.new_tokens}",
                "beams": str(self.beams),
                "prompts together": str(self.batch),
                "dtype": trial.dtype,
                "device": trial.device,
            },
            measurements=tuple(measurements),
        )

    def _arm(self, trial: Trial, subject: Subject, wave: tuple[Unit, ...], beams: int) -> GenerationArm:
        return GenerationArm(
            subject=subject.id,
            source=subject.fingerprint(),
            units=wave,
            new_tokens=self.new_tokens,
            beams=beams,
            batch=self.batch,
            dtype=trial.dtype,
            device=trial.device,
        )


def repetition(tokens: Sequence[int]) -> float | None:
    """1 − distinct 4-grams / 4-grams, from 0 (none twice) on; None when there is no 4-gram.

    Source: seq-rep-n of Welleck et al. 2019, with n = 4.
    """
    grams = [tuple(tokens[i : i + GRAM]) for i in range(len(tokens) - GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else None


@dataclass(frozen=True, kw_only=True)
class _Said:
    """One way of decoding: every prompt's continuation, in the order of the units."""

    prompts: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]
    texts: tuple[str, ...]

    @property
    def repetitions(self) -> list[float | None]:
        return [repetition(row) for row in self.tokens]


def _once_each(waves: list[tuple[Unit, ...]]) -> list[tuple[Unit, ...]]:
    """The waves without units whose prompt was there before."""
    seen: set[str] = set()
    kept: list[tuple[Unit, ...]] = []
    for wave in waves:
        fresh: list[Unit] = []
        for unit in wave:
            if unit.prompt not in seen:
                seen.add(unit.prompt)
                fresh.append(unit)
        if fresh:
            kept.append(tuple(fresh))
    return kept


def _gather(measurements: Sequence[Measurement]) -> _Said:
    results = [m.result for m in measurements if isinstance(m.result, GenerationResult)]
    return _Said(
        prompts=tuple(p for r in results for p in r.prompts),
        tokens=tuple(t for r in results for t in r.tokens),
        texts=tuple(t for r in results for t in r.text),
    )


def _difference(name: str, more: _Said, less: _Said, look: Look) -> Estimate:
    """Mean difference over prompts where both have a 4-gram."""
    pairs = zip(more.repetitions, less.repetitions, strict=True)
    known = [a - b for a, b in pairs if a is not None and b is not None]
    return paired_mean(name, known, bounds=(-1.0, 1.0), seed=0, look=look)


def _count_table(found: dict[str, _Said]) -> Table:
    rows: list[tuple[str | int | float | None, ...]] = []
    for name, said in found.items():
        known = [value for value in said.repetitions if value is not None]
        mean = sum(known) / len(known) if known else None
        short = len(said.tokens) - len(known)
        length = sum(map(len, said.tokens)) / len(said.tokens) if said.tokens else None
        rows.append((name, mean, len(known), short, length))
    return Table(
        title="Repetition by decoding",
        columns=("decoding", "mean repetition", "prompts", f"too short for {GRAM} tokens", "mean new tokens"),
        rows=tuple(rows),
        note="A continuation that ends before four tokens has no 4-gram; its prompt is left out of the pairs.",
    )


def _prompt_table(found: dict[str, _Said]) -> Table:
    prompts = next(iter(found.values())).prompts
    columns = [said.repetitions for said in found.values()]
    return Table(
        title="Repetition by prompt",
        columns=("prompt", *found),
        rows=tuple((prompt, *values) for prompt, *values in zip(prompts, *columns, strict=True)),
        kind="decoding",
    )


def _text_table(found: dict[str, _Said]) -> Table:
    rows = [
        (said.prompts[k], name, said.texts[k] if len(said.texts[k]) <= CUT else said.texts[k][:CUT] + "…")
        for k in range(min(SHOWN, len(next(iter(found.values())).prompts)))
        for name, said in found.items()
    ]
    return Table(title="Some continuations", columns=("prompt", "decoding", "continuation"), rows=tuple(rows))
