"""Cross margin: what an account's cross positions are worth together, and what they need of its free balance.

Funding counts as settled up to the market's index. Sums are taken in 128 bits, so that the order of the
list never shows. Every function is O(the account's cross positions) and reads only.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.core.state import Books
from kernels.frames import Refusal
from kernels.int128 import mul_add128
from kernels.jit import kernel
from kernels.layouts import ACCOUNT_CROSS, LIMIT
from kernels.margin import initial_by, settled_cash, valued
from kernels.types import Record, wide

_OK = int(Refusal.NONE)
_FREE = int(Refusal.INSUFFICIENT_FREE)
_MARK = int(Refusal.MARK_UNKNOWN)

EVERYTHING_E6 = 2 * LIMIT
"""More than any account has free."""


class Side(NamedTuple):
    """An account's open cross positions: three sums as 128-bit (hi, lo) in 1e-6 USDC.

    equity: settled cash + worth at the mark. need: initial requirement. short: need - equity. unvalued: how
    many have no mark, or a number past its bounds; they are in no sum.
    """

    equity_hi: int
    equity_lo: int
    need_hi: int
    need_lo: int
    short_hi: int
    short_lo: int
    unvalued: int


@kernel
def leverage_of(row: Record, market: Record) -> int:
    """Leverage in force of a POSITION row: its own, else its market's."""
    own = wide(row["leverage"])
    return own if own > 0 else market["leverage_default"]


@kernel
def standing(row: Record, market: Record, price: int) -> tuple[int, int, int]:
    """(equity, notional, ok) of a POSITION row at `price`; ok = 0: that is no price, or bounds are left."""
    cash, ok1 = settled_cash(
        row["size"], row["cash"], row["idx"], row["rem"], market["index_e6"], market["scale"]
    )
    worth, notional, ok2 = valued(row["size"], price, market["quote_mul"], market["quote_div"])
    if price <= 0 or ok1 == 0 or ok2 == 0:
        return 0, 0, 0
    return cash + worth, notional, 1


@kernel
def cross_side(books: Books, account: int, m: int, price: int) -> Side:
    """The account's cross side at the marks; in market `m`, if that has none, at `price` (0: none either)."""
    equity_hi, equity_lo, need_hi, need_lo, short_hi, short_lo, unvalued = 0, 0, 0, 0, 0, 0, 0
    at = wide(books.cross_first[account]) - 1
    while at >= 0:
        row = books.positions[at]
        at = wide(books.cross_next[at]) - 1
        if row["size"] == 0:
            continue
        market = books.markets[wide(row["market"])]
        mark = market["mark"]
        if mark <= 0 and wide(row["market"]) == m:
            mark = price
        equity, notional, ok = standing(row, market, mark)
        if ok == 0:
            unvalued += 1
            continue
        need = initial_by(books.tiers, books.initial_at, leverage_of(row, market), notional)
        equity_hi, equity_lo = mul_add128(equity_hi, equity_lo, equity, 1)
        need_hi, need_lo = mul_add128(need_hi, need_lo, need, 1)
        short_hi, short_lo = mul_add128(short_hi, short_lo, need - equity, 1)
    return Side(equity_hi, equity_lo, need_hi, need_lo, short_hi, short_lo, unvalued)


@kernel
def brought_within(hi: int, lo: int) -> int:
    """The 128-bit (hi, lo), brought into -EVERYTHING_E6 .. EVERYTHING_E6."""
    if hi != lo >> 63:
        return -EVERYTHING_E6 if hi < 0 else EVERYTHING_E6
    return max(-EVERYTHING_E6, min(EVERYTHING_E6, lo))


@kernel
def locked_e6(books: Books, account: int) -> tuple[int, int]:
    """(what cross positions need of the free balance, 1 if that is known). 0 .. EVERYTHING_E6.

    Their initial requirement and their loss, if together they have one. A gain does not lower it: what is
    not realised is never paid out, nor stands in for what is. Where a mark is missing it is EVERYTHING_E6.
    """
    side = cross_side(books, account, -1, 0)
    if side.unvalued > 0:
        return EVERYTHING_E6, 0
    if side.equity_hi < 0:
        return brought_within(side.short_hi, side.short_lo), 1
    return brought_within(side.need_hi, side.need_lo), 1


@kernel
def locked_of(books: Books, account: int) -> int:
    """`locked_e6` of any account, 0 of one without cross positions, which costs one look at its flags."""
    if wide(books.accounts[account]["flags"]) & ACCOUNT_CROSS == 0:
        return 0
    locked, _ = locked_e6(books, account)
    return locked


@kernel
def free_of(books: Books, account: int) -> int:
    """What a pre-trade check may use of an account: free less what cross positions need of it, signed.

    -EVERYTHING_E6 where a mark is missing, so that what they need is not known.
    """
    free = books.accounts[account]["free_e6"]
    if wide(books.accounts[account]["flags"]) & ACCOUNT_CROSS == 0:
        return free
    locked, known = locked_e6(books, account)
    return max(free - locked, -EVERYTHING_E6) if known == 1 else -EVERYTHING_E6


@kernel
def draw_refusal(books: Books, account: int, quote_e6: int) -> int:
    """Why `quote_e6` > 0 may not leave an account's free balance, or 0: cross positions keep what they need."""
    row = books.accounts[account]
    if quote_e6 > row["free_e6"]:
        return _FREE
    if wide(row["flags"]) & ACCOUNT_CROSS == 0:
        return _OK
    locked, known = locked_e6(books, account)
    if known == 0:
        return _MARK
    return _FREE if quote_e6 > row["free_e6"] - locked else _OK


@kernel
def equity_of_cross(books: Books, account: int, m: int, price: int) -> int:
    """Free balance + equity of all cross positions, brought into +-EVERYTHING_E6. m, price: as `cross_side`.

    A position in another market without a mark counts for nothing.
    """
    side = cross_side(books, account, m, price)
    hi, lo = mul_add128(side.equity_hi, side.equity_lo, books.accounts[account]["free_e6"], 1)
    return brought_within(hi, lo)


@kernel
def bears_more(books: Books, account: int, more_e6: int) -> int:
    """Why the cross side cannot bear a requirement `more_e6` higher, or 0: free + equity must meet it all."""
    side = cross_side(books, account, -1, 0)
    if side.unvalued > 0:
        return _MARK
    hi, lo = mul_add128(side.short_hi, side.short_lo, more_e6, 1)
    hi, lo = mul_add128(hi, lo, books.accounts[account]["free_e6"], -1)
    return _OK if hi < 0 or (hi == 0 and lo == 0) else _FREE
