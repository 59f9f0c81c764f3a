"""What is timed: each piece of work in three ways, and the bars that it is held to."""

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
from engine.methods.walks import ClampedPlan, ClampedProblem, walk_clamped
from engine.models.codec import Codec
from engine.models.loading import use_torch_parts
from engine.models.pseudo_inverse import invert_gram
from engine.models.stacks import BlockStack, EmbeddingFunction, FullyConnected
from engine.studies.bench import floors, literal

TOKENS, ITERATIONS, STEP = 6, 2, 1e-4
SHIFTS, NOISE = 2, 0.01
VOCAB, D_MODEL = 50257, 768


@dataclass(frozen=True, kw_only=True)
class Ways:
    """One piece of work three ways. The first two return what they found, which a test holds equal.

    run_steps: descent steps of all runs together, by which times are divided; 1 where there are none.
    """

    literal: Callable[[], Tensor]
    engine: Callable[[], Tensor]
    floor: Callable[[], object]
    run_steps: int = 1


@dataclass(frozen=True, kw_only=True)
class Contest:
    """A piece of work and its bars: times as fast as the literal way at least, times the floor at most."""

    title: str
    prepare: Callable[[], Ways]
    faster: float | None = None
    above_floor: float | None = None
    rounds: int = 5


def make_gpt2(blocks: int, vocab: int = VOCAB, **changes: int) -> Any:
    torch.manual_seed(0)
    config = GPT2Config(n_layer=blocks, vocab_size=vocab, **changes)  # pyright: ignore[reportArgumentType]
    return GPT2LMHeadModel(config).eval().requires_grad_(False)


def load_as_subject(model: Any) -> Any:
    """The model with the parts that a subject's model has, on the same weights; the literal way takes it as it is."""
    return use_torch_parts(copy.deepcopy(model, {id(weight): weight for weight in model.parameters()}))


def draw_ends(runs: int, tokens: int, width: int) -> tuple[Tensor, Tensor]:
    """Targets and starts as small as untrained embeddings are."""
    source = torch.Generator().manual_seed(1)
    target, start = (0.02 * torch.randn(runs, tokens, width, generator=source) for _ in range(2))
    return target, start


def descend_through(stack: EmbeddingFunction, target: Tensor, start: Tensor) -> Callable[[], Tensor]:
    runs, tokens, _ = start.shape
    lengths, steps = torch.full((runs,), tokens), torch.full((runs,), STEP)

    def run() -> Tensor:
        with torch.no_grad():
            output = stack(target)
        problem = Problem(output=output, start=start, lengths=lengths, steps=steps, bound=None)
        return descend(stack, problem, DescentPlan(iterations=ITERATIONS), NeverStop()).distances

    return run


def descend_blocks(model: Any, *, head: bool, runs: int, tokens: int = TOKENS) -> Ways:
    """Descents through all blocks of a model, into its head or into nothing."""
    blocks = len(model.transformer.h)
    target, start = draw_ends(runs, tokens, model.config.n_embd)
    output = literal.run_blocks(model, blocks, head=head)
    forward, backward = floors.list_gpt2(model, blocks, head=head, runs=runs, tokens=tokens)
    # The target's hidden states are enough: no logits of it are needed.
    body = forward[:-1] if head else forward
    return Ways(
        literal=lambda: literal.descend_each(output, target, start, step=STEP, iterations=ITERATIONS),
        engine=descend_through(
            BlockStack(load_as_subject(model), Stack(blocks=blocks, head=head), "true"), target, start
        ),
        floor=lambda: floors.descend_only_products(body, forward, backward, ITERATIONS),
        run_steps=runs * ITERATIONS,
    )


def descend_wide_net(runs: int, width: int = D_MODEL) -> Ways:
    """Descents through the document's fully connected net."""
    spec = SentenceNet()
    stack = FullyConnected(spec, width, dtype=torch.float32, device=torch.device("cpu"))
    target, start = draw_ends(runs, spec.tokens, width)
    first, activation, last = stack.layers
    net = nn.Sequential(nn.Flatten(), first, activation, last)
    forward, backward = floors.list_layers([first.weight, last.weight], runs)  # pyright: ignore
    return Ways(
        literal=lambda: literal.descend_each(net, target, start, step=STEP, iterations=ITERATIONS),
        engine=descend_through(stack, target, start),
        floor=lambda: floors.descend_only_products(forward[:-1], forward, backward, ITERATIONS),
        run_steps=runs * ITERATIONS,
    )


