"""The arm of a model's training, and what is recorded of it. Pure: no torch."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar, Literal

from engine.arms.arm import Arm, Result
from engine.arms.costs import Cost, CostModel
from engine.models import find_subject
from engine.models.trained import Recipe, TrainedSubject

STEP_OVERHEAD_S = 0.004
"""Of a training step for each block, whatever its size: attention, norms, the optimizer's passes over weights."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights that were kept. sha256: of their file. validation_loss: in nats a token."""

    step: int
    sha256: str
    validation_loss: float


@dataclass(frozen=True, kw_only=True)
class UpdateWindow:
    """What a share of training changed, part by part: the embedding, then each block.

    until: the step it ends at. updates: ‖W − W₀‖ / ‖W₀‖, W₀ the weights at its beginning. gradients: the mean of
    ‖∂loss/∂W‖ / ‖W₀‖ over its steps, before the optimizer and before gradients are cut.
    """

    until: int
    updates: tuple[float, ...]
    gradients: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingResult(Result):
    """curve: training loss, the mean of the steps up to each of curve_at since the one before.

    trigram_loss: of an interpolated trigram of the training text, on the same tokens as validation_loss.
    text_repetition: the share of repeated 4-grams in windows of 64 of these tokens. samples: continuations of fixed
    beginnings, greedy, at the end.
    """

    tokens: int
    checkpoints: tuple[Checkpoint, ...]
    curve_at: tuple[int, ...]
    curve: tuple[float, ...]
    parts: tuple[str, ...]
    windows: tuple[UpdateWindow, ...]
    trigram_loss: float
    text_repetition: float
    samples: tuple[str, ...]
    kind: Literal["training"] = "training"


@dataclass(frozen=True, kw_only=True)
class TrainingArm(Arm):
    """Train a model of the family from its first step to its last. subject: its id at the end, with its seed."""

    tag: ClassVar[str] = "TrainingArm"
    result: ClassVar[type[Result]] = TrainingResult
    measured_by: ClassVar[str] = "engine.experiments.training.measure:measure_training"
    subject: str
    source: str
    dtype: Literal["float32"] = "float32"
    device: str = "cpu"
    kind: Literal["training"] = "training"

    @classmethod
    def of(cls, subject: TrainedSubject, device: str) -> TrainingArm:
        """The training that a checkpoint comes from."""
        whole = subject.whole
        return cls(subject=whole.id, source=whole.fingerprint(), device=device)

    @property
    def recipe(self) -> Recipe:
        subject = find_subject(self.subject)
        assert isinstance(subject, TrainedSubject)
        return subject.recipe

    def is_available(self) -> bool:
        return self.recipe.is_trained()

    def describe_progress(self) -> str:
        recipe = self.recipe
        with suppress(OSError, ValueError, KeyError):
            state = json.loads(recipe.status_file.read_text())
            return (
                f"step {state['step']:,} of {recipe.steps:,}, loss {state['loss']:.2f}, "
                f"{state['tokens_per_s']:,.0f} tokens/s"
            )
        return ""

    def estimate_cost(self, costs: CostModel) -> Cost:
        """Three products a weight and token: forward, and backward to inputs and to weights."""
        size, recipe = costs.model, self.recipe
        products = 3 * size.weights * recipe.tokens
        passes = recipe.steps * STEP_OVERHEAD_S * (size.blocks + 2)
        # Weights, their gradients and two averages, and the activations of a step.
        memory = 16.0 * size.weights + 4.0 * recipe.batch * recipe.context * (3 * size.vocab + 40 * size.d_model)
        return Cost(seconds=products / costs.machine.products_per_s + passes, memory_bytes=memory + 3e8)

    def assume(self) -> Result:
        return TrainingResult(
            tokens=self.recipe.tokens,
            checkpoints=(),
            curve_at=(),
            curve=(),
            parts=(),
            windows=(),
            trigram_loss=0.0,
            text_repetition=0.0,
            samples=(),
        )
