"""One thread for each of the tests that run side by side, and for the processes that they start.

Threads of products as small as theirs only wait for each other, for long where the machine is busy.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is loaded, which no plugin does
