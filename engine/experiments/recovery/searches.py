"""Searches for prompts in activations: the method, the stack, and the runs in the order of the units."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar, Literal, TypeVar

from engine.arms.arm import Arm, Result
from engine.arms.measurement import Measurement
from engine.arms.prompts import LONG
from engine.arms.protocol import CONTROLLED, PAGE, Protocol
from engine.arms.settings import DescentSettings, Method, Observed, Optimizer, StackSettings, Unit
from engine.arms.stacks import Stack
from engine.arms.tags import TAG
from engine.claim.criteria import Scope
from engine.claim.procedure import Trial
from engine.claim.units import Units
from engine.errors import DeclarationError, explain
from engine.experiments.recovery.arm import MarginArm, MarginResult, MarginRun, RecoveryArm, RecoveryResult, RecoveryRun
from engine.experiments.sampling import (
    AssignedArm,
    Runs,
    assign_arms,
    collect,
    find_checkpoint,
    stack_settings,
    tuning_seed,
    tuning_units,
)
from engine.experiments.tuning.choose_step import HEAD_GRID, OPEN_GRID, StepChoice, every_second_power_of_two, tune

LEAST_MARGIN = 1e-300
"""Stands for a margin of zero, which has no logarithm."""

R = TypeVar("R", RecoveryResult, MarginResult)

ITERATIONS = 100
"""Iterations of every descent, over a whole prompt or at one position: each token moves as often by every method."""

SIGMA = 0.01
"""Shift behind the bound that step sizes are tuned for: a decoder needs a closer end than σ = 1/20 asks for."""

ADAM_GRID = every_second_power_of_two(-9, -3)
BATCH = 16
"""Prompts that are searched together."""

TUNING_UNITS, TUNING_TOKENS, TUNED_AT = 4, 12, 4
"""Tuning prompts: 4 if all positions move together, 12 if only each prompt's 4th token moves."""


CHECKED = Method()
"""The full method's: the nearest row of W, token by token, checked."""


@dataclass(frozen=True, kw_only=True)
class SearchMethod:
    """How prompts are searched for. The default is the full method.

    protocol: the start of descents and the positions. optimizer: of descents. method: the decoder, the order of
    positions, and whether candidates are checked.
    """

    tag: ClassVar[str] = "Rung"
    protocol: Protocol = CONTROLLED
    optimizer: Optimizer = "adam"
    method: Method = CHECKED


FULL_METHOD = SearchMethod()
JOINTLY = Method(decoder="pseudo-inverse", token_by_token=False, verify=False)
PAGE_START = replace(PAGE, name="page's start and positions", bound="start")
"""The page's start and positions, with the bound of the other methods: all step sizes are tuned for one bound."""

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
"""Steps from the page's descent to the full method. Each makes one change to the one before it."""

POSITION_ZERO = replace(CONTROLLED, name="controlled, position 0", positions="first")
ABLATIONS: tuple[tuple[str, SearchMethod], ...] = (
    ("without true positions", SearchMethod(protocol=POSITION_ZERO)),
    ("without the start at scale", SearchMethod(protocol=TRUE_PAGE)),
    ("without Adam", SearchMethod(optimizer="descent")),
    ("without the nearest row", SearchMethod(method=Method(decoder="pseudo-inverse"))),
    ("without token by token", SearchMethod(method=Method(token_by_token=False))),
)
"""The full method without one of its changes. Without the check it is the step before the last."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search for the prompts of all units behind one stack.

    how: the method. iterations: of each descent. observed: the precision in which activations are observed.
    margins: number of units of each wave of which one position is compared with the whole vocabulary.
    only: 'margins' compares these alone and searches for no prompt. checkpoint: the subject's weights after so many
    steps of training, if the suite trains it; None takes the end. on: the trials it is run in; None for every one.
    long: whether to take longer sentences, unless the user has prompts. units: None takes the claim's.
    Raises DeclarationError where it would neither search nor compare.
    """

    tag: ClassVar[str] = "Search"
    stack: Stack
    how: SearchMethod = field(default=FULL_METHOD, metadata={TAG: "rung"})
    iterations: int = ITERATIONS
    observed: Observed = "float"
    margins: int = 0
    only: Literal["margins"] | None = None
    checkpoint: int | None = None
    on: Scope | None = None
    long: bool = False
    units: Units | None = None

    def __post_init__(self) -> None:
        if self.only == "margins" and not self.margins:
            got, expected = "only margins, and margins of no unit", "margins of at least one"
            raise DeclarationError(explain(who="Search", got=got, expected=expected, remedy="set margins"))


