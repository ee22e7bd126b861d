"""An order book of price levels in arrays: snapshots, updates in sequence, best prices, impact prices.

levels: int64[2, capacity, 2] of (price, size) in the units of their book; side 0 holds bids from the lowest
up, side 1 asks from the highest down, so that the best level of a side is its last and most updates move
little. book: one BOOK row. A book that lost an update is lost until the next snapshot, never guessed.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types

from kernels.int128 import add_checked, mul_add_divmod, mul_div_ceil, mul_div_half_even
from kernels.jit import kernel, need_runtime_library, primitive
from kernels.oracle import power10
from kernels.types import Record, Words

BOOK = np.dtype([("bids", "<i8"), ("asks", "<i8"), ("update_id", "<i8"), ("state", "<i8")])
LOST, FROM_SNAPSHOT, RUNNING = 0, 1, 2
"""States of a book: waiting for a snapshot, for the first update after it, for the next update."""
BIDS, ASKS = 0, 1

APPLIED, OLD, GAP, NO_SNAPSHOT, BAD_LEVEL, BOOK_FULL = 0, 1, 2, 3, 4, 5
STATUSES = ("applied", "older than the book", "a gap", "no snapshot", "not a level", "more levels than fit")
PRICED, SHORT, REFUSED = 1, 2, 0
"""Of an impact price: found, the side is exhausted first, or beyond exact arithmetic."""

_PPM = 1_000_000
_DENOMINATOR_BITS = 106

need_runtime_library()


def _plain_excess_ratio(a: int, b: int, c: int, d: int) -> tuple[int, int]:
    above, below = int(a) * int(b), int(c) * int(d)
    if below <= 0 or below >= 1 << _DENOMINATOR_BITS:
        return 0, 0
    excess = above - below
    ratio = abs(excess) * _PPM // below
    ratio = -ratio if excess < 0 else ratio
    return (ratio, 1) if -(1 << 63) <= ratio < 1 << 63 else (0, 2)


@primitive(_plain_excess_ratio)
def excess_ratio_ppm(typingctx, a, b, c, d):  # type: ignore[no-untyped-def]
    """(value, status) of (a*b / (c*d) - 1) * 1e6, toward zero. Status 1: exact; 2: beyond int64, so above
    every limit (value 0); 0: c*d is not in 1 .. 2**106 - 1 (value 0)."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        i64, i128 = ir.IntType(64), ir.IntType(128)
        wide = [builder.sext(arg, i128) for arg in args]
        above, below = builder.mul(wide[0], wide[1]), builder.mul(wide[2], wide[3])
        zero, one = ir.Constant(i128, 0), ir.Constant(i128, 1)
        good = builder.and_(
            builder.icmp_signed(">", below, zero),
            builder.icmp_signed("<", below, ir.Constant(i128, 1 << _DENOMINATOR_BITS)),
        )
        below = builder.select(good, below, one)
        excess = builder.sub(above, below)
        whole = builder.sdiv(excess, below)
        rest = builder.sub(excess, builder.mul(whole, below))
        million = ir.Constant(i128, _PPM)
        part = builder.sdiv(builder.mul(rest, million), below)
        ratio = builder.add(builder.mul(whole, million), part)
        narrow = builder.trunc(ratio, i64)
        small = builder.and_(
            builder.icmp_signed("<", whole, ir.Constant(i128, 1 << 62)),
            builder.icmp_signed(">", whole, ir.Constant(i128, -(1 << 62))),
        )
        fits = builder.and_(small, builder.icmp_signed("==", builder.sext(narrow, i128), ratio))
        status = builder.select(fits, ir.Constant(i64, 1), ir.Constant(i64, 2))
        out = ir.Constant(ir.ArrayType(i64, 2), ir.Undefined)
        value = builder.select(builder.and_(good, fits), narrow, ir.Constant(i64, 0))
        out = builder.insert_value(out, value, 0)
        return builder.insert_value(out, builder.select(good, status, ir.Constant(i64, 0)), 1)

    return types.UniTuple(types.int64, 2)(types.int64, types.int64, types.int64, types.int64), codegen


