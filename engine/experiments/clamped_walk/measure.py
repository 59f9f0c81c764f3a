"""Clamped walks: every unit under every choice of settings, walked in batches and read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from engine.arms.stacks import Stack
from engine.experiments.clamped_walk.arm import ClampedWalkArm, ClampedWalkResult, WalkRead, WalkRun
from engine.experiments.inputs import TOP, EmbeddedPrompts, draw_rows, embed_prompts, make_generator, shift_bounds
from engine.methods.descent import OBSERVE_EVERY, StopFinished
from engine.methods.distances import DistanceToTarget, widen
from engine.methods.walks import ClampedPlan, ClampedProblem, ClampedTrace, DrawClamp, walk_clamped
from engine.models.devices import to_device
from engine.models.loaded import LoadedModels
from engine.models.stacks import EmbeddingFunction
from engine.models.token_text import read_tokens

RANDOM_STEPS = 4
"""Random steps that each walk is compared with."""

MOST_WALKS = 96
WALK_BYTES = 1.2e9
"""Limits of a batch: walks, and memory for their activations."""


@dataclass(frozen=True, kw_only=True)
class WalkBatch:
    """Clamped walks that go together. places: choice and unit of each walk, as indices into the arm's."""

    places: tuple[tuple[int, int], ...]
    problem: ClampedProblem


