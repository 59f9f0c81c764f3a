"""Several arms at once: the same numbers, never more memory than was given, and no arm lost with a process."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.arms.arm import Arm
from engine.arms.costs import Cost
from engine.arms.measurement import Measurement
from engine.arms.settings import Unit
from engine.arms.stacks import Stack
from engine.errors import EngineError, MissingError
from engine.experiments.embedding.arm import PseudoInverseArm
from engine.experiments.inversion.arm import InversionArm
from engine.ledger import Ledger
from engine.models.devices import VISIBLE, visible_id
from engine.running.costs import GPU_CONTEXT_BYTES, PROCESS_BYTES
from engine.running.executors.base import DoesNotFitError
from engine.running.executors.inline import Inline
from engine.running.executors.pool import Gpu, Pool, serve
from engine.running.scheduler import NoProgress, Scheduler
from engine.running.waiting import Waiting
from engine.tests.experiments.test_experiments import make_arms, make_settings
from engine.tests.planted import make_inverse, make_measurement
from engine.tests.running.test_scheduler import asking
from engine.tests.tiny_models import make_gpt2, save

PLENTY = 2e10


@pytest.fixture(name="subject", scope="module")
def provide_subject(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local:{save(tmp_path_factory.mktemp('gpt2'), make_gpt2(initializer_range=0.3))}"


@pytest.fixture(name="pool")
def provide_pool() -> Iterator[Pool]:
    pool = Pool(workers=2, threads=1, budget_bytes=PLENTY)
    yield pool
    pool.shutdown()


def long_arm(subject: str, iterations: int = 2500) -> InversionArm:
    """An arm of several seconds."""
    settings = make_settings(subject, stack=Stack(blocks=2), iterations=iterations)
    return InversionArm(settings=settings, step=1e-4, units=(Unit(prompt="The sky", seed=0),), read_at="N", batch=1)


def begin(pool: Pool, arm: Arm) -> Future[Measurement]:
    assert pool.choose(Waiting([arm])) is arm
    return pool.submit(arm)


def serve_with_little_memory(pipe: Connection[Any, Any], threads: int, gpu: str | None) -> None:
    """A worker that may take half a gigabyte beyond what the libraries take."""
    import engine.running.executors.inline as inline

    assert inline.Inline
    status = Path("/proc/self/status").read_text()
    held = 1024 * int(status.split("VmSize:")[1].split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (held + 2**29, held + 2**29))
    serve(pipe, threads, gpu)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux, which limits a process's memory")
def test_an_arm_that_finds_no_memory_fails_alone_and_says_what_to_do(
    tmp_path: Path, pool: Pool, subject: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.running.executors.pool.serve", serve_with_little_memory)
    # Two gigabytes in float64 for one of its factors alone.
    large = PseudoInverseArm(subject="none", source="none", matrix="random:90000x3000:rank=3000:seed=1")
    small = make_arms(subject)
    jobs = [asking((large,)), asking((small["random"], small["inversion"]))]
    Scheduler(Ledger(tmp_path), lambda: pool, progress=NoProgress()).run(jobs)
    assert isinstance(jobs[0].error, EngineError)
    line = str(jobs[0].error)
    assert re.match(r"pseudo-inverse on none: got not enough memory \(.*allocate.*\), expected about 0\.8 GB, ", line)
    assert "; close other programs, run fewer arms at once (--workers 1) or take a larger machine" in line
    assert jobs[1].evidence is not None, jobs[1].error
    assert large not in Ledger(tmp_path)


def test_a_process_that_was_being_started_is_given_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    starting, started, ended = threading.Event(), threading.Event(), threading.Event()

    class Slow:
        def __init__(self, threads: int, gpu: str | None) -> None:
            starting.set()
            started.wait(timeout=60)

        def measure(self, arm: Arm) -> Measurement:
            if not ended.wait(timeout=5):
                pytest.fail("measures for a session that has gone home")
            raise EOFError

        def end(self) -> None:
            ended.set()

    monkeypatch.setattr("engine.running.executors.pool.Process", Slow)
    plant_sizes(monkeypatch, {A: 1})
    pool = Pool(workers=1, threads=1, budget_bytes=PLENTY)
    future = begin(pool, A)
    starting.wait(timeout=60)
    threading.Timer(0.2, started.set).start()  # the pool rests before it has the process
    pool.shutdown()
    with pytest.raises(EOFError):
        future.result(timeout=0)
    assert ended.is_set()


ORPHAN = """
import sys, time
from engine.running.executors.pool import Pool
from engine.tests.running.test_pool import begin, long_arm

