"""From an arm to its result: poses the problem, runs it, reads it. The only module that knows both sides."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from engine.blocks import Invertible, embedding_weight
from engine.codec import Codec, find_round_trip_misses
from engine.descent import Leaver, Plan, Problem, Trace, TuningObserver, descend
from engine.measurement import (
    Arm,
    DescentSettings,
    InversionArm,
    InversionResult,
    InversionRun,
    PseudoInverseArm,
    PseudoInverseResult,
    Result,
    RoundTripArm,
    RoundTripResult,
    Snapshot,
    StepOutcome,
    Stop,
    TokenFailure,
    TuningArm,
    TuningResult,
    Unit,
)
from engine.metrics import OutputDistance
from engine.prompts import check_prompt
from engine.pseudo_inverse import compare_with_ridge
from engine.shelf import Shelf

CURVE_POINTS = 48
TOP = 5


def generator(purpose: str, seed: int | str) -> torch.Generator:
    """A CPU generator of its own for each purpose and seed, the same on every machine."""
    digest = hashlib.sha256(f"{purpose}:{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@singledispatch
def measure(arm: Arm, shelf: Shelf) -> Result:
    """The numbers of an arm. Equal arms give equal results on one machine at equal threads."""
    raise TypeError(f"measure: no experiment for {type(arm).__name__}")


@dataclass(frozen=True, kw_only=True)
class Posed:
    """A batch of units ready to descend, with what is needed to read it afterwards."""

    units: tuple[Unit, ...]
    ids: tuple[tuple[int, ...], ...]
    target: Tensor
    start: Tensor
    lengths: Tensor
    positions: Tensor
    bound: Tensor | None


def pose(settings: DescentSettings, units: tuple[Unit, ...], shelf: Shelf, stack: Invertible) -> Posed:
    """Targets, starts and bounds of units: embeddings [units, tokens, d_model], padded on the right with zeros.

    Source: equation 2's start, the catalogue's words for e, e₀ and bound.
    """
    codec = shelf.codec(settings.subject, settings.dtype, settings.device)
    ids = tuple(encode(settings, unit.prompt, shelf) for unit in units)
    sizes = [len(row) for row in ids]
    lengths = torch.tensor(sizes, device=settings.device)
    positions = stack.positions(max(sizes))
    rows = [codec.embed(torch.tensor(row, device=settings.device)) + positions[: len(row)] for row in ids]
    starts = [_draw_start(settings, unit, row) for unit, row in zip(units, rows, strict=True)]
    target, start = pad_sequence(rows, batch_first=True), pad_sequence(starts, batch_first=True)
    bound = None
    if settings.protocol.bound == "shift":
        bound = _shift_bounds(settings, units, stack, target, lengths, sizes)
    return Posed(units=units, ids=ids, target=target, start=start, lengths=lengths, positions=positions, bound=bound)


def encode(settings: DescentSettings, prompt: str, shelf: Shelf) -> tuple[int, ...]:
    """Ids of a prompt, cut to the settings' first tokens. Raises PromptError when it cannot be used."""
    tokenizer = shelf.tokenizer(settings.subject)
    ids = tokenizer(prompt, add_special_tokens=False).input_ids
    model = shelf.model(settings.subject, settings.dtype, settings.device)
    needs = settings.first_tokens or 2
    context = int(model.config.max_position_embeddings)
    check_prompt(prompt, ids, context=context, needs=needs, who=settings.subject)
    return tuple(ids[: settings.first_tokens])


def _draw_start(settings: DescentSettings, unit: Unit, target: Tensor) -> Tensor:
    # Drawn in float32 on the CPU, so that every device and precision starts from the same point.
    noise = torch.randn(target.shape, generator=generator("start", unit.seed)).to(target)
    std = target.std() if settings.protocol.start_std is None else settings.protocol.start_std
    return settings.protocol.start_mean + std * noise


