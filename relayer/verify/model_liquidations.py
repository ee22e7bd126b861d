"""Liquidations of the model: what a unit is worth and needs, and the list of those under way."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

from kernels.frames import LiquidationKind, Source, Template
from kernels.layouts import PRICE_MAX, PRICE_MIN
from relayer.verify import model_margin
from relayer.verify.model_need import cross_positions, margin_tiers, notional_of, value_floor
from relayer.verify.model_rules import accrued_index
from relayer.verify.model_state import Ledger, Liquidation, Market, Position, within

SILENCE_NS = 10 * 10**9
FEE_ONE = 10**9


class Unit(NamedTuple):
    """Margin of an isolated position, or of an account's cross side. beside: equity that is not the position's."""

    equity: int
    maintenance: int
    beside: int

    @property
    def liquidatable(self) -> bool:
        return 0 < self.maintenance > self.equity


class Bankrupt(NamedTuple):
    """A position with its unit's other equity in it, and what insurance can take of it."""

    cash: int
    beside: int
    lots: int
    dcash: int
    transfer: int


def taker_max_e9(ledger: Ledger) -> int:
    """The highest taker fee there is."""
    return max((tier.taker_e9 for tier in ledger.tables.tiers.values() if tier.fees_set), default=0)


def slices_of(ledger: Ledger, market: Market, position: Position) -> list[model_margin.Slice]:
    """Maintenance rates along a position's notional: fees, confidence and move are the least."""
    fee_e9 = ledger.tables.liquidation_fee_e9
    floor = model_margin.floor_rate_e12(
        taker_max_e9(ledger), fee_e9, market.conf, market.mark, market.move_e12
    )
    seen = model_margin.Market(market.price_exp, market.mark, 0, floor, market.leverage_default)
    holding = model_margin.Holding(position.size, leverage=position.leverage)
    return model_margin.maintenance_slices(holding, seen, margin_tiers(ledger))


def margin_of(ledger: Ledger, position: Position, accrued: bool) -> tuple[int, int] | None:
    """(equity, maintenance) of one position at the mark; None without a mark, or past the bounds."""
    market = ledger.tables.markets[position.market]
    index = accrued_index(market, ledger.meta.second_ns) if accrued else market.index_e6
    pay = (-position.size * (index - position.idx) + position.rem) // market.scale
    if index == position.idx:
        pay = 0
    worth = value_floor(position.size, market.mark, market)
    if market.mark <= 0 or not within(pay, position.cash + pay, worth):
        return None
    need = model_margin.need_e6(
        slices_of(ledger, market, position), notional_of(position.size, market.mark, market)
    )
    return position.cash + pay + worth, need


def unit_of(ledger: Ledger, position: Position, accrued: bool) -> Unit | None:
    """The unit that a position belongs to, with funding as it accrues or as it is settled; None: cannot be told."""
    own = margin_of(ledger, position, accrued)
    if own is None:
        return None
    if not position.cross:
        return Unit(*own, 0) if within(own[0]) else None
    rest = [p for p in cross_positions(ledger, position.account) if p.market != position.market]
    others = [margin_of(ledger, other, accrued) for other in rest]
    beside, need = ledger.accounts[position.account].free_e6, own[1]
    for other in others:
        if other is None:
            return None
        beside, need = beside + other[0], need + other[1]
    unit = Unit(own[0] + beside, need, beside)
    return unit if within(*unit) else None


def limit_price(market: Market, size: int, held_e6: int, taker_e9: int, band_e6: int | None) -> int:
    """The last price on scale, and within the band, at which closing all of it leaves nothing owed, fee paid."""
    lot = Fraction(market.quote_mul, market.quote_div) * abs(size)
    if size > 0:
        owed = math.ceil(Fraction(-held_e6 * FEE_ONE, FEE_ONE - taker_e9))
        price = math.ceil(owed / lot) if owed > 0 else PRICE_MIN
    else:
        price = math.floor(math.floor(Fraction(held_e6 * FEE_ONE, FEE_ONE + taker_e9)) / lot)
    if band_e6 is not None:
        band = market.mark * band_e6 // 10**6
        price = max(price, market.mark - band) if size > 0 else min(price, market.mark + band)
    return max(PRICE_MIN, min(PRICE_MAX, price))


def charge_of(ledger: Ledger, position: Position) -> tuple[int, int]:
    """(liquidation fee in 1e-9, the unit's equity beside it) of a fill of a position; nothing of most."""
    if position.account == 0 or ledger.liquidation(position.account, position.market) is None:
        return 0, 0
    unit = unit_of(ledger, position, accrued=False)
    return (ledger.tables.liquidation_fee_e9, unit.beside) if unit else (0, 0)


def tell(
    ledger: Ledger, kind: LiquidationKind, account: int, market: int, size: int = 0, price: int = 0
) -> None:
    """Output a liquidation order, as of the matching engine's last frame."""
    as_of_seq = ledger.last_seq.get(Source.MATCHING, 0)
    ledger.emit(Template.LIQUIDATION_ORDER, market, as_of_seq, size, price, account, kind, 0)


def begin(ledger: Ledger, account: int, market: int) -> Liquidation:
    """The liquidation of a position, new or under way, with risk's word of now."""
    now = ledger.meta.now_ns
    row = ledger.liquidation(account, market)
    if row is None:
        row = Liquidation(account, market, now, now)
        ledger.liquidations.append(row)
        ledger.meta.liquidations += 1
        tell(ledger, LiquidationKind.CANCEL_ALL, account, -1)
    row.heard_ns = now
    return row


def end(ledger: Ledger, row: Liquidation) -> None:
    """Strike a liquidation off the list; the last takes its place."""
    rows = ledger.liquidations
    at = rows.index(row)
    rows[at] = rows[-1]
    rows.pop()
    tell(ledger, LiquidationKind.RELEASE, row.account, row.market)


def review(ledger: Ledger, account: int, market: int) -> None:
    """End the liquidation of a position that is closed or has its margin again; insurance's only if closed, or if
    its last order would add to it."""
    row, position = ledger.liquidation(account, market), ledger.position(account, market)
    if row is None or position is None:
        return
    if position.size and account == 0:
        if row.size * position.size <= 0:
            return
    elif position.size:
        unit = unit_of(ledger, position, accrued=True)
        if unit is None or unit.liquidatable:
            return
    end(ledger, row)


def drop_silent(ledger: Ledger) -> None:
    """End what risk has not spoken of for ten seconds, the last in the list first."""
    for row in reversed(ledger.liquidations.copy()):
        if ledger.meta.now_ns - row.heard_ns >= SILENCE_NS:
            end(ledger, row)
