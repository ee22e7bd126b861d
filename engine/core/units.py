"""Units of liquidation: an isolated position, or all cross positions of an account with its free balance.

Exact, at the marks; reads only. A unit is liquidated when its equity is below its maintenance margin. Equity
counts funding as it accrues (`kernels.funding_accrual`); what is moved is counted as settled up to the index.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.core.cross import brought_within, leverage_of
from engine.core.state import Books
from kernels.book import within
from kernels.funding_accrual import accrued_index
from kernels.int128 import mul_add128
from kernels.jit import kernel, routine
from kernels.layouts import MAX_TIERS
from kernels.margin import floor_rate_e12, held_tier, maintenance_e6, settled_cash, valued
from kernels.types import Record, wide


class Unit(NamedTuple):
    """ok: 1 if every position of the unit has a mark and no number leaves its bounds, else nothing counts.

    equity, maintenance: of the unit in 1e-6 USDC. beside: of its equity, what is not the position's that was
    asked for; 0 of an isolated one. own: maintenance of that position alone.
    """

    ok: int
    equity: int
    maintenance: int
    beside: int
    own: int


@kernel
def taker_max_e9(books: Books) -> int:
    """The highest taker fee of a fee tier in force."""
    highest = 0
    for k in range(MAX_TIERS):
        if books.tiers[k]["fees_set"] == 1:
            highest = max(highest, books.tiers[k]["taker_e9"])
    return highest


@kernel
def market_floor_e12(books: Books, m: int) -> int:
    """Least maintenance rate of a market (`margin.floor_rate_e12`): the highest taker fee, the liquidation fee,
    twice the confidence of the price, and what the price moves in 100 ms."""
    market = books.markets[m]
    fee_e9 = books.meta[0]["liquidation_fee_e9"]
    return floor_rate_e12(taker_max_e9(books), fee_e9, market["conf"], market["mark"], market["move_e12"])


@kernel
def position_need(books: Books, row: Record, accrued: int) -> tuple[int, int, int]:
    """(equity, maintenance, ok) of an open POSITION row by itself. accrued: 1 with the open hour's funding."""
    m = wide(row["market"])
    market = books.markets[m]
    index = market["index_e6"]
    if accrued == 1:
        index = accrued_index(market, books.meta[0]["second_ns"])
    cash, ok1 = settled_cash(row["size"], row["cash"], row["idx"], row["rem"], index, market["scale"])
    worth, notional, ok2 = valued(row["size"], market["mark"], market["quote_mul"], market["quote_div"])
    if ok1 + ok2 < 2 or market["mark"] <= 0 or within(cash) == 0:
        return 0, 0, 0
    top = held_tier(books.tiers, leverage_of(row, market))
    return cash + worth, maintenance_e6(books.tiers, top, notional, market_floor_e12(books, m)), 1


@routine
def unit_of(books: Books, slot: int, accrued: int) -> Unit:
    """Margin of the unit that the open position in `slot` belongs to. O(its account's cross positions)."""
    row = books.positions[slot]
    equity, own, ok = position_need(books, row, accrued)
    if wide(row["mode"]) == 0:
        return Unit(ok & within(equity), equity, own, 0, own)
    account = wide(row["account"])
    hi, lo = mul_add128(0, 0, books.accounts[account]["free_e6"], 1)
    need_hi, need_lo = mul_add128(0, 0, own, 1)
    at = wide(books.cross_first[account]) - 1
    while at >= 0:
        other = books.positions[at]
        if at != slot and other["size"] != 0:
            theirs, need, known = position_need(books, other, accrued)
            ok &= known
            hi, lo = mul_add128(hi, lo, theirs, 1)
            need_hi, need_lo = mul_add128(need_hi, need_lo, need, 1)
        at = wide(books.cross_next[at]) - 1
    beside = brought_within(hi, lo)
    hi, lo = mul_add128(hi, lo, equity, 1)
    everything, maintenance = brought_within(hi, lo), brought_within(need_hi, need_lo)
    bounded = within(everything) & within(maintenance) & within(beside)
    return Unit(ok & bounded, everything, maintenance, beside, own)


@kernel
def other_liquidation(books: Books, slot: int) -> int:
    """1 if another cross position of the same account is being liquidated: one at a time."""
    if wide(books.positions[slot]["mode"]) == 0:
        return 0
    at = wide(books.cross_first[wide(books.positions[slot]["account"])]) - 1
    while at >= 0:
        if at != slot and wide(books.positions[at]["liquidation"]) > 0:
            return 1
        at = wide(books.cross_next[at]) - 1
    return 0
