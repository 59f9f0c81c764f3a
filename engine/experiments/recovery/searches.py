"""Prompts sought from activations: by which method, behind which stack, and what came of it in the units' order."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, TypeVar

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.arms.prompts import LONG
from engine.arms.protocol import CONTROLLED, PAGE, Protocol
from engine.arms.settings import DescentSettings, Method, Observed, Optimizer, StackSettings, Unit
from engine.arms.stacks import Stack
from engine.arms.tags import TAG
from engine.claim.procedure import Trial
from engine.claim.units import Units
from engine.experiments.recovery.arm import MarginArm, MarginResult, MarginRun, RecoveryArm, RecoveryResult, RecoveryRun
from engine.experiments.sampling import (
    AssignedArm,
    Runs,
    assign_arms,
    collect,
    stack_settings,
    tuning_seed,
    tuning_units,
)
from engine.experiments.tuning.procedure import HEAD_GRID, OPEN_GRID, StepChoice, every_second_power_of_two, tune

R = TypeVar("R", RecoveryResult, MarginResult)

ITERATIONS = 100
"""Of every descent of the ladder, over a whole prompt or at one position of it: as many for a token on every rung."""

SIGMA = 0.01
"""Shift behind the bound that tuning looks for: a decoder needs to come closer than 'close' (σ = 1/20) is."""

ADAM_GRID = every_second_power_of_two(-9, -3)
BATCH = 16
TUNING_UNITS, TUNING_TOKENS, TUNED_AT = 4, 12, 4
"""Prompts that a step size is tuned on where all positions move, and where one does: each prompt's 4th token."""


CHECKED = Method()
"""The last rung's: the nearest row, token by token, checked."""


@dataclass(frozen=True, kw_only=True)
class SearchMethod:
    """A way to find prompts: where descents start and at which positions (the protocol), how they move, and the method.

    The default is the full method.
    """

    tag: ClassVar[str] = "Rung"
    protocol: Protocol = CONTROLLED
    optimizer: Optimizer = "adam"
    method: Method = CHECKED


FULL_METHOD = SearchMethod()
JOINTLY = Method(decoder="pseudo-inverse", token_by_token=False, verify=False)
PAGE_START = replace(PAGE, name="page's start and positions", bound="start")
"""The page's start and positions. Its bound would only change what step sizes are tuned for, from rung to rung."""

TRUE_PAGE = replace(PAGE_START, name="page's start, true positions", positions="true")

METHOD_STEPS: tuple[tuple[str, SearchMethod], ...] = (
    ("page", SearchMethod(protocol=PAGE_START, optimizer="descent", method=JOINTLY)),
    ("true positions", SearchMethod(protocol=TRUE_PAGE, optimizer="descent", method=JOINTLY)),
    ("start at scale", SearchMethod(optimizer="descent", method=JOINTLY)),
    ("Adam", SearchMethod(method=JOINTLY)),
    ("nearest row", SearchMethod(method=replace(JOINTLY, decoder="nearest"))),
    ("token by token", SearchMethod(method=Method(verify=False))),
    ("checked", FULL_METHOD),
)
"""From the page's descent to the full method; each rung is the one before it with a single change."""

