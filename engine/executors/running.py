"""One arm measured in this process, with the time and memory that it took."""

from __future__ import annotations

import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch

from engine.arms import Arm, InversionArm, StackSettings, TuningArm
from engine.experiments import measure
from engine.experiments.watching import Watch, unwatched
from engine.measurement import Measurement, digest_of
from engine.provenance import observe
from engine.shelf import Shelf

PROCESS = Path("/proc/self")


def run_arm(arm: Arm, shelf: Shelf, watch: Watch = unwatched) -> Measurement:
    """Measure one arm now. Errors of the experiment go through as they are."""
    began = time.perf_counter()
    shelf.make_room_for(arm)
    _forget_peak()
    descends = isinstance(arm, InversionArm | TuningArm)
    result = measure(arm, shelf, watch) if descends else measure(arm, shelf)
    settings = getattr(arm, "settings", None)
    where = settings if isinstance(settings, StackSettings) else arm
    return Measurement(
        digest=digest_of(arm),
        arm=arm,
        result=result,
        provenance=observe(
            dtype=getattr(where, "dtype", "float64"),
            device=getattr(where, "device", "cpu"),
            threads=torch.get_num_threads(),
        ),
        elapsed_s=time.perf_counter() - began,
        peak_bytes=read_peak(),
    )


def _forget_peak() -> None:
    """Let the largest size be this arm's. Linux only; elsewhere it is the process's so far."""
    with suppress(OSError):
        (PROCESS / "clear_refs").write_text("5")


def read_peak() -> int:
    """Largest resident size of this process in bytes since it was last forgotten."""
    with suppress(OSError, ValueError, IndexError):
        status = (PROCESS / "status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
