"""Simulated claims on their way through the judging code: job, looks, estimates, criterion, verdict."""

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
from engine.studies.calibration.worlds import NAME, WORLDS, Data, World

SIZES = (6, 12, 24, 36, 60)
POSITIONS = (0, 1, -1)
"""At the edge, just inside, just outside."""

BATCH = 250
"""Claims that a process simulates before it hands back its counts."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One world at one number of units, with the truth at, inside or outside of its edge."""

    world: World
    n: int
    position: int


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What became of a cell's claims. false: verdicts that contradict the truth; at the edge, every decisive one.

    covered: truths inside the last interval. decided: decisive verdicts. units: that were used, over all claims.
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
    """A procedure that measures nothing: its units are drawn, and a look sees those that are in by then."""

    data: Data

    def rounds(self, trial: Trial) -> Rounds:
        yield ()
        return Evidence(estimates=Evidence.named(self.data.estimate(trial.count(), trial.look)))


def simulate(cell: Cell, claims: int, first: int = 0) -> Counts:
    """Judge so many simulated claims, numbered from `first`; equal numbers give equal claims."""
    total = Counts()
    name = f"{cell.world}|{cell.n}|{cell.position}"
    for number in range(first, first + claims):
        rng = np.random.default_rng([crc32(name.encode()), number])
        truth = cell.world.place(cell.position)
        total += judge_one(cell, cell.world.draw(rng, cell.n, truth))
    return total


def judge_one(cell: Cell, data: Data) -> Counts:
    """One claim, brought to its verdict."""
    claim = Claim(
        id="C00",
        section="",
        sentence="",
        estimand="",
        document="",
        procedure=Simulated(data=data),
        criteria=(cell.world.criterion,),
        subjects=("gpt2-untrained",),
        protocols=(DIRECT,),
    )
    units = Units(standard=cell.n)
    trial = Trial(subject=find_subject("gpt2-untrained"), protocol=DIRECT, effort="standard", units=units)
    job = ItemRun(claim=claim, trial=trial)
    job.advance(None)
    while not job.done:
        job.advance([])
    if job.error is not None:
        raise job.error
    assert job.evidence is not None
    estimate = job.evidence.estimates[NAME]
    ruling = claim.judge(job.evidence.estimates).ruling
    return Counts(
        claims=1,
        false=int(_is_false(ruling, cell.position)),
        covered=int(estimate.low <= data.truth <= estimate.high),
        decided=int(ruling in (Ruling.SUPPORTED, Ruling.REFUTED)),
        units=estimate.n,
    )


def _is_false(ruling: Ruling, position: int) -> bool:
    wrong = {1: {Ruling.REFUTED}, -1: {Ruling.SUPPORTED}, 0: {Ruling.SUPPORTED, Ruling.REFUTED}}
    return ruling in wrong[position]


def list_cells(worlds: Sequence[World] = WORLDS, sizes: Sequence[int] = SIZES) -> list[Cell]:
    return [Cell(world=world, n=n, position=position) for world in worlds for n in sizes for position in POSITIONS]


def simulate_all(
    cells: Iterable[tuple[Cell, int]], *, workers: int, tell: Callable[[int], object] = lambda claims: None
) -> dict[Cell, Counts]:
    """Each cell's claims, in batches over several processes. The counts do not depend on how many these are.

    tell: called with the number of claims that were judged since.
    """
    batches = [(cell, min(BATCH, claims - first), first) for cell, claims in cells for first in range(0, claims, BATCH)]
    found: dict[Cell, Counts] = {}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        results = pool.map(simulate, *zip(*batches, strict=True))
        for (cell, _, _), counts in zip(batches, results, strict=True):
            found[cell] = found.get(cell, Counts()) + counts
            tell(counts.claims)
    return found
