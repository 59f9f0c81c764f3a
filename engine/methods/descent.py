"""Gradient descent on embeddings towards a given output: the one inversion loop.

Runs of a batch share the weights and nothing else; each has its own target, start and step size. Nothing in
the loop waits for the device: distances go to a buffer there, and an observer looks at it now and then.
Source: equations 1 and 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol as Interface

import torch
from torch import Tensor

from engine.arms.protocol import Schedule
from engine.arms.settings import Metric, Optimizer, ReadAt
from engine.errors import ShapeError
from engine.methods.distances import DistanceToTarget, widen
from engine.models.stacks import EmbeddingFunction

LOOK_EVERY = 20
"""Iterations between two looks at the device's buffer."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A batch of descents.

    output: what the stack gives for the targets, [runs, rows, width] before the head; nothing else of them is known
    here. start: [runs, tokens, d_model], positions included, padded on the right.
    lengths: tokens of each prompt [runs]. steps: η of each run [runs].
    bound: the distance that counts as close [runs]; None takes `start_fraction` of each run's start distance.
    """

    output: Tensor
    start: Tensor
    lengths: Tensor
    steps: Tensor
    bound: Tensor | None
    start_fraction: float = 0.3

    def __post_init__(self) -> None:
        for name, tensor in (("the target's outputs", self.output), ("start embeddings", self.start)):
            if tensor.device.type != "meta" and not bool(torch.isfinite(tensor).all()):
                raise ShapeError(
                    f"descent: {name} hold NaN or infinity, expected finite numbers; check the model's weights"
                )
        if len(self.output) != len(self.start):
            raise ShapeError(
                f"descent: {len(self.start)} starts, expected one for each of {len(self.output)} targets; "
                "draw a start for every target"
            )


@dataclass(frozen=True, kw_only=True)
class DescentPlan:
    """How a descent goes: N iterations, the metric whose gradient it follows, and at which it is looked at."""

    iterations: int
    metric: Metric = "l1"
    schedule: Schedule = Schedule()
    loss_scale: float = 1.0
    snapshots: tuple[int, ...] = ()
    optimizer: Optimizer = "descent"

    def factor(self, iteration: int) -> float:
        """Step size at `iteration` as a share of η."""
        done = iteration / self.iterations
        match self.schedule.shape:
            case "linear":
                return 1 - (1 - self.schedule.end) * done
            case "cosine":
                return self.schedule.end + (1 - self.schedule.end) * (1 + math.cos(math.pi * done)) / 2
            case "constant":
                return 1.0


@dataclass(kw_only=True)
class Trace:
    """What a descent leaves, on its device and in the runs' first order.

    distances: L¹ to the target [N + 1, runs], +inf after a run's end. ended_at: last iteration recorded [runs].
    final: [runs, tokens, d_model] at the end. snapshots: iteration → [runs, tokens, d_model] (NaN for runs gone).
    """

    distances: Tensor
    ended_at: Tensor
    bound: Tensor
    final: Tensor
    snapshots: dict[int, Tensor]

    def first_hits(self) -> Tensor:
        """First iteration with a distance below the bound, -1 where there is none: [runs]."""
        return first_true(self.distances < self.bound)

    def diverged(self) -> Tensor:
        """Whether a recorded distance was NaN or infinite: [runs] of bool."""
        steps = torch.arange(len(self.distances), device=self.distances.device)[:, None]
        recorded = steps <= self.ended_at
        return (recorded & ~torch.isfinite(self.distances)).any(0)


def first_true(events: Tensor) -> Tensor:
    """Index of the first True down each column, -1 where there is none: [rows, columns] → [columns]."""
    first = events.to(torch.int8).argmax(0)
    return torch.where(events.any(0), first, -1)


class Observer(Interface):
    """Looks at a descent now and then and says which runs go on."""

    def keep(self, trace: Trace, runs: Tensor, iteration: int) -> Tensor | None:
        """Indices into `runs` (those still descending) that go on; None keeps all; empty ends the descent."""
        ...


class NeverStop:
    """Lets every run go to the end and never looks: for devices where nothing can be read."""

    def keep(self, trace: Trace, runs: Tensor, iteration: int) -> Tensor | None:
        return None


@dataclass(frozen=True, kw_only=True)
class StopFinished:
    """Sends home the runs that have diverged and, when the claim is read at the hit, those that have hit."""

    read_at: ReadAt

    def keep(self, trace: Trace, runs: Tensor, iteration: int) -> Tensor | None:
        done = trace.diverged()
        if self.read_at == "hit":
            done = done | (trace.first_hits() >= 0)
        staying = ~done[runs]
        return None if bool(staying.all()) else torch.nonzero(staying)[:, 0]


@dataclass(frozen=True, kw_only=True)
class TuningObserver:
    """Ends the descent once a step size has hit on half of its runs, or at the horizon.

    groups: step-size index of each run [runs]. The Kaplan–Meier median of a step size is the iteration at which
    half of its runs have hit; the first to get there has the smallest, so nothing later can change the choice.
    """

    groups: Tensor
    horizon: int

    def keep(self, trace: Trace, runs: Tensor, iteration: int) -> Tensor | None:
        hit = (trace.first_hits() >= 0).double()
        sizes = torch.bincount(self.groups).double()
        decided = bool((torch.bincount(self.groups, weights=hit) / sizes >= 0.5).any())
        if decided or iteration >= self.horizon:
            return runs.new_empty(0)
        staying = ~(trace.diverged() | (hit > 0))[runs]
        return None if bool(staying.all()) else torch.nonzero(staying)[:, 0]


@dataclass(frozen=True, kw_only=True)
class StopTogether:
    """Lets every run go on until an observer sends all of them home: for a stack that knows each run by its place."""

    observer: Observer

    def keep(self, trace: Trace, runs: Tensor, iteration: int) -> Tensor | None:
        staying = self.observer.keep(trace, runs, iteration)
        return staying if staying is not None and len(staying) == 0 else None


def descend(stack: EmbeddingFunction, problem: Problem, plan: DescentPlan, observer: Observer) -> Trace:
    """Run a batch of descents e ← e − η·∇(scale · distance) for at most N iterations.

    Iteration n is read before step n + 1, so that n = 0 is the start and n = N the end. A run that the observer
    sends home leaves the batch and costs nothing more. Raises ShapeError for embeddings that are not finite.
    Source: equation 2.
    """
    target = problem.output
    valid = stack.rows(problem.lengths, problem.start.shape[1])
    trace = _open(problem, plan)
    runs = torch.arange(len(problem.start), device=problem.start.device)
    distance = DistanceToTarget(target, valid, stack.head)
    e, steps = problem.start.clone(), problem.steps
    mover = _Adam(e) if plan.optimizer == "adam" else _Plain(plan.loss_scale)
    for n in range(plan.iterations + 1):
        if n and n % LOOK_EVERY == 0:
            staying = observer.keep(trace, runs, n - 1)
            if staying is not None:
                runs, e, steps = runs[staying], e[staying], steps[staying]
                mover.keep(staying)
                if len(runs) == 0:
                    return trace
                distance = DistanceToTarget(target[runs], valid[runs], stack.head)
        e, read, gradient = _evaluate(stack, distance, e, plan, last=n == plan.iterations)
        _record(trace, problem, runs, n, e, read)
        if gradient is not None:
            e = mover.move(e, gradient, steps, plan.factor(n))
    return trace


class _Plain:
    """Gradient descent of the scaled distance."""

    def __init__(self, loss_scale: float) -> None:
        self._loss_scale = loss_scale

    def keep(self, staying: Tensor) -> None:
        """Nothing is remembered of a run."""

    def move(self, e: Tensor, gradient: Tensor, steps: Tensor, factor: float) -> Tensor:
        return torch.addcmul(e, (steps * (-self._loss_scale * factor))[:, None, None], gradient)


class _Adam:
    """The library's Adam: it says the direction of each step, and each run has its own step size.

    A factor before the loss changes no direction, so that it has no place here.
    """

    def __init__(self, e: Tensor) -> None:
        self._adam = torch.optim.Adam([torch.zeros_like(e)], lr=1.0)

    def keep(self, staying: Tensor) -> None:
        (old,) = self._adam.param_groups[0]["params"]
        moments = {name: held[staying] if held.dim() else held for name, held in self._adam.state[old].items()}
        new = old[staying]
        self._adam.param_groups[0]["params"] = [new]
        self._adam.state.clear()
        self._adam.state[new] = moments

    def move(self, e: Tensor, gradient: Tensor, steps: Tensor, factor: float) -> Tensor:
        (direction,) = self._adam.param_groups[0]["params"]
        direction.zero_().grad = gradient
        self._adam.step()  # from zero, by a step of 1
        return torch.addcmul(e, (steps * factor)[:, None, None], direction)


def _open(problem: Problem, plan: DescentPlan) -> Trace:
    runs = len(problem.start)
    bound = torch.empty_like(widen(problem.steps)) if problem.bound is None else problem.bound
    return Trace(
        distances=torch.full((plan.iterations + 1, runs), math.inf, dtype=bound.dtype, device=problem.start.device),
        ended_at=torch.zeros(runs, dtype=torch.long, device=problem.start.device),
        bound=bound,
        final=problem.start.clone(),
        snapshots={n: torch.full_like(problem.start, math.nan) for n in plan.snapshots},
    )


def _evaluate(
    stack: EmbeddingFunction, distance: DistanceToTarget, e: Tensor, plan: DescentPlan, *, last: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The embeddings, their L¹ distance, and the gradient of the descended metric (None on the last iteration)."""
    if last:
        with torch.no_grad():
            return e, distance.l1(stack(e)), None
    e = e.detach().requires_grad_(True)
    outputs = stack(e)
    descended = distance.measure(plan.metric, outputs)
    (gradient,) = torch.autograd.grad(descended.sum(), e)
    if plan.metric == "l1":
        return e.detach(), descended.detach(), gradient
    with torch.no_grad():
        return e.detach(), distance.l1(outputs.detach()), gradient


def _record(trace: Trace, problem: Problem, runs: Tensor, n: int, e: Tensor, read: Tensor) -> None:
    trace.distances[n].index_copy_(0, runs, read.to(trace.distances.dtype))
    trace.ended_at.index_fill_(0, runs, n)
    trace.final.index_copy_(0, runs, e)
    if n == 0 and problem.bound is None:
        trace.bound.copy_(problem.start_fraction * read)
    if n in trace.snapshots:
        trace.snapshots[n].index_copy_(0, runs, e)
