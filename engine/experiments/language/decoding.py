"""Continuations of prompts: whose weights continue them and how, and how much the new tokens repeat themselves."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.arms.settings import Unit
from engine.arms.stacks import WHOLE
from engine.claim.criteria import Scope
from engine.claim.procedure import Trial
from engine.experiments.language.arm import Generated, GenerationArm, GenerationResult
from engine.experiments.sampling import (
    AssignedArm,
    Runs,
    assign_waves,
    collect,
    draw_subject,
    find_checkpoint,
    find_other,
    find_seeds,
)
from engine.methods.repetition import GRAM, repetition
from engine.models import Subject
from engine.records import Table
from engine.statistics import Estimate, paired_mean

SHOWN_PROMPTS = 6
"""Prompts whose continuations a table shows."""

SHOWN_CHARACTERS = 160
"""Characters that it shows of each."""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """One way of continuing prompts.

    beams: 1 is greedy. subject: None takes the trial's. checkpoint: its weights after so many steps of training, of a
    subject that the suite trains; None takes the end. on: the trials it is run in; None for every one.
    """

    tag: ClassVar[str] = "Decoding"
    beams: int = 1
    subject: str | None = None
    checkpoint: int | None = None
    on: Scope | None = None

    def subject_of(self, trial: Trial) -> Subject:
        """Whose weights continue, before model seeds are drawn."""
        return find_checkpoint(find_other(trial, self.subject), self.checkpoint)


Decodings = Iterable[tuple[str, Decoding]]

ContinuedBy = Mapping[str, Runs[Generated]]
"""The continuations by each decoding's name, in the order of the prompts, with the model seed of each."""


def run_decodings(
    trial: Trial, decodings: Decodings, *, new_tokens: int, batch: int
) -> Generator[Sequence[Arm], Sequence[Measurement], ContinuedBy]:
    """Continue each of the trial's prompts once by every decoding that is run on its subject.

    Where a subject's name stands for several models, a prompt goes to the same model seed under every decoding.
    new_tokens: at most, of each. batch: prompts that are continued together.
    """
    waves = _list_prompts(trial)
    run = {name: one for name, one in decodings if one.on is None or one.on in trial.scopes}

    def assign(decoding: Decoding) -> list[AssignedArm[GenerationArm]]:
        whose = decoding.subject_of(trial)

        def make(seed: int | None, units: tuple[Unit, ...]) -> GenerationArm:
            subject = draw_subject(whose, seed)
            return GenerationArm(
                subject=subject.id,
                source=subject.fingerprint(),
                units=units,
                new_tokens=new_tokens,
                beams=decoding.beams,
                batch=batch,
                dtype=trial.dtype,
                device=trial.device,
            )

        return assign_waves(waves, make, find_seeds(WHOLE, whose))

    assigned = {name: assign(decoding) for name, decoding in run.items()}
    answers = iter((yield [one.arm for arms in assigned.values() for one in arms]))
    return {name: collect(arms, [next(answers) for _ in arms], GenerationResult) for name, arms in assigned.items()}


def _list_prompts(trial: Trial) -> list[tuple[Unit, ...]]:
    """The trial's waves with each prompt once: its continuation does not depend on a start seed."""
    waves, prompts = list[tuple[Unit, ...]](), set[str]()
    for wave in trial.waves():
        new = list[Unit]()
        for unit in wave:
            if unit.prompt not in prompts:
                prompts.add(unit.prompt)
                new.append(unit)
        if new:
            waves.append(tuple(new))
    return waves


def estimate_difference(trial: Trial, name: str, more: Runs[Generated], less: Runs[Generated]) -> Estimate:
    """The mean difference in repetition, over prompts where both continuations have a 4-gram."""
    differences: list[float] = []
    clusters: list[tuple[int, int]] = []
    pairs = zip(more.runs, less.runs, strict=True)
    seeds = zip(more.clusters, less.clusters, strict=True)
    for (a, b), cluster in zip(pairs, seeds, strict=True):
        first, second = repetition(a.tokens), repetition(b.tokens)
        if first is not None and second is not None:
            differences.append(first - second)
            clusters.append(cluster)
    return paired_mean(name, differences, bounds=(-1.0, 1.0), clusters=clusters, seed=0, look=trial.look)


def draw_continuations(continued: ContinuedBy) -> tuple[Table, ...]:
    """Tables by decoding, by prompt, and of some of the texts."""
    decodings: list[tuple[str | int | float | None, ...]] = []
    for name, found in continued.items():
        rates = [repetition(one.tokens) for one in found.runs]
        known = [rate for rate in rates if rate is not None]
        mean = sum(known) / len(known) if known else None
        length = sum(len(one.tokens) for one in found.runs) / len(found.runs) if found.runs else None
        decodings.append((name, mean, len(known), len(rates) - len(known), length))
    by_prompt = list(zip(*(found.runs for found in continued.values()), strict=True))
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
            rows=tuple((same[0].prompt, *(repetition(one.tokens) for one in same)) for same in by_prompt),
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
