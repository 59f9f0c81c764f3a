"""Tuning: several step sizes on a few units of their own, until the best is known."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from engine.experiments.inputs import Posed, Watch, make_problem, plan_descent, pose, shift_bounds, unwatched
from engine.experiments.tuning.arm import StepOutcome, TuningArm, TuningResult
from engine.methods.descent import AllOrNone, Trace, TuningObserver, descend
from engine.methods.distances import widen
from engine.models.kv_prefix import NextPosition, Prefix, settle
from engine.models.loaded import Shelf
from engine.models.stacks import BlockStack, Invertible


def measure_tuning(arm: TuningArm, shelf: Shelf, watch: Watch = unwatched) -> TuningResult:
    """Every step size on every tuning unit, together, until the best is known."""
    stack: Invertible = shelf.stack(arm.settings)
    posed, prefix = pose(arm.settings, arm.units, shelf, stack), Prefix()
    if arm.alone:
        posed, prefix = take_last(arm, posed, stack)
    repeated, rates, groups = repeat_for_steps(posed, arm.steps)
    if arm.alone:
        stack = follow(stack, prefix.select(torch.arange(len(arm.units), device=groups.device).repeat(len(arm.steps))))
    tuning = TuningObserver(groups=groups, horizon=arm.horizon)
    observer = watch(arm, repeated, shelf, AllOrNone(observer=tuning) if arm.alone else tuning)
    problem = make_problem(arm.settings, repeated, rates, stack)
    trace = descend(stack, problem, plan_descent(arm.settings), observer)
    return TuningResult(
        outcomes=tuple(_read_step(arm, trace, groups == k, k) for k in range(len(arm.steps))),
        read_to=int(trace.ended_at.max()),
    )


def take_last(arm: TuningArm, posed: Posed, stack: Invertible) -> tuple[Posed, Prefix]:
    """The last token of each prompt, and the others as what it follows."""
    assert isinstance(stack, BlockStack)
    before = posed.target.shape[1] - 1
    prefix = settle(stack, Prefix(), posed.target[:, :before])
    last = replace(
        posed,
        ids=tuple(ids[before:] for ids in posed.ids),
        target=posed.target[:, before:],
        start=posed.start[:, before:],
        lengths=torch.ones_like(posed.lengths),
        positions=posed.positions[before:],
    )
    here = follow(stack, prefix)
    return replace(last, bound=None if posed.bound is None else shift_bounds(arm.settings, last, here)), prefix


def follow(stack: Invertible, prefix: Prefix) -> NextPosition:
    assert isinstance(stack, BlockStack)
    return NextPosition(stack, prefix)


def repeat_for_steps(posed: Posed, steps: tuple[float, ...]) -> tuple[Posed, Tensor, Tensor]:
    """The units once for each step size, with the step size of each run and its index: [steps · units] both."""
    units, target = len(posed.units), posed.target
    every = torch.arange(units, device=target.device).repeat(len(steps))
    groups = torch.arange(len(steps), device=target.device).repeat_interleave(units)
    repeated = Posed(
        settings=posed.settings,
        units=posed.units * len(steps),
        ids=posed.ids * len(steps),
        target=target[every],
        start=posed.start[every],
        lengths=posed.lengths[every],
        positions=posed.positions,
        bound=None if posed.bound is None else posed.bound[every],
    )
    return repeated, torch.tensor(steps, dtype=target.dtype, device=target.device)[groups], groups


def _read_step(arm: TuningArm, trace: Trace, members: Tensor, k: int) -> StepOutcome:
    hits = trace.first_hits()[members].tolist()
    ended = trace.ended_at[members]
    last = widen(trace.distances[:, members].gather(0, ended[None])[0]).nan_to_num(nan=torch.inf, posinf=torch.inf)
    return StepOutcome(
        step=arm.steps[k],
        hits=tuple(None if hit < 0 else hit for hit in hits),
        diverged=tuple(trace.diverged()[members].tolist()),
        median_distance=float(last.quantile(0.5, interpolation="higher")),
    )
