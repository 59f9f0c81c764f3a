"""Gradient descent on embeddings toward a given output: the one inversion loop.

The runs of a batch share weights and nothing else: each has its own target, start and step size. The loop never waits
for the device. It records distances in a buffer there, and only the observer reads from it, every few iterations.
Source: the document's equations 1 and 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol as Interface
from typing import TypeVar

import torch
from torch import Tensor

from engine.arms.protocol import Schedule
from engine.arms.settings import Metric, Optimizer, ReadAt
from engine.errors import ShapeError
from engine.methods.distances import DistanceToTarget, widen
from engine.models.stacks import EmbeddingFunction

OBSERVE_EVERY = 20
"""Gradient steps between two calls of the observer."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A batch of descents.

    output: the stack's output for the targets, [runs, rows, width] before the head. The targets themselves are unknown
    to a descent. start: [runs, tokens, d_model], positions included, padded on the right.
    lengths: tokens of each prompt [runs]. steps: the step size η of each run [runs].
    bound: distance below which a run has hit [runs]; None takes `start_fraction` of each run's start distance.
    Raises ShapeError for numbers that are not finite, and unless there is one start for each target.
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
    """How to descend. iterations: N. metric: the distance whose gradient is followed.

    snapshots: iterations whose embeddings are kept.
    """

    iterations: int
    metric: Metric = "l1"
    schedule: Schedule = Schedule()
    loss_scale: float = 1.0
    snapshots: tuple[int, ...] = ()
    optimizer: Optimizer = "descent"

    def factor(self, iteration: int) -> float:
        """Step size at `iteration`, relative to η."""
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
    """What a descent records, on its device. Runs keep their places in the batch.

    distances: L¹ to the target [N + 1, runs], +inf after a run's end. ended_at: last recorded iteration [runs].
    final: embeddings at the end [runs, tokens, d_model].
    snapshots: iteration → [runs, tokens, d_model], NaN for runs that ended before it.
    """

    distances: Tensor
    ended_at: Tensor
    bound: Tensor
    final: Tensor
    snapshots: dict[int, Tensor]

    def first_hits(self) -> Tensor:
        """First iteration with a distance below the bound, -1 where there is none: [runs]."""
        return first_true(self.distances < self.bound)

    def reached(self) -> Tensor:
        """Whether a distance below the bound was recorded: [runs] of bool."""
        return self.first_hits() >= 0

    def diverged(self) -> Tensor:
        """Whether a recorded distance was NaN or infinite: [runs] of bool."""
        iterations = torch.arange(len(self.distances), device=self.distances.device)[:, None]
        recorded = iterations <= self.ended_at
        return (recorded & ~torch.isfinite(self.distances)).any(0)


def first_true(events: Tensor) -> Tensor:
    """Index of the first True in each column, -1 where there is none: [rows, columns] → [columns]."""
    first = events.to(torch.int8).argmax(0)
    return torch.where(events.any(0), first, -1)


class RunStates(Interface):
    """The part of a trace that tells how each run fares. Walks have it, too."""

    def reached(self) -> Tensor:
        """Whether each run has reached its goal: [runs] of bool."""
        ...

    def diverged(self) -> Tensor:
        """Whether each run has left the finite numbers: [runs] of bool."""
        ...


T_contra = TypeVar("T_contra", contravariant=True)


class Observer(Interface[T_contra]):
    """Reads the trace of a descent or a walk every few steps and decides which runs continue."""

    def keep(self, trace: T_contra, runs: Tensor, iteration: int) -> Tensor | None:
        """Positions in `runs` (the active runs) to keep.

        None keeps all of them, an empty tensor ends the batch.
        """
        ...


class NeverStop:
    """Lets every run go to its end and reads nothing, so that a batch also runs on the meta device."""

    def keep(self, trace: object, runs: Tensor, iteration: int) -> Tensor | None:
        return None


@dataclass(frozen=True, kw_only=True)
class StopFinished:
    """Drops runs that have diverged and, where the claim is read at the hit, those that have reached their goal."""

    read_at: ReadAt

    def keep(self, trace: RunStates, runs: Tensor, iteration: int) -> Tensor | None:
        done = trace.diverged()
        if self.read_at == "hit":
            done = done | trace.reached()
        staying = ~done[runs]
        return None if bool(staying.all()) else torch.nonzero(staying)[:, 0]


@dataclass(frozen=True, kw_only=True)
class TuningObserver:
    """Ends the descent once a step size has hit on half of its runs, or at the horizon.

    groups: step-size index of each run [runs]. The Kaplan–Meier median of a step size is the iteration at which
    half of its runs have hit. The first to get there has the smallest median, so nothing later changes the choice.
    """

    groups: Tensor
    horizon: int

    def keep(self, trace: RunStates, runs: Tensor, iteration: int) -> Tensor | None:
        hit = trace.reached().double()
        sizes = torch.bincount(self.groups).double()
        decided = bool((torch.bincount(self.groups, weights=hit) / sizes >= 0.5).any())
        if decided or iteration >= self.horizon:
            return runs.new_empty(0)
        staying = ~(trace.diverged() | (hit > 0))[runs]
        return None if bool(staying.all()) else torch.nonzero(staying)[:, 0]


