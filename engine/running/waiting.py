"""Arms that wait to be measured, in the orders in which executors take them."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from engine.arms.arm import Arm
from engine.errors import EngineError
from engine.running.costs import estimate_cost, gpu_bytes, group_of, host_bytes

Group = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What an arm needs, computed once, when it begins to wait. number: its turn."""

    arm: Arm
    group: Group
    seconds: float
    host_bytes: float
    gpu_bytes: float
    number: int

    @property
    def room(self) -> tuple[float, float]:
        """What decides whether it fits: bytes of the host and of a GPU."""
        return self.host_bytes, self.gpu_bytes


Costliest = list[tuple[float, int, Needs]]


@dataclass(kw_only=True)
class _Queue:
    """The arms of one group: in turn, by the room they need (costliest first), and their expected seconds in total."""

    seconds: float = 0.0
    in_turn: dict[int, Needs] = field(default_factory=dict[int, Needs])
    by_room: dict[tuple[float, float], Costliest] = field(default_factory=dict[tuple[float, float], Costliest])


class Waiting:
    """Arms that wait, grouped by shared weights and by the room they need.

    There are few groups and memory sizes, so each operation costs little more than a search in a sorted list.
    """

    def __init__(self, arms: Iterable[Arm] = ()) -> None:
        self._queues: dict[Group, _Queue] = {}
        self._groups: list[Group] = []
        self._needs: dict[int, Needs] = {}
        self._new: dict[int, Needs] = {}
        self._count = 0
        for arm in arms:
            self.add(arm)

    def __len__(self) -> int:
        return len(self._needs)

    def __iter__(self) -> Iterator[Arm]:
        """All arms, group by group, each group in turn."""
        return (needs.arm for group in self._groups for needs in self._queues[group].in_turn.values())

    def add(self, arm: Arm) -> None:
        """Let an arm wait. One whose model cannot be sized counts as free: its experiment will say what is wrong."""
        self._count += 1
        try:
            sizes = (estimate_cost(arm).seconds, host_bytes(arm), gpu_bytes(arm))
        except EngineError:
            sizes = (0.0, 0.0, 0.0)
        seconds, host, gpu = sizes
        needs = Needs(arm=arm, group=group_of(arm), seconds=seconds, host_bytes=host, gpu_bytes=gpu, number=self._count)
        queue = self._queues.get(needs.group)
        if queue is None:
            queue = self._queues[needs.group] = _Queue()
            insort(self._groups, needs.group)
        queue.seconds += needs.seconds
        insort(queue.by_room.setdefault(needs.room, []), (-needs.seconds, needs.number, needs))
        queue.in_turn[needs.number] = needs
        self._needs[id(arm)] = self._new[id(arm)] = needs

    def take_out(self, arm: Arm) -> None:
        """Remove an arm: the same object that was added."""
        needs = self._needs.pop(id(arm))
        self._new.pop(id(arm), None)
        queue = self._queues[needs.group]
        same = queue.by_room[needs.room]
        del same[bisect_left(same, (-needs.seconds, needs.number))]
        if not same:
            del queue.by_room[needs.room]
        del queue.in_turn[needs.number]
        queue.seconds -= needs.seconds
        if not queue.in_turn:
            del self._queues[needs.group]
            del self._groups[bisect_left(self._groups, needs.group)]

    def list_new(self) -> Iterator[Needs]:
        """Arms added since the last call that still wait, each listed once."""
        while self._new:
            yield self._new.pop(next(iter(self._new)))

    @property
    def first(self) -> Arm | None:
        """The next arm of the first group."""
        return next(iter(self), None)

    def seconds_of(self, group: Group) -> float:
        """Expected seconds of a group's waiting arms in total."""
        return self._queues[group].seconds

    def list_costliest(self) -> Iterator[Needs]:
        """The costliest arm of each group and size of room: where it does not fit, none of its like does."""
        return (same[0][2] for group in self._groups for same in self._queues[group].by_room.values())
