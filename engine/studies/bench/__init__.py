"""Benchmarks: the engine between a direct reference implementation and the bare matrix products."""
