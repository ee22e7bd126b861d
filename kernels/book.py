"""Booking: what a fill or a transfer does to a position of four numbers, a balance and a market's sums.

A position is `size, cash, idx, rem` (MONEY.md). Nothing here writes before everything was computed and
checked: a caller that gets `ok == 0` has unchanged books.
"""

from __future__ import annotations

from kernels.int128 import (
    by_constant,
    mul_add128,
    mul_add_divmod,
    mul_div_ceil_by,
    mul_div_floor,
    mul_div_half_even,
    mul_div_trunc,
)
from kernels.jit import kernel
from kernels.layouts import LIMIT, NOTIONAL_LIMIT_E6, PRICE_MAX
from kernels.types import Record

FEE_ONE = 1_000_000_000
_FEE_D, _FEE_RECIPROCAL, _FEE_SHIFT = by_constant(FEE_ONE)


@kernel
def within(value: int) -> int:
    """1 if -LIMIT <= value <= LIMIT."""
    return 1 if -LIMIT <= value <= LIMIT else 0


@kernel
def size_limit(quote_mul: int, quote_div: int) -> int:
    """Largest |size| of a position, in lots: at the largest on-scale price it is worth 2**60 e6.

    With it quote, notional and hourly funding of any position fit int64, whatever the price does.
    """
    limit, ok = mul_div_floor(NOTIONAL_LIMIT_E6 // quote_mul, quote_div, PRICE_MAX)
    return limit if ok == 1 else 0


@kernel
def quote_of(size: int, price: int, quote_mul: int, quote_div: int) -> tuple[int, int]:
    """(size * price in 1e-6 USDC, ok), nearest, ties to even; exact where a market has e <= 6."""
    return mul_div_half_even(size * quote_mul, price, quote_div)


@kernel
def fee_of(quote_e6: int, rate_e9: int) -> tuple[int, int]:
    """(fee in 1e-6 USDC, ok) on |quote|: up, so a rebate (negative rate) is rounded down in size."""
    return mul_div_ceil_by(abs(quote_e6), rate_e9, _FEE_D, _FEE_RECIPROCAL, _FEE_SHIFT)


@kernel
def worth_of(size: int, price: int, quote_mul: int, quote_div: int) -> tuple[int, int, int]:
    """(worth_e6, notional_e6, ok) of `size`, by one division: its value rounded down, which equity counts, and
    that of |size| rounded up, which requirements start from."""
    worth, rest, ok = mul_add_divmod(size * quote_mul, price, 0, quote_div)
    if size < 0:
        return worth, -worth, ok
    return worth, worth + (1 if rest > 0 else 0), ok


@kernel
def close_out(cash: int, isolated: int, insurance_e6: int) -> tuple[int, int]:
    """(transfer, cover) of a position that has just reached size 0 with `cash`.

    What it holds goes to free. An isolated deficit is covered by insurance as far as it reaches and the
    rest stays in the slot; a cross deficit goes to free, which is signed.
    """
    if cash >= 0 or isolated == 0:
        return -cash, 0
    return 0, max(0, min(-cash, insurance_e6))


@kernel
def next_cost(size: int, cost_e6: int, dsize: int, quote_e6: int) -> tuple[int, int]:
    """(cost_e6, realised_e6 to add): signed quote of the open size after `dsize` != 0 for signed `quote_e6`.

    For people only. A reduction takes out its share of the cost, toward zero; a flip closes, then opens
    with what is left of the quote.
    """
    new = size + dsize
    if size == 0 or (size > 0) == (dsize > 0):
        return cost_e6 + quote_e6, 0
    if new == 0:
        return 0, -quote_e6 - cost_e6
    if (new > 0) == (size > 0):
        out, _ = mul_div_trunc(cost_e6, abs(dsize), abs(size))
        return cost_e6 - out, -quote_e6 - out
    closing, _ = mul_div_trunc(quote_e6, abs(size), abs(dsize))
    return quote_e6 - closing, -closing - cost_e6


@kernel
def touch_sums(market: Record, old_size: int, old_idx: int, new_size: int, index_e6: int) -> None:
    """Bring S, J and open interest of MARKET row `market` from a position's old size and idx to the new."""
    market["sum_size"] += new_size - old_size
    hi = market["sum_size_idx_hi"]
    lo = market["sum_size_idx_lo"]
    hi, lo = mul_add128(hi, lo, -old_size, old_idx)
    hi, lo = mul_add128(hi, lo, new_size, index_e6)
    market["sum_size_idx_hi"] = hi
    market["sum_size_idx_lo"] = lo
    market["open_interest"] += max(new_size, 0) - max(old_size, 0)


@kernel
def residual_is_zero(market: Record) -> int:
    """1 if identities 1 and 2 of MONEY.md hold for this MARKET row: S = 0, A*D + R + J - S*I = T*D."""
    if market["sum_size"] != 0:
        return 0
    hi, lo = mul_add128(
        market["sum_size_idx_hi"], market["sum_size_idx_lo"], market["sum_cash"], market["scale"]
    )
    hi, lo = mul_add128(hi, lo, market["sum_rem"], 1)
    hi, lo = mul_add128(hi, lo, -market["moved_in"], market["scale"])
    return 1 if hi == 0 and lo == 0 else 0
