"""The simulation's tables for docs/scale.md: medians over seeds, with the least and the most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median

from engine.scale.assumptions import PRICE_PER_GPU_HOUR
from engine.scale.simulate import Order, Outcome, chain_s, simulate, simulate_slices
from engine.scale.workload import Workload, draw, plan

SEEDS = 5
FLEETS = (1, 8, 64)
DOUBLINGS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
HOUR_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to run the campaign. slices: rows are dealt out beforehand, each slice with the order of a pool of one."""

    name: str
    order: Order = Order.HOME
    slices: bool = False
    stopping: bool = True


POOL = Way(name="one queue, weights stay (the pool's order)")
WAYS = (
    POOL,
    Way(name="one queue, costliest group first (Ray's order)", order=Order.GROUP),
    Way(name="one queue, costliest arm first (no grouping)", order=Order.ARM),
    Way(name="slices, dealt beforehand", slices=True),
    Way(name="the pool's order, all units (no early stopping)", stopping=False),
)


@cache
def load(seed: int, stopping: bool) -> Workload:
    return draw(plan(), seed=seed, stopping=stopping)


@cache
def run(way: Way, gpus: int, seed: int) -> Outcome:
    drawn = load(seed, way.stopping)
    return simulate_slices(drawn, gpus=gpus) if way.slices else simulate(drawn, gpus=gpus, order=way.order)


def show(values: Sequence[float], form: Callable[[float], str]) -> str:
    """The median, and the range where it shows."""
    middle, low, high = form(median(values)), form(min(values)), form(max(values))
    return middle if low == high else f"{middle} [{low}, {high}]"


def hours(seconds: float) -> str:
    return f"{seconds / HOUR_S:.3g}"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def dollars(outcome: Outcome) -> float:
    """All GPUs are rented until the last is done."""
    return outcome.gpus * outcome.makespan_s / HOUR_S * PRICE_PER_GPU_HOUR


def lay_out(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def tabulate_campaign(seeds: int = SEEDS) -> str:
    """What is to be done, whoever does it."""
    rows: list[list[str]] = []
    for name, stopping in (("early stopping", True), ("all units", False)):
        drawn = [load(seed, stopping) for seed in range(seeds)]
        rows.append(
            [
                name,
                f"{len(drawn[0].rounds):,}",
                show([len(one.seconds) for one in drawn], lambda arms: f"{arms:,.0f}"),
                show([one.work_s for one in drawn], hours),
                show([chain_s(one) for one in drawn], hours),
                show([float(one.seconds.max()) for one in drawn], hours),
            ]
        )
    return lay_out(["", "rows", "arms", "work, GPU-h", "longest chain, h", "longest arm, h"], rows)


def tabulate_ways(seeds: int = SEEDS) -> str:
    """Each way on each fleet."""
    rows: list[list[str]] = []
    for gpus in FLEETS:
        for way in WAYS:
            if way.slices and gpus == 1:
                continue
            found = [run(way, gpus, seed) for seed in range(seeds)]
            rows.append(
                [
                    str(gpus),
                    way.name,
                    show([one.makespan_s for one in found], hours),
                    show([one.utilisation for one in found], percent),
                    show([one.loading_s for one in found], hours),
                    show([dollars(one) for one in found], lambda price: f"{price:,.0f}"),
                ]
            )
    return lay_out(["GPUs", "how", "makespan, h", "utilisation", "loading, GPU-h", "cost, $"], rows)


def tabulate_doublings(seeds: int = SEEDS, fleets: Sequence[int] = DOUBLINGS) -> str:
    """The pool's order on ever more GPUs: what the added ones save, and what an hour that they save costs."""
    rows: list[list[str]] = []
    before: list[Outcome] = []
    for gpus in fleets:
        found = [run(POOL, gpus, seed) for seed in range(seeds)]
        bounds = [max(load(seed, True).work_s / gpus, chain_s(load(seed, True))) for seed in range(seeds)]
        faster = [old.makespan_s / new.makespan_s for old, new in zip(before, found, strict=False)]
        spent = median([dollars(new) - dollars(old) for old, new in zip(before, found, strict=False)] or [0.0])
        saved = median([old.makespan_s - new.makespan_s for old, new in zip(before, found, strict=False)] or [0.0])
        rows.append(
            [
                str(gpus),
                show([one.makespan_s for one in found], hours),
                show([one.makespan_s / bound for one, bound in zip(found, bounds, strict=True)], lambda x: f"{x:.2f}"),
                show([one.utilisation for one in found], percent),
                show([dollars(one) for one in found], lambda price: f"{price:,.0f}"),
                show(faster, lambda x: f"{x:.2f}") if faster else "",
                "" if not before else f"{spent * HOUR_S / saved:,.0f}" if saved > 0 else "∞",
            ]
        )
        before = found
    head = ["GPUs", "makespan, h", "over the bound", "utilisation", "cost, $", "times as fast", "$ an hour saved"]
    return lay_out(head, rows)


def tabulate() -> str:
    return "\n\n".join((tabulate_campaign(), tabulate_ways(), tabulate_doublings()))
