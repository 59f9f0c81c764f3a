"""Walks and gradients match plain loops: one prompt, one walk, the library's own hidden states, no batch."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from engine.arms.protocol import CONTROLLED, PAGE, SCRIPT, Protocol
from engine.arms.settings import DescentSettings, StackSettings, Unit
from engine.arms.stacks import AnyStack, SentenceNet, Stack, TokenNet
from engine.experiments.clamped_walk.arm import ClampedWalkArm, ClampedWalkResult, WalkChoice
from engine.experiments.clamped_walk.measure import (
    MOST_WALKS,
    WalkBatch,
    draw_clamps,
    measure_random_steps,
    split_walks,
)
from engine.experiments.gradients.arm import GradientArm, GradientResult, PrecisionArm, PrecisionResult
from engine.experiments.gradients.measure import compute_gradients
from engine.experiments.inputs import EmbeddedPrompts, embed_prompts, prepare_batch, shift_bounds
from engine.experiments.measure_arm import measure_arm
from engine.experiments.orthogonal_walk.arm import OrthogonalWalkArm, OrthogonalWalkResult
from engine.experiments.orthogonal_walk.measure import group_units
from engine.methods.descent import OBSERVE_EVERY, NeverStop, Observer, StopFinished
from engine.methods.distances import DistanceToTarget
from engine.methods.walks import ClampedPlan, ClampedProblem, ClampedTrace, walk_clamped, walk_orthogonally
from engine.models.codec import Codec
from engine.models.loaded import LoadedModels
from engine.models.stacks import BlockStack
from engine.tests.tiny import FAMILIES, make_tiny

STACK = Stack(blocks=2)
D_MODEL = 32
UNITS = (Unit(prompt="a cat", seed=0), Unit(prompt="a b c d", seed=1), Unit(prompt="a dog", seed=2))
STACKS: dict[str, AnyStack] = {
    "2 blocks": STACK,
    "token net": TokenNet(),
    "token net, d = 10": TokenNet(d_model=10),
    "sentence net": SentenceNet(tokens=3),
}


class TinyModels(LoadedModels):
    """A tiny model whose tokens are letters."""

    def model(self, subject: str, dtype: str, device: str) -> PreTrainedModel:
        return make_tiny(subject, dtype=getattr(torch, dtype)).to(device)  # pyright: ignore[reportArgumentType]

    def tokenizer(self, subject: str) -> Any:
        class Letters:
            def __call__(self, text: str, **_: Any) -> SimpleNamespace:
                return SimpleNamespace(input_ids=[ord(letter) for letter in text])

            def decode(self, ids: list[int]) -> str:
                return chr(ids[0])

        return Letters()

    def codec(self, subject: str, dtype: str, device: str) -> Codec:
        model: Any = self.model(subject, dtype, device)
        weight = model.get_input_embeddings().weight
        return Codec(weight, torch.eye(D_MODEL, device=device) if device == "meta" else None)


def make_settings(
    family: str, stack: AnyStack, protocol: Protocol = CONTROLLED, *, dtype: str = "float64", device: str = "cpu"
) -> StackSettings:
    first = 3 if isinstance(stack, SentenceNet) else None
    return StackSettings(
        subject=family, source="", stack=stack, protocol=protocol, dtype=dtype, device=device, first_tokens=first
    )


def plain_outputs(model: PreTrainedModel, e: Tensor) -> Tensor:
    """Output of two blocks for e [tokens, d], by the library's whole forward pass, which adds positions itself."""
    body: Any = model.base_model
    inputs = e - body.wpe.weight[: len(e)] if model.config.model_type == "gpt2" else e
    return body(inputs_embeds=inputs[None], output_hidden_states=True).hidden_states[2][0]


def plain_gradient(model: PreTrainedModel, e: Tensor) -> Tensor:
    e = e.detach().clone().requires_grad_(True)
    plain_outputs(model, e).sum().backward()
    assert e.grad is not None
    return e.grad


def make_inputs(*shape: int, seed: int = 0) -> Tensor:
    return 0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("family", FAMILIES)
