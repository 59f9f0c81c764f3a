"""Samples of descents: what a procedure compares, the arms behind it, and their runs in the units' order."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from engine.measurement import (
    AnyStack,
    Arm,
    DescentSettings,
    InversionArm,
    InversionResult,
    InversionRun,
    Measurement,
    Metric,
    ReadAt,
    SentenceNet,
    TuningArm,
    Unit,
)
from engine.procedures.base import MODEL_SEEDS, Trial
from engine.procedures.tuning import HEAD_GRID, NET_GRID, OPEN_GRID, Tuned, tune
from engine.prompts import DOCUMENT
from engine.protocol import LINEAR_TO_TENTH, Schedule

TUNING_MODEL_SEED = 100
TUNING_START_SEED = 1000
"""Seeds that no measurement uses."""

TUNING_UNITS = 4

BATCH = 36
"""Runs that descend together: at 40 tokens of 1,600 numbers each they stay far below 1.5 GB."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Descents that a procedure compares: what is inverted, with whose weights, for how long.

    weights: 'own' are the subject's; 'random' its configuration with random weights, four model seeds.
    grid: step sizes that tuning starts from; None takes the stack's kind.
    """

    stack: AnyStack
    iterations: int
    weights: Literal["own", "random"] = "own"
    read_at: ReadAt = "hit"
    sigma: float = 0.05
    metric: Metric = "l1"
    schedule: Schedule = LINEAR_TO_TENTH
    snapshots: tuple[int, ...] = ()
    first_tokens: int | None = None
    grid: tuple[float, ...] | None = None

    def steps(self) -> tuple[float, ...]:
        if self.grid is not None:
            return self.grid
        if isinstance(self.stack, SentenceNet):
            return NET_GRID
        return HEAD_GRID if self.stack.head else OPEN_GRID


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The runs of a sample in their units' order, with the model seed of each and the step that was tuned."""

    sample: Sample
    runs: tuple[InversionRun, ...]
    clusters: tuple[int, ...]
    tuned: Tuned
    measurements: tuple[Measurement, ...]
    texts: dict[int, str]

    def where(self, kept: Sequence[bool]) -> Drawn:
        """The same sample with some of its runs only."""
        return replace(
            self,
            runs=tuple(run for run, keep in zip(self.runs, kept, strict=True) if keep),
            clusters=tuple(seed for seed, keep in zip(self.clusters, kept, strict=True) if keep),
        )


def draw(trial: Trial, sample: Sample) -> Generator[Sequence[Arm], Sequence[Measurement], Drawn]:
    """Tune a sample's step size on seeds of its own, then measure it on fresh ones."""
    tuned = yield from tune(_tuning_arm(trial, sample))
    arms, places = _inversion_arms(trial, sample, tuned.step)
    measurements = yield arms
    runs: dict[int, InversionRun] = {}
    clusters: dict[int, int] = {}
    texts: dict[int, str] = {}
    for measurement, (seed, positions) in zip(measurements, places, strict=True):
        result = measurement.result
        assert isinstance(result, InversionResult)
        texts |= result.texts
        for position, run in zip(positions, result.runs, strict=True):
            runs[position], clusters[position] = run, seed
    order = sorted(runs)
    return Drawn(
        sample=sample,
        runs=tuple(runs[i] for i in order),
        clusters=tuple(clusters[i] for i in order),
        tuned=tuned,
        measurements=(*tuned.measurements, *measurements),
        texts=texts,
    )


def settings_of(trial: Trial, sample: Sample, seed: int | None) -> DescentSettings:
    """Settings of a sample's descents with the weights of one model seed (None where nothing is random)."""
    subject = trial.subject
    if seed is not None and not subject.fixed_seed and (sample.weights == "random" or not subject.trained):
        subject = subject.untrained(seed)
    stack = sample.stack
    if isinstance(stack, SentenceNet) and seed is not None:
        stack = replace(stack, seed=seed)
    return DescentSettings(
        subject=subject.id,
        source=subject.fingerprint(),
        stack=stack,
        protocol=trial.protocol,
        iterations=sample.iterations,
        sigma=sample.sigma,
        metric=sample.metric,
        schedule=sample.schedule,
        dtype=trial.dtype,
        device=trial.device,
        first_tokens=sample.first_tokens,
    )


def is_random(trial: Trial, sample: Sample) -> bool:
    """Whether the sample has random weights somewhere, so that model seeds are drawn."""
    if isinstance(sample.stack, SentenceNet) or sample.weights == "random":
        return True
    return not trial.subject.trained and not trial.subject.fixed_seed


def _tuning_arm(trial: Trial, sample: Sample) -> TuningArm:
    seed = TUNING_MODEL_SEED if is_random(trial, sample) else None
    # The document's prompts, which no measurement of ours uses; one that is too short for a net is left out.
    fitting = [p for p in DOCUMENT if len(p.split()) >= 4] if sample.first_tokens else list(DOCUMENT)
    count = 1 if trial.effort == "smoke" else TUNING_UNITS
    units = tuple(Unit(prompt=fitting[-1 - i % len(fitting)], seed=TUNING_START_SEED + i) for i in range(count))
    return TuningArm(
        settings=settings_of(trial, sample, seed),
        steps=sample.steps(),
        units=units,
        horizon=sample.iterations,
        batch=count * len(sample.steps()),
    )


def _inversion_arms(
    trial: Trial, sample: Sample, step: float
) -> tuple[list[InversionArm], list[tuple[int, list[int]]]]:
    """One arm a wave and model seed, with the places of its runs among all units."""
    seeds: tuple[int | None, ...] = MODEL_SEEDS if is_random(trial, sample) else (None,)
    arms: list[InversionArm] = []
    places: list[tuple[int, list[int]]] = []
    first = 0
    for wave in trial.waves():
        for k, seed in enumerate(seeds):
            own = [i for i in range(len(wave)) if i % len(seeds) == k]
            if own:
                settings = settings_of(trial, sample, seed)
                arms.append(_arm(sample, settings, step, tuple(wave[i] for i in own)))
                places.append((seed or 0, [first + i for i in own]))
        first += len(wave)
    return arms, places


def _arm(sample: Sample, settings: DescentSettings, step: float, units: tuple[Unit, ...]) -> InversionArm:
    snapshots = sample.snapshots if sample.read_at == "N" else ()
    return InversionArm(
        settings=settings, step=step, units=units, read_at=sample.read_at, batch=BATCH, snapshots=snapshots
    )
