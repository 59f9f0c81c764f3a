"""Benchmarks: the engine beside a literal loop and beside the bare matrix products."""
