"""How far a whole run is from the products that its arms need, by kind of work.

`lm-claims bench run LEDGER`: of each kind of work in a ledger some arms are measured again, in turns
with their own products and factorizations bare; what the kind took in the run, divided by that ratio, is its floor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from engine.arms.arm import Arm, device_of
from engine.arms.measurement import Measurement
from engine.arms.settings import StackSettings
from engine.arms.stacks import SentenceNet, describe_stack
from engine.errors import LedgerError, explain
from engine.ledger.maintenance import read_ledger
from engine.models.loaded import LoadedModels
from engine.running.costs import group_of
from engine.running.executors.attempt import run_arm
from engine.studies.bench.replay import Listener, Replay

WHO = "engine.studies.bench.whole_run"
ROUNDS, WORKERS = 2, 2
MEANINGLESS = 100.0
"""From here on the ratio says only that the work is not made of products."""

EVERY_S = 300.0
"""Of a kind's time in the run, for which one of its arms is measured again."""


@dataclass(frozen=True, kw_only=True)
class Timed:
    """An arm measured again: seconds with the weights loaded, and of its products alone, a figure a round.

    run_s: what it took in the run. same: it gave the numbers that the ledger holds.
    """

    run_s: float
    engine: tuple[float, ...]
    floor: tuple[float, ...]
    same: bool


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of work in a run. seconds: of its arms, as they were measured in the run."""

    name: str
    arms: int
    seconds: float
    timed: tuple[Timed, ...]

    @property
    def above_floor(self) -> float:
        """The engine's time over that of its products; infinite where the work has none."""
        engine = sum(sum(one.engine) for one in self.timed)
        floor = sum(sum(one.floor) for one in self.timed)
        return engine / floor if floor else math.inf

    @property
    def floor(self) -> float:
        """Seconds that the products of all its arms take."""
        return self.seconds / self.above_floor


def name_kind(arm: Arm) -> str:
    """What an arm's time goes by: its kind and its stack."""
    settings = getattr(arm, "settings", None)
    return f"{arm.kind}, {describe_stack(settings.stack)}" if isinstance(settings, StackSettings) else arm.kind


def choose(found: Sequence[Measurement], every_s: float = EVERY_S) -> list[Measurement]:
    """Some of a kind's arms, evenly over their times: one of middling cost, more where the kind took long."""
    ordered = sorted(found, key=lambda one: one.elapsed_s)
    count = min(len(found), 1 + int(sum(one.elapsed_s for one in found) / every_s))
    return [ordered[len(ordered) * (2 * i + 1) // (2 * count)] for i in range(count)]


def list_weights(models: LoadedModels, arm: Arm) -> Iterator[Tensor]:
    """What the models has loaded for an arm and its products read."""
    where: Any = getattr(arm, "settings", arm)
    if where.subject == "none":
        return
    yield from models.model(where.subject, getattr(where, "dtype", "float32"), where.device).parameters()
    if isinstance(where, StackSettings) and isinstance(where.stack, SentenceNet):
        net: Any = models.stack(where)
        yield from net.layers.parameters()


_MODELS = LoadedModels()


def time_arm(stored: Measurement) -> Timed:
    """One arm listened to, then measured in turns with its bare products, on one thread as the pool's arms are."""
    torch.set_num_threads(1)
    with Listener() as heard:
        run_arm(stored.arm, _MODELS)
    replay = Replay(heard, list_weights(_MODELS, stored.arm))
    del heard
    engine, floor, same = list[float](), list[float](), True
    for _ in range(ROUNDS):
        again = run_arm(stored.arm, _MODELS)
        engine.append(again.elapsed_s)
        same = same and again.content() == stored.content()
        began = perf_counter()
        replay()
        floor.append(perf_counter() - began)
    return Timed(run_s=stored.elapsed_s, engine=tuple(engine), floor=tuple(floor), same=same)


def time_kinds(found: Sequence[Measurement], workers: int) -> list[Kind]:
    """Every kind of work among stored measurements, the longest first; as many processes as the run had."""
    kinds: dict[str, list[Measurement]] = {}
    for one in found:
        kinds.setdefault(name_kind(one.arm), []).append(one)
    chosen = [(name, one) for name, ones in kinds.items() for one in choose(ones)]
    chosen.sort(key=lambda pair: group_of(pair[1].arm))
    timed: dict[str, list[Timed]] = {name: [] for name in kinds}
    whole = sum(one.elapsed_s for _, one in chosen)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool, tqdm(total=round(whole)) as bar:
        for (name, one), result in zip(chosen, pool.map(time_arm, (one for _, one in chosen)), strict=True):
            timed[name].append(result)
            bar.set_description(name, refresh=False)
            bar.update(round(one.elapsed_s))
    made = [
        Kind(name=name, arms=len(ones), seconds=sum(one.elapsed_s for one in ones), timed=tuple(timed[name]))
        for name, ones in kinds.items()
    ]
    return sorted(made, key=lambda kind: -kind.seconds)


def write_table(kinds: Sequence[Kind]) -> list[str]:
    """A table in Markdown, with all kinds together in its last line, and what the repetition was like."""
    lines = ["| work | arms | s | its products, s | engine / products | measured again |", "| --- " * 6 + "|"]
    for kind in kinds:
        ratio = f"{kind.above_floor:.2f}" if kind.above_floor < MEANINGLESS else "–"
        lines.append(
            f"| {kind.name} | {kind.arms} | {kind.seconds:,.0f} | {kind.floor:,.0f} | {ratio} | {len(kind.timed)} |"
        )
    seconds, floor = sum(kind.seconds for kind in kinds), sum(kind.floor for kind in kinds)
    arms, again = sum(kind.arms for kind in kinds), sum(len(kind.timed) for kind in kinds)
    ratio = f"{seconds / floor:.2f}" if floor else "–"
    lines.append(f"| **all** | {arms} | {seconds:,.0f} | {floor:,.0f} | {ratio} | {again} |")
    timed = [one for kind in kinds for one in kind.timed]
    run_s, again_s = sum(one.run_s for one in timed), sum(sum(one.engine) / len(one.engine) for one in timed)
    same = sum(one.same for one in timed)
    return [
        *lines,
        "",
        f"The {again} arms that were measured again took {run_s:,.0f} s in the run, loading included, and "
        f"{again_s:,.0f} s now, with the weights loaded; {same} of them gave the numbers that the ledger holds.",
    ]


def time_ledger(folder: Path, workers: int) -> list[Kind]:
    """Times a CPU's stored arms against their bare products, so many processes at a time.

    Raises LedgerError where a ledger holds nothing to measure again.
    """
    stored = (one.measurement for one in read_ledger(folder))
    found = [one for one in stored if one is not None and device_of(one.arm) == "cpu"]
    if not found:
        got, remedy = f"none in {folder}", "make one: pytest claims --ledger FOLDER"
        raise LedgerError(explain(who="bench", got=got, expected="measurements of a CPU's arms", remedy=remedy))
    return time_kinds(found, workers)
