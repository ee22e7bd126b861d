"""The incremental sweep: margin of those only whom a move can have reached.

Every margin unit (see `sweep`) keeps its *room*: the relative move, of all its markets at once and in
whichever direction hurts, that it stands since the anchor (one RISK row per market, kept from an earlier
tick). A market's move counts its price, the funding index and a raised maintenance floor. Room rounds down
and moves round up, so this sweep names the same units as the full one. Room depends on the unit and the
anchor only: it is taken anew whenever the unit is touched (fill, transfer, setting), and for all when the
anchor or the tiers change. Room and moves are in 1e-9.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from kernels.book import within
from kernels.int128 import add_checked, mul_div_ceil, mul_div_floor
from kernels.jit import kernel
from kernels.margin import PRICE_WIDE, RATE_ONE, held_tier, position_margin, tier_rate_e12
from kernels.narrow import share_up
from kernels.slots import Links, list_linked
from kernels.sweep import FLAG_FAULT, FLAG_LIQUIDATABLE, account_margin, unit_flags
from kernels.types import Record, Rows, Words, at, wide

ROOM_ONE = 1_000_000_000
MOVE_MAX = 2_147_483_647
ROOM_MAX = MOVE_MAX - 1
ROOM_NEVER = MOVE_MAX
"""Of what cannot be liquidated, and of cross positions in the positions' column: no move exceeds it."""
ROOM_NONE = -1
"""Of what must be looked at on every tick: even no move at all exceeds it."""
ROUNDING_SLACK_E6 = 4
"""What rounding may take from one position's surplus between anchor and now: settled cash and worth down,
notional and maintenance up."""
BLOCK = 256

Rooms: TypeAlias = NDArray[np.int32]


