"""Which positions are being liquidated: rows of LIQUIDATION, their beginning and end, and what is told of them.

A position that is has POSITION_LIQUIDATING and the number of its row. Rows lie close together: the last takes the
place of one that ends.
"""

from __future__ import annotations

from engine.core.outputs import emit, pair
from engine.core.state import Books
from engine.core.units import unit_of
from kernels.frames import LiquidationKind, Source, Template
from kernels.jit import kernel, routine
from kernels.layouts import POSITION_LIQUIDATING
from kernels.liquidation import SILENCE_NS
from kernels.margin import liquidatable
from kernels.slots import find_position
from kernels.types import wide

_ORDER = int(Template.LIQUIDATION_ORDER)
_MATCHING = int(Source.MATCHING)
_CANCEL_ALL = int(LiquidationKind.CANCEL_ALL)
_RELEASE = int(LiquidationKind.RELEASE)


@kernel
def tell_liquidation(books: Books, kind: int, account: int, m: int, size: int, price: int) -> None:
    """Tell the matching engine what to do (`frames.LiquidationKind`), as of the last of its frames."""
    as_of_seq = books.sources[_MATCHING]["last_seq"]
    emit(books, _ORDER, m, as_of_seq, size, price, pair(account, kind), 0)


@routine
def begin_liquidation(books: Books, slot: int) -> int:
    """The row of the position's liquidation, made if it is none; the caller has seen that there is room.

    A liquidation begins with the cancelling of all orders of its account.
    """
    position, meta = books.positions[slot], books.meta[0]
    under = wide(position["liquidation"])
    if under > 0:
        books.liquidations[under - 1]["heard_ns"] = meta["now_ns"]
        return under - 1
    n = meta["open_liquidations"]
    row = books.liquidations[n]
    row["account"] = position["account"]
    row["market"] = wide(position["market"])
    row["first_ns"] = meta["now_ns"]
    row["heard_ns"] = meta["now_ns"]
    row["ordered_ns"] = 0
    row["orders"] = 0
    row["size"] = 0
    row["price"] = 0
    position["liquidation"] = n + 1
    position["flags"] |= POSITION_LIQUIDATING
    meta["open_liquidations"] = n + 1
    meta["liquidations"] += 1
    tell_liquidation(books, _CANCEL_ALL, wide(position["account"]), -1, 0, 0)
    return n


@routine
def end_liquidation(books: Books, k: int) -> None:
    """Take out row `k`: its position is closed, has its margin again, or risk no longer speaks of it."""
    rows, meta = books.liquidations, books.meta[0]
    account, m = wide(rows[k]["account"]), wide(rows[k]["market"])
    position = books.positions[find_position(books.position_table, books.positions, account, m)]
    position["liquidation"] = 0
    position["flags"] &= ~POSITION_LIQUIDATING
    last = meta["open_liquidations"] - 1
    if k != last:
        rows[k] = rows[last]
        other = find_position(
            books.position_table, books.positions, wide(rows[last]["account"]), wide(rows[last]["market"])
        )
        books.positions[other]["liquidation"] = k + 1
    meta["open_liquidations"] = last
    tell_liquidation(books, _RELEASE, account, m, 0, 0)


@routine
def review_liquidation(books: Books, slot: int) -> None:
    """After something moved the position in `slot`: end its liquidation if it is closed or has its margin again.

    One that cannot be valued now stays, and insurance's own while it is open and its last order would reduce it.
    """
    under = wide(books.positions[slot]["liquidation"])
    if under == 0:
        return
    size = books.positions[slot]["size"]
    if size != 0 and wide(books.positions[slot]["account"]) == 0:
        order = books.liquidations[under - 1]["size"]
        if order == 0 or (order > 0) != (size > 0):
            return
    elif size != 0:
        unit = unit_of(books, slot, 1)
        if unit.ok == 0 or liquidatable(unit.equity, unit.maintenance) == 1:
            return
    end_liquidation(books, under - 1)


@kernel
def drop_silent(books: Books, now_ns: int) -> None:
    """End the liquidations that risk has not spoken of for SILENCE_NS. O(MAX_LIQUIDATIONS) at most."""
    # From the last row back: the one that takes the place of a dropped one has been looked at.
    for k in range(books.meta[0]["open_liquidations"] - 1, -1, -1):
        if now_ns - books.liquidations[k]["heard_ns"] >= SILENCE_NS:
            end_liquidation(books, k)
