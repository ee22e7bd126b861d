"""Benchmarks: one module per area, each with `run() -> Iterator[Budget]`; `godark bench` runs them."""
