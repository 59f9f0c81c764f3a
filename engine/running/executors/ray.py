"""Runs arms as Ray tasks, on this machine or on a cluster; what comes back goes into the session's own ledger."""

from __future__ import annotations

import math
import os
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from engine.arms.arm import Arm, device_of, name_arm
from engine.arms.measurement import Measurement
from engine.errors import EngineError, explain
from engine.running.costs import gpu_bytes, host_bytes
from engine.running.executors.base import ATTEMPTS, DoesNotFitError, dead_error
from engine.running.executors.inline import Inline
from engine.running.executors.pool import run_picklable
from engine.running.waiting import Waiting

STORE_BYTES = 2e8
"""Memory for results in transit: arms and measurements are kilobytes."""

REACH_S = 10.0
"""Time for a cluster to accept a connection."""

_AT_ONCE = 256
"""Most tasks that are waited for at once, whatever the cluster has."""

Task = Callable[[Arm, int], Measurement | Exception]


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a task requests of a node. gpus: a fraction where several tasks fit on one."""

    cpus: float
    gpus: float
    bytes: float

    def within(self, room: Resources) -> bool:
        return self.cpus <= room.cpus and self.gpus <= room.gpus and self.bytes <= room.bytes

    def __add__(self, other: Resources) -> Resources:
        return Resources(cpus=self.cpus + other.cpus, gpus=self.gpus + other.gpus, bytes=self.bytes + other.bytes)


NOTHING = Resources(cpus=0, gpus=0, bytes=0)


def measure_remotely(arm: Arm, threads: int) -> Measurement | Exception:
    """The Ray task: measure an arm in a process that keeps the model of the last one."""
    from engine.models.loaded import release_memory

    found = run_picklable(_keep_executor(threads).run, arm)
    release_memory()
    return found


def _reach(address: str) -> None:
    """Raises OSError or ValueError if nothing listens there: Ray itself would retry for minutes."""
    if address == "auto":  # Ray finds the cluster that runs here
        return
    place = urlsplit(address if "://" in address else f"//{address}")
    if not place.hostname or not place.port:
        raise ValueError("no host and port")
    socket.create_connection((place.hostname, place.port), timeout=REACH_S).close()


@cache
def _keep_executor(threads: int) -> Inline:
    return Inline(threads=threads)


class Cluster:
    """Ray tasks, as many at once as the cluster has room for.

    address: of a running cluster; None starts one here, with `workers` times `threads` cores, `gpus` of the GPUs that
    this process may use, and `budget_bytes` of memory. gpu_bytes: of each GPU, which lets small arms share one; None
    gives each arm a whole GPU. A process or node that dies costs its arm one more attempt, and nothing else.
    task: what Ray runs; tests replace it.
    """

    def __init__(
        self,
        *,
        address: str | None = None,
        workers: int,
        threads: int,
        budget_bytes: float,
        gpus: int = 0,
        gpu_bytes: float | None = None,
        task: Task = measure_remotely,
    ) -> None:
        self._address, self._workers, self._threads, self._budget = address, workers, threads, budget_bytes
        self._gpus, self._gpu_bytes, self._task = gpus, gpu_bytes, task
        self._ray: Any = None
        self._remote: Any = None
        self._nodes: list[Resources] = []
        self._under_way: dict[Future[Measurement], Resources] = {}
        self._refs: set[Any] = set()
        self._attendants: ThreadPoolExecutor | None = None
        self._closing = False

    def choose(self, waiting: Waiting) -> Arm | None:
        """The costliest arm of the costliest group that fits now. Raises DoesNotFitError for one that never will."""
        self._connect()
        for needs in waiting.list_new():
            self._refuse(needs.arm)
        taken = [request for future, request in self._under_way.items() if not future.done()]
        if len(taken) >= _AT_ONCE:
            return None
        all_taken, whole = sum(taken, start=NOTHING), sum(self._nodes, start=NOTHING)
        ranked = sorted(waiting.list_costliest(), key=lambda n: (-waiting.seconds_of(n.group), n.group, -n.seconds))
        return next((n.arm for n in ranked if (all_taken + self._request(n.arm)).within(whole)), None)

    def submit(self, arm: Arm) -> Future[Measurement]:
        """Start the arm that was chosen."""
        self._connect()
        assert self._attendants is not None
        self._under_way = {future: request for future, request in self._under_way.items() if not future.done()}
        future = self._attendants.submit(self._attend, arm)
        self._under_way[future] = self._request(arm)
        return future

    def shutdown(self) -> None:
        """Give up what is being measured, and leave the cluster. One that was started here ends."""
        if self._attendants is None:
            return
        self._closing = True
        for ref in list(self._refs):
            self._ray.cancel(ref, force=True)
        self._attendants.shutdown()
        self._ray.shutdown()
        self._attendants, self._closing = None, False
        self._under_way.clear()
        self._refs.clear()

    def _connect(self) -> None:
        if self._attendants is not None:
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send no usage statistics
        # Otherwise Ray hides all GPUs from a task without one, and overwrites what the caller had set.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        self._ray, heard = ray, signal.getsignal(signal.SIGTERM)
        quiet = {"logging_level": "error", "log_to_driver": False, "include_dashboard": False}
        if self._address is None:
            self._ray.init(
                address="local",  # otherwise it joins what RAY_ADDRESS names, and refuses the resources requested here
                num_cpus=self._workers * self._threads,
                num_gpus=self._gpus,
                object_store_memory=int(STORE_BYTES),
                _memory=self._budget,
                # By default Ray's processes have niceness 15: beside anything else they would hardly run.
                _system_config={"worker_niceness": 0},
                **quiet,
            )
        else:
            try:
                _reach(self._address)
                self._ray.init(address=self._address, **{k: quiet[k] for k in ("logging_level", "log_to_driver")})
            except (OSError, ValueError, RuntimeError) as error:
                words = " ".join(str(error).split())[:160]
                raise EngineError(
                    explain(
                        who="--ray-address",
                        got=f"{self._address!r}: {words}",
                        expected="the address of a running cluster",
                        remedy="start one with `ray start --head`, or leave the address out",
                    )
                ) from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, heard)  # Ray's handler exits at once, and nothing would be reported
        # A process that has used a GPU keeps its memory, and stays on it whichever GPU it is assigned next.
        fresh = self._ray.remote(max_calls=1)
        self._remote = {"cpu": self._ray.remote(self._task), "cuda": fresh(self._task)}
        self._nodes = [
            Resources(
                cpus=node["Resources"].get("CPU", 0.0),
                gpus=node["Resources"].get("GPU", 0.0),
                bytes=node["Resources"].get("memory", 0.0),
            )
            for node in self._ray.nodes()
            if node["Alive"]
        ]
        self._attendants = ThreadPoolExecutor(max_workers=_AT_ONCE)

    def _request(self, arm: Arm) -> Resources:
        needs = gpu_bytes(arm)
        # Ray assigns GPUs in hundredths up to one, and whole GPUs beyond.
        share = math.ceil(100 * needs / self._gpu_bytes) / 100 if self._gpu_bytes else 1.0
        return Resources(cpus=self._threads, gpus=share if needs else 0.0, bytes=host_bytes(arm))

    def _refuse(self, arm: Arm) -> None:
        asked = self._request(arm)
        if asked.gpus <= 1 and any(asked.within(node) for node in self._nodes):
            return
        if asked.gpus > 1:
            got, expected = gpu_bytes(arm), f"at most {(self._gpu_bytes or 0) / 1e9:.1f} GB on one GPU"
            remedy = "spread it over a machine's GPUs by --executor inline, or use a larger GPU"
        else:
            largest = max(self._nodes, key=lambda node: (node.gpus >= asked.gpus, node.bytes), default=NOTHING)
            got = asked.bytes
            expected = f"a node with room for it; the largest has {largest.bytes / 1e9:.1f} GB, {largest.cpus:g} cores"
            expected += f" and {largest.gpus:g} GPUs" if asked.gpus else ""
            remedy = "raise --memory, lower --threads, or join a cluster with larger nodes by --ray-address"
        raise DoesNotFitError(
            arm,
            explain(
                who=name_arm(arm),
                got=f"a need of about {got / 1e9:.1f} GB of memory"
                + (f", {asked.cpus:g} cores" if asked.cpus > 1 else "")
                + (" and a GPU" if asked.gpus else ""),
                expected=expected,
                remedy=remedy,
            ),
        )

    def _attend(self, arm: Arm) -> Measurement:
        """Have an arm measured, again if its process or node dies."""
        errors = self._ray.exceptions
        request = self._request(arm)
        died: Exception | None = None
        for _ in range(ATTEMPTS):
            if self._closing:
                raise EOFError("started while the cluster shut down")
            ref = (
                self._remote[device_of(arm)]
                .options(num_cpus=request.cpus, num_gpus=request.gpus, memory=int(request.bytes), max_retries=0)
                .remote(arm, self._threads)
            )
            self._refs.add(ref)
            try:
                found = self._ray.get(ref)
            except errors.TaskCancelledError as error:
                raise EOFError("given up") from error
            except (
                errors.WorkerCrashedError,
                errors.NodeDiedError,
                errors.OutOfMemoryError,
                errors.LocalRayletDiedError,
            ) as error:
                if self._closing:
                    raise EOFError("given up") from error
                died = error
            else:
                if isinstance(found, Exception):
                    raise found
                return found
            finally:
                self._refs.discard(ref)
        assert died is not None
        remedy = "look for the system's out-of-memory killer, or try --executor inline"
        raise dead_error(arm, "a process or node", type(died).__name__, remedy) from died
