"""What an arm will take, before anything is loaded: seconds on this kind of machine and memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from engine.arms.arm import (
    LATER_STARTS,
    Arm,
    ClampedWalkArm,
    GenerationArm,
    GradientArm,
    InversionArm,
    MarginArm,
    NextTokenArm,
    OrthogonalWalkArm,
    PseudoInverseArm,
    RecoveryArm,
    RoundTripArm,
    TuningArm,
    VocabularyArm,
    weights_of,
)
from engine.arms.settings import StackSettings
from engine.arms.stacks import AnyStack, SentenceNet, Stack, TokenNet
from engine.models import find_subject

TOKENS = 7
"""Tokens of a prompt, on average and padded."""

COPIES = 256
"""Outputs whose gradients are taken together (engine.methods.walks, which needs torch, has the number that counts)."""

GUESSES, CHECKS = 2, 1000
"""Guesses and checked candidates of a token that is sought until it is found: most need one and 32."""

CANDIDATES_BYTES = 5.0e8
"""Room for candidates while they are checked (token_search.CHECK_BYTES and what a block makes of them)."""

PROCESS_BYTES = 5.0e8
"""A process that has loaded torch and transformers, before its first model."""

LOADING_BYTES = 5.0e8
"""What is held for a moment while weights are read, checked and factorized."""

GPU_PROCESS_BYTES = 2.5e9
"""Of the host, for a process that uses a GPU: CUDA's own libraries come on top."""

GPU_CONTEXT_BYTES = 6.0e8
"""Of a GPU, for every process that uses it."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What decides how long an arm takes on it.

    products_per_s: multiply-adds of float32 matrix products. bytes_per_s: weights read from memory, which bounds a
    small batch through a large net. step_overhead_s: of each block in each step, whatever its size.
    """

    products_per_s: float
    bytes_per_s: float
    step_overhead_s: float


CPU = Machine(products_per_s=5.0e10, bytes_per_s=1.0e10, step_overhead_s=0.003)
"""A first guess; the session corrects it as arms finish."""

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
    """Numbers of a language model that decide its cost."""

    vocab: int
    d_model: int
    blocks: int
    block_weights: int
    cached: int
    """Numbers of keys and values that a block keeps of a token."""

    @property
    def weights(self) -> int:
        return self.vocab * self.d_model + self.blocks * self.block_weights


@cache
def size_of(subject: str) -> Size:
    """Sizes from the subject's configuration."""
    config = find_subject(subject).config()
    d, cached = int(config.hidden_size), 2 * int(config.hidden_size)
    if config.model_type == "gpt2":
        block = 12 * d * d
    else:
        cached = 2 * d * int(config.num_key_value_heads) // int(config.num_attention_heads)
        block = (2 * d + cached) * d + 3 * d * int(config.intermediate_size)
    return Size(
        vocab=int(config.vocab_size),
        d_model=d,
        blocks=int(config.num_hidden_layers),
        block_weights=block,
        cached=cached,
    )


def group_of(arm: Arm) -> tuple[str, str, str]:
    """Arms of one group share weights: they should follow each other in one process."""
    settings = getattr(arm, "settings", None)
    if not isinstance(settings, StackSettings):
        return (getattr(arm, "subject", ""), getattr(arm, "dtype", ""), arm.kind)
    net = settings.stack if isinstance(settings.stack, SentenceNet) else None
    return (settings.subject, settings.dtype, f"net {net}" if net else "")


def device_of(arm: Arm) -> str:
    """The kind of device that an arm is measured on: 'cpu' or 'cuda'."""
    where: Any = getattr(arm, "settings", arm)
    return where.device


def host_bytes(arm: Arm) -> float:
    """What a process that measures the arm takes of the host's memory. A GPU's weights pass through it."""
    if device_of(arm) == "cpu":
        return PROCESS_BYTES + estimate_cost(arm).memory_bytes
    subject = weights_of(arm)[0]
    return GPU_PROCESS_BYTES + (_width(arm) * size_of(subject).weights if subject != "none" else 0.0)


def _width(arm: Arm) -> float:
    """Bytes of a number of its model, at least four: less is taken for float32."""
    return 8.0 if getattr(getattr(arm, "settings", arm), "dtype", "") == "float64" else 4.0


def gpu_bytes(arm: Arm) -> float:
    """What a process that measures the arm takes of a GPU's memory; 0 for one of the CPU's."""
    return 0.0 if device_of(arm) == "cpu" else GPU_CONTEXT_BYTES + estimate_cost(arm).memory_bytes


def estimate_cost(arm: Arm, machine: Machine | None = None, size: Size | None = None) -> Cost:
    """First guess at an arm's cost: the products its steps need, the weights they read, and a constant a step.

    machine: where it is not to go by the arm's device. size: of the model, where it is not to be read from the
    subject's configuration.
    """
    machine = machine or (CPU if device_of(arm) == "cpu" else GPU)
    match arm:
        case VocabularyArm():
            return Cost(seconds=2.0, memory_bytes=2e8)
        case PseudoInverseArm() if arm.matrix != "embedding":
            return Cost(seconds=0.2, memory_bytes=3e8)
        case _ if weights_of(arm)[0] == "none":
            return Cost(seconds=1.0, memory_bytes=3e8)  # of a kind that came later, without a model
        case _:
            return _Bill(machine=machine, size=size or size_of(weights_of(arm)[0])).add_up(arm)


