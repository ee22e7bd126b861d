"""Data that nobody here wrote, recomputed with the product's own code: `python -m tests.conformance DIR…`."""
