"""PnL as Mango v4 keeps it for people (mango-v4@1303a4a, state/mango_account_components.rs).

Sizes in base lots, quote in native units, both integers; averages and PnL are exact rationals (num, den) in
native quote units per lot and native quote units.
"""

from __future__ import annotations

from kernels.int128 import add_checked, mul_div_floor
from kernels.jit import kernel
from kernels.venues.exact import magnitude, multiply, plus, ratio, times
from kernels.venues.status import OK, OVERFLOW

_NOTHING = (0, 0, 1, 0, 0, 1, OVERFLOW)


@kernel
def _closing_pnl(dquote: int, dlots: int, avg_num: int, avg_den: int) -> tuple[int, int, int]:
    """(num, den, ok) of dquote + dlots * average entry."""
    num, den, ok = times(dlots, 1, avg_num, avg_den)
    if ok == 0:
        return 0, 1, 0
    return plus(dquote, 1, num, den)


@kernel
def _flip(
    lots: int, new: int, avg_num: int, avg_den: int, dlots: int, dquote: int
) -> tuple[int, int, int, int, int, int, int]:
    """As `trade`, where the sign changes: all at the trade's own price, the open quote toward zero."""
    num, den, ok = ratio(dquote, dlots)
    num = abs(num)
    back, ok_avg = magnitude(avg_num)
    size, ok_size = magnitude(new)
    if ok == 0 or ok_avg == 0 or ok_size == 0:
        return _NOTHING
    change, change_den, ok = plus(num, den, -back if avg_num > 0 else back, avg_den)
    if ok == 0:
        return _NOTHING
    pnl, pnl_den, ok = times(lots, 1, change, change_den)
    running, ok_running = mul_div_floor(size, num, den)
    if ok == 0 or ok_running == 0:
        return _NOTHING
    return new, num, den, (-running if new > 0 else running), pnl, pnl_den, OK


@kernel
def trade(
    lots: int, avg_num: int, avg_den: int, running: int, dlots: int, dquote: int
) -> tuple[int, int, int, int, int, int, int]:
    """(lots, avg_num, avg_den, running quote, pnl_num, pnl_den, status) after a trade of `dlots` for signed
    `dquote`. The average is in lowest terms, avg_den > 0.

    An increase moves the average and realises nothing; a reduction keeps it; a flip starts again at the
    trade's price; at flat nothing is left.
    """
    new, ok = add_checked(lots, dlots)
    if ok == 0:
        return _NOTHING
    if new == 0:
        pnl, pnl_den, ok = _closing_pnl(dquote, dlots, avg_num, avg_den)
        return (0, 0, 1, 0, pnl, pnl_den, OK) if ok == 1 else _NOTHING
    if lots == 0 or (lots > 0) != (new > 0):
        return _flip(lots, new, avg_num, avg_den, dlots, dquote)
    total, ok_total = add_checked(running, dquote)
    old_size, ok_old = magnitude(lots)
    new_size, ok_new = magnitude(new)
    paid, ok_paid = magnitude(dquote)
    if ok_total == 0 or ok_old == 0 or ok_new == 0 or ok_paid == 0:
        return _NOTHING
    if new_size <= old_size:
        pnl, pnl_den, ok = _closing_pnl(dquote, dlots, avg_num, avg_den)
        return (new, avg_num, avg_den, total, pnl, pnl_den, OK) if ok == 1 else _NOTHING
    num, den, ok = _closing_pnl(paid, old_size, avg_num, avg_den)
    if ok == 1:
        num_b, den_b, ok = ratio(1, new_size)
    if ok == 1:
        num, den, ok = times(num, den, num_b, den_b)
    return (new, num, den, total, 0, 1, OK) if ok == 1 else _NOTHING


@kernel
def break_even(lots: int, running: int) -> tuple[int, int, int]:
    """(num, den, status) of the price per lot at which the open position has earned nothing; 0 if flat."""
    if lots == 0:
        return 0, 1, OK
    num, den, ok = ratio(running, lots)
    return -num, den, ok


@kernel
def unsettled_pnl(
    lots: int, lot_size: int, quote: int, price_num: int, price_den: int
) -> tuple[int, int, int]:
    """(num, den, status) of quote + lots * lot_size * price; price in native quote per native base,
    price_den > 0."""
    base, ok = multiply(lots, lot_size)
    num, den, ok_price = ratio(price_num, price_den)
    if ok == 0 or ok_price == 0:
        return 0, 1, OVERFLOW
    num, den, ok = times(base, 1, num, den)
    if ok == 0:
        return 0, 1, OVERFLOW
    return plus(quote, 1, num, den)
