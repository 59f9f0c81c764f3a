"""What this process may use of its machine: the CPU or GPUs that arms run on, and limits on memory and cores.

An arm names only a kind of device: which GPU measures it is up to the process. A container, a queue's job or a shell's
limit may allow less memory and fewer cores than the machine has.
Sources: cgroups(7); the kernel's documents cgroup-v2 and cgroup-v1/memory; sched-bwc for quotas of processor time.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from engine.errors import UsageError, explain

if TYPE_CHECKING:
    import torch
    from torch import Tensor

NAMES = "auto, cpu, cuda or cuda:N"
VISIBLE = "CUDA_VISIBLE_DEVICES"
ROOT = Path("/")


@dataclass(frozen=True, kw_only=True)
class Devices:
    """kind: 'cpu' or 'cuda', which is all that an arm knows. gpus: those to use, as torch counts them here."""

    kind: str
    gpus: tuple[int, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Torch's names of them: ('cpu',), or ('cuda:0', …)."""
        return tuple(f"{self.kind}:{n}" for n in self.gpus) or (self.kind,)


def check_device(name: str, *, elsewhere: bool = False) -> str:
    """Return the name. Raises UsageError unless it is auto, cpu or a CUDA device of this machine.

    elsewhere: arms are measured on other machines, so this one needs no such device.
    """

    def wrong(expected: str, remedy: str) -> UsageError:
        return UsageError(explain(who="--device", got=repr(name), expected=expected, remedy=remedy))

    if name in ("auto", "cpu"):
        return name
    if importlib.util.find_spec("torch") is None:
        raise wrong("an installed torch", "install torch or leave --device out")
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise wrong(NAMES, "pick one") from None
    if device.type != "cuda":
        raise wrong(NAMES, "pick one")
    count = torch.cuda.device_count()
    if elsewhere or (device.index or 0) < count:
        return name
    # Say what there is instead: other GPUs, GPUs that a variable hides, or none.
    if count:
        raise wrong(f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda:0", "pick one that is there")
    if VISIBLE in os.environ:
        raise wrong("a CUDA device", f"see what {VISIBLE}={os.environ[VISIBLE]!r} leaves, or use cpu")
    raise wrong("a CUDA device", "install a driver and a CUDA build of torch, or use cpu")


def find_devices(name: str) -> Devices:
    """The devices behind a checked name. 'auto' means every GPU, or the CPU where there is none."""
    if name == "cpu":
        return Devices(kind="cpu")
    import torch

    if name == "auto" and not torch.cuda.is_available():
        return Devices(kind="cpu")
    # "cuda" without a number has no index, and means every GPU, too.
    index = None if name == "auto" else torch.device(name).index
    return Devices(kind="cuda", gpus=tuple(range(torch.cuda.device_count())) if index is None else (index,))


def visible_id(gpu: int) -> str:
    """The value of CUDA_VISIBLE_DEVICES that shows a child process this one of our GPUs and no other."""
    # Torch counts the GPUs in the order of this list, if there is one.
    listed = os.environ.get(VISIBLE)
    return str(gpu) if listed is None else listed.split(",")[gpu].strip()


@contextmanager
def using_gpus(gpus: Sequence[int]) -> Generator[None]:
    """Within it 'cuda' means the first of these GPUs (torch's choice if none is given), without TensorFloat-32.

    TensorFloat-32 keeps ten bits of a factor's mantissa; an arm's numbers would depend on who had allowed it.
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
    """Copy a tensor from the host to a device, without waiting for a GPU to receive it."""
    tensor = tensor.to(dtype=dtype)
    if device.type != "cuda":
        return tensor.to(device)
    # Copies from other memory than pinned make the host wait.
    return tensor.pin_memory().to(device, non_blocking=True)


def describe_gpu(device: str) -> str:
    """The model of the GPU in use, such as 'NVIDIA H100 80GB HBM3'; '' on other devices."""
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else ""


def allows_tf32(device: str) -> bool | None:
    """Whether float32 products may use TensorFloat-32 now; None on a device that does not have it."""
    import torch

    return torch.get_float32_matmul_precision() != "highest" if device == "cuda" else None


class GpuClock:
    """Measures time and memory between two marks on a GPU's stream. Only `stop` makes the host wait."""

    def __init__(self) -> None:
        import torch

        torch.cuda.reset_peak_memory_stats()
        self._marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        self._marks[0].record()

    def stop(self) -> tuple[float, int]:
        """Seconds since the clock was made, and the peak of allocated bytes (on the first of several GPUs)."""
        import torch

        self._marks[1].record()
        self._marks[1].synchronize()
        return self._marks[0].elapsed_time(self._marks[1]) / 1000, torch.cuda.max_memory_allocated()


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A limit in bytes or cores. source: what sets it, in words."""

    amount: float
    source: str


def find_memory_limit(root: Path = ROOT) -> Limit | None:
    """The tightest limit on the memory of this process and its children, less what is in use; None without a limit.

    root: the folder that holds proc and sys.
    """
    limits: list[Limit] = []
    for group in _find_groups(root, "memory"):
        if group.version == 2:
            names, use, cached = ("memory.max", "memory.high"), "memory.current", "inactive_file"
        else:
            names, use, cached = ("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file"
        for name in names:
            most, used = _read_number(group.folder / name), _read_number(group.folder / use)
            if most is None or most >= 2**60:  # version 1 writes a huge number for "no limit"
                continue
            # The page cache counts as used, but the kernel gives it up when programs need memory.
            reclaimable = 0.0
            for line in _read(group.folder / "memory.stat").splitlines():
                key, _, value = line.partition(" ")
                if key == cached and value.strip().isdecimal():
                    reclaimable = float(int(value))
                    break
            free = most - max(0.0, (used or 0.0) - reclaimable)
            limits.append(Limit(amount=max(0.0, free), source=f"{name} of the control group {group.name}"))
    if sys.platform != "win32":
        import resource

        # It limits address space, which memory is a part of.
        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        if most != resource.RLIM_INFINITY:
            limits.append(Limit(amount=float(most), source="the limit of address space, `ulimit -v`"))
    return min(limits, key=lambda limit: limit.amount, default=None)


def find_core_limit(root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> Limit | None:
    """The tightest limit on cores, rounded down to whole ones but at least one; None without a limit."""
    limits: list[Limit] = []
    for group in _find_groups(root, "cpu"):
        quota = period = None
        if group.version == 2:
            name = "cpu.max"  # "max 100000" without a limit
            with suppress(ValueError):
                quota, period = map(int, _read(group.folder / name).split())
        else:
            name = "cpu.cfs_quota_us"  # -1 without a limit
            quota, period = (_read_number(group.folder / n) for n in (name, "cpu.cfs_period_us"))
        if quota is not None and period and quota > 0:
            limits.append(Limit(amount=quota / period, source=f"{name} of the control group {group.name}"))
    if hasattr(os, "sched_getaffinity") and (own := len(os.sched_getaffinity(0))) < (os.cpu_count() or 1):
        limits.append(Limit(amount=own, source="the processors that it is bound to"))
    # Slurm sets this variable only if the job asked for a number of cores.
    asked = environment.get("SLURM_CPUS_PER_TASK", "")
    if "SLURM_JOB_ID" in environment and asked.isdecimal():
        limits.append(Limit(amount=int(asked), source="SLURM_CPUS_PER_TASK"))
    least = min(limits, key=lambda limit: limit.amount, default=None)
    return least and Limit(amount=max(1, int(least.amount + 1e-9)), source=least.source)


def count_cores() -> int:
    """The number of cores that this process may use."""
    limit, present = find_core_limit(), os.cpu_count() or 1
    return present if limit is None else min(present, int(limit.amount))


def explain_allowance(root: Path = ROOT) -> str | None:
    """One line on the limits that leave less than what is free on the machine; None if none does."""
    import psutil

    memory, cores = find_memory_limit(root), find_core_limit(root)
    parts: list[str] = []
    if memory is not None and memory.amount < psutil.virtual_memory().available:
        parts.append(f"{memory.amount / 1e9:.1f} GB of memory by {memory.source}")
    if cores is not None and cores.amount < (os.cpu_count() or 1):
        parts.append(f"{cores.amount:.0f} core{'s' * (cores.amount > 1)} by {cores.source}")
    return f"allowance: {', '.join(parts)}" if parts else None


@dataclass(frozen=True, kw_only=True)
class _Group:
    """A control group that holds this process, or one above it. version: of the interface, 1 or 2."""

    folder: Path
    name: str
    version: int


def _find_groups(root: Path, controller: str) -> Iterator[_Group]:
    """The control groups that hold this process, from its own up to the topmost visible one.

    Sources: proc_pid_mountinfo(5) for the mounted trees; cgroups(7) for /proc/PID/cgroup.
    """
    for line in _read(root / "proc/self/mountinfo").splitlines():
        mount, _, kind = line.partition(" - ")
        fields, more = mount.split(), kind.split()
        if len(fields) < 5 or not more:
            continue
        if more[0] == "cgroup2":
            version = 2
        elif more[0] == "cgroup" and controller in more[-1].split(","):
            version = 1
        else:
            continue
        path = _find_own_group(root, controller if version == 1 else "")
        if path is None:
            continue
        place, top = root / fields[4].lstrip("/"), PurePosixPath(fields[3])
        # In a container, the mounted tree may begin at its own group instead of the machine's topmost one.
        inner = path.relative_to(top) if path.is_relative_to(top) else path.relative_to("/")
        for part in (inner, *inner.parents):
            folder = place / part
            if folder.is_dir():
                yield _Group(folder=folder, name=f"/{part}".rstrip(".") or "/", version=version)


def _find_own_group(root: Path, controller: str) -> PurePosixPath | None:
    """The path of this process's group in a tree. Version 2 lists no controllers: its name is ''."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(",") and path.startswith("/") and ".." not in path:
            return PurePosixPath(path)
    return None


def _read(path: Path) -> str:
    """The text of a file of the kernel's; '' if it cannot be read."""
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


def _read_number(path: Path) -> float | None:
    """The number in a file; None for 'max' or where there is no such file."""
    with suppress(ValueError):
        return float(int(_read(path)))
    return None
