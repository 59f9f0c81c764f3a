"""What every executor keeps: equal numbers, errors of their own arms, no arm lost with a process, no wider devices."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from engine.arms.arm import Arm
from engine.arms.measurement import Measurement
from engine.arms.settings import Unit
from engine.errors import EngineError
from engine.experiments.embedding.arm import PseudoInverseArm
from engine.ledger import Ledger
from engine.ledger.maintenance import read_ledger
from engine.running.costs import PROCESS_BYTES, estimate_cost
from engine.running.executors.base import Executor
from engine.running.executors.inline import Inline
from engine.running.executors.pool import Pool
from engine.running.executors.ray import Cluster, Task, measure_remotely
from engine.running.scheduler import NoProgress, Scheduler
from engine.running.waiting import Waiting
from engine.tests.experiments.test_experiments import make_arms, make_settings
from engine.tests.processes import find_worker, kill_worker
from engine.tests.running.test_pool import long_arm
from engine.tests.running.test_scheduler import asking
from engine.tests.tiny_models import make_gpt2, save

PLENTY = 8e9
PATIENCE_S = 240
"""Until an outcome is given up: Ray's processes take long to start on a busy machine."""

MAKERS: dict[str, Callable[[], Executor]] = {
    "inline": lambda: Inline(threads=1),
    "pool": lambda: Pool(workers=2, threads=1, budget_bytes=PLENTY),
    "ray": lambda: make_cluster(),
}
EVERY = [pytest.param(name, marks=pytest.mark.slow if name == "ray" else ()) for name in MAKERS]
OTHERS = [param for param in EVERY if param.values != ("inline",)]
"""Those that measure in processes of their own."""

