"""The benchmark cases: each piece of work in three variants, with the speed that the engine should reach."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from engine.arms.stacks import SentenceNet, Stack
from engine.methods.descent import DescentPlan, NeverStop, Problem, descend
from engine.methods.round_trip import TILE, find_round_trip_misses
from engine.methods.walks import ClampedPlan, ClampedProblem, Wanderer, walk_clamped
from engine.models.codec import Codec
from engine.models.pseudo_inverse import invert_gram
from engine.models.stacks import BlockStack, EmbeddingFunction, FullyConnected
from engine.models.subject import use_torch_parts
from engine.studies.bench import lower_bounds, reference

# Few iterations: every step costs the same.
TOKENS, ITERATIONS, STEP = 6, 2, 1e-4
SHIFTS, NOISE = 2, 0.01
VOCAB, D_MODEL = 50257, 768


@dataclass(frozen=True, kw_only=True)
class Variants:
    """One piece of work in three variants. The first two return their results, which a test compares.

    reference: the document's procedure written directly. lower_bound: only the matrix products of the work. run_steps:
    descent steps of all runs together, by which times are divided; 1 for work without steps.
    """

    reference: Callable[[], Tensor]
    engine: Callable[[], Tensor]
    lower_bound: Callable[[], object]
    run_steps: int = 1


@dataclass(frozen=True, kw_only=True)
class BenchmarkCase:
    """A piece of work, and how fast the engine should be.

    min_speedup: times the reference's speed. max_times_lower_bound: times the lower bound's time.
    """

    title: str
    prepare: Callable[[], Variants]
    min_speedup: float | None = None
    max_times_lower_bound: float | None = None
    rounds: int = 5


def make_gpt2(blocks: int, vocab: int = VOCAB, **changes: int) -> Any:
    # Random weights: the cost of a step does not depend on their values.
    torch.manual_seed(0)
    config = GPT2Config(n_layer=blocks, vocab_size=vocab, **changes)  # pyright: ignore[reportArgumentType]
    return GPT2LMHeadModel(config).eval().requires_grad_(False)


def load_as_subject(model: Any) -> Any:
    """The model with the parts that a subject's model has, sharing its weights. The reference takes it as it is."""
    return use_torch_parts(copy.deepcopy(model, {id(weight): weight for weight in model.parameters()}))


def draw_ends(runs: int, tokens: int, width: int) -> tuple[Tensor, Tensor]:
    """Targets and starts [runs, tokens, width], as small as untrained embeddings."""
    source = torch.Generator().manual_seed(1)
    target, start = (0.02 * torch.randn(runs, tokens, width, generator=source) for _ in range(2))
    return target, start


def descend_through(stack: EmbeddingFunction, target: Tensor, start: Tensor) -> Callable[[], Tensor]:
    runs, tokens, _ = start.shape
    lengths, steps = torch.full((runs,), tokens), torch.full((runs,), STEP)

    def run() -> Tensor:
        # The target's output is part of the work in all variants.
        with torch.no_grad():
            output = stack(target)
        problem = Problem(output=output, start=start, lengths=lengths, steps=steps, bound=None)
        return descend(stack, problem, DescentPlan(iterations=ITERATIONS), NeverStop()).distances

    return run


def prepare_block_descents(model: Any, *, head: bool, runs: int, tokens: int = TOKENS) -> Variants:
    """Descents through all blocks of a model, with or without its head."""
    blocks = len(model.transformer.h)
    target, start = draw_ends(runs, tokens, model.config.n_embd)
    output = reference.run_blocks(model, blocks, head=head)
    forward, backward = lower_bounds.list_gpt2_products(model, blocks, head=head, runs=runs, tokens=tokens)
    # A distance needs only the target's hidden states: the bound leaves out its logits.
    body = forward[:-1] if head else forward
    return Variants(
        reference=lambda: reference.descend_each(output, target, start, step=STEP, iterations=ITERATIONS),
        engine=descend_through(
            BlockStack(load_as_subject(model), Stack(blocks=blocks, head=head), "true"), target, start
        ),
        lower_bound=lambda: lower_bounds.run_descent_products(body, forward, backward, ITERATIONS),
        run_steps=runs * ITERATIONS,
    )


def prepare_net_descents(runs: int, width: int = D_MODEL) -> Variants:
    """Descents through the document's fully connected net."""
    spec = SentenceNet()
    stack = FullyConnected(spec, width, dtype=torch.float32, device=torch.device("cpu"))
    target, start = draw_ends(runs, spec.tokens, width)
    first, activation, last = stack.layers
    net = nn.Sequential(nn.Flatten(), first, activation, last)
    forward, backward = lower_bounds.list_linear_products([first.weight, last.weight], runs)  # pyright: ignore
    return Variants(
        reference=lambda: reference.descend_each(net, target, start, step=STEP, iterations=ITERATIONS),
        engine=descend_through(stack, target, start),
        lower_bound=lambda: lower_bounds.run_descent_products(forward[:-1], forward, backward, ITERATIONS),
        run_steps=runs * ITERATIONS,
    )


