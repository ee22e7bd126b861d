"""Premium of a moment from prices or from a book, in parts of the index price.

Positive: the market trades above the index price. Shares are in 1e-12 (`_e12`) or 1e-6 (`_ppm`), toward zero.
"""

from __future__ import annotations

from kernels.int128 import mul_add_divmod, mul_div_ceil, mul_div_trunc
from kernels.jit import kernel
from kernels.profiles import IMPACT, MARK, MID, PPM, RATE_ONE
from kernels.types import Words

BOOK_OK, BOOK_REFUSED = 0, 1
I64_MAX = 9_223_372_036_854_775_807


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


@kernel
def level_quote(price: int, base: int, mul: int, div: int) -> tuple[int, int]:
    """(price * base * mul / div toward zero, ok). One of mul and div is 1."""
    if mul > 1:
        if base > I64_MAX // mul:
            return 0, 0
        base = base * mul
    return mul_div_trunc(price, base, div)


@kernel
def impact_base(levels: Words, notional: int, mul: int, div: int) -> tuple[int, int]:
    """(base, status) that `notional` takes from one side of a book, the last level in part and rounded up.

    levels: int64[n, 2] of price and base, best first. base = 0: the side does not hold that much.
    """
    base, rest = 0, notional
    for k in range(levels.shape[0]):
        quote, ok = level_quote(levels[k, 0], levels[k, 1], mul, div)
        if ok == 0 or base > I64_MAX - levels[k, 1]:
            return 0, BOOK_REFUSED
        if rest > quote:
            rest -= quote
            base += levels[k, 1]
            continue
        part, ok = mul_div_ceil(rest, levels[k, 1], quote) if quote > 0 else (0, 1)
        if ok == 0:
            return 0, BOOK_REFUSED
        return base + part, BOOK_OK
    return 0, BOOK_OK


@kernel
def side_premium_ppm(levels: Words, index: int, notional: int, mul: int, div: int) -> tuple[int, int]:
    """(premium of one side's impact price in 1e-6, status).

    impact = notional / (base * mul / div), exact; premium = impact / index - 1, toward zero. Without a
    notional the impact price is the best one. A quotient beyond int64 is refused.
    """
    if notional == 0:
        value, ok = mul_div_trunc(levels[0, 0] - index, PPM, index)
        return value, (BOOK_OK if ok == 1 else BOOK_REFUSED)
    base, status = impact_base(levels, notional, mul, div)
    if status != BOOK_OK or base == 0:
        return 0, status
    if base > I64_MAX // mul or notional > I64_MAX // div:
        return 0, BOOK_REFUSED
    whole, rem, ok = mul_add_divmod(base * mul, index, 0, I64_MAX)
    if ok == 0 or whole != 0:
        return 0, BOOK_REFUSED
    value, ok = mul_div_trunc(notional * div - rem, PPM, rem)
    return value, (BOOK_OK if ok == 1 else BOOK_REFUSED)


@kernel
def book_premium_ppm(
    bids: Words, asks: Words, index: int, notional: int, mul: int, div: int, limit_ppm: int
) -> tuple[int, int]:
    """(premium of a book in 1e-6, status), clamped to +-limit. Source: dYdX v4, impact prices.

    bids, asks: int64[n, 2] of price and base, best first; quote = price * base * mul / div. Bids count if the
    best is above `index`, else asks if the best is below. A side too thin, or an impact price on the other
    side of the index, gives 0. Refused: index <= 0, negative numbers, products beyond int64.
    """
    if index <= 0 or notional < 0 or limit_ppm < 0:
        return 0, BOOK_REFUSED
    if bids.shape[0] > 0 and bids[0, 0] > index:
        value, status = side_premium_ppm(bids, index, notional, mul, div)
        return max(0, min(limit_ppm, value)), status
    if asks.shape[0] > 0 and asks[0, 0] < index:
        value, status = side_premium_ppm(asks, index, notional, mul, div)
        return min(0, max(-limit_ppm, value)), status
    return 0, BOOK_OK
