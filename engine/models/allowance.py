"""What this process may use of its machine: less than there is in a container, a queue's job or under a limit.

Sources: cgroups(7); the kernel's documents cgroup-v2 and cgroup-v1/memory; sched-bwc for quotas of processor time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path("/")


@dataclass(frozen=True, kw_only=True)
class Limit:
    """So much of something, in bytes or cores. source: what sets it, in words."""

    amount: float
    source: str


@dataclass(frozen=True, kw_only=True)
class _Group:
    """A control group that holds this process, or one above it. version: 1 or 2 of the interface."""

    folder: Path
    name: str
    version: int


def find_memory(root: Path = ROOT) -> Limit | None:
    """The least memory that a limit leaves to this process and those it starts; None where there is no limit.

    root: where proc and sys lie.
    """
    limits = list(_limit_memory(root))
    if sys.platform != "win32":
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        if most != resource.RLIM_INFINITY:
            limits.append(Limit(amount=float(most), source="the limit of address space, `ulimit -v`"))
    return min(limits, key=lambda limit: limit.amount, default=None)


def find_cores(root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> Limit | None:
    """The fewest cores that a limit leaves, at least one; None without a limit. A part of one does not count."""
    limits = list(_limit_cores(root))
    if hasattr(os, "sched_getaffinity") and (own := len(os.sched_getaffinity(0))) < (os.cpu_count() or 1):
        limits.append(Limit(amount=own, source="the processors that it is bound to"))
    asked = environment.get("SLURM_CPUS_PER_TASK", "")
    if "SLURM_JOB_ID" in environment and asked.isdecimal():  # set where the job asked for so many
        limits.append(Limit(amount=int(asked), source="SLURM_CPUS_PER_TASK"))
    least = min(limits, key=lambda limit: limit.amount, default=None)
    return least and Limit(amount=max(1, int(least.amount + 1e-9)), source=least.source)


def count_cores() -> int:
    """Cores that this process may use."""
    limit = find_cores()
    there = os.cpu_count() or 1
    return there if limit is None else min(there, int(limit.amount))


def explain_allowance(root: Path = ROOT) -> str | None:
    """Which limits leave less than the machine has free, in one line; None where none does."""
    import psutil

    memory, cores = find_memory(root), find_cores(root)
    parts: list[str] = []
    if memory is not None and memory.amount < psutil.virtual_memory().available:
        parts.append(f"{memory.amount / 1e9:.1f} GB of memory by {memory.source}")
    if cores is not None and cores.amount < (os.cpu_count() or 1):
        parts.append(f"{cores.amount:.0f} core{'s' * (cores.amount > 1)} by {cores.source}")
    return f"allowance: {', '.join(parts)}" if parts else None


def _limit_memory(root: Path) -> Iterator[Limit]:
    for group in _find_groups(root, "memory"):
        if group.version == 2:
            limits, use, cached = ("memory.max", "memory.high"), "memory.current", "inactive_file"
        else:
            limits, use, cached = ("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file"
        for name in limits:
            most, used = _read_number(group.folder / name), _read_number(group.folder / use)
            if most is None or most >= 2**60:  # no limit, as version 1 writes it
                continue
            # What the system keeps of files makes room for programs when it is needed.
            room = most - max(0.0, (used or 0.0) - _read_stat(group.folder / "memory.stat", cached))
            yield Limit(amount=max(0.0, room), source=f"{name} of the control group {group.name}")


def _limit_cores(root: Path) -> Iterator[Limit]:
    for group in _find_groups(root, "cpu"):
        if group.version == 2:
            name, (quota, period) = "cpu.max", _read_pair(group.folder / "cpu.max")
        else:
            name = "cpu.cfs_quota_us"
            quota, period = (_read_number(group.folder / n) for n in (name, "cpu.cfs_period_us"))
        if quota is not None and period and quota > 0:
            yield Limit(amount=quota / period, source=f"{name} of the control group {group.name}")


def _find_groups(root: Path, controller: str) -> Iterator[_Group]:
    """The groups that hold this process, from its own up to the topmost that can be seen."""
    for version, place, top in _find_mounts(root, controller):
        path = _find_path(root, controller if version == 1 else "")
        if path is None:
            continue
        # A container may see its own group where the machine has the topmost.
        inner = path.relative_to(top) if path.is_relative_to(top) else path.relative_to("/")
        for part in (inner, *inner.parents):
            folder = place / part
            if folder.is_dir():
                yield _Group(folder=folder, name=f"/{part}".rstrip(".") or "/", version=version)


def _find_mounts(root: Path, controller: str) -> Iterator[tuple[int, Path, PurePosixPath]]:
    """Version, place and topmost group of each tree that may limit something. Source: proc_pid_mountinfo(5)."""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        mount, _, kind = line.partition(" - ")
        fields, more = mount.split(), kind.split()
        if len(fields) < 5 or not more:
            continue
        place, top = root / fields[4].lstrip("/"), PurePosixPath(fields[3])
        if more[0] == "cgroup2":
            yield 2, place, top
        elif more[0] == "cgroup" and controller in more[-1].split(","):
            yield 1, place, top


def _find_path(root: Path, controller: str) -> PurePosixPath | None:
    """This process's group. Source: cgroups(7), on /proc/PID/cgroup; version 2 has no controllers there."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(",") and path.startswith("/") and ".." not in path:
            return PurePosixPath(path)
    return None


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


def _read_number(path: Path) -> float | None:
    """The number in a file; None for 'max', and where there is none."""
    with suppress(ValueError):
        return float(int(_read(path)))
    return None


def _read_pair(path: Path) -> tuple[float | None, float | None]:
    with suppress(ValueError):
        quota, period = map(int, _read(path).split())
        return float(quota), float(period)
    return None, None


def _read_stat(path: Path, name: str) -> float:
    for line in _read(path).splitlines():
        with suppress(ValueError):
            key, value = line.split()
            if key == name:
                return float(int(value))
    return 0.0