@dataclass(frozen=True, kw_only=True)
class StopTogether:
    """Keeps every run until `observer` drops all of them, for a stack that knows each run by its place in the batch."""

    observer: Observer[Trace]

    def keep(self, trace: Trace, runs: Tensor, iteration: int) -> Tensor | None:
        staying = self.observer.keep(trace, runs, iteration)
        return staying if staying is not None and len(staying) == 0 else None


def descend(stack: EmbeddingFunction, problem: Problem, plan: DescentPlan, observer: Observer[Trace]) -> Trace:
    """Run a batch of descents e ← e − η·∇(scale · distance) for at most N iterations.

    The distance of iteration n is recorded after n steps: n = 0 is the start, and n = N the end. A run that the
    observer drops leaves the batch and costs nothing more. Source: equation 2.
    """
    start, steps = problem.start, problem.steps
    # A bound that is a share of the start distance is filled in at iteration 0.
    bound = torch.empty_like(widen(steps)) if problem.bound is None else problem.bound
    trace = Trace(
        distances=torch.full((plan.iterations + 1, len(start)), math.inf, dtype=bound.dtype, device=start.device),
        ended_at=torch.zeros(len(start), dtype=torch.long, device=start.device),
        bound=bound,
        final=start.clone(),
        snapshots={n: torch.full_like(start, math.nan) for n in plan.snapshots},
    )

    # The active runs, by their places in the batch; e, steps and gradients have one row for each of them.
    runs = torch.arange(len(start), device=start.device)
    e = start.clone()
    valid = stack.rows(problem.lengths, start.shape[1])  # [runs, rows]: padding has no distance
    distance = DistanceToTarget(problem.output, valid, stack.head)
    adam = _Adam(e) if plan.optimizer == "adam" else None

    for n in range(plan.iterations + 1):
        # Let the observer drop runs. It reads from the device; nothing else in this loop does.
        if n and n % OBSERVE_EVERY == 0:
            staying = observer.keep(trace, runs, n - 1)
            if staying is not None:
                runs, e, steps = runs[staying], e[staying], steps[staying]
                if len(runs) == 0:
                    return trace
                distance = DistanceToTarget(problem.output[runs], valid[runs], stack.head)
                if adam is not None:
                    adam.keep(staying)

        # The L¹ distance is what is recorded, whichever metric is descended. Iteration N takes no step after it.
        gradient: Tensor | None = None
        if n == plan.iterations:
            with torch.no_grad():
                l1 = distance.l1(stack(e))
        else:
            e = e.detach().requires_grad_(True)
            outputs = stack(e)
            descended = distance.measure(plan.metric, outputs)
            (gradient,) = torch.autograd.grad(descended.sum(), e)
            e = e.detach()
            with torch.no_grad():
                l1 = descended.detach() if plan.metric == "l1" else distance.l1(outputs.detach())
            del outputs, descended  # their memory, before the next forward pass takes as much

        # Record the state before the step.
        trace.distances[n].index_copy_(0, runs, l1.to(trace.distances.dtype))
        trace.ended_at.index_fill_(0, runs, n)
        trace.final.index_copy_(0, runs, e)
        if n == 0 and problem.bound is None:
            trace.bound.copy_(problem.start_fraction * l1)
        if n in trace.snapshots:
            trace.snapshots[n].index_copy_(0, runs, e)

        # Step. Adam's direction does not depend on the loss scale, so it is left out.
        if gradient is not None:
            if adam is None:
                e = torch.addcmul(e, (steps * (-plan.loss_scale * plan.factor(n)))[:, None, None], gradient)
            else:
                e = torch.addcmul(e, (steps * plan.factor(n))[:, None, None], adam.direction(gradient))
    return trace


class _Adam:
    """PyTorch's Adam as a source of directions: step sizes differ between the runs of a batch."""

    def __init__(self, e: Tensor) -> None:
        self._adam = torch.optim.Adam([torch.zeros_like(e)], lr=1.0)

    def keep(self, staying: Tensor) -> None:
        """Drop the moments of all other runs."""
        (old,) = self._adam.param_groups[0]["params"]
        moments = {name: held[staying] if held.dim() else held for name, held in self._adam.state[old].items()}
        new = old[staying]
        self._adam.param_groups[0]["params"] = [new]
        self._adam.state.clear()
        self._adam.state[new] = moments

    def direction(self, gradient: Tensor) -> Tensor:
        """The step that Adam takes from zero with a learning rate of 1."""
        (parameter,) = self._adam.param_groups[0]["params"]
        parameter.zero_().grad = gradient
        self._adam.step()
        return parameter
