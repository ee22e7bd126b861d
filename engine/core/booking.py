"""Fills: what both legs do to the books, or why a fill is refused.

Every function checks first and writes after: a refusal (non-zero return) leaves no trace but its count.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.core.cross import equity_of_cross, leverage_of, locked_of
from engine.core.outputs import emit_account_state, set_market_state
from engine.core.state import Books
from engine.core.views import Scratch
from kernels.book import (
    close_out,
    fee_of,
    next_cost,
    quote_of,
    touch_sums,
    within,
    worth_of,
)
from kernels.frames import Refusal
from kernels.funding import settle
from kernels.jit import kernel
from kernels.layouts import (
    ACCOUNT_FROZEN,
    LEG_MAKER,
    LEG_TAKER,
    MARKET_HALTED,
    PRICE_MAX,
    PRICE_MIN,
)
from kernels.margin import initial_by, too_large, top_up
from kernels.slots import find_position, insert_position, note_near
from kernels.types import Record, wide

_OK = int(Refusal.NONE)
_UNKNOWN_MARKET = int(Refusal.UNKNOWN_MARKET)
_UNKNOWN_ACCOUNT = int(Refusal.UNKNOWN_ACCOUNT)
_PRICE = int(Refusal.PRICE_OFF_SCALE)
_SIZE = int(Refusal.SIZE_OFF_SCALE)
_BOUNDS = int(Refusal.OUT_OF_BOUNDS)


@kernel
def known_market(books: Books, market: int) -> int:
    """1 if `market` is a market with parameters in force."""
    if market < 0 or market >= books.meta[0]["markets"]:
        return 0
    return books.markets[market]["active"]


@kernel
def position_slot(books: Books, account: int, market: int) -> int:
    """Slot of (account, market), made if there is none. The caller has reserved room."""
    slot = find_position(books.position_table, books.positions, account, market)
    if slot >= 0:
        return slot
    meta = books.meta[0]
    slot = meta["positions"]
    row = books.positions[slot]
    row["account"] = account
    row["market"] = market
    row["idx"] = books.markets[market]["index_e6"]
    insert_position(books.position_table, books.positions, slot)
    note_near(books.near, account, market, slot)
    meta["positions"] = slot + 1
    return slot


class Held(NamedTuple):
    """A position and what its owner can add to it, out of the arrays. isolated: 1, or 0 for cross.

    locked_e6: what the account's cross positions need of free_e6, which an isolated one cannot draw.
    """

    size: int
    cash: int
    idx: int
    rem: int
    cost_e6: int
    realised_e6: int
    isolated: int
    leverage: int
    free_e6: int
    locked_e6: int


class Leg(NamedTuple):
    """What one side of a fill leaves behind: `Held` after it, and the columns of its LEG row.

    worth_e6: of the new size, rounded down. ok: 1 if every number stays within bounds, else nothing counts.
    excess: POSITION_TOO_LARGE or 0.
    """

    ok: int
    size: int
    cash: int
    rem: int
    cost_e6: int
    realised_e6: int
    free_e6: int
    worth_e6: int
    dcash: int
    transfer: int
    cover: int
    fee: int
    funding: int
    excess: int


class Sums(NamedTuple):
    """Sums that legs change and whose bounds are checked: of a market, and the house's."""

    cash: int
    moved_in: int
    fees_e6: int
    house_e6: int
    open_interest: int


