"""Rooms kept in step with books that change: which units frames touch, and their rooms taken anew.

For a follower that sweeps by rooms (`room`). A unit is touched when a frame may have changed what its room
depends on: its position or, of a cross account, its free balance or any of its positions. Cross positions
are found by the lists that the books keep (`slots.Links`), so that one touch costs one account's positions.
As many as fit are listed, to be dealt with at once; of the others only a mark is kept, and whoever has no time
for all goes on through the marks another time (`take_slots`, `take_accounts`).
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
from kernels.room import BLOCK, MOVE_MAX, Rooms, account_room, move_markets, position_room
from kernels.slots import Links, find_position, list_linked
from kernels.sweep import FLAG_FAULT, FLAG_LIQUIDATABLE, account_margin, unit_flags
from kernels.types import Rows, Words, wide

POSITIONS, ACCOUNTS = 0, 1
MORE = 2
"""counts[MORE + which]: of marked units, how many are not listed."""
AHEAD = 16
"""How many touched positions ahead memory is asked for."""
_TRANSFER, _SETTING = int(Template.TRANSFER), int(Template.SETTING)


class Touched(NamedTuple):
    """Units touched since their rooms were taken. marks: int8, 1 of all of them. counts: int64[4], how many slots
    and accounts are listed, then how many are marked and not listed."""

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
        zeros(4, np.int64),
    )


def new_members() -> Words:
    """Scratch for the cross positions of one account: one in each market at most."""
    return np.zeros(MAX_MARKETS, np.int64)


@kernel
def note(units: Words, marks: NDArray[np.int8], counts: Words, which: int, unit: int) -> None:
    """Mark a unit, and list it as long as there is room."""
    if wide(marks[unit]) != 0:
        return
    marks[unit] = 1
    count = counts[which]
    if count < units.shape[0]:
        units[count] = unit
        counts[which] = count + 1
    else:
        counts[MORE + which] += 1


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
    below upto[1], of the others at `former`. members: `new_members`. What is marked only stays so."""
    count = touched.counts[POSITIONS]
    for k in range(count):
        prefetch(positions, touched.slots[min(k + AHEAD, count - 1)])
        slot = touched.slots[k]
        rows = anchor if slot < upto[POSITIONS] else former
        rooms[slot] = position_room(positions[slot], rows, tiers, tier_at)
        touched.slot_marks[slot] = 0
    for k in range(touched.counts[ACCOUNTS]):
        account = touched.accounts[k]
        count = list_linked(first, following, account, members)
        rows = anchor if account < upto[ACCOUNTS] else former
        account_rooms[account] = account_room(
            accounts[account]["free_e6"], positions, members, 0, count, rows, tiers, tier_at
        )
        touched.account_marks[account] = 0
    touched.counts[POSITIONS] = 0
    touched.counts[ACCOUNTS] = 0


@kernel
def touch_all(
    slots: int,
    accounts: int,
    known_slots: Words,
    known_accounts: Words,
    touched: Touched,
) -> None:
    """Mark slots 0..slots-1 and accounts 0..accounts-1, whatever was touched before.

    The known ones, each once and below those, are listed as far as there is room: they come first.
    """
    touched.counts[:] = 0
    touched.slot_marks[:] = 0
    touched.account_marks[:] = 0
    for slot in known_slots:
        note(touched.slots, touched.slot_marks, touched.counts, POSITIONS, slot)
    for account in known_accounts:
        note(touched.accounts, touched.account_marks, touched.counts, ACCOUNTS, account)
    touched.slot_marks[:slots] = 1
    touched.account_marks[:accounts] = 1
    touched.counts[MORE + POSITIONS] = slots - touched.counts[POSITIONS]
    touched.counts[MORE + ACCOUNTS] = accounts - touched.counts[ACCOUNTS]


@kernel
def next_marked(marks: NDArray[np.int8], start: int, stop: int) -> int:
    """The first marked unit of start..stop-1, or stop. A block without one costs one comparison of many units."""
    for block in range(start, stop, BLOCK):
        end = min(block + BLOCK, stop)
        some = np.int8(0)
        # An unsigned index is not tested for counting from the end, so that the loop becomes vectors.
        for u in range(block, end):
            some |= marks[np.uint64(u)]
        if some != 0:
            for u in range(block, end):
                if wide(marks[u]) != 0:
                    return u
    return stop


@kernel
def take_slots(
    touched: Touched,
    start: int,
    stop: int,
    most: int,
    positions: Rows,
    anchor: Rows,
    former: Rows,
    upto: Words,
    tiers: Rows,
    tier_at: Words,
    rooms: Rooms,
) -> tuple[int, int]:
    """Take the rooms of at most so many marked slots of start..stop-1 and unmark them: at `anchor` of those below
    upto[0], else at `former`. (slot to go on from, how many). Lists are empty.
    """
    slot, taken = start, 0
    while taken < most:
        # Marks mostly lie side by side or far apart: look at the next one before at blocks.
        if slot < stop and wide(touched.slot_marks[slot]) == 0:
            slot = next_marked(touched.slot_marks, slot, stop)
        if slot >= stop:
            break
        rows = anchor if slot < upto[POSITIONS] else former
        rooms[slot] = position_room(positions[slot], rows, tiers, tier_at)
        touched.slot_marks[slot] = 0
        slot += 1
        taken += 1
    touched.counts[MORE + POSITIONS] -= taken
    return slot, taken


@kernel
def take_accounts(
    touched: Touched,
    start: int,
    stop: int,
    most: int,
    accounts: Rows,
    positions: Rows,
    first: Links,
    following: Links,
    members: Words,
    anchor: Rows,
    former: Rows,
    upto: Words,
    tiers: Rows,
    tier_at: Words,
    rooms: Rooms,
) -> tuple[int, int]:
    """The same of accounts."""
    account, taken = start, 0
    while taken < most:
        if account < stop and wide(touched.account_marks[account]) == 0:
            account = next_marked(touched.account_marks, account, stop)
        if account >= stop:
            break
        rows = anchor if account < upto[ACCOUNTS] else former
        held = list_linked(first, following, account, members)
        free_e6 = accounts[account]["free_e6"]
        rooms[account] = account_room(free_e6, positions, members, 0, held, rows, tiers, tier_at)
        touched.account_marks[account] = 0
        account += 1
        taken += 1
    touched.counts[MORE + ACCOUNTS] -= taken
    return account, taken


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
