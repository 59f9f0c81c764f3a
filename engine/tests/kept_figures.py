"""Made-up files of figures, as benchmarks and the calibration keep them."""

from __future__ import annotations

from typing import Any


def make_bench(**changes: Any) -> dict[str, Any]:
    """One case, whose products allow at most 6.1 times the reference's speed; one line of growth; one measure."""
    case: dict[str, Any] = {"title": "work", "reference_s": 6.1, "engine_s": 1.22, "lower_bound_s": 1.0, "rounds": 5}
    case |= {"speedup": 5.0, "min_speedup": 8, "times_lower_bound": 1.22, "max_times_lower_bound": 1.3}
    case |= {"ms_per_run_step": 12.2, "peak_mb": {"reference": 1, "engine": 2, "lower_bound": 0}}
    case["shares"] = {"products": 0.8, "norm": 0.15, "rest": 0.05}
    costs = {"engine_ms": [2, 1], "lower_bound_ms": [1, 0.5]}
    growth = {"axis": "runs", "around": "one block", "sizes": [1, 4], **costs}
    measure = {"title": "scheduler: ms per arm", "value": 1.5, "at_most": 2}
    about = {"measured_on": "2026-02-14", "machine": "a CPU", "cores": 2, "threads": 2}
    return about | {"cases": [case | changes], "growth": [growth], "measures": [measure]}


def make_cell(**changes: Any) -> dict[str, Any]:
    """A setting at the edge that meets its bars."""
    cell: dict[str, Any] = {"estimand": "share", "edge": 0.5, "censored": 0.0, "alike": 0.0, "n": 36, "position": 0}
    cell |= {"claims": 2000, "false": 0.04, "false_high": 0.0495, "covered": 0.955, "decided": 0.04, "units": 30.5}
    return cell | changes


def make_beside(position: int, **changes: Any) -> dict[str, Any]:
    """A setting beside the edge, where little is false and most is decided."""
    few = {"claims": 500, "false": 0.002, "false_high": 0.0112, "decided": 0.75, "units": 21.5}
    return make_cell(position=position, **few | changes)


def make_calibration(*cells: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """These settings, or one at its edge and on either side of it."""
    chosen = list(cells) or [make_cell(), make_beside(1), make_beside(-1, decided=0.625, units=24)]
    return {"measured_on": "2026-02-14", "commit": "0123456789abcdef", "dirty": False, "cells": chosen} | changes
