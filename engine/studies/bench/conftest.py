"""Adds to pytest-benchmark's saved runs what they were measured on, and prints all figures at the end of a run."""

from __future__ import annotations

from typing import Any

import psutil
import pytest
import torch

from engine.ledger.provenance import current_provenance
from engine.studies.bench.results import gather_figures, write_tables

_SAVED = pytest.StashKey[dict[str, Any]]()


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    seen = current_provenance(dtype="float32", device="cpu", threads=torch.get_num_threads())
    machine_info["bench"] = {
        "machine": seen.machine,
        "cores": psutil.cpu_count(),
        "threads": seen.threads,
        "versions": dict(seen.versions),
    }


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    config.stash[_SAVED] = output_json


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The plugin's own table knows one variant of each benchmark; the ratios stand in this one."""
    if (run := config.stash.get(_SAVED, None)) is not None:
        terminalreporter.section("the engine between the reference and the lower bound")
        for line in write_tables(gather_figures(run)):
            terminalreporter.write_line(line)
