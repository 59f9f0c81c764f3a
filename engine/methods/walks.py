"""Walks in embedding space that are meant to leave a stack's output alone, and the gradients that they follow.

Nothing in these loops waits for the device: what is measured stays there, and an observer looks now and then.
Source: the document's sections 'Orthogonal Walk Representations' and 'Clamped Gradient Walk Representations'.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from engine.methods.distances import DistanceToTarget
from engine.models.stacks import EmbeddingFunction, whole_output

COPIES = 256
"""Outputs whose gradients are taken together, each from a copy of the input of its own."""


@dataclass(frozen=True, kw_only=True)
class InputGradients:
    """The gradient of the summed output, three ways: [tokens, d_model] each, `individual` in float64.

    outputs: numbers that were summed.
    """

    summed: Tensor
    ones: Tensor
    individual: Tensor
    outputs: int


def take_gradients(stack: EmbeddingFunction, e: Tensor) -> InputGradients:
    """Gradient of the sum of the outputs, its product with a vector of ones, and the sum of one gradient per output.

    e: [tokens, d_model]. Source: the document's summed, layer and individual gradients.
    """
    inputs = e[None].detach().requires_grad_(True)
    (summed,) = torch.autograd.grad(whole_output(stack, inputs).sum(), inputs)
    outputs = whole_output(stack, inputs)
    (ones,) = torch.autograd.grad(outputs, inputs, torch.ones_like(outputs))
    individual = _sum_individual(stack, e, outputs.numel())
    return InputGradients(summed=summed[0], ones=ones[0], individual=individual, outputs=outputs.numel())


def _sum_individual(stack: EmbeddingFunction, e: Tensor, outputs: int) -> Tensor:
    # Added up in float64, as the document does: thousands of additions would round on their own account.
    total = torch.zeros(e.shape, dtype=torch.float64, device=e.device)
    for first in range(0, outputs, COPIES):
        own = torch.arange(first, min(first + COPIES, outputs), device=e.device)
        copies = e.detach().expand(len(own), -1, -1).clone().requires_grad_(True)
        # Each copy answers for one output, so that its gradient is that output's alone.
        picked = whole_output(stack, copies).flatten(1).gather(1, own[:, None])
        (gradients,) = torch.autograd.grad(picked.sum(), copies)
        total += gradients.double().sum(0)
    return total


@dataclass(frozen=True, kw_only=True)
class OrthogonalTrace:
    """What an orthogonal walk leaves, on its device.

    final: [runs, tokens, d]. products: g·v of each token before each step, and relative: |g·v| / (‖g‖‖v‖), both
    [steps, runs, tokens]. singular: of the first gradient, largest first [runs, min(tokens, d)].
    """

    final: Tensor
    products: Tensor
    relative: Tensor
    singular: Tensor


def walk_orthogonally(
    stack: EmbeddingFunction, start: Tensor, *, steps: int, step: float, vectors: Literal["broadcast", "per token"]
) -> OrthogonalTrace:
    """Add step · v to every token, v being orthogonal to all tokens' gradients of the summed output, `steps` times.

    start: [runs, tokens, d], prompts of one length. v: the last right-singular vector of the gradient for all tokens,
    or the (t + 1)-th from the end for token t. Source: the document's orthogonal walk.
    """
    e = start.detach()
    products: list[Tensor] = []
    relative: list[Tensor] = []
    singular: Tensor | None = None
    for _ in range(steps):
        e = e.requires_grad_(True)
        (gradient,) = torch.autograd.grad(whole_output(stack, e).sum(), e)
        _, values, right = torch.linalg.svd(gradient, full_matrices=True)  # right: [runs, d, d]
        singular = values if singular is None else singular
        v = right[:, -1:].expand_as(gradient) if vectors == "broadcast" else _last_rows(right, gradient.shape[1])
        product = (gradient @ v.mT).diagonal(dim1=1, dim2=2)  # [runs, tokens]
        sizes = gradient.norm(dim=-1) * v.norm(dim=-1)
        products.append(product)
        relative.append(product.abs() / sizes.clamp_min(torch.finfo(e.dtype).tiny))
        e = (e + step * v).detach()
    assert singular is not None
    return OrthogonalTrace(final=e, products=torch.stack(products), relative=torch.stack(relative), singular=singular)


def _last_rows(right: Tensor, tokens: int) -> Tensor:
    """One right-singular vector for each token, from the end: [runs, d, d] → [runs, tokens, d]."""
    from_end = right.flip(1)
    # A prompt longer than the space has dimensions starts again at the end.
    return from_end[:, torch.arange(tokens, device=right.device) % right.shape[1]]


@dataclass(frozen=True, kw_only=True)
class ClampedProblem:
    """A batch of clamped walks.

    target: [walks, tokens, d], padded on the right with zeros. lengths: tokens of each prompt [walks].
    unit: which row of the draws each walk takes [walks]. noise: of a shift, absolute or in units of the walk's own
    mean |e| [walks]. steps: of the descent, absolute or in units of noise over the mean size of the walk's first
    gradient [walks]. outer: outer steps at most, known here and not only on the device.
    """

    target: Tensor
    lengths: Tensor
    unit: Tensor
    noise: Tensor
    steps: Tensor
    outer: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ClampedPlan:
    """How a batch walks: descent steps after each shift, whose units settings are in, when to stop and to read."""

    inner: int
    scaled: bool = True
    stop_at: float | None = None
    reads: tuple[int, ...] = ()


@dataclass(kw_only=True)
class ClampedTrace:
    """What clamped walks leave, on their device and in their first order.

    final: [walks, tokens, d] at the end. ended_at: outer steps that each took [walks]. arrived: whether it reached the
    distance at which it was to stop [walks]. reads: outer step → [walks, tokens, d], NaN for walks that stood still.
    """

    final: Tensor
    ended_at: Tensor
    arrived: Tensor
    reads: dict[int, Tensor]


DrawClamp = Callable[[], tuple[Tensor, Tensor]]
"""The next outer step's index [units] and noise [units, tokens, d] of every unit, on the device of the walk."""


