"""Tuning: several step sizes on a few units of their own, until the best is known."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from engine.experiments.inputs import (
    Batch,
    WrapObserver,
    keep_observer,
    make_problem,
    plan_descent,
    prepare_batch,
    shift_bounds,
)
from engine.experiments.tuning.arm import StepOutcome, TuningArm, TuningResult
from engine.methods.descent import StopTogether, Trace, TuningObserver, descend
from engine.methods.distances import widen
from engine.models.kv_prefix import NextPosition, Prefix, extend_prefix
from engine.models.loaded import LoadedModels
from engine.models.stacks import BlockStack, EmbeddingFunction


def measure_tuning(arm: TuningArm, models: LoadedModels, watch: WrapObserver = keep_observer) -> TuningResult:
    """Every step size on every tuning unit, together, until the best is known."""
    stack: EmbeddingFunction = models.stack(arm.settings)
    batch, prefix = prepare_batch(arm.settings, arm.units, models, stack), Prefix()
    if arm.alone:
        batch, prefix = last_position(arm, batch, stack)
    repeated, rates, groups = repeat_for_steps(batch, arm.steps)
    if arm.alone:
        stack = behind_prefix(
            stack, prefix.select(torch.arange(len(arm.units), device=groups.device).repeat(len(arm.steps)))
        )
    tuning = TuningObserver(groups=groups, horizon=arm.horizon)
    observer = watch(arm, repeated, models, StopTogether(observer=tuning) if arm.alone else tuning)
    problem = make_problem(arm.settings, repeated, rates, stack)
    trace = descend(stack, problem, plan_descent(arm.settings), observer)
    return TuningResult(
        outcomes=tuple(_read_step(arm, trace, groups == k, k) for k in range(len(arm.steps))),
        read_to=int(trace.ended_at.max()),
    )


def last_position(arm: TuningArm, batch: Batch, stack: EmbeddingFunction) -> tuple[Batch, Prefix]:
    """The last token of each prompt, and the others as what it follows."""
    assert isinstance(stack, BlockStack)
    before = batch.target.shape[1] - 1
    prefix = extend_prefix(stack, Prefix(), batch.target[:, :before])
    last = replace(
        batch,
        ids=tuple(ids[before:] for ids in batch.ids),
        target=batch.target[:, before:],
        start=batch.start[:, before:],
        lengths=torch.ones_like(batch.lengths),
        positions=batch.positions[before:],
    )
    here = behind_prefix(stack, prefix)
    return replace(last, bound=None if batch.bound is None else shift_bounds(arm.settings, last, here)), prefix


def behind_prefix(stack: EmbeddingFunction, prefix: Prefix) -> NextPosition:
    assert isinstance(stack, BlockStack)
    return NextPosition(stack, prefix)


def repeat_for_steps(batch: Batch, steps: tuple[float, ...]) -> tuple[Batch, Tensor, Tensor]:
    """The units once for each step size, with the step size of each run and its index: [steps · units] both."""
    units, target = len(batch.units), batch.target
    every = torch.arange(units, device=target.device).repeat(len(steps))
    groups = torch.arange(len(steps), device=target.device).repeat_interleave(units)
    repeated = Batch(
        settings=batch.settings,
        units=batch.units * len(steps),
        ids=batch.ids * len(steps),
        target=target[every],
        start=batch.start[every],
        lengths=batch.lengths[every],
        positions=batch.positions,
        bound=None if batch.bound is None else batch.bound[every],
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
