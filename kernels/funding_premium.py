"""Premium of a moment from prices, in parts of the index price.

Positive: the market trades above the index price. Shares are in 1e-12, toward zero.
"""

from __future__ import annotations

from kernels.int128 import mul_div_trunc
from kernels.jit import kernel
from kernels.profiles import IMPACT, MARK, MID, RATE_ONE


@kernel
def share_e12(difference: int, oracle: int, limit_e12: int) -> int:
    """difference / oracle in 1e-12, toward zero, clamped to +-limit. `oracle` > 0."""
    value, ok = mul_div_trunc(difference, RATE_ONE, oracle)
    if ok == 0:
        value = limit_e12 if difference > 0 else -limit_e12
    return max(-limit_e12, min(limit_e12, value))


@kernel
def impact_difference(bid: int, ask: int, oracle: int) -> int:
    """max(bid - oracle, 0) - max(oracle - ask, 0): how far the impact prices stand off the index price."""
    return max(bid - oracle, 0) - max(oracle - ask, 0)


@kernel
def premium_of_source(
    source: int, mark: int, mid: int, bid: int, ask: int, oracle: int, limit_e12: int
) -> tuple[int, int]:
    """(premium in 1e-12, valid) of one second. Prices on scale; 0: not known. `oracle` > 0.

    MARK: (mark - oracle) / oracle. IMPACT: of the impact prices. MID: (mid - oracle) / oracle.
    Any other source takes no premium of a second: valid = 0.
    """
    if source == MARK:
        return share_e12(mark - oracle, oracle, limit_e12), 1
    if source == IMPACT and bid > 0 and ask > 0:
        return share_e12(impact_difference(bid, ask, oracle), oracle, limit_e12), 1
    if source == MID and mid > 0:
        return share_e12(mid - oracle, oracle, limit_e12), 1
    return 0, 0
