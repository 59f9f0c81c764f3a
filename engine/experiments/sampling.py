"""Which units an arm measures, and with which weights: waves, model seeds, and the units that only tuning uses."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar
from typing import Protocol as Interface

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.arms.prompts import DOCUMENT
from engine.arms.settings import StackSettings, Unit
from engine.arms.stacks import AnyStack, Stack
from engine.claim.procedure import Trial
from engine.errors import UsageError, explain
from engine.models import Subject, find_subject
from engine.models.trained import TRAINED_FAMILY, TrainedSubject, train_on

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
A_co = TypeVar("A_co", bound=Arm, covariant=True)

DEEP = 12
"""Blocks of the document's deep stack, GPT-2's depth."""

TUNING_START_SEED = 1000
"""The first of the seeds of starts that no measurement uses."""


@dataclass(frozen=True, kw_only=True)
class AssignedArm(Generic[A_co]):
    """An arm, the model seed of its weights, and the places of its units among all units of the trial."""

    arm: A_co
    seed: int
    places: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Runs(Generic[T]):
    """Runs in unit order, the model seed of each, and the measurements that they come from."""

    runs: tuple[T, ...]
    clusters: tuple[int, ...]
    measurements: tuple[Measurement, ...]


class HasRuns(Interface[T_co]):
    """A result with one run for each unit of its arm, in the arm's order."""

    @property
    def runs(self) -> Sequence[T_co]: ...


def find_seeds(stack: AnyStack, subject: Subject, *, randomized: bool = False) -> tuple[int | None, ...]:
    """The model seeds that are drawn: of the subject, of a net, or of random weights for the subject's configuration.

    (None,) where all weights are those of one model. randomized: the subject's weights are random in any case.
    """
    drawn = randomized or not isinstance(stack, Stack) or subject.drawn
    return subject.seeds if drawn else (None,)


def find_other(trial: Trial, name: str | None) -> Subject:
    """The subject that a claim names beside the trial's; None for the trial's own.

    Where both are of the family that the suite trains, the other is trained on the same text.
    """
    if name is None:
        return trial.subject
    other = find_subject(name)
    return train_on(other, trial.subject.recipe.text) if isinstance(trial.subject, TrainedSubject) else other


def draw_subject(subject: Subject, seed: int | None) -> Subject:
    """The model of a seed, where the subject's name stands for several; else the subject itself."""
    return subject.draw(seed) if seed is not None and subject.drawn else subject


def find_checkpoint(subject: Subject, step: int | None) -> Subject:
    """The subject after so many steps of its training; None for its end.

    Raises UsageError for a step without a checkpoint, and for a subject without any.
    """
    if step is None:
        return subject
    refused = explain_no_checkpoints(subject)
    if refused is not None:
        raise UsageError(refused)
    assert isinstance(subject, TrainedSubject)
    return subject.at(step)


def explain_no_checkpoints(subject: Subject) -> str | None:
    """Why a claim about checkpoints cannot be asked of a subject; None where it can."""
    if isinstance(subject, TrainedSubject):
        return None
    got, expected = "one set of weights", "a model with checkpoints of its training"
    remedy = f"ask it of {TRAINED_FAMILY[0].id}, which the suite trains itself"
    return explain(who=f"subject {subject.id}", got=got, expected=expected, remedy=remedy)


def resolve_stack(stack: AnyStack, subject: Subject, seed: int | None, *, clamp: bool = False) -> AnyStack:
    """The stack as an arm holds it: 'all' and 'half' become numbers of blocks, and a net gets its seed.

    clamp: a stack of more blocks than the model has becomes the whole model. Without it such a stack stays, and
    measuring it raises TooShallowError.
    """
    if not isinstance(stack, Stack):
        return stack if seed is None else replace(stack, seed=seed)
    if stack.blocks == 1 or (isinstance(stack.blocks, int) and not clamp):
        return stack
    depth = int(subject.config().num_hidden_layers)
    return replace(stack, blocks=min(stack.count(depth), depth))


def stack_settings(
    trial: Trial,
    stack: AnyStack,
    seed: int | None,
    *,
    subject: Subject | None = None,
    randomized: bool = False,
    clamp: bool = True,
    dtype: str | None = None,
    first_tokens: int | None = None,
) -> StackSettings:
    """Settings with the weights of one model seed (None where nothing is random).

    subject, dtype: None takes the trial's. randomized: the subject's weights are random even if it is trained.
    clamp: a stack of more blocks than the model has takes all of them.
    """
    subject = subject or trial.subject
    if seed is not None and randomized and subject.trained:
        subject = subject.untrained(seed)
    else:
        subject = draw_subject(subject, seed)
    return StackSettings(
        subject=subject.id,
        source=subject.fingerprint(),
        stack=resolve_stack(stack, subject, seed, clamp=clamp),
        protocol=trial.protocol,
        dtype=dtype or trial.dtype,
        device=trial.device,
        first_tokens=first_tokens,
    )


