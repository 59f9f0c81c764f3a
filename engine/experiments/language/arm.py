"""Arms and results of next tokens and continuations. Pure: no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from engine.arms.arm import CHECK_STEPS, CHECK_UNITS, Arm, GpuCheck, GpuCheckTarget, Result
from engine.arms.costs import TOKENS, Cost, CostModel, count_bytes
from engine.arms.settings import Unit
from engine.records import Number


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """What follows one prompt.

    top, probabilities: the five likeliest next tokens, the likeliest first. shifted: the likeliest after each shift.
    """

    prompt: str
    seed: int
    top: tuple[int, ...]
    probabilities: tuple[Number, ...]
    shifted: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class NextTokenResult(Result):
    """One row for each unit. texts: the text of every token that a row names."""

    rows: tuple[Continuation, ...]
    texts: dict[int, str]
    kind: Literal["next token"] = "next token"


@dataclass(frozen=True, kw_only=True)
class Generated:
    """One prompt's continuation: its new tokens, and the same as text."""

    prompt: str
    tokens: tuple[int, ...]
    text: str


@dataclass(frozen=True, kw_only=True)
class GenerationResult(Result):
    """Continuations in the order of the units. tokens: the new ids before the end of text. text: the same, decoded."""

    prompts: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]
    text: tuple[str, ...]
    kind: Literal["generation"] = "generation"

    @property
    def runs(self) -> tuple[Generated, ...]:
        rows = zip(self.prompts, self.tokens, self.text, strict=True)
        return tuple(Generated(prompt=prompt, tokens=tokens, text=text) for prompt, tokens, text in rows)


@dataclass(frozen=True, kw_only=True)
class NextTokenArm(Arm):
    """The whole model's next token after each unit's prompt, and after its embeddings shifted by N(0, sigma²).

    draws: shifts of each unit; 0 for the prompt alone.
    """

    tag: ClassVar[str] = "NextTokenArm"
    result: ClassVar[type[Result]] = NextTokenResult
    measured_by: ClassVar[str] = "engine.experiments.language.measure:measure_next_tokens"
    subject: str
    source: str
    units: tuple[Unit, ...]
    sigma: float = 0.05
    draws: int = 0
    dtype: str = "float32"
    device: str = "cpu"
    kind: Literal["next token"] = "next token"

    def estimate_cost(self, costs: CostModel) -> Cost:
        return costs.count_passes(len(self.units) * (1 + self.draws), 1, self.dtype)

    @classmethod
    def list_gpu_checks(cls, target: GpuCheckTarget) -> Iterable[GpuCheck]:
        arm = cls(subject=target.subject, source=target.source, units=CHECK_UNITS, draws=2, dtype="float64")
        return (GpuCheck(arm=arm, name="whole model", dtype="float64", steps=CHECK_STEPS, blocks=target.blocks),)


@dataclass(frozen=True, kw_only=True)
class GenerationArm(Arm):
    """Continue each unit's prompt by the library's own decoding: greedy with one beam, else beam search.

    batch: number of prompts that are continued together, padded on the left.
    """

    tag: ClassVar[str] = "GenerationArm"
    result: ClassVar[type[Result]] = GenerationResult
    measured_by: ClassVar[str] = "engine.experiments.language.measure:measure_generation"
    subject: str
    source: str
    units: tuple[Unit, ...]
    new_tokens: int
    beams: int
    batch: int
    dtype: str = "float32"
    device: str = "cpu"
    kind: Literal["generation"] = "generation"

    def estimate_cost(self, costs: CostModel) -> Cost:
        """Forward passes of one token. Keys and values count twice: beams are copied when they change places."""
        size, rows = costs.model, len(self.units) * self.beams
        passes = costs.count_passes(rows / TOKENS, self.new_tokens, self.dtype)
        kept = 2 * count_bytes(self.dtype) * rows * (TOKENS + self.new_tokens) * size.blocks * size.cached
        return Cost(seconds=passes.seconds, memory_bytes=passes.memory_bytes + kept)
