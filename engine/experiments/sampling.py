"""Which units are measured with which weights: model seeds, waves of units, and arms in step with each other."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from engine.arms.arm import Arm, Result
from engine.arms.measurement import Measurement
from engine.arms.prompts import DOCUMENT
from engine.arms.settings import StackSettings, Unit
from engine.arms.stacks import AnyStack, Stack
from engine.claim.procedure import Trial
from engine.models import Subject

T = TypeVar("T")
A_co = TypeVar("A_co", bound=Arm, covariant=True)

DEEP = 12
"""Blocks of the document's deep stack, GPT-2's depth."""

MODEL_SEEDS = (0, 1, 2, 3)
"""Untrained stacks and random nets are drawn four times."""

TUNING_MODEL_SEED = 100
TUNING_START_SEED = 1000
"""Seeds that no measurement uses."""


@dataclass(frozen=True, kw_only=True)
class UnitGroup:
    """Units of one wave that share weights. seed: of the model, None where nothing is random.

    places: where they stand among all units of the trial.
    """

    seed: int | None
    units: tuple[Unit, ...]
    places: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class AssignedArm(Generic[A_co]):
    """One arm, and where its runs belong: the model seed and the places of its units among all."""

    arm: A_co
    seed: int
    places: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Runs(Generic[T]):
    """Runs in unit order, with the model seed of each and what they were measured by."""

    runs: tuple[T, ...]
    clusters: tuple[int, ...]
    measurements: tuple[Measurement, ...]


def assign_units(trial: Trial, *, random: bool) -> list[UnitGroup]:
    """The trial's units, wave by wave; unit i of a wave goes to model seed i modulo their number where any is drawn."""
    seeds: tuple[int | None, ...] = MODEL_SEEDS if random else (None,)
    groups: list[UnitGroup] = []
    first = 0
    for wave in trial.waves():
        for k, seed in enumerate(seeds):
            own = range(k, len(wave), len(seeds))
            if own:
                units = tuple(wave[i] for i in own)
                groups.append(UnitGroup(seed=seed, units=units, places=tuple(first + i for i in own)))
        first += len(wave)
    return groups


def is_random(trial: Trial, stack: AnyStack) -> bool:
    """Whether weights are random somewhere, so that model seeds are drawn."""
    return has_random_weights(stack, trial.subject)


def stack_settings(
    trial: Trial, stack: AnyStack, seed: int | None, *, dtype: str | None = None, first_tokens: int | None = None
) -> StackSettings:
    """Settings with the weights of one model seed (None where nothing is random).

    A stack of more blocks than the model has takes all of them.
    """
    subject = draw_subject(trial.subject, seed)
    if not isinstance(stack, Stack):
        stack = replace(stack, seed=seed or 0)
    elif stack.blocks != 1:
        depth = int(subject.config().num_hidden_layers)
        stack = replace(stack, blocks=min(stack.blocks, depth) if isinstance(stack.blocks, int) else stack.count(depth))
    return StackSettings(
        subject=subject.id,
        source=subject.fingerprint(),
        stack=stack,
        protocol=trial.protocol,
        dtype=dtype or trial.dtype,
        device=trial.device,
        first_tokens=first_tokens,
    )


def assign_arms(
    trial: Trial,
    stack: AnyStack,
    make: Callable[[StackSettings, tuple[Unit, ...]], A_co],
    *,
    dtype: str | None = None,
    first_tokens: int | None = None,
) -> list[AssignedArm[A_co]]:
    """An arm for every wave and model seed."""
    assigned: list[AssignedArm[A_co]] = []
    for group in assign_units(trial, random=is_random(trial, stack)):
        settings = stack_settings(trial, stack, group.seed, dtype=dtype, first_tokens=first_tokens)
        assigned.append(AssignedArm(arm=make(settings, group.units), seed=group.seed or 0, places=group.places))
    return assigned


def collect(
    assigned: Sequence[AssignedArm[Arm]], measurements: Sequence[Measurement], runs_of: Callable[[Result], Sequence[T]]
) -> Runs[T]:
    """The runs behind the measurements of `assigned`, in the units' order."""
    found: dict[int, tuple[T, int]] = {}
    for one, measurement in zip(assigned, measurements, strict=True):
        for place, run in zip(one.places, runs_of(measurement.result), strict=True):
            found[place] = (run, one.seed)
    ordered = [found[place] for place in sorted(found)]
    return Runs(
        runs=tuple(run for run, _ in ordered),
        clusters=tuple(seed for _, seed in ordered),
        measurements=tuple(measurements),
    )


def tuning_seed(trial: Trial, stack: AnyStack) -> int | None:
    return TUNING_MODEL_SEED if is_random(trial, stack) else None


def tuning_units(count: int, *, first_tokens: int | None = None) -> tuple[Unit, ...]:
    """Units of tuning: the document's prompts, which no measurement of ours uses, with start seeds of their own.

    first_tokens: a net over a whole sentence takes so many, and a prompt that is too short for it is left out.
    """
    fitting = [prompt for prompt in DOCUMENT if first_tokens is None or len(prompt.split()) >= 4]
    return tuple(Unit(prompt=fitting[-1 - i % len(fitting)], seed=TUNING_START_SEED + i) for i in range(count))


def has_random_weights(stack: AnyStack, subject: Subject, *, drawn: bool = False) -> bool:
    """Whether a stack has random weights somewhere, so that model seeds are drawn. drawn: the subject's twin is."""
    return drawn or not isinstance(stack, Stack) or not (subject.trained or subject.fixed_seed)


def draw_subject(subject: Subject, seed: int | None, *, drawn: bool = False) -> Subject:
    """The subject, or its random drawing of this model seed."""
    if seed is not None and not subject.fixed_seed and (drawn or not subject.trained):
        return subject.untrained(seed)
    return subject


def resolve_stack(stack: AnyStack, subject: Subject, seed: int | None) -> AnyStack:
    """The stack with its number of blocks, or the net with its seed, as an arm holds them."""
    if not isinstance(stack, Stack):
        return stack if seed is None else replace(stack, seed=seed)
    if isinstance(stack.blocks, int):
        return stack
    return replace(stack, blocks=stack.count(int(subject.config().num_hidden_layers)))


def run_together(
    *tasks: Generator[Sequence[Arm], Sequence[Measurement], T],
) -> Generator[Sequence[Arm], Sequence[Measurement], list[T]]:
    """Run several tasks side by side, their arms of one round together; their results in order."""
    results: dict[int, T] = {}
    asked: dict[int, Sequence[Arm]] = {}
    for k, task in enumerate(tasks):
        _advance(k, task, None, asked, results)
    while asked:
        order = list(asked)
        flat = [arm for k in order for arm in asked[k]]
        answers = iter((yield flat))
        given = {k: [next(answers) for _ in asked[k]] for k in order}
        for k in order:
            _advance(k, tasks[k], given[k], asked, results)
    return [results[k] for k in range(len(tasks))]


def _advance(
    k: int,
    task: Generator[Sequence[Arm], Sequence[Measurement], T],
    given: Sequence[Measurement] | None,
    asked: dict[int, Sequence[Arm]],
    results: dict[int, T],
) -> None:
    try:
        asked[k] = next(task) if given is None else task.send(given)
    except StopIteration as end:
        asked.pop(k, None)
        results[k] = end.value
