"""Fills: what both legs do to the books, or why a fill is refused.

Every function checks first and writes after: a refusal (non-zero return) leaves no trace but its count.
"""

from __future__ import annotations

from engine.core.cross import equity_of_cross
from engine.core.legs import (
    Held,
    Leg,
    commit_leg,
    held_after,
    held_at,
    known_market,
    out_of_bounds,
    sums_after,
    sums_of,
    sums_within,
    who_of,
    write_leg,
    write_sums,
)
from engine.core.outputs import emit_account_state, set_market_state, tell_free_of_both
from engine.core.state import Books
from engine.core.views import Scratch
from kernels.book import close_out, fee_of, next_cost, quote_of, within, worth_of
from kernels.frames import Refusal
from kernels.funding import settle
from kernels.jit import kernel
from kernels.layouts import ACCOUNT_FROZEN, LEG_MAKER, LEG_TAKER, MARKET_HALTED, PRICE_MAX, PRICE_MIN
from kernels.margin import initial_by, too_large, top_up
from kernels.slots import find_position
from kernels.types import Record, wide

_OK = int(Refusal.NONE)
_UNKNOWN_MARKET = int(Refusal.UNKNOWN_MARKET)
_UNKNOWN_ACCOUNT = int(Refusal.UNKNOWN_ACCOUNT)
_PRICE = int(Refusal.PRICE_OFF_SCALE)
_SIZE = int(Refusal.SIZE_OFF_SCALE)
_BOUNDS = int(Refusal.OUT_OF_BOUNDS)


@kernel
def check_fill(books: Books, fill: Record) -> int:
    """Why this fill cannot be booked at all, or 0."""
    if known_market(books, wide(fill["market"])) == 0:
        return _UNKNOWN_MARKET
    accounts = books.meta[0]["accounts"]
    if (
        wide(fill["maker"]) < 1
        or wide(fill["maker"]) >= accounts
        or wide(fill["taker"]) < 1
        or wide(fill["taker"]) >= accounts
    ):
        return _UNKNOWN_ACCOUNT
    if fill["price"] < PRICE_MIN or fill["price"] > PRICE_MAX:
        return _PRICE
    size_max = books.markets[wide(fill["market"])]["size_max"]
    if fill["size"] == 0 or fill["size"] > size_max or fill["size"] < -size_max:
        return _SIZE
    return _OK


@kernel
def plan_leg(
    books: Books,
    held: Held,
    market: Record,
    dsize: int,
    quote_e6: int,
    rate_e9: int,
    insurance_e6: int,
    ref_price: int,
) -> Leg:
    """One side of a fill, funding settled first. quote_e6: signed cost of dsize. rate_e9: its fee.

    ref_price: where worth and requirements are measured.
    """
    fee, ok = fee_of(quote_e6, rate_e9)
    if ok == 0:
        return out_of_bounds()
    pay, rem, ok = settle(held.size, held.rem, held.idx, market["index_e6"], market["scale"])
    if ok == 0 or within(pay) == 0:
        return out_of_bounds()
    size = held.size + dsize
    dcash = -quote_e6 - fee
    cash = held.cash + pay
    if within(cash) == 0 or within(cash + dcash) == 0 or abs(size) > market["size_max"]:
        return out_of_bounds()
    cash += dcash
    worth, notional, ok = worth_of(size, ref_price, market["quote_mul"], market["quote_div"])
    transfer = 0
    cover = 0
    if size == 0:
        transfer, cover = close_out(cash, held.isolated, insurance_e6)
    elif held.isolated == 1 and (abs(size) > abs(held.size) or (size > 0) != (held.size > 0)):
        need = initial_by(books.tiers, books.initial_at, held.leverage, notional)
        transfer = top_up(cash + worth, need, held.free_e6 - held.locked_e6)
    free = held.free_e6 - transfer
    cash += transfer + cover
    if ok == 0 or within(cash) == 0 or within(free) == 0:
        return out_of_bounds()
    cost, realised = next_cost(held.size, held.cost_e6, dsize, quote_e6)
    if within(cost) == 0 or within(held.realised_e6 + realised) == 0:
        return out_of_bounds()
    realised += held.realised_e6
    excess = too_large(books.initial_at, held.leverage, notional)
    return Leg(1, size, cash, rem, cost, realised, free, worth, dcash, transfer, cover, fee, pay, excess)