def prepare_block_walks(model: Any, *, walks: int) -> Variants:
    """Clamped walks through all blocks of a model, one descent step after each shift."""
    blocks, width = len(model.transformer.h), model.config.n_embd
    source = torch.Generator().manual_seed(2)
    target = 0.02 * torch.randn(walks, TOKENS, width, generator=source)
    # Drawn once, so that the reference and the engine walk the same way.
    draws = [
        (torch.randint(width, (walks,), generator=source), torch.randn(walks, TOKENS, width, generator=source))
        for _ in range(SHIFTS)
    ]
    problem = ClampedProblem(
        target=target,
        lengths=torch.full((walks,), TOKENS),
        unit=torch.arange(walks),
        noise=torch.full((walks,), NOISE),
        steps=torch.full((walks,), STEP),
        outer=(SHIFTS,) * walks,
    )
    stack = BlockStack(load_as_subject(model), Stack(blocks=blocks), "true")
    plan = ClampedPlan(inner=1, scaled=False)
    output = reference.run_blocks(model, blocks, head=False)
    forward, backward = lower_bounds.list_gpt2_products(model, blocks, head=False, runs=walks, tokens=TOKENS)
    # One forward pass for the target, then both passes after each shift.
    step = (forward + backward) * SHIFTS

    def walk() -> Tensor:
        drawn = iter(draws)
        return walk_clamped(stack, problem, plan, lambda: next(drawn), Wanderer()).final

    return Variants(
        reference=lambda: reference.walk_each(output, target, draws, noise=NOISE, step=STEP),
        engine=walk,
        lower_bound=lambda: [product() for product in (*forward, *step)],
        run_steps=walks * SHIFTS,
    )


def draw_weight(vocab: int, width: int, *, copies: int = 0) -> Tensor:
    """A random W whose last columns copy its first, so that its rank is exactly width − copies."""
    weight = 0.02 * torch.randn(vocab, width, generator=torch.Generator().manual_seed(0))
    weight[:, width - copies :] = weight[:, :copies]
    return weight


def prepare_factorization(weight: Tensor) -> Variants:
    """The pseudo-inverse of W, as far as decoding needs it. Returns the coefficients of some rows of W."""
    # The lower bound is the Gram matrix alone, without its decomposition.
    wide = weight.double()
    gram, rows = wide.new_empty(weight.shape[1], weight.shape[1]), weight[:: max(1, len(weight) // 64)]
    return Variants(
        reference=lambda: rows @ torch.linalg.pinv(weight),
        engine=lambda: rows @ invert_gram(weight).matrix.to(weight.dtype) @ weight.T,
        lower_bound=lambda: torch.mm(wide.T, wide, out=gram),
    )


def prepare_round_trip(weight: Tensor) -> Variants:
    """Every row of W decoded, with the factor made beforehand. Returns the ids that come back as other ids."""
    codec = Codec(weight)
    factor = codec.gram_inverse
    return Variants(
        reference=lambda: reference.scan_rows(weight, factor),
        engine=lambda: torch.tensor([miss.id for miss in find_round_trip_misses(codec)], dtype=torch.long),
        lower_bound=lambda: lower_bounds.run_scan_products(weight, TILE),
    )


CASES = {
    case.title: case
    for case in (
        BenchmarkCase(
            title="1 block and head, 32 runs",
            prepare=lambda: prepare_block_descents(make_gpt2(1), head=True, runs=32),
            min_speedup=6,
            max_times_lower_bound=1.25,
        ),
        BenchmarkCase(
            title="1 block, 32 runs",
            prepare=lambda: prepare_block_descents(make_gpt2(1), head=False, runs=32),
            min_speedup=8,
            max_times_lower_bound=1.6,
            rounds=9,
        ),
        BenchmarkCase(
            title="12 blocks and head, 32 runs",
            prepare=lambda: prepare_block_descents(make_gpt2(12), head=True, runs=32),
            min_speedup=5,
            max_times_lower_bound=1.3,
        ),
        BenchmarkCase(
            title="wide net, 16 runs",
            prepare=lambda: prepare_net_descents(16),
            min_speedup=8,
            max_times_lower_bound=1.3,
        ),
        BenchmarkCase(
            title="clamped walk through 12 blocks, 16 walks",
            prepare=lambda: prepare_block_walks(make_gpt2(12), walks=16),
            min_speedup=4,
            max_times_lower_bound=1.5,
        ),
        BenchmarkCase(
            title="factorization of 50,257 × 768",
            prepare=lambda: prepare_factorization(draw_weight(VOCAB, D_MODEL)),
            min_speedup=3,
        ),
        BenchmarkCase(
            title="factorization of 50,257 × 768, rank 700",
            prepare=lambda: prepare_factorization(draw_weight(VOCAB, D_MODEL, copies=68)),
            min_speedup=3,
        ),
        BenchmarkCase(
            title="round trip of 50,257 × 768",
            prepare=lambda: prepare_round_trip(draw_weight(VOCAB, D_MODEL)),
            min_speedup=1.6,
            max_times_lower_bound=1.2,
        ),
    )
}
