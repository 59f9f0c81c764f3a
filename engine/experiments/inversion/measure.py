"""Inversions: descents from noise to the output of a prompt, and what is read from each."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.experiments.inputs import (
    LOGITS,
    TOP,
    Batch,
    WrapObserver,
    check_numbers,
    draw_rows,
    keep_observer,
    make_generator,
    make_problem,
    plan_descent,
    prepare_batch,
)
from engine.experiments.inversion.arm import InversionArm, InversionResult, InversionRun, NextTokens, Snapshot, Stop
from engine.methods.descent import StopFinished, Trace, descend
from engine.methods.distances import widen
from engine.models.codec import Codec
from engine.models.loaded import LoadedModels
from engine.models.token_text import read_tokens

CURVE_POINTS = 48
"""Points between the start and the end at which a loss curve is kept, at most."""

Top = tuple[tuple[int, ...], ...]
"""The most activated tokens of each position, largest first."""


def measure_inversion(arm: InversionArm, models: LoadedModels, watch: WrapObserver = keep_observer) -> InversionResult:
    """Descents of an arm's units, batch by batch."""
    stack = models.stack(arm.settings)
    codec = models.codec(arm.settings.subject, arm.settings.dtype, arm.settings.device)
    curve_at = curve_points(arm.settings.iterations)
    runs: list[InversionRun] = []
    for first in range(0, len(arm.units), arm.batch):
        batch = prepare_batch(arm.settings, arm.units[first : first + arm.batch], models, stack)
        steps = torch.full_like(batch.target[:, 0, 0], arm.step)
        observer = watch(arm, batch, models, StopFinished(read_at=arm.read_at))
        problem = make_problem(arm.settings, batch, steps, stack)
        trace = descend(stack, problem, plan_descent(arm.settings, arm.snapshots), observer)
        predicted: list[NextTokens | None] = [None] * len(batch.units)
        if arm.probe is not None:
            names = ("target", "start", "final", "decoded", "shifted")
            rows = predict_next_tokens(arm, batch, trace, codec, models).tolist()
            predicted = [NextTokens(**dict(zip(names, row, strict=True))) for row in rows]
        runs += [read_run(arm, batch, trace, codec, curve_at, row, predicted[row]) for row in range(len(batch.units))]

    # Readers of the result have no tokenizer, so it stores the text of every token that a run names.
    tokens: set[int] = set()
    for run in runs:
        tops = (run.target_top, *(snapshot.top for snapshot in run.snapshots))
        tokens |= {*run.target, *(token for top in tops for position in top for token in position)}
        if run.next_tokens is not None:
            tokens |= set(vars(run.next_tokens).values())
    texts = read_tokens(models.tokenizer(arm.settings.subject), tokens)
    return InversionResult(runs=tuple(runs), curve_at=curve_at, texts=texts)


def curve_points(iterations: int) -> tuple[int, ...]:
    """Iterations at which a loss curve is kept: 0, N, and a geometric series between."""
    between = (round(iterations ** (k / CURVE_POINTS)) for k in range(CURVE_POINTS + 1))
    return tuple(sorted({0, *between, iterations}))


