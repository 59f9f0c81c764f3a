"""Distances through the head equal those of the logits themselves, with autograd's gradients."""

from __future__ import annotations

import pytest
import torch

import engine.methods.distances
from engine.methods.distances import DistanceToTarget

RUNS, TOKENS, WIDTH, VOCAB = 3, 5, 6, 40


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TARGET = draw(RUNS, TOKENS, WIDTH, seed=0)
VALID = torch.arange(TOKENS)[None] < torch.tensor([5, 2, 3])[:, None]
HEAD = draw(VOCAB, WIDTH, seed=2)


def plain(outputs: torch.Tensor, head: torch.Tensor | None, metric: str) -> torch.Tensor:
    """The distance as one writes it: both sets of logits, subtracted, a run at a time."""
    distances = []
    for run in range(RUNS):
        ours, theirs = outputs[run][VALID[run]], TARGET[run][VALID[run]]
        delta = ours - theirs if head is None else ours @ head.T - theirs @ head.T
        distances.append(delta.abs().sum() if metric == "l1" else delta.square().sum().sqrt())
    return torch.stack(distances)


@pytest.mark.parametrize("metric", ["l1", "l2"])
@pytest.mark.parametrize("head", [None, HEAD], ids=["hidden states", "through the head"])
def test_distance_and_gradient_are_those_of_the_plain_formula(metric: str, head: torch.Tensor | None) -> None:
    outputs = draw(RUNS, TOKENS, WIDTH, seed=1).requires_grad_(True)
    found = DistanceToTarget(TARGET, VALID, head).measure("l1" if metric == "l1" else "l2", outputs)
    expected = plain(outputs, head, metric)
    # Sums of at most 200 terms in float64.
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    weights = draw(RUNS, seed=3)
    (ours,) = torch.autograd.grad((found * weights).sum(), outputs, retain_graph=True)
    (theirs,) = torch.autograd.grad((expected * weights).sum(), outputs)
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
    assert ours[~VALID].abs().max() == 0


def test_slices_of_the_vocabulary_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = draw(RUNS, TOKENS, WIDTH, seed=1).requires_grad_(True)
    whole = DistanceToTarget(TARGET, VALID, HEAD).l1(outputs)
    (one,) = torch.autograd.grad(whole.sum(), outputs)
    monkeypatch.setattr(engine.methods.distances, "LOGITS_BYTES", 10 * 8 * 7)  # 7 of 40 rows at a time
    sliced = DistanceToTarget(TARGET, VALID, HEAD).l1(outputs)
    (many,) = torch.autograd.grad(sliced.sum(), outputs)
    torch.testing.assert_close(sliced, whole, rtol=1e-13, atol=0)
    torch.testing.assert_close(many, one, rtol=1e-13, atol=1e-13)


def test_at_the_target_the_distance_is_zero() -> None:
    assert DistanceToTarget(TARGET, VALID, HEAD).l1(TARGET).tolist() == [0.0] * RUNS


def test_a_second_distance_leaves_the_first_one_and_its_gradient_alone() -> None:
    # Both write their logits into the same memory.
    distance, first = DistanceToTarget(TARGET, VALID, HEAD), draw(RUNS, TOKENS, WIDTH, seed=1).requires_grad_(True)
    found = distance.l1(first)
    before = found.tolist()
    with torch.no_grad():
        distance.l1(draw(RUNS, TOKENS, WIDTH, seed=4))
    (ours,) = torch.autograd.grad(found.sum(), first)
    (alone,) = torch.autograd.grad(DistanceToTarget(TARGET, VALID, HEAD).l1(first).sum(), first)
    assert found.tolist() == before
    assert torch.equal(ours, alone)
