"""Rooms kept in step with books that change: which units frames touch, and their rooms taken anew.

For a follower that sweeps by rooms (`room`). A unit is touched when a frame may have changed what its room
depends on: its position or, of a cross account, its free balance or any of its positions. Cross positions
are found by the lists that the books keep (`slots.Links`), so that one touch costs one account's positions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.frames import Template
from kernels.jit import kernel
from kernels.layouts import ACCOUNT_CROSS, MAX_MARKETS
from kernels.margin import ratio_e6
from kernels.prefetch import prefetch
from kernels.room import MOVE_MAX, Rooms, account_room, move_markets, position_room
from kernels.slots import Links, find_position
from kernels.sweep import FLAG_FAULT, FLAG_LIQUIDATABLE, account_margin, unit_flags
from kernels.types import Rows, Words, at, wide

POSITIONS, ACCOUNTS = 0, 1
AHEAD = 16
"""How many touched positions ahead memory is asked for."""
_TRANSFER, _SETTING = int(Template.TRANSFER), int(Template.SETTING)


class Touched(NamedTuple):
    """Units touched since their rooms were taken. counts: int64[2], of slots and accounts listed; where a count
    is its list's length, more may have been touched than are listed. marks: int8, 1 of what is listed."""

    slots: Words
    slot_marks: NDArray[np.int8]
    accounts: Words
    account_marks: NDArray[np.int8]
    counts: Words


def new_touched(slots: int, accounts: int, listed: int) -> Touched:
    """Nothing touched, of so many slots and accounts; lists of `listed` each."""
    zeros = np.zeros
    return Touched(
        zeros(listed, np.int64),
        zeros(slots, np.int8),
        zeros(listed, np.int64),
        zeros(accounts, np.int8),
        zeros(2, np.int64),
    )


def new_members() -> Words:
    """Scratch for the cross positions of one account: one in each market at most."""
    return np.zeros(MAX_MARKETS, np.int64)


@kernel
def note(units: Words, marks: NDArray[np.int8], counts: Words, which: int, unit: int) -> None:
    """List a unit once, as long as there is room."""
    count = counts[which]
    if wide(marks[unit]) == 0 and count < units.shape[0]:
        marks[unit] = 1
        units[count] = unit
        counts[which] = count + 1


@kernel
def touch_pair(
    account: int,
    market: int,
    table: Words,
    positions: Rows,
    accounts: Rows,
    in_use: int,
    always: int,
    touched: Touched,
) -> None:
    """An account, if it has cross positions or `always` is 1, and its position in a market, if it has one.

    Numbers that are no account's (in_use: how many there are) or no market's touch nothing.
    """
    if account < 0 or account >= in_use:
        return
    if always == 1 or wide(accounts[account]["flags"]) & ACCOUNT_CROSS != 0:
        note(touched.accounts, touched.account_marks, touched.counts, ACCOUNTS, account)
    if market < 0 or market >= MAX_MARKETS:
        return
    slot = find_position(table, positions, account, market)
    if slot >= 0:
        note(touched.slots, touched.slot_marks, touched.counts, POSITIONS, slot)


@kernel
def touch_legs(
    legs: Rows,
    count: int,
    table: Words,
    positions: Rows,
    accounts: Rows,
    in_use: int,
    touched: Touched,
) -> None:
    """What LEG rows 0..count-1 changed. Insurance, which covers deficits, is touched by any."""
    for k in range(count):
        leg = legs[k]
        pair = wide(leg["account"]), wide(leg["market"])
        touch_pair(pair[0], pair[1], table, positions, accounts, in_use, 0, touched)
    if count > 0:
        touch_pair(0, -1, table, positions, accounts, in_use, 0, touched)


@kernel
def touch_frames(
    frames: Rows,
    transfers: Rows,
    settings: Rows,
    count: int,
    table: Words,
    positions: Rows,
    accounts: Rows,
    in_use: int,
    touched: Touched,
) -> None:
    """What transfers and settings among frames 0..count-1 may have changed, refused or not.

    frames, transfers, settings: the same frames as FRAME, TRANSFER and SETTING rows. A setting may end an
    account's last cross position, so it touches its account whatever that is now.
    """
    for k in range(count):
        template = wide(frames[k]["template"])
        account = -1
        if template == _TRANSFER:
            account = wide(transfers[k]["account"])
        elif template == _SETTING:
            account = wide(settings[k]["account"])
        if account >= 0:
            market = wide(frames[k]["market"])
            touch_pair(account, market, table, positions, accounts, in_use, 1, touched)


@kernel
def list_linked(first: Links, following: Links, account: int, members: Words) -> int:
    """Write the slots of an account's cross positions to `members`; how many."""
    count, slot = 0, wide(first[account]) - 1
    while slot >= 0:
        members[count] = slot
        count += 1
        slot = wide(following[slot]) - 1
    return count


