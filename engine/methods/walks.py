"""Walks in embedding space that are meant to leave a stack's output as it is.

These loops never wait for the device: all they measure stays there, and only an observer reads it now and then.
Source: the document's sections 'Orthogonal Walk Representations' and 'Clamped Gradient Walk Representations'.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from engine.methods.descent import OBSERVE_EVERY, Observer
from engine.methods.distances import DistanceToTarget
from engine.models.stacks import EmbeddingFunction, whole_output

WalkDirection = Literal["last", "null", "random"]
"""Along which vectors a walk goes; see walk_orthogonally."""


@dataclass(frozen=True, kw_only=True)
class OrthogonalTrace:
    """What an orthogonal walk records, on its device.

    final: [runs, tokens, d]. products: g·v of each token before each step, and relative: |g·v| / (‖g‖‖v‖), both
    [steps, runs, tokens]. singular: singular values of the first gradient, largest first [runs, min(tokens, d)].
    """

    final: Tensor
    products: Tensor
    relative: Tensor
    singular: Tensor


def walk_orthogonally(
    stack: EmbeddingFunction,
    start: Tensor,
    *,
    steps: int,
    step: float,
    vectors: Literal["broadcast", "per token"],
    direction: WalkDirection = "last",
    draw: Callable[[], Tensor] | None = None,
) -> OrthogonalTrace:
    """Add step · v to every token, `steps` times; v is orthogonal to all tokens' gradients of the summed output.

    start: [runs, tokens, d], prompts of one length. v: the last right-singular vector of the gradient for all tokens,
    or the (t + 1)-th from the end for token t. Of other directions there is one vector for all tokens: 'null' is drawn
    in the space that no token's gradient reaches, 'random' in the whole space, as a comparison that is not orthogonal.
    draw: draws their normal numbers, [runs, d]. Raises LinAlgError for a gradient that is not finite.
    Source: the document's orthogonal walk.
    """
    e = start.detach()
    products: list[Tensor] = []
    relative: list[Tensor] = []
    singular: Tensor | None = None
    for _ in range(steps):
        e = e.requires_grad_(True)
        (gradient,) = torch.autograd.grad(whole_output(stack, e).sum(), e)  # [runs, tokens, d]

        # With fewer tokens than dimensions, the last right-singular vectors span what no token's gradient reaches.
        _, values, right = torch.linalg.svd(gradient, full_matrices=True)  # right: [runs, d, d]
        singular = values if singular is None else singular
        if direction != "last":
            assert draw is not None
            drawn = draw()[:, None]  # [runs, 1, d]
            if direction == "null":
                reached = right[:, : gradient.shape[1]]
                drawn = drawn - (drawn @ reached.mT) @ reached
            v = (drawn / drawn.norm(dim=-1, keepdim=True)).expand_as(gradient)
        elif vectors == "broadcast":
            v = right[:, -1:].expand_as(gradient)
        else:
            # A prompt longer than the space has dimensions starts again at the end.
            from_end = torch.arange(gradient.shape[1], device=right.device) % right.shape[1]
            v = right.flip(1)[:, from_end]

        # How orthogonal each token's vector is in fact.
        product = (gradient @ v.mT).diagonal(dim1=1, dim2=2)  # [runs, tokens]
        sizes = gradient.norm(dim=-1) * v.norm(dim=-1)
        products.append(product)
        relative.append(product.abs() / sizes.clamp_min(torch.finfo(e.dtype).tiny))
        e = (e + step * v).detach()
    assert singular is not None
    return OrthogonalTrace(final=e, products=torch.stack(products), relative=torch.stack(relative), singular=singular)


@dataclass(frozen=True, kw_only=True)
class ClampedProblem:
    """A batch of clamped walks.

    target: the embeddings e where walks begin [walks, tokens, d], padded on the right with zeros.
    lengths: tokens of each prompt [walks]. unit: which row of the draws each walk takes [walks].
    noise: scale of the shifts [walks], absolute or in units of the walk's own mean |e|.
    steps: step size of the descent [walks], absolute or in units of noise over the mean |gradient| at the walk's
    first inner step.
    outer: the most outer steps of each walk, known on the host so that no step waits for the device.
    """

    target: Tensor
    lengths: Tensor
    unit: Tensor
    noise: Tensor
    steps: Tensor
    outer: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ClampedPlan:
    """How to walk.

    inner: descent steps after each shift. scaled: noise and step sizes are relative, not absolute.
    stop_at: a walk stops once ‖e − e_n‖₁ has reached this share of ‖e‖₁; None never stops.
    reads: outer steps whose embeddings are kept. observe_every: outer steps between two calls of the observer.
    """

    inner: int
    scaled: bool = True
    stop_at: float | None = None
    reads: tuple[int, ...] = ()
    observe_every: int = OBSERVE_EVERY


@dataclass(kw_only=True)
class ClampedTrace:
    """What clamped walks record, on their device. Walks keep their places in the batch.

    final: embeddings at the end [walks, tokens, d]. ended_at: outer steps that each walk took [walks].
    arrived: whether it reached the distance at which it stops [walks].
    reads: outer step → [walks, tokens, d], NaN for walks that had stopped before it.
    """

    final: Tensor
    ended_at: Tensor
    arrived: Tensor
    reads: dict[int, Tensor]

    def reached(self) -> Tensor:
        """Whether each walk has arrived: [walks] of bool."""
        return self.arrived

    def diverged(self) -> Tensor:
        """Whether an embedding is NaN or infinite: [walks] of bool."""
        return ~torch.isfinite(self.final).flatten(1).all(1)


DrawClamp = Callable[[], tuple[Tensor, Tensor]]
"""Draws an outer step for every unit, on the walk's device: a coordinate [units] and noise [units, tokens, d]."""