class Wanderer:
    """Lets every walk go on and never looks: for devices where nothing can be read."""

    look_every: int | None = None

    def keep(self, e: Tensor, moving: Tensor) -> set[int] | None:
        """Places, among the walks still held, of those that go on; None keeps all."""
        return None


@dataclass(frozen=True, kw_only=True)
class Herder(Wanderer):
    """Looks every so many outer steps and sends home the walks that stand still or are no longer finite."""

    look_every: int | None = 20

    def keep(self, e: Tensor, moving: Tensor) -> set[int] | None:
        staying = moving & torch.isfinite(e).flatten(1).all(1)
        return None if bool(staying.all()) else set(torch.nonzero(staying)[:, 0].tolist())


@dataclass(frozen=True, kw_only=True)
class _ActiveWalks:
    """Walks that are still computed: what the loop needs of each, by place. walks: their places in the batch."""

    problem: ClampedProblem
    walks: Tensor
    target_outputs: Tensor
    noise: Tensor
    size: Tensor

    def at(self, places: list[int]) -> _ActiveWalks:
        index = torch.tensor(places, dtype=torch.long, device=self.walks.device)
        problem = self.problem
        return _ActiveWalks(
            problem=ClampedProblem(
                target=problem.target[index],
                lengths=problem.lengths[index],
                unit=problem.unit[index],
                noise=problem.noise[index],
                steps=problem.steps[index],
                outer=tuple(problem.outer[k] for k in places),
            ),
            walks=self.walks[index],
            target_outputs=self.target_outputs[index],
            noise=self.noise[index],
            size=self.size[index],
        )

    def distance(self, stack: EmbeddingFunction) -> DistanceToTarget:
        rows = stack.rows(self.problem.lengths, self.problem.target.shape[1])
        return DistanceToTarget(self.target_outputs, rows, stack.head)


