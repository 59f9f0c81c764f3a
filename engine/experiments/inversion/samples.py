"""Samples of descents: what a procedure compares, the arms behind it, and their runs in the units' order."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.arms.protocol import LINEAR_TO_TENTH, PAGE, Schedule
from engine.arms.settings import DescentSettings, Metric, ReadAt, Unit
from engine.arms.stacks import AnyStack, Stack
from engine.claim.procedure import Trial
from engine.claim.units import Units
from engine.experiments.inversion.arm import InversionArm, InversionResult, InversionRun
from engine.experiments.sampling import (
    TUNING_MODEL_SEED,
    assign_units,
    draw_subject,
    has_random_weights,
    resolve_stack,
    tuning_units,
)
from engine.experiments.tuning.arm import TuningArm
from engine.experiments.tuning.procedure import HEAD_GRID, NET_GRID, OPEN_GRID, StepChoice, tune
from engine.models import Subject, find_subject
from engine.models.quantized import quantize
from engine.statistics import HitTimes, median_hit

TUNING_UNITS = 4

BATCH = 36
"""Runs that descend together: at 40 tokens of 1,600 numbers each they stay far below 1.5 GB."""

CPU_CAP, GPU_CAP = 1000, 3000
"""N of rows that are read at the hit, by the subject's tier. Source: the catalogue's words."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Descents that a procedure compares: what is inverted, with whose weights, for how long.

    iterations: the schedule's length N; None takes the cap of rows that are read at the hit.
    weights: 'own' are the subject's; 'random' its configuration with random weights, four model seeds; 'int8' its own,
    quantized. subject: another subject than the trial's. dtype: another than the trial's.
    blend: (s, t) of the start s·noise + t·e. probe: a stack whose next token is read at the end.
    step: η under the page's protocol where the page gives one. step_of: a sample whose tuned η is taken over.
    cap_of: (sample, factor): N is factor × the smaller of that sample's N and its median hit.
    grid: step sizes that tuning starts from; None takes the stack's kind.
    units: of its own, None takes the claim's. snapshots: iterations that are kept beside the start and the end.
    """

    tag: ClassVar[str] = "Sample"
    stack: AnyStack
    iterations: int | None = None
    weights: Literal["own", "random", "int8"] = "own"
    subject: str | None = None
    dtype: str | None = None
    read_at: ReadAt = "hit"
    sigma: float = 0.05
    metric: Metric = "l1"
    schedule: Schedule = LINEAR_TO_TENTH
    blend: tuple[float, float] = (1.0, 0.0)
    probe: Stack | None = None
    snapshots: tuple[int, ...] = ()
    first_tokens: int | None = None
    grid: tuple[float, ...] | None = None
    step: float | None = None
    step_of: str | None = None
    cap_of: tuple[str, float] | None = None
    units: Units | None = None

    @property
    def depends_on(self) -> tuple[str, ...]:
        """Samples that have to be drawn before this one."""
        named = (self.step_of, self.cap_of[0] if self.cap_of else None)
        return tuple(name for name in named if name is not None)

    def steps(self) -> tuple[float, ...]:
        if self.grid is not None:
            return self.grid
        if not isinstance(self.stack, Stack):
            return NET_GRID
        return HEAD_GRID if self.stack.head else OPEN_GRID


@dataclass(frozen=True, kw_only=True)
class SampleRuns:
    """The runs of a sample in their units' order, with the model seed of each and the step that was used.

    iterations: the schedule's length N, to which every run had to go.
    """

    sample: Sample
    iterations: int
    runs: tuple[InversionRun, ...]
    clusters: tuple[int, ...]
    tuned: StepChoice
    measurements: tuple[Measurement, ...]
    texts: dict[int, str]


Drawing = Generator[Sequence[Arm], Sequence[Measurement], SampleRuns | None]


def run_sample(trial: Trial, sample: Sample, before: Mapping[str, SampleRuns] | None = None) -> Drawing:
    """Tune a sample's step size on seeds of its own, then measure it on fresh ones.

    before: samples that were drawn already, by name. None where the sample is not run at this effort, or depends on
    one that was not.
    """
    known = before or {}
    trial = trial if sample.units is None else replace(trial, units=sample.units)
    if not trial.count() or any(name not in known for name in sample.depends_on):
        return None
    iterations = count_iterations(trial, sample, known)
    tuned = fix_step(trial, sample, known) or (yield from tune(tuning_arm(trial, sample, iterations)))
    arms, places = _inversion_arms(trial, sample, tuned.step, iterations)
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
    return SampleRuns(
        sample=sample,
        iterations=iterations,
        runs=tuple(runs[i] for i in order),
        clusters=tuple(clusters[i] for i in order),
        tuned=tuned,
        measurements=(*tuned.measurements, *measurements),
        texts=texts,
    )


def count_iterations(trial: Trial, sample: Sample, known: Mapping[str, SampleRuns]) -> int:
    """The schedule's length N of a sample."""
    if sample.cap_of is not None:
        name, factor = sample.cap_of
        earlier = known[name]
        hits = tuple(run.hit for run in earlier.runs)
        diverged = tuple(run.stop == "diverged" for run in earlier.runs)
        median = median_hit(HitTimes(hits=hits, cap=earlier.iterations, diverged=diverged))
        return max(1, math.ceil(factor * min(earlier.iterations, median)))
    if sample.iterations is not None:
        return sample.iterations
    return CPU_CAP if trial.subject.tier == "cpu" else GPU_CAP


