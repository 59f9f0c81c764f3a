"""The training loop against a literal one, its schedule, and what it draws."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor, nn

from engine.methods.training import TrainingPlan, TrainingRun, draw_windows, evaluate, start_training, train
from engine.tests.tiny_models import make_gpt2

PLAN = TrainingPlan(steps=20, batch=4, context=16, rate=1e-2, warmup=5, decay=0.25)
IDS = torch.randint(50, (2000,), generator=torch.Generator().manual_seed(0))


def ignore(run: TrainingRun) -> None:
    pass


def make_model() -> Any:
    return make_gpt2(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0).double().requires_grad_(True)


def train_literally(model: Any, ids: Tensor, plan: TrainingPlan, seed: int) -> list[float]:
    """AdamW as its paper has it (decoupled decay, of matrices alone), on gradients cut to norm 1."""
    losses: list[float] = []
    first = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    second = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for n in range(plan.steps):
        starts = np.random.default_rng((seed, n)).integers(len(ids) - plan.context + 1, size=plan.batch).tolist()
        batch = torch.stack([ids[s : s + plan.context] for s in starts])
        chances = model(input_ids=batch[:, :-1]).logits.log_softmax(-1)
        loss = -chances.gather(2, batch[:, 1:, None]).mean()
        losses.append(float(loss.detach()))
        model.zero_grad()
        loss.backward()
        norm = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters()))
        if n < 5:
            rate = 1e-2 * (n + 1) / 5
        elif n < 15:
            rate = 1e-2
        else:
            rate = 1e-2 * (20 - n) / 5
        with torch.no_grad():
            for name, p in model.named_parameters():
                g = p.grad / max(1.0, norm + 1e-6)
                if p.ndim > 1:
                    p *= 1 - rate * 0.1
                first[name] = 0.9 * first[name] + 0.1 * g
                second[name] = 0.95 * second[name] + 0.05 * g * g
                corrected = second[name] / (1 - 0.95 ** (n + 1))
                p -= rate * first[name] / (1 - 0.9 ** (n + 1)) / (corrected.sqrt() + 1e-8)
    return losses


def test_losses_are_those_of_a_literal_loop() -> None:
    model = make_model()
    plain = copy.deepcopy(model)
    run = start_training(model, PLAN, seed=3)
    train(run, IDS, PLAN, ignore)
    losses = [float(loss) for loss in run.losses]
    assert losses == pytest.approx(train_literally(plain, IDS, PLAN, 3), abs=1e-6)
    assert len(losses) == PLAN.steps
    assert losses[-1] < losses[0]


def test_the_step_size_rises_stays_and_falls() -> None:
    plan = replace(PLAN, steps=100, warmup=10, decay=0.2)
    rates = [plan.rate_at(n) / plan.rate for n in range(100)]
    assert rates[:10] == pytest.approx([k / 10 for k in range(1, 11)])
    assert set(rates[10:80]) == {1.0}
    assert plan.stable_until == 80
    assert rates[80:] == pytest.approx([(100 - n) / 20 for n in range(80, 100)])


def test_windows_are_text_and_differ_between_steps_and_seeds() -> None:
    plan = replace(PLAN, batch=2000)
    ids = torch.arange(100)
    windows = draw_windows(ids, plan, seed=1, step=7)
    assert torch.equal(windows - windows[:, :1], torch.arange(16).expand(2000, -1))
    # The first and the last start are both drawn.
    assert (int(windows.min()), int(windows.max())) == (0, 99)
    assert torch.equal(windows, draw_windows(ids, plan, seed=1, step=7))
    assert not torch.equal(windows, draw_windows(ids, plan, seed=1, step=8))
    assert not torch.equal(windows, draw_windows(ids, plan, seed=2, step=7))


def test_the_observer_sees_the_start_and_every_step() -> None:
    seen: list[tuple[int, int]] = []
    run = start_training(make_model(), PLAN, seed=0)
    train(run, IDS, PLAN, lambda run: seen.append((run.step, int(run.losses.count_nonzero()))))
    assert seen == [(n, n) for n in range(PLAN.steps + 1)]


def test_memory_does_not_grow_with_the_steps() -> None:
    """Logits of 16 MB are freed in each step. Whatever outlasts one must not lie between them."""
    model = make_gpt2(vocab_size=2048, n_positions=128, n_layer=1).requires_grad_(True)
    plan = replace(PLAN, steps=50, batch=16, context=128)
    process, held = psutil.Process(), dict[int, int]()

    def watch(run: TrainingRun) -> None:
        held[run.step] = process.memory_info().rss

    train(start_training(model, plan, seed=0), torch.arange(2000) % 2048, plan, watch)
    assert held[50] - held[10] < 8 * 2**24


def test_evaluation_is_the_mean_over_tokens_of_whole_windows() -> None:
    model = make_model().eval()
    ids = IDS[: 16 * 5 + 7]
    expected = [
        float(nn.functional.cross_entropy(model(input_ids=window[None, :-1]).logits[0].detach(), window[1:]))
        for window in ids[: 16 * 5].view(5, 16)
    ]
    assert evaluate(model, ids, 16, batch=2) == pytest.approx(sum(expected) / 5, abs=1e-12)


def test_a_step_runs_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = make_gpt2().requires_grad_(True)
    run = start_training(model.to("meta"), PLAN, seed=0)
    train(run, IDS.to("meta"), PLAN, ignore)
    assert run.step == PLAN.steps
    assert run.losses.device.type == "meta"