@kernel
def place_of(levels: Words, side: int, count: int, price: int) -> int:
    """Where `price` is, or would be inserted, among the first `count` levels of a side."""
    low = 0
    high = count
    while low < high:
        middle = (low + high) // 2
        held = levels[side, middle, 0]
        before = held < price if side == BIDS else held > price
        if before:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def set_level(levels: Words, side: int, count: int, price: int, size: int) -> int:
    """Set a level, or delete it with size 0 (a level that is not there is no fault): the new count, or -1
    if there is no room."""
    at = place_of(levels, side, count, price)
    known = at < count and levels[side, at, 0] == price
    if size == 0:
        if not known:
            return count
        for i in range(at, count - 1):
            levels[side, i, 0] = levels[side, i + 1, 0]
            levels[side, i, 1] = levels[side, i + 1, 1]
        return count - 1
    if known:
        levels[side, at, 1] = size
        return count
    if count == levels.shape[1]:
        return -1
    for i in range(count, at, -1):
        levels[side, i, 0] = levels[side, i - 1, 0]
        levels[side, i, 1] = levels[side, i - 1, 1]
    levels[side, at, 0] = price
    levels[side, at, 1] = size
    return count + 1


@kernel
def _set_levels(levels: Words, book: Record, rows: Words) -> int:
    for i in range(rows.shape[0]):
        side, price, size = rows[i, 0], rows[i, 1], rows[i, 2]
        if (side != BIDS and side != ASKS) or price <= 0 or size < 0:
            book["state"] = LOST
            return BAD_LEVEL
        count = set_level(levels, side, book["bids"] if side == BIDS else book["asks"], price, size)
        if count < 0:
            book["state"] = LOST
            return BOOK_FULL
        if side == BIDS:
            book["bids"] = count
        else:
            book["asks"] = count
    return APPLIED


@kernel
def apply_snapshot(levels: Words, book: Record, rows: Words, update_id: int) -> int:
    """Replace the book by rows: int64[n, 3] of (side, price, size), as of `update_id`. A status; a book that
    could not take a row is LOST."""
    book["bids"] = 0
    book["asks"] = 0
    book["update_id"] = update_id
    book["state"] = FROM_SNAPSHOT
    return _set_levels(levels, book, rows)


@kernel
def apply_update(
    levels: Words, book: Record, rows: Words, first_id: int, last_id: int, previous_id: int
) -> int:
    """Apply rows: int64[n, 3] of (side, price, size), size 0 deletes, by Binance's rule (U, u, pu).

    The first update after a snapshot must reach it (U <= id <= u) or follow it (pu = id); every later one
    names the one before (pu = its u). Returns a status: OLD leaves the book as it is; after GAP, BAD_LEVEL
    or BOOK_FULL it is LOST.
    """
    if book["state"] == LOST:
        return NO_SNAPSHOT
    at = book["update_id"]
    if last_id < at or (book["state"] == RUNNING and last_id == at):
        return OLD
    follows = previous_id == at
    reaches = book["state"] == FROM_SNAPSHOT and first_id <= at
    if not follows and not reaches:
        book["state"] = LOST
        return GAP
    book["update_id"] = last_id
    book["state"] = RUNNING
    return _set_levels(levels, book, rows)


@kernel
def best(levels: Words, book: Record) -> tuple[int, int, int, int]:
    """(bid, its size, ask, its size); 0, 0 for an empty side."""
    bids, asks = book["bids"], book["asks"]
    bid, bid_size, ask, ask_size = 0, 0, 0, 0
    if bids > 0:
        bid, bid_size = levels[BIDS, bids - 1, 0], levels[BIDS, bids - 1, 1]
    if asks > 0:
        ask, ask_size = levels[ASKS, asks - 1, 0], levels[ASKS, asks - 1, 1]
    return bid, bid_size, ask, ask_size


@kernel
def quote_of_level(price: int, size: int, exponent: int) -> tuple[int, int]:
    """(price * size * 10**exponent toward zero, ok). price, size >= 0; -18 <= exponent <= 18."""
    if exponent < 0:
        quote, _, ok = mul_add_divmod(price, size, 0, power10(-exponent))
        return quote, ok
    quote, _, ok = mul_add_divmod(price, size, 0, 1)
    if ok == 0:
        return 0, 0
    quote, _, ok = mul_add_divmod(quote, power10(exponent), 0, 1)
    return quote, ok


