"""Which weights and which units an arm gets: model seeds, waves, and seeds that tuning keeps to itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.arms import AnyStack, Stack, Unit
from engine.procedures.base import MODEL_SEEDS, Trial
from engine.prompts import DOCUMENT
from engine.subjects import Subject

TUNING_MODEL_SEED = 100
TUNING_START_SEED = 1000
"""Seeds that no measurement uses."""


@dataclass(frozen=True, kw_only=True)
class Hand:
    """Units of one wave that share weights. seed: of the model, None where nothing is random.

    places: where they stand among all units of the trial.
    """

    seed: int | None
    units: tuple[Unit, ...]
    places: tuple[int, ...]


def deal(trial: Trial, *, random: bool) -> list[Hand]:
    """The trial's units, wave by wave, dealt in turn to the four model seeds where weights are random."""
    seeds: tuple[int | None, ...] = MODEL_SEEDS if random else (None,)
    hands: list[Hand] = []
    first = 0
    for wave in trial.waves():
        for k, seed in enumerate(seeds):
            own = range(k, len(wave), len(seeds))
            if own:
                units = tuple(wave[i] for i in own)
                hands.append(Hand(seed=seed, units=units, places=tuple(first + i for i in own)))
        first += len(wave)
    return hands


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


def settle_stack(stack: AnyStack, subject: Subject, seed: int | None) -> AnyStack:
    """The stack with its number of blocks, or the net with its seed, as an arm holds them."""
    if not isinstance(stack, Stack):
        return stack if seed is None else replace(stack, seed=seed)
    if isinstance(stack.blocks, int):
        return stack
    return replace(stack, blocks=stack.count(int(subject.config().num_hidden_layers)))
