"""What an arm will take on a kind of machine: seconds, memory of the host, and memory of a GPU."""

from __future__ import annotations

from functools import cache

from engine.arms.arm import Arm, device_of, dtype_of, weights_of
from engine.arms.costs import CPU, GPU, Cost, CostModel, Machine, Size, count_bytes
from engine.arms.settings import StackSettings
from engine.arms.stacks import SentenceNet
from engine.models import find_subject
from engine.models.families import count_block

PROCESS_BYTES = 5.0e8
"""Memory of a process that has loaded torch and transformers, before its first model."""

GPU_PROCESS_BYTES = 2.5e9
"""Host memory of a process that uses a GPU: CUDA's own libraries come on top."""

GPU_CONTEXT_BYTES = 6.0e8
"""Memory of a GPU for each process that uses it."""


@cache
def size_of(subject: str) -> Size:
    """Sizes from the subject's configuration."""
    config = find_subject(subject).config()
    block, cached = count_block(config)
    return Size(
        vocab=int(config.vocab_size),
        d_model=int(config.hidden_size),
        blocks=int(config.num_hidden_layers),
        block_weights=block,
        cached=cached,
    )


def group_of(arm: Arm) -> tuple[str, str, str]:
    """The weights an arm needs. Arms of one group should follow each other in one process, which loads them once."""
    settings = getattr(arm, "settings", None)
    if not isinstance(settings, StackSettings):
        return (getattr(arm, "subject", ""), getattr(arm, "dtype", ""), arm.kind)
    net = settings.stack if isinstance(settings.stack, SentenceNet) else None
    return (settings.subject, settings.dtype, f"net {net}" if net else "")


def host_bytes(arm: Arm) -> float:
    """Host memory of a process that measures the arm. Weights for a GPU pass through it."""
    if device_of(arm) == "cpu":
        return PROCESS_BYTES + estimate_cost(arm).memory_bytes
    subject = weights_of(arm)[0]
    weights = size_of(subject).weights if subject != "none" else 0.0
    return GPU_PROCESS_BYTES + count_bytes(dtype_of(arm)) * weights


def gpu_bytes(arm: Arm) -> float:
    """GPU memory of a process that measures the arm; 0 for an arm on the CPU."""
    return 0.0 if device_of(arm) == "cpu" else GPU_CONTEXT_BYTES + estimate_cost(arm).memory_bytes


def estimate_cost(arm: Arm, machine: Machine | None = None, size: Size | None = None) -> Cost:
    """A first estimate of an arm's cost.

    machine: None takes the kind of the arm's device. size: of the model; None reads the subject's configuration.
    """
    machine = machine or (CPU if device_of(arm) == "cpu" else GPU)
    subject = weights_of(arm)[0]
    known = size if size is not None or subject == "none" else size_of(subject)
    return arm.estimate_cost(CostModel(machine=machine, size=known))
