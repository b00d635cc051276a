"""Benchmarks: `x0tta6bl4 bench NAME` runs `tests/bench/NAME.py`; docs/benchmarks.md says what each one measures."""
