"""Candidates of the model: the steps of a liquidation, decided anew on each. MONEY.md, Margin and liquidation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kernels.frames import CandidateKind, LiquidationKind, Refusal
from kernels.layouts import (
    LEG_DELEVERAGE,
    LEG_TAKEOVER,
    MARKET_FROZEN,
    MARKET_HALTED,
    MAX_LIQUIDATIONS,
)
from relayer.verify import model_insurance, model_margin
from relayer.verify.model_liquidations import (
    Bankrupt,
    Unit,
    begin,
    end,
    limit_price,
    review,
    slices_of,
    tell,
    unit_of,
)
from relayer.verify.model_money import cost_after, put_change, sums_fit
from relayer.verify.model_need import cross_positions, notional_of, settle, too_large, usable_e6, value_floor
from relayer.verify.model_state import Ledger, Leg, Liquidation, Market, Position, within

ORDER_NS = 10**8
TAKEOVER_NS = 5 * 10**8


def apply_candidate(ledger: Ledger, frame: Any) -> tuple[Refusal, list[Leg]]:
    """What risk proposes, if it is so."""
    if frame.kind not in tuple(CandidateKind):
        return Refusal.UNKNOWN_KIND, []
    if ledger.market(frame.market) is None:
        return Refusal.UNKNOWN_MARKET, []
    if not 0 <= frame.account < len(ledger.accounts):
        return Refusal.UNKNOWN_ACCOUNT, []
    position = ledger.position(frame.account, frame.market)
    if position is None or not may_liquidate(ledger, position):
        return Refusal.STALE_CANDIDATE, []
    unit = unit_of(ledger, position, accrued=True)
    row = ledger.liquidation(frame.account, frame.market)
    deleveraging = frame.kind == CandidateKind.DELEVERAGE
    if unit is None or (row is None and deleveraging):
        return Refusal.STALE_CANDIDATE, []
    if frame.account == 0 and not deleveraging:
        return model_insurance.unwind(ledger, position, unit, row)
    if not unit.liquidatable:
        if row is None or deleveraging:
            return Refusal.STALE_CANDIDATE, []
        end(ledger, row)
        return Refusal.NONE, []
    due = unit.equity <= 0 or (row is not None and ledger.meta.now_ns >= row.first_ns + TAKEOVER_NS)
    if deleveraging and frame.account == 0:
        due = not model_insurance.can_back(ledger, unit)
    if deleveraging:
        return deleverage(ledger, position, frame.counterparty) if due else (Refusal.STALE_CANDIDATE, [])
    if row is None and len(ledger.liquidations) == MAX_LIQUIDATIONS:
        return Refusal.LIQUIDATIONS_FULL, []
    if due:
        return take_over(ledger, position)
    return place_order(ledger, position, unit, row), []


def may_liquidate(ledger: Ledger, position: Position) -> bool:
    """Open, in a market that trades at a price good enough, the only one of its unit."""
    market, oracle = ledger.tables.markets[position.market], ledger.tables.oracles[position.market]
    if not position.size or market.state & (MARKET_FROZEN | MARKET_HALTED):
        return False
    if not oracle.liquidation_on >> market.status & 1:
        return False
    if not position.cross:
        return True
    others = (p for p in cross_positions(ledger, position.account) if p.market != position.market)
    return not any(ledger.liquidation(p.account, p.market) for p in others)


def lots_to_close(ledger: Ledger, market: Market, position: Position, unit: Unit, fee_e9: int) -> int:
    """All if it is small or half gone, else the least part that restores 1.25 x maintenance."""
    terms, slices = model_margin.Closing(fee_e9), slices_of(ledger, market, position)
    whole = abs(position.size)
    notional = notional_of(position.size, market.mark, market)
    if notional < terms.full_below_e6 or 2 * unit.equity < unit.maintenance:
        return whole
    others = unit.maintenance - model_margin.need_e6(slices, notional)
    seen = model_margin.Market(market.price_exp, market.mark)
    low, high = 0, whole
    while high - low > 1:
        part = (low + high) // 2
        if model_margin.restored(seen, slices, whole - part, part, unit.equity, others, terms):
            high = part
        else:
            low = part
    return high


def place_order(ledger: Ledger, position: Position, unit: Unit, row: Liquidation | None) -> Refusal:
    """Begin, or place the next of three orders 100 ms apart."""
    market = ledger.tables.markets[position.market]
    held = unit.equity - value_floor(position.size, market.mark, market)
    if not within(held):
        return Refusal.OUT_OF_BOUNDS
    row, now = begin(ledger, position.account, position.market), ledger.meta.now_ns
    if row.orders == 3 or (row.orders and now < row.ordered_ns + ORDER_NS):
        return Refusal.NONE
    taker_e9 = ledger.fees_of(position.account).taker_e9
    lots = lots_to_close(ledger, market, position, unit, taker_e9 + ledger.tables.liquidation_fee_e9)
    row.orders, row.ordered_ns = row.orders + 1, now
    row.size = -lots if position.size > 0 else lots
    row.price = limit_price(market, position.size, held, taker_e9, market.band_e6)
    tell(ledger, LiquidationKind.REDUCE_ONLY, row.account, row.market, row.size, row.price)
    return Refusal.NONE


def borne(ledger: Ledger, position: Position) -> Bankrupt | None:
    """What insurance bears; None past the bounds."""
    market = ledger.tables.markets[position.market]
    pay, _ = settle(position, market)
    unit = unit_of(ledger, position, accrued=False)
    if unit is None or not within(pay, position.cash + pay, position.cash + pay + unit.beside):
        return None
    cash = position.cash + pay + unit.beside
    seen = model_margin.Market(market.price_exp, market.mark)
    terms = ledger.accounts[0].free_e6, ledger.tables.reserve_e12
    low, high = 0, abs(position.size) + 1
    while high - low > 1:
        # The whole first: a part of it may need more than the whole where values are rounded.
        part = high - 1 if high > abs(position.size) else (low + high) // 2
        if model_margin.takeover(seen, position.size, cash, *terms, part)[2]:
            low = part
        else:
            high = part
    if low == 0:
        return Bankrupt(cash, unit.beside, 0, 0, 0)
    dcash, transfer, _ = model_margin.takeover(seen, position.size, cash, *terms, low)
    return Bankrupt(cash, unit.beside, low, dcash, transfer)


def exchange(
    ledger: Ledger, before: Position, kind: int, dsize: int, dcash: int, moved: int, reach_e6: int
) -> tuple[Position, Leg] | None:
    """One side: `moved` in from free, then `dsize` for `dcash`; closed, it leaves nothing but what it cannot pay."""
    market = ledger.tables.markets[before.market]
    pay, rem = settle(before, market)
    size, settled = before.size + dsize, before.cash + pay
    cash, transfer = settled + moved + dcash, moved
    if not within(pay, settled, moved, settled + moved, cash) or abs(size) > market.size_max:
        return None
    if size == 0:
        rest = -cash if cash >= 0 or before.cross else min(-cash, reach_e6)
        cash, transfer = cash + rest, transfer + rest
    cost, realised = cost_after(before.size, before.cost_e6, dsize, -dcash)
    realised += before.realised_e6
    if not within(cost, realised, ledger.accounts[before.account].free_e6 - transfer):
        return None
    large = too_large(ledger, market, before.leverage, size, market.mark)
    after = replace(
        before, size=size, cash=cash, idx=market.index_e6, rem=rem, cost_e6=cost, realised_e6=realised,
        too_large=large, eager_rem=rem, eager_pay_e6=0,
    )  # fmt: skip
    ordinal = ledger.meta.ordinal
    return after, Leg(ordinal, before.account, before.market, kind, dsize, dcash, transfer, 0, 0, pay)


def put_exchange(ledger: Ledger, changes: list[tuple[Position, Position, Leg]]) -> tuple[Refusal, list[Leg]]:
    """Book both sides, if the sums bear them."""
    first = changes[0][0]
    market = ledger.tables.markets[first.market]
    if not sums_fit(ledger, market, changes):
        return Refusal.OUT_OF_BOUNDS, []
    begin(ledger, first.account, first.market)
    for before, after, leg in changes:
        put_change(ledger, market, before, after, leg, market.mark)
    return Refusal.NONE, [leg for _, _, leg in changes]


def take_over(ledger: Ledger, position: Position) -> tuple[Refusal, list[Leg]]:
    """Insurance takes what it can back; if that is nothing, nothing moves."""
    found, number = borne(ledger, position), position.market
    if found is None:
        return Refusal.OUT_OF_BOUNDS, []
    if not found.lots:
        begin(ledger, position.account, number)
        return Refusal.NONE, []
    dsize = found.lots if position.size > 0 else -found.lots
    own = ledger.position(0, number) or ledger.new_position(0, number)
    free, reach = ledger.accounts[position.account].free_e6, ledger.accounts[0].free_e6 - found.transfer
    side0 = exchange(ledger, position, LEG_TAKEOVER, -dsize, -found.dcash, found.beside, 0)
    side1 = exchange(ledger, own, LEG_TAKEOVER, dsize, found.dcash, found.transfer, reach)
    if side0 is None or side1 is None:
        return Refusal.OUT_OF_BOUNDS, []
    why, legs = put_exchange(ledger, [(position, *side0), (own, *side1)])
    if legs:
        price = limit_price(ledger.tables.markets[number], position.size, found.cash, 0, None)
        tell(ledger, LiquidationKind.TAKEOVER, position.account, number, -dsize, price)
        ledger.tell_free((position.account, free, usable_e6(ledger, position.account)))
        review(ledger, position.account, number)
        review(ledger, 0, number)
    return why, legs


def left_with(ledger: Ledger, before: Position, after: Position, leg: Leg) -> int:
    """What a counterparty's unit is worth afterwards; negative too where that cannot be told."""
    market = ledger.tables.markets[before.market]
    own = after.cash + value_floor(after.size, market.mark, market)
    if not before.cross:
        return own
    unit = unit_of(ledger, before, accrued=False)
    return unit.beside - leg.transfer + own if unit and within(leg.transfer) else -1


