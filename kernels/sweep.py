"""Full sweeps: the margin of every position and account, and the hourly settlement of a whole view.

A margin unit is an isolated position, or an account with all its cross positions (listed by `list_cross`).
RISK, POSITION: rows as in `margin` and `layouts`; risk is indexed by market. For the sweep that looks only
where a price can have done harm, see `room`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.book import within
from kernels.columns import DIVISOR_MOST, inverse_of, lane
from kernels.int128 import add_checked
from kernels.jit import kernel
from kernels.layouts import LIMIT
from kernels.margin import (
    LEVERAGE_MAX,
    RATE_ONE,
    RATIO_MAX_E6,
    RATIO_ONE_E6,
    bare,
    liquidatable,
    notional_of,
    position_margin,
    ratio_e6,
)
from kernels.narrow import divmod_by
from kernels.prefetch import prefetch
from kernels.types import Rows, Words, at, wide

COLUMNS, BLOCK, AHEAD = 10, 64, 512
"""Columns of a block of positions, its positions, and how many positions ahead memory is asked for."""

FLAG_LIQUIDATABLE, FLAG_FAULT, FLAG_CROSS, FLAG_EMPTY = 1, 2, 4, 8
"""Of a unit. FAULT: a number left its bounds, nothing is said of the margin. CROSS: see the account."""


@kernel
def settle_positions(positions: Rows, start: int, stop: int, risk: Rows) -> int:
    """Bring positions start..stop-1 to their market's index_e6, in place: cash, rem and idx. How many could not.

    For a copy of the books; those settle on touch. Same sums as any number of touches on the way
    (`funding.settle`). What cannot is left as it is: its cash or what it is paid lies past +-2**61.
    Sizes and indices are within +-2**61.
    """
    failed = 0
    for slot in range(start, stop):
        position = positions[slot]
        row = risk[wide(position["market"])]
        idx = position["idx"]
        index_e6 = row["index_e6"]
        if idx == index_e6:
            continue
        pay, rem, ok = divmod_by(
            -position["size"],
            index_e6 - idx,
            position["rem"],
            row["scale"],
            row["scale_magic"],
            row["scale_shift"],
        )
        cash = position["cash"]
        # Bounds instead of an exact test for overflow: that one branches on signs, which are random.
        if ok + within(pay) + within(cash) < 3:
            failed += 1
            continue
        position["cash"] = cash + pay
        position["rem"] = rem
        position["idx"] = index_e6
    return failed


@kernel
def unit_flags(equity: int, maintenance: int, ok: int) -> int:
    """FLAG_* of a unit from its margin."""
    if ok == 0:
        return FLAG_FAULT
    if maintenance == 0:
        return FLAG_EMPTY
    return FLAG_LIQUIDATABLE if liquidatable(equity, maintenance) == 1 else 0


class Work(NamedTuple):
    """Columns of a block of positions: int64[COLUMNS * BLOCK] and float64[2 * BLOCK]. See `new_work`."""

    numbers: Words
    inverses: NDArray[np.float64]


def new_work() -> Work:
    """Scratch for `sweep_positions`; one for each thread that sweeps."""
    return Work(np.zeros(COLUMNS * BLOCK, np.int64), np.ones(2 * BLOCK, np.float64))


@kernel
def sweep_one(
    positions: Rows,
    slot: int,
    risk: Rows,
    tiers: Rows,
    tier_at: Words,
    ratios_e6: Words,
    flags: NDArray[np.int8],
) -> None:
    """Value one position, whatever it is."""
    position = positions[slot]
    if wide(position["mode"]) != 0:
        ratios_e6[slot] = RATIO_MAX_E6
        flags[slot] = FLAG_CROSS
        return
    equity, maintenance, _, ok = position_margin(position, risk[wide(position["market"])], tiers, tier_at)
    ratios_e6[slot] = ratio_e6(equity, maintenance)
    flags[slot] = unit_flags(equity, maintenance, ok)


@kernel
def gather(positions: Rows, first: int, count: int, risk: Rows, tier_at: Words, work: Work) -> None:
    """Lay positions first .. first + count - 1 out in columns, those odd that are cross, empty or out of bounds."""
    numbers, inverses = work.numbers, work.inverses
    for i in range(count):
        prefetch(positions, first + i + AHEAD)
        position = positions[at(first + i)]
        row = risk[at(wide(position["market"]))]
        size, cash, idx, index_e6 = position["size"], position["cash"], position["idx"], row["index_e6"]
        near = within(size) & within(cash) & within(idx) & within(index_e6)
        odd = 1 - near if wide(position["mode"]) == 0 and size != 0 and row["mark"] >= 0 else 1
        leverage = wide(position["leverage"])
        if leverage == 0:
            leverage = row["leverage"]
        tier = tier_at[at(min(max(leverage, 1), LEVERAGE_MAX))]
        k = at(i)
        numbers[k] = odd
        numbers[k + at(BLOCK)] = size if odd == 0 else 0
        numbers[k + at(2 * BLOCK)] = cash if odd == 0 else 0
        numbers[k + at(3 * BLOCK)] = index_e6 - idx if odd == 0 else 0
        numbers[k + at(4 * BLOCK)] = position["rem"]
        numbers[k + at(5 * BLOCK)] = row["scale"]
        numbers[k + at(6 * BLOCK)] = row["lot_e6"]
        numbers[k + at(7 * BLOCK)] = row["quote_div"]
        numbers[k + at(8 * BLOCK)] = max(tier[1], row["floor_e12"])
        numbers[k + at(9 * BLOCK)] = tier[3]
        inverses[k] = row["scale_inverse"]
        inverses[k + at(BLOCK)] = row["quote_inverse"]


@kernel
def value_columns(count: int, work: Work, first: int, ratios_e6: Words, flags: NDArray[np.int8]) -> None:
    """Value a block of isolated positions; marks odd what the long way must decide. Without a branch."""
    numbers, inverses = work.numbers, work.inverses
    for i in range(count):
        k = at(i)
        size, cash = numbers[k + at(BLOCK)], numbers[k + at(2 * BLOCK)]
        pay, _, odd1 = lane(
            -size,
            numbers[k + at(3 * BLOCK)],
            numbers[k + at(4 * BLOCK)],
            numbers[k + at(5 * BLOCK)],
            inverses[k],
        )
        worth, rest, odd2 = lane(
            size, numbers[k + at(6 * BLOCK)], 0, numbers[k + at(7 * BLOCK)], inverses[k + at(BLOCK)]
        )
        far = 1 if (bare(pay) | bare(worth)) >= LIMIT else 0
        pay, worth = (pay, worth) if far == 0 else (0, 0)
        notional = notional_of(worth, rest)
        need, left, _ = lane(notional, numbers[k + at(8 * BLOCK)], 0, RATE_ONE, inverse_of(RATE_ONE))
        need += min(left, 1)
        equity = cash + pay + worth
        divisor = min(max(need, 1), DIVISOR_MOST)
        ratio, _, odd3 = lane(equity, RATIO_ONE_E6, 0, divisor, inverse_of(divisor))
        large = 1 if notional > numbers[k + at(9 * BLOCK)] else 0
        numbers[k] |= odd1 | odd2 | odd3 | far | large | (1 if divisor != need else 0)
        ratios_e6[at(first + i)] = ratio
        flags[at(first + i)] = 1 if equity < need else 0


@kernel
def sweep_positions(
    positions: Rows,
    start: int,
    stop: int,
    risk: Rows,
    tiers: Rows,
    tier_at: Words,
    ratios_e6: Words,
    flags: NDArray[np.int8],
    work: Work,
) -> int:
    """Value positions start..stop-1; how many are liquidatable or at fault.

    Writes ratios_e6[slot] (int64, `margin.ratio_e6`) and flags[slot] (int8, FLAG_*). A cross position gets
    FLAG_CROSS and RATIO_MAX_E6: its account decides. work: `new_work`.
    """
    marked = 0
    for first in range(start, stop, BLOCK):
        count = min(BLOCK, stop - first)
        gather(positions, first, count, risk, tier_at, work)
        value_columns(count, work, first, ratios_e6, flags)
        for i in range(count):
            if work.numbers[at(i)] != 0:
                sweep_one(positions, first + i, risk, tiers, tier_at, ratios_e6, flags)
            marked += wide(flags[at(first + i)]) & (FLAG_LIQUIDATABLE | FLAG_FAULT) != 0
    return marked


@kernel
def list_cross(positions: Rows, count: int, accounts: int, first: Words, members: Words) -> int:
    """List the cross positions of each account, by slot: members[first[a]:first[a + 1]]. How many in all.

    first: int64[accounts + 1]; members: int64, at least as long as there are cross positions.
    """
    for a in range(accounts + 1):
        first[a] = 0
    for slot in range(count):
        if wide(positions[slot]["mode"]) != 0:
            first[wide(positions[slot]["account"]) + 1] += 1
    for a in range(accounts):
        first[a + 1] += first[a]
    total = first[accounts]
    for slot in range(count - 1, -1, -1):
        if wide(positions[slot]["mode"]) != 0:
            account = wide(positions[slot]["account"])
            first[account + 1] -= 1
            members[first[account + 1]] = slot
    # Each first[a + 1] has come down to where account a begins: move them one to the left.
    for a in range(accounts):
        first[a] = first[a + 1]
    first[accounts] = total
    return total


@kernel
def account_margin(
    free_e6: int,
    positions: Rows,
    members: Words,
    begin: int,
    end: int,
    risk: Rows,
    tiers: Rows,
    tier_at: Words,
) -> tuple[int, int, int]:
    """(equity, maintenance, ok) of a cross account: free + its positions' equity, and their maintenance."""
    equity, maintenance = free_e6, 0
    for k in range(begin, end):
        position = positions[members[k]]
        row = risk[wide(position["market"])]
        own, need, _, ok = position_margin(position, row, tiers, tier_at)
        equity, ok1 = add_checked(equity, own)
        maintenance, ok2 = add_checked(maintenance, need)
        if ok == 0 or ok1 == 0 or ok2 == 0:
            return 0, 0, 0
    return equity, maintenance, 1


@kernel
def sweep_accounts(
    accounts: Rows,
    start: int,
    stop: int,
    positions: Rows,
    first: Words,
    members: Words,
    risk: Rows,
    tiers: Rows,
    tier_at: Words,
    ratios_e6: Words,
    flags: NDArray[np.int8],
) -> int:
    """Value the cross side of accounts start..stop-1, as `sweep_positions`; how many are marked."""
    marked = 0
    for a in range(start, stop):
        equity, maintenance, ok = account_margin(
            accounts[a]["free_e6"], positions, members, first[a], first[a + 1], risk, tiers, tier_at
        )
        flag = unit_flags(equity, maintenance, ok)
        ratios_e6[a] = ratio_e6(equity, maintenance)
        flags[a] = flag
        marked += flag & (FLAG_LIQUIDATABLE | FLAG_FAULT) != 0
    return marked
