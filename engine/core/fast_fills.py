"""Fills as nearly all of them are, booked in far fewer instructions than `engine.core.booking` takes.

`book_run` books fill after fill until one is not plain: of an unknown account, one with cross margin or
funding due, a new position, a self-trade, a close with a deficit, a size past its tier, a number near a bound, a
side below zero, a price off the band. That one and every refusal are `engine.core.booking`'s, whose answers
these are too, to the byte (tests/engine/core/test_fast_fills.py). Nothing is written before a fill is known to be
plain.

Lines of memory are asked for ahead: first the accounts', which tell where their positions are, then those, a block
of fills at a time. A CPU does not get past a request before it knows where in memory the page lies; where the
pages of a machine are small, as those of many virtual ones are beneath the huge pages they show, that is a walk
through tables for nearly every line. Requests that stand side by side walk at the same time.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.core.booking import off_band
from engine.core.legs import who_of
from engine.core.outputs import emit_free
from engine.core.state import Books
from engine.core.views import RING, Scratch, Views
from kernels.book import FEE_ONE
from kernels.crc32c import crc_of_words, crc_word
from kernels.frames import Template
from kernels.jit import kernel
from kernels.layouts import ACCOUNT_CROSS, LEG_MAKER, LEG_TAKER, PRICE_MAX, PRICE_MIN
from kernels.narrow import quotient_by, quotient_of, share_by
from kernels.prefetch import prefetch
from kernels.slots import EMPTY, find_position, holder_of, near_position
from kernels.types import Record, Words, at, wide

_FILL = int(Template.FILL)
BLOCK = 16
"""So many fills are looked up at once, one block ahead of the fill that is booked or two; their accounts' lines are
asked for a block earlier."""
FRAMES = 64
"""So many frames beyond those the frames themselves are asked for, which may lie in no cache either."""
SNUG_BITS = 59
SNUG = 1 << (SNUG_BITS - 1)
"""Numbers of a plain fill lie in -SNUG .. SNUG - 1: no sum of a few of them wraps, none is near LIMIT."""


@kernel
def snug(value: int) -> int:
    """0 or more and below 2 * SNUG exactly where -SNUG <= value < SNUG: many are checked by one OR."""
    return value + SNUG


class Side(NamedTuple):
    """What one side of a plain fill leaves behind. doubt: outside 0 .. 2 * SNUG - 1 if it is not plain."""

    doubt: int
    size: int
    cash: int
    cost_e6: int
    realised_e6: int
    free_e6: int
    dcash: int
    transfer: int
    fee: int


@kernel
def slot_ahead(books: Books, account: int, market: int) -> int:
    """Slot of (account, market), or -1, and a fetch of the position there.

    Asked for any fill: an answer for a market outside 0 .. 255 means nothing, and nobody reads it.
    """
    if at(account) >= at(len(books.accounts)):
        return EMPTY
    slot = near_position(books.near, account, market)
    if slot < 0:
        slot = find_position(books.position_table, books.positions, account, market)
    prefetch(books.positions, slot)
    return slot


@kernel
def look_up(books: Books, fill: Record, scratch: Scratch, i: int) -> None:
    """Find the slots of frame `i` if it is a fill, whose accounts' lines are there by now."""
    if wide(fill["template"]) != _FILL:
        return
    k, m = at(2 * i) & at(RING - 1), wide(fill["market"])
    scratch.slots[k] = slot_ahead(books, wide(fill["maker"]), m)
    scratch.slots[k + at(1)] = slot_ahead(books, wide(fill["taker"]), m)


@kernel
def look_ahead(books: Books, views: Views, scratch: Scratch, first: int, stop: int) -> int:
    """Ask for the accounts' lines of the block after the one that begins with frame `first`, whose slots are found.

    Frames beyond `stop` may be asked for: nothing comes of it. Returns the first frame whose slots are not.
    """
    last = first + BLOCK
    for i in range(last, min(last + BLOCK, stop)):
        prefetch(views.fill, i + FRAMES)
        fill = views.fill[at(i)]
        prefetch(books.accounts, wide(fill["maker"]))
        prefetch(books.accounts, wide(fill["taker"]))
    for i in range(first, min(last, stop)):
        look_up(books, views.fill[at(i)], scratch, i)
    return last