def fix_step(trial: Trial, sample: Sample, known: Mapping[str, SampleRuns]) -> StepChoice | None:
    """The step size that needs no tuning: the protocol's own, the page's, or another sample's; None to tune."""
    fixed = trial.protocol.steps
    if fixed is not None:
        return StepChoice(step=_fixed_step(trial, sample), source="the scripts'")
    if sample.step is not None and trial.protocol == PAGE:
        return StepChoice(step=sample.step, source="the page's")
    if sample.step_of is not None:
        return StepChoice(step=known[sample.step_of].tuned.step, source=f"that of {sample.step_of}")
    return None


def _fixed_step(trial: Trial, sample: Sample) -> float:
    fixed = trial.protocol.steps
    assert fixed is not None
    if not isinstance(sample.stack, Stack):
        return fixed.net
    if not sample.stack.head:
        return fixed.open
    trained = sample.weights != "random" and subject_of(trial, sample).trained
    return fixed.head_trained if trained else fixed.head_untrained


def subject_of(trial: Trial, sample: Sample) -> Subject:
    """Whose configuration and weights a sample has, before model seeds are drawn."""
    subject = trial.subject if sample.subject is None else find_subject(sample.subject)
    return quantize(subject) if sample.weights == "int8" else subject


def settings_of(trial: Trial, sample: Sample, seed: int | None, iterations: int) -> DescentSettings:
    """Settings of a sample's descents with the weights of one model seed (None where nothing is random)."""
    subject = draw_subject(subject_of(trial, sample), seed, drawn=sample.weights == "random")
    return DescentSettings(
        subject=subject.id,
        source=subject.fingerprint(),
        stack=resolve_stack(sample.stack, subject, seed),
        protocol=trial.protocol,
        iterations=iterations,
        sigma=sample.sigma,
        metric=sample.metric,
        schedule=sample.schedule,
        blend=sample.blend,
        dtype=sample.dtype or trial.dtype,
        device=trial.device,
        first_tokens=sample.first_tokens,
    )


def tuning_arm(trial: Trial, sample: Sample, iterations: int) -> TuningArm:
    """The first round of a sample's tuning, on units and a model seed of its own."""
    seed = TUNING_MODEL_SEED if is_random(trial, sample) else None
    units = tuning_units(1 if trial.effort == "smoke" else TUNING_UNITS, first_tokens=sample.first_tokens)
    return TuningArm(
        settings=settings_of(trial, sample, seed, iterations),
        steps=sample.steps(),
        units=units,
        horizon=iterations,
        batch=len(units) * len(sample.steps()),
    )


def _inversion_arms(
    trial: Trial, sample: Sample, step: float, iterations: int
) -> tuple[list[InversionArm], list[tuple[int, list[int]]]]:
    """One arm a wave and model seed, with the places of its runs among all units."""
    arms: list[InversionArm] = []
    places: list[tuple[int, list[int]]] = []
    for group in assign_units(trial, random=is_random(trial, sample)):
        settings = settings_of(trial, sample, group.seed, iterations)
        arms.append(inversion_arm(trial, sample, settings, step, group.units))
        places.append((group.seed or 0, list(group.places)))
    return arms, places


def is_random(trial: Trial, sample: Sample) -> bool:
    """Whether model seeds are drawn for a sample."""
    subject = trial.subject if sample.subject is None else find_subject(sample.subject)
    return has_random_weights(sample.stack, subject, drawn=sample.weights == "random")


def inversion_arm(
    trial: Trial, sample: Sample, settings: DescentSettings, step: float, units: tuple[Unit, ...]
) -> InversionArm:
    """The arm that measures a sample's units with the weights of `settings` at one step size."""
    n = settings.iterations
    kept = tuple(sorted({0, *(k for k in sample.snapshots if k < n), n}))
    probe = sample.probe
    if probe is not None:
        settled = resolve_stack(probe, subject_of(trial, sample), None)
        assert isinstance(settled, Stack)
        probe = settled
    return InversionArm(
        settings=settings,
        step=step,
        units=units,
        read_at=sample.read_at,
        batch=BATCH,
        snapshots=kept if sample.read_at == "N" else (),
        probe=probe,
    )
