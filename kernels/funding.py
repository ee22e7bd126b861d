"""Funding: premium of a second, index, and what a position owes, in exact integers.

The rate of an interval is made in `kernels/funding_rate.py`, by the knobs of a market. Rates are in 1e-12
per 8 h; the hourly eighth lives inside the exact product, never stored rounded. The index is in 1e-6 price
units per lot. Sums are per second and move no money; money moves by the index.
"""

from __future__ import annotations

from kernels.funding_premium import share_e12
from kernels.int128 import mul_add_divmod
from kernels.jit import kernel
from kernels.layouts import LIMIT

RATE_ONE = 1_000_000_000_000
HOUR_S = 3600
HOUR_NS = 3_600_000_000_000
SECOND_NS = 1_000_000_000
PERIOD_S = 8 * HOUR_S
PREMIUM_LIMIT_E12 = 50_000_000_000
"""A second's premium is clamped to +-5 %."""
BASIS_SECONDS = 150
MARK_BAND_PPM = 5_000
"""The mark stays within 50 bps of the index price."""


@kernel
def premium_e12(mark: int, oracle: int) -> int:
    """(mark - oracle) / oracle in 1e-12, toward zero, clamped to +-5 %. `oracle` > 0."""
    return share_e12(mark - oracle, oracle, PREMIUM_LIMIT_E12)


@kernel
def next_basis(basis_e6: int, sample_e6: int) -> int:
    """One second of the 150 s moving average of (mid - oracle), in 1e-6 price units, rounded down."""
    return basis_e6 + (sample_e6 - basis_e6) // BASIS_SECONDS


@kernel
def next_index(
    index_e6: int, index_rem: int, pay_price: int, rate_e12: int, seconds: int
) -> tuple[int, int, int]:
    """(index, remainder, ok) after `seconds` at `rate_e12` on `pay_price`: floor with carried remainder.

    ok = 0 if the index would leave its bounds; then nothing is paid.
    """
    step, rem, ok = mul_add_divmod(pay_price * 1_000_000, rate_e12 * seconds, index_rem, PERIOD_S * RATE_ONE)
    if ok == 0 or step > LIMIT or step < -LIMIT or index_e6 + step > LIMIT or index_e6 + step < -LIMIT:
        return index_e6, index_rem, 0
    return index_e6 + step, rem, 1


@kernel
def settle(size: int, rem: int, idx: int, index_e6: int, scale: int) -> tuple[int, int, int]:
    """(pay, rem, ok): what a position receives (negative: pays) when brought from `idx` to `index_e6`.

    (pay, rem) = divmod_floor(-size * (index_e6 - idx) + rem, scale). Path independent: two steps give the
    same sum and remainder as one.
    """
    if idx == index_e6 or size == 0:
        return 0, rem, 1
    return mul_add_divmod(-size, index_e6 - idx, rem, scale)
