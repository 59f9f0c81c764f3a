"""Settings that several kinds of arms share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from engine.arms.protocol import LINEAR_TO_TENTH, Protocol, Schedule
from engine.arms.stacks import AnyStack, describe_stack

ADDED_LATER = {"later": True}
"""Marks a field that was added after arms had been measured: at its default it is not part of a digest."""


Metric = Literal["l1", "l2"]

Optimizer = Literal["descent", "adam"]

Decoder = Literal["pseudo-inverse", "nearest"]

Observed = Literal["float", "8 bits"]
"""Activations as they are, or rounded to 8 bits, each position by its largest."""

ReadAt = Literal["hit", "N"]

TunedFor = Literal["hit", "distance"]
"""What a step size is tuned for: the earliest hit, or the least distance of the output at N."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One prompt with one start seed: the unit that statistics count."""

    tag: ClassVar[str] = "Unit"
    prompt: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class StackSettings:
    """The stack and the inputs, shared by descents and walks.

    subject, source: a subject's id and the fingerprint of its weights.
    sigma: standard deviation of the shift that defines the bound. first_tokens: cut each prompt to this many tokens;
    None keeps all.
    """

    tag: ClassVar[str] = "StackSettings"
    subject: str
    source: str
    stack: AnyStack
    protocol: Protocol
    sigma: float = 0.05
    dtype: str = "float32"
    device: str = "cpu"
    first_tokens: int | None = None


@dataclass(frozen=True, kw_only=True)
class DescentSettings(StackSettings):
    """The settings of a gradient descent on embeddings.

    iterations: the schedule's length N, which is also the cap.
    blend: (s, t) of the start e₀ = s·noise + t·e. Source: the document's combination of noise and target.
    optimizer: plain gradient descent, as the document's, or Adam with its usual moments.
    """

    tag: ClassVar[str] = "DescentSettings"
    iterations: int
    metric: Metric = "l1"
    schedule: Schedule = LINEAR_TO_TENTH
    blend: tuple[float, float] = (1.0, 0.0)
    optimizer: Optimizer = field(default="descent", metadata=ADDED_LATER)


@dataclass(frozen=True, kw_only=True)
class Method:
    """How tokens are recovered from activations, besides the start, positions and optimizer of the settings.

    decoder: an embedding is decoded to the token with the largest pseudo-inverse coefficient, or to the row of W that
    is nearest in L². token_by_token: recover one position at a time, given the tokens before it.
    verify: accept a token only if a forward pass reproduces the activations, and search on until one does.
    """

    tag: ClassVar[str] = "Method"
    decoder: Decoder = "nearest"
    token_by_token: bool = True
    verify: bool = True


def describe(settings: StackSettings) -> dict[str, str]:
    """Settings in words, for a report."""
    words = {"stack": describe_stack(settings.stack), "σ": f"{settings.sigma:g}"}
    if isinstance(settings, DescentSettings):
        words |= {
            "N": str(settings.iterations),
            "metric": settings.metric,
            "schedule": f"{settings.schedule.shape} to {settings.schedule.end:g}·η",
        }
        if settings.optimizer == "adam":
            words["optimizer"] = "Adam"
        if settings.blend != (1.0, 0.0):
            words["start"] = f"{settings.blend[0]:g}·noise + {settings.blend[1]:g}·e"
    return words | {"dtype": settings.dtype, "device": settings.device}