def walk_blocks(model: Any, *, walks: int) -> Ways:
    """Clamped walks through all blocks of a model, one descent step after each shift."""
    blocks, width = len(model.transformer.h), model.config.n_embd
    source = torch.Generator().manual_seed(2)
    target = 0.02 * torch.randn(walks, TOKENS, width, generator=source)
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
    output = literal.run_blocks(model, blocks, head=False)
    forward, backward = floors.list_gpt2(model, blocks, head=False, runs=walks, tokens=TOKENS)
    step = (forward + backward) * SHIFTS

    def walk() -> Tensor:
        drawn = iter(draws)
        return walk_clamped(stack, problem, plan, lambda: next(drawn), NeverStop()).final

    return Ways(
        literal=lambda: literal.walk_each(output, target, draws, noise=NOISE, step=STEP),
        engine=walk,
        floor=lambda: [product() for product in (*forward, *step)],
        run_steps=walks * SHIFTS,
    )


def draw_weight(vocab: int, width: int, *, copies: int = 0) -> Tensor:
    """A random W whose last columns are copies of its first, so that its rank is width − copies to the last bit."""
    weight = 0.02 * torch.randn(vocab, width, generator=torch.Generator().manual_seed(0))
    weight[:, width - copies :] = weight[:, :copies]
    return weight


def factorize(weight: Tensor) -> Ways:
    """The pseudo-inverse of W, as far as decoding needs it; each way gives the coefficients of some rows of W."""
    wide = weight.double()
    gram, rows = wide.new_empty(weight.shape[1], weight.shape[1]), weight[:: max(1, len(weight) // 64)]
    return Ways(
        literal=lambda: rows @ torch.linalg.pinv(weight),
        engine=lambda: rows @ invert_gram(weight).matrix.to(weight.dtype) @ weight.T,
        floor=lambda: torch.mm(wide.T, wide, out=gram),
    )


def scan_vocabulary(weight: Tensor) -> Ways:
    """Every row of W decoded; each way gives the ids that come back as others. The factor is made beforehand."""
    codec = Codec(weight)
    factor = codec.gram_inverse
    return Ways(
        literal=lambda: literal.scan_rows(weight, factor),
        engine=lambda: torch.tensor([miss.id for miss in find_round_trip_misses(codec)], dtype=torch.long),
        floor=lambda: floors.scan_only_half(weight, TILE),
    )


CONTESTS = {
    contest.title: contest
    for contest in (
        Contest(
            title="1 block and head, 32 runs",
            prepare=lambda: descend_blocks(make_gpt2(1), head=True, runs=32),
            faster=6,
            above_floor=1.25,
        ),
        Contest(
            title="1 block, 32 runs",
            prepare=lambda: descend_blocks(make_gpt2(1), head=False, runs=32),
            faster=8,
            above_floor=1.6,
            rounds=9,
        ),
        Contest(
            title="12 blocks and head, 32 runs",
            prepare=lambda: descend_blocks(make_gpt2(12), head=True, runs=32),
            faster=5,
            above_floor=1.3,
        ),
        Contest(title="wide net, 16 runs", prepare=lambda: descend_wide_net(16), faster=8, above_floor=1.3),
        Contest(
            title="clamped walk through 12 blocks, 16 walks",
            prepare=lambda: walk_blocks(make_gpt2(12), walks=16),
            faster=4,
            above_floor=1.5,
        ),
        Contest(
            title="factorization of 50,257 × 768",
            prepare=lambda: factorize(draw_weight(VOCAB, D_MODEL)),
            faster=3,
        ),
        Contest(
            title="factorization of 50,257 × 768, rank 700",
            prepare=lambda: factorize(draw_weight(VOCAB, D_MODEL, copies=68)),
            faster=3,
        ),
        Contest(
            title="round trip of 50,257 × 768",
            prepare=lambda: scan_vocabulary(draw_weight(VOCAB, D_MODEL)),
            faster=1.6,
            above_floor=1.2,
        ),
    )
}