@dataclass(frozen=True, kw_only=True)
class SearchRuns:
    """The runs of a search in the order of the units, with the model seed of each.

    settings: of its descents, or of its margins where it has nothing else. tuned: None where there is no descent.
    elapsed_s: time of the search, without tuning and margins.
    """

    search: Search
    settings: StackSettings
    tuned: StepChoice | None
    recoveries: Runs[RecoveryRun]
    margins: Runs[MarginRun]
    results: tuple[RecoveryResult, ...]
    margin_results: tuple[MarginResult, ...]

    @property
    def elapsed_s(self) -> float:
        return sum(m.elapsed_s for m in self.recoveries.measurements)

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        tuned = self.tuned.measurements if self.tuned is not None else ()
        return (*tuned, *self.recoveries.measurements, *self.margins.measurements)

    @property
    def relative_margins(self) -> list[float]:
        """The relative margin of each position that was compared, in the order of the units."""
        return [max(run.runner_up_distance, LEAST_MARGIN) for run in self.margins.runs]

    @property
    def texts(self) -> dict[int, str]:
        return {i: text for result in (*self.results, *self.margin_results) for i, text in result.texts.items()}


RunsByName = Mapping[str, SearchRuns]


def run_search(trial: Trial, search: Search) -> Generator[Sequence[Arm], Sequence[Measurement], SearchRuns | None]:
    """Tune the step size on prompts of its own, then search for the units' prompts and measure margins.

    Returns None for a search that is not run at this effort or on this subject.
    """
    if search.on is not None and search.on not in trial.scopes:
        return None
    trial = trial if search.units is None else replace(trial, units=search.units)
    if not trial.count():
        return None
    if search.long and not trial.prompts:
        # As many of the longer sentences as there are units, in equal steps from the first to the last.
        count, last = trial.units.at(trial.effort), len(LONG) - 1
        places = [round(k * last / max(1, count - 1)) for k in range(min(count, len(LONG)))]
        trial = replace(trial, prompts=tuple(LONG[place] for place in places))
    trial = replace(trial, subject=find_checkpoint(trial.subject, search.checkpoint))
    tuned, recoveries = None, list[AssignedArm[RecoveryArm]]()
    if search.only is None:
        tuned = yield from choose_step(trial, search)
        recoveries = assign_arms(trial, search.stack, partial(recovery_arm, search, tuned.step))

    def margin_arm(settings: StackSettings, units: tuple[Unit, ...]) -> MarginArm:
        own = replace(settings, protocol=search.how.protocol)
        return MarginArm(settings=own, units=units, observed=search.observed)

    margins = assign_arms(trial, search.stack, margin_arm)
    # Margins take the first units of each wave, shared out over the model seeds and rounded up.
    each = -(-search.margins // max(1, len({one.seed for one in margins})))
    margins = [
        replace(one, arm=replace(one.arm, units=one.arm.units[:each]), places=one.places[:each])
        for one in margins
        if each
    ]
    measurements = yield [one.arm for one in (*recoveries, *margins)]
    recovered, compared = measurements[: len(recoveries)], measurements[len(recoveries) :]
    return SearchRuns(
        search=search,
        settings=(recoveries or margins)[0].arm.settings,
        tuned=tuned,
        recoveries=collect(recoveries, recovered, RecoveryResult),
        margins=collect(margins, compared, MarginResult),
        results=tuple(_expect(RecoveryResult, m.result) for m in recovered),
        margin_results=tuple(_expect(MarginResult, m.result) for m in compared),
    )


def _expect(kind: type[R], result: Result) -> R:
    assert isinstance(result, kind)
    return result


def recovery_arm(search: Search, step: float, settings: StackSettings, units: tuple[Unit, ...]) -> RecoveryArm:
    """The arm that searches for these units on the stack and weights of `settings`."""
    return RecoveryArm(
        settings=descent_settings(search, settings),
        method=search.how.method,
        step=step,
        units=units,
        batch=BATCH,
        observed=search.observed,
    )


def descent_settings(search: Search, settings: StackSettings) -> DescentSettings:
    """Settings of a search's descents, on the stack and weights of `settings`."""
    return DescentSettings(
        **vars(replace(settings, protocol=search.how.protocol, sigma=SIGMA)),
        iterations=search.iterations,
        optimizer=search.how.optimizer,
    )


def choose_step(trial: Trial, search: Search) -> Generator[Sequence[Arm], Sequence[Measurement], StepChoice]:
    """Tune a search's step size: on whole prompts, or on their 4th tokens if one position moves alone."""
    alone = search.how.method.token_by_token
    first_tokens = TUNED_AT if alone else None
    plain = HEAD_GRID if search.stack.head else OPEN_GRID
    steps = ADAM_GRID if search.how.optimizer == "adam" else plain
    count = 1 if trial.effort == "smoke" else TUNING_TOKENS if alone else TUNING_UNITS
    units = tuning_units(count, first_tokens=first_tokens)
    settings = stack_settings(trial, search.stack, tuning_seed(trial, search.stack), first_tokens=first_tokens)
    return (yield from tune(descent_settings(search, settings), steps, units, alone=alone))
