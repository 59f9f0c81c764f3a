"""Cost model: expected seconds and memory of work on a model, before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from engine.arms.settings import StackSettings
from engine.arms.stacks import AnyStack, SentenceNet, Stack, TokenNet

TOKENS = 7
"""Tokens of a prompt, on average, with padding."""

CANDIDATES_BYTES = 5.0e8
"""Memory for candidates while they are checked (token_search.CHECK_BYTES and a block's activations)."""

LOADING_BYTES = 5.0e8
"""Temporary memory while weights are read, checked and factorized."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The speed of a kind of machine.

    products_per_s: multiply-adds of float32 matrix products. bytes_per_s: weights read from memory, the limit of a
    small batch through a large net. step_overhead_s: of each block in each step, whatever its size.
    """

    products_per_s: float
    bytes_per_s: float
    step_overhead_s: float


CPU = Machine(products_per_s=5.0e10, bytes_per_s=1.0e10, step_overhead_s=0.003)
"""A first estimate; the session corrects it as arms finish."""

GPU = Machine(products_per_s=1.5e13, bytes_per_s=2.0e12, step_overhead_s=2.4e-3)
"""An H100 or H200. Half of the data sheet's 67 TFLOP/s of float32 outside the tensor cores (two operations make one
multiply-add) and six tenths of an H100's 3.35 TB/s. The overhead was measured on an H200: 3.8 ms a step through one
block, 28 through 12 and the head, 71 through 30, at 12 prompts; Python launches a block's kernels one by one."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    seconds: float
    memory_bytes: float


@dataclass(frozen=True, kw_only=True)
class Size:
    """Sizes of a language model that decide its cost. cached: key and value numbers that a block keeps for a token."""

    vocab: int
    d_model: int
    blocks: int
    block_weights: int
    cached: int

    @property
    def weights(self) -> int:
        return self.vocab * self.d_model + self.blocks * self.block_weights


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """Cost of work on a model of one size on one machine: its products, the weights it reads, and a constant a step.

    size: None for arms without a model.
    """

    machine: Machine
    size: Size | None

    @property
    def model(self) -> Size:
        """The size; only for arms with a model."""
        assert self.size is not None
        return self.size

    def count_passes(self, prompts: float, passes: int, dtype: str) -> Cost:
        """Cost of forward passes of the whole model, over so many prompts at a time, in this precision."""
        size, machine = self.model, self.machine
        per_pass = max(size.weights * TOKENS * prompts / machine.products_per_s, 4 * size.weights / machine.bytes_per_s)
        return Cost(
            seconds=1 + passes * (per_pass + machine.step_overhead_s * size.blocks),
            memory_bytes=count_bytes(dtype) * (size.weights + prompts * TOKENS * size.vocab) + LOADING_BYTES,
        )

    def count_steps(self, settings: StackSettings, steps: int, runs: int, *, beside_bytes: float = 0.0) -> Cost:
        """Cost of steps forward and backward through a stack, with so many runs in a batch."""
        size, machine, stack = self.model, self.machine, settings.stack
        weights = _weights(stack, size)
        rows = 1 if isinstance(stack, SentenceNet) else TOKENS
        wide = 2 if settings.dtype == "float64" else 1
        per_step = wide * max(2 * weights * rows * runs / machine.products_per_s, 2 * 4 * weights / machine.bytes_per_s)
        blocks = _depth(stack, size)
        net = 0 if isinstance(stack, Stack) else weights
        return Cost(
            seconds=steps * (per_step + machine.step_overhead_s * blocks) + 1e-8 * net,
            memory_bytes=wide * 4.0 * (size.weights + net + runs * TOKENS * size.d_model * (40 * blocks + 8))
            + LOADING_BYTES
            + beside_bytes,
        )

    def count_checks(self, settings: StackSettings, candidates: int, beside: Cost) -> Cost:
        """Cost of checking candidates for one position, added to `beside`, the rest of an arm."""
        size, depth = self.model, _depth(settings.stack, self.model)
        products = candidates * depth * size.block_weights
        return Cost(
            seconds=beside.seconds + products / self.machine.products_per_s,
            memory_bytes=beside.memory_bytes + CANDIDATES_BYTES + 4.0 * size.vocab * size.d_model,
        )


def count_bytes(dtype: str) -> float:
    """Bytes of a model's number. Half precision counts as float32."""
    return 8.0 if dtype == "float64" else 4.0


def _depth(stack: AnyStack, size: Size) -> int:
    return stack.count(size.blocks) if isinstance(stack, Stack) else 1


def _weights(stack: AnyStack, size: Size) -> int:
    if isinstance(stack, SentenceNet):
        inputs = stack.tokens * size.d_model
        return 4 * inputs * inputs + 4 * inputs * inputs * (1 if stack.narrow else 4)
    if isinstance(stack, TokenNet):
        return 8 * (stack.d_model or size.d_model) ** 2
    return _depth(stack, size) * size.block_weights + (size.vocab * size.d_model if stack.head else 0)