if __name__ == "__main__":
    begin(Pool(workers=1, threads=1, budget_bytes=2e10), long_arm(sys.argv[1], iterations=500_000))
    print("begun", flush=True)
    time.sleep(60)
"""


def test_workers_die_with_a_session_that_is_killed(tmp_path: Path, subject: str) -> None:
    script = tmp_path / "session.py"
    script.write_text(ORPHAN)
    session = subprocess.Popen(
        [sys.executable, str(script), subject], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": ""}
    )
    assert session.stdout is not None
    assert session.stdout.readline() == "begun\n"
    time.sleep(5)
    workers = psutil.Process(session.pid).children(recursive=True)
    assert workers
    session.kill()
    session.wait()
    session.stdout.close()
    _, alive = psutil.wait_procs(workers, timeout=90)
    assert not alive


# What fits, without any process: the pool's own choice, with costs and processes made up.

A, B, C = (PseudoInverseArm(subject=name, source="planted", matrix="embedding") for name in "ABC")


class _Held:
    """Stands in for a process: what was begun ends when the test says so."""

    def __init__(self, ends: dict[Arm, Future[Measurement]]) -> None:
        self._ends = ends

    def measure(self, arm: Arm) -> Measurement:
        return self._ends[arm].result(timeout=60)  # a test that fails must not leave a thread that waits for ever

    def end(self) -> None: ...


def plant_costs(monkeypatch: pytest.MonkeyPatch, sizes: dict[Arm, float]) -> dict[Arm, Future[Measurement]]:
    """Arms of these sizes in bytes beyond a process's own; what each will have come to."""
    ends: dict[Arm, Future[Measurement]] = {arm: Future() for arm in sizes}
    plant_sizes(monkeypatch, sizes)
    monkeypatch.setattr("engine.running.executors.pool.Process", lambda threads, gpu: _Held(ends))
    return ends


def plant_sizes(monkeypatch: pytest.MonkeyPatch, sizes: dict[Arm, float]) -> None:
    for place in ("engine.running.costs", "engine.running.waiting"):
        monkeypatch.setattr(f"{place}.estimate_cost", lambda arm: Cost(seconds=1, memory_bytes=sizes[arm]))
    monkeypatch.setattr("engine.running.costs.size_of", lambda subject: SimpleNamespace(weights=1e7))


def test_an_arm_that_never_fits_is_refused_with_both_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    plant_costs(monkeypatch, {A: 3e9, B: 1e9})
    with pytest.raises(
        MissingError, match=r"a need of about 3\.5 GB of memory, expected at most 2\.0 GB .*--memory"
    ) as no:
        Pool(workers=2, threads=1, budget_bytes=2e9).choose(Waiting([B, A]))
    assert cast(DoesNotFitError, no.value).arm is A


def test_a_campaign_leaves_a_refused_arm_out_and_measures_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plant_sizes(monkeypatch, {arm: 3e9 if arm is A else 1e6 for arm in (A, B)})
    monkeypatch.setattr(Pool, "submit", lambda self, arm: _done(make_measurement(arm, make_inverse())))
    jobs = [asking((A,)), asking((B,))]
    Scheduler(Ledger(tmp_path), lambda: Pool(workers=2, threads=1, budget_bytes=2e9), progress=NoProgress()).run(jobs)
    assert isinstance(jobs[0].error, MissingError)
    assert jobs[1].evidence is not None


def _done(measurement: Measurement) -> Future[Measurement]:
    future: Future[Measurement] = Future()
    future.set_result(measurement)
    return future


