"""Recompute and compare: the naive twin of the state machine, and what is checked with it.

The model is written to be obviously right, in plain Python integers. It takes layouts and enumerations from
`kernels`, never arithmetic.
"""
