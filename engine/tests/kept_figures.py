"""Made-up files of figures, as benchmarks and the calibration keep them."""

from __future__ import annotations

from typing import Any


def make_bench(**changes: Any) -> dict[str, Any]:
    """One contest: 6.1 times as fast as the literal loop would be the most that its products allow."""
    contest: dict[str, Any] = {"title": "work", "literal_s": 6.1, "engine_s": 1.22, "floor_s": 1.0}
    contest |= {"times_as_fast_as_literal": 5.0, "times_the_floor": 1.22, "faster_bar": 8, "floor_bar": 1.3}
    contest |= {"ms_a_run_step": 12.2, "peak_mb": {"literal": 1, "engine": 2, "floor": 0}}
    contest["shares"] = {"products": 0.8, "norm": 0.15, "rest": 0.05}
    costs = {"ms_a_run_step": [2, 1], "floor_ms_a_run_step": [1, 0.5]}
    growth = {"axis": "runs", "around": "one block", "sizes": [1, 4], **costs}
    about = {"measured_on": "2026-02-14", "machine": "a CPU", "cores": 2, "threads": 2}
    return about | {"contest": [contest | changes], "growth": [growth]}


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