@dataclass(frozen=True, kw_only=True)
class _Bill:
    """What arms on a model of one size cost on one machine."""

    machine: Machine
    size: Size

    def add_up(self, arm: Arm) -> Cost:
        match arm:
            case PseudoInverseArm():
                return self._invert()
            case RoundTripArm():
                return self._decode()
            case NextTokenArm():
                return self._pass(len(arm.units) * (1 + arm.draws), 1, _width(arm))
            case GenerationArm():
                return self._generate(arm)
            case InversionArm():
                return self._descend(arm.settings, arm.settings.iterations, len(arm.units))
            case TuningArm():
                runs = len(arm.units) * len(arm.steps)
                return self._descend(arm.settings, arm.horizon, -(-runs // TOKENS) if arm.alone else runs)
            case RecoveryArm():
                return self._seek(arm)
            case MarginArm():
                checked = len(arm.units) * self.size.vocab
                return self._check(arm.settings, checked, self._descend(arm.settings, 1, len(arm.units)))
            case GradientArm():
                passes = -(-TOKENS * self.size.d_model // COPIES)
                return self._descend(arm.settings, len(arm.units) * passes, COPIES)
            case OrthogonalWalkArm():
                # Each step's singular vectors take about as long as three passes, and room for their copies.
                return self._descend(arm.settings, 4 * arm.steps, len(arm.units), beside_bytes=2e8)
            case ClampedWalkArm():
                steps = arm.inner * max(choice.outer for choice in arm.choices)
                return self._descend(arm.settings, steps, len(arm.units) * len(arm.choices))
            case _:
                # A kind that came later and whose products nobody has counted: as a step for each of its units.
                units = len(getattr(arm, "units", (None,)))
                return self._pass(units, 1, _width(arm))

    def _invert(self) -> Cost:
        size = self.size
        entries = size.vocab * size.d_model
        return Cost(
            seconds=2 + 20 * entries * size.d_model / self.machine.products_per_s,
            memory_bytes=4.0 * size.weights + 8.0 * entries * 4,
        )

    def _decode(self) -> Cost:
        size = self.size
        products = size.vocab**2 * size.d_model / 2
        return Cost(
            seconds=2 + products / self.machine.products_per_s,
            memory_bytes=4.0 * (size.weights + 4 * size.vocab * size.d_model) + LOADING_BYTES,
        )

    def _seek(self, arm: RecoveryArm) -> Cost:
        """Descents of all positions together or one after the other, some of them again, and candidates' checks."""
        guesses = GUESSES if arm.method.verify else 1
        steps, runs = guesses * arm.settings.iterations, len(arm.units) * (LATER_STARTS if arm.method.verify else 1)
        if not arm.method.token_by_token:
            found = self._descend(arm.settings, steps, runs)
        else:
            found = self._descend(arm.settings, steps * TOKENS, -(-runs // TOKENS))
        checked = CHECKS * TOKENS * len(arm.units) if arm.method.verify else 0
        return self._check(arm.settings, checked, found)

    def _check(self, settings: StackSettings, candidates: int, beside: Cost) -> Cost:
        """Forward passes of candidates for one position, beside what else an arm does."""
        size, depth = self.size, _depth(settings.stack, self.size)
        products = candidates * depth * size.block_weights
        return Cost(
            seconds=beside.seconds + products / self.machine.products_per_s,
            memory_bytes=beside.memory_bytes + CANDIDATES_BYTES + 4.0 * size.vocab * size.d_model,
        )

    def _generate(self, arm: GenerationArm) -> Cost:
        """Forward passes of one token; beams keep keys and values twice while they change places."""
        size = self.size
        rows = len(arm.units) * arm.beams
        passes = self._pass(rows / TOKENS, arm.new_tokens, _width(arm))
        kept = 2 * _width(arm) * rows * (TOKENS + arm.new_tokens) * size.blocks * size.cached
        return Cost(seconds=passes.seconds, memory_bytes=passes.memory_bytes + kept)

    def _pass(self, prompts: float, passes: int, width: float) -> Cost:
        """Whole-model forward passes over so many prompts at a time, in numbers of so many bytes."""
        size, machine = self.size, self.machine
        per_pass = max(size.weights * TOKENS * prompts / machine.products_per_s, 4 * size.weights / machine.bytes_per_s)
        return Cost(
            seconds=1 + passes * (per_pass + machine.step_overhead_s * size.blocks),
            memory_bytes=width * (size.weights + prompts * TOKENS * size.vocab) + LOADING_BYTES,
        )

    def _descend(self, settings: StackSettings, steps: int, runs: int, *, beside_bytes: float = 0.0) -> Cost:
        size, machine, stack = self.size, self.machine, settings.stack
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


def _depth(stack: AnyStack, size: Size) -> int:
    if not isinstance(stack, Stack):
        return 1
    return stack.count(size.blocks)


def _weights(stack: AnyStack, size: Size) -> int:
    if isinstance(stack, SentenceNet):
        inputs = stack.tokens * size.d_model
        return 4 * inputs * inputs + 4 * inputs * inputs * (1 if stack.narrow else 4)
    if isinstance(stack, TokenNet):
        return 8 * (stack.d_model or size.d_model) ** 2
    return _depth(stack, size) * size.block_weights + (size.vocab * size.d_model if stack.head else 0)
