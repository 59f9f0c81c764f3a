"""The batched loop equals the most literal loop, one run at a time. Stops are data, and no run affects another."""

from __future__ import annotations

import dataclasses
from typing import Literal

import pytest
import torch
from torch import Tensor

from engine.arms.protocol import Schedule
from engine.arms.settings import Metric
from engine.arms.stacks import SentenceNet, Stack
from engine.errors import ShapeError
from engine.methods.descent import (
    OBSERVE_EVERY,
    DescentPlan,
    NeverStop,
    Problem,
    StopFinished,
    Trace,
    TuningObserver,
    descend,
    first_true,
)
from engine.models.stacks import BlockStack, EmbeddingFunction, FullyConnected
from engine.tests.tiny import FAMILIES, draw_ids, make_tiny

LENGTHS = (7, 4, 5)


def literal_descent(
    stack: EmbeddingFunction, target: Tensor, start: Tensor, step: float, iterations: int, metric: Metric = "l1"
) -> tuple[list[float], Tensor]:
    """Equation 2 as one writes it down: one prompt, full logits, the distance read at every step."""

    def output(e: Tensor) -> Tensor:
        rows = stack(e)
        return rows if stack.head is None else rows @ stack.head.T

    wanted = output(target[None]).detach()
    e, distances = start[None], list[float]()
    for n in range(iterations + 1):
        e = e.detach().requires_grad_(True)
        delta = output(e) - wanted
        distances.append(float(delta.detach().abs().sum()))
        loss = delta.abs().sum() if metric == "l1" else delta.square().sum().sqrt()
        if n < iterations:
            (gradient,) = torch.autograd.grad(loss, e)
            e = e - (step + (step / 10 - step) * n / iterations) * gradient
    return distances, e.detach()[0]


def embed_prompts(stack: BlockStack, family: str) -> Tensor:
    """Three prompts of different lengths, padded, in float64."""
    weight = make_tiny(family, dtype=torch.float64).get_input_embeddings().weight
    return (weight[draw_ids(3, 7)] + stack.positions(7)) * mark_inside()


def mark_inside() -> Tensor:
    return (torch.arange(7)[None] < torch.tensor(LENGTHS)[:, None])[..., None]


def make_problem(stack: BlockStack, family: str, *, step: float = 0.01, bound: float | None = None) -> Problem:
    start = torch.randn(3, 7, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.2
    steps = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64) * step
    bounds = None if bound is None else torch.full((3,), bound, dtype=torch.float64)
    return Problem(
        output=stack(embed_prompts(stack, family)),
        start=start * mark_inside(),
        lengths=torch.tensor(LENGTHS),
        steps=steps,
        bound=bounds,
    )


def make_stack(family: str, stack: Stack = Stack(blocks=1)) -> BlockStack:
    return BlockStack(make_tiny(family, dtype=torch.float64), stack, "true")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("metric", ["l1", "l2"])
@pytest.mark.parametrize(
    "stack", [Stack(blocks=1), Stack(blocks=1, head=True), Stack(blocks=3, head=True)], ids=["1b", "1b+h", "3b+h"]
)
def test_thirty_steps_equal_the_literal_loop_in_float64(family: str, metric: Literal["l1", "l2"], stack: Stack) -> None:
    blocks = make_stack(family, stack)
    problem = make_problem(blocks, family, step=1e-3)
    target = embed_prompts(blocks, family)
    trace = descend(blocks, problem, DescentPlan(iterations=30, metric=metric), StopFinished(read_at="N"))
    for run, length in enumerate(LENGTHS):
        step = float(problem.steps[run])
        distances, final = literal_descent(blocks, target[run, :length], problem.start[run, :length], step, 30, metric)
        torch.testing.assert_close(trace.distances[:, run].tolist(), distances, rtol=1e-8, atol=0)
        torch.testing.assert_close(trace.final[run, :length], final, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
def test_a_sentence_net_is_descended_as_the_literal_loop_does(narrow: bool) -> None:
    spec = SentenceNet(tokens=3, narrow=narrow)
    net = FullyConnected(spec, 8, dtype=torch.float64, device=torch.device("cpu"))
    target, start = (torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(k)).double() for k in (0, 1))
    steps = torch.tensor([0.01, 0.03], dtype=torch.float64)
    problem = Problem(output=net(target), start=start, lengths=torch.tensor([3, 3]), steps=steps, bound=None)
    trace = descend(net, problem, DescentPlan(iterations=30), StopFinished(read_at="N"))
    for run in range(2):
        distances, _ = literal_descent(net, target[run], start[run], float(steps[run]), 30)
        torch.testing.assert_close(trace.distances[:, run].tolist(), distances, rtol=1e-8, atol=0)


