"""Units dealt to model seeds, for experiments other than descents: one arm a wave and seed, runs in unit order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from engine.arms import AnyStack, Arm, Stack, StackSettings, Unit
from engine.measurement import Measurement
from engine.procedures.base import MODEL_SEEDS, Trial
from engine.procedures.seeds import TUNING_MODEL_SEED, draw_subject, has_random_weights
from engine.results import Result

T = TypeVar("T")
A_co = TypeVar("A_co", bound=Arm, covariant=True)

DEEP = 12
"""Blocks of the document's deep stack, GPT-2's depth."""


@dataclass(frozen=True, kw_only=True)
class Deal(Generic[A_co]):
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


def is_random(trial: Trial, stack: AnyStack) -> bool:
    """Whether weights are random somewhere, so that model seeds are drawn."""
    return has_random_weights(stack, trial.subject)


def settings_of(
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


def deal(
    trial: Trial,
    stack: AnyStack,
    make: Callable[[StackSettings, tuple[Unit, ...]], A_co],
    *,
    dtype: str | None = None,
    first_tokens: int | None = None,
) -> list[Deal[A_co]]:
    """An arm for every wave and model seed; unit i of a wave goes to seed i modulo their number."""
    seeds: tuple[int | None, ...] = MODEL_SEEDS if is_random(trial, stack) else (None,)
    deals: list[Deal[A_co]] = []
    first = 0
    for wave in trial.waves():
        for k, seed in enumerate(seeds):
            own = range(k, len(wave), len(seeds))
            if own:
                settings = settings_of(trial, stack, seed, dtype=dtype, first_tokens=first_tokens)
                arm = make(settings, tuple(wave[i] for i in own))
                deals.append(Deal(arm=arm, seed=seed or 0, places=tuple(first + i for i in own)))
        first += len(wave)
    return deals


def collect(
    deals: Sequence[Deal[Arm]], measurements: Sequence[Measurement], runs_of: Callable[[Result], Sequence[T]]
) -> Runs[T]:
    """The runs behind the measurements of `deals`, in the units' order."""
    found: dict[int, tuple[T, int]] = {}
    for dealt, measurement in zip(deals, measurements, strict=True):
        for place, run in zip(dealt.places, runs_of(measurement.result), strict=True):
            found[place] = (run, dealt.seed)
    ordered = [found[place] for place in sorted(found)]
    return Runs(
        runs=tuple(run for run, _ in ordered),
        clusters=tuple(seed for _, seed in ordered),
        measurements=tuple(measurements),
    )


def tuning_seed(trial: Trial, stack: AnyStack) -> int | None:
    return TUNING_MODEL_SEED if is_random(trial, stack) else None
