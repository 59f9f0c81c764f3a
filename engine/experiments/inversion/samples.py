"""Samples of descents: what a claim compares, the step size and the arms of each, and its runs in unit order."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.arms.protocol import LINEAR_TO_TENTH, PAGE, Schedule
from engine.arms.settings import DescentSettings, Metric, ReadAt, TunedFor, Unit
from engine.arms.stacks import AnyStack, Stack
from engine.claim.criteria import Scope
from engine.claim.procedure import Trial
from engine.claim.units import Units
from engine.experiments.inversion.arm import InversionArm, InversionResult, InversionRun
from engine.experiments.sampling import (
    AssignedArm,
    assign_units,
    collect,
    find_checkpoint,
    find_other,
    find_seeds,
    resolve_stack,
    stack_settings,
    tuning_units,
)
from engine.experiments.tuning.choose_step import HEAD_GRID, NET_GRID, OPEN_GRID, StepChoice, tune
from engine.models import Subject
from engine.models.quantized import quantize
from engine.statistics import HitTimes, median_hit

TUNING_UNITS = 12

BATCH = 36
"""Runs that descend together: at 40 tokens of 1,600 numbers each they need far less than 1.5 GB."""

CPU_CAP, GPU_CAP = 1000, 3000
"""N of samples that are read at the hit, by the subject's tier. Source: the catalogue's words."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Descents that a procedure compares: what is inverted, with whose weights, for how long.

    iterations: the schedule's length N; None takes the cap of samples that are read at the hit.
    weights: 'own' are the subject's; 'random': drawn for its configuration, once for each of four model seeds; 'int8'
    are its own, quantized. subject, dtype: None takes the trial's. checkpoint: its weights after so many steps of
    training, of a subject that the suite trains; None takes the end. on: the trials it is run in; None for every one.
    blend: (s, t) of the start s·noise + t·e. probe: a stack whose next token is read at the end.
    step: η under the page's protocol, where the page gives one. step_of: the sample whose tuned η this one uses.
    cap_of: (sample, factor): N is factor × the smaller of that sample's N and its median hit.
    grid: step sizes that tuning starts from; None takes those of the stack's kind.
    tuned_for: what the step size is tuned for; None takes the hit where it is read at the hit, and the distance at N
    where it is read at N. tuning_units: on how many units. step_factor: times the step size that is chosen.
    units: None takes the claim's. snapshots: iterations that are kept beside the start and the end.
    keep_end: the end is kept where runs end at their hit, too.
    """

    tag: ClassVar[str] = "Sample"
    stack: AnyStack
    iterations: int | None = None
    weights: Literal["own", "random", "int8"] = "own"
    subject: str | None = None
    checkpoint: int | None = None
    on: Scope | None = None
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
    tuned_for: TunedFor | None = None
    tuning_units: int = TUNING_UNITS
    step_factor: float | None = None
    step: float | None = None
    step_of: str | None = None
    cap_of: tuple[str, float] | None = None
    units: Units | None = None
    keep_end: bool = False

    def __post_init__(self) -> None:
        # Set here and not read where it is used: a declaration then says its target, so that a change amends the claim.
        if self.tuned_for is None and self.read_at == "N":
            object.__setattr__(self, "tuned_for", "distance")

    @property
    def depends_on(self) -> tuple[str, ...]:
        """Samples that have to be run before this one."""
        named = (self.step_of, self.cap_of[0] if self.cap_of else None)
        return tuple(name for name in named if name is not None)

    def steps(self) -> tuple[float, ...]:
        """Step sizes that tuning tries first."""
        if self.grid is not None:
            return self.grid
        if not isinstance(self.stack, Stack):
            return NET_GRID
        return HEAD_GRID if self.stack.head else OPEN_GRID


@dataclass(frozen=True, kw_only=True)
class SampleRuns:
    """The runs of a sample in their units' order, with the model seed of each and the step size that was used.

    iterations: the schedule's length N; runs without a hit are censored there.
    others: the same units at the other step sizes that tuning could as well have chosen.
    """

    sample: Sample
    iterations: int
    runs: tuple[InversionRun, ...]
    clusters: tuple[int, ...]
    tuned: StepChoice
    measurements: tuple[Measurement, ...]
    texts: dict[int, str]
    others: tuple[SampleRuns, ...] = ()

    @property
    def read_at(self) -> ReadAt:
        return self.sample.read_at

    @property
    def hit_times(self) -> HitTimes:
        """The iteration at which each run hit, censored at N."""
        return HitTimes(
            hits=tuple(run.hit for run in self.runs),
            cap=self.iterations,
            diverged=tuple(run.stop == "diverged" for run in self.runs),
        )


RunsBySample = Mapping[str, SampleRuns]
"""The samples that were run, by name."""


def run_sample(
    trial: Trial, sample: Sample, earlier: RunsBySample | None = None
) -> Generator[Sequence[Arm], Sequence[Measurement], SampleRuns | None]:
    """Choose a sample's step size on seeds that only tuning uses, then measure the sample with it.

    earlier: the samples that were run before. Returns None where the sample is not run at this effort or on this
    subject, or depends on one that was not.
    """
    earlier = earlier or {}
    if sample.on is not None and sample.on not in trial.scopes:
        return None
    if sample.units is not None:
        trial = replace(trial, units=sample.units)
    if not trial.count() or any(name not in earlier for name in sample.depends_on):
        return None
    iterations = count_iterations(trial, sample, earlier)
    # Tuning has prompts and seeds of its own, so that no run is measured with a step size that was fitted to it.
    tuned = yield from choose_step(trial, sample, iterations, earlier)

    def assign(step: float) -> list[AssignedArm[InversionArm]]:
        def make(seed: int | None, units: tuple[Unit, ...]) -> InversionArm:
            return inversion_arm(trial, sample, settings_of(trial, sample, seed, iterations), step, units)

        return assign_units(trial, make, seeds_of(trial, sample))

    choices = [replace(tuned, step=step) for step in (tuned.step, *tuned.others)]
    assigned = [assign(choice.step) for choice in choices]
    answers = iter((yield [one.arm for arms in assigned for one in arms]))
    runs: list[SampleRuns] = []
    for choice, arms in zip(choices, assigned, strict=True):
        measurements = tuple(next(answers) for _ in arms)
        found = collect(arms, measurements, InversionResult)
        results = [m.result for m in measurements if isinstance(m.result, InversionResult)]
        runs.append(
            SampleRuns(
                sample=sample,
                iterations=iterations,
                runs=found.runs,
                clusters=found.clusters,
                tuned=choice,
                measurements=measurements,
                # The arms of one sample share a tokenizer, so that their texts agree where they overlap.
                texts={token: text for result in results for token, text in result.texts.items()},
            )
        )
    first, *others = runs
    return replace(first, measurements=(*tuned.measurements, *first.measurements), others=tuple(others))


def count_iterations(trial: Trial, sample: Sample, earlier: RunsBySample) -> int:
    """The schedule's length N of a sample."""
    if sample.cap_of is not None:
        name, factor = sample.cap_of
        other = earlier[name]
        # The median is infinite where fewer than half of the runs hit; their N then stands for it.
        return max(1, math.ceil(factor * min(other.iterations, median_hit(other.hit_times))))
    if sample.iterations is not None:
        return sample.iterations
    return CPU_CAP if trial.subject.tier == "cpu" else GPU_CAP


