"""What arms run on: the CPU, or the GPUs that this process may use.

An arm names the kind of device alone: which GPU it is measured on is the process's business, and no part of its name.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import UsageError, explain

if TYPE_CHECKING:
    import torch
    from torch import Tensor

NAMES = "auto, cpu, cuda or cuda:N"
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, kw_only=True)
class Devices:
    """kind: 'cpu' or 'cuda', all that an arm knows. gpus: those to use, as torch counts them in this process."""

    kind: str
    gpus: tuple[int, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """What torch calls them: ('cpu',), or ('cuda:0', …)."""
        return tuple(f"{self.kind}:{n}" for n in self.gpus) or (self.kind,)


def check_device(name: str, *, elsewhere: bool = False) -> str:
    """The same name. Raises UsageError unless it is auto, cpu or a CUDA device of this machine.

    elsewhere: arms are measured on other machines, so that this one needs none.
    """
    if name in ("auto", "cpu"):
        return name
    if importlib.util.find_spec("torch") is None:
        raise _wrong(name, "an installed torch", "install torch or leave --device out")
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise _wrong(name, NAMES, "pick one") from None
    if device.type != "cuda":
        raise _wrong(name, NAMES, "pick one")
    count = torch.cuda.device_count()
    if elsewhere or (device.index or 0) < count:
        return name
    if count:
        raise _wrong(name, f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda:0", "pick one that is there")
    if VISIBLE in os.environ:
        raise _wrong(name, "a CUDA device", f"see what {VISIBLE}={os.environ[VISIBLE]!r} leaves, or use cpu")
    raise _wrong(name, "a CUDA device", "install a driver and a CUDA build of torch, or use cpu")


def find_devices(name: str) -> Devices:
    """The devices behind a checked name: for 'auto' every GPU, and the CPU where there is none."""
    if name == "cpu":
        return Devices(kind="cpu")
    import torch

    if name == "auto" and not torch.cuda.is_available():
        return Devices(kind="cpu")
    index = None if name == "auto" else torch.device(name).index
    return Devices(kind="cuda", gpus=tuple(range(torch.cuda.device_count())) if index is None else (index,))


def visible_id(gpu: int) -> str:
    """What a child process must be told to see one of this process's GPUs and no other."""
    listed = os.environ.get(VISIBLE)
    return str(gpu) if listed is None else listed.split(",")[gpu].strip()


@contextmanager
def using_gpus(gpus: Sequence[int]) -> Generator[None]:
    """Inside, 'cuda' means the first of these GPUs (torch's choice where none is named), and float32 products are
    float32 throughout.

    TensorFloat-32 keeps ten bits of a factor's mantissa; an arm's number would depend on who had allowed it.
    """
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.cuda.device(gpus[0]) if gpus else nullcontext():
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def to_device(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of the host's on a device. The host does not wait for a GPU to have it."""
    tensor = tensor.to(dtype=dtype)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def describe_gpu(device: str) -> str:
    """The model of the GPU in use, such as 'NVIDIA H100 80GB HBM3'; '' on other devices."""
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else ""


def allows_tf32(device: str) -> bool | None:
    """Whether float32 products may use TensorFloat-32 now; None where there is no such thing."""
    import torch

    return torch.get_float32_matmul_precision() != "highest" if device == "cuda" else None


class GpuClock:
    """Time and memory of what a GPU does between two marks on its stream; neither makes the host wait at the first."""

    def __init__(self) -> None:
        import torch

        torch.cuda.reset_peak_memory_stats()
        self._marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        self._marks[0].record()

    def stop(self) -> tuple[float, int]:
        """Seconds since it was made, and the largest number of bytes that tensors took (of several GPUs: the first)."""
        import torch

        self._marks[1].record()
        self._marks[1].synchronize()
        return self._marks[0].elapsed_time(self._marks[1]) / 1000, torch.cuda.max_memory_allocated()


def _wrong(name: str, expected: str, remedy: str) -> UsageError:
    return UsageError(explain(who="--device", got=repr(name), expected=expected, remedy=remedy))
