"""What the Ray executor asks of a cluster, with a stand-in for Ray; test_executors.py has the real one."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from engine.arms.arm import Arm
from engine.arms.costs import Cost
from engine.arms.measurement import Measurement
from engine.errors import EngineError
from engine.experiments.embedding.arm import PseudoInverseArm
from engine.running.costs import PROCESS_BYTES
from engine.running.executors.base import DoesNotFitError
from engine.running.executors.ray import Cluster, Resources
from engine.running.waiting import Waiting
from engine.tests.planted import make_inverse, make_measurement

A, B, C = (PseudoInverseArm(subject=name, source="planted", matrix="embedding") for name in "ABC")
SIZES = {A: 3e9, B: 1e9, C: 1e8}
SECONDS = {A: 1.0, B: 5.0, C: 3.0}


class CrashedError(Exception):
    """A process of Ray's died."""


class CancelledError(Exception):
    """A task was cancelled."""


@dataclass(kw_only=True)
class PlantedRay:
    """Runs a task when its result is asked for. mishaps: what is raised for the first tasks instead."""

    found: list[dict[str, Any]]
    mishaps: list[Exception] = field(default_factory=list[Exception])
    inits: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    exceptions: Any = field(
        default_factory=lambda: SimpleNamespace(
            TaskCancelledError=CancelledError,
            WorkerCrashedError=CrashedError,
            NodeDiedError=CrashedError,
            OutOfMemoryError=CrashedError,
            LocalRayletDiedError=CrashedError,
        )
    )

    def init(self, **options: Any) -> None:
        self.inits.append(options)
        if options.get("address") == "auto":
            raise ConnectionError("no cluster\nhere")

    def nodes(self) -> list[dict[str, Any]]:
        return self.found

    def remote(self, task: Callable[..., object] | None = None, **made: int) -> Any:
        if task is None:
            return lambda task: self.remote(task, **made)

        def options(**asked: Any) -> Any:
            self.asked.append(asked | made)
            return SimpleNamespace(remote=lambda *given: lambda: task(*given))

        return SimpleNamespace(options=options)

    def get(self, ref: Callable[[], object]) -> object:
        if self.mishaps:
            raise self.mishaps.pop(0)
        return ref()

    def cancel(self, ref: object, *, force: bool) -> None: ...

    def shutdown(self) -> None: ...


def node(cpus: float, gigabytes: float, gpus: float = 0.0, *, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpus, "memory": gigabytes * 1e9, "GPU": gpus}}


def answer(arm: Arm, threads: int) -> Measurement:
    return make_measurement(arm, make_inverse())


@pytest.fixture(name="ray")
def provide_ray(monkeypatch: pytest.MonkeyPatch) -> PlantedRay:
    ray = PlantedRay(found=[node(2, 4)])
    monkeypatch.setitem(sys.modules, "ray", ray)
    for place in ("engine.running.costs", "engine.running.waiting"):
        monkeypatch.setattr(
            f"{place}.estimate_cost", lambda arm: Cost(seconds=SECONDS[cpu(arm)], memory_bytes=SIZES[cpu(arm)])
        )
    monkeypatch.setattr("engine.running.costs.size_of", lambda subject: SimpleNamespace(weights=1e7))
    return ray


def cpu(arm: Arm) -> Arm:
    return replace(arm, device="cpu")


@pytest.fixture(name="cluster")
def provide_cluster(ray: PlantedRay) -> Iterator[Cluster]:
    cluster = Cluster(workers=2, threads=1, budget_bytes=4e9, task=answer)
    yield cluster
    cluster.shutdown()


def test_a_cluster_started_here_has_what_the_session_was_given(ray: PlantedRay, cluster: Cluster) -> None:
    assert cluster.choose(Waiting([B])) is B
    (options,) = ray.inits
    assert (options["num_cpus"], options["num_gpus"], options["_memory"]) == (2, 0, 4e9)


def test_the_costliest_group_that_fits_goes_first(cluster: Cluster) -> None:
    assert cluster.choose(Waiting([A, B, C])) is B
    cluster.submit(B).result()
    assert cluster.choose(Waiting([A, C])) is C


def test_an_arm_waits_while_others_have_its_room(ray: PlantedRay, cluster: Cluster) -> None:
    assert Resources(cpus=1, gpus=0, bytes=PROCESS_BYTES + 3e9).within(Resources(cpus=2, gpus=0, bytes=4e9))
    event = threading.Event()
    ray.get = lambda ref: event.wait(60) and ref()  # type: ignore[method-assign]
    future = cluster.submit(A)
    assert cluster.choose(Waiting([B])) is None  # 3.5 GB are taken, and it needs 1.5
    event.set()
    assert future.result(timeout=60).arm == A
    assert cluster.choose(Waiting([B])) is B