def walk_clamped(
    stack: EmbeddingFunction,
    problem: ClampedProblem,
    plan: ClampedPlan,
    draw: DrawClamp,
    observer: Observer[ClampedTrace],
) -> ClampedTrace:
    """Shift the coordinates from a random one on, then descend on those before it to restore the output; repeat.

    A walk leaves the batch at its last outer step, or when the observer drops it.
    Source: the document's clamped walk, as its listing has it.
    """
    target = problem.target
    trace = ClampedTrace(
        final=target.clone(),
        ended_at=torch.zeros(len(target), dtype=torch.long, device=target.device),
        arrived=torch.zeros(len(target), dtype=torch.bool, device=target.device),
        reads={n: torch.full_like(target, torch.nan) for n in plan.reads},
    )

    # The active walks, by their places in the batch. The tensors below have one row for each of them.
    walks, outer = torch.arange(len(target), device=target.device), list(problem.outer)
    e, origin, unit, noise, rates = target.clone(), target, problem.unit, problem.noise, problem.steps
    size = target.abs().sum((1, 2))  # ‖e‖₁
    numbers = problem.lengths * target.shape[2]  # coordinates of a prompt, without padding
    if plan.scaled:
        noise = noise * (size / numbers)
    with torch.no_grad():
        target_outputs = stack(target)
    valid = stack.rows(problem.lengths, target.shape[1])
    distance = DistanceToTarget(target_outputs, valid, stack.head)
    columns = torch.arange(target.shape[2], device=target.device)

    for n in range(1, max(outer) + 1):
        # Shift the coordinates from a random one on, which is the same for all tokens of a unit.
        first, drawn = draw()
        shifted = (columns[None] >= first[unit][:, None])[:, None]  # [walks, 1, d]
        moved = e + (noise[:, None, None] * drawn[unit]).where(shifted, 0.0)

        # Restore the output by descending on the coordinates before it.
        for inner in range(plan.inner):
            moved = moved.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(distance.l1(stack(moved)).sum(), moved)
            if plan.scaled and n == 1 and inner == 0:
                # The first gradient fixes the unit of step sizes. It is zero at padding, so the sum leaves that out.
                rates = rates * noise / (gradient.abs().sum((1, 2)) / numbers)
            moved = moved.detach() - (rates[:, None, None] * gradient).where(~shifted, 0.0)

        # A walk that has arrived stays where it is until the observer drops it.
        moving = ~trace.arrived[walks]
        e = torch.where(moving[:, None, None], moved, e)
        trace.final.index_copy_(0, walks, e)
        trace.ended_at.index_copy_(0, walks, trace.ended_at[walks] + moving)
        if n in trace.reads:
            trace.reads[n].index_copy_(0, walks, e.where(moving[:, None, None], torch.nan))
        if plan.stop_at is not None:
            # Padding is zero in both.
            far = (e - origin).abs().sum((1, 2)) >= plan.stop_at * size
            trace.arrived.index_copy_(0, walks, ~moving | far)

        # Drop walks that have taken their last step, which the host knows, and those that the observer drops.
        going = [k for k, last in enumerate(outer) if last > n]
        if n % plan.observe_every == 0:
            staying = observer.keep(trace, walks, n)
            if staying is not None:
                going = sorted({*going} & {*staying.tolist()})
        if not going:
            break
        if len(going) < len(walks):
            kept = torch.tensor(going, device=target.device)
            walks, outer = walks[kept], [outer[k] for k in going]
            e, origin, unit, noise, rates, size = (x[kept] for x in (e, origin, unit, noise, rates, size))
            distance = DistanceToTarget(target_outputs[walks], valid[walks], stack.head)
    return trace