def test_runs_that_stop_leave_the_others_as_they_are() -> None:
    stack = make_stack("llama")
    plan = DescentPlan(iterations=5 * OBSERVE_EVERY)
    free = descend(stack, make_problem(stack, "llama"), plan, NeverStop()).distances
    # Reached by the first run within ten iterations, by the second within fifty, by the third never.
    bound = torch.stack([free[:10, 0].min() * 1.01, free[:50, 1].min() * 1.01, free.new_tensor(0.0)])
    problem = dataclasses.replace(make_problem(stack, "llama"), bound=bound)
    stopping = descend(stack, problem, plan, StopFinished(read_at="hit"))
    staying = descend(stack, problem, plan, StopFinished(read_at="N"))
    assert stopping.first_hits().tolist() == staying.first_hits().tolist()
    assert staying.first_hits()[2] == -1
    assert stopping.ended_at[0] < stopping.ended_at[1] < stopping.ended_at[2] == 5 * OBSERVE_EVERY
    torch.testing.assert_close(stopping.distances[:, 2], staying.distances[:, 2], rtol=1e-8, atol=0)
    for run, ended in enumerate(stopping.ended_at.tolist()):
        assert torch.isinf(stopping.distances[ended + 1 :, run]).all()


def test_the_start_counts_as_iteration_zero() -> None:
    stack = make_stack("gpt2")
    problem = make_problem(stack, "gpt2", bound=1e9)
    assert descend(stack, problem, DescentPlan(iterations=3), NeverStop()).first_hits().tolist() == [0, 0, 0]


def test_without_a_bound_each_run_has_a_share_of_its_own_start_distance() -> None:
    stack = make_stack("gpt2")
    trace = descend(stack, make_problem(stack, "gpt2"), DescentPlan(iterations=2), NeverStop())
    torch.testing.assert_close(trace.bound, 0.3 * trace.distances[0])


def test_a_run_that_diverges_is_recorded_and_leaves_the_others_alone() -> None:
    stack = make_stack("gpt2")
    problem = make_problem(stack, "gpt2")
    problem = dataclasses.replace(problem, steps=torch.tensor([0.01, 1e308, 0.01], dtype=torch.float64))
    trace = descend(stack, problem, DescentPlan(iterations=3 * OBSERVE_EVERY), StopFinished(read_at="N"))
    assert trace.diverged().tolist() == [False, True, False]
    assert trace.ended_at.tolist() == [3 * OBSERVE_EVERY, OBSERVE_EVERY - 1, 3 * OBSERVE_EVERY]
    assert torch.isfinite(trace.distances[:, [0, 2]]).all()


def test_snapshots_are_the_embeddings_of_their_iterations() -> None:
    stack = make_stack("llama")
    problem = make_problem(stack, "llama")
    trace = descend(stack, problem, DescentPlan(iterations=30, snapshots=(0, 12, 30)), NeverStop())
    assert torch.equal(trace.snapshots[0], problem.start)
    assert torch.equal(trace.snapshots[30], trace.final)
    # The distance of a snapshot is the one recorded there.
    again = dataclasses.replace(problem, start=trace.snapshots[12])
    at = descend(stack, again, DescentPlan(iterations=1), NeverStop()).distances[0]
    torch.testing.assert_close(at, trace.distances[12], rtol=1e-10, atol=0)


def test_tuning_ends_when_a_step_size_has_hit_on_half_of_its_runs() -> None:
    observer = TuningObserver(groups=torch.tensor([0, 0, 1, 1]), horizon=100)
    distances = torch.full((41, 4), 5.0)
    trace = Trace(
        distances=distances, ended_at=torch.full((4,), 20), bound=torch.ones(4), final=torch.zeros(4), snapshots={}
    )
    runs = torch.arange(4)
    assert observer.keep(trace, runs, 20) is None
    distances[7, 3] = 0.5
    left = observer.keep(trace, runs, 20)
    assert left is not None
    assert left.numel() == 0


