"""One arm measured in this process, with the time and memory that it took."""

from __future__ import annotations

import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from engine.arms.arm import Arm, Result, device_of, weights_of
from engine.arms.measurement import Measurement, digest_of
from engine.errors import EngineError, explain, no_exits
from engine.experiments.inputs import WrapObserver, keep_observer
from engine.experiments.registry import measure_arm
from engine.ledger.provenance import current_provenance
from engine.models.devices import GpuClock, allows_tf32, describe_gpu
from engine.models.loaded import LoadedModels, verify_fingerprint
from engine.models.memory import find_failed_allocation
from engine.running.costs import gpu_bytes, host_bytes

PROCESS = Path("/proc/self")


def run_arm(arm: Arm, models: LoadedModels, watch: WrapObserver = keep_observer) -> Measurement:
    """Measure one arm now. Errors of the experiment go through as they are.

    Raises SubjectError when the weights are not those that the arm is named by, or were replaced while it ran, and
    EngineError when the memory did not suffice.
    """
    began = time.perf_counter()
    device = device_of(arm)
    verify_fingerprint(arm)
    models.evict_unused(arm)
    _forget_peak()
    clock = GpuClock() if device == "cuda" else None
    result = _measure(arm, models, watch)
    gpu_s, gpu_peak = clock.stop() if clock else (None, None)
    where: Any = getattr(arm, "settings", arm)
    return Measurement(
        digest=digest_of(arm),
        arm=arm,
        result=result,
        provenance=current_provenance(
            dtype=getattr(where, "dtype", "float64"),
            device=device,
            threads=torch.get_num_threads(),
            gpu=describe_gpu(device),
            tf32=allows_tf32(device),
        ),
        elapsed_s=time.perf_counter() - began,
        peak_bytes=read_peak(),
        gpu_s=gpu_s,
        gpu_peak_bytes=gpu_peak,
    )


def _measure(arm: Arm, models: LoadedModels, watch: WrapObserver) -> Result:
    try:
        with no_exits():
            result = measure_arm(arm, models, watch)
        # Weights are read after the first check, and what is mapped from a file changes with it.
        verify_fingerprint(arm)
    except Exception as error:
        models.clear()  # it may hold what must not be used again, or what there was no room for
        verify_fingerprint(arm)  # whatever else went wrong then is no wonder
        failed = find_failed_allocation(error)
        if failed is None:
            raise
        needs = gpu_bytes(arm) if "CU" in failed else host_bytes(arm)  # CUDA, cuBLAS, cuSOLVER
        raise EngineError(
            explain(
                who=f"{arm.kind} on {weights_of(arm)[0]}",
                got=f"no memory for it ({failed})",
                expected=f"about {needs / 1e9:.1f} GB, as it was estimated",
                remedy="close other programs, run fewer arms at once (--workers 1) or take a larger machine",
            )
        ) from error
    return result


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
