"""Open-addressed hash tables: (account, market) → position slot, key → account number.

A table is int64[2**k], -1 where free, at most half full. It is never part of the state's digest: it can be
rebuilt from what it indexes. A position's entry holds the slot in its low 32 bits and 31 bits of its hash
above them, so that a probe that meets another position need not touch that one's cache line.

An account's own row tells where the positions of its first markets are: most fills need no table.
Beside the tables, and as little part of the digest, lies a list of each account's cross positions, in any order.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from kernels.jit import kernel, primitive
from kernels.types import Record, Rows, Words, at, wide

EMPTY = -1
NEAR_BITS = 5
NEAR_SLOTS = (1 << (31 - NEAR_BITS)) - 1
SLOT_MASK = 0xFFFFFFFF

Words32: TypeAlias = NDArray[np.int32]
Links: TypeAlias = NDArray[np.int32]
"""Lists of position slots, one for each account: a slot + 1, or 0 at the end. Zeros are empty lists."""


def _plain_mix(a: int, b: int) -> int:
    mask = 0xFFFFFFFFFFFFFFFF
    x = (int(a) * 0x9E3779B97F4A7C15 + int(b) * 0xC2B2AE3D27D4EB4F) & mask
    x ^= x >> 32
    x = (x * 0xD6E8FEB86659FD93) & mask
    x ^= x >> 32
    return x >> 1


@primitive(_plain_mix)
def mix(typingctx, a, b):  # type: ignore[no-untyped-def]
    """Hash of two int64 in 0 .. 2**63 - 1, by wrapping 64-bit products."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        i64 = ir.IntType(64)

        def const(value):  # type: ignore[no-untyped-def]
            return ir.Constant(i64, value)

        x = builder.add(
            builder.mul(args[0], const(0x9E3779B97F4A7C15)), builder.mul(args[1], const(0xC2B2AE3D27D4EB4F))
        )
        x = builder.xor(x, builder.lshr(x, const(32)))
        x = builder.mul(x, const(0xD6E8FEB86659FD93))
        x = builder.xor(x, builder.lshr(x, const(32)))
        return builder.lshr(x, const(1))

    return types.int64(types.int64, types.int64), codegen


@kernel
def slot_of(entry: int) -> int:
    """The position slot in a table's entry that is not EMPTY."""
    return entry & SLOT_MASK


@kernel
def find_position(table: Words, positions: Rows, account: int, market: int) -> int:
    """Slot of (account, market), or -1. positions: POSITION[n]."""
    mask = table.shape[0] - 1
    hashed = mix(account, market)
    spot = hashed & mask
    while True:
        entry = table[spot]
        if entry == EMPTY:
            return EMPTY
        if entry >> 32 == hashed >> 32:
            slot = slot_of(entry)
            if wide(positions[slot]["account"]) == account and wide(positions[slot]["market"]) == market:
                return slot
        spot = (spot + 1) & mask


def _plain_holder_of(position: Record) -> int:
    return int.from_bytes(position.tobytes()[:8], "little", signed=True)


@primitive(_plain_holder_of)
def holder_of(typingctx, position):  # type: ignore[no-untyped-def]
    """The first word of a POSITION: account | market << 32, and above that mode and flags, zero of a plain one."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.load(builder.bitcast(args[0], ir.IntType(64).as_pointer()))

    return types.int64(position), codegen


@kernel
def near_position(near: Words32, account: int, market: int) -> int:
    """Slot of (account, market) if the account's own line tells it, else -1. near: the ACCOUNT rows as int32[].

    Of an account's markets with the same low bits the first has the entry: slot + 1, and the market's other
    bits below it. A zero is no entry. No entry is ever changed.
    market: 0 .. 255; of any other the answer means nothing.
    """
    entry = wide(near[at(16 * account + 8 + (market & 7))]) ^ (market >> 3)
    return (entry >> NEAR_BITS) - 1 if entry & ((1 << NEAR_BITS) - 1) == 0 else EMPTY


@kernel
def note_near(near: Words32, account: int, market: int, slot: int) -> None:
    """Enter a new position into its account's line, where there is room."""
    k = 16 * account + 8 + (market & 7)
    if near[k] == 0 and slot < NEAR_SLOTS:
        near[k] = ((slot + 1) << NEAR_BITS) | (market >> 3)


@kernel
def insert_position(table: Words, positions: Rows, slot: int) -> None:
    """Index position `slot`, which must not be indexed yet."""
    mask = table.shape[0] - 1
    hashed = mix(wide(positions[slot]["account"]), wide(positions[slot]["market"]))
    spot = hashed & mask
    while table[spot] != EMPTY:
        spot = (spot + 1) & mask
    table[spot] = (hashed >> 32 << 32) | slot


@kernel
def find_account(table: Words, keys: Rows, key0: int, key1: int, key2: int, key3: int) -> int:
    """Number of the account with this key, or -1. keys: KEY[n]."""
    mask = table.shape[0] - 1
    spot = mix(key3 ^ key2, key1 ^ key0) & mask
    while True:
        n = table[spot]
        if n == EMPTY:
            return EMPTY
        row = keys[n]
        if row["key0"] == key0 and row["key1"] == key1 and row["key2"] == key2 and row["key3"] == key3:
            return n
        spot = (spot + 1) & mask


@kernel
def insert_account(table: Words, keys: Rows, n: int) -> None:
    """Index account `n`, which must not be indexed yet."""
    mask = table.shape[0] - 1
    row = keys[n]
    spot = mix(row["key3"] ^ row["key2"], row["key1"] ^ row["key0"]) & mask
    while table[spot] != EMPTY:
        spot = (spot + 1) & mask
    table[spot] = n


@kernel
def index_positions(table: Words, positions: Rows, count: int) -> None:
    """Clear `table` and index positions 0..count-1."""
    table[:] = EMPTY
    for slot in range(count):
        insert_position(table, positions, slot)


@kernel
def index_accounts(table: Words, keys: Rows, count: int) -> None:
    """Clear `table` and index accounts 0..count-1."""
    table[:] = EMPTY
    for n in range(count):
        insert_account(table, keys, n)


@kernel
def link_position(first: Links, following: Links, account: int, slot: int) -> None:
    """Put `slot`, which must be in no list, at the head of the account's. following: int32[positions]."""
    following[slot] = first[account]
    first[account] = slot + 1


@kernel
def unlink_position(first: Links, following: Links, account: int, slot: int) -> None:
    """Take `slot` out of the account's list, if it is there."""
    before, spot = -1, wide(first[account]) - 1
    while spot >= 0 and spot != slot:
        before, spot = spot, wide(following[spot]) - 1
    if spot < 0:
        return
    if before < 0:
        first[account] = following[slot]
    else:
        following[before] = following[slot]
    following[slot] = 0


@kernel
def index_cross(first: Links, following: Links, positions: Rows, count: int) -> None:
    """List the cross positions among 0..count-1. Both arrays must be zeros."""
    for slot in range(count):
        if wide(positions[slot]["mode"]) != 0:
            link_position(first, following, wide(positions[slot]["account"]), slot)


@kernel
def list_linked(first: Links, following: Links, account: int, members: Words) -> int:
    """Write the slots of an account's cross positions to `members`; how many."""
    count, slot = 0, wide(first[account]) - 1
    while slot >= 0:
        members[count] = slot
        count += 1
        slot = wide(following[slot]) - 1
    return count
