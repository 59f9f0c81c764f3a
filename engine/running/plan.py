"""What a session would run, without running it: arms by round, what is stored, time and memory."""

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

    later: its step size is not known before tuning, so it can't be looked up yet.
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
    """How many arms may run at once, with how many threads, and what they may take together in bytes."""

    workers: int
    threads: int
    arms_bytes: float


def plan_session(jobs: Sequence[tuple[str, ItemRun]], scheduler: Scheduler) -> list[PlannedArm]:
    """Arms of every round and look, each once: the first as they will be run, later ones with a nominal step size."""
    users: dict[str, list[str]] = {}
    arms: dict[str, tuple[Arm, bool]] = {}
    sure: set[str] = set()
    for name, job in jobs:
        sure |= {digest_of(arm) for arm, _ in _rehearse(job)}
        whole = ItemRun(claim=job.claim, trial=replace(job.trial, stopping=False))
        for arm, later in _rehearse(whole):
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


def forecast_arms(job: ItemRun) -> list[Arm]:
    """Arms of the rounds behind a job's first, with nominal step sizes. Nothing of the job itself is moved."""
    return [arm for arm, later in _rehearse(ItemRun(claim=job.claim, trial=job.trial)) if later]


def estimate_job(job: ItemRun) -> dict[str, float]:
    """Seconds of each arm that a job asks for up to its first look, by digest. Nothing of the job itself is moved."""
    own = ItemRun(claim=job.claim, trial=job.trial)
    return {digest_of(arm): estimate_cost(arm).seconds for arm, _ in _rehearse(own)}


def _rehearse(job: ItemRun) -> list[tuple[Arm, bool]]:
    """Drive a job with the results that its arms assume, until its first look asks for one that assumes none."""
    found: list[tuple[Arm, bool]] = []
    job.advance(None)
    later = False
    while not job.done:
        found += [(arm, later) for arm in job.asked]
        assumed = [assume(arm) for arm in job.asked]
        if any(one is None for one in assumed):
            break
        job.advance([one for one in assumed if one is not None])
        later = True
    return found


def assume(arm: Arm) -> Measurement | None:
    """A measurement with the result that an arm assumes; None where it assumes none."""
    result = arm.assume()
    if result is None:
        return None
    nowhere = current_provenance(dtype="float32", device="none", threads=0)
    return Measurement(digest=digest_of(arm), arm=arm, result=result, provenance=nowhere, elapsed_s=0.0)


def print_plan(plan: Sequence[PlannedArm], write: Callable[[str], object], *, room: ArmCapacity) -> None:
    """The plan's sums as lines of text, and how many arms run at once."""
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
    """Every arm of a plan as a line of text."""
    for planned in plan:
        state = "stored" if planned.stored else "after tuning" if planned.later else "to run"
        needs = PROCESS_BYTES + planned.cost.memory_bytes
        state = state if needs <= room.arms_bytes else "too large"
        write(
            f"{digest_of(planned.arm)[:10]}  {state:<12}  about {duration(planned.cost.seconds):>8}  "
            f"{needs / 1e9:5.1f} GB  {label(planned.arm)}  ({say_count(len(planned.items), 'item')})"
        )


def print_skips(skipped: Sequence[tuple[str, str]], write: Callable[[str], object], *, each: bool) -> None:
    """Why items skip: a line for each reason, or for each item. skipped: an item's name, and the reason."""
    if each:
        for name, reason in skipped:
            write(f"skipped  {name}: {reason}")
        return
    for reason, number in Counter(reason for _, reason in skipped).items():
        write(f"skipped  {say_count(number, 'item')}: {reason}")


def print_items(
    names: Sequence[str], skipped: Sequence[str], plan: Sequence[PlannedArm], write: Callable[[str], object]
) -> None:
    """Every claim with its items: how many would be measured, are stored, are left out at this effort, or skip."""
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
