"""From units that a sweep has found to what is proposed: exact margins, which position of a cross account, and
the other side of a bankrupt position by its rank for deleveraging."""

from __future__ import annotations

from kernels.funding_accrual import accrued_index
from kernels.jit import kernel
from kernels.layouts import LIMIT, MARKET_FROZEN, MARKET_HALTED
from kernels.liquidation import deleverage_score
from kernels.margin import floor_rate_e12, position_margin, put_risk, ratio_e6, unrealised_e6
from kernels.oracle_rules import admits
from kernels.slots import Links, find_position, list_linked
from kernels.sweep import account_margin
from kernels.types import Rows, Words, wide


@kernel
def put_risks(
    markets: Rows,
    oracles: Rows,
    count: int,
    second_ns: int,
    taker_e9: int,
    liquidation_e9: int,
    risk: Rows,
    permitted: Words,
) -> None:
    """RISK rows of MARKET rows 0..count-1 as they are now, and permitted[m] = 1 where the engine would liquidate.

    Margins are then those that the engine decides by (`engine.core.units`): with the funding that has accrued up
    to `second_ns`, and the floor of these fees (`margin.floor_rate_e12`). A market without a mark cannot be valued.
    """
    for m in range(count):
        market = markets[m]
        mark = market["mark"] if market["mark"] > 0 else -1
        floor_e12 = floor_rate_e12(taker_e9, liquidation_e9, market["conf"], mark, market["move_e12"])
        put_risk(
            risk[m],
            mark,
            accrued_index(market, second_ns),
            floor_e12,
            market["leverage_default"],
            market["scale"],
            market["quote_mul"],
            market["quote_div"],
        )
        stopped = market["state"] & (MARKET_FROZEN | MARKET_HALTED) != 0
        permitted[m] = 0 if stopped else admits(oracles[m]["liquidation_on"], market["status"])


@kernel
def value_positions(
    found: Words,
    count: int,
    positions: Rows,
    risk: Rows,
    tiers: Rows,
    tier_at: Words,
    permitted: Words,
    equity_e6: Words,
    need_e6: Words,
    ratios_e6: Words,
) -> int:
    """Margin of isolated positions found[:count] as rows 0..count-1. How many cannot be told.

    What cannot be told, or not be liquidated now, gets a requirement of 0: no ranking takes it for liquidatable.
    """
    faults = 0
    for k in range(count):
        position = positions[found[k]]
        market = wide(position["market"])
        equity, need, _, ok = position_margin(position, risk[market], tiers, tier_at)
        faults += 1 - ok
        equity_e6[k], need_e6[k] = (equity, need) if ok == 1 and permitted[market] == 1 else (0, 0)
        ratios_e6[k] = ratio_e6(equity_e6[k], need_e6[k])
    return faults


@kernel
def list_held(account: int, markets: int, table: Words, positions: Rows, slots: Words) -> int:
    """Write the slots of an account's open positions in markets 0..markets-1 to `slots`, by market; how many."""
    count = 0
    for m in range(markets):
        slot = find_position(table, positions, account, m)
        if slot >= 0 and positions[slot]["size"] != 0:
            slots[count] = slot
            count += 1
    return count


@kernel
def value_accounts(
    found: Words,
    count: int,
    accounts: Rows,
    positions: Rows,
    first: Links,
    following: Links,
    members: Words,
    risk: Rows,
    tiers: Rows,
    tier_at: Words,
    permitted: Words,
    row: int,
    equity_e6: Words,
    need_e6: Words,
    ratios_e6: Words,
    to_close: Words,
) -> int:
    """The same of the cross side of accounts found[:count], as rows from `row` on; and to_close: `chosen`."""
    faults = 0
    for k in range(count):
        account = found[k]
        held = list_linked(first, following, account, members)
        free_e6 = accounts[account]["free_e6"]
        equity, need, ok = account_margin(free_e6, positions, members, 0, held, risk, tiers, tier_at)
        faults += 1 - ok
        out = row + k
        to_close[out] = chosen(positions, members, held, risk, tiers, tier_at, permitted)
        equity_e6[out], need_e6[out] = (equity, need) if ok == 1 and to_close[out] >= 0 else (0, 0)
        ratios_e6[out] = ratio_e6(equity_e6[out], need_e6[out])
    return faults


@kernel
def chosen(
    positions: Rows,
    members: Words,
    held: int,
    risk: Rows,
    tiers: Rows,
    tier_at: Words,
    permitted: Words,
) -> int:
    """Slot among members[:held] that is to be closed: the one under liquidation, for the engine takes one at a
    time; else that with the largest maintenance, then the lowest market. -1 if none has size in a permitted market.
    """
    best, best_need, best_market = -1, 0, 0
    for k in range(held):
        position = positions[members[k]]
        market = wide(position["market"])
        if position["size"] == 0:
            continue
        if wide(position["liquidation"]) > 0:
            return members[k] if permitted[market] == 1 else -1
        if permitted[market] == 0:
            continue
        _, need, _, _ = position_margin(position, risk[market], tiers, tier_at)
        if best < 0 or need > best_need or (need == best_need and market < best_market):
            best, best_need, best_market = members[k], need, market
    return best


@kernel
def unit_leverage(
    slot: int,
    accounts: Rows,
    positions: Rows,
    first: Links,
    following: Links,
    members: Words,
    risk: Rows,
    tiers: Rows,
    tier_at: Words,
) -> tuple[int, int]:
    """(notional, equity) of the unit that a position belongs to: itself, or its account's whole cross side.

    (0, 0) if a number is past its bounds.
    """
    position = positions[slot]
    equity, _, notional, ok = position_margin(position, risk[wide(position["market"])], tiers, tier_at)
    if wide(position["mode"]) == 0 or ok == 0:
        return notional, equity
    account = wide(position["account"])
    held = list_linked(first, following, account, members)
    free_e6 = accounts[account]["free_e6"]
    equity, _, ok = account_margin(free_e6, positions, members, 0, held, risk, tiers, tier_at)
    notional = 0
    for k in range(held):
        other = positions[members[k]]
        _, _, worth, ok1 = position_margin(other, risk[wide(other["market"])], tiers, tier_at)
        notional = min(LIMIT, notional + worth)
        ok &= ok1
    return (notional, equity) if ok == 1 else (0, 0)


@kernel
def score_side(
    market: int,
    side: int,
    count: int,
    accounts: Rows,
    positions: Rows,
    first: Links,
    following: Links,
    members: Words,
    risk: Rows,
    tiers: Rows,
    tier_at: Words,
    slots: Words,
    sizes: Words,
    scores: Words,
    equity_e6: Words,
) -> int:
    """Of positions 0..count-1 those of a market that stand on `side` (1 long, -1 short): slot, size,
    `liquidation.deleverage_score` and their unit's equity. How many; only as many as the out-arrays hold are
    written."""
    found = 0
    row = risk[market]
    for slot in range(count):
        position = positions[slot]
        if wide(position["market"]) != market or position["size"] * side <= 0:
            continue
        if found < slots.shape[0]:
            pnl, ok = unrealised_e6(
                position["size"], position["cost_e6"], row["mark"], row["quote_mul"], row["quote_div"]
            )
            notional, equity = unit_leverage(
                slot, accounts, positions, first, following, members, risk, tiers, tier_at
            )
            if ok == 0:
                notional = 0
            slots[found], sizes[found], equity_e6[found] = slot, position["size"], equity
            scores[found] = deleverage_score(pnl, position["cost_e6"], notional, equity)
        found += 1
    return found