def test_tuning_ends_at_its_horizon() -> None:
    stack = make_stack("gpt2")
    observer = TuningObserver(groups=torch.tensor([0, 1, 2]), horizon=OBSERVE_EVERY)
    trace = descend(stack, make_problem(stack, "gpt2", bound=0.0), DescentPlan(iterations=10 * OBSERVE_EVERY), observer)
    assert trace.ended_at.max() == 2 * OBSERVE_EVERY - 1  # the first call of the observer past the horizon


def test_adam_matches_pytorchs_run_by_run() -> None:
    stack = make_stack("llama")
    problem, plan = (
        make_problem(stack, "llama"),
        DescentPlan(iterations=2 * OBSERVE_EVERY, optimizer="adam", loss_scale=0.1),
    )
    trace = descend(stack, problem, plan, NeverStop())
    for run, length in enumerate(LENGTHS):
        e = problem.start[run : run + 1, :length].clone().requires_grad_(True)
        adam = torch.optim.Adam([e])
        for n in range(plan.iterations):
            adam.param_groups[0]["lr"] = float(problem.steps[run]) * plan.factor(n)
            adam.zero_grad()
            (stack(e) - problem.output[run : run + 1, :length]).abs().sum().backward()
            adam.step()
        torch.testing.assert_close(trace.final[run, :length], e.detach()[0], rtol=1e-7, atol=1e-9)


def test_adam_remembers_the_runs_that_stay() -> None:
    stack, plan = make_stack("llama"), DescentPlan(iterations=4 * OBSERVE_EVERY, optimizer="adam")
    free = descend(stack, make_problem(stack, "llama"), plan, NeverStop()).distances
    bound = torch.stack([free[:10, 0].min() * 1.01, free.new_tensor(0.0), free.new_tensor(0.0)])
    leaving = descend(
        stack, dataclasses.replace(make_problem(stack, "llama"), bound=bound), plan, StopFinished(read_at="hit")
    )
    assert leaving.ended_at[0] < 2 * OBSERVE_EVERY
    torch.testing.assert_close(leaving.distances[:, 1:], free[:, 1:], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule(), [1.0, 0.55, 0.1]),
        (Schedule(end=0.01), [1.0, 0.505, 0.01]),
        (Schedule(shape="constant"), [1.0, 1.0, 1.0]),
        (Schedule(shape="cosine", end=0.1), [1.0, 0.55, 0.1]),
    ],
    ids=["linear to a tenth", "linear to a hundredth", "constant", "cosine"],
)
def test_the_schedule_at_its_start_middle_and_end(schedule: Schedule, expected: list[float]) -> None:
    plan = DescentPlan(iterations=100, schedule=schedule)
    assert [plan.factor(n) for n in (0, 50, 100)] == pytest.approx(expected)


def test_the_loss_scale_multiplies_the_step_only() -> None:
    stack = make_stack("gpt2")
    problem = make_problem(stack, "gpt2", step=0.01)
    scaled = descend(stack, problem, DescentPlan(iterations=10, loss_scale=0.1), NeverStop())
    smaller = descend(stack, make_problem(stack, "gpt2", step=0.001), DescentPlan(iterations=10), NeverStop())
    torch.testing.assert_close(scaled.distances, smaller.distances, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("name", "said"), [("output", "the target's outputs"), ("start", "start embeddings")], ids=["output", "start"]
)
def test_numbers_with_nan_are_refused_in_one_line(name: str, said: str) -> None:
    problem = make_problem(make_stack("gpt2"), "gpt2")
    spoilt = getattr(problem, name).clone()
    spoilt[1, 2, 3] = float("nan")
    with pytest.raises(ShapeError, match=f"{said} hold NaN or infinity, expected finite numbers"):
        dataclasses.replace(problem, **{name: spoilt})


def test_first_true_finds_the_first_event_of_each_column() -> None:
    events = torch.tensor([[0, 0, 1], [0, 1, 1], [0, 1, 0]], dtype=torch.bool)
    assert first_true(events).tolist() == [-1, 1, 0]