@torch.no_grad()
def _shift_bounds(
    settings: DescentSettings,
    units: tuple[Unit, ...],
    stack: Invertible,
    target: Tensor,
    lengths: Tensor,
    sizes: list[int],
) -> Tensor:
    """m(σ): mean over draws of ‖O(e + N(0, σ²)) − O(e)‖₁ for each unit: [units]. Source: the document's m."""
    distance = OutputDistance(stack(target), stack.rows(lengths, target.shape[1]), stack.unembedding)
    # Each prompt's noise has the prompt's own length, so that its bound does not depend on its neighbours.
    shapes = [(row, target.shape[2]) for row in sizes]
    sources = [generator("shift", unit.prompt) for unit in units]
    total = target.new_zeros(len(target))
    for _ in range(settings.protocol.shift_draws):
        noise = [torch.randn(shape, generator=source) for shape, source in zip(shapes, sources, strict=True)]
        shifts = pad_sequence(noise, batch_first=True).to(target)
        total = total + distance.l1(stack(target + settings.sigma * shifts))
    return total / settings.protocol.shift_draws


def _start_fraction(settings: DescentSettings) -> float:
    return settings.protocol.start_fraction * settings.sigma / settings.protocol.reference_sigma


def plan_descent(settings: DescentSettings, snapshots: tuple[int, ...] = ()) -> Plan:
    """How the settings descend."""
    return Plan(
        iterations=settings.iterations,
        metric=settings.metric,
        schedule=settings.schedule,
        loss_scale=settings.protocol.loss_scale,
        snapshots=snapshots,
    )


def make_problem(settings: DescentSettings, posed: Posed, steps: Tensor) -> Problem:
    """Posed units with their step sizes [units], ready to descend."""
    return Problem(
        target=posed.target,
        start=posed.start,
        lengths=posed.lengths,
        steps=steps,
        bound=posed.bound,
        start_fraction=_start_fraction(settings),
    )


@measure.register
def measure_inversion(arm: InversionArm, shelf: Shelf) -> InversionResult:
    """Descents of an arm's units, batch by batch."""
    stack = shelf.stack(arm.settings)
    codec = shelf.codec(arm.settings.subject, arm.settings.dtype, arm.settings.device)
    at = curve_points(arm.settings.iterations)
    runs: list[InversionRun] = []
    for first in range(0, len(arm.units), arm.batch):
        posed = pose(arm.settings, arm.units[first : first + arm.batch], shelf, stack)
        steps = torch.full_like(posed.target[:, 0, 0], arm.step)
        plan = plan_descent(arm.settings, arm.snapshots)
        trace = descend(stack, make_problem(arm.settings, posed, steps), plan, Leaver(read_at=arm.read_at))
        runs += [read_run(arm, posed, trace, codec, at, row) for row in range(len(posed.units))]
    tokenizer = shelf.tokenizer(arm.settings.subject)
    seen = {i for run in runs for i in (*run.target, *(t for s in run.snapshots for top in s.top for t in top))}
    texts = {i: str(tokenizer.decode([i])) for i in sorted(seen)}
    return InversionResult(runs=tuple(runs), curve_at=at, texts=texts)


def curve_points(iterations: int) -> tuple[int, ...]:
    """Iterations at which a loss curve is kept: 0, N, and a geometric series between."""
    between = (round(iterations ** (k / CURVE_POINTS)) for k in range(CURVE_POINTS + 1))
    return tuple(sorted({0, *between, iterations}))


def read_run(
    arm: InversionArm, posed: Posed, trace: Trace, codec: Codec, at: tuple[int, ...], row: int
) -> InversionRun:
    """One run of a finished trace, as plain numbers."""
    ids, unit = posed.ids[row], posed.units[row]
    length, ended = len(ids), int(trace.ended_at[row])
    target_ids = torch.tensor(ids, device=posed.target.device)
    target, positions = posed.target[row, :length], posed.positions[:length]
    distances = [float(d) for d in trace.distances[: ended + 1, row].tolist()]
    hit = int(trace.first_hits()[row])
    final = trace.final[row, :length]
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
        final_l2=float((final - target).norm()),
        recovery=_recovery(codec, final - positions, target_ids),
        ceiling=_recovery(codec, target - positions, target_ids),
        snapshots=tuple(
            Snapshot(
                iteration=n,
                distance=distances[n],
                l2=float((kept[row, :length] - target).norm()),
                recovery=_recovery(codec, kept[row, :length] - positions, target_ids),
                top=tuple(map(tuple, codec.top(kept[row, :length] - positions, TOP).tolist())),
            )
            for n, kept in trace.snapshots.items()
            if n <= ended
        ),
        curve=tuple(distances[n] for n in at if n <= ended),
    )


def _recovery(codec: Codec, embeddings: Tensor, target: Tensor) -> float:
    # What has diverged decodes to some token or other; it has recovered none.
    if not bool(torch.isfinite(embeddings).all()):
        return 0.0
    return float((codec.decode(embeddings) == target).double().mean())