def assign_units(
    trial: Trial, make: Callable[[int | None, tuple[Unit, ...]], A_co], seeds: tuple[int | None, ...]
) -> list[AssignedArm[A_co]]:
    """One arm for each wave and model seed. make: builds it from a model seed (None: nothing is drawn) and its units.

    Unit i of a wave goes to model seed i modulo their number, so that every seed is in every wave.
    """
    return assign_waves(trial.waves(), make, seeds)


def assign_waves(
    waves: Iterable[tuple[Unit, ...]],
    make: Callable[[int | None, tuple[Unit, ...]], A_co],
    seeds: tuple[int | None, ...],
) -> list[AssignedArm[A_co]]:
    """As assign_units, of waves that are not the trial's own."""
    assigned: list[AssignedArm[A_co]] = []
    first = 0
    for wave in waves:
        for k, seed in enumerate(seeds[: len(wave)]):
            own = range(k, len(wave), len(seeds))
            arm = make(seed, tuple(wave[i] for i in own))
            assigned.append(AssignedArm(arm=arm, seed=seed or 0, places=tuple(first + i for i in own)))
        first += len(wave)
    return assigned


def assign_arms(
    trial: Trial,
    stack: AnyStack,
    make: Callable[[StackSettings, tuple[Unit, ...]], A_co],
    *,
    dtype: str | None = None,
    first_tokens: int | None = None,
) -> list[AssignedArm[A_co]]:
    """One arm of a stack for each wave and model seed. make: builds it from its settings and its units."""

    def make_for(seed: int | None, units: tuple[Unit, ...]) -> A_co:
        return make(stack_settings(trial, stack, seed, dtype=dtype, first_tokens=first_tokens), units)

    return assign_units(trial, make_for, find_seeds(stack, trial.subject))


def collect(
    assigned: Sequence[AssignedArm[Arm]], measurements: Sequence[Measurement], kind: type[HasRuns[T]]
) -> Runs[T]:
    """The runs of all assigned arms in the order of the trial's units. kind: the class of the arms' results."""
    # Where models are drawn, an arm's units are some of a wave alone, so that runs come back out of order.
    found: dict[int, tuple[T, int]] = {}
    for one, measurement in zip(assigned, measurements, strict=True):
        result = measurement.result
        assert isinstance(result, kind)
        for place, run in zip(one.places, result.runs, strict=True):
            found[place] = (run, one.seed)
    ordered = [found[place] for place in sorted(found)]
    return Runs(
        runs=tuple(run for run, _ in ordered),
        clusters=tuple(seed for _, seed in ordered),
        measurements=tuple(measurements),
    )


def tuning_seed(trial: Trial, stack: AnyStack) -> int | None:
    """The model seed of tuning; None where nothing is drawn."""
    return None if find_seeds(stack, trial.subject) == (None,) else trial.subject.tuning_seed


def tuning_units(count: int, *, first_tokens: int | None = None) -> tuple[Unit, ...]:
    """Units of tuning: the document's prompts, which no measurement uses, with start seeds of their own.

    first_tokens: where prompts are cut to their first tokens, those that may be too short are left out.
    """
    fitting = [prompt for prompt in DOCUMENT if first_tokens is None or len(prompt.split()) >= 4]
    return tuple(Unit(prompt=fitting[-1 - i % len(fitting)], seed=TUNING_START_SEED + i) for i in range(count))


def run_together(
    *tasks: Generator[Sequence[Arm], Sequence[Measurement], T],
) -> Generator[Sequence[Arm], Sequence[Measurement], list[T]]:
    """Run several tasks side by side: the arms of all their current rounds form one round. Returns results in order."""
    results: dict[int, T] = {}
    asked: dict[int, Sequence[Arm]] = {}

    def advance(k: int, measurements: Sequence[Measurement] | None) -> None:
        try:
            asked[k] = next(tasks[k]) if measurements is None else tasks[k].send(measurements)
        except StopIteration as end:
            asked.pop(k, None)
            results[k] = end.value

    for k in range(len(tasks)):
        advance(k, None)
    while asked:
        order = list(asked)
        answers = iter((yield [arm for k in order for arm in asked[k]]))
        # Taken off before any task goes on, since each then replaces what it had asked for.
        given = {k: [next(answers) for _ in asked[k]] for k in order}
        for k in order:
            advance(k, given[k])
    return [results[k] for k in range(len(tasks))]