def test_three_gradients_match_a_plain_loop_over_outputs(family: str) -> None:
    model, e = make_tiny(family, dtype=torch.float64), make_inputs(4, D_MODEL)
    found = compute_gradients(BlockStack(model, STACK, "true"), e)
    one_by_one = torch.zeros_like(e)
    for t in range(4):
        for k in range(D_MODEL):
            x = e.clone().requires_grad_(True)
            plain_outputs(model, x)[t, k].backward()
            one_by_one += x.grad
    # Some hundred sums of float64 numbers of one size: 1e-16 times a few hundred.
    assert found.outputs == 4 * D_MODEL
    assert distance(found.individual, one_by_one) < 1e-12
    assert distance(found.summed, plain_gradient(model, e)) < 1e-12
    assert distance(found.ones, found.summed) < 1e-12


def test_the_individual_gradients_are_taken_one_by_one() -> None:
    """Outputs that differ only in a weight: the sum of their gradients is the sum of the weights."""

    class Weighted:
        head = None

        def __call__(self, e: Tensor) -> Tensor:
            # Copies are independent: one that gave the gradients of two outputs would count one of them twice.
            return e.sum((1, 2), keepdim=True) * torch.arange(1.0, 301, dtype=e.dtype)[None, :, None]

    found = compute_gradients(Weighted(), make_inputs(2, 3))  # pyright: ignore[reportArgumentType]
    assert torch.equal(found.individual, torch.full((2, 3), 300 * 301 / 2, dtype=torch.float64))


@pytest.mark.parametrize("vectors", ["broadcast", "per token"])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_orthogonal_walk_matches_a_plain_loop(family: str, vectors: Any) -> None:
    model, starts = make_tiny(family, dtype=torch.float64), make_inputs(2, 5, D_MODEL)
    found = walk_orthogonally(BlockStack(model, STACK, "true"), starts, steps=30, step=0.01, vectors=vectors)
    for run in range(2):
        e = starts[run].clone()
        for n in range(30):
            gradient = plain_gradient(model, e)
            right = torch.linalg.svd(gradient).Vh
            rows = [right[-1] if vectors == "broadcast" else right[-1 - t] for t in range(5)]
            for t in range(5):
                product = float(gradient[t] @ rows[t])
                relative = abs(product) / float(gradient[t].norm())
                # Both are rounding: as small as float64 makes a product of 32 numbers, with room of a factor 10.
                assert relative < 1e-14
                assert float(found.relative[n, run, t]) < 1e-14
            e = e + 0.01 * torch.stack(rows)
        # Gradients agree to 1e-15; completing them to a basis and thirty steps leave several digits' room.
        assert distance(found.final[run] - starts[run], e - starts[run]) < 1e-8


@pytest.mark.parametrize("direction", ["null", "random"])
def test_other_directions_match_a_plain_loop(direction: Any) -> None:
    model, starts = make_tiny("gpt2", dtype=torch.float64), make_inputs(2, 5, D_MODEL)
    draws = [make_inputs(2, D_MODEL) + n for n in range(6)]
    given = iter(draws)
    found = walk_orthogonally(
        BlockStack(model, STACK, "true"),
        starts,
        steps=6,
        step=0.01,
        vectors="broadcast",
        direction=direction,
        draw=lambda: next(given),
    )
    for run in range(2):
        e = starts[run].clone()
        for n in range(6):
            gradient, v = plain_gradient(model, e), draws[n][run]
            if direction == "null":
                v = v - torch.linalg.pinv(gradient) @ (gradient @ v)
            v = v / v.norm()
            assert (float((gradient @ v).abs().max() / gradient.norm()) < 1e-13) == (direction == "null")
            e = e + 0.01 * v
        assert distance(found.final[run] - starts[run], e - starts[run]) < 1e-8


