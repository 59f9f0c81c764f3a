"""Whether a device has room for the models of an item, told before any of them is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from engine.models.allowance import find_memory
from engine.models.quantized import QuantizedSubject, estimate_int8_bytes
from engine.models.subject import Subject
from engine.models.untrained import estimate_bytes
from engine.text import LONGEST_CAUSE

WORKING_SHARE = 1.5
"""Bytes that are needed for each byte of weights: their gradients' path, factors and batches take the rest."""


FAILED_ALLOCATION = (
    "can't allocate memory",
    "Cannot allocate memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "_STATUS_ALLOC_FAILED",
)
"""How torch and the system put it where they raise no MemoryError."""


def explain_shortage(subjects: Sequence[Subject], *, dtype: str, devices: Sequence[str], spread: bool) -> str | None:
    """Why the subjects' models are too large for each of the devices, with both figures; None when they fit one.

    spread: a model may lie on all of them at once.
    """
    needed = WORKING_SHARE * sum(count_bytes(subject, dtype) for subject in subjects)
    each = {device: free_bytes(device) for device in devices}
    largest = max(devices, key=lambda device: each[device])
    quantized = any(isinstance(subject, QuantizedSubject) for subject in subjects)  # never spread
    together = spread and not quantized and len(devices) > 1
    free = sum(each.values()) if together else each[largest]
    if needed <= free:
        return None
    names = " and ".join(subject.id for subject in subjects)
    verb = "needs" if len(subjects) == 1 else "need"
    where = f"{' and '.join(devices)} have" if together else f"{largest} has"
    # What is spread is spread by the one process that sees all devices.
    several = not spread and not quantized and needed <= sum(each.values())
    remedy = "spread it over all by --executor inline" if several else "use a larger device"
    return f"{names} {verb} about {needed / 2**30:.1f} GiB and {where} {free / 2**30:.1f} GiB free: {remedy}."


def find_failed_allocation(error: BaseException | None) -> str | None:
    """What was said of an allocation that failed, in an error or among its causes; None where none did."""
    while error is not None:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        if isinstance(error, MemoryError) or any(words in said for words in FAILED_ALLOCATION):
            return said[:LONGEST_CAUSE]
        error = error.__cause__
    return None


def by_free_memory(gpus: Sequence[int]) -> tuple[int, ...]:
    """The GPUs in the order of their free memory."""
    return tuple(sorted(gpus, key=lambda gpu: -free_bytes(f"cuda:{gpu}")))


@cache
def count_bytes(subject: Subject, dtype: str) -> int:
    """Bytes of a subject's weights in a precision, counted without loading them. Raises as its `config` does."""
    if isinstance(subject, QuantizedSubject):
        return estimate_int8_bytes(subject.config(), who=subject.id)
    import torch

    precision: torch.dtype = getattr(torch, dtype)
    return estimate_bytes(subject.config(), precision.itemsize, who=subject.id)


@cache
def free_bytes(device: str) -> int:
    """Bytes that are free on a device and allowed, looked up once: what a session loads must not count against it."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)[0]
    import psutil

    limit, free = find_memory(), psutil.virtual_memory().available
    return free if limit is None else min(free, int(limit.amount))
