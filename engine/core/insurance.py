"""Insurance (account 0) gets rid of what it took over: its fills, its own margin, its unwinding orders.

Its free balance is the fund that covers deficits, so its own positions, which are isolated, are backed by the same
money. Risk names them (`CandidateKind.LIQUIDATE`) as long as they are open, whether they lack margin or not, and
the engine has the whole of each sold by a reduce-only order, placed anew each second. One that lacks margin is
lifted from the fund to 1.25 x maintenance if the fund reaches maintenance; else it waits for deleveraging, whose
price the fund first lifts to the mark as far as it goes. Nothing here lets the fund go below zero.

Its orders only reduce, but a takeover or deleveraging may change its position while a fill is on its way, and a
matched fill is a fact. Such a fill is booked as what it is, even where it opens or goes past zero: like anybody's
it draws its initial margin from the fund as far as that reaches. An order on the wrong side is then withdrawn, and
the next candidate has the new position sold. Only where insurance never held anything can no order of ours have led
to a fill: that one is refused by name.

It pays fees as its fee tier says, like anybody: no other party's arithmetic then knows of account 0. A liquidation
fee would go from it to itself and is not taken.
"""

from __future__ import annotations

from engine.core.accounts import book_moved, moved_leg
from engine.core.legs import held_at
from engine.core.liquidations import begin_liquidation, tell_liquidation
from engine.core.state import Books
from engine.core.units import Unit
from engine.core.views import Scratch
from kernels.book import within
from kernels.frames import LiquidationKind, Refusal
from kernels.int128 import mul_div_ceil
from kernels.jit import kernel, routine
from kernels.layouts import LIMIT, MAX_LIQUIDATIONS, POSITION_TOO_LARGE
from kernels.liquidation import TARGET_E6, UNWIND_NS
from kernels.liquidation_price import order_limit
from kernels.margin import liquidatable, valued
from kernels.slots import find_position
from kernels.types import wide

_OK = int(Refusal.NONE)
_BOUNDS = int(Refusal.OUT_OF_BOUNDS)
_FULL = int(Refusal.LIQUIDATIONS_FULL)
_INSURANCE = int(Refusal.INSURANCE_REDUCE_ONLY)
_REDUCE_ONLY = int(LiquidationKind.REDUCE_ONLY)


@kernel
def insurance_refusal(books: Books, m: int) -> int:
    """Why insurance cannot be a side of a fill in market `m`, or 0: it has or had a position there, hence orders."""
    return _OK if find_position(books.position_table, books.positions, 0, m) >= 0 else _INSURANCE


@kernel
def beyond_backing(books: Books, unit: Unit) -> int:
    """1 if insurance's position lacks margin, and what the fund holds does not reach its maintenance."""
    if liquidatable(unit.equity, unit.maintenance) == 0:
        return 0
    return 1 if unit.equity + max(0, books.accounts[0]["free_e6"]) < unit.maintenance else 0


@kernel
def lifted_e6(books: Books, size: int, cash: int, market: int) -> tuple[int, int]:
    """(what the fund puts behind a position of its own before it is deleveraged, ok): what that lacks at the mark,
    as far as the fund goes. cash: settled, within +-LIMIT."""
    row = books.markets[market]
    worth, _, ok = valued(size, row["mark"], row["quote_mul"], row["quote_div"])
    return min(max(0, -(cash + worth)), max(0, books.accounts[0]["free_e6"])), ok


@routine
def unwind(books: Books, slot: int, m: int, unit: Unit, scratch: Scratch, n_legs: int) -> tuple[int, int]:
    """Back insurance's open position in `slot` if it lacks margin, and have it sold. (refusal, legs made: 0 or 1).

    The order's limit is where closing the whole of it would take all the fund holds, and no farther from the
    mark than fills may be.
    """
    row, market, free = books.positions[slot], books.markets[m], max(0, books.accounts[0]["free_e6"])
    if wide(row["liquidation"]) == 0 and books.meta[0]["open_liquidations"] == MAX_LIQUIDATIONS:
        return _FULL, 0
    size, mark, mul, div = row["size"], market["mark"], market["quote_mul"], market["quote_div"]
    worth, _, ok = valued(size, mark, mul, div)
    held_e6 = unit.equity - worth
    if ok == 0 or within(held_e6) == 0:
        return _BOUNDS, 0
    why, made = back(books, slot, m, unit, worth, scratch, n_legs)
    if why != _OK:
        return why, 0
    order, now = books.liquidations[begin_liquidation(books, slot)], books.meta[0]["now_ns"]
    if order["orders"] > 0 and now - order["ordered_ns"] < UNWIND_NS:
        return _OK, made
    taker_e9 = books.tiers[wide(books.accounts[0]["tier"])]["taker_e9"]
    limit = order_limit(size, min(LIMIT, held_e6 + free), taker_e9, mark, market["band_e6"], mul, div)
    order["orders"] += 1
    order["ordered_ns"] = now
    order["size"] = -size
    order["price"] = limit
    tell_liquidation(books, _REDUCE_ONLY, 0, m, -size, limit)
    return _OK, made


@kernel
def back(
    books: Books, slot: int, m: int, unit: Unit, worth: int, scratch: Scratch, n_legs: int
) -> tuple[int, int]:
    """Lift a position of insurance that lacks margin from the fund, if that reaches. (refusal, legs made).

    worth: of the position at the mark.
    """
    if liquidatable(unit.equity, unit.maintenance) == 0 or beyond_backing(books, unit) == 1:
        return _OK, 0
    target, ok = mul_div_ceil(unit.maintenance, TARGET_E6, 1_000_000)
    moved = min(target - unit.equity, books.accounts[0]["free_e6"])
    market = books.markets[m]
    held = held_at(books, slot, 0, market)
    leg = moved_leg(held, market, moved, worth, wide(books.positions[slot]["flags"]) & POSITION_TOO_LARGE)
    if ok == 0 or leg.ok == 0:
        return _BOUNDS, 0
    why = book_moved(books, slot, 0, m, held, leg, scratch, n_legs)
    return why, (1 if why == _OK else 0)
