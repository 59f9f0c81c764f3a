"""Measures one arm in this process, with the time and memory it takes."""

from __future__ import annotations

import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch

from engine.arms.arm import Arm, Result, device_of, dtype_of, name_arm
from engine.arms.measurement import Measurement, digest_of
from engine.errors import EngineError, explain, no_exits
from engine.experiments.inputs import WrapObserver, keep_observer
from engine.experiments.measure_arm import measure_arm
from engine.ledger.provenance import current_provenance
from engine.models.devices import GpuClock, allows_tf32, describe_gpu
from engine.models.loaded import LoadedModels, verify_fingerprint
from engine.models.memory import find_failed_allocation
from engine.running.costs import gpu_bytes, host_bytes

PROCESS = Path("/proc/self")


def run_arm(arm: Arm, models: LoadedModels, watch: WrapObserver = keep_observer) -> Measurement:
    """Measure one arm now. Raises what the experiment raises.

    Raises SubjectError when the weights are not those that the arm names, or were replaced while it ran, and
    EngineError when memory ran out.
    """
    began = time.perf_counter()
    device = device_of(arm)
    verify_fingerprint(arm)
    models.evict_unused(arm)
    _reset_peak()
    clock = GpuClock() if device == "cuda" else None
    result = _measure(arm, models, watch)
    gpu_s, gpu_peak = clock.stop() if clock else (None, None)
    return Measurement(
        digest=digest_of(arm),
        arm=arm,
        result=result,
        provenance=current_provenance(
            dtype=dtype_of(arm) or "float64",
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
        models.clear()  # they may be stale, or have filled the memory
        verify_fingerprint(arm)  # replaced weights explain any other error
        failed = find_failed_allocation(error)
        if failed is None:
            raise
        needs = gpu_bytes(arm) if "CU" in failed else host_bytes(arm)  # CUDA, cuBLAS, cuSOLVER
        raise EngineError(
            explain(
                who=name_arm(arm),
                got=f"not enough memory ({failed})",
                expected=f"about {needs / 1e9:.1f} GB, as estimated",
                remedy="close other programs, run fewer arms at once (--workers 1) or take a larger machine",
            )
        ) from error
    return result


def _reset_peak() -> None:
    """Reset the peak, so that it will be this arm's. Linux only; elsewhere it stays the process's so far."""
    with suppress(OSError):
        (PROCESS / "clear_refs").write_text("5")


def read_peak() -> int:
    """Largest resident size of this process in bytes since the last reset."""
    with suppress(OSError, ValueError, IndexError):
        status = (PROCESS / "status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
