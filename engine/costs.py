"""What an arm will take, before anything is loaded: seconds on this kind of machine and memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from engine.measurement import (
    Arm,
    DescentSettings,
    InversionArm,
    PseudoInverseArm,
    RoundTripArm,
    SentenceNet,
    TuningArm,
)
from engine.subjects import find_subject

PRODUCTS_PER_S = 1.0e11
"""Multiply-adds per second of float32 matrix products, as a first guess; the session corrects it as arms finish."""

BYTES_PER_S = 1.0e10
"""Weights read from memory per second: what bounds a small batch through a large net."""

STEP_OVERHEAD_S = 0.003
TOKENS = 7
"""Tokens of a prompt, on average and padded."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    seconds: float
    memory_bytes: float


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers of a language model that decide its cost."""

    vocab: int
    d_model: int
    blocks: int
    block_weights: int

    @property
    def weights(self) -> int:
        return self.vocab * self.d_model + self.blocks * self.block_weights


@cache
def size_of(subject: str) -> Size:
    """Sizes from the subject's configuration."""
    config = find_subject(subject).config()
    d = int(config.hidden_size)
    if config.model_type == "gpt2":
        block = 12 * d * d
    else:
        shared = 2 * d * d * int(config.num_key_value_heads) // int(config.num_attention_heads)
        block = 2 * d * d + shared + 3 * d * int(config.intermediate_size)
    return Size(vocab=int(config.vocab_size), d_model=d, blocks=int(config.num_hidden_layers), block_weights=block)


def estimate_cost(arm: Arm) -> Cost:
    """First guess at an arm's cost: the products its steps need, the weights they read, and a constant a step."""
    if isinstance(arm, PseudoInverseArm):
        if arm.matrix != "embedding":
            return Cost(seconds=0.2, memory_bytes=1e7)
        size = size_of(arm.subject)
        entries = size.vocab * size.d_model
        return Cost(seconds=2 + 40 * entries * size.d_model / PRODUCTS_PER_S, memory_bytes=8.0 * entries * 6)
    if isinstance(arm, RoundTripArm):
        size = size_of(arm.subject)
        products = size.vocab**2 * size.d_model / 2
        return Cost(seconds=2 + products / PRODUCTS_PER_S, memory_bytes=4.0 * (size.weights + 1024 * size.vocab))
    return _descent_cost(arm)


def _descent_cost(arm: InversionArm | TuningArm) -> Cost:
    settings, size = arm.settings, size_of(arm.settings.subject)
    runs = len(arm.units) * (len(arm.steps) if isinstance(arm, TuningArm) else 1)
    steps = arm.horizon if isinstance(arm, TuningArm) else settings.iterations
    weights = _weights(settings, size)
    rows = 1 if isinstance(settings.stack, SentenceNet) else TOKENS
    per_step = max(2 * weights * rows * runs / PRODUCTS_PER_S, 2 * 4 * weights / BYTES_PER_S)
    blocks = 1 if isinstance(settings.stack, SentenceNet) else settings.stack.blocks
    net = weights if isinstance(settings.stack, SentenceNet) else 0
    return Cost(
        seconds=steps * (per_step + STEP_OVERHEAD_S * blocks) + 1e-8 * net,
        memory_bytes=4.0 * (size.weights + net) + 4.0 * runs * TOKENS * size.d_model * (40 * blocks + 8) + 1e8,
    )


def _weights(settings: DescentSettings, size: Size) -> int:
    stack = settings.stack
    if isinstance(stack, SentenceNet):
        inputs = stack.tokens * size.d_model
        return 4 * inputs * inputs + 4 * inputs * inputs * (1 if stack.narrow else 4)
    return stack.blocks * size.block_weights + (size.vocab * size.d_model if stack.head else 0)