def choose_step(
    trial: Trial, sample: Sample, iterations: int, earlier: RunsBySample
) -> Generator[Sequence[Arm], Sequence[Measurement], StepChoice]:
    """The step size that the protocol, the page or an earlier sample fixes, else the tuned one; times the factor."""
    chosen = yield from _choose_step(trial, sample, iterations, earlier)
    if sample.step_factor is None:
        return chosen
    # A multiple of the choice is no choice of tuning's, so that nothing else could as well have been chosen.
    source = f"{sample.step_factor:g} × {chosen.source}"
    return replace(chosen, step=sample.step_factor * chosen.step, source=source, outcomes=())


def _choose_step(
    trial: Trial, sample: Sample, iterations: int, earlier: RunsBySample
) -> Generator[Sequence[Arm], Sequence[Measurement], StepChoice]:
    scripts = trial.protocol.steps
    if scripts is not None:
        # The author's scripts have one step size for each kind of stack and tune none.
        if not isinstance(sample.stack, Stack):
            step = scripts.net
        elif not sample.stack.head:
            step = scripts.open
        elif sample.weights != "random" and subject_of(trial, sample).trained:
            step = scripts.head_trained
        else:
            step = scripts.head_untrained
        return StepChoice(step=step, source="the scripts'")
    if sample.step is not None and trial.protocol == PAGE:
        return StepChoice(step=sample.step, source="the page's")
    if sample.step_of is not None:
        return StepChoice(step=earlier[sample.step_of].tuned.step, source=f"that of {sample.step_of}")
    seed = None if seeds_of(trial, sample) == (None,) else subject_of(trial, sample).tuning_seed
    units = tuning_units(1 if trial.effort == "smoke" else sample.tuning_units, first_tokens=sample.first_tokens)
    settings = settings_of(trial, sample, seed, iterations)
    return (yield from tune(settings, sample.steps(), units, target=sample.tuned_for or "hit"))


def subject_of(trial: Trial, sample: Sample) -> Subject:
    """Whose configuration and weights a sample has, before model seeds are drawn."""
    subject = find_checkpoint(find_other(trial, sample.subject), sample.checkpoint)
    return quantize(subject) if sample.weights == "int8" else subject


def seeds_of(trial: Trial, sample: Sample) -> tuple[int | None, ...]:
    """The model seeds that are drawn for a sample; (None,) where all weights are those of one model."""
    return find_seeds(sample.stack, subject_of(trial, sample), randomized=sample.weights == "random")


def settings_of(trial: Trial, sample: Sample, seed: int | None, iterations: int) -> DescentSettings:
    """Settings of a sample's descents with the weights of one model seed (None where nothing is random)."""
    settings = stack_settings(
        trial,
        sample.stack,
        seed,
        subject=subject_of(trial, sample),
        randomized=sample.weights == "random",
        # A claim about k blocks means exactly k. On a shallower model it skips rather than use fewer.
        clamp=False,
        dtype=sample.dtype,
        first_tokens=sample.first_tokens,
    )
    return DescentSettings(
        **vars(replace(settings, sigma=sample.sigma)),
        iterations=iterations,
        metric=sample.metric,
        schedule=sample.schedule,
        blend=sample.blend,
    )


def inversion_arm(
    trial: Trial, sample: Sample, settings: DescentSettings, step: float, units: tuple[Unit, ...]
) -> InversionArm:
    """The arm that measures a sample's units with the weights of `settings` at one step size."""
    n = settings.iterations
    probe = sample.probe
    if probe is not None:
        # An arm stores a number of blocks, since 'all' differs between models.
        resolved = resolve_stack(probe, subject_of(trial, sample), None)
        assert isinstance(resolved, Stack)
        probe = resolved
    return InversionArm(
        settings=settings,
        step=step,
        units=units,
        read_at=sample.read_at,
        batch=BATCH,
        # A run that is read at its hit may end before any snapshot but the first.
        snapshots=tuple(sorted({0, *(k for k in sample.snapshots if k < n), n})) if sample.read_at == "N" else (),
        probe=probe,
        keep_end=sample.keep_end,
    )
