"""Simulated claims, judged by the code that judges the real ones: interim looks, estimates, criterion, verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from zlib import crc32

import numpy as np

from engine.arms.protocol import DIRECT
from engine.claim.claim import Claim
from engine.claim.criteria import Ruling
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.claim.units import Units
from engine.models import find_subject
from engine.running.scheduler import ItemRun
from engine.statistics import proportion
from engine.studies.calibration.results import EDGE, INSIDE, OUTSIDE, Cell, Position
from engine.studies.calibration.scenarios import NAME, SCENARIOS, Scenario, SimulatedUnits

SIZES = (6, 12, 24, 36, 60)
POSITIONS = (EDGE, INSIDE, OUTSIDE)
BATCH = 250
"""Claims that a process simulates before it returns their counts."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A scenario with n units, and its truth at, inside or outside of the edge."""

    scenario: Scenario
    n: int
    position: Position

    @property
    def key(self) -> tuple[str, float, float, float, int, Position]:
        """The scenario and the place in it, as the cell that is kept of it says them."""
        s = self.scenario
        return s.estimand, s.edge, s.alike, s.censored, self.n, self.position

    def __str__(self) -> str:
        # It seeds the draws: the words are those with which the kept figures were drawn.
        s = self.scenario
        world = f"estimand={s.estimand!r}, edge={s.edge}, shift={s.shift}, alike={s.alike}, censored={s.censored}"
        return f"World({world})|{self.n}|{self.position}"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How a setting's claims were judged. false: verdicts that contradict the truth. decided: decisive verdicts.

    covered: truths inside the last interval. units: used by all claims together.
    """

    claims: int = 0
    false: int = 0
    covered: int = 0
    decided: int = 0
    units: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in vars(self)})


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """A procedure that measures nothing: all units are drawn beforehand, and a look sees the first of them."""

    drawn: SimulatedUnits

    def rounds(self, trial: Trial) -> Rounds:
        yield ()
        return Evidence(estimates=Evidence.named(self.drawn.estimate(trial.count(), trial.look)))


def simulate(setting: Setting, claims: int, first: int = 0) -> Counts:
    """Judge so many simulated claims, numbered from `first`. Equal numbers give equal claims."""
    scenario, total = setting.scenario, Counts()
    for number in range(first, first + claims):
        # The setting and the claim's number seed its draws: batches and processes change nothing.
        rng = np.random.default_rng([crc32(str(setting).encode()), number])
        drawn = scenario.draw(rng, setting.n, scenario.place_truth(setting.position))
        claim = Claim(
            id="C00",
            section="",
            sentence="",
            estimand="",
            document="",
            procedure=Simulated(drawn=drawn),
            criteria=(scenario.criterion,),
            subjects=("gpt2-untrained",),
            protocols=(DIRECT,),
        )
        units = Units(standard=setting.n)
        trial = Trial(subject=find_subject("gpt2-untrained"), protocol=DIRECT, effort="standard", units=units)
        # The looks are taken as in a session, except that there are no measurements to wait for.
        job = ItemRun(claim=claim, trial=trial)
        job.advance(None)
        while not job.done:
            job.advance([])
        if job.error is not None:
            raise job.error
        assert job.evidence is not None
        estimate = job.evidence.estimates[NAME]
        ruling = claim.judge(job.evidence.estimates).ruling
        total += Counts(
            claims=1,
            false=int(ruling in scenario.wrong(setting.position)),
            covered=int(estimate.low <= drawn.truth <= estimate.high),
            decided=int(ruling in (Ruling.SUPPORTED, Ruling.REFUTED)),
            units=estimate.n,
        )
    return total


def list_settings(scenarios: Sequence[Scenario] = SCENARIOS, sizes: Sequence[int] = SIZES) -> list[Setting]:
    return [
        Setting(scenario=scenario, n=n, position=position)
        for scenario in scenarios
        for n in sizes
        for position in POSITIONS
    ]


def simulate_all(
    settings: Iterable[tuple[Setting, int]], *, workers: int, tell: Callable[[int], object] = lambda claims: None
) -> dict[Setting, Counts]:
    """The counts of each setting with so many claims, in batches over several processes, which change no count.

    tell: called with the number of claims judged since the last call.
    """
    batches = [
        (setting, min(BATCH, claims - first), first)
        for setting, claims in settings
        for first in range(0, claims, BATCH)
    ]
    found: dict[Setting, Counts] = {}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        results = pool.map(simulate, *zip(*batches, strict=True))
        for (setting, _, _), counts in zip(batches, results, strict=True):
            found[setting] = found.get(setting, Counts()) + counts
            tell(counts.claims)
    return found


def summarize(setting: Setting, counts: Counts) -> Cell:
    """A setting's shares, the false verdicts' with the upper end of their interval."""
    false = proportion("false", [True] * counts.false + [False] * (counts.claims - counts.false))
    scenario = setting.scenario
    return Cell(
        estimand=scenario.estimand,
        edge=scenario.edge,
        censored=scenario.censored,
        alike=scenario.alike,
        n=setting.n,
        position=setting.position,
        claims=counts.claims,
        false=false.value,
        false_high=false.high,
        covered=counts.covered / counts.claims,
        decided=counts.decided / counts.claims,
        units=counts.units / counts.claims,
    )