def test_a_walk_is_read_in_both_metrics_and_decoded() -> None:
    arm = OrthogonalWalkArm(
        settings=make_settings("gpt2", STACK), units=UNITS, steps=3, step=0.01, vectors="broadcast", full=True
    )
    result = measure_arm(arm, TinyModels())
    assert isinstance(result, OrthogonalWalkResult)
    for run in result.runs:
        # Three steps of 0.01 along one vector for all tokens: at most 0.03·√tokens in L², and never more than in L¹.
        assert 0 < run.input_l2 <= 0.03 * math.sqrt(len(run.prompt)) + 1e-9
        assert run.input_l2 < run.input_distance
        assert run.output_l2 < run.output_distance
        first, last = (text.split("] [") for text in run.decoded)
        assert run.recovery == sum(map(str.__eq__, first, last)) / len(first)
        assert run.repeated == (len(set(first)) - len(set(last))) / len(first)
    plain = measure_arm(replace(arm, full=False), TinyModels())
    assert isinstance(plain, OrthogonalWalkResult)
    assert all(math.isnan(run.input_l2) and math.isnan(run.recovery) for run in plain.runs)
    assert [run.output_distance for run in plain.runs] == [run.output_distance for run in result.runs]


def test_directions_are_each_units_own() -> None:
    arm = OrthogonalWalkArm(
        settings=make_settings("gpt2", STACK),
        units=UNITS,
        steps=2,
        step=0.01,
        vectors="broadcast",
        direction="random",
        full=True,
    )
    together, alone = measure_arm(arm, TinyModels()), measure_arm(replace(arm, units=UNITS[2:]), TinyModels())
    assert isinstance(together, OrthogonalWalkResult)
    assert isinstance(alone, OrthogonalWalkResult)
    assert alone.runs[0].output_l2 == pytest.approx(together.runs[2].output_l2, rel=1e-9)
    assert together.runs[0].output_l2 != pytest.approx(together.runs[2].output_l2, rel=1e-3)


def test_a_gradients_precision_is_that_of_two_plain_gradients() -> None:
    settings = DescentSettings(**vars(make_settings("gpt2", STACK, dtype="float32")), iterations=1)
    result = measure_arm(PrecisionArm(settings=settings, units=UNITS), TinyModels())
    assert isinstance(result, PrecisionResult)
    for unit, run in zip(UNITS, result.runs, strict=True):
        found: list[Tensor] = []
        for dtype in ("float32", "float64"):
            own = replace(settings, dtype=dtype)
            models = TinyModels()
            stack = models.stack(own)
            batch = prepare_batch(own, (unit,), models, stack)
            e = batch.start.clone().requires_grad_(True)
            (stack(e) - stack(batch.target)).abs().sum().backward()
            assert e.grad is not None
            found.append(e.grad.double())
        error = float((found[0] - found[1]).norm() / found[1].norm())
        # Sums of float32 numbers come out a little otherwise in another batch.
        assert run.error == pytest.approx(error, rel=0.5, abs=1e-7)
        assert 1e-9 < run.error < 1e-4
        assert run.cosine == pytest.approx(1, abs=1e-6)


def run_clamped(
    family: str, choices: list[tuple[float, float, int]], plan: ClampedPlan, observer: Observer[ClampedTrace]
) -> tuple[PreTrainedModel, ClampedProblem, Any, Tensor, Tensor]:
    """Walks of two prompts, of 5 and 3 tokens, under choices (noise, step, outer), with the draws that they used."""
    model = make_tiny(family, dtype=torch.float64)
    longest = max(outer for _, _, outer in choices)
    target = make_inputs(2, 5, D_MODEL)
    target[1, 3:] = 0
    source = torch.Generator().manual_seed(3)
    indices = torch.randint(D_MODEL, (longest, 2), generator=source)
    noise = torch.randn((longest, 2, 5, D_MODEL), generator=source, dtype=torch.float64)
    noise[:, 1, 3:] = 0
    unit = torch.arange(2).repeat(len(choices))
    every = [choice for choice in choices for _ in range(2)]
    problem = ClampedProblem(
        target=target[unit],
        lengths=torch.tensor([5, 3])[unit],
        unit=unit,
        noise=torch.tensor([c[0] for c in every], dtype=torch.float64),
        steps=torch.tensor([c[1] for c in every], dtype=torch.float64),
        outer=tuple(c[2] for c in every),
    )
    drawn = iter(zip(indices, noise, strict=True))
    trace = walk_clamped(BlockStack(model, STACK, "true"), problem, plan, lambda: next(drawn), observer)
    return model, problem, trace, indices, noise