pytestmark = [
    # Ray's own modules use what later versions of others will not have.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]


def make_cluster(task: Task = measure_remotely, *, gpus: int = 0) -> Cluster:
    pytest.importorskip("ray", reason="needs Ray: pip install 'lm-claims[ray]'")
    return Cluster(workers=2, threads=1, budget_bytes=PLENTY, gpus=gpus, task=task)


@pytest.fixture(name="subject", scope="module")
def provide_subject(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local:{save(tmp_path_factory.mktemp('gpt2'), make_gpt2(initializer_range=0.3))}"


@pytest.fixture(name="executor")
def provide_executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    executor = MAKERS[request.param]()
    yield executor
    executor.shutdown()


def begin(executor: Executor, arm: Arm) -> Future[Measurement]:
    assert executor.choose(Waiting([arm])) is arm
    return executor.submit(arm)


@pytest.mark.parametrize("name", EVERY)
def test_ledgers_are_equal_and_an_arms_own_error_is_its_own(name: str, tmp_path: Path, subject: str) -> None:
    arms = tuple(make_arms(subject).values())
    bad = replace(long_arm(subject), units=(Unit(prompt="", seed=0),))
    good, failing = asking(arms), asking((bad,))
    Scheduler(Ledger(tmp_path), MAKERS[name], progress=NoProgress()).run([failing, good])
    assert isinstance(failing.error, EngineError)
    assert "prompt" in str(failing.error)
    assert good.evidence is not None, good.error
    stored = {s.measurement.arm: s.measurement for s in read_ledger(tmp_path) if s.measurement}
    plain = Inline(threads=1)
    assert {arm: m.content() for arm, m in stored.items()} == {arm: plain.run(arm).content() for arm in arms}
    assert {m.provenance.threads for m in stored.values()} == {1}
    if name == "pool":
        for m in stored.values():
            assert m.peak_bytes is not None
            assert m.peak_bytes <= PROCESS_BYTES + estimate_cost(m.arm).memory_bytes, m.arm.kind


@pytest.mark.parametrize("executor", OTHERS, indirect=True)
def test_a_process_that_is_killed_costs_no_number(executor: Executor, subject: str) -> None:
    arm = long_arm(subject, iterations=4000)
    future = begin(executor, arm)
    kill_worker()
    assert future.result(timeout=PATIENCE_S).content() == Inline(threads=1).run(arm).content()


@pytest.mark.parametrize("executor", OTHERS, indirect=True)
def test_an_arm_whose_process_dies_each_time_fails_alone(executor: Executor, subject: str) -> None:
    future = begin(executor, long_arm(subject, iterations=500_000))
    for _ in range(2):
        kill_worker()
    with pytest.raises(EngineError, match=r"^inversion on local:.*: got a process.* that died 2 times"):
        future.result(timeout=PATIENCE_S)
    small = make_arms(subject)["random"]
    assert begin(executor, small).result(timeout=PATIENCE_S).arm == small


@pytest.mark.parametrize("name", EVERY)
def test_a_second_session_goes_on_where_the_first_was_cut(name: str, tmp_path: Path, subject: str) -> None:
    """The first is interrupted once its first arm is stored; the second measures the others and no arm again."""
    arms = tuple(make_arms(subject).values())

    class Cut(NoProgress):
        def finish(self, arm: Arm, elapsed_s: float) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Scheduler(Ledger(tmp_path), MAKERS[name], progress=Cut()).run([asking(arms)])
    before = {s.path: s.path.read_bytes() for s in read_ledger(tmp_path)}
    assert 1 <= len(before) < len(arms)
    job = asking(arms)
    Scheduler(Ledger(tmp_path), MAKERS[name], progress=NoProgress()).run([job])
    assert job.evidence is not None, job.error
    assert {path: path.read_bytes() for path in before} == before
    assert len(list(read_ledger(tmp_path))) == len(arms)


@pytest.mark.parametrize("executor", OTHERS, indirect=True)
def test_what_is_given_up_leaves_no_process(executor: Executor, subject: str) -> None:
    begin(executor, long_arm(subject, iterations=500_000))
    deadline = time.monotonic() + PATIENCE_S
    while (worker := find_worker()) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert worker is not None
    executor.shutdown()
    _, alive = psutil.wait_procs([worker], timeout=30)
    assert not alive


def measure_with_little_memory(arm: Arm, threads: int) -> Measurement | Exception:
    """In a process of Ray's: half a gigabyte may be taken beyond what the libraries take."""
    import engine.running.executors.inline as inline

    assert inline.Inline
    held = 1024 * int(Path("/proc/self/status").read_text().split("VmSize:")[1].split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + 2**29, before[1]))
    try:
        return measure_remotely(arm, threads)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux, which limits a process's memory")
def test_an_arm_of_rays_that_finds_no_memory_is_an_event_of_that_arm(tmp_path: Path, subject: str) -> None:
    """The pool's is in test_pool.py, with the same limit."""
    large = PseudoInverseArm(subject="none", source="none", matrix="random:90000x3000:rank=3000:seed=1")
    small = make_arms(subject)["random"]
    jobs = [asking((large,)), asking((small,))]
    Scheduler(Ledger(tmp_path), lambda: make_cluster(measure_with_little_memory), progress=NoProgress()).run(jobs)
    assert "pseudo-inverse on none: got not enough memory" in str(jobs[0].error)
    assert jobs[1].evidence is not None, jobs[1].error
    assert large not in Ledger(tmp_path)


def tell_devices(arm: Arm, threads: int) -> Measurement | Exception:
    """In a process of Ray's: which devices it may use."""
    time.sleep(2)  # so that the second is placed while the first still has its own
    return EngineError(os.environ.get("CUDA_VISIBLE_DEVICES", "any"))


@pytest.mark.slow
def test_arms_are_placed_on_the_callers_devices_and_no_others(monkeypatch: pytest.MonkeyPatch, subject: str) -> None:
    """Ray deals out devices that are not there as well: what is shown is who would get which."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    cluster = make_cluster(tell_devices, gpus=2)
    arms = [replace(long_arm(subject, n), settings=replace(make_settings(subject), device="cuda")) for n in (1, 2)]
    arms = [replace(arm, step=0.1 * (k + 1)) for k, arm in enumerate(arms)]
    try:
        futures = [begin(cluster, arm) for arm in arms]
        assert cluster.choose(Waiting([replace(arms[0], step=0.7)])) is None  # both are taken
        told = [str(future.exception(timeout=PATIENCE_S)) for future in futures]
    finally:
        cluster.shutdown()
    assert sorted(told) == ["3", "5"]
