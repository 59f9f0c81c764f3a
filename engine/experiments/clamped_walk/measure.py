"""Clamped walks: batch, walked batch by batch, and read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from engine.arms.settings import StackSettings
from engine.arms.stacks import Stack
from engine.experiments.clamped_walk.arm import ClampedWalkArm, ClampedWalkResult, WalkRead, WalkRun
from engine.experiments.inputs import TOP, EmbeddedPrompts, draw_rows, embed_prompts, make_generator, shift_bounds
from engine.methods.distances import DistanceToTarget, widen
from engine.methods.walks import ClampedPlan, ClampedProblem, ClampedTrace, DrawClamp, Herder, walk_clamped
from engine.models.codec import Codec
from engine.models.devices import to_device
from engine.models.loaded import LoadedModels
from engine.models.stacks import EmbeddingFunction
from engine.models.token_text import read_tokens

RANDOM_STEPS = 4
"""Random steps as long as a walk went, that its output's distance is held against."""

MOST_WALKS = 96
WALK_BYTES = 1.2e9
"""Walks that go together, and most memory that their activations may take."""

LOOK_EVERY = 20
"""Descent steps between two looks at which walks stand still."""


@dataclass(frozen=True, kw_only=True)
class Walkers:
    """A batch of clamped walks made ready. which: the choice and the unit of each walk, as places in the arm."""

    which: tuple[tuple[int, int], ...]
    problem: ClampedProblem


