"""Discrete events: GPUs that take arms as the executors deal them out, and rows that ask for more once arms are in."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from engine.scale.workload import Workload
from engine.slices import deal


class Order(StrEnum):
    """Which arm goes first to which idle GPU."""

    HOME = "weights stay (pool)"
    GROUP = "costliest group first (Ray)"
    ARM = "costliest arm first"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a campaign; seconds, those of all GPUs together except for the makespan."""

    gpus: int
    makespan_s: float
    work_s: float
    loading_s: float
    lost_s: float
    loads: int
    most_at_once: int

    @property
    def utilisation(self) -> float:
        """Share of the GPUs' time that went into measurements that count."""
        return self.work_s / (self.gpus * self.makespan_s)


class _Queue:
    """Arms that wait, by group: the costliest of each at hand, and what each group has waiting."""

    def __init__(self, load: Workload, order: Order) -> None:
        groups = np.zeros_like(load.groups) if order is Order.ARM else load.groups
        self.groups = groups.tolist()
        self._estimates: list[float] = load.estimates.tolist()
        count = int(groups.max(initial=-1)) + 1
        self._arms: list[list[tuple[float, int]]] = [[] for _ in range(count)]
        self.cost = np.zeros(count)
        self.served = np.zeros(count, dtype=np.int64)
        self.waiting = 0

    def put(self, arm: int) -> None:
        group = self.groups[arm]
        heapq.heappush(self._arms[group], (-self._estimates[arm], arm))
        self.cost[group] += self._estimates[arm]
        self.waiting += 1

    def has(self, group: int) -> bool:
        return bool(self._arms[group])

    def take(self, group: int) -> int:
        cost, arm = heapq.heappop(self._arms[group])
        self.cost[group] = self.cost[group] + cost if self._arms[group] else 0.0
        self.waiting -= 1
        return arm

    def costliest(self, *, unserved: bool) -> int:
        """The group with most waiting; one that no GPU is at, where there is any."""
        if unserved:
            free = np.where(self.served == 0, self.cost, 0.0)
            if free.any():
                return int(free.argmax())
        return int(self.cost.argmax())


def simulate(load: Workload, *, gpus: int, order: Order = Order.HOME) -> Outcome:
    """One queue for all GPUs. Each holds one model, and one arm at a time."""
    queue, rows = _Queue(load, order), _Rows(load)
    seconds, lost = load.seconds.tolist(), load.lost.tolist()
    models, loading = load.models.tolist(), load.loading.tolist()
    rng = np.random.default_rng(0)  # Ray picks a process that is idle, and does not say which
    held, home = [-2] * gpus, [-1] * gpus
    idle = list(range(gpus))
    ends: list[tuple[float, int, int]] = []
    now = loading_s = lost_s = 0.0
    loads = most = 0
    for arm in rows.begin():
        queue.put(arm)
    while queue.waiting or ends:
        while queue.waiting and idle:
            gpu, group = _match(queue, idle, home, order, rng)
            idle.remove(gpu)
            arm = queue.take(group)
            takes = seconds[arm]
            again = lost[arm] > 0
            if models[arm] >= 0 and (again or held[gpu] != models[arm]):
                times = again + (held[gpu] != models[arm])
                loads += times
                takes += times * loading[models[arm]]
                loading_s += times * loading[models[arm]]
            if again:
                takes += lost[arm] + load.starting_s
                lost_s += lost[arm] + load.starting_s
            if held[gpu] == -2:
                takes += load.starting_s
                loading_s += load.starting_s
            held[gpu], home[gpu] = models[arm], group
            queue.served[group] += 1
            heapq.heappush(ends, (now + takes, gpu, arm))
        most = max(most, len(ends))
        now, gpu, arm = heapq.heappop(ends)
        queue.served[home[gpu]] -= 1
        idle.append(gpu)
        for more in rows.finish(arm):
            queue.put(more)
    return Outcome(
        gpus=gpus,
        makespan_s=now,
        work_s=load.work_s,
        loading_s=loading_s,
        lost_s=lost_s,
        loads=loads,
        most_at_once=most,
    )


