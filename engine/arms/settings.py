"""Settings that arms of several kinds share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from engine.arms.protocol import LINEAR_TO_TENTH, Protocol, Schedule
from engine.arms.stacks import AnyStack, describe_stack

ADDED_LATER = {"later": True}
"""Marks a field that came after arms had been measured: at its default it is no part of an arm's digest."""


Metric = Literal["l1", "l2"]


Optimizer = Literal["descent", "adam"]


Decoder = Literal["pseudo-inverse", "nearest"]


Observed = Literal["float", "8 bits"]
"""Activations as they are, or each position's rounded to 8 bits by its largest."""


ReadAt = Literal["hit", "N"]


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One prompt with one start seed: what statistics count."""

    tag: ClassVar[str] = "Unit"
    prompt: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class StackSettings:
    """What is run on which inputs, shared by descents and walks.

    subject, source: a catalogue id and the fingerprint of its weights.
    sigma: shift behind the bound. first_tokens: cut each prompt to this many tokens (None keeps all).
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
    """Everything that two arms of one comparison share, or differ in by design.

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
    """How tokens are found from activations, beside the start, the positions and the optimizer of the settings.

    decoder: a guess of an embedding stands for the token of the largest pseudo-inverse coefficient, or for the row of
    W that is nearest to it in L². token_by_token: one position is sought at a time, behind those that are settled.
    verify: tokens are taken once a forward pass gives the activations again, and looked for until one does.
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