def test_two_arms_that_do_not_fit_together_go_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = plant_costs(monkeypatch, {A: 2e9, B: 2e9, C: 1e8})
    pool = Pool(workers=3, threads=1, budget_bytes=4e9)
    begun = [begin(pool, A)]
    assert pool.choose(Waiting([B])) is None
    assert pool.choose(Waiting([B, C])) is C  # the small one fits beside it
    begun.append(pool.submit(C))
    for arm, future in zip((A, C), begun, strict=True):
        ends[arm].set_result(make_measurement(arm, make_inverse()))
        future.result()
    assert pool.choose(Waiting([B])) is B  # what the idle ones still hold is let go


LARGE, SMALL = Gpu(name="3", bytes=5e9), Gpu(name="5", bytes=2e9)
ON_GPU = tuple(PseudoInverseArm(subject=s, source="planted", matrix="embedding", device="cuda") for s in "ABCD")


def plant_gpus(monkeypatch: pytest.MonkeyPatch, ends: dict[Arm, Future[Measurement]]) -> dict[Arm, str]:
    """On which GPU each arm was measured."""
    on: dict[Arm, str] = {}

    def make_process(threads: int, gpu: str) -> Any:
        held = _Held(ends)
        return SimpleNamespace(measure=lambda arm: on.update({arm: gpu}) or held.measure(arm), end=held.end)

    monkeypatch.setattr("engine.running.executors.pool.Process", make_process)
    return on


def finish(ends: dict[Arm, Future[Measurement]], arm: Arm, future: Future[Measurement]) -> None:
    ends[arm].set_result(make_measurement(arm, make_inverse()))
    future.result(timeout=60)


def test_gpus_are_dealt_out_evenly_and_an_idle_one_gives_way_to_one_that_is_large_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b, c, d = ON_GPU
    ends = plant_costs(monkeypatch, {a: 1e9, b: 1e9, c: 4e9, d: 8e9})
    on = plant_gpus(monkeypatch, ends)
    pool = Pool(workers=1, threads=1, budget_bytes=PLENTY, gpus=(SMALL, LARGE))
    finish(ends, a, begin(pool, a))
    finish(ends, c, begin(pool, c))  # the idle worker's GPU has no room for it
    assert on == {a: "5", c: "3"}
    with pytest.raises(
        MissingError, match=r"a need of about 8\.6 GB .*at most 5\.0 GB on one GPU.*--executor inline"
    ) as no:
        pool.choose(Waiting([d]))
    assert cast(DoesNotFitError, no.value).arm is d

    pool = Pool(workers=2, threads=1, budget_bytes=PLENTY, gpus=(SMALL, LARGE))
    for arm in (a, b):
        ends[arm] = Future()
    for arm, future in [(arm, begin(pool, arm)) for arm in (a, b)]:
        finish(ends, arm, future)
    assert {on[a], on[b]} == {"3", "5"}


def test_an_arm_whose_own_gpu_is_full_goes_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, _, _ = ON_GPU
    again = replace(a, matrix="another")
    ends = plant_costs(monkeypatch, {a: 1e9, b: 4e9, again: 1e9})
    on = plant_gpus(monkeypatch, ends)
    first, second = Gpu(name="3", bytes=6e9), Gpu(name="5", bytes=2e9)
    pool = Pool(workers=3, threads=1, budget_bytes=PLENTY, gpus=(first, second))
    finish(ends, a, begin(pool, a))
    under_way = [(b, begin(pool, b)), (again, begin(pool, again))]  # where a's weights lie there is no room beside b
    for arm, future in under_way:
        finish(ends, arm, future)
    assert on == {a: "3", b: "3", again: "5"}


def tell_gpu(pipe: Connection[Any, Any], threads: int, gpu: str | None) -> None:
    """A worker that says what it may see in place of measuring."""
    import engine.running.executors.inline as inline

    def tell(self: Inline, arm: Arm) -> Measurement:
        time.sleep(1)  # so that the second is placed while the first still has its own
        raise EngineError(os.environ.get(VISIBLE, "any"))

    inline.Inline.run = tell
    serve(pipe, threads, gpu)