@kernel
def is_plain_frame(books: Books, fill: Record) -> int:
    """1 if the frame is its source's next: a fill of a known market between two known accounts, on scale."""
    meta = books.meta[0]
    m, source = wide(fill["market"]), at(wide(fill["source"]))
    if wide(fill["template"]) != _FILL or m < 0 or m >= meta["markets"]:
        return 0
    market, maker, taker = books.markets[at(m)], wide(fill["maker"]), wide(fill["taker"])
    if market["active"] == 0 or fill["seq"] != books.sources[source]["last_seq"] + 1:
        return 0
    people = at(meta["accounts"] - 1)
    if at(maker - 1) >= people or at(taker - 1) >= people or maker == taker:
        return 0
    size, price, largest = fill["size"], fill["price"], books.quote_by[at(m), 2]
    # Not by abs(size): that of the least int64 is negative.
    if size == 0 or size > largest or size < -largest or price < PRICE_MIN or price > PRICE_MAX:
        return 0
    return 1


@kernel
def is_plain_position(position: Record, account: int, market: int, index_e6: int) -> int:
    """1 if the position is the account's in the market, isolated, and funding is settled on it."""
    own = holder_of(position) == account | (market << 32)
    return 1 if own and position["idx"] == index_e6 else 0


@kernel
def plain_quote(size: int, lot_e6: int, divisor: int, by: Words) -> int:
    """`quote_of` of |size| lots of lot_e6 / divisor each: nearest, ties to even. by: the market's quote_by."""
    quote, rest = quotient_by(abs(size) * lot_e6, divisor, by[0], by[1])
    over = rest - (divisor - rest)
    return quote + (1 if over + (quote & 1) > 0 else 0)


@kernel
def plan_side(
    books: Books,
    position: Record,
    free: int,
    market: Record,
    dsize: int,
    quote: int,
    fee: int,
    lot_e6: int,
    by: Words,
) -> Side:
    """One side of a fill. quote: signed cost of dsize in 1e-6 USDC; fee: of it, negative if a rebate;
    lot_e6: reference price * quote_mul; by: the market's quote_by."""
    old, old_cost = position["size"], position["cost_e6"]
    size = old + dsize
    dcash = -quote - fee
    cash = position["cash"] + dcash
    q, rest = quotient_by(abs(size) * lot_e6, market["quote_div"], by[0], by[1])
    notional = q + min(rest, 1)
    worth = q if size >= 0 else -notional
    opens = old == 0 or (old ^ dsize) >= 0
    less = abs(dsize) <= abs(old)
    # -1 where it only shrinks, else 0: nobody can guess which, so no jump is made of it.
    shrinks = ((old ^ dsize) & (abs(dsize) - abs(old) - 1)) >> 63

    leverage = wide(position["leverage"])
    asked = books.initial_at[at(leverage if leverage > 0 else market["leverage_default"])]
    short = share_by(notional, asked[0], asked[1]) - (cash + worth)
    transfer = max(0, min(short, free)) & ~shrinks
    transfer = transfer if size != 0 else -cash
    doubt = cash if size == 0 else (asked[2] - notional) >> 63
    # Of the cash before the transfer, which could lift a hopeless one among the plain, never past 2 * SNUG.
    doubt |= snug(cash)

    # A reduction takes out its share of the cost; a flip leaves its share of the quote.
    whole = old_cost if less else quote
    part, _ = quotient_of(abs(whole), min(abs(old), abs(dsize)), max(abs(old), abs(dsize)))
    part = part if whole >= 0 else -part
    cost = whole - part
    realised = position["realised_e6"] + (-quote - part if less else -part - old_cost)
    if opens:
        cost, realised = old_cost + quote, position["realised_e6"]

    cash, free = cash + transfer, free - transfer
    doubt |= snug(free) | snug(cost) | snug(realised)
    return Side(doubt | (cash + worth), size, cash, cost, realised, free, dcash, transfer, fee)


@kernel
def write_side(
    books: Books,
    scratch: Scratch,
    row: int,
    ordinal: int,
    who: int,
    position: Record,
    account: int,
    side: Side,
) -> int:
    """The side's position, balance and LEG row `row`. Returns the CRC of the leg."""
    dsize = side.size - position["size"]
    position["size"] = side.size
    position["cash"] = side.cash
    position["cost_e6"] = side.cost_e6
    position["realised_e6"] = side.realised_e6
    books.accounts[at(account)]["free_e6"] = side.free_e6
    words = scratch.legs_flat
    k = at(8 * row)
    words[k] = ordinal
    words[k + at(1)] = who
    words[k + at(2)] = dsize
    words[k + at(3)] = side.dcash
    words[k + at(4)] = side.transfer
    words[k + at(5)] = 0
    words[k + at(6)] = side.fee
    words[k + at(7)] = 0
    return crc_of_words(ordinal, who, dsize, side.dcash, side.transfer, 0, side.fee, 0)


@kernel
def count_plain(books: Books, fill: Record, result: Record) -> int:
    """What `begin_frame` and `finish_frame` do of a booked fill, but for the witness. Returns its ordinal."""
    meta = books.meta[0]
    ordinal = meta["ordinal"] + 1
    meta["ordinal"] = ordinal
    meta["booked"] += 1
    books.sources[at(wide(fill["source"]))]["last_seq"] = fill["seq"]
    result["refusal"], result["legs"], result["boundary"] = 0, 2, 0
    return ordinal