@kernel
def move_e9(anchor: Record, now: Record) -> int:
    """How far a market has moved since the anchor, in 1e-9 of the anchor's mark, up, at most MOVE_MAX.

    |price move| + |funding per lot| + what a raised floor asks at the new price: each costs a position at
    most its notional at the anchor times as much.
    """
    mark = anchor["mark"]
    if mark <= 0 or now["mark"] <= 0 or now["mark"] > PRICE_WIDE:
        return MOVE_MAX
    if within(anchor["index_e6"]) + within(now["index_e6"]) < 2:
        return MOVE_MAX
    step = abs(now["mark"] - mark)
    price, ok1 = mul_div_ceil(step, ROOM_ONE, mark)
    funding, ok2 = mul_div_ceil(abs(now["index_e6"] - anchor["index_e6"]), ROOM_ONE // 1_000_000, mark)
    raised = max(0, now["floor_e12"] - anchor["floor_e12"])
    floor, ok3 = mul_div_ceil(
        (raised + RATE_ONE // ROOM_ONE - 1) // (RATE_ONE // ROOM_ONE), mark + step, mark
    )
    if ok1 == 0 or ok2 == 0 or ok3 == 0:
        return MOVE_MAX
    return min(MOVE_MAX, min(price, MOVE_MAX) + min(funding, MOVE_MAX) + min(floor, MOVE_MAX))


@kernel
def move_markets(anchor: Rows, risk: Rows, count: int, moves: Words) -> int:
    """moves[m] = `move_e9` of markets 0..count-1; the widest of them."""
    widest = 0
    for m in range(count):
        moves[m] = move_e9(anchor[m], risk[m])
        widest = max(widest, moves[m])
    return widest


@kernel
def top_rate_e12(tiers: Rows, top: int, floor_e12: int) -> int:
    """The highest maintenance rate that any slice of a position of tier `top` can meet."""
    if top < 0:
        return RATE_ONE
    rate = floor_e12
    for k in range(top + 1):
        rate = max(rate, tier_rate_e12(tiers, k, 0))
    return min(rate, RATE_ONE)


@kernel
def exposure(position: Record, row: Record, tiers: Rows, tier_at: Words) -> tuple[int, int, int]:
    """(surplus, weight, ok) at the anchor: equity - maintenance less what rounding may take, and what a
    move of 1 would cost: notional · (1 + highest rate), up."""
    equity, maintenance, notional, ok = position_margin(position, row, tiers, tier_at)
    if ok == 0:
        return 0, 0, 0
    leverage = wide(position["leverage"])
    top = held_tier(tiers, leverage if leverage > 0 else row["leverage"])
    weight = notional + share_up(notional, top_rate_e12(tiers, top, row["floor_e12"]))
    return equity - maintenance - ROUNDING_SLACK_E6, weight, 1


@kernel
def room_of(surplus: int, weight: int) -> int:
    """Room of a unit, down: 0..ROOM_MAX, ROOM_NONE below 0. weight > 0."""
    if surplus < 0:
        return ROOM_NONE
    room, ok = mul_div_floor(surplus, ROOM_ONE, weight)
    return min(room, ROOM_MAX) if ok == 1 else ROOM_MAX


@kernel
def position_room(position: Record, anchor: Rows, tiers: Rows, tier_at: Words) -> int:
    """Room of an isolated position; ROOM_NEVER of a cross or an empty one."""
    if wide(position["mode"]) != 0:
        return ROOM_NEVER
    surplus, weight, ok = exposure(position, anchor[wide(position["market"])], tiers, tier_at)
    if ok == 1 and position["size"] == 0:
        return ROOM_NEVER
    return room_of(surplus, weight) if ok == 1 and weight > 0 else ROOM_NONE


@kernel
def account_room(
    free_e6: int,
    positions: Rows,
    members: Words,
    begin: int,
    end: int,
    anchor: Rows,
    tiers: Rows,
    tier_at: Words,
) -> int:
    """Room of a cross account; ROOM_NEVER where it holds nothing."""
    surplus, weight, held = free_e6, 0, 0
    for k in range(begin, end):
        position = positions[members[k]]
        own, heavy, ok = exposure(position, anchor[wide(position["market"])], tiers, tier_at)
        held += position["size"] != 0
        surplus, ok1 = add_checked(surplus, own)
        weight, ok2 = add_checked(weight, heavy)
        if ok == 0 or ok1 == 0 or ok2 == 0:
            return ROOM_NONE
    if held == 0:
        return ROOM_NEVER
    return room_of(surplus, weight) if weight > 0 else ROOM_NONE


@kernel
def anchor_positions(
    positions: Rows, start: int, stop: int, anchor: Rows, tiers: Rows, tier_at: Words, rooms: Rooms
) -> None:
    """rooms[slot] = `position_room` of positions start..stop-1. rooms: int32."""
    for slot in range(start, stop):
        rooms[slot] = position_room(positions[slot], anchor, tiers, tier_at)


@kernel
def anchor_accounts(
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
    """rooms[a] = `account_room` of accounts start..stop-1, by the books' own lists of their cross positions.

    rooms: int32; members: int64, scratch for as many as one account can have.
    """
    for a in range(start, stop):
        count = list_linked(first, following, a, members)
        rooms[a] = account_room(accounts[a]["free_e6"], positions, members, 0, count, anchor, tiers, tier_at)


@kernel
def out_of_room(rooms: Rooms, start: int, stop: int, widest_e9: int, out: Words) -> int:
    """Write every unit in start..stop-1 with less room than the widest move to `out`, in order; how many.

    out: int64, as long as there are units. Blocks without one, nearly all, cost one comparison a unit.
    """
    found = 0
    # In 32 bits, so that a comparison takes 16 units at once.
    widest = np.int32(widest_e9)
    for block in range(start, stop, BLOCK):
        end = min(block + BLOCK, stop)
        # An unsigned index is not tested for counting from the end, so that the loop becomes vectors.
        least = widest
        for u in range(block, end):
            least = min(least, rooms[np.uint64(u)])
        if least < widest:
            for u in range(block, end):
                if rooms[u] < widest:
                    out[found] = u
                    found += 1
    return found


@kernel
def recheck_positions(
    found: Words,
    count: int,
    positions: Rows,
    risk: Rows,
    moves: Words,
    rooms: Rooms,
    tiers: Rows,
    tier_at: Words,
) -> int:
    """Keep in found[:count] the isolated positions that are liquidatable or at fault; how many.

    One whose own market moved less than its room is passed over without being valued. So is one that has become
    a cross position since its room was taken.
    """
    kept = 0
    for k in range(count):
        slot = found[k]
        position = positions[slot]
        market = wide(position["market"])
        if wide(rooms[slot]) >= moves[market] or wide(position["mode"]) != 0:
            continue
        equity, maintenance, _, ok = position_margin(position, risk[market], tiers, tier_at)
        if unit_flags(equity, maintenance, ok) & (FLAG_LIQUIDATABLE | FLAG_FAULT) != 0:
            found[kept] = slot
            kept += 1
    return kept


@kernel
def recheck_accounts(
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
    """Keep in found[:count] the accounts whose cross side is liquidatable or at fault; how many.

    One of whose markets none moved as far as its room is passed over. Lists as in `anchor_accounts`.
    """
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