@kernel
def refresh_rooms(
    touched: Touched,
    positions: Rows,
    accounts: Rows,
    first: Links,
    following: Links,
    members: Words,
    anchor: Rows,
    former: Rows,
    upto: Words,
    tiers: Rows,
    tier_at: Words,
    rooms: Rooms,
    account_rooms: Rooms,
) -> None:
    """Take the rooms of what is listed anew and empty the lists: at `anchor` of slots below upto[0] and accounts
    below upto[1], of the others at `former`. members: `new_members`."""
    count = touched.counts[POSITIONS]
    for k in range(count):
        prefetch(positions, touched.slots[min(k + AHEAD, count - 1)])
        slot = touched.slots[k]
        rows = anchor if slot < upto[POSITIONS] else former
        rooms[slot] = position_room(positions[slot], rows, tiers, tier_at)
    for k in range(touched.counts[ACCOUNTS]):
        account = touched.accounts[k]
        count = list_linked(first, following, account, members)
        rows = anchor if account < upto[ACCOUNTS] else former
        account_rooms[account] = account_room(
            accounts[account]["free_e6"], positions, members, 0, count, rows, tiers, tier_at
        )
    forget(touched)


@kernel
def anchor_linked(
    accounts: Rows,
    start: int,
    stop: int,
    positions: Rows,
    first: Links,
    following: Links,
    members: Words,
    anchor: Rows,
    tiers: Rows,
    tier_at: Words,
    rooms: Rooms,
) -> None:
    """`room.anchor_accounts` by the books' own lists: rooms[a] of accounts start..stop-1."""
    for a in range(start, stop):
        count = list_linked(first, following, a, members)
        rooms[a] = account_room(accounts[a]["free_e6"], positions, members, 0, count, anchor, tiers, tier_at)


@kernel
def sweep_linked(
    accounts: Rows,
    start: int,
    stop: int,
    positions: Rows,
    first: Links,
    following: Links,
    members: Words,
    risk: Rows,
    tiers: Rows,
    tier_at: Words,
    ratios_e6: Words,
    flags: NDArray[np.int8],
) -> int:
    """`sweep.sweep_accounts` by the books' own lists, of accounts start..stop-1; how many are marked."""
    marked = 0
    for a in range(start, stop):
        held = list_linked(first, following, a, members)
        free_e6 = accounts[a]["free_e6"]
        equity, need, ok = account_margin(free_e6, positions, members, 0, held, risk, tiers, tier_at)
        flag = unit_flags(equity, need, ok)
        ratios_e6[a], flags[a] = ratio_e6(equity, need), flag
        marked += flag & (FLAG_LIQUIDATABLE | FLAG_FAULT) != 0
    return marked


@kernel
def forget(touched: Touched) -> None:
    """Empty the lists, all rooms having been taken anew."""
    for k in range(touched.counts[POSITIONS]):
        touched.slot_marks[touched.slots[k]] = 0
    for k in range(touched.counts[ACCOUNTS]):
        touched.account_marks[touched.accounts[k]] = 0
    touched.counts[POSITIONS] = 0
    touched.counts[ACCOUNTS] = 0


@kernel
def widest_move(anchor: Rows, risk: Rows, count: int, moves: Words) -> int:
    """`room.move_markets`, but for markets that could not be valued then nor can now: they have not moved.

    Their units have no room at all, so they are met anyway; without this they would drag in all others.
    A market whose leverage for those that set none is another since has moved MOVE_MAX: no room counts there.
    """
    move_markets(anchor, risk, count, moves)
    widest = 0
    for m in range(count):
        if anchor[m]["mark"] < 0 and risk[m]["mark"] < 0:
            moves[m] = 0
        if anchor[m]["leverage"] != risk[m]["leverage"]:
            moves[m] = MOVE_MAX
        widest = max(widest, moves[m])
    return widest


@kernel
def recheck_linked(
    found: Words,
    count: int,
    accounts: Rows,
    positions: Rows,
    first: Links,
    following: Links,
    members: Words,
    risk: Rows,
    moves: Words,
    rooms: Rooms,
    tiers: Rows,
    tier_at: Words,
) -> int:
    """`room.recheck_accounts` by the books' own lists; how many are kept in found[:count]."""
    kept = 0
    for k in range(count):
        account = found[k]
        held = list_linked(first, following, account, members)
        widest = 0
        for j in range(held):
            widest = max(widest, moves[at(wide(positions[members[j]]["market"]))])
        if wide(rooms[account]) >= widest:
            continue
        free_e6 = accounts[account]["free_e6"]
        equity, need, ok = account_margin(free_e6, positions, members, 0, held, risk, tiers, tier_at)
        if unit_flags(equity, need, ok) & (FLAG_LIQUIDATABLE | FLAG_FAULT) != 0:
            found[kept] = account
            kept += 1
    return kept