def measure_clamped_walk(arm: ClampedWalkArm, models: LoadedModels) -> ClampedWalkResult:
    """Walk from every unit under every choice, and read each walk on its way and at its end.

    Raises PromptError for a prompt that cannot be used, SubjectError for outputs that are not finite.
    """
    stack = models.stack(arm.settings)
    codec = models.codec(arm.settings.subject, arm.settings.dtype, arm.settings.device)
    embedded = embed_prompts(arm.settings, arm.units, models, stack)
    bounds = shift_bounds(arm.settings, embedded, stack)
    plan = ClampedPlan(
        inner=arm.inner,
        scaled=arm.scaled,
        stop_at=arm.stop_at,
        reads=arm.reads,
        observe_every=max(1, OBSERVE_EVERY // arm.inner),
    )
    runs: list[WalkRun] = []
    named: set[int] = set()
    for batch in split_walks(arm, embedded):
        problem = batch.problem
        # For a walk, to hit is to arrive at `stop_at`.
        observer = StopFinished(read_at="hit")
        trace = walk_clamped(stack, problem, plan, draw_clamps(arm, embedded), observer)

        # Output distances of all walks together: of random steps, of the readings on the way, and of the end.
        with torch.no_grad():
            rows = stack.rows(problem.lengths, problem.target.shape[1])
            distance = DistanceToTarget(stack(problem.target), rows, stack.head)
            random_distances = measure_random_steps(embedded, problem, trace, stack, distance).tolist()
            output_distances = {n: distance.l1(stack(e)).tolist() for n, e in trace.reads.items()}
            last_distances = distance.l1(stack(trace.final)).tolist()

        ended_at, arrived, diverged = trace.ended_at.tolist(), trace.arrived.tolist(), trace.diverged().tolist()
        for row, (choice, place) in enumerate(batch.places):
            unit, tokens = arm.units[place], len(embedded.ids[place])
            ids = torch.tensor(embedded.ids[place], device=problem.target.device)
            target, positions = problem.target[row, :tokens], embedded.positions[:tokens]

            # Read the walk after the outer steps that the arm names, up to its own end, and at that end.
            stops = [
                (n, e[row, :tokens], output_distances[n][row]) for n, e in trace.reads.items() if n <= ended_at[row]
            ]
            stops.append((ended_at[row], trace.final[row, :tokens], last_distances[row]))
            reads: list[WalkRead] = []
            for n, e, output_distance in stops:
                # Embeddings that are not finite decode to some token or other, but have kept none.
                top = codec.top(e - positions, TOP) if bool(torch.isfinite(e).all()) else None
                reads.append(
                    WalkRead(
                        outer=n,
                        input_distance=float(widen(e - target).abs().sum()),
                        output_distance=output_distance,
                        recovery=float((top[:, 0] == ids).double().mean()) if top is not None else 0.0,
                        top=tuple(map(tuple, top.tolist())) if top is not None else (),
                    )
                )

            ceiling = (codec.decode(target - positions) == ids).double().mean()
            runs.append(
                WalkRun(
                    choice=choice,
                    prompt=unit.prompt,
                    seed=unit.seed,
                    target=embedded.ids[place],
                    size=float(widen(target).abs().sum()),
                    bound=float(bounds[place]),
                    arrived=arrived[row],
                    diverged=diverged[row],
                    random_distance=random_distances[row],
                    ceiling=float(ceiling),
                    end=reads[-1],
                    reads=tuple(reads[:-1]),
                )
            )
            named.update(embedded.ids[place], *(top for read in reads for top in read.top))
    texts = read_tokens(models.tokenizer(arm.settings.subject), named)
    return ClampedWalkResult(runs=tuple(runs), texts=texts)


def split_walks(arm: ClampedWalkArm, embedded: EmbeddedPrompts) -> list[WalkBatch]:
    """All choices × units, in batches whose activations fit into memory."""
    settings, target = arm.settings, embedded.target
    # As in any descent, about forty numbers of each token's width are kept for each block.
    blocks = settings.stack.blocks if isinstance(settings.stack, Stack) else 1
    assert isinstance(blocks, int)
    walk_bytes = target.shape[1] * target.shape[2] * (40 * blocks + 8) * target.element_size()
    at_once = max(1, min(MOST_WALKS, int(WALK_BYTES / walk_bytes)))

    pairs = [(choice, unit) for choice in range(len(arm.choices)) for unit in range(len(arm.units))]
    batches: list[WalkBatch] = []
    for first in range(0, len(pairs), at_once):
        places = tuple(pairs[first : first + at_once])
        choices = [arm.choices[choice] for choice, _ in places]
        unit = torch.tensor([unit for _, unit in places], device=target.device)
        problem = ClampedProblem(
            target=target[unit],
            lengths=embedded.lengths[unit],
            unit=unit,
            noise=torch.tensor([choice.noise for choice in choices], dtype=target.dtype, device=target.device),
            steps=torch.tensor([choice.step for choice in choices], dtype=target.dtype, device=target.device),
            outer=tuple(choice.outer for choice in choices),
        )
        batches.append(WalkBatch(places=places, problem=problem))
    return batches


def draw_clamps(arm: ClampedWalkArm, embedded: EmbeddedPrompts) -> DrawClamp:
    """Coordinates and noise of the units, one outer step per call. A unit has the same draws under every choice."""
    sources = [make_generator("clamp", f"{unit.prompt}:{unit.seed}") for unit in arm.units]
    target = embedded.target
    width, law = target.shape[2], torch.randn if arm.law == "normal" else torch.rand

    def draw() -> tuple[Tensor, Tensor]:
        first = torch.cat([torch.randint(width, (1,), generator=source) for source in sources])
        noise = [law((n, width), generator=source) for n, source in zip(embedded.sizes, sources, strict=True)]
        padded = pad_sequence(noise, batch_first=True)
        return to_device(first, target.device), to_device(padded, target.device, target.dtype)

    return draw


@torch.no_grad()
def measure_random_steps(
    embedded: EmbeddedPrompts,
    problem: ClampedProblem,
    trace: ClampedTrace,
    stack: EmbeddingFunction,
    distance: DistanceToTarget,
) -> Tensor:
    """Mean of ‖O(e) − O(e + δ)‖₁ over normal steps δ that have the ‖·‖₁ of each walk: [walks].

    distance: to the outputs of the problem's target.
    """
    length = (trace.final - problem.target).abs().sum((1, 2))
    total = torch.zeros_like(length)
    for k in range(RANDOM_STEPS):
        sources = [make_generator("random step", f"{unit.prompt}:{unit.seed}:{k}") for unit in embedded.units]
        noise = draw_rows(embedded, sources)[problem.unit]
        step = noise * (length / noise.abs().sum((1, 2)))[:, None, None]
        total = total + distance.l1(stack(problem.target + step))
    return total / RANDOM_STEPS
