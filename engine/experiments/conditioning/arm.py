"""How gradients are conditioned: what is run, and what comes out. Pure: no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from engine.arms.arm import Arm, Result
from engine.arms.costs import TOKENS, Cost, CostModel
from engine.arms.settings import StackSettings, Unit
from engine.arms.stacks import Stack
from engine.errors import DeclarationError, explain
from engine.records import Number

RESOLVED = 2.0**-24
"""A singular value below this share of the largest is rounding: the unit roundoff of float32."""

COPIES = 256
"""Outputs that are differentiated in one backward pass, each through its own copy of the input."""


@dataclass(frozen=True, kw_only=True)
class JacobianRun:
    """The singular values of one prompt's Jacobian.

    count: how many there are, the smaller side of the Jacobian. high, low: their 99th and 1st percentile, interpolated.
    """

    prompt: str
    count: int
    largest: Number
    high: Number
    low: Number
    smallest: Number

    @property
    def condition(self) -> float:
        """The 99th over the 1st percentile; at most 2²⁴, beyond which the 1st is rounding."""
        least = RESOLVED * self.high
        return self.high / max(self.low, least) if least > 0 else 1 / RESOLVED

    @property
    def log_condition(self) -> float:
        """The natural logarithm of the condition number."""
        return math.log(self.condition)


@dataclass(frozen=True, kw_only=True)
class JacobianResult(Result):
    runs: tuple[JacobianRun, ...]
    kind: Literal["jacobian"] = "jacobian"


@dataclass(frozen=True, kw_only=True)
class JacobianArm(Arm):
    """The last position's output of a stack, differentiated by the last position's own input.

    The earlier positions hold the activations of the prompt. first_block: the blocks from this one (from 1) to the
    stack's last are differentiated, at the activations in front of it. With the stack's head the outputs are logits.
    Raises DeclarationError where that block is not one of the stack's.
    """

    tag: ClassVar[str] = "JacobianArm"
    result: ClassVar[type[Result]] = JacobianResult
    measured_by: ClassVar[str] = "engine.experiments.conditioning.measure:measure_jacobian"
    settings: StackSettings
    units: tuple[Unit, ...]
    first_block: int = 1
    kind: Literal["jacobian"] = "jacobian"

    def __post_init__(self) -> None:
        stack = self.settings.stack
        if (
            not isinstance(stack, Stack)
            or not isinstance(stack.blocks, int)
            or not 1 <= self.first_block <= stack.blocks
        ):
            got, expected = f"block {self.first_block} of {stack}", "a block of a stack whose number of blocks is known"
            remedy = "give the stack that ends behind it"
            raise DeclarationError(explain(who="JacobianArm", got=got, expected=expected, remedy=remedy))

    def estimate_cost(self, costs: CostModel) -> Cost:
        size, stack = costs.model, self.settings.stack
        assert isinstance(stack, Stack)
        assert isinstance(stack.blocks, int)
        own = replace(stack, blocks=stack.blocks - self.first_block + 1, head=False)
        # Each copy is one position, where a run of the cost model has several.
        steps, runs = -(-size.d_model // COPIES), -(-COPIES // TOKENS)
        passes = costs.count_steps(replace(self.settings, stack=own), len(self.units) * steps, runs)
        # Singular values in float64 take about ten products of such matrices, and the head is factorized once.
        products = 2.0 * (10 * len(self.units) * size.d_model**3 + (size.vocab * size.d_model**2 if stack.head else 0))
        cached = 8.0 * COPIES * TOKENS * size.cached * own.count(size.blocks)
        return Cost(
            seconds=passes.seconds + products / costs.machine.products_per_s,
            memory_bytes=passes.memory_bytes + cached + 40.0 * size.d_model**2,
        )

    def assume(self) -> Result:
        """Equal singular values: a plan goes on to the descents that are compared with them."""
        return JacobianResult(
            runs=tuple(
                JacobianRun(prompt=unit.prompt, count=1, largest=1.0, high=1.0, low=1.0, smallest=1.0)
                for unit in self.units
            )
        )


@dataclass(frozen=True, kw_only=True)
class LogitGradientRun:
    """What the head lets through of one prompt's gradients by the logits.

    tokens: positions whose logits are in the loss. outside, inside: the share of the gradient's Frobenius norm that
    lies outside and inside of the head's column space; their squares add up to 1. sensitivity: the length that arrives
    in front of the head, over the most that could. l1_…: the same of the L¹ distance between the logits of a random
    start and those of the prompt, at the start. NaN where a gradient is zero.
    """

    prompt: str
    seed: int
    tokens: int
    outside: Number
    inside: Number
    sensitivity: Number
    l1_outside: Number
    l1_inside: Number
    l1_sensitivity: Number


@dataclass(frozen=True, kw_only=True)
class LogitGradientResult(Result):
    """rank: of the head's matrix."""

    runs: tuple[LogitGradientRun, ...]
    rank: int
    kind: Literal["logit gradient"] = "logit gradient"


@dataclass(frozen=True, kw_only=True)
class LogitGradientArm(Arm):
    """Gradients by the logits of a stack with a head, split by the head's column space.

    One is of the next-token cross-entropy on the prompt's own tokens, the other of the document's loss at a random
    start. They are taken by what the head's matrix gives, behind which a family may have a bias or a soft cap.
    Source: arXiv 2603.10145 (the head as a bottleneck of gradients).
    """

    tag: ClassVar[str] = "LogitGradientArm"
    result: ClassVar[type[Result]] = LogitGradientResult
    measured_by: ClassVar[str] = "engine.experiments.conditioning.measure:measure_logit_gradients"
    settings: StackSettings
    units: tuple[Unit, ...]
    kind: Literal["logit gradient"] = "logit gradient"

    def __post_init__(self) -> None:
        stack = self.settings.stack
        if not isinstance(stack, Stack) or not stack.head:
            remedy = "ask for a stack with head=True"
            raise DeclarationError(explain(who="LogitGradientArm", got=str(stack), expected="a head", remedy=remedy))

    def estimate_cost(self, costs: CostModel) -> Cost:
        size = costs.model
        passes = costs.count_passes(1, 2 * len(self.units), self.settings.dtype)
        # Four products of the whole head in float64 for each unit, and its factorization once.
        products = 2.0 * size.vocab * size.d_model * (size.d_model + 4 * TOKENS * len(self.units))
        return Cost(
            seconds=passes.seconds + 2 * products / costs.machine.products_per_s,
            memory_bytes=passes.memory_bytes + 8.0 * size.vocab * TOKENS * 6 + 40.0 * size.d_model**2,
        )
