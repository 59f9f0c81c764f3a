"""What the scheduler itself costs: a session of arms that take no time, beside one of four times as many."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from statistics import median
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
from engine.studies.bench.interleaved import median_ratio, time_interleaved
from engine.tests.planted import make_trial
from engine.tests.planted_claims import plant

FEW, MANY, ROUNDS = 400, 1600, 5
MAX_GROWTH, MAX_MS_PER_ARM = 4.0, 2.0
ARMS_PER_ROUND = 10
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
    """Two rounds of arms. The second asks for those of the first again, as interim looks do."""

    tag: ClassVar[str] = "Matrices"
    first: int

    def rounds(self, trial: Trial) -> Rounds:
        names = [f"random:4x2:rank=2:seed={self.first + k}" for k in range(2 * ARMS_PER_ROUND)]
        arms = [PseudoInverseArm(subject="none", source="none", matrix=name) for name in names]
        yield arms[:ARMS_PER_ROUND]
        return Evidence(measurements=tuple((yield arms)))


class Instant(Pool):
    """A pool that chooses as it always does, but whose arms are done the moment they begin."""

    def submit(self, arm: Arm) -> Future[Measurement]:
        future: Future[Measurement] = Future()
        future.set_result(Measurement(digest=digest_of(arm), arm=arm, result=RESULT, provenance=NOWHERE, elapsed_s=0.0))
        return future


class MemoryLedger(Ledger):
    """A ledger in memory, so that no disk is timed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.held: dict[str, Measurement] = {}

    def get(self, arm: Arm) -> Measurement | None:
        return self.held.get(digest_of(arm))

    def put(self, measurement: Measurement) -> None:
        self.held[measurement.digest] = measurement


def run_session(folder: Path, arms: int) -> None:
    """A session of so many arms, none of which is stored."""
    trial = make_trial()
    jobs = [
        ItemRun(claim=plant("supported", procedure=Matrices(first=k)), trial=trial)
        for k in range(0, arms, 2 * ARMS_PER_ROUND)
    ]
    pool = Instant(workers=2, threads=1, budget_bytes=8e9)
    campaign = Scheduler(MemoryLedger(folder), lambda: pool, progress=NoProgress())
    campaign.run(jobs)
    assert all(job.evidence is not None and len(job.evidence.measurements) == 2 * ARMS_PER_ROUND for job in jobs)


@pytest.mark.benchmark(group="scheduler: its own time")
def test_four_times_the_arms(benchmark: Any, tmp_path: Path) -> None:
    variants = {"few": lambda: run_session(tmp_path, FEW), "many": lambda: run_session(tmp_path, MANY)}
    seconds = time_interleaved(benchmark, variants, measured="many", rounds=ROUNDS)
    growth, ms_per_arm = median_ratio(seconds["many"], seconds["few"]), 1e3 * median(seconds["many"]) / MANY
    benchmark.extra_info["measures"] = [
        {"title": f"scheduler: {MANY} arms over {FEW}, times the cost", "value": growth, "at_most": MAX_GROWTH},
        {"title": "scheduler: ms per arm", "value": ms_per_arm, "at_most": MAX_MS_PER_ARM},
    ]
