"""Studies of the suite itself: calibration of verdicts, and benchmarks. Only commands import them."""
