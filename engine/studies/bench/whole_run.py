"""How far a whole run is from the products that its arms need, by kind of work: `lm-claims bench run LEDGER`.

Of each kind of work in a ledger some arms are measured again, in turns with their own products and factorizations
bare. The kind's time in the run, divided by the ratio of the two, is its lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from engine.arms.arm import Arm, device_of, settings_of
from engine.arms.measurement import Measurement
from engine.arms.settings import StackSettings
from engine.arms.stacks import SentenceNet, describe_stack
from engine.errors import LedgerError, explain
from engine.ledger.maintenance import read_ledger
from engine.models.loaded import LoadedModels
from engine.report.pages import write_rows
from engine.running.costs import group_of
from engine.running.executors.run_arm import run_arm
from engine.studies.bench.interleaved import time_once
from engine.studies.bench.product_replay import ProductRecorder, ProductReplay

ROUNDS, WORKERS = 2, 2
MEANINGLESS_RATIO = 100.0
"""From here on the ratio says only that the work does not consist of products."""

SAMPLE_EVERY_S = 300.0
"""One more arm of a kind is measured again for so many seconds that the kind took in the run."""


@dataclass(frozen=True, kw_only=True)
class Remeasured:
    """An arm measured again: seconds of the engine with the weights loaded, and of its bare products, by round.

    run_s: its seconds in the run. same: whether it gave the numbers in the ledger again.
    """

    run_s: float
    engine_s: tuple[float, ...]
    bound_s: tuple[float, ...]
    same: bool


@dataclass(frozen=True, kw_only=True)
class WorkKind:
    """One kind of work in a run. run_s: seconds of all its arms in the run."""

    name: str
    arms: int
    run_s: float
    remeasured: tuple[Remeasured, ...]

    @property
    def times_bound(self) -> float:
        """The engine's time over that of its products; infinite for work without products."""
        engine_s = sum(sum(one.engine_s) for one in self.remeasured)
        bound_s = sum(sum(one.bound_s) for one in self.remeasured)
        return engine_s / bound_s if bound_s else math.inf

    @property
    def bound_s(self) -> float:
        """Seconds that the products of all its arms take."""
        return self.run_s / self.times_bound


def name_kind(arm: Arm) -> str:
    """The kind of work that an arm counts to: its kind, and its stack where it has one."""
    settings = getattr(arm, "settings", None)
    return f"{arm.kind}, {describe_stack(settings.stack)}" if isinstance(settings, StackSettings) else arm.kind


def sample_arms(stored: Sequence[Measurement], every_s: float = SAMPLE_EVERY_S) -> list[Measurement]:
    """Some arms of a kind, spread evenly over their times: one of median cost, or more where the kind took long."""
    ordered = sorted(stored, key=lambda one: one.elapsed_s)
    count = min(len(stored), 1 + int(sum(one.elapsed_s for one in stored) / every_s))
    # The middles of `count` equal parts.
    return [ordered[len(ordered) * (2 * i + 1) // (2 * count)] for i in range(count)]


_SHELF = LoadedModels()
"""Of this process: arms of one group come one after the other and share their weights."""


def remeasure(stored: Measurement) -> Remeasured:
    """Record an arm's products, then time arm and bare products in turns, on one thread as the pool's arms are."""
    torch.set_num_threads(1)
    arm = stored.arm
    with ProductRecorder() as recorded:
        run_arm(arm, _SHELF)
    # The weights that the arm has just loaded are the ones that its products read.
    weights: list[Tensor] = []
    where = settings_of(arm)
    if where.subject != "none":
        weights += _SHELF.model(where.subject, getattr(where, "dtype", "float32"), where.device).parameters()
        if isinstance(where, StackSettings) and isinstance(where.stack, SentenceNet):
            net: Any = _SHELF.stack(where)
            weights += net.layers.parameters()
    replay = ProductReplay(recorded, weights)
    del recorded
    engine_s, bound_s, same = list[float](), list[float](), True
    for _ in range(ROUNDS):
        again = run_arm(arm, _SHELF)
        engine_s.append(again.elapsed_s)
        same = same and again.content() == stored.content()
        bound_s.append(time_once(replay))
    return Remeasured(run_s=stored.elapsed_s, engine_s=tuple(engine_s), bound_s=tuple(bound_s), same=same)


def time_ledger(folder: Path, workers: int) -> list[WorkKind]:
    """Every kind of work among a ledger's arms of a CPU, the longest first. workers: processes at a time.

    Raises LedgerError where a ledger holds nothing to measure again.
    """
    kinds: dict[str, list[Measurement]] = {}
    for file in read_ledger(folder):
        if file.measurement is not None and device_of(file.measurement.arm) == "cpu":
            kinds.setdefault(name_kind(file.measurement.arm), []).append(file.measurement)
    if not kinds:
        got, remedy = f"none in {folder}", "make one: pytest claims --ledger FOLDER"
        raise LedgerError(explain(who="bench", got=got, expected="measurements of a CPU's arms", remedy=remedy))
    chosen = [(name, one) for name, stored in kinds.items() for one in sample_arms(stored)]
    # Arms of one group share their weights, which a process keeps from one arm to the next.
    chosen.sort(key=lambda pair: group_of(pair[1].arm))
    remeasured: dict[str, list[Remeasured]] = {name: [] for name in kinds}
    with (
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
        Progress(console=Console(stderr=True)) as progress,
    ):
        task = progress.add_task("measuring again", total=sum(one.elapsed_s for _, one in chosen))
        for (name, one), result in zip(chosen, pool.map(remeasure, (one for _, one in chosen)), strict=True):
            remeasured[name].append(result)
            progress.update(task, advance=one.elapsed_s, description=name)
    found = [
        WorkKind(
            name=name,
            arms=len(stored),
            run_s=sum(one.elapsed_s for one in stored),
            remeasured=tuple(remeasured[name]),
        )
        for name, stored in kinds.items()
    ]
    return sorted(found, key=lambda kind: -kind.run_s)


def write_table(kinds: Sequence[WorkKind]) -> list[str]:
    """A Markdown table with a last row for all kinds together, and a sentence on the arms that were measured again."""
    rows: list[tuple[str, ...]] = []
    for kind in kinds:
        ratio = f"{kind.times_bound:.2f}" if kind.times_bound < MEANINGLESS_RATIO else "–"
        seconds = (f"{kind.run_s:,.0f}", f"{kind.bound_s:,.0f}")
        rows.append((kind.name, str(kind.arms), *seconds, ratio, str(len(kind.remeasured))))
    run_s, bound_s = sum(kind.run_s for kind in kinds), sum(kind.bound_s for kind in kinds)
    again = [one for kind in kinds for one in kind.remeasured]
    ratio = f"{run_s / bound_s:.2f}" if bound_s else "–"
    arms = str(sum(kind.arms for kind in kinds))
    rows.append(("**all**", arms, f"{run_s:,.0f}", f"{bound_s:,.0f}", ratio, str(len(again))))
    before_s, after_s = sum(one.run_s for one in again), sum(sum(one.engine_s) / len(one.engine_s) for one in again)
    return [
        *write_rows(("work", "arms", "s", "its products, s", "engine / products", "measured again"), rows),
        "",
        f"The {len(again)} arms that were measured again took {before_s:,.0f} s in the run, loading included, and "
        f"{after_s:,.0f} s now, with the weights loaded; {sum(one.same for one in again)} of them gave the numbers in "
        "the ledger again.",
    ]
