"""Inversions: descents from noise to a prompt's output, and what is read from them."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.experiments.finite import LOGITS, check_numbers
from engine.experiments.inputs import (
    TOP,
    Batch,
    WrapObserver,
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
from engine.models.stacks import BlockStack
from engine.models.token_text import read_tokens

CURVE_POINTS = 48
Top = tuple[tuple[int, ...], ...]
"""The most activated tokens of each position, largest first."""


def measure_inversion(arm: InversionArm, models: LoadedModels, watch: WrapObserver = keep_observer) -> InversionResult:
    """Descents of an arm's units, batch by batch."""
    stack = models.stack(arm.settings)
    codec = models.codec(arm.settings.subject, arm.settings.dtype, arm.settings.device)
    at = curve_points(arm.settings.iterations)
    runs: list[InversionRun] = []
    for first in range(0, len(arm.units), arm.batch):
        batch = prepare_batch(arm.settings, arm.units[first : first + arm.batch], models, stack)
        steps = torch.full_like(batch.target[:, 0, 0], arm.step)
        plan = plan_descent(arm.settings, arm.snapshots)
        observer = watch(arm, batch, models, StopFinished(read_at=arm.read_at))
        trace = descend(stack, make_problem(arm.settings, batch, steps, stack), plan, observer)
        said = read_next_tokens(arm, batch, trace, codec, models) if arm.probe else [None] * len(batch.units)
        runs += [read_run(arm, batch, trace, codec, at, row, said[row]) for row in range(len(batch.units))]
    texts = read_tokens(models.tokenizer(arm.settings.subject), (i for run in runs for i in _ids_of(run)))
    return InversionResult(runs=tuple(runs), curve_at=at, texts=texts)


def _ids_of(run: InversionRun) -> set[int]:
    """Every token that a reading of the run names."""
    said = run.next_tokens
    named = (said.target, said.start, said.final, said.decoded, said.shifted) if said else ()
    tops = (*run.target_top, *(top for snapshot in run.snapshots for top in snapshot.top))
    return {*run.target, *named, *(i for top in tops for i in top)}


def curve_points(iterations: int) -> tuple[int, ...]:
    """Iterations at which a loss curve is kept: 0, N, and a geometric series between."""
    between = (round(iterations ** (k / CURVE_POINTS)) for k in range(CURVE_POINTS + 1))
    return tuple(sorted({0, *between, iterations}))


def read_run(
    arm: InversionArm,
    batch: Batch,
    trace: Trace,
    codec: Codec,
    at: tuple[int, ...],
    row: int,
    said: NextTokens | None = None,
) -> InversionRun:
    """One run of a finished trace, as plain numbers."""
    ids, unit = batch.ids[row], batch.units[row]
    length, ended = len(ids), int(trace.ended_at[row])
    target, positions = batch.target[row, :length], batch.positions[:length]
    distances = [float(d) for d in trace.distances[: ended + 1, row].tolist()]
    hit = int(trace.first_hits()[row])
    final = trace.final[row, :length]
    kept = {n: states[row, :length] for n, states in trace.snapshots.items() if n <= ended}
    # Decoded together: for so few rows the time goes into reading the vocabulary's matrix.
    states = torch.stack([target, final, *kept.values()])  # [states, tokens, d_model]
    target_top, final_top, *tops = map(_as_tuples, codec.top(states - positions, TOP))
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
        final_l2=float(widen(final - target).norm()),
        recovery=_recovery(final, final_top, ids),
        ceiling=_recovery(target, target_top, ids),
        snapshots=tuple(_read_state(batch, trace, row, n, top) for n, top in zip(kept, tops, strict=True)),
        curve=tuple(distances[n] for n in at if n <= ended),
        target_top=target_top,
        next_tokens=said,
    )


def read_snapshot(batch: Batch, trace: Trace, codec: Codec, row: int, n: int) -> Snapshot:
    """One run at iteration n, which the descent has passed."""
    length = len(batch.ids[row])
    embeddings = trace.snapshots[n][row, :length] - batch.positions[:length]
    return _read_state(batch, trace, row, n, read_top(codec, embeddings))


def _read_state(batch: Batch, trace: Trace, row: int, n: int, top: Top) -> Snapshot:
    ids = batch.ids[row]
    state = trace.snapshots[n][row, : len(ids)]
    return Snapshot(
        iteration=n,
        distance=float(trace.distances[n, row]),
        l2=float(widen(state - batch.target[row, : len(ids)]).norm()),
        recovery=_recovery(state, top, ids),
        top=top,
    )


def read_top(codec: Codec, embeddings: Tensor) -> Top:
    """The most activated tokens at each position, largest first: [tokens, d_model], positions taken off."""
    return _as_tuples(codec.top(embeddings, TOP))


def _as_tuples(ids: Tensor) -> Top:
    return tuple(map(tuple, ids.tolist()))


def _recovery(state: Tensor, top: Top, target: tuple[int, ...]) -> float:
    # What has diverged decodes to some token or other; it has recovered none.
    if not bool(torch.isfinite(state).all()):
        return 0.0
    return sum(first == i for (first, *_), i in zip(top, target, strict=True)) / len(target)


def read_next_tokens(
    arm: InversionArm, batch: Batch, trace: Trace, codec: Codec, models: LoadedModels
) -> list[NextTokens]:
    """What the probe says after each run, as plain numbers."""
    names = ("target", "start", "final", "decoded", "shifted")
    said = say_next_tokens(arm, batch, trace, codec, models).tolist()
    return [NextTokens(**dict(zip(names, row, strict=True))) for row in said]


@torch.no_grad()
def say_next_tokens(arm: InversionArm, batch: Batch, trace: Trace, codec: Codec, models: LoadedModels) -> Tensor:
    """The probe's next token after the target, the start, the end, the end's decoded tokens, and the shifted target.

    The last lies as far from e as e_N does (in L²), in a random direction. Returns ids [runs, 5], of the largest logit
    at each run's last position. Source: the document's check of the next token.
    """
    assert arm.probe is not None
    probe = models.probe(arm.settings, arm.probe)
    tokens = batch.target.shape[1]
    shift = probe.positions(tokens) - batch.positions  # a net's inputs carry no positions, a model's do
    within = torch.arange(tokens, device=batch.target.device)[None] < batch.lengths[:, None]  # [runs, tokens]
    noise = draw_rows(batch, [make_generator("equal shift", f"{unit.prompt}:{unit.seed}") for unit in batch.units])
    # Padding is no part of a prompt, and what a descent left there is no part of a distance.
    away = (trace.final - batch.target).where(within[..., None], 0.0)
    random = batch.target + noise * (away.flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1))[:, None, None]
    decoded = codec.embed(codec.decode(trace.final - batch.positions)) + batch.positions
    inputs = (batch.target, batch.start, trace.final, decoded, random)
    logits = [_read_last(probe, e + shift, batch.lengths) for e in inputs]
    check_numbers(logits[0], arm.settings, LOGITS)  # a descent may diverge, the model itself may not
    return torch.stack([each.argmax(-1) for each in logits], dim=1)


def _read_last(probe: BlockStack, embeddings: Tensor, lengths: Tensor) -> Tensor:
    """Logits at each prompt's last position: [runs, tokens, d_model] → [runs, vocab]."""
    hidden = probe(embeddings)
    last = hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1]  # [runs, d_model]
    assert probe.head is not None
    return last @ probe.head.T