@kernel
def walk(
    levels: Words, side: int, count: int, notional: int, exponent: int
) -> tuple[int, int, int, int, int]:
    """Consume `notional` > 0 quote units from the best level on: (status, size of the levels taken whole,
    place of the last level, quote still to take there, quote of that level)."""
    whole = 0
    rest = notional
    for at in range(count - 1, -1, -1):
        quote, ok = quote_of_level(levels[side, at, 0], levels[side, at, 1], exponent)
        if ok == 0:
            return REFUSED, 0, 0, 0, 0
        if rest <= quote:
            return PRICED, whole, at, rest, quote
        rest -= quote
        whole, ok = add_checked(whole, levels[side, at, 1])
        if ok == 0:
            return REFUSED, 0, 0, 0, 0
    return SHORT, 0, 0, 0, 0


@kernel
def impact_price(levels: Words, book: Record, side: int, notional: int, size_up: int) -> tuple[int, int]:
    """(price, status): the average at which `notional` (price units times size units) trades against a side.

    Nearest price unit, ties to even. `size_up` = 1 first rounds the traded size up to a whole unit, as
    dYdX does; 0 keeps it exact. A notional of 0 is the best price.
    """
    count = book["bids"] if side == BIDS else book["asks"]
    if count == 0:
        return 0, SHORT
    if notional < 0:
        return 0, REFUSED
    if notional == 0:
        return levels[side, count - 1, 0], PRICED
    status, whole, at, rest, _ = walk(levels, side, count, notional, 0)
    if status != PRICED:
        return 0, status
    price = levels[side, at, 0]
    if size_up == 1:
        rest, _ = mul_div_ceil(rest, 1, price)
        price = 1
    traded, _, ok = mul_add_divmod(whole, price, rest, 1)
    if ok == 0:
        return 0, REFUSED
    value, ok = mul_div_half_even(notional, price, traded)
    return value, PRICED if ok == 1 else REFUSED


@kernel
def book_premium_ppm(
    levels: Words, book: Record, index: int, notional: int, exponent: int, limit_ppm: int
) -> tuple[int, int]:
    """(premium in ppm, ok) of a book over `index` as dYdX defines it, within +-limit_ppm. ok = 0: refused.

    Quote of a level = trunc(price * size * 10**exponent). Bids count if they are above the index, else asks
    if they are below it; the impact price is notional / (size taken, up to a whole unit, * 10**exponent),
    exact; (impact / index - 1) * 1e6 toward zero. A side that is too short, or an impact price on the wrong
    side of the index, gives 0; a notional of 0 takes the best price. Source: protocol/x/clob/memclob of
    dydxprotocol/v4-chain.
    """
    if index <= 0 or notional < 0 or limit_ppm < 0 or exponent < -18 or exponent > 18:
        return 0, 0
    bid, _, ask, _ = best(levels, book)
    if bid > index:
        side, count, sign, price = BIDS, book["bids"], 1, bid
    elif 0 < ask < index:
        side, count, sign, price = ASKS, book["asks"], -1, ask
    else:
        return 0, 1
    if notional == 0:
        value, status = excess_ratio_ppm(price, 1, index, 1)
    else:
        status, whole, at, rest, quote = walk(levels, side, count, notional, exponent)
        if status != PRICED:
            return 0, 1 if status == SHORT else 0
        # No more than the level holds, as `rest` is no more than its quote.
        more, _ = mul_div_ceil(rest, levels[side, at, 1], quote)
        size, ok1 = add_checked(whole, more)
        size, _, ok2 = mul_add_divmod(size, power10(max(exponent, 0)), 0, 1)
        if ok1 == 0 or ok2 == 0:
            return 0, 0
        value, status = excess_ratio_ppm(notional, power10(max(-exponent, 0)), size, index)
    if status == 0:
        return 0, 0
    if status == 2:
        return max(0, sign) * limit_ppm, 1
    return sign * min(limit_ppm, max(0, sign * value)), 1


@kernel
def linear_levels(levels: Words, book: Record, numerator: int, out: Words) -> int:
    """Copy the levels with inverse sizes turned linear: size * numerator / price, nearest, ties to even.

    out: as `levels`. Returns 1, or 0 if a size does not fit.
    """
    for side in range(2):
        count = book["bids"] if side == BIDS else book["asks"]
        for i in range(count):
            size, ok = mul_div_half_even(levels[side, i, 1], numerator, levels[side, i, 0])
            if ok == 0:
                return 0
            out[side, i, 0] = levels[side, i, 0]
            out[side, i, 1] = size
    return 1
