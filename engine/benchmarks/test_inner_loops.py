"""What the engine does against the plain way of doing it, in one run: `make bench`.

Compare the medians within a group; absolute times depend on the machine.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from engine.arms import Stack
from engine.blocks import BlockStack
from engine.codec import Codec, find_round_trip_misses, invert_gram
from engine.descent import Patient, Plan, Problem, descend

VOCAB, D_MODEL = 50257, 768
RUNS, TOKENS, STEPS = 8, 6, 5
ROUNDS = 5


@pytest.fixture(scope="module")
def weight() -> Tensor:
    return 0.02 * torch.randn(VOCAB, D_MODEL, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def stack() -> BlockStack:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_layer=1)).eval().requires_grad_(False)
    return BlockStack(model, Stack(blocks=1, head=True), "true")


@pytest.fixture(scope="module")
def problem(stack: BlockStack) -> Problem:
    source = torch.Generator().manual_seed(1)
    target, start = (0.02 * torch.randn(RUNS, TOKENS, D_MODEL, generator=source) for _ in range(2))
    lengths, steps = torch.full((RUNS,), TOKENS), torch.full((RUNS,), 1e-3)
    return Problem(target=target, start=start, lengths=lengths, steps=steps, bound=None)


def literal_loop(stack: BlockStack, problem: Problem) -> list[float]:
    """The document's procedure as one writes it: one run at a time, whole logits, a look at every step."""
    assert stack.unembedding is not None
    distances = []
    for run in range(RUNS):
        wanted = (stack(problem.target[run : run + 1]) @ stack.unembedding.T).detach()
        e = problem.start[run : run + 1].clone()
        for n in range(STEPS):
            e.requires_grad_(True)
            loss = (stack(e) @ stack.unembedding.T - wanted).abs().sum()
            loss.backward()
            distances.append(loss.item())
            assert e.grad is not None
            e = (e - (1e-3 - 0.9e-3 * n / STEPS) * e.grad).detach()
    return distances


@pytest.mark.benchmark(group="one block and head, 8 runs, 5 steps")
@pytest.mark.parametrize("way", ["engine", "literal loop"])
def test_descent(benchmark: Any, stack: BlockStack, problem: Problem, way: str) -> None:
    if way == "engine":
        benchmark.pedantic(
            lambda: descend(stack, problem, Plan(iterations=STEPS), Patient()), rounds=ROUNDS, warmup_rounds=1
        )
    else:
        benchmark.pedantic(lambda: literal_loop(stack, problem), rounds=ROUNDS, warmup_rounds=1)


@pytest.mark.benchmark(group="pseudo-inverse of 50,257 x 768")
@pytest.mark.parametrize("way", ["engine: Gram factor", "torch.linalg.pinv"])
def test_factorization(benchmark: Any, weight: Tensor, way: str) -> None:
    compute = invert_gram if way.startswith("engine") else torch.linalg.pinv
    benchmark.pedantic(lambda: compute(weight), rounds=ROUNDS, warmup_rounds=1)


@pytest.mark.benchmark(group="decoding 48 embeddings")
@pytest.mark.parametrize("way", ["engine: d x d factor", "stored d x vocab inverse"])
def test_decoding(benchmark: Any, weight: Tensor, way: str) -> None:
    e = torch.randn(48, D_MODEL, generator=torch.Generator().manual_seed(2))
    codec = Codec(weight)
    if way.startswith("engine"):
        benchmark.pedantic(lambda: codec.decode(e), rounds=4 * ROUNDS, warmup_rounds=1)
    else:
        inverse = torch.linalg.pinv(weight)
        benchmark.pedantic(lambda: (e @ inverse).argmax(-1), rounds=4 * ROUNDS, warmup_rounds=1)


@pytest.mark.benchmark(group="exhaustive round trip of 12,000 rows")
@pytest.mark.parametrize("way", ["engine: by leverage", "full scan"])
def test_round_trip(benchmark: Any, weight: Tensor, way: str) -> None:
    rows = weight[:12_000]
    codec = Codec(rows)

    def full_scan() -> int:
        return sum(int((codec.coefficients(part).argmax(-1) >= 0).sum()) for part in rows.split(1024))

    compute = (lambda: find_round_trip_misses(codec)) if way.startswith("engine") else full_scan
    benchmark.pedantic(compute, rounds=ROUNDS, warmup_rounds=1)
