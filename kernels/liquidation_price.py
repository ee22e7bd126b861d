"""At which price a position is liquidated, and at which it is bankrupt: solved exactly, for people.

No decision uses these prices: the test is equity < maintenance (`margin.liquidatable`). They agree with it
to the tick.
"""

from __future__ import annotations

from kernels.book import FEE_ONE, within
from kernels.int128 import mul_div_ceil, mul_div_floor
from kernels.jit import kernel
from kernels.layouts import LIMIT, PRICE_MAX, PRICE_MIN
from kernels.margin import PRICE_WIDE, maintenance_e6
from kernels.types import Rows

PRICE_NEVER, PRICE_FOUND, PRICE_ALWAYS, PRICE_BEYOND = 0, 1, 2, 3
"""Of a liquidation or bankruptcy price: no price does it; this one; every price does; past PRICE_WIDE."""


@kernel
def price_of(quote_e6: int, size: int, quote_mul: int, quote_div: int, up: int) -> tuple[int, int]:
    """(price at which |size| > 0 is worth `quote_e6` >= 0, PRICE_*), rounded up or down."""
    if within(size) == 0 or abs(size) > LIMIT // quote_mul:
        return 0, PRICE_BEYOND
    lot = abs(size) * quote_mul
    price, ok = mul_div_ceil(quote_e6, quote_div, lot) if up == 1 else mul_div_floor(quote_e6, quote_div, lot)
    if ok == 0 or price > PRICE_WIDE:
        return 0, PRICE_BEYOND
    return price, PRICE_FOUND


@kernel
def liquidation_price(
    size: int, held_e6: int, tiers: Rows, top: int, floor_e12: int, quote_mul: int, quote_div: int
) -> tuple[int, int]:
    """(price, PRICE_*): the last safe price, where equity = maintenance, rounded to the safe side.

    held_e6: what stands behind the position apart from its worth. Isolated: its settled cash. Cross: that,
    + free, + the other cross positions' equity - their maintenance. Past +-2**62: PRICE_BEYOND.
    A long's price is rounded up: there and above it is safe. A short's is rounded down: there and below.
    One tick on, equity is below maintenance (where e > 6, where a lot's value has fractions of 1e-6 USDC,
    at most equal to it). Found by bisection over the notional, so the answer is the requirement's own.
    """
    if size == 0:
        return 0, PRICE_NEVER
    if held_e6 > 2 * LIMIT or held_e6 < -2 * LIMIT:
        return 0, PRICE_BEYOND
    # The largest and the smallest notional of one worth differ by a unit where values have fractions.
    unit = 1 if quote_div > 1 else 0
    low, high = 0, LIMIT
    if size > 0:
        if held_e6 >= maintenance_e6(tiers, top, unit, floor_e12):
            return 0, PRICE_NEVER
        if high - 1 + held_e6 < maintenance_e6(tiers, top, high - 1 + unit, floor_e12):
            return 0, PRICE_ALWAYS
        while high - low > 1:
            worth = (low + high) // 2
            if worth + held_e6 >= maintenance_e6(tiers, top, worth + unit, floor_e12):
                high = worth
            else:
                low = worth
        return price_of(high, size, quote_mul, quote_div, 1)
    if held_e6 < 0:
        return 0, PRICE_ALWAYS
    while high - low > 1:
        worth = (low + high) // 2
        if held_e6 - worth >= maintenance_e6(tiers, top, worth, floor_e12):
            low = worth
        else:
            high = worth
    price, status = price_of(low, size, quote_mul, quote_div, 0)
    if status == PRICE_FOUND and price == 0:
        return 0, PRICE_ALWAYS
    return price, status


@kernel
def bankruptcy_price(size: int, held_e6: int, quote_mul: int, quote_div: int) -> tuple[int, int]:
    """(price, PRICE_*) where equity = 0: the last one at which nothing is owed. A long's up, a short's down.

    held_e6: as in `liquidation_price`, without maintenance. Takeovers do not use the rounded price: they
    move the position's cash itself (see `kernels.liquidation`).
    """
    if size == 0 or (size > 0 and held_e6 >= 0):
        return 0, PRICE_NEVER
    if held_e6 > 2 * LIMIT or held_e6 < -2 * LIMIT:
        return 0, PRICE_BEYOND
    if size > 0:
        return price_of(-held_e6, size, quote_mul, quote_div, 1)
    if held_e6 < 0:
        return 0, PRICE_ALWAYS
    price, status = price_of(held_e6, size, quote_mul, quote_div, 0)
    if status == PRICE_FOUND and price == 0:
        return 0, PRICE_ALWAYS
    return price, status


@kernel
def order_limit(
    size: int, held_e6: int, taker_e9: int, mark: int, band_e6: int, quote_mul: int, quote_div: int
) -> int:
    """Limit price, always on scale, of an order that closes a position of `size` != 0: the last one at which
    the whole of it, closed for its taker fee, leaves nothing owed. A long's up, a short's down.

    held_e6: as in `bankruptcy_price`, within +-LIMIT. taker_e9: 0 .. 1e9 - 1. band_e6: no farther from the
    mark than so many millionths of it, where fills would halt the market; negative: however far.
    """
    if size > 0:
        held, ok = mul_div_ceil(-held_e6, FEE_ONE, FEE_ONE - taker_e9)
        held = -held
    else:
        held, ok = mul_div_floor(held_e6, FEE_ONE, FEE_ONE + taker_e9)
    price, status = bankruptcy_price(size, held, quote_mul, quote_div)
    if size > 0 and held_e6 >= 0:
        price = PRICE_MIN
    elif status == PRICE_BEYOND or ok == 0:
        price = PRICE_MAX
    band = mark * band_e6 // 1_000_000
    if band_e6 >= 0 and size > 0:
        price = max(price, mark - band)
    elif band_e6 >= 0:
        price = min(price, mark + band)
    return max(PRICE_MIN, min(PRICE_MAX, price))
