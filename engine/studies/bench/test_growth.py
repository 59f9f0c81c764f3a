"""How the cost of a step grows with runs, tokens, blocks and vocabulary; all sizes are timed in turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import pytest

from engine.studies.bench.cases import TOKENS, VOCAB, Variants, make_gpt2, prepare_block_descents
from engine.studies.bench.interleaved import time_interleaved, time_once

RUNS, ROUNDS, REFERENCE_ROUNDS = 16, 5, 2


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What grows, and the work at a size of it. around: what stays the same."""

    name: str
    sizes: tuple[int, ...]
    around: str
    prepare: Callable[[int], Variants]


def prepare_descents(*, runs: int = RUNS, tokens: int = TOKENS, blocks: int = 1, vocab: int = VOCAB) -> Variants:
    return prepare_block_descents(make_gpt2(blocks, vocab), head=True, runs=runs, tokens=tokens)


AXES = (
    Axis(
        name="runs",
        sizes=(1, 4, 16, 64),
        around=f"{TOKENS} tokens, 1 block and head",
        prepare=lambda size: prepare_descents(runs=size),
    ),
    Axis(
        name="tokens",
        sizes=(5, 20, 80),
        around=f"{RUNS} runs, 1 block and head",
        prepare=lambda size: prepare_descents(tokens=size),
    ),
    Axis(
        name="blocks",
        sizes=(1, 4, 12),
        around=f"{RUNS} runs of {TOKENS} tokens, and head",
        prepare=lambda size: prepare_descents(blocks=size),
    ),
    Axis(
        name="vocabulary",
        sizes=(5000, 20000, 50000),
        around=f"{RUNS} runs of {TOKENS} tokens, 1 block and head",
        prepare=lambda size: prepare_descents(vocab=size),
    ),
)


@pytest.mark.benchmark(group="growth: the largest size")
@pytest.mark.parametrize("axis", AXES, ids=lambda axis: axis.name)
def test_growth(benchmark: Any, axis: Axis) -> None:
    by_size = {size: axis.prepare(size) for size in axis.sizes}
    runs = {
        f"{variant} {size}": getattr(variants, variant)
        for size, variants in by_size.items()
        for variant in ("lower_bound", "engine")
    }
    seconds = time_interleaved(benchmark, runs, measured=f"engine {axis.sizes[-1]}", rounds=ROUNDS)
    # The reference takes several times as long as both others together, too long to be timed in every round.
    for size, variants in by_size.items():
        seconds[f"reference {size}"] = [time_once(variants.reference) for _ in range(REFERENCE_ROUNDS)]
    costs = {
        f"{variant}_ms": [
            round(1e3 * median(seconds[f"{variant} {size}"]) / by_size[size].run_steps, 3) for size in axis.sizes
        ]
        for variant in ("reference", "engine", "lower_bound")
    }
    benchmark.extra_info["growth"] = {"axis": axis.name, "around": axis.around, "sizes": axis.sizes, **costs}
