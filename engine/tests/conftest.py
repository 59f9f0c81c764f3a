"""What holds for all tests of the engine and for the processes that they start."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# One thread each: those of products as small as theirs only wait for each other, for long where the machine is busy.
os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is loaded, which no plugin does

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell leaves it so to what it starts in the background, and sessions that tests interrupt would never hear.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Make warnings errors in these tests alone, before what a test says of a warning of its own."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.filterwarnings("error"), append=False)