def read_run(
    arm: InversionArm,
    batch: Batch,
    trace: Trace,
    codec: Codec,
    curve_at: tuple[int, ...],
    row: int,
    next_tokens: NextTokens | None = None,
) -> InversionRun:
    """One run of a finished trace, as plain numbers."""
    ids, unit = batch.ids[row], batch.units[row]
    length, ended = len(ids), int(trace.ended_at[row])
    target, final, positions = batch.target[row, :length], trace.final[row, :length], batch.positions[:length]
    distances = [float(d) for d in trace.distances[: ended + 1, row].tolist()]
    hit = int(trace.first_hits()[row])  # -1 where no distance was below the bound
    kept = {n: states[row, :length] for n, states in trace.snapshots.items() if n <= ended}
    # Decoded together: for so few rows the time goes into reading the vocabulary's matrix.
    states = torch.stack([target, final, *kept.values()])  # [states, tokens, d_model]
    target_top, final_top, *tops = (tuple(map(tuple, top)) for top in codec.top(states - positions, TOP).tolist())
    snapshots = [read_snapshot(batch, trace, codec, row, n, top) for n, top in zip(kept, tops, strict=True)]
    final_l2, recovery = float(widen(final - target).norm()), _recovery(final, final_top, ids)
    if arm.keep_end and ended not in kept:
        end = Snapshot(iteration=ended, distance=distances[-1], l2=final_l2, recovery=recovery, top=final_top)
        snapshots.append(end)
    return InversionRun(
        prompt=unit.prompt,
        seed=unit.seed,
        target=ids,
        hit=None if hit < 0 else hit,
        stop=Stop.DIVERGED if bool(trace.diverged()[row]) else Stop.HIT if hit >= 0 else Stop.CAP,
        ended_at=ended,
        bound=float(trace.bound[row]),
        start_distance=distances[0],
        final_distance=distances[-1],
        final_l2=final_l2,
        recovery=recovery,
        ceiling=_recovery(target, target_top, ids),
        snapshots=tuple(snapshots),
        curve=tuple(distances[n] for n in curve_at if n <= ended),
        target_top=target_top,
        next_tokens=next_tokens,
    )


def read_snapshot(batch: Batch, trace: Trace, codec: Codec, row: int, n: int, top: Top | None = None) -> Snapshot:
    """A run's snapshot at an iteration it has reached. top: its decoded tokens, if already computed."""
    ids = batch.ids[row]
    state, target = trace.snapshots[n][row, : len(ids)], batch.target[row, : len(ids)]
    top = top or read_top(codec, state - batch.positions[: len(ids)])
    return Snapshot(
        iteration=n,
        distance=float(trace.distances[n, row]),
        l2=float(widen(state - target).norm()),
        recovery=_recovery(state, top, ids),
        top=top,
    )


def read_top(codec: Codec, embeddings: Tensor) -> Top:
    """The most activated tokens at each position, largest first: [tokens, d_model], positions taken off."""
    return tuple(map(tuple, codec.top(embeddings, TOP).tolist()))


def _recovery(state: Tensor, top: Top, target: tuple[int, ...]) -> float:
    # A state that has diverged decodes to some tokens or other, but it has recovered none.
    if not bool(torch.isfinite(state).all()):
        return 0.0
    return sum(first == i for (first, *_), i in zip(top, target, strict=True)) / len(target)


@torch.no_grad()
def predict_next_tokens(arm: InversionArm, batch: Batch, trace: Trace, codec: Codec, models: LoadedModels) -> Tensor:
    """The probe's next token after the target, the start, the end, the end's decoded tokens, and the shifted target.

    The shifted target is as far from e as e_N is (in L²), in a random direction. Returns ids [runs, 5], of the largest
    logit at each run's last position. Raises SubjectError where the target's logits are not finite.
    Source: the document's check of the next token.
    """
    assert arm.probe is not None
    probe = models.probe(arm.settings, arm.probe)
    tokens = batch.target.shape[1]
    shift = probe.positions(tokens) - batch.positions  # a net's inputs carry no positions, a model's do
    within = torch.arange(tokens, device=batch.target.device)[None] < batch.lengths[:, None]  # [runs, tokens]
    noise = draw_rows(batch, [make_generator("equal shift", f"{unit.prompt}:{unit.seed}") for unit in batch.units])
    # Padding is no part of a prompt, and what a descent left there is no part of a distance.
    away = (trace.final - batch.target).where(within[..., None], 0.0)
    shifted = batch.target + noise * (away.flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1))[:, None, None]
    decoded = codec.embed(codec.decode(trace.final - batch.positions)) + batch.positions
    predicted: list[Tensor] = []
    for e in (batch.target, batch.start, trace.final, decoded, shifted):
        hidden = probe(e + shift)
        last = hidden[torch.arange(len(hidden), device=hidden.device), batch.lengths - 1]  # [runs, d_model]
        logits = probe.logits(last)  # [runs, vocab]
        if e is batch.target:  # a descent may diverge, the model itself may not
            check_numbers(logits, arm.settings, LOGITS)
        predicted.append(logits.argmax(-1))
    return torch.stack(predicted, dim=1)
