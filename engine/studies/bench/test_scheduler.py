"""What the scheduler itself takes: arms that take no time, in a session and in one of four times as many."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement, digest_of
from engine.claim.procedure import Evidence, Rounds, Trial
from engine.experiments.embedding.arm import PseudoInverseArm, PseudoInverseResult
from engine.ledger import Ledger
from engine.ledger.provenance import current_provenance
from engine.running.executors.pool import Pool
from engine.running.scheduler import ItemRun, NoProgress, Scheduler
from engine.studies.bench.alternation import alternate, take_ratio
from engine.studies.bench.conftest import Board
from engine.tests.planted import make_trial
from engine.tests.planted_claims import plant

FEW, MANY, ROUNDS = 400, 1600, 5
GROWTH_BAR, ARM_BAR_MS = 4.0, 2.0
ARMS_A_ROUND = 10
RESULT = PseudoInverseResult(
    rows=4,
    columns=2,
    rank=2,
    expected_rank=2,
    condition=1.0,
    difference=0.0,
    tolerance=1.0,
    excess_norm=1.0,
    ridge=(),
)
NOWHERE = current_provenance(dtype="float64", device="none", threads=0)


@dataclass(frozen=True, kw_only=True)
class Matrices:
    """Two rounds of arms, the second with those of the first again, as interim looks ask."""

    tag: ClassVar[str] = "Matrices"
    first: int

    def rounds(self, trial: Trial) -> Rounds:
        names = [f"random:4x2:rank=2:seed={self.first + k}" for k in range(2 * ARMS_A_ROUND)]
        arms = [PseudoInverseArm(subject="none", source="none", matrix=name) for name in names]
        yield arms[:ARMS_A_ROUND]
        return Evidence(measurements=tuple((yield arms)))


class Instant(Pool):
    """A pool that chooses as it always does, and whose arms are measured the moment they begin."""

    def submit(self, arm: Arm) -> Future[Measurement]:
        future: Future[Measurement] = Future()
        future.set_result(Measurement(digest=digest_of(arm), arm=arm, result=RESULT, provenance=NOWHERE, elapsed_s=0.0))
        return future


class Memory(Ledger):
    """Keeps measurements in memory: disks are not what is timed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.held: dict[str, Measurement] = {}

    def get(self, arm: Arm) -> Measurement | None:
        return self.held.get(digest_of(arm))

    def put(self, measurement: Measurement) -> None:
        self.held[measurement.digest] = measurement


def run(folder: Path, arms: int) -> None:
    """A session of so many arms, none of them stored."""
    trial = make_trial()
    jobs = [
        ItemRun(claim=plant("supported", procedure=Matrices(first=k)), trial=trial)
        for k in range(0, arms, 2 * ARMS_A_ROUND)
    ]
    pool = Instant(workers=2, threads=1, budget_bytes=8e9)
    scheduler = Scheduler(Memory(folder), lambda: pool, progress=NoProgress())
    scheduler.run(jobs)
    assert all(job.evidence is not None and len(job.evidence.measurements) == 2 * ARMS_A_ROUND for job in jobs)


@pytest.mark.benchmark(group="scheduler: its own time")
def test_four_times_the_arms(benchmark: Any, board: Board, tmp_path: Path) -> None:
    ways = {"few": lambda: run(tmp_path, FEW), "many": lambda: run(tmp_path, MANY)}
    seconds = alternate(benchmark, ways, measured="many", rounds=ROUNDS)
    figures = {
        "arms": [FEW, MANY],
        "growth": take_ratio(seconds["many"], seconds["few"]),
        "growth_bar": GROWTH_BAR,
        "ms_an_arm": 1e3 * sorted(seconds["many"])[ROUNDS // 2] / MANY,
        "ms_bar": ARM_BAR_MS,
    }
    board.note(benchmark, "scheduler", figures)