@kernel
def apply_fill(books: Books, fill: Record, scratch: Scratch, n_legs: int) -> int:
    """Book both legs of a fill, maker first. Returns the refusal, 0 if booked (legs n_legs, n_legs + 1)."""
    why = check_fill(books, fill)
    if why != _OK:
        return why
    meta = books.meta[0]
    m, maker, taker = wide(fill["market"]), wide(fill["maker"]), wide(fill["taker"])
    market, price, size = books.markets[m], fill["price"], fill["size"]
    quote, ok = quote_of(size, price, market["quote_mul"], market["quote_div"])
    if ok == 0:
        return _BOUNDS
    mark = market["mark"]
    ref = mark if mark > 0 else price
    insurance = books.accounts[0]["free_e6"]

    slot0 = find_position(books.position_table, books.positions, maker, m)
    held0 = held_at(books, slot0, maker, market)
    rate = books.tiers[wide(books.accounts[maker]["tier"])]["maker_e9"]
    leg0 = plan_leg(books, held0, market, -size, -quote, rate, insurance, ref)
    sums0 = sums_after(sums_of(books, market), held0, leg0)
    if leg0.ok == 0 or sums_within(sums0) == 0:
        return _BOUNDS

    slot1, free1 = slot0, books.accounts[taker]["free_e6"]
    held1 = held_after(held0, leg0, market["index_e6"])
    if taker != maker:
        slot1 = find_position(books.position_table, books.positions, taker, m)
        held1 = held_at(books, slot1, taker, market)
    rate = books.tiers[wide(books.accounts[taker]["tier"])]["taker_e9"]
    leg1 = plan_leg(books, held1, market, size, quote, rate, insurance - leg0.cover, ref)
    sums1 = sums_after(sums0, held1, leg1)
    if leg1.ok == 0 or sums_within(sums1) == 0:
        return _BOUNDS

    ordinal = meta["ordinal"]
    write_leg(scratch, n_legs, ordinal, who_of(maker, m, LEG_MAKER), -size, leg0)
    write_leg(scratch, n_legs + 1, ordinal, who_of(taker, m, LEG_TAKER), size, leg1)
    commit_leg(books, slot0, maker, m, held0, leg0)
    commit_leg(books, slot1, taker, m, held1, leg1)
    write_sums(books, market, sums1)
    meta["booked"] += 1
    lowest = equity_of(books, taker, m, ref, held1, leg1)
    if taker != maker:
        lowest = min(lowest, equity_of(books, maker, m, ref, held0, leg0))
    if lowest < 0 or off_band(price, mark, market["band_e6"]) == 1:
        halt(books, m, maker, taker, min(lowest, 0))
    # Of a self-trade both sides are the account as the maker's leg found it.
    tell_free_of_both(books, taker, free1, maker, held0.free_e6)
    return _OK


@kernel
def equity_of(books: Books, account: int, m: int, ref_price: int, held: Held, leg: Leg) -> int:
    """What an isolated position is worth by itself after `leg`, which is booked; of a cross one, what its
    account's whole cross side is."""
    if held.isolated == 1:
        return leg.cash + leg.worth_e6
    return equity_of_cross(books, account, m, ref_price)


@kernel
def off_band(price: int, mark: int, band_e6: int) -> int:
    """1 if a fill's price lies outside the band round a known mark."""
    return 1 if mark > 0 and abs(price - mark) * 1_000_000 > mark * band_e6 else 0


@kernel
def halt(books: Books, m: int, maker: int, taker: int, lowest_e6: int) -> None:
    """After a fill off the mark's band, or one that leaves a side below zero: halt the market, freeze both
    accounts. lowest_e6: the lower equity of the two, 0 if neither is below zero."""
    set_market_state(books, m, MARKET_HALTED, 1, 0)
    for k in range(2):
        account = maker if k == 0 else taker
        if wide(books.accounts[account]["flags"]) & ACCOUNT_FROZEN == 0:
            books.accounts[account]["flags"] |= ACCOUNT_FROZEN
            emit_account_state(books, account, m, lowest_e6)
