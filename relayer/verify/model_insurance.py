"""Insurance of the model: how account 0 gets rid of what it took over, and what backs it meanwhile."""

from __future__ import annotations

from kernels.frames import LiquidationKind, Refusal
from kernels.layouts import LIMIT, MAX_LIQUIDATIONS
from relayer.verify.model_liquidations import Bankrupt, Unit, begin, limit_price, tell, unit_of
from relayer.verify.model_money import put_moved, topped_up
from relayer.verify.model_need import settle, value_floor
from relayer.verify.model_state import Ledger, Leg, Liquidation, Position, ceil_div, within

UNWIND_NS = 10**9


def fund_e6(ledger: Ledger) -> int:
    """What insurance can still pay."""
    return max(0, ledger.accounts[0].free_e6)


def can_back(ledger: Ledger, unit: Unit) -> bool:
    """Whether a position of insurance has its maintenance, with the fund behind it."""
    return not unit.liquidatable or unit.equity + fund_e6(ledger) >= unit.maintenance


def bankrupt(ledger: Ledger, position: Position) -> Bankrupt | None:
    """A position of insurance as it is deleveraged: what it lacks at the mark comes from the fund first."""
    market = ledger.tables.markets[position.market]
    pay, _ = settle(position, market)
    if unit_of(ledger, position, accrued=False) is None or not within(pay, position.cash + pay):
        return None
    cash = position.cash + pay
    lack = -(cash + value_floor(position.size, market.mark, market))
    beside = min(max(0, lack), fund_e6(ledger))
    return Bankrupt(cash + beside, beside, 0, 0, 0)


def unwind(
    ledger: Ledger, position: Position, unit: Unit, row: Liquidation | None
) -> tuple[Refusal, list[Leg]]:
    """Back it if it lacks margin and the fund reaches; an order for all of it, anew each second."""
    market, fund = ledger.tables.markets[position.market], fund_e6(ledger)
    if row is None and len(ledger.liquidations) == MAX_LIQUIDATIONS:
        return Refusal.LIQUIDATIONS_FULL, []
    held = unit.equity - value_floor(position.size, market.mark, market)
    if not within(held):
        return Refusal.OUT_OF_BOUNDS, []
    legs: list[Leg] = []
    if unit.liquidatable and can_back(ledger, unit):
        moved = min(ceil_div(unit.maintenance * 5, 4) - unit.equity, fund)
        after = topped_up(ledger, market, position, moved)
        if after is None:
            return Refusal.OUT_OF_BOUNDS, []
        why, legs = put_moved(ledger, market, position, after, moved)
        if why:
            return why, []
    row, now = begin(ledger, 0, position.market), ledger.meta.now_ns
    if row.orders and now < row.ordered_ns + UNWIND_NS:
        return Refusal.NONE, legs
    taker_e9 = ledger.fees_of(0).taker_e9
    row.orders, row.ordered_ns, row.size = row.orders + 1, now, -position.size
    row.price = limit_price(market, position.size, min(LIMIT, held + fund), taker_e9, market.band_e6)
    tell(ledger, LiquidationKind.REDUCE_ONLY, 0, row.market, row.size, row.price)
    return Refusal.NONE, legs
