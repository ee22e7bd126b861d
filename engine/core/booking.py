"""Fills: what both legs do to the books, or why a fill is refused.

Every function checks first and writes after: a refusal (non-zero return) leaves no trace but its count.
"""

from __future__ import annotations

from engine.core.outputs import emit_account_state, set_market_state
from engine.core.state import Books
from engine.core.views import Scratch
from kernels.book import (
    close_out,
    fee_of,
    isolated_transfer,
    next_cost,
    quote_of,
    touch_sums,
    value_floor,
    within,
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
from kernels.margin import initial_rate_e12
from kernels.slots import find_position, insert_position
from kernels.types import Record, Rows, Words, wide

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
    meta["positions"] = slot + 1
    return slot


@kernel
def leverage_of(position: Record, market: Record) -> int:
    """The leverage in force: the position's own, else its market's default."""
    return wide(position["leverage"]) if wide(position["leverage"]) > 0 else market["leverage_default"]


@kernel
def book_leg(
    books: Books,
    position: Record,
    leg: Record,
    market: Record,
    free_e6: int,
    insurance_e6: int,
    quote_e6: int,
    ref_price: int,
) -> int:
    """One side of a fill on the scratch copy `position`; 1 if every number stays within bounds.

    leg: LEG with dsize and fee given; receives dcash, transfer, cover, funding. quote_e6: signed cost of
    dsize. ref_price: where requirements are measured. Settles funding first.
    """
    pay, rem, ok = settle(
        position["size"], position["rem"], position["idx"], market["index_e6"], market["scale"]
    )
    if ok == 0 or within(pay) == 0:
        return 0
    old, dsize = position["size"], leg["dsize"]
    size = old + dsize
    dcash = -quote_e6 - leg["fee"]
    cash = position["cash"] + pay
    if within(cash) == 0 or within(cash + dcash) == 0 or abs(size) > market["size_max"]:
        return 0
    cash += dcash
    transfer = 0
    cover = 0
    isolated = 1 if wide(position["mode"]) == 0 else 0
    if size == 0:
        transfer, cover = close_out(cash, isolated, insurance_e6)
    elif isolated == 1 and (abs(size) > abs(old) or (size > 0) != (old > 0)):
        rate = initial_rate_e12(books.tiers, leverage_of(position, market))
        transfer, ok = isolated_transfer(
            size, cash, free_e6, ref_price, rate, market["quote_mul"], market["quote_div"]
        )
        if ok == 0:
            return 0
    if within(cash + transfer + cover) == 0 or within(free_e6 - transfer) == 0:
        return 0
    cost, realised = next_cost(old, position["cost_e6"], dsize, quote_e6)
    if within(cost) == 0 or within(position["realised_e6"] + realised) == 0:
        return 0
    leg["dcash"] = dcash
    leg["transfer"] = transfer
    leg["cover"] = cover
    leg["funding"] = pay
    position["size"] = size
    position["cash"] = cash + transfer + cover
    position["rem"] = rem
    position["idx"] = market["index_e6"]
    position["cost_e6"] = cost
    position["realised_e6"] += realised
    return 1


@kernel
def commit_leg(books: Books, position: Record, leg: Record, market: Record) -> int:
    """Write a booked leg: position, market sums, free balance, insurance, house. Returns its slot."""
    slot = position_slot(books, wide(leg["account"]), wide(leg["market"]))
    row = books.positions[slot]
    touch_sums(market, row["size"], row["idx"], position["size"], market["index_e6"])
    market["sum_cash"] += position["cash"] - row["cash"]
    market["sum_rem"] += position["rem"] - row["rem"]
    market["moved_in"] += leg["transfer"] + leg["cover"] - leg["fee"]
    market["fees_e6"] += leg["fee"]
    books.accounts[wide(leg["account"])]["free_e6"] -= leg["transfer"]
    books.accounts[0]["free_e6"] -= leg["cover"]
    books.meta[0]["house_e6"] += leg["fee"]
    books.positions[slot] = position
    return slot


@kernel
def start_sums(books: Books, market: Record, sums: Words) -> None:
    """Load the sums that legs change into `sums`: int64[5], scratch."""
    sums[0] = market["sum_cash"]
    sums[1] = market["moved_in"]
    sums[2] = market["fees_e6"]
    sums[3] = books.meta[0]["house_e6"]
    sums[4] = market["open_interest"]


@kernel
def sums_stay_within(sums: Words, leg: Record, dcash: int, old_size: int, new_size: int) -> int:
    """Carry `sums` over one leg; 1 if all stay within bounds. dcash: whole change of the position's cash."""
    sums[0] += dcash
    sums[1] += leg["transfer"] + leg["cover"] - leg["fee"]
    sums[2] += leg["fee"]
    sums[3] += leg["fee"]
    sums[4] += max(new_size, 0) - max(old_size, 0)
    for k in range(5):
        if within(sums[k]) == 0:
            return 0
    return 1


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
def apply_fill(books: Books, fill: Record, scratch: Scratch, n_legs: int) -> int:
    """Book both legs of a fill, maker first. Returns the refusal, 0 if booked (legs n_legs, n_legs + 1)."""
    why = check_fill(books, fill)
    if why != _OK:
        return why
    meta = books.meta[0]
    m = wide(fill["market"])
    market = books.markets[m]
    quote, ok = quote_of(fill["size"], fill["price"], market["quote_mul"], market["quote_div"])
    if ok == 0:
        return _BOUNDS
    ref = market["mark"] if market["mark"] > 0 else fill["price"]
    work, legs = scratch.work, scratch.legs
    start_sums(books, market, scratch.sums)
    insurance = books.accounts[0]["free_e6"]
    for k in range(2):
        account = wide(fill["maker"]) if k == 0 else wide(fill["taker"])
        side = -1 if k == 0 else 1
        free = books.accounts[account]["free_e6"]
        if k == 1 and wide(fill["maker"]) == account:
            work[1] = work[0]
            free -= legs[n_legs]["transfer"]
        else:
            load_position(books, work, k, account, m)
        tier = books.tiers[wide(books.accounts[account]["tier"])]
        fee, ok = fee_of(quote, tier["maker_e9"] if k == 0 else tier["taker_e9"])
        leg = legs[n_legs + k]
        leg["ordinal"] = meta["ordinal"]
        leg["account"] = account
        leg["market"] = m
        leg["kind"] = LEG_MAKER if k == 0 else LEG_TAKER
        leg["dsize"] = side * fill["size"]
        leg["fee"] = fee
        old_cash, old_size = work[k]["cash"], work[k]["size"]
        if ok == 1:
            ok = book_leg(books, work[k], leg, market, free, insurance, side * quote, ref)
        if ok == 1:
            ok = sums_stay_within(scratch.sums, leg, work[k]["cash"] - old_cash, old_size, work[k]["size"])
        if ok == 0:
            return _BOUNDS
        insurance -= leg["cover"]
    for k in range(2):
        scratch.slots[k] = commit_leg(books, work[k], legs[n_legs + k], market)
    meta["booked"] += 1
    watch_fill(books, fill, scratch.slots)
    return _OK


@kernel
def load_position(books: Books, work: Rows, k: int, account: int, m: int) -> None:
    """Copy the position of (account, market) into work[k]; a blank one if there is none yet.

    work: POSITION[3], whose last row is always blank.
    """
    slot = find_position(books.position_table, books.positions, account, m)
    if slot >= 0:
        work[k] = books.positions[slot]
        return
    work[k] = work[2]
    work[k]["account"] = account
    work[k]["market"] = m
    work[k]["idx"] = books.markets[m]["index_e6"]


@kernel
def watch_fill(books: Books, fill: Record, touched: Words) -> None:
    """After a booked fill: off the mark's band, or a side below zero → halt the market, freeze both accounts.

    An isolated position is judged by its own equity, a cross account by its free balance: what its other
    positions are worth is for risk, which looks at all of them.
    """
    m = wide(fill["market"])
    market = books.markets[m]
    mark = market["mark"]
    bad = 1 if mark > 0 and abs(fill["price"] - mark) * 1_000_000 > mark * market["band_e6"] else 0
    lowest = 0
    for k in range(2):
        row = books.positions[touched[k]]
        equity = books.accounts[wide(row["account"])]["free_e6"]
        if wide(row["mode"]) == 0:
            price = mark if mark > 0 else fill["price"]
            worth, _ = value_floor(row["size"], price, market["quote_mul"], market["quote_div"])
            equity = row["cash"] + worth
        lowest = min(lowest, equity)
    if bad == 0 and lowest >= 0:
        return
    set_market_state(books, m, MARKET_HALTED, 1, 0)
    for k in range(2):
        account = wide(books.positions[touched[k]]["account"])
        if wide(books.accounts[account]["flags"]) & ACCOUNT_FROZEN == 0:
            books.accounts[account]["flags"] |= ACCOUNT_FROZEN
            emit_account_state(books, account, m, lowest)