@kernel
def out_of_bounds() -> Leg:
    """The leg of a fill that cannot be booked."""
    return Leg(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


@kernel
def held_at(books: Books, slot: int, account: int, market: Record) -> Held:
    """What is in `slot`; a blank position of the market if slot < 0."""
    free = books.accounts[account]["free_e6"]
    if slot < 0:
        locked = locked_of(books, account)
        return Held(0, 0, market["index_e6"], 0, 0, 0, 1, market["leverage_default"], free, locked)
    row = books.positions[slot]
    return Held(
        row["size"],
        row["cash"],
        row["idx"],
        row["rem"],
        row["cost_e6"],
        row["realised_e6"],
        1 if wide(row["mode"]) == 0 else 0,
        leverage_of(row, market),
        free,
        locked_of(books, account) if wide(row["mode"]) == 0 else 0,
    )


@kernel
def held_after(held: Held, leg: Leg, index_e6: int) -> Held:
    """The position as the other side of a self-trade finds it."""
    return Held(
        leg.size,
        leg.cash,
        index_e6,
        leg.rem,
        leg.cost_e6,
        leg.realised_e6,
        held.isolated,
        held.leverage,
        leg.free_e6,
        held.locked_e6,
    )


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
def sums_of(books: Books, market: Record) -> Sums:
    """The sums as they are."""
    return Sums(
        market["sum_cash"],
        market["moved_in"],
        market["fees_e6"],
        books.meta[0]["house_e6"],
        market["open_interest"],
    )


@kernel
def sums_after(sums: Sums, held: Held, leg: Leg) -> Sums:
    """The sums one leg later."""
    return Sums(
        sums.cash + leg.cash - held.cash,
        sums.moved_in + leg.transfer + leg.cover - leg.fee,
        sums.fees_e6 + leg.fee,
        sums.house_e6 + leg.fee,
        sums.open_interest + max(leg.size, 0) - max(held.size, 0),
    )


@kernel
def sums_within(sums: Sums) -> int:
    """1 if every sum is within bounds."""
    low = min(min(sums.cash, sums.moved_in), min(sums.fees_e6, sums.house_e6))
    high = max(max(sums.cash, sums.moved_in), max(sums.fees_e6, sums.house_e6))
    return within(low) & within(high) & within(sums.open_interest)


@kernel
def write_sums(books: Books, market: Record, sums: Sums) -> None:
    """Put the sums into the books; open interest is `touch_sums`'s."""
    market["sum_cash"] = sums.cash
    market["moved_in"] = sums.moved_in
    market["fees_e6"] = sums.fees_e6
    books.meta[0]["house_e6"] = sums.house_e6


@kernel
def write_leg(scratch: Scratch, row: int, ordinal: int, who: int, dsize: int, leg: Leg) -> None:
    """LEG row `row`, a word at a time: narrow stores would stall the witness that reads words next.

    who: account, market and kind as one little-endian word.
    """
    words = scratch.leg_words
    words[row, 0] = ordinal
    words[row, 1] = who
    words[row, 2] = dsize
    words[row, 3] = leg.dcash
    words[row, 4] = leg.transfer
    words[row, 5] = leg.cover
    words[row, 6] = leg.fee
    words[row, 7] = leg.funding


@kernel
def commit_leg(books: Books, slot: int, account: int, m: int, held: Held, leg: Leg) -> None:
    """Write a planned leg: position (made if slot < 0), market sums but `Sums`, free balance, insurance.

    What becomes larger than its leverage admits, or no longer is, is told.
    """
    market = books.markets[m]
    index = market["index_e6"]
    if slot < 0:
        slot = position_slot(books, account, m)
    touch_sums(market, held.size, held.idx, leg.size, index)
    market["sum_rem"] += leg.rem - held.rem
    row = books.positions[slot]
    row["size"] = leg.size
    row["cash"] = leg.cash
    row["idx"] = index
    row["rem"] = leg.rem
    row["cost_e6"] = leg.cost_e6
    row["realised_e6"] = leg.realised_e6
    books.accounts[account]["free_e6"] = leg.free_e6
    books.accounts[0]["free_e6"] -= leg.cover
    if wide(row["flags"]) != leg.excess:
        row["flags"] = leg.excess
        emit_account_state(books, account, m, leg.cash + leg.worth_e6)


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
def who_of(account: int, m: int, kind: int) -> int:
    """Account, market and kind of a leg as its second word."""
    return account | (m << 32) | (kind << 48)


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

    slot1 = slot0
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