def test_a_worker_sees_its_own_gpu_alone_and_none_that_the_session_does_not(
    monkeypatch: pytest.MonkeyPatch, subject: str
) -> None:
    monkeypatch.setenv(VISIBLE, "3,5")
    monkeypatch.setattr("engine.running.executors.pool.serve", tell_gpu)
    pool = Pool(workers=2, threads=1, budget_bytes=PLENTY, gpus=[Gpu(name=visible_id(n), bytes=2e9) for n in range(2)])
    settings = replace(make_settings(subject), device="cuda")
    arms = [replace(long_arm(subject), settings=settings, step=step) for step in (0.1, 0.2)]
    try:
        told = [str(future.exception(timeout=60)) for future in [begin(pool, arm) for arm in arms]]
    finally:
        pool.shutdown()
    assert sorted(told) == ["3", "5"]


@settings(deadline=None, max_examples=200)
@given(
    sizes=st.lists(st.floats(1e6, 4e9), min_size=1, max_size=12),
    gpus=st.lists(st.floats(1e9, 1e10), min_size=1, max_size=3),
    workers=st.integers(1, 4),
    order=st.randoms(use_true_random=False),
)
def test_what_is_held_of_a_gpu_never_passes_what_it_has(
    sizes: list[float], gpus: list[float], workers: int, order: Any
) -> None:
    sizes = [size for size in sizes if GPU_CONTEXT_BYTES + size <= max(gpus)]
    arms = [PseudoInverseArm(subject=str(n % 3), source="s", matrix=str(n), device="cuda") for n in range(len(sizes))]
    with pytest.MonkeyPatch.context() as monkeypatch:
        ends = plant_costs(monkeypatch, dict(zip(arms, sizes, strict=True)))
        on = plant_gpus(monkeypatch, ends)
        pool = Pool(
            workers=workers,
            threads=1,
            budget_bytes=1e11,
            gpus=[Gpu(name=str(n), bytes=size) for n, size in enumerate(gpus)],
        )
        waiting, under_way = Waiting(arms), dict[Arm, Future[Measurement]]()
        try:
            while len(waiting) or under_way:
                while len(waiting) and (arm := pool.choose(waiting)) is not None:
                    waiting.take_out(arm)
                    under_way[arm] = pool.submit(arm)
                assert under_way  # something always goes on
                deadline = time.monotonic() + 60
                while not set(under_way) <= set(on) and time.monotonic() < deadline:
                    time.sleep(0)
                for n, size in enumerate(gpus):
                    taken = [GPU_CONTEXT_BYTES + sizes[arms.index(arm)] for arm in under_way if on[arm] == str(n)]
                    assert sum(taken) <= size
                ending = order.choice(list(under_way))
                ends[ending].set_result(make_measurement(ending, make_inverse()))
                assert under_way.pop(ending).result().arm == ending
        finally:
            for end in ends.values():
                end.cancel()


@settings(deadline=None, max_examples=200)
@given(
    sizes=st.lists(st.floats(1e6, 4e9), min_size=1, max_size=12),
    budget=st.floats(5e9, 1e10),
    workers=st.integers(1, 4),
    order=st.randoms(use_true_random=False),
)
def test_what_is_held_never_passes_the_budget(sizes: list[float], budget: float, workers: int, order: Any) -> None:
    arms = [PseudoInverseArm(subject=str(n % 3), source="s", matrix=str(n)) for n in range(len(sizes))]
    with pytest.MonkeyPatch.context() as monkeypatch:
        ends = plant_costs(monkeypatch, dict(zip(arms, sizes, strict=True)))
        pool, waiting = Pool(workers=workers, threads=1, budget_bytes=budget), Waiting(arms)
        under_way: dict[Arm, Future[Measurement]] = {}
        try:
            while len(waiting) or under_way:
                while len(waiting) and (arm := pool.choose(waiting)) is not None:
                    waiting.take_out(arm)
                    under_way[arm] = pool.submit(arm)
                assert under_way  # something always goes on
                assert len(under_way) <= workers
                assert sum(PROCESS_BYTES + sizes[arms.index(arm)] for arm in under_way) <= budget
                ending = order.choice(list(under_way))
                ends[ending].set_result(make_measurement(ending, make_inverse()))
                assert under_way.pop(ending).result().arm == ending
        finally:
            for end in ends.values():
                end.cancel()  # an example may be given up half-way, and its threads with it
