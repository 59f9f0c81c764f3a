"""Provenance of a measurement: commit, packages, machine, threads, time."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from engine.arms.measurement import NUMERICS
from engine.records import Provenance, Session

PACKAGES = ("lm-claims", "torch", "transformers", "tokenizers", "numpy", "scipy")


def current_provenance(*, dtype: str, device: str, threads: int, gpu: str = "", tf32: bool | None = None) -> Provenance:
    """The provenance of a measurement made now. Commit and dirty flag are those of this package's checkout."""
    commit, dirty = _checkout(Path(__file__).resolve().parent)
    return Provenance(
        commit=commit,
        dirty=dirty,
        versions=_versions(),
        device=device,
        machine=_machine(),
        threads=threads,
        dtype=dtype,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        gpu=gpu,
        tf32=tf32,
    )


def identify(began: str) -> Session:
    """The session that began at this moment, with the commit of the code, as it was at the first call."""
    commit, dirty = _checkout(Path(__file__).resolve().parent)
    return Session(began=began, commit=commit, dirty=dirty, numerics=NUMERICS)


def run_git(folder: Path, *arguments: str) -> str:
    """The output of git in a folder. Raises OSError without git, and SubprocessError if it fails."""
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


@cache
def _checkout(folder: Path) -> tuple[str, bool]:
    try:
        # Only code decides numbers: an edited README does not make a measurement dirty.
        run_git(folder, "ls-files", "--error-unmatch", Path(__file__).name)  # fails in somebody else's repository
        changed = run_git(folder, "status", "--porcelain", "--", ".", "../claims")
        return run_git(folder, "rev-parse", "HEAD"), bool(changed)
    except (OSError, subprocess.SubprocessError):
        return "unknown", False


@cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def _machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{platform.system()}, {model}"