def plain_shift_and_mend(
    model: PreTrainedModel,
    e: Tensor,
    wanted: Tensor,
    clamp: tuple[int, Tensor],
    size: float,
    rate: float | None,
    step: float,
    inner: int,
) -> tuple[Tensor, float]:
    """One outer step on e [tokens, d]: noise of the size on e[:, c:], then descent on e[:, :c]. rate None is scaled."""
    index, noise = clamp
    e = e.clone()
    e[:, index:] += size * noise[: len(e), index:]
    for _ in range(inner):
        x = e.clone().requires_grad_(True)
        (plain_outputs(model, x) - wanted).abs().sum().backward()
        assert x.grad is not None
        if rate is None:
            rate = step * size / float(x.grad.abs().mean())
        e[:, :index] -= rate * x.grad[:, :index]
    assert rate is not None
    return e, rate


@pytest.mark.parametrize("scaled", [True, False], ids=["scaled", "absolute"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_clamped_walk_matches_a_plain_loop(family: str, scaled: bool) -> None:
    noise_of, step = (0.05, 0.25) if scaled else (0.01, 1e-5)
    plan = ClampedPlan(inner=3, scaled=scaled, reads=tuple(range(1, 11)), observe_every=3)
    choices = [(noise_of, step, 10), (2 * noise_of, step / 4, 4)]
    model, problem, trace, indices, noise = run_clamped(family, choices, plan, StopFinished(read_at="hit"))
    for walk, (unit, length, outer) in enumerate([(0, 5, 10), (1, 3, 10), (0, 5, 4), (1, 3, 4)]):
        target = problem.target[walk, :length]
        wanted = plain_outputs(model, target)
        size = float(problem.noise[walk]) * (float(target.abs().mean()) if scaled else 1)
        own_step = float(problem.steps[walk])
        e, before, rate = target, target, None if scaled else own_step
        for n in range(outer):
            clamp = (int(indices[n, unit]), noise[n, unit])
            shared, _ = plain_shift_and_mend(model, before, wanted, clamp, size, rate, own_step, 3)
            e, rate = plain_shift_and_mend(model, e, wanted, clamp, size, rate, own_step, 3)
            before = trace.reads[n + 1][walk, :length]
            # From one place: a gradient that agrees to 1e-14, unless an output sits on its target.
            assert distance(before - target, shared - target) < 1e-9
        # Thirty descent steps at ten outer steps.
        assert distance(trace.final[walk, :length] - target, e - target) < 1e-8
        assert int(trace.ended_at[walk]) == outer
        assert not bool(problem.target[walk, length:].any() or trace.final[walk, length:].any())
    assert bool(trace.reads[5][2:].isnan().all())


@pytest.mark.parametrize("observe_every", [None, 1, 4], ids=["never observed", "always", "now and then"])
def test_a_walk_stands_still_once_it_is_far_enough(observe_every: int | None) -> None:
    plan = ClampedPlan(inner=1, stop_at=0.1, reads=tuple(range(1, 21)), observe_every=observe_every or OBSERVE_EVERY)
    observer = NeverStop() if observe_every is None else StopFinished(read_at="hit")
    _, problem, trace, _, _ = run_clamped("gpt2", [(0.08, 0.01, 20), (0.001, 0.01, 6)], plan, observer)
    size = problem.target.abs().sum((1, 2))
    for walk in (0, 1):
        far = [float((trace.reads[n][walk] - problem.target[walk]).abs().sum() / size[walk]) for n in range(1, 21)]
        ended = int(trace.ended_at[walk])
        assert far[ended - 1] >= 0.1 > max(far[: ended - 1])
        assert bool(trace.reads[ended + 1][walk].isnan().all())
        assert torch.equal(trace.final[walk], trace.reads[ended][walk])
    assert trace.arrived.tolist() == [True, True, False, False]
    assert trace.ended_at[2:].tolist() == [6, 6]


def test_a_walk_that_diverges_is_dropped_and_reported() -> None:
    arm = make_clamped("gpt2", STACK, choices=(WalkChoice(noise=1.0, step=1e300, outer=3),), observe_every=1)
    result = measure_arm(arm, TinyModels())
    assert isinstance(result, ClampedWalkResult)
    assert all(run.diverged and run.end.recovery == 0 and run.end.top == () for run in result.runs)


def walk_batch(
    arm: ClampedWalkArm, embedded: EmbeddedPrompts, batch: WalkBatch, stack: Any, observer: Observer[ClampedTrace]
) -> ClampedTrace:
    """A batch as its arm says."""
    plan = ClampedPlan(inner=arm.inner, scaled=arm.scaled, stop_at=arm.stop_at, reads=arm.reads, observe_every=1)
    return walk_clamped(stack, batch.problem, plan, draw_clamps(arm, embedded), observer)


def make_clamped(
    family: str,
    stack: AnyStack,
    *,
    choices: tuple[WalkChoice, ...] = (
        WalkChoice(noise=0.05, step=0.1, outer=4),
        WalkChoice(noise=0.1, step=1, outer=2),
    ),
    units: tuple[Unit, ...] = UNITS,
    protocol: Protocol = CONTROLLED,
    observe_every: int = 1,
    device: str = "cpu",
    reads: tuple[int, ...] = (1, 3),
) -> ClampedWalkArm:
    dtype = "float32" if device == "meta" else "float64"
    settings = make_settings(family, stack, protocol, dtype=dtype, device=device)
    script = protocol == SCRIPT
    return ClampedWalkArm(
        settings=settings,
        choices=choices,
        units=units,
        inner=OBSERVE_EVERY // observe_every,
        law="uniform" if script else "normal",
        scaled=not script,
        reads=reads,
    )


@pytest.mark.parametrize("stack", [STACK, TokenNet(), SentenceNet(tokens=3)], ids=lambda stack: type(stack).__name__)
def test_a_walks_numbers_do_not_depend_on_its_neighbours(stack: AnyStack) -> None:
    models = TinyModels()
    together = measure_arm(make_clamped("llama", stack, observe_every=10), models)
    alone = measure_arm(make_clamped("llama", stack, observe_every=10, units=UNITS[:1]), models)
    assert isinstance(together, ClampedWalkResult)
    assert isinstance(alone, ClampedWalkResult)
    assert [(run.choice, run.seed) for run in together.runs] == [(c, u) for c in (0, 1) for u in (0, 1, 2)]
    for one, among in zip(alone.runs, (together.runs[0], together.runs[3]), strict=True):
        assert [read.outer for read in among.reads] == ([1, 3] if one.choice == 0 else [1])
        # Eight descent steps in float64, in a batch of another size.
        for value, other in (
            (one.end.input_distance, among.end.input_distance),
            (one.end.output_distance, among.end.output_distance),
            (one.random_distance, among.random_distance),
            (one.bound, among.bound),
        ):
            assert other == pytest.approx(value, rel=1e-8)
        assert one.end.top == among.end.top
        assert one.size == pytest.approx(among.size, rel=1e-12)


def test_a_random_step_is_as_long_as_the_walk_and_its_outputs_distance_is_the_mean_of_four() -> None:
    models, arm = TinyModels(), make_clamped("gpt2", STACK)
    stack = models.stack(arm.settings)
    embedded = embed_prompts(arm.settings, arm.units, models, stack)
    (batch,) = split_walks(arm, embedded)
    trace = walk_batch(arm, embedded, batch, stack, StopFinished(read_at="hit"))
    asked: list[Tensor] = []

    class Listening:
        head, rows, positions = None, stack.rows, stack.positions

        def __call__(self, e: Tensor) -> Tensor:
            asked.append(e)
            return stack(e)

    target, lengths = batch.problem.target, batch.problem.lengths
    distance = DistanceToTarget(stack(target), stack.rows(lengths, target.shape[1]), None)
    found = measure_random_steps(
        embedded,
        batch.problem,
        trace,
        Listening(),  # pyright: ignore[reportArgumentType]
        distance,
    )
    length = (trace.final - target).abs().sum((1, 2))
    totals = torch.zeros(6, dtype=torch.float64)
    for e in asked:
        assert torch.allclose((e - target).abs().sum((1, 2)), length, rtol=1e-12)
        for walk, n in enumerate(lengths.tolist()):
            totals[walk] += float((stack(e)[walk, :n] - stack(target)[walk, :n]).abs().sum()) / 4
    assert len(asked) == 4
    assert torch.allclose(found, totals, rtol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
def test_readings_of_a_clamped_walk_match_plain_outputs(family: str) -> None:
    models, arm = TinyModels(), make_clamped(family, STACK)
    model, stack = make_tiny(family, dtype=torch.float64), models.stack(arm.settings)
    weight = model.get_input_embeddings().weight  # pyright: ignore[reportAttributeAccessIssue]
    embedded = embed_prompts(arm.settings, arm.units, models, stack)
    (batch,) = split_walks(arm, embedded)
    trace = walk_batch(arm, embedded, batch, stack, StopFinished(read_at="hit"))
    result = measure_arm(arm, models)
    assert isinstance(result, ClampedWalkResult)
    for row, run in enumerate(result.runs):
        n = len(run.prompt)
        added = model.base_model.wpe.weight[:n] if family == "gpt2" else 0.0  # pyright: ignore
        e = weight[list(run.target)] + added
        ends = {run.end: trace.final[row, :n]} | {read: trace.reads[read.outer][row, :n] for read in run.reads}
        for read, moved in ends.items():
            output = (plain_outputs(model, moved) - plain_outputs(model, e)).abs().sum()
            coefficients = (moved - added) @ torch.linalg.pinv(weight)
            # Sums of some hundred float64 numbers.
            assert read.output_distance == pytest.approx(float(output), rel=1e-11)
            assert read.input_distance == pytest.approx(float((moved - e).abs().sum()), rel=1e-11)
            assert read.top == tuple(map(tuple, coefficients.topk(5).indices.tolist()))
            same = [top[0] == token for top, token in zip(read.top, run.target, strict=True)]
            assert read.recovery == sum(same) / n
        assert run.size == pytest.approx(float(e.abs().sum()), rel=1e-12)
        assert (run.ceiling, run.diverged, run.arrived) == (1.0, False, False)


def test_readings_of_an_orthogonal_walk_match_plain_outputs() -> None:
    model, models = make_tiny("llama", dtype=torch.float64), TinyModels()
    arm = OrthogonalWalkArm(
        settings=make_settings("llama", STACK), units=UNITS[:1], steps=3, step=0.01, vectors="broadcast"
    )
    (group,) = group_units(arm.settings, arm.units, models, models.stack(arm.settings))
    trace = walk_orthogonally(models.stack(arm.settings), group.inputs, steps=3, step=0.01, vectors="broadcast")
    result = measure_arm(arm, models)
    assert isinstance(result, OrthogonalWalkResult)
    (run,) = result.runs
    e = model.get_input_embeddings().weight[[ord(letter) for letter in "a cat"]]  # pyright: ignore
    moved = plain_outputs(model, trace.final[0]) - plain_outputs(model, e)
    ones = torch.ones(moved.numel(), dtype=torch.float64) / moved.numel() ** 0.5
    assert run.input_distance == pytest.approx(float((trace.final[0] - e).abs().sum()), rel=1e-11)
    assert run.output_distance == pytest.approx(float(moved.abs().sum()), rel=1e-10)
    # The change along the one direction that is held is a small difference of large numbers.
    assert run.constrained == pytest.approx(float((moved.flatten() @ ones) ** 2 / moved.square().sum()), rel=1e-6)
    assert run.free == 1 - 1 / moved.numel()


def test_choices_see_the_same_noise_and_batches_are_split_by_size() -> None:
    models, arm = TinyModels(), make_clamped("gpt2", STACK, choices=(WalkChoice(noise=0.1, step=0.1, outer=2),) * 40)
    embedded = embed_prompts(arm.settings, arm.units, models, models.stack(arm.settings))
    parts = split_walks(arm, embedded)
    assert [len(part.places) for part in parts] == [MOST_WALKS, 120 - MOST_WALKS]
    first, again = draw_clamps(arm, embedded)(), draw_clamps(arm, embedded)()
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    index, noise = first
    assert index.shape == (3,)
    assert noise.shape == (3, 7, D_MODEL)
    assert not bool(noise[0, 5:].any())


def test_orthogonal_walks_are_read_in_unit_order_with_the_share_they_hold_still() -> None:
    arm = OrthogonalWalkArm(
        settings=make_settings("gpt2", TokenNet()), units=UNITS, steps=3, step=0.01, vectors="broadcast"
    )
    result = measure_arm(arm, TinyModels())
    assert isinstance(result, OrthogonalWalkResult)
    assert [run.seed for run in result.runs] == [0, 1, 2]
    for run, tokens in zip(result.runs, (5, 7, 5), strict=True):
        # One sum of each token is held, of d outputs.
        assert run.free == pytest.approx(1 - 1 / D_MODEL)
        assert 0 <= run.constrained < 1e-3
        # Three unit vectors of at most √d in L¹ for each token, and at least one step's worth between them.
        assert 0 < run.input_distance <= 3 * 0.01 * D_MODEL**0.5 * tokens
        assert len(run.singular) == tokens
        assert run.decoded[0] == " ".join(f"[{letter}]" for letter in run.prompt)
        assert run.worst_relative < 1e-13


def test_a_net_of_its_own_size_walks_from_inputs_of_the_embeddings_scale() -> None:
    settings = make_settings("gpt2", TokenNet(d_model=200))
    models = TinyModels()
    groups = group_units(settings, UNITS, models, models.stack(settings))
    assert [group.places for group in groups] == [(0, 2), (1,)]
    std = float(models.codec("gpt2", "float64", "cpu").weight.std())
    for group in groups:
        # Over a thousand draws: the standard deviation is known to 3 %, four of which are allowed.
        assert float(group.inputs.std()) == pytest.approx(std, rel=0.12)
    alone = group_units(settings, UNITS[2:], models, models.stack(settings))
    assert torch.equal(alone[0].inputs[0], groups[0].inputs[1])


def test_gradients_are_measured_prompt_by_prompt() -> None:
    settings = make_settings("gpt2", STACK, dtype="float32")
    result = measure_arm(GradientArm(settings=settings, units=UNITS), TinyModels())
    assert isinstance(result, GradientResult)
    assert [run.outputs for run in result.runs] == [5 * D_MODEL, 7 * D_MODEL, 5 * D_MODEL]
    # A few hundred float32 roundings of 6e-8 would be 1e-5; a missing output would be a hundredth.
    assert all(run.individual < 1e-5 * run.largest and run.ones < 1e-5 * run.largest for run in result.runs)


@pytest.mark.parametrize("protocol", [PAGE, SCRIPT, CONTROLLED], ids=lambda protocol: protocol.name)
@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("family", ["gpt2", pytest.param("llama", marks=pytest.mark.slow)])
def test_walks_and_gradients_run_on_the_meta_device(family: str, stack: AnyStack, protocol: Protocol) -> None:
    models = TinyModels()
    settings = make_settings(family, stack, protocol, dtype="float32", device="meta")
    module = models.stack(settings)
    if isinstance(stack, Stack | TokenNet):
        for group in group_units(settings, UNITS, models, module):
            trace = walk_orthogonally(module, group.inputs, steps=2, step=0.1, vectors="per token")
            expect_meta(trace.final, trace.products, trace.relative, trace.singular)
    if isinstance(stack, TokenNet) and stack.d_model is not None:
        return
    walk = replace(make_clamped(family, stack, protocol=protocol, device="meta"), inner=2)
    embedded = embed_prompts(settings, UNITS, models, module)
    (batch,) = split_walks(walk, embedded)
    walked = walk_batch(walk, embedded, batch, module, NeverStop())
    problem = batch.problem
    rows = module.rows(problem.lengths, problem.target.shape[1])
    distance = DistanceToTarget(module(problem.target), rows, module.head)
    random = measure_random_steps(embedded, problem, walked, module, distance)
    expect_meta(walked.final, walked.ended_at, walked.arrived, *walked.reads.values(), random)
    expect_meta(shift_bounds(settings, embedded, module))
    found = compute_gradients(module, embedded.target[0])
    expect_meta(found.summed, found.ones, found.individual)


def expect_meta(*tensors: Tensor) -> None:
    assert {tensor.device.type for tensor in tensors} == {"meta"}
