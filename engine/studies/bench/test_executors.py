"""A pool of two workers beside one process, on arms of one thread each."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

import pytest

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.arms.prompts import SHORT
from engine.arms.protocol import PAGE
from engine.arms.settings import DescentSettings, Unit
from engine.arms.stacks import Stack
from engine.experiments.inversion.arm import InversionArm
from engine.models import find_subject
from engine.running.executors.base import Executor
from engine.running.executors.inline import Inline
from engine.running.executors.pool import Pool
from engine.running.waiting import Waiting
from engine.studies.bench.interleaved import median_ratio, time_interleaved

WORKERS, ROUNDS, MIN_SPEEDUP = 2, 5, 1.5
ARMS, ITERATIONS, SUBJECT = 8, 10, "gpt2-untrained:0"


def make_arms() -> list[Arm]:
    """Arms of a second or two on one model. Every process keeps it loaded, so no loading is timed."""
    settings = DescentSettings(
        subject=SUBJECT,
        source=find_subject(SUBJECT).fingerprint(),
        stack=Stack(blocks=1, head=True),
        protocol=PAGE,
        iterations=ITERATIONS,
    )
    units = [Unit(prompt=prompt, seed=k) for k, prompt in enumerate(SHORT[: 4 * ARMS])]
    return [
        InversionArm(settings=settings, step=1e-4, units=tuple(units[k : k + 4]), read_at="N", batch=4)
        for k in range(0, len(units), 4)
    ]


def measure_all(executor: Executor, arms: list[Arm]) -> dict[Arm, str]:
    """The digest of each arm's numbers. An arm begins as soon as the executor has room."""
    waiting, under_way, found = Waiting(arms), set[Future[Measurement]](), list[Measurement]()
    while len(waiting) or under_way:
        arm = executor.choose(waiting)
        if arm is not None:
            waiting.take_out(arm)
            under_way.add(executor.submit(arm))
            continue
        done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
        found += [future.result() for future in done]
    return {m.arm: m.content() for m in found}


@pytest.mark.benchmark(group="executors: a pool's own time")
def test_a_pool_beside_one_process(benchmark: Any) -> None:
    arms, inline = make_arms(), Inline(threads=1)
    pool = Pool(workers=WORKERS, threads=1, budget_bytes=8e9)
    try:
        assert measure_all(pool, arms) == measure_all(inline, arms)  # this also starts the pool's processes
        variants = {"inline": lambda: measure_all(inline, arms), "pool": lambda: measure_all(pool, arms)}
        seconds = time_interleaved(benchmark, variants, measured="pool", rounds=ROUNDS)
    finally:
        pool.shutdown()
    title = f"{len(arms)} arms of one thread: times that {WORKERS} workers are as fast as one process"
    speedup = median_ratio(seconds["inline"], seconds["pool"])
    benchmark.extra_info["measures"] = [{"title": title, "value": speedup, "at_least": MIN_SPEEDUP}]