def walk_clamped(
    stack: EmbeddingFunction, problem: ClampedProblem, plan: ClampedPlan, draw: DrawClamp, observer: Wanderer
) -> ClampedTrace:
    """Shift the coordinates from a random index on, then descend on those before it to fix the output; repeat.

    Source: the document's clamped walk, as its listing has it.
    """
    held, trace = _begin(stack, problem, plan)
    e, moving, rates = problem.target.clone(), torch.ones_like(trace.arrived), None
    distance = held.distance(stack)
    for n in range(1, max(problem.outer) + 1):
        moved, rates = _step_outer(stack, held, distance, e, rates, plan, draw())
        e = torch.where(moving[:, None, None], moved, e)
        moving = _record(trace, held, plan, n, e, moving)
        places = [k for k, outer in enumerate(held.problem.outer) if outer > n]
        if observer.look_every is not None and n % observer.look_every == 0:
            going = observer.keep(e, moving)
            places = places if going is None else [k for k in places if k in going]
        if not places:
            break
        if len(places) < len(e):
            held, kept = held.at(places), torch.tensor(places, device=e.device)
            e, rates, moving, distance = e[kept], rates[kept], moving[kept], held.distance(stack)
    return trace


def _begin(stack: EmbeddingFunction, problem: ClampedProblem, plan: ClampedPlan) -> tuple[_ActiveWalks, ClampedTrace]:
    target = problem.target
    size = target.abs().sum((1, 2))
    with torch.no_grad():
        outputs = stack(target)
    walks = torch.arange(len(target), device=target.device)
    mean = size / (problem.lengths * target.shape[2])
    noise = problem.noise * mean if plan.scaled else problem.noise
    held = _ActiveWalks(problem=problem, walks=walks, target_outputs=outputs, noise=noise, size=size)
    return held, ClampedTrace(
        final=target.clone(),
        ended_at=torch.zeros_like(walks),
        arrived=torch.zeros_like(walks, dtype=torch.bool),
        reads={n: torch.full_like(target, torch.nan) for n in plan.reads},
    )


def _step_outer(
    stack: EmbeddingFunction,
    held: _ActiveWalks,
    distance: DistanceToTarget,
    e: Tensor,
    rates: Tensor | None,
    plan: ClampedPlan,
    drawn: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """One shift and the descent after it: [walks, tokens, d] and the step size of each walk [walks].

    rates: those step sizes; None fixes them, in scaled units by the first gradient.
    """
    index, noise = drawn
    columns = torch.arange(e.shape[2], device=e.device)
    shifted = (columns[None] >= index[held.problem.unit][:, None])[:, None]  # [walks, 1, d]
    e = e + (held.noise[:, None, None] * noise[held.problem.unit]).where(shifted, 0.0)
    for _ in range(plan.inner):
        e = e.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(distance.l1(stack(e)).sum(), e)
        if rates is None:
            rates = _fix_rates(held, plan, gradient)
        e = e.detach() - (rates[:, None, None] * gradient).where(~shifted, 0.0)
    assert rates is not None
    return e, rates


def _fix_rates(held: _ActiveWalks, plan: ClampedPlan, gradient: Tensor) -> Tensor:
    if not plan.scaled:
        return held.problem.steps
    # Padding has no gradient, so that the sum is over a prompt's own positions.
    mean = gradient.abs().sum((1, 2)) / (held.problem.lengths * gradient.shape[2])
    return held.problem.steps * held.noise / mean


def _record(trace: ClampedTrace, held: _ActiveWalks, plan: ClampedPlan, n: int, e: Tensor, moving: Tensor) -> Tensor:
    """Note where each walk is, and say which go on: [walks] of bool."""
    trace.final.index_copy_(0, held.walks, e)
    trace.ended_at.index_copy_(0, held.walks, trace.ended_at[held.walks] + moving)
    if n in trace.reads:
        kept = e.where(moving[:, None, None], torch.nan)
        trace.reads[n].index_copy_(0, held.walks, kept)
    if plan.stop_at is None:
        return moving
    # Padding stays at zero, as it is in the target.
    far = (e - held.problem.target).abs().sum((1, 2)) >= plan.stop_at * held.size
    trace.arrived.index_copy_(0, held.walks, trace.arrived[held.walks] | (far & moving))
    return moving & ~far
