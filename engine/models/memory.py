"""Whether a device has room for an item's models, asked before any of them is loaded, and how GPUs share a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from engine.errors import MissingError, explain
from engine.models.devices import find_memory_limit
from engine.models.quantized import QuantizedSubject, estimate_int8_bytes, int8_layers, move
from engine.models.subject import Subject
from engine.models.untrained import estimate_bytes
from engine.text import LONGEST_CAUSE

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

WORKING_SHARE = 1.5
"""Bytes needed for each byte of weights: gradients, factors and batches take the rest."""

FAILED_ALLOCATION = (
    "can't allocate memory",
    "Cannot allocate memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "_STATUS_ALLOC_FAILED",
)
"""Words of torch and the system for a failed allocation that is no MemoryError."""


def explain_shortage(subjects: Sequence[Subject], *, dtype: str, devices: Sequence[str], spread: bool) -> str | None:
    """Why no device has room for the subjects' models, with both figures; None if they fit on one.

    spread: one model may be spread over all devices.
    """
    # An item needs all of its subjects at once, on the largest device or on all of them.
    needed = WORKING_SHARE * sum(count_bytes(subject, dtype) for subject in subjects)
    each = {device: free_bytes(device) for device in devices}
    largest = max(devices, key=lambda device: each[device])
    quantized = any(isinstance(subject, QuantizedSubject) for subject in subjects)  # these are never spread
    together = spread and not quantized and len(devices) > 1
    free = sum(each.values()) if together else each[largest]
    if needed <= free:
        return None
    names = " and ".join(subject.id for subject in subjects)
    verb = "needs" if len(subjects) == 1 else "need"
    where = f"{' and '.join(devices)} have" if together else f"{largest} has"
    # Only a process that sees all devices can spread a model over them, and that is the inline executor's.
    would_fit = not spread and not quantized and needed <= sum(each.values())
    remedy = "spread it over all by --executor inline" if would_fit else "use a larger device"
    return f"{names} {verb} about {needed / 2**30:.1f} GiB and {where} {free / 2**30:.1f} GiB free: {remedy}."


def find_failed_allocation(error: BaseException | None) -> str | None:
    """The message of a failed allocation in an error or among its causes; None if there is none."""
    while error is not None:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        if isinstance(error, MemoryError) or any(words in message for words in FAILED_ALLOCATION):
            return message[:LONGEST_CAUSE]
        error = error.__cause__
    return None


def by_free_memory(gpus: Sequence[int]) -> tuple[int, ...]:
    """The GPUs, those with most free memory first."""
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
def count_parameters(subject: Subject) -> int:
    """A subject's parameters, tied ones once, counted without loading them. Raises as its `config` does."""
    return estimate_bytes(subject.config(), 1, who=subject.id)


@cache
def free_bytes(device: str) -> int:
    """Bytes that are free and allowed on a device. Looked up once, so that our own models do not count as used."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)[0]
    import psutil

    limit, free = find_memory_limit(), psutil.virtual_memory().available
    return free if limit is None else min(free, int(limit.amount))


def place(model: PreTrainedModel, device: str, gpus: Sequence[int]) -> PreTrainedModel:
    """Put a model on a device, or spread its blocks over all of `gpus` where the first has no room for it."""
    if device != "cuda" or len(gpus) < 2 or int8_layers(model):
        return move(model, device)
    layout = plan_layout(model, gpus, free_gpu_bytes)
    return move(model, device) if layout is None else dispatch(model, layout)


def free_gpu_bytes(gpu: int) -> float:
    """Bytes that are free on a GPU now."""
    import torch

    return float(torch.cuda.mem_get_info(gpu)[0])


def plan_layout(model: PreTrainedModel, gpus: Sequence[int], capacity: Callable[[int], float]) -> dict[str, Any] | None:
    """A device for each module, blocks kept whole; None where the first GPU has room for everything.

    Weights take 1 / WORKING_SHARE of each GPU's free bytes, which `capacity` tells; the rest is for work on them.
    Raises MissingError where all GPUs together have no room.
    """
    from accelerate import infer_auto_device_map

    whole: Any = model._no_split_modules  # pyright: ignore[reportPrivateUsage] (the library's own name for them)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    if WORKING_SHARE * weights <= capacity(gpus[0]):
        return None
    # Fill the GPUs one after the other, with whole blocks.
    most: dict[int | str, int | str] = {gpu: int(capacity(gpu) / WORKING_SHARE) for gpu in gpus}
    layout = dict(infer_auto_device_map(model, max_memory=most, no_split_module_classes=list(whole or ())))
    # The library would put the rest into the host's memory or on disk.
    if not set(layout.values()) <= set(gpus):
        each = ", ".join(f"{capacity(gpu) / 1e9:.1f}" for gpu in gpus)
        got = f"{weights / 1e9:.1f} GB of weights in whole blocks"
        expected = f"room for them on GPUs with {each} GB free"
        raise MissingError(explain(who="placement", got=got, expected=expected, remedy="free some, or use larger ones"))
    return layout


def dispatch(model: PreTrainedModel, layout: Mapping[str, Any], **options: Any) -> PreTrainedModel:
    """Put each module on its device. The library's hooks carry hidden states from one device to the next."""
    from accelerate import dispatch_model

    placed: Any = dispatch_model(model, dict(layout), **options)
    return placed
