"""The plan of a session, without running it: arms by round, what is stored, expected time and memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from engine.arms.arm import Arm
from engine.arms.costs import Cost
from engine.arms.measurement import Measurement, digest_of
from engine.errors import say_count
from engine.ledger.provenance import current_provenance
from engine.running.costs import PROCESS_BYTES, estimate_cost
from engine.running.scheduler import ItemRun, Scheduler, label
from engine.text import duration


@dataclass(frozen=True, kw_only=True)
class PlannedArm:
    """One arm of a plan.

    items: names of those that need it.
    later: its step size is not known before tuning, so it cannot be looked up yet.
    surely: some item needs it at its first look, before any claim can be decided.
    """

    arm: Arm
    items: tuple[str, ...]
    stored: bool
    later: bool
    surely: bool
    cost: Cost


@dataclass(frozen=True, kw_only=True)
class ArmCapacity:
    """How many arms may run at once, with how many threads each, and how many bytes they may take together."""

    workers: int
    threads: int
    arms_bytes: float


def plan_session(items: Sequence[tuple[str, ItemRun]], scheduler: Scheduler) -> list[PlannedArm]:
    """Arms of every round and look, each once: exact in the first round, with assumed step sizes in later ones."""
    users: dict[str, list[str]] = {}
    arms: dict[str, tuple[Arm, bool]] = {}
    sure: set[str] = set()
    for name, item in items:
        sure |= {digest_of(arm) for arm, _ in dry_run(item)}
        for arm, later in dry_run(ItemRun(claim=item.claim, trial=replace(item.trial, stopping=False))):
            digest = digest_of(arm)
            users.setdefault(digest, []).append(name)
            arms[digest] = (arm, later and arms.get(digest, (arm, True))[1])
    return [
        PlannedArm(
            arm=arm,
            items=tuple(users[digest]),
            stored=scheduler.look_up(arm) is not None,
            later=later,
            surely=digest in sure,
            cost=estimate_cost(arm),
        )
        for digest, (arm, later) in arms.items()
    ]


def forecast_arms(item: ItemRun) -> list[Arm]:
    """Arms of an item's rounds after its first, with assumed step sizes. The item itself stays where it is."""
    return [arm for arm, later in dry_run(ItemRun(claim=item.claim, trial=item.trial)) if later]


def estimate_item(item: ItemRun) -> dict[str, float]:
    """Expected seconds of each arm up to an item's first look, by digest. The item itself stays where it is."""
    return {
        digest_of(arm): estimate_cost(arm).seconds for arm, _ in dry_run(ItemRun(claim=item.claim, trial=item.trial))
    }


def dry_run(item: ItemRun) -> list[tuple[Arm, bool]]:
    """Arms of an item, answered by the results that they assume, and whether each belongs to a later round.

    It ends at the first round with an arm that assumes no result. An item that cannot be planned holds the error.
    """
    found: list[tuple[Arm, bool]] = []
    nowhere = current_provenance(dtype="float32", device="none", threads=0)
    item.advance(None)
    later = False
    while not item.done:
        found += [(arm, later) for arm in item.asked]
        assumed: list[Measurement] = []
        for arm in item.asked:
            result = arm.assume()
            if result is None:
                return found
            assumed.append(
                Measurement(digest=digest_of(arm), arm=arm, result=result, provenance=nowhere, elapsed_s=0.0)
            )
        item.advance(assumed)
        later = True
    return found


def print_plan(plan: Sequence[PlannedArm], write: Callable[[str], object], *, room: ArmCapacity) -> None:
    """Write the plan's totals, and how many arms run at once."""
    waiting = [p for p in plan if not p.stored]
    seconds = sum(p.cost.seconds for p in waiting)
    least = sum(p.cost.seconds for p in waiting if p.surely)
    worst = seconds + sum(p.cost.seconds * p.arm.extension for p in waiting)
    memory = PROCESS_BYTES + max((p.cost.memory_bytes for p in waiting), default=0.0)
    first = sum(1 for p in plan if not p.later)
    stored = sum(p.stored for p in plan)
    write(f"round one: {say_count(first, 'arm')}; later rounds: {len(plan) - first}; stored: {stored}")
    write(
        f"estimated, one after the other: {duration(least)} if every claim is decided at its first look, "
        f"{duration(seconds)} if none stops early, "
        f"{duration(worst)} if every grid is widened to its end"
    )
    write(
        f"memory: about {memory / 1e9:.1f} GB for the largest arm; all at once may take {room.arms_bytes / 1e9:.1f} GB"
    )
    workers, threads = say_count(room.workers, "arm"), say_count(room.threads, "thread")
    write(f"at once: up to {workers} of {threads}; nothing was run")


def print_arms(plan: Sequence[PlannedArm], write: Callable[[str], object], *, room: ArmCapacity) -> None:
    """Write a line for every arm of a plan."""
    for planned in plan:
        state = "stored" if planned.stored else "after tuning" if planned.later else "to run"
        needs = PROCESS_BYTES + planned.cost.memory_bytes
        state = state if needs <= room.arms_bytes else "too large"
        write(
            f"{digest_of(planned.arm)[:10]}  {state:<12}  about {duration(planned.cost.seconds):>8}  "
            f"{needs / 1e9:5.1f} GB  {label(planned.arm)}  ({say_count(len(planned.items), 'item')})"
        )


def print_skips(skipped: Sequence[tuple[str, str]], write: Callable[[str], object], *, each: bool) -> None:
    """Write why items skip, by reason or item by item. skipped: the name of each, and its reason."""
    if each:
        for name, reason in skipped:
            write(f"skipped  {name}: {reason}")
        return
    for reason, number in Counter(reason for _, reason in skipped).items():
        write(f"skipped  {say_count(number, 'item')}: {reason}")


def print_items(
    names: Sequence[str], skipped: Sequence[str], plan: Sequence[PlannedArm], write: Callable[[str], object]
) -> None:
    """Write a line for every claim: how many of its items would be measured, are stored, are not run, or skip."""
    arms = Counter(name for planned in plan for name in planned.items)
    waiting = Counter(name for planned in plan if not planned.stored for name in planned.items)
    for claim in sorted({name.split()[0] for name in (*names, *skipped)}):
        own = [name for name in names if name.split()[0] == claim]
        counts = {
            "to measure": sum(waiting[name] > 0 for name in own),
            "stored": sum(arms[name] > 0 and not waiting[name] for name in own),
            "not run at this effort": sum(not arms[name] for name in own),
            "skipped": sum(name.split()[0] == claim for name in skipped),
        }
        write(f"{claim}  " + ", ".join(f"{number} {what}" for what, number in counts.items() if number))