@kernel
def book_plain(books: Books, fill: Record, scratch: Scratch, i: int, row: int, n_legs: int) -> int:
    """Book fill `i` if it is plain: 1, its result at `row` and its legs at n_legs, n_legs + 1. Else 0.

    What is left out of `apply_fill` is zero here: funding, covers, and what both sides together change in the
    sums of sizes, of remainders and of size * idx.
    """
    if is_plain_frame(books, fill) == 0:
        return 0
    k = at(2 * i) & at(RING - 1)
    slot0, slot1 = scratch.slots[k], scratch.slots[k + at(1)]
    if min(slot0, slot1) < 0:
        return 0
    m, maker, taker = wide(fill["market"]), wide(fill["maker"]), wide(fill["taker"])
    market, position0, position1 = (
        books.markets[at(m)],
        books.positions[at(slot0)],
        books.positions[at(slot1)],
    )
    index = market["index_e6"]
    if is_plain_position(position0, maker, m, index) + is_plain_position(position1, taker, m, index) < 2:
        return 0

    size, price, mark, by = fill["size"], fill["price"], market["mark"], books.quote_by[at(m)]
    if max(abs(position0["size"] - size), abs(position1["size"] + size)) > by[2]:
        return 0
    account0, account1 = books.accounts[at(maker)], books.accounts[at(taker)]
    if (wide(account0["flags"]) | wide(account1["flags"])) & ACCOUNT_CROSS != 0:
        return 0
    maker_e9 = books.tiers[at(wide(account0["tier"]))]["maker_e9"]
    taker_e9 = books.tiers[at(wide(account1["tier"]))]["taker_e9"]
    quote = plain_quote(size, price * market["quote_mul"], market["quote_div"], by)
    if quote > by[3]:
        return 0
    fee0, fee1 = (quote * maker_e9 + FEE_ONE - 1) // FEE_ONE, (quote * taker_e9 + FEE_ONE - 1) // FEE_ONE
    signed = quote if size > 0 else -quote
    lot = (mark if mark > 0 else price) * market["quote_mul"]
    side0 = plan_side(books, position0, account0["free_e6"], market, -size, -signed, fee0, lot, by)
    side1 = plan_side(books, position1, account1["free_e6"], market, size, signed, fee1, lot, by)

    meta = books.meta[0]
    fees = fee0 + fee1
    moved = side0.transfer + side1.transfer - fees
    opened = max(side0.size, 0) - max(position0["size"], 0) + max(side1.size, 0) - max(position1["size"], 0)
    sum_cash, moved_in = market["sum_cash"] + moved, market["moved_in"] + moved
    market_fees, house = market["fees_e6"] + fees, meta["house_e6"] + fees
    open_interest = market["open_interest"] + opened
    doubt = side0.doubt | side1.doubt
    doubt |= snug(sum_cash) | snug(moved_in) | snug(market_fees) | snug(house) | snug(open_interest)
    if doubt >> SNUG_BITS != 0 or off_band(price, mark, market["band_e6"]) == 1:
        return 0

    market["sum_cash"], market["moved_in"], market["fees_e6"] = sum_cash, moved_in, market_fees
    market["open_interest"], meta["house_e6"] = open_interest, house
    ordinal = count_plain(books, fill, scratch.results[at(row)])
    crc0 = write_side(books, scratch, n_legs, ordinal, who_of(maker, m, LEG_MAKER), position0, maker, side0)
    crc1 = write_side(
        books, scratch, n_legs + 1, ordinal, who_of(taker, m, LEG_TAKER), position1, taker, side1
    )
    books.witness[0] = crc_word(crc_word(crc_word(books.witness[0], 0), crc0), crc1)
    if side0.transfer | side1.transfer != 0:
        emit_free(books, taker, side1.free_e6, maker, side0.free_e6)
    return 1


@kernel
def book_run(
    books: Books, views: Views, scratch: Scratch, first: int, stop: int, origin: int, n_legs: int
) -> tuple[int, int]:
    """Book fills from frame `first` on while they are plain. Returns (first frame not booked, legs so far)."""
    ahead = max(first, scratch.ahead[0])
    i = first
    while i < stop:
        if ahead <= i + BLOCK:
            ahead = look_ahead(books, views, scratch, ahead, stop)
        if book_plain(books, views.fill[at(i)], scratch, i, i - origin, n_legs) == 0:
            break
        n_legs += 2
        i += 1
    scratch.ahead[0] = ahead
    scratch.ahead[1] += i - first
    return i, n_legs