ABLATIONS: tuple[tuple[str, SearchMethod], ...] = (
    (
        "without true positions",
        SearchMethod(protocol=replace(CONTROLLED, name="controlled, position 0", positions="first")),
    ),
    ("without the start at scale", SearchMethod(protocol=TRUE_PAGE)),
    ("without Adam", SearchMethod(optimizer="descent")),
    ("without the nearest row", SearchMethod(method=Method(decoder="pseudo-inverse"))),
    ("without token by token", SearchMethod(method=Method(token_by_token=False))),
)
"""The full method without one of its changes; without the check it is the rung below it."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """Prompts that are sought behind a stack.

    observed: what is seen of activations. margins: units of each wave of which one position is also held against the
    whole vocabulary. long: the longer sentences, where the user has no prompts of their own. units: None takes the
    claim's.
    """

    tag: ClassVar[str] = "Search"
    stack: Stack
    how: SearchMethod = field(default=FULL_METHOD, metadata={TAG: "rung"})
    iterations: int = ITERATIONS
    observed: Observed = "float"
    margins: int = 0
    long: bool = False
    units: Units | None = None


@dataclass(frozen=True, kw_only=True)
class SearchRuns:
    """What came of a search, in the units' order, with the model seed of each.

    elapsed_s: what the search took, tuning and margins aside.
    """

    search: Search
    settings: DescentSettings
    tuned: StepChoice
    found: Runs[RecoveryRun]
    margins: Runs[MarginRun]
    results: tuple[RecoveryResult, ...]
    margin_results: tuple[MarginResult, ...]

    @property
    def elapsed_s(self) -> float:
        return sum(m.elapsed_s for m in self.found.measurements)

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        return (*self.tuned.measurements, *self.found.measurements, *self.margins.measurements)

    @property
    def texts(self) -> dict[int, str]:
        return {i: text for result in (*self.results, *self.margin_results) for i, text in result.texts.items()}


SearchRounds = Generator[Sequence[Arm], Sequence[Measurement], SearchRuns | None]


def run_search(trial: Trial, search: Search) -> SearchRounds:
    """Tune the step size on prompts of its own, then seek the units; None where it is not run at this effort."""
    trial = trial if search.units is None else replace(trial, units=search.units)
    if not trial.count():
        return None
    if search.long and not trial.prompts:
        trial = replace(trial, prompts=spread_evenly(LONG, trial.units.at(trial.effort)))
    tuned = yield from choose_step(trial, search)

    def find(settings: StackSettings, units: tuple[Unit, ...]) -> RecoveryArm:
        return RecoveryArm(
            settings=descent_settings(search, settings),
            method=search.how.method,
            step=tuned.step,
            units=units,
            batch=BATCH,
            observed=search.observed,
        )

    def measure(settings: StackSettings, units: tuple[Unit, ...]) -> MarginArm:
        own = replace(settings, protocol=search.how.protocol)
        return MarginArm(settings=own, units=units, observed=search.observed)

    finding, measuring = (
        assign_arms(trial, search.stack, find),
        _thin(assign_arms(trial, search.stack, measure), search.margins),
    )
    measurements = yield [dealt.arm for dealt in (*finding, *measuring)]
    found, margins = measurements[: len(finding)], measurements[len(finding) :]
    return SearchRuns(
        search=search,
        settings=finding[0].arm.settings,
        tuned=tuned,
        found=collect(finding, found, RecoveryResult),
        margins=collect(measuring, margins, MarginResult),
        results=_results(found, RecoveryResult),
        margin_results=_results(margins, MarginResult),
    )


def spread_evenly(prompts: Sequence[str], count: int) -> tuple[str, ...]:
    """So many of the prompts, from the first to the last in equal steps."""
    last, steps = len(prompts) - 1, max(1, count - 1)
    return tuple(prompts[round(k * last / steps)] for k in range(min(count, len(prompts))))


def descent_settings(search: Search, settings: StackSettings) -> DescentSettings:
    """Settings of a search's descents, on the stack and weights of `settings`."""
    return DescentSettings(
        **vars(replace(settings, protocol=search.how.protocol, sigma=SIGMA)),
        iterations=search.iterations,
        optimizer=search.how.optimizer,
    )


def choose_step(trial: Trial, search: Search) -> Generator[Sequence[Arm], Sequence[Measurement], StepChoice]:
    """Tune a search's step size: over whole prompts, or over their 4th tokens where one position moves."""
    alone = search.how.method.token_by_token
    plain = HEAD_GRID if search.stack.head else OPEN_GRID
    steps = ADAM_GRID if search.how.optimizer == "adam" else plain
    count = 1 if trial.effort == "smoke" else TUNING_TOKENS if alone else TUNING_UNITS
    units = tuning_units(count, first_tokens=TUNED_AT if alone else None)
    seed = tuning_seed(trial, search.stack)
    settings = stack_settings(trial, search.stack, seed, first_tokens=TUNED_AT if alone else None)
    return (yield from tune(descent_settings(search, settings), steps, units, alone=alone))


def _thin(assigned: Sequence[AssignedArm[MarginArm]], most: int) -> list[AssignedArm[MarginArm]]:
    """The first units of each wave, `most` shared out over its model seeds, rounded up."""
    seeds = len({dealt.seed for dealt in assigned})
    each = -(-most // max(1, seeds))
    return [
        replace(dealt, arm=replace(dealt.arm, units=dealt.arm.units[:each]), places=dealt.places[:each])
        for dealt in assigned
        if each
    ]


def _results(measurements: Sequence[Measurement], kind: type[R]) -> tuple[R, ...]:
    return tuple(m.result for m in measurements if isinstance(m.result, kind))