def measure_clamped_walk(arm: ClampedWalkArm, models: LoadedModels) -> ClampedWalkResult:
    """Every unit under every choice, batch by batch."""
    stack = models.stack(arm.settings)
    codec = models.codec(arm.settings.subject, arm.settings.dtype, arm.settings.device)
    embedded = embed_prompts(arm.settings, arm.units, models, stack)
    bounds = shift_bounds(arm.settings, embedded, stack)
    observer = Herder(look_every=max(1, LOOK_EVERY // arm.inner))
    runs: list[WalkRun] = []
    for walkers in split_walks(arm, embedded):
        trace = walk_clamped(stack, walkers.problem, plan_walk(arm), draw_clamps(arm, embedded), observer)
        runs += read_walks(arm, embedded, walkers, trace, stack, codec, bounds)
    texts = read_tokens(models.tokenizer(arm.settings.subject), (i for run in runs for i in _ids_of(run)))
    return ClampedWalkResult(runs=tuple(runs), texts=texts)


def plan_walk(arm: ClampedWalkArm) -> ClampedPlan:
    return ClampedPlan(inner=arm.inner, scaled=arm.scaled, stop_at=arm.stop_at, reads=arm.reads)


def split_walks(arm: ClampedWalkArm, embedded: EmbeddedPrompts) -> list[Walkers]:
    """All choices × units in batches whose activations fit."""
    pairs = [(choice, unit) for choice in range(len(arm.choices)) for unit in range(len(arm.units))]
    size = _walks_at_once(arm.settings, embedded.target)
    return [_ready(arm, embedded, tuple(pairs[first : first + size])) for first in range(0, len(pairs), size)]


def _walks_at_once(settings: StackSettings, target: Tensor) -> int:
    """Walks a batch: about forty numbers a block are kept for each of a token's, as in any descent."""
    blocks = settings.stack.blocks if isinstance(settings.stack, Stack) else 1
    assert isinstance(blocks, int)
    numbers = target.shape[1] * target.shape[2] * (40 * blocks + 8)
    return max(1, min(MOST_WALKS, int(WALK_BYTES / (numbers * target.element_size()))))


def _ready(arm: ClampedWalkArm, embedded: EmbeddedPrompts, which: tuple[tuple[int, int], ...]) -> Walkers:
    target = embedded.target
    unit = torch.tensor([u for _, u in which], device=target.device)
    noise = [arm.choices[c].noise for c, _ in which]
    steps = [arm.choices[c].step for c, _ in which]
    problem = ClampedProblem(
        target=target[unit],
        lengths=embedded.lengths[unit],
        unit=unit,
        noise=torch.tensor(noise, dtype=target.dtype, device=target.device),
        steps=torch.tensor(steps, dtype=target.dtype, device=target.device),
        outer=tuple(arm.choices[c].outer for c, _ in which),
    )
    return Walkers(which=which, problem=problem)


def draw_clamps(arm: ClampedWalkArm, embedded: EmbeddedPrompts) -> DrawClamp:
    """Indices and noise of the units, outer step after outer step; a unit's are the same under every choice."""
    sources = [make_generator("clamp", f"{unit.prompt}:{unit.seed}") for unit in arm.units]
    width = embedded.target.shape[2]
    law = torch.randn if arm.law == "normal" else torch.rand

    def draw() -> tuple[Tensor, Tensor]:
        indices = torch.cat([torch.randint(width, (1,), generator=source) for source in sources])
        noise = [law((n, width), generator=source) for n, source in zip(embedded.sizes, sources, strict=True)]
        place = embedded.target.device
        return to_device(indices, place), to_device(pad_sequence(noise, batch_first=True), place, embedded.target.dtype)

    return draw


@torch.no_grad()
def measure_random_steps(
    arm: ClampedWalkArm, embedded: EmbeddedPrompts, walkers: Walkers, trace: ClampedTrace, stack: EmbeddingFunction
) -> Tensor:
    """‖O(e) − O(e + δ)‖₁ of normal steps δ with the ‖·‖₁ of each walk, mean over draws: [walks]."""
    problem = walkers.problem
    distance = _distance(stack, problem)
    length = (trace.final - problem.target).abs().sum((1, 2))
    total = torch.zeros_like(length)
    for k in range(RANDOM_STEPS):
        sources = [make_generator("random step", f"{unit.prompt}:{unit.seed}:{k}") for unit in arm.units]
        noise = draw_rows(embedded, sources)[problem.unit]
        step = noise * (length / noise.abs().sum((1, 2)))[:, None, None]
        total = total + distance.l1(stack(problem.target + step))
    return total / RANDOM_STEPS


def _distance(stack: EmbeddingFunction, problem: ClampedProblem) -> DistanceToTarget:
    rows = stack.rows(problem.lengths, problem.target.shape[1])
    return DistanceToTarget(stack(problem.target), rows, stack.head)


@torch.no_grad()
def read_walks(
    arm: ClampedWalkArm,
    embedded: EmbeddedPrompts,
    walkers: Walkers,
    trace: ClampedTrace,
    stack: EmbeddingFunction,
    codec: Codec,
    bounds: Tensor,
) -> list[WalkRun]:
    """A finished batch as plain numbers."""
    problem = walkers.problem
    distance = _distance(stack, problem)
    random = measure_random_steps(arm, embedded, walkers, trace, stack).tolist()
    ended, arrived = trace.ended_at.tolist(), trace.arrived.tolist()
    outputs = {n: distance.l1(stack(kept)).tolist() for n, kept in trace.reads.items()}
    last = distance.l1(stack(trace.final)).tolist()
    runs: list[WalkRun] = []
    for row, (choice, place) in enumerate(walkers.which):
        ids = torch.tensor(embedded.ids[place], device=problem.target.device)
        target, positions = problem.target[row, : len(ids)], embedded.positions[: len(ids)]
        read = partial(_read_walk, codec, target, positions, ids)
        runs.append(
            WalkRun(
                choice=choice,
                prompt=arm.units[place].prompt,
                seed=arm.units[place].seed,
                target=embedded.ids[place],
                size=float(widen(target).abs().sum()),
                bound=float(bounds[place]),
                arrived=arrived[row],
                diverged=not bool(torch.isfinite(trace.final[row]).all()),
                random_distance=random[row],
                ceiling=float((codec.decode(target - positions) == ids).double().mean()),
                end=read(trace.final[row], ended[row], last[row]),
                reads=tuple(read(kept[row], n, outputs[n][row]) for n, kept in trace.reads.items() if n <= ended[row]),
            )
        )
    return runs


def _read_walk(
    codec: Codec, target: Tensor, positions: Tensor, ids: Tensor, padded: Tensor, outer: int, output_distance: float
) -> WalkRead:
    e = padded[: len(ids)]
    # What has diverged decodes to some token or other; it has kept none.
    finite = bool(torch.isfinite(e).all())
    top = codec.top(e - positions, TOP) if finite else None
    return WalkRead(
        outer=outer,
        input_distance=float(widen(e - target).abs().sum()),
        output_distance=output_distance,
        recovery=float((top[:, 0] == ids).double().mean()) if top is not None else 0.0,
        top=tuple(map(tuple, top.tolist())) if top is not None else (),
    )


def _ids_of(run: WalkRun) -> set[int]:
    """Every token that a reading of the walk names."""
    return {*run.target, *(i for read in (*run.reads, run.end) for top in read.top for i in top)}
