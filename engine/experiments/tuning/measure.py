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
from engine.methods.descent import Observer, StopFinished, StopTogether, Trace, TuningObserver, descend
from engine.methods.distances import widen
from engine.models.kv_prefix import NextPosition, Prefix, extend_prefix
from engine.models.loaded import LoadedModels
from engine.models.stacks import BlockStack, EmbeddingFunction


def measure_tuning(arm: TuningArm, models: LoadedModels, watch: WrapObserver = keep_observer) -> TuningResult:
    """Every step size on every tuning unit, all in one batch, until the best is known or to N."""
    stack: EmbeddingFunction = models.stack(arm.settings)
    batch, prefix = prepare_batch(arm.settings, arm.units, models, stack), Prefix()
    if arm.alone:
        assert isinstance(stack, BlockStack)
        batch, prefix = last_position(arm, batch, stack)
    repeated, rates, groups = repeat_for_steps(batch, arm.steps)
    to_the_end = arm.target == "distance"
    observer: Observer[Trace] = (
        StopFinished(read_at="N") if to_the_end else TuningObserver(groups=groups, horizon=arm.horizon)
    )
    if arm.alone:
        assert isinstance(stack, BlockStack)
        own = torch.arange(len(arm.units), device=groups.device).repeat(len(arm.steps))  # the unit of each run
        stack = NextPosition(stack, prefix.select(own))
        # The stack knows each run's prefix by its place in the batch, so that no run may leave before the others.
        observer = StopTogether(observer=observer)
    observer = watch(arm, repeated, models, observer)
    problem = make_problem(arm.settings, repeated, rates, stack)
    trace = descend(stack, problem, plan_descent(arm.settings), observer)

    hits, diverged = trace.first_hits(), trace.diverged()
    outcomes: list[StepOutcome] = []
    for k, step in enumerate(arm.steps):
        members = groups == k
        last = widen(trace.distances[:, members].gather(0, trace.ended_at[members][None])[0])
        # A distance that is not a number counts as the farthest.
        last = last.nan_to_num(nan=torch.inf, posinf=torch.inf)
        # In bounds, so that long prompts do not outweigh short ones. A run that diverged has no end.
        in_bounds = (last / trace.bound[members]).masked_fill(diverged[members], torch.inf)
        outcomes.append(
            StepOutcome(
                step=step,
                hits=tuple(None if hit < 0 else hit for hit in hits[members].tolist()),
                diverged=tuple(diverged[members].tolist()),
                median_distance=float(last.quantile(0.5, interpolation="higher")),
                distances=tuple(in_bounds.nan_to_num(nan=torch.inf, posinf=torch.inf).tolist()) if to_the_end else (),
            )
        )
    return TuningResult(outcomes=tuple(outcomes), read_to=int(trace.ended_at.max()))


def last_position(arm: TuningArm, batch: Batch, stack: BlockStack) -> tuple[Batch, Prefix]:
    """The batch reduced to the last token of each prompt, and the prefix of the tokens before it."""
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
    if last.bound is not None:
        last = replace(last, bound=shift_bounds(arm.settings, last, NextPosition(stack, prefix)))
    return last, prefix


def repeat_for_steps(batch: Batch, steps: tuple[float, ...]) -> tuple[Batch, Tensor, Tensor]:
    """The units once for each step size, the step size of each run, and its index: [steps · units] both."""
    units, target = len(batch.units), batch.target
    every = torch.arange(units, device=target.device).repeat(len(steps))
    groups = torch.arange(len(steps), device=target.device).repeat_interleave(units)
    repeated = replace(
        batch,
        units=batch.units * len(steps),
        ids=batch.ids * len(steps),
        target=target[every],
        start=batch.start[every],
        lengths=batch.lengths[every],
        bound=None if batch.bound is None else batch.bound[every],
    )
    return repeated, torch.tensor(steps, dtype=target.dtype, device=target.device)[groups], groups
