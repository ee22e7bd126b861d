"""Candidates: risk proposes, the engine decides on each frame. Nothing of a frame is believed but where to look.

A position whose unit lacks margin (`engine.core.units`) goes this way, by the books' time since the first candidate:
all orders of the account are cancelled and a reduce-only order is placed; 100 and 200 ms later another in its
place; from 500 ms on, or at once when the unit's equity is not above zero, insurance takes the position over
at the price where the unit is worth nothing, as far as it can back it; what it cannot take is deleveraged.
A candidate that comes too early for the next step only says that risk still sees the unit: it is taken and moves
nothing. So is one for insurance without means. Every other that does not hold is refused as stale.

A cross unit's position takes the unit's other equity with it: what the free balance and the other positions are
worth moves into it, or what they lack out of it, so that insurance or the counterparty meets the unit's price. The
rest of the unit is then worth nothing and follows, position by position.

Positions that insurance itself holds go another way (`engine.core.insurance`), but are deleveraged like others.

Which position of an account, and which counterparties, is risk's choice: the engine cannot see all accounts. That
the most profitable and leveraged were deleveraged first is what an auditor recomputes from the journal.
"""

from __future__ import annotations

from engine.core.cross import leverage_of
from engine.core.insurance import beyond_backing, lifted_e6, unwind
from engine.core.legs import (
    Held,
    Leg,
    commit_leg,
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
from engine.core.liquidations import begin_liquidation, end_liquidation, review_liquidation, tell_liquidation
from engine.core.outputs import tell_free, tell_free_of_both
from engine.core.state import Books
from engine.core.units import Unit, market_floor_e12, other_liquidation, unit_of
from engine.core.views import Scratch
from kernels.book import next_cost, within, worth_of
from kernels.frames import CandidateKind, LiquidationKind, Refusal
from kernels.funding import settle
from kernels.jit import kernel, routine
from kernels.layouts import LEG_DELEVERAGE, LEG_TAKEOVER, MARKET_FROZEN, MARKET_HALTED, MAX_LIQUIDATIONS
from kernels.liquidation import (
    FULL_BELOW_E6,
    ORDER_NS,
    ORDERS_MAX,
    TAKEOVER_NS,
    TARGET_E6,
    cash_share,
    close_size,
    takeover,
)
from kernels.liquidation_price import order_limit
from kernels.margin import held_tier, liquidatable, too_large, valued
from kernels.oracle_rules import admits
from kernels.slots import find_position
from kernels.types import Record, wide

_OK = int(Refusal.NONE)
_UNKNOWN_MARKET = int(Refusal.UNKNOWN_MARKET)
_UNKNOWN_ACCOUNT = int(Refusal.UNKNOWN_ACCOUNT)
_BOUNDS = int(Refusal.OUT_OF_BOUNDS)
_KIND = int(Refusal.UNKNOWN_KIND)
_STALE = int(Refusal.STALE_CANDIDATE)
_FULL = int(Refusal.LIQUIDATIONS_FULL)
_LIQUIDATE = int(CandidateKind.LIQUIDATE)
_DELEVERAGE = int(CandidateKind.DELEVERAGE)
_REDUCE_ONLY = int(LiquidationKind.REDUCE_ONLY)
_TAKEN = int(LiquidationKind.TAKEOVER)
_DELEVERAGED = int(LiquidationKind.DELEVERAGE)


@routine
def apply_candidate(books: Books, frame: Record, scratch: Scratch, n_legs: int) -> tuple[int, int]:
    """The next step of one position's liquidation, if it is due. Returns (refusal, legs made)."""
    kind, m, account = wide(frame["kind"]), wide(frame["market"]), wide(frame["account"])
    if kind != _LIQUIDATE and kind != _DELEVERAGE:
        return _KIND, 0
    if known_market(books, m) == 0:
        return _UNKNOWN_MARKET, 0
    if account < 0 or account >= books.meta[0]["accounts"]:
        return _UNKNOWN_ACCOUNT, 0
    slot = find_position(books.position_table, books.positions, account, m)
    if slot < 0 or may_liquidate(books, slot, m) == 0:
        return _STALE, 0
    unit = unit_of(books, slot, 1)
    if unit.ok == 0:
        return _STALE, 0
    under = wide(books.positions[slot]["liquidation"])
    if account == 0 and kind == _LIQUIDATE:
        return unwind(books, slot, m, unit, scratch, n_legs)
    if liquidatable(unit.equity, unit.maintenance) == 0:
        if kind != _LIQUIDATE or under == 0:
            return _STALE, 0
        end_liquidation(books, under - 1)
        return _OK, 0
    due = is_due(books, under, unit.equity)
    if kind == _DELEVERAGE:
        if account == 0:
            due = beyond_backing(books, unit)
        if under == 0 or due == 0:
            return _STALE, 0
        return deleverage_to(books, slot, account, m, frame["counterparty"], scratch, n_legs)
    if under == 0 and books.meta[0]["open_liquidations"] == MAX_LIQUIDATIONS:
        return _FULL, 0
    if due == 1:
        return take_over(books, slot, account, m, scratch, n_legs)
    return place_order(books, slot, account, m, unit), 0


@kernel
def may_liquidate(books: Books, slot: int, m: int) -> int:
    """1 if the position is open, its market trades at a price whose status permits it, and no other position of
    its unit is being liquidated."""
    market = books.markets[m]
    if books.positions[slot]["size"] == 0 or market["state"] & (MARKET_FROZEN | MARKET_HALTED) != 0:
        return 0
    if admits(books.oracles[m]["liquidation_on"], market["status"]) == 0:
        return 0
    return 1 - other_liquidation(books, slot)


@kernel
def is_due(books: Books, under: int, equity: int) -> int:
    """1 if the position is to be taken over now. under: its row + 1, or 0."""
    if equity <= 0:
        return 1
    if under == 0:
        return 0
    return 1 if books.meta[0]["now_ns"] - books.liquidations[under - 1]["first_ns"] >= TAKEOVER_NS else 0


@routine
def place_order(books: Books, slot: int, account: int, m: int, unit: Unit) -> int:
    """Begin the position's liquidation, or place its next reduce-only order if that is due. Returns the refusal.

    The order closes what restores 1.25 x maintenance, at a limit where the whole position, closed with its
    taker fee, would leave nothing, and no farther from the mark than fills may be.
    """
    row, market, tier = books.positions[slot], books.markets[m], wide(books.accounts[account]["tier"])
    size, mark = row["size"], market["mark"]
    taker_e9 = books.tiers[tier]["taker_e9"]
    lots, ok = close_size(
        size,
        unit.equity,
        unit.maintenance,
        mark,
        books.tiers,
        held_tier(books.tiers, leverage_of(row, market)),
        market_floor_e12(books, m),
        taker_e9 + books.meta[0]["liquidation_fee_e9"],
        TARGET_E6,
        FULL_BELOW_E6,
        market["quote_mul"],
        market["quote_div"],
    )
    worth, _, ok2 = valued(size, mark, market["quote_mul"], market["quote_div"])
    if ok + ok2 < 2 or within(unit.equity - worth) == 0:
        return _BOUNDS
    now = books.meta[0]["now_ns"]
    order = books.liquidations[begin_liquidation(books, slot)]
    if order["orders"] >= ORDERS_MAX or (order["orders"] > 0 and now - order["ordered_ns"] < ORDER_NS):
        return _OK
    held_e6 = unit.equity - worth
    limit = order_limit(
        size, held_e6, taker_e9, mark, market["band_e6"], market["quote_mul"], market["quote_div"]
    )
    order["orders"] += 1
    order["ordered_ns"] = now
    order["size"] = -lots if size > 0 else lots
    order["price"] = limit
    tell_liquidation(books, _REDUCE_ONLY, account, m, order["size"], limit)
    return _OK


@kernel
def settled_with(books: Books, slot: int, held: Held, market: Record) -> tuple[int, int, int]:
    """(cash of the position with its unit's other equity in it, that equity, ok). Funding settled up to the index."""
    pay, _, ok = settle(held.size, held.rem, held.idx, market["index_e6"], market["scale"])
    unit = unit_of(books, slot, 0)
    if ok == 0 or unit.ok == 0 or within(pay) == 0 or within(held.cash + pay) == 0:
        return 0, 0, 0
    cash = held.cash + pay + unit.beside
    return cash, unit.beside, within(cash)


@kernel
def exchanged_leg(
    books: Books,
    held: Held,
    market: Record,
    dsize: int,
    dcash: int,
    moved: int,
    reach_e6: int,
) -> Leg:
    """One side of a takeover or a deleveraging: a fill without price or fee, `dsize` for `dcash`.

    moved: from free into the position, before. What it holds at size 0 goes to free, as does a cross position's
    lack; an isolated one's is met from free as far as `reach_e6` goes, the rest stays in its slot.
    """
    pay, rem, ok = settle(held.size, held.rem, held.idx, market["index_e6"], market["scale"])
    if ok == 0 or within(pay) == 0 or within(held.cash + pay) == 0 or within(moved) == 0:
        return out_of_bounds()
    if within(held.cash + pay + moved) == 0 or within(held.cash + pay + moved + dcash) == 0:
        return out_of_bounds()
    size, cash, transfer = held.size + dsize, held.cash + pay + moved + dcash, moved
    if abs(size) > market["size_max"]:
        return out_of_bounds()
    if size == 0:
        rest = -cash if cash >= 0 or held.isolated == 0 else max(0, min(-cash, reach_e6))
        cash += rest
        transfer += rest
    free = held.free_e6 - transfer
    cost, realised = next_cost(held.size, held.cost_e6, dsize, -dcash)
    realised += held.realised_e6
    worth, notional, ok = worth_of(size, market["mark"], market["quote_mul"], market["quote_div"])
    if ok == 0 or within(free) == 0 or within(cost) == 0 or within(realised) == 0:
        return out_of_bounds()
    excess = too_large(books.initial_at, held.leverage, notional)
    return Leg(1, size, cash, rem, cost, realised, free, worth, dcash, transfer, 0, 0, pay, excess)


@kernel
def book_exchange(
    books: Books,
    m: int,
    kind: int,
    slot0: int,
    account0: int,
    held0: Held,
    leg0: Leg,
    slot1: int,
    account1: int,
    held1: Held,
    leg1: Leg,
    scratch: Scratch,
    n_legs: int,
) -> int:
    """Book both sides, the bankrupt one first, or say why not. kind: LEG_TAKEOVER or LEG_DELEVERAGE."""
    if leg0.ok == 0 or leg1.ok == 0:
        return _BOUNDS
    market, ordinal = books.markets[m], books.meta[0]["ordinal"]
    sums0 = sums_after(sums_of(books, market), held0, leg0)
    # Before the other side is added: what one leg alone takes past the bounds, a second could wrap.
    if sums_within(sums0) == 0:
        return _BOUNDS
    sums1 = sums_after(sums0, held1, leg1)
    if sums_within(sums1) == 0:
        return _BOUNDS
    begin_liquidation(books, slot0)
    write_leg(scratch, n_legs, ordinal, who_of(account0, m, kind), leg0.size - held0.size, leg0)
    write_leg(scratch, n_legs + 1, ordinal, who_of(account1, m, kind), leg1.size - held1.size, leg1)
    commit_leg(books, slot0, account0, m, held0, leg0)
    commit_leg(books, slot1, account1, m, held1, leg1)
    write_sums(books, market, sums1)
    return _OK


@routine
def take_over(
    books: Books, slot: int, account: int, m: int, scratch: Scratch, n_legs: int
) -> tuple[int, int]:
    """Insurance takes what it can back of a position, at the price where its unit is worth nothing.

    Its free balance pays at most what it holds. Where it can take nothing, nothing moves, and the position
    waits for deleveraging. Returns (refusal, legs made).
    """
    market = books.markets[m]
    held = held_at(books, slot, account, market)
    cash, beside, ok = settled_with(books, slot, held, market)
    free = books.accounts[0]["free_e6"]
    dsize, dcash, transfer, ok2 = takeover(
        held.size,
        cash,
        market["mark"],
        free,
        books.meta[0]["reserve_e12"],
        market["quote_mul"],
        market["quote_div"],
    )
    if ok + ok2 < 2:
        return _BOUNDS, 0
    if dsize == 0:
        begin_liquidation(books, slot)
        return _OK, 0
    own = find_position(books.position_table, books.positions, 0, m)
    held1 = held_at(books, own, 0, market)
    leg0 = exchanged_leg(books, held, market, -dsize, -dcash, beside, 0)
    leg1 = exchanged_leg(books, held1, market, dsize, dcash, transfer, free - transfer)
    why = book_exchange(
        books, m, LEG_TAKEOVER, slot, account, held, leg0, own, 0, held1, leg1, scratch, n_legs
    )
    if why != _OK:
        return why, 0
    price = order_limit(held.size, cash, 0, market["mark"], -1, market["quote_mul"], market["quote_div"])
    tell_liquidation(books, _TAKEN, account, m, -dsize, price)
    tell_free(books, account, held.free_e6)
    review_liquidation(books, slot)
    if own >= 0:
        review_liquidation(books, own)
    return _OK, 2


@kernel
def left_with(books: Books, slot: int, held: Held, leg: Leg) -> int:
    """What a counterparty's unit is worth after `leg`, which is not booked yet; -1 where that cannot be told."""
    if held.isolated == 1:
        return leg.cash + leg.worth_e6
    unit = unit_of(books, slot, 0)
    if unit.ok == 0 or within(leg.transfer) == 0:
        return -1
    return unit.beside - leg.transfer + leg.cash + leg.worth_e6


@routine
def deleverage_to(
    books: Books, slot: int, account: int, m: int, other: int, scratch: Scratch, n_legs: int
) -> tuple[int, int]:
    """Move what insurance cannot take to one counterparty, as far as its position on the other side goes.

    At the price where the bankrupt unit is worth nothing, cash in proportion, without fees. Stale while
    insurance could still take a lot, and for a counterparty that this would leave below zero. other: its
    account, 0 for what insurance itself holds on the other side. account: 0 for a position of insurance, which
    the fund lifts to nothing before. Returns (refusal, legs made).
    """
    if other < 0 or other >= books.meta[0]["accounts"] or other == account:
        return _STALE, 0
    slot1 = find_position(books.position_table, books.positions, other, m)
    size = books.positions[slot]["size"]
    if slot1 < 0 or books.positions[slot1]["size"] == 0 or (books.positions[slot1]["size"] > 0) == (size > 0):
        return _STALE, 0
    market = books.markets[m]
    held, held1 = held_at(books, slot, account, market), held_at(books, slot1, other, market)
    cash, beside, ok = settled_with(books, slot, held, market)
    free, reserve = books.accounts[0]["free_e6"], books.meta[0]["reserve_e12"]
    mark, mul, div = market["mark"], market["quote_mul"], market["quote_div"]
    if account == 0:
        borne = 0
        beside, ok2 = lifted_e6(books, size, cash, m)
        cash += beside
    else:
        borne, _, _, ok2 = takeover(size, cash, mark, free, reserve, mul, div)
    if ok + ok2 < 2:
        return _BOUNDS, 0
    if borne != 0:
        return _STALE, 0
    part = min(abs(size), abs(held1.size))
    dcash, ok = cash_share(cash, part, abs(size))
    dsize = part if size > 0 else -part
    leg0 = exchanged_leg(books, held, market, -dsize, -dcash, beside, 0)
    leg1 = exchanged_leg(books, held1, market, dsize, dcash, 0, 0)
    if ok == 0 or leg0.ok == 0 or leg1.ok == 0:
        return _BOUNDS, 0
    if left_with(books, slot1, held1, leg1) < 0:
        return _STALE, 0
    why = book_exchange(
        books, m, LEG_DELEVERAGE, slot, account, held, leg0, slot1, other, held1, leg1, scratch, n_legs
    )
    if why != _OK:
        return why, 0
    price = order_limit(size, cash, 0, mark, -1, mul, div)
    tell_liquidation(books, _DELEVERAGED, account, m, -dsize, price)
    tell_liquidation(books, _DELEVERAGED, other, m, dsize, price)
    tell_free_of_both(books, account, held.free_e6, other, held1.free_e6)
    review_liquidation(books, slot)
    review_liquidation(books, slot1)
    return _OK, 2
