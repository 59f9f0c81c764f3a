"""The engine between the most direct way to do its work and the matrix products that the work consists of.

A round runs all variants in turn. Nothing fails for being slow: each figure is saved and shown beside its bar.
"""

from __future__ import annotations

from statistics import median
from typing import Any

import pytest

from engine.studies.bench.cases import CASES, BenchmarkCase
from engine.studies.bench.interleaved import median_ratio, time_interleaved
from engine.studies.bench.peak_memory import measure_peak_mb
from engine.studies.bench.profile import measure_shares

VARIANTS = ("reference", "lower_bound", "engine")


@pytest.mark.benchmark(group="inner loops: the engine's own time")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_engine_beside_its_reference_and_lower_bound(benchmark: Any, case: BenchmarkCase) -> None:
    variants = case.prepare()
    seconds = time_interleaved(
        benchmark, {name: getattr(variants, name) for name in VARIANTS}, measured="engine", rounds=case.rounds
    )
    benchmark.extra_info["case"] = {
        "title": case.title,
        **{f"{name}_s": round(median(seconds[name]), 4) for name in VARIANTS},
        "rounds": case.rounds,
        "speedup": round(median_ratio(seconds["reference"], seconds["engine"]), 2),
        "min_speedup": case.min_speedup,
        "times_lower_bound": round(median_ratio(seconds["engine"], seconds["lower_bound"]), 3),
        "max_times_lower_bound": case.max_times_lower_bound,
        "ms_per_run_step": round(1e3 * median(seconds["engine"]) / variants.run_steps, 3),
        "peak_mb": {name: measure_peak_mb(case.title, name) for name in VARIANTS},
        "shares": measure_shares(variants.engine),
    }
