"""Margin: which rates a position is held to."""

from __future__ import annotations

from kernels.jit import kernel
from kernels.layouts import MAX_TIERS
from kernels.types import Rows

RATE_ONE = 1_000_000_000_000


@kernel
def tier_of(tiers: Rows, leverage: int) -> int:
    """First margin tier whose leverage limit admits `leverage`, or -1. Tiers are in rising order."""
    for k in range(MAX_TIERS):
        if tiers[k]["margin_set"] == 0:
            return -1
        if leverage <= tiers[k]["max_leverage"]:
            return k
    return -1


@kernel
def initial_rate_e12(tiers: Rows, leverage: int) -> int:
    """Initial margin rate at `leverage` > 0: at least 1/leverage (rounded up), at least its tier's."""
    own = (RATE_ONE + leverage - 1) // leverage
    k = tier_of(tiers, leverage)
    if k < 0:
        return RATE_ONE
    return max(own, tiers[k]["initial_e12"])