def _match(
    queue: _Queue, idle: Sequence[int], home: Sequence[int], order: Order, rng: np.random.Generator
) -> tuple[int, int]:
    """An idle GPU and the group that it takes an arm of, by the executors' own order of preference."""
    if order is Order.HOME:
        at_home = [gpu for gpu in idle if home[gpu] >= 0 and queue.has(home[gpu])]
        if at_home:
            gpu = max(at_home, key=lambda gpu: queue.cost[home[gpu]])
            return gpu, home[gpu]
        return idle[0], queue.costliest(unserved=True)
    gpu = idle[int(rng.integers(len(idle)))] if len(idle) > 1 else idle[0]
    return gpu, queue.costliest(unserved=False)


class _Rows:
    """Where each row is, and which arms were asked for. An arm that two rows ask for is measured once."""

    def __init__(self, load: Workload) -> None:
        self._rounds = load.rounds
        self._at = [-1] * len(load.rounds)
        self._missing = [0] * len(load.rounds)
        self._asked, self._done = bytearray(len(load.seconds)), bytearray(len(load.seconds))
        self._askers: dict[int, list[int]] = {}

    def begin(self) -> list[int]:
        return [arm for row in range(len(self._rounds)) for arm in self._advance(row)]

    def finish(self, arm: int) -> list[int]:
        """Arms that are asked for now that this one is in."""
        self._done[arm] = 1
        asked: list[int] = []
        for row in self._askers.pop(arm, ()):
            self._missing[row] -= 1
            if not self._missing[row]:
                asked += self._advance(row)
        return asked

    def _advance(self, row: int) -> list[int]:
        """Go on to the next round that has an arm that is not in, and ask for what nobody has asked for."""
        asked: list[int] = []
        while not self._missing[row] and self._at[row] + 1 < len(self._rounds[row]):
            self._at[row] += 1
            for arm in self._rounds[row][self._at[row]]:
                if self._done[arm]:
                    continue
                self._missing[row] += 1
                self._askers.setdefault(arm, []).append(row)
                if not self._asked[arm]:
                    self._asked[arm] = 1
                    asked.append(arm)
        return asked


def simulate_slices(load: Workload, *, gpus: int) -> Outcome:
    """Rows dealt to the GPUs beforehand by what the engine estimates up to the first look; each goes on by itself."""
    dealt = deal_rows(load, gpus)
    shares = [[row for row, number in enumerate(dealt) if number == k + 1] for k in range(gpus)]
    parts = [simulate(cut(load, share), gpus=1) for share in shares if share]
    return Outcome(
        gpus=gpus,
        makespan_s=max(part.makespan_s for part in parts),
        work_s=load.work_s,
        loading_s=sum(part.loading_s for part in parts),
        # What two slices measure counts once.
        lost_s=sum(part.lost_s + part.work_s for part in parts) - load.work_s,
        loads=sum(part.loads for part in parts),
        most_at_once=len(parts),
    )


def deal_rows(load: Workload, of: int) -> list[int]:
    """The slice, from 1, of each row, as `pytest claims --slice` deals its items."""
    cost = load.estimates.tolist()
    return deal(
        [
            {str(arm): cost[arm] for asked in rounds[:looks] for arm in asked}
            for rounds, looks in zip(load.rounds, load.to_first_look, strict=True)
        ],
        of,
    )


def cut(load: Workload, rows: Sequence[int]) -> Workload:
    """These rows alone, with the arms that they ask for."""
    kept = sorted({arm for row in rows for asked in load.rounds[row] for arm in asked})
    number = {arm: k for k, arm in enumerate(kept)}
    return replace(
        load,
        rounds=tuple(tuple(tuple(number[arm] for arm in asked) for asked in load.rounds[row]) for row in rows),
        to_first_look=tuple(load.to_first_look[row] for row in rows),
        groups=load.groups[kept],
        models=load.models[kept],
        estimates=load.estimates[kept],
        seconds=load.seconds[kept],
        lost=load.lost[kept],
    )


def chain_s(load: Workload) -> float:
    """Seconds of the longest chain of rounds: what a GPU for every arm would take, with all models at hand."""
    rows, seconds = _Rows(load), load.seconds.tolist()
    ends = [(seconds[arm], arm) for arm in rows.begin()]
    heapq.heapify(ends)
    now = 0.0
    while ends:
        now, arm = heapq.heappop(ends)
        for more in rows.finish(arm):
            heapq.heappush(ends, (now + seconds[more], more))
    return now