def deleverage(ledger: Ledger, position: Position, other: int) -> tuple[Refusal, list[Leg]]:
    """What insurance cannot take, to one position on the other side, cash in proportion."""
    number = position.market
    against = ledger.position(other, number)
    if other == position.account or against is None or against.size * position.size >= 0:
        return Refusal.STALE_CANDIDATE, []
    found = borne(ledger, position) if position.account else model_insurance.bankrupt(ledger, position)
    if found is None:
        return Refusal.OUT_OF_BOUNDS, []
    if found.lots:
        return Refusal.STALE_CANDIDATE, []
    part = min(abs(position.size), abs(against.size))
    dsize, dcash = (part if position.size > 0 else -part), found.cash * part // abs(position.size)
    free, theirs = ledger.accounts[position.account].free_e6, ledger.accounts[other].free_e6
    side0 = exchange(ledger, position, LEG_DELEVERAGE, -dsize, -dcash, found.beside, 0)
    side1 = exchange(ledger, against, LEG_DELEVERAGE, dsize, dcash, 0, 0)
    if side0 is None or side1 is None:
        return Refusal.OUT_OF_BOUNDS, []
    if left_with(ledger, against, *side1) < 0:
        return Refusal.STALE_CANDIDATE, []
    why, legs = put_exchange(ledger, [(position, *side0), (against, *side1)])
    if legs:
        price = limit_price(ledger.tables.markets[number], position.size, found.cash, 0, None)
        for account, change in ((position.account, -dsize), (other, dsize)):
            tell(ledger, LiquidationKind.DELEVERAGE, account, number, change, price)
        ledger.tell_free(
            (position.account, free, usable_e6(ledger, position.account)),
            (other, theirs, usable_e6(ledger, other)),
        )
        for account in (position.account, other):
            review(ledger, account, number)
    return why, legs
