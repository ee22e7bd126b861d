"""Fills: what both legs do to the books, or why a fill is refused.

Every function checks first and writes after: a refusal (non-zero return) leaves no trace but its count.
"""

from __future__ import annotations

from engine.core.cross import equity_of_cross
from engine.core.insurance import insurance_refusal
from engine.core.legs import (
    Held,
    Leg,
    commit_leg,
    held_after,
    held_at,
    held_with,
    known_market,
    out_of_bounds,
    sums_after,
    sums_of,
    sums_within,
    who_of,
    write_leg,
    write_sums,
)
from engine.core.liquidations import review_liquidation
from engine.core.outputs import emit_account_state, set_market_state, tell_free_of_both
from engine.core.state import Books
from engine.core.units import unit_of
from engine.core.views import Scratch
from kernels.book import close_out, fee_of, next_cost, quote_of, within, worth_of
from kernels.frames import Refusal
from kernels.funding import settle
from kernels.int128 import mul_div_trunc
from kernels.jit import kernel, routine
from kernels.layouts import (
    ACCOUNT_FROZEN,
    LEG_MAKER,
    LEG_TAKER,
    MARKET_HALTED,
    POSITION_LIQUIDATING,
    PRICE_MAX,
    PRICE_MIN,
)
from kernels.liquidation import liquidation_fee
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
    accounts, maker, taker = books.meta[0]["accounts"], wide(fill["maker"]), wide(fill["taker"])
    if maker < 0 or maker >= accounts or taker < 0 or taker >= accounts:
        return _UNKNOWN_ACCOUNT
    if fill["price"] < PRICE_MIN or fill["price"] > PRICE_MAX:
        return _PRICE
    size_max = books.markets[wide(fill["market"])]["size_max"]
    if fill["size"] == 0 or fill["size"] > size_max or fill["size"] < -size_max:
        return _SIZE
    if maker == 0 or taker == 0:
        return insurance_refusal(books, wide(fill["market"]))
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
    liquidation_e9: int,
    beside_e6: int,
) -> Leg:
    """One side of a fill, funding settled first. quote_e6: signed cost of dsize. rate_e9: its fee.

    ref_price: where worth and requirements are measured. liquidation_e9: the fee that what it closes pays to
    insurance, as far as its unit's equity goes, of which beside_e6 is not this position's. It is a negative cover.
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
    charged, ok2 = charged_e6(held, dsize, quote_e6, liquidation_e9, cash + worth + beside_e6)
    cash -= charged
    if size == 0:
        transfer, cover = close_out(cash, held.isolated, insurance_e6)
    elif held.isolated == 1 and (abs(size) > abs(held.size) or (size > 0) != (held.size > 0)):
        need = initial_by(books.tiers, books.initial_at, held.leverage, notional)
        transfer = top_up(cash + worth, need, held.free_e6 - held.locked_e6)
    free = held.free_e6 - transfer
    cash += transfer + cover
    cover -= charged
    if ok & ok2 == 0 or within(cash) == 0 or within(free) == 0 or within(insurance_e6 - cover) == 0:
        return out_of_bounds()
    cost, realised = next_cost(held.size, held.cost_e6, dsize, quote_e6)
    if within(cost) == 0 or within(held.realised_e6 + realised) == 0:
        return out_of_bounds()
    realised += held.realised_e6
    excess = too_large(books.initial_at, held.leverage, notional)
    return Leg(1, size, cash, rem, cost, realised, free, worth, dcash, transfer, cover, fee, pay, excess)


@kernel
def charged_e6(held: Held, dsize: int, quote_e6: int, liquidation_e9: int, equity_e6: int) -> tuple[int, int]:
    """(liquidation fee of a fill, ok): on what it closes of the position, never more than the unit's equity."""
    if liquidation_e9 == 0 or held.size == 0 or (held.size > 0) == (dsize > 0):
        return 0, 1
    closing, ok = quote_e6, 1
    if abs(dsize) > abs(held.size):
        closing, ok = mul_div_trunc(quote_e6, abs(held.size), abs(dsize))
    charged, ok2 = liquidation_fee(closing, liquidation_e9, equity_e6)
    return charged, ok & ok2


@kernel
def charge_of(books: Books, slot: int, maker: int, taker: int) -> tuple[int, int]:
    """(liquidation fee in 1e-9, the unit's equity beside the position) of a fill of the position in `slot`.

    (0, 0) of one that is not being liquidated or cannot be valued, of a trade with oneself, and of insurance.
    """
    if slot < 0 or maker == taker or wide(books.positions[slot]["account"]) == 0:
        return 0, 0
    if wide(books.positions[slot]["flags"]) & POSITION_LIQUIDATING == 0:
        return 0, 0
    unit = unit_of(books, slot, 0)
    return (books.meta[0]["liquidation_fee_e9"], unit.beside) if unit.ok == 1 else (0, 0)


@routine
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
    fee, beside = charge_of(books, slot0, maker, taker)
    leg0 = plan_leg(books, held0, market, -size, -quote, rate, insurance, ref, fee, beside)
    sums0 = sums_after(sums_of(books, market), held0, leg0)
    if leg0.ok == 0 or sums_within(sums0) == 0:
        return _BOUNDS

    slot1, free1 = slot0, books.accounts[taker]["free_e6"]
    held1 = held_after(held0, leg0, market["index_e6"])
    if taker != maker:
        slot1 = find_position(books.position_table, books.positions, taker, m)
        held1 = held_at(books, slot1, taker, market)
    # Insurance's own free balance is what covers the other side: what the first leg moved of it counts in the second.
    insurance -= leg0.cover
    if maker == 0:
        insurance -= leg0.transfer
    if taker == 0:
        held1 = held_with(held1, insurance)
    rate = books.tiers[wide(books.accounts[taker]["tier"])]["taker_e9"]
    fee, beside = charge_of(books, slot1, maker, taker)
    leg1 = plan_leg(books, held1, market, size, quote, rate, insurance, ref, fee, beside)
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
    lowest = deficit_of(books, slot1 if taker != maker else -1, taker, m, ref, held1, leg1)
    if taker != maker:
        lowest = min(lowest, deficit_of(books, slot0, maker, m, ref, held0, leg0))
    if lowest < 0 or off_band(price, mark, market["band_e6"]) == 1:
        halt(books, m, maker, taker, lowest)
    # Of a self-trade both sides are the account as the maker's leg found it.
    tell_free_of_both(books, taker, free1, maker, held0.free_e6)
    if slot0 >= 0:
        review_liquidation(books, slot0)
    if slot1 >= 0:
        review_liquidation(books, slot1)
    return _OK


@kernel
def deficit_of(books: Books, slot: int, account: int, m: int, ref_price: int, held: Held, leg: Leg) -> int:
    """What a side is below zero after `leg`, as a negative number, or 0.

    slot: where it was before; -1 if it is new, or traded with itself.

    A fill that only closes of a position under liquidation is not to blame for what it lacks: that is being
    dealt with, and the market goes on. Nor is one of insurance: what it lacks, its fund lifts or others take over.
    """
    if account == 0:
        return 0
    if slot >= 0 and wide(books.positions[slot]["flags"]) & POSITION_LIQUIDATING != 0:
        flips = (leg.size > 0) != (held.size > 0) and leg.size != 0
        if abs(leg.size) < abs(held.size) and not flips:
            return 0
    return min(0, equity_of(books, account, m, ref_price, held, leg))


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
