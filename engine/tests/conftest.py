"""What holds for all tests of the engine and for the processes that they start."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# One thread each: those of products as small as theirs only wait for each other, for long where the machine is busy.
os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is loaded, which no plugin does

# No test asks the hub, whatever names it makes up.
os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is loaded

# Ignored by what a shell starts in the background, or nohup: sessions that tests end would never hear of them.
for number, usual in {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGQUIT: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}.items():
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Make warnings errors in these tests alone, before what a test says of a warning of its own."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.filterwarnings("error"), append=False)
