"""Whether a device has room for the models of an item, told before any of them is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from engine.subjects import Subject

WORKING_SHARE = 1.5
"""Bytes that are needed for each byte of weights: their gradients' path, factors and batches take the rest."""


def explain_shortage(subjects: Sequence[Subject], *, dtype: str, device: str) -> str | None:
    """Why the subjects' models are too large for a device, with both figures; None when they fit."""
    needed = WORKING_SHARE * sum(count_bytes(subject, dtype) for subject in subjects)
    free = free_bytes(device)
    if needed <= free:
        return None
    names = " and ".join(subject.id for subject in subjects)
    verb = "needs" if len(subjects) == 1 else "need"
    return (
        f"{names} {verb} about {needed / 2**30:.1f} GiB and {device} has {free / 2**30:.1f} GiB free: "
        "use a larger device."
    )


@cache
def count_bytes(subject: Subject, dtype: str) -> int:
    """Bytes of a subject's weights."""
    return subject.weight_bytes(dtype)


@cache
def free_bytes(device: str) -> int:
    """Bytes that are free on a device, looked up once: what a session loads itself must not count against it."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(device)[0]
    import psutil

    return psutil.virtual_memory().available