@measure.register
def measure_tuning(arm: TuningArm, shelf: Shelf) -> TuningResult:
    """Every step size on every tuning unit, together, until the best is known."""
    stack = shelf.stack(arm.settings)
    posed = pose(arm.settings, arm.units, shelf, stack)
    repeated, rates, groups = repeat_for_steps(posed, arm.steps)
    observer = TuningObserver(groups=groups, horizon=arm.horizon)
    trace = descend(stack, make_problem(arm.settings, repeated, rates), plan_descent(arm.settings), observer)
    return TuningResult(
        outcomes=tuple(_read_step(arm, trace, groups == k, k) for k in range(len(arm.steps))),
        read_to=int(trace.ended_at.max()),
    )


def repeat_for_steps(posed: Posed, steps: tuple[float, ...]) -> tuple[Posed, Tensor, Tensor]:
    """The units once for each step size, with the step size of each run and its index: [steps · units] both."""
    units, target = len(posed.units), posed.target
    every = torch.arange(units, device=target.device).repeat(len(steps))
    groups = torch.arange(len(steps), device=target.device).repeat_interleave(units)
    repeated = Posed(
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
    last = trace.distances[:, members].gather(0, ended[None])[0].nan_to_num(nan=torch.inf, posinf=torch.inf)
    return StepOutcome(
        step=arm.steps[k],
        hits=tuple(None if hit < 0 else hit for hit in hits),
        diverged=tuple(trace.diverged()[members].tolist()),
        median_distance=float(last.quantile(0.5, interpolation="higher")),
    )


@measure.register
def measure_round_trip(arm: RoundTripArm, shelf: Shelf) -> RoundTripResult:
    """Decode every row of W, and sort the ids by whether their own text encodes back to them."""
    codec = shelf.codec(arm.subject, arm.dtype, arm.device)
    tokenizer = shelf.tokenizer(arm.subject)
    vocab = min(codec.vocab, len(tokenizer))
    special = special_ids(tokenizer, vocab)
    texts: list[str] = tokenizer.batch_decode([[i] for i in range(vocab)], clean_up_tokenization_spaces=False)
    encoded: list[list[int]] = tokenizer(texts, add_special_tokens=False).input_ids
    own = {i for i in range(vocab) if i not in special and encoded[i] == [i]}
    failures, apart = [], []
    for miss in find_round_trip_misses(codec):
        if miss.id in special or miss.id >= vocab:
            continue
        winner_text = texts[miss.winner] if miss.winner < vocab else "(no token)"
        failure = TokenFailure(
            id=miss.id,
            text=texts[miss.id],
            winner=miss.winner,
            winner_text=winner_text,
            leverage=miss.leverage,
            winner_leverage=miss.winner_leverage,
        )
        (failures if miss.id in own else apart).append(failure)
    return RoundTripResult(
        vocab=codec.vocab,
        tried=len(own),
        apart=vocab - len(special) - len(own),
        special=len(special),
        failures=tuple(failures),
        failures_apart=tuple(apart),
    )


def special_ids(tokenizer: PreTrainedTokenizerBase, vocab: int) -> set[int]:
    """Ids that stand for no text: the named ones (end of text …) and the others that the tokenizer marks so."""
    marked = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return {i for i in {*tokenizer.all_special_ids, *marked} if i < vocab}


@measure.register
def measure_pseudo_inverse(arm: PseudoInverseArm, shelf: Shelf) -> PseudoInverseResult:
    """The embedding matrix, or a random one of known rank, in float64."""
    if arm.matrix == "embedding":
        model = shelf.model(arm.subject, "float32", arm.device)
        weight = embedding_weight(model).double()
        return compare_with_ridge(weight, expected_rank=weight.shape[1], noise=generator("norm", 0))
    shape, rank, seed = (part.split(":")[-1].split("=")[-1] for part in arm.matrix.removeprefix("random:").split(":"))
    rows, columns = map(int, shape.split("x"))
    source = generator("matrix", seed)
    # Small integers: the product is exact, so that the matrix has this rank and not one more by rounding.
    left = torch.randint(-3, 4, (rows, int(rank)), generator=source).double()
    right = torch.randint(-3, 4, (int(rank), columns), generator=source).double()
    return compare_with_ridge((left @ right).to(arm.device), expected_rank=int(rank), noise=generator("norm", seed))
