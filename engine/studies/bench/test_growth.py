"""How the cost of a step grows with runs, tokens, blocks and vocabulary; sizes are timed in turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import pytest

from engine.studies.bench.alternation import alternate, time_passes
from engine.studies.bench.contests import TOKENS, VOCAB, Ways, descend_blocks, make_gpt2

RUNS, ROUNDS, LITERAL_ROUNDS = 16, 5, 2


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What grows, and the work at a size of it; everything else stays as `around` says."""

    name: str
    sizes: tuple[int, ...]
    around: str
    prepare: Callable[[int], Ways]


def descend_with(*, runs: int = RUNS, tokens: int = TOKENS, blocks: int = 1, vocab: int = VOCAB) -> Ways:
    return descend_blocks(make_gpt2(blocks, vocab), head=True, runs=runs, tokens=tokens)


AXES = (
    Axis(
        name="runs",
        sizes=(1, 4, 16, 64),
        around=f"{TOKENS} tokens, 1 block and head",
        prepare=lambda size: descend_with(runs=size),
    ),
    Axis(
        name="tokens",
        sizes=(5, 20, 80),
        around=f"{RUNS} runs, 1 block and head",
        prepare=lambda size: descend_with(tokens=size),
    ),
    Axis(
        name="blocks",
        sizes=(1, 4, 12),
        around=f"{RUNS} runs of {TOKENS} tokens, and head",
        prepare=lambda size: descend_with(blocks=size),
    ),
    Axis(
        name="vocabulary",
        sizes=(5000, 20000, 50000),
        around=f"{RUNS} runs of {TOKENS} tokens, 1 block and head",
        prepare=lambda size: descend_with(vocab=size),
    ),
)


@pytest.mark.benchmark(group="growth: the largest size")
@pytest.mark.parametrize("axis", AXES, ids=lambda axis: axis.name)
def test_growth(benchmark: Any, board: Any, axis: Axis) -> None:
    ways = {size: axis.prepare(size) for size in axis.sizes}
    runs = {f"{way} {size}": getattr(one, way) for size, one in ways.items() for way in ("floor", "engine")}
    seconds = alternate(benchmark, runs, measured=f"engine {axis.sizes[-1]}", rounds=ROUNDS)
    # A literal loop takes several times as long as both others together; what it costs hardly hangs on the round.
    seconds |= {f"literal {size}": time_passes(one.literal, LITERAL_ROUNDS) for size, one in ways.items()}

    def cost(way: str) -> list[float]:
        return [round(1e3 * median(seconds[f"{way} {size}"]) / ways[size].run_steps, 3) for size in axis.sizes]

    figures = {"axis": axis.name, "around": axis.around, "sizes": list(axis.sizes), "ms_a_run_step": cost("engine")}
    lines = {f"{way}_ms_a_run_step": cost(way) for way in ("floor", "literal")}
    board.note(benchmark, "growth", figures | lines)
