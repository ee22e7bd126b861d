"""What one account's side of a fill or a transfer finds and leaves: `Held`, `Leg`, the sums, and their writing.

Planned first, written after: nothing here refuses, and nothing is written before every bound was checked.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.core.cross import leverage_of, locked_of
from engine.core.outputs import emit_account_state
from engine.core.state import Books
from engine.core.views import Scratch
from kernels.book import touch_sums, within
from kernels.jit import kernel
from kernels.layouts import POSITION_TOO_LARGE
from kernels.slots import find_position, insert_position, note_near
from kernels.types import Record, wide


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

    worth_e6: of the new size, rounded down. cover: less the liquidation fee.
    ok: 1 if every number stays within bounds, else nothing counts.
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
def held_with(held: Held, free_e6: int) -> Held:
    """The same with another free balance."""
    return Held(
        held.size,
        held.cash,
        held.idx,
        held.rem,
        held.cost_e6,
        held.realised_e6,
        held.isolated,
        held.leverage,
        free_e6,
        held.locked_e6,
    )


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
    note_excess(books, slot, leg.excess, leg.cash + leg.worth_e6)


@kernel
def note_excess(books: Books, slot: int, excess: int, equity_e6: int) -> None:
    """Keep with a position whether it is too large; tell it if that changes. excess: POSITION_TOO_LARGE or 0."""
    row = books.positions[slot]
    flags = wide(row["flags"])
    if flags & POSITION_TOO_LARGE != excess:
        row["flags"] = flags ^ POSITION_TOO_LARGE
        emit_account_state(books, wide(row["account"]), wide(row["market"]), equity_e6)


@kernel
def who_of(account: int, m: int, kind: int) -> int:
    """Account, market and kind of a leg as its second word."""
    return account | (m << 32) | (kind << 48)