def test_what_no_node_has_room_for_is_refused_with_both_figures(ray: PlantedRay, cluster: Cluster) -> None:
    ray.found = [node(2, 3), node(64, 64, alive=False)]
    with pytest.raises(
        DoesNotFitError,
        match=r"about 3\.5 GB of memory, expected a node with room for it; the largest has 3\.0 GB, 2 cores; ",
    ):
        cluster.choose(Waiting([B, A]))


@pytest.mark.parametrize(("gpu_bytes", "share"), [(None, 1.0), (1.6e10, 0.1), (1e10, 0.16), (7e9, 0.23)])
def test_small_arms_share_a_gpu(ray: PlantedRay, gpu_bytes: float | None, share: float) -> None:
    ray.found = [node(4, 16, 2)]
    cluster = Cluster(workers=2, threads=1, budget_bytes=1e10, gpus=2, gpu_bytes=gpu_bytes, task=answer)
    cluster.submit(replace(B, device="cuda")).result()
    cluster.shutdown()
    assert ray.asked == [{"num_cpus": 1, "num_gpus": share, "memory": int(2.54e9), "max_retries": 0, "max_calls": 1}]


def test_what_asks_for_more_cores_than_a_node_has_is_refused_with_their_number(ray: PlantedRay) -> None:
    ray.found = [node(16, 64, 4)]
    cluster = Cluster(workers=1, threads=64, budget_bytes=1e10, task=answer)
    with pytest.raises(DoesNotFitError, match=r", 64 cores, expected .* has 64\.0 GB, 16 cores; .*lower --threads"):
        cluster.choose(Waiting([B]))
    cluster.shutdown()


def test_an_arm_that_is_larger_than_a_gpu_is_refused(ray: PlantedRay) -> None:
    ray.found = [node(4, 16, 8)]
    cluster = Cluster(workers=2, threads=1, budget_bytes=1e10, gpus=8, gpu_bytes=1e9, task=answer)
    with pytest.raises(
        DoesNotFitError, match=r"1\.6 GB of memory and a GPU, expected at most 1\.0 GB on one GPU; spread it"
    ):
        cluster.choose(Waiting([replace(B, device="cuda")]))
    cluster.shutdown()


def test_a_process_that_dies_costs_an_attempt(ray: PlantedRay, cluster: Cluster) -> None:
    ray.mishaps = [CrashedError()]
    assert cluster.submit(B).result().arm == B
    assert len(ray.asked) == 2


def test_one_that_dies_each_time_is_recorded(ray: PlantedRay, cluster: Cluster) -> None:
    ray.mishaps = [CrashedError(), CrashedError(), CrashedError()]
    with pytest.raises(EngineError, match=r"^pseudo-inverse on B: got a process or node that died 2 times .*Crashed"):
        cluster.submit(B).result()
    assert len(ray.mishaps) == 1


def test_the_experiments_error_is_not_tried_again(ray: PlantedRay) -> None:
    cluster = Cluster(workers=1, threads=1, budget_bytes=4e9, task=lambda arm, threads: EngineError("planted"))
    with pytest.raises(EngineError, match="planted"):
        cluster.submit(B).result()
    cluster.shutdown()
    assert len(ray.asked) == 1


def test_what_was_cancelled_is_given_up(ray: PlantedRay, cluster: Cluster) -> None:
    ray.mishaps = [CancelledError()]
    with pytest.raises(EOFError):
        cluster.submit(B).result()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        pytest.param("127.0.0.1:1", "'127.0.0.1:1': .*refused", id="nobody listens"),
        pytest.param("ray://127.0.0.1:1", "'ray://127.0.0.1:1': .*refused", id="nobody listens to clients"),
        pytest.param("nowhere", "'nowhere': no host and port", id="no port"),
        pytest.param("here:99999", "'here:99999': Port out of range", id="no such port"),
        pytest.param("auto", "'auto': no cluster here", id="Ray's own complaint"),
    ],
)
def test_an_address_without_a_cluster_is_one_line(ray: PlantedRay, address: str, words: str) -> None:
    cluster = Cluster(address=address, workers=1, threads=1, budget_bytes=4e9)
    with pytest.raises(
        EngineError, match=rf"^--ray-address: got {words}.*, expected the address of a running cluster;"
    ):
        cluster.choose(Waiting([B]))


def test_a_cluster_that_was_left_is_joined_again(ray: PlantedRay, cluster: Cluster) -> None:
    cluster.submit(B).result()
    cluster.shutdown()
    assert cluster.submit(C).result().arm == C
    assert len(ray.inits) == 2
