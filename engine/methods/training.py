"""Training of a language model on a row of tokens: AdamW, with a step size that warms up, stays, and falls at the end.

It stays for most of training, so that "late" does not mean "small steps". Each step draws its windows from the seed and
its own number, so that a run that was stopped goes on with the same text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.models.decoder import make_causal_mask

BETAS, WEIGHT_DECAY, CLIP = (0.9, 0.95), 0.1, 1.0
"""AdamW's averages, its pull of matrices toward zero, and the longest gradient. Source: the settings of GPT-3."""


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """How long and on what. batch: windows a step, of `context` tokens each, of which every one but the first is said.

    rate: the step size that stays. warmup: steps until it is reached. decay: share of the steps at the end in which it
    falls to zero on a straight line.
    """

    steps: int
    batch: int
    context: int
    rate: float
    warmup: int
    decay: float

    @property
    def stable_until(self) -> int:
        """The last step before the step size falls."""
        return round(self.steps * (1 - self.decay))

    def rate_at(self, step: int) -> float:
        """The step size of a step, counted from 0."""
        rising = (step + 1) / self.warmup
        falling = (self.steps - step) / max(1, self.steps - self.stable_until)
        return self.rate * min(1.0, rising, falling)


@dataclass(kw_only=True, eq=False)
class TrainingRun:
    """A model in training. step: steps taken. losses: [steps] of each step that was taken, before it, else 0.

    Losses have one place from the start, on the model's device. A tensor for each of them would lie between the large
    ones that a step frees, which then leave holes of some 15 MB a step in the process's memory.
    gradient_norm: of the last step's gradient, before it was cut to CLIP.
    """

    model: nn.Module
    optimizer: torch.optim.AdamW
    seed: int
    losses: Tensor
    step: int = 0
    gradient_norm: Tensor | None = None


def start_training(model: nn.Module, plan: TrainingPlan, seed: int) -> TrainingRun:
    """The run before its first step."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=plan.rate, betas=BETAS, fused=matrices[0].device.type != "meta")
    losses = torch.zeros(plan.steps, dtype=torch.float64, device=matrices[0].device)
    return TrainingRun(model=model, optimizer=optimizer, seed=seed, losses=losses)


def train(run: TrainingRun, ids: Tensor, plan: TrainingPlan, observe: Callable[[TrainingRun], None]) -> None:
    """Take all steps that are left. ids: the text, [tokens]. observe: called before the first step and after each."""
    observe(run)
    run.model.train()
    while run.step < plan.steps:
        windows = draw_windows(ids, plan, run.seed, run.step)  # [batch, context]
        logits = _logits(run.model, windows[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        run.optimizer.zero_grad()
        loss.backward()
        # Step. The gradient is cut as a whole, so that its parts keep their proportions.
        run.gradient_norm = nn.utils.clip_grad_norm_(run.model.parameters(), CLIP)
        for group in run.optimizer.param_groups:
            group["lr"] = plan.rate_at(run.step)
        run.optimizer.step()
        run.losses[run.step] = loss.detach()
        run.step += 1
        observe(run)
    run.model.eval()


def draw_windows(ids: Tensor, plan: TrainingPlan, seed: int, step: int) -> Tensor:
    """The windows of a step: [batch, context]. They begin anywhere in the text, each start as likely as any other."""
    # A generator of torch on the CPU has but 32 bits of seed, too few for two numbers.
    starts = np.random.default_rng((seed, step)).integers(len(ids) - plan.context + 1, size=plan.batch)
    places = torch.from_numpy(starts)[:, None] + torch.arange(plan.context)
    return ids[places.to(ids.device)].long()


@torch.no_grad()
def evaluate(model: nn.Module, ids: Tensor, context: int, batch: int = 32) -> float:
    """Mean cross-entropy in nats of a text's tokens but the first of each window. Windows follow each other.

    ids: [tokens]. A last window that is not full is left out.
    """
    was_training = model.training
    model.eval()
    windows = ids[: len(ids) // context * context].view(-1, context).long()
    total = 0.0
    for part in windows.split(batch):
        logits = _logits(model, part[:, :-1])
        total += float(nn.functional.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum"))
    model.train(was_training)
    return total / (len(windows) * (context - 1))


def _logits(model: Any, ids: Tensor) -> Tensor:
    # Without a mask of ours, the library would look at position ids each time, for which a GPU has to be waited for.
    mask = make_causal_mask(ids.shape[1], 0, ids)
    return model(input_ids=ids, attention_mask=mask, use_cache=False).logits
