"""Settings and accounts of the model: leverage, margin mode, new keys.

Every function decides first and writes after. A refusal is returned, never raised.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kernels.frames import Refusal, SettingKind, Template
from kernels.layouts import MAX_ACCOUNTS
from relayer.verify.model_money import put_moved, topped_up, why_not_drawn
from relayer.verify.model_need import initial_need, margin_tiers, shortfall, too_large, value_floor
from relayer.verify.model_state import Account, Ledger, Leg, Market, Position


def apply_setting(ledger: Ledger, frame: Any) -> tuple[Refusal, list[Leg]]:
    """Leverage or margin mode of an account in a market; makes its slot if there is none."""
    if not 0 < frame.account < len(ledger.accounts):
        return Refusal.UNKNOWN_ACCOUNT, []
    market = ledger.market(frame.market)
    if market is None:
        return Refusal.UNKNOWN_MARKET, []
    account = ledger.accounts[frame.account]
    if frame.nonce != account.nonce + 1:
        return Refusal.NONCE_OUT_OF_ORDER, []
    position = ledger.position(frame.account, frame.market)
    position = position or ledger.new_position(frame.account, frame.market)
    why, legs = Refusal.NONE, list[Leg]()
    if frame.kind == SettingKind.LEVERAGE:
        highest = max(tier.max_leverage for tier in margin_tiers(ledger))
        if not 1 <= frame.value <= min(market.leverage_max, highest):
            return Refusal.LEVERAGE_OFF_TABLE, []
        if position.size:
            why, legs = change_leverage(ledger, market, position, frame.value)
    elif frame.kind == SettingKind.MARGIN_MODE:
        if frame.value not in (0, 1):
            return Refusal.UNKNOWN_KIND, []
        if position.size or position.cash:
            return Refusal.INSUFFICIENT_POSITION, []
        position.cross = frame.value == 1
        crossing = ledger.crossing.setdefault(frame.account, set())
        crossing.discard(frame.market)
        if position.cross:
            crossing.add(frame.market)
    else:
        return Refusal.UNKNOWN_KIND, []
    if why:
        return why, []
    account.nonce += 1
    if (frame.account, frame.market) not in ledger.slots:
        ledger.put_position(position)
    if frame.kind == SettingKind.LEVERAGE:
        ledger.positions[ledger.slots[frame.account, frame.market]].leverage = frame.value
    return why, legs


def change_leverage(
    ledger: Ledger, market: Market, position: Position, value: int
) -> tuple[Refusal, list[Leg]]:
    """What another leverage asks of an open position at once: a lower one must be paid for."""
    lower = value < (position.leverage or market.leverage_default)
    if market.mark <= 0:
        return (Refusal.MARK_UNKNOWN if lower else Refusal.NONE), []
    need = initial_need(ledger, market, value, position.size, market.mark)
    large = too_large(ledger, market, value, position.size, market.mark)
    if lower and position.cross:
        short = shortfall(ledger, position.account)
        if short is None:
            return Refusal.MARK_UNKNOWN, []
        need -= initial_need(ledger, market, position.leverage, position.size, market.mark)
        if short + need > 0:
            return Refusal.INSUFFICIENT_FREE, []
    elif lower:
        settled = topped_up(ledger, market, position, 0)
        if settled is None:
            return Refusal.OUT_OF_BOUNDS, []
        moved = need - settled.cash - value_floor(position.size, market.mark, market)
        if moved > 0:
            return pay_for_leverage(ledger, market, replace(position, too_large=large), position, moved)
    if large != position.too_large:
        position.too_large = large
        worth = value_floor(position.size, market.mark, market)
        ledger.tell_account(position.account, position.market, position.cash + worth)
    return Refusal.NONE, []


def pay_for_leverage(
    ledger: Ledger, market: Market, wanted: Position, before: Position, moved: int
) -> tuple[Refusal, list[Leg]]:
    """Take `moved` from free into an isolated position whose leverage falls."""
    if why := why_not_drawn(ledger, before.account, moved):
        return why, []
    after = topped_up(ledger, market, wanted, moved)
    if after is None:
        return Refusal.OUT_OF_BOUNDS, []
    return put_moved(ledger, market, before, after, moved)


def apply_account(ledger: Ledger, frame: Any) -> Refusal:
    """Give a public key the next number and tell it."""
    key = (frame.key0, frame.key1, frame.key2, frame.key3)
    if key in ledger.numbers:
        return Refusal.ACCOUNT_EXISTS
    tier = ledger.tables.tiers.get(frame.tier)
    if tier is None or not tier.fees_set:
        return Refusal.UNKNOWN_TIER
    number = len(ledger.accounts)
    if number >= MAX_ACCOUNTS:
        return Refusal.OUT_OF_BOUNDS
    ledger.accounts.append(Account(key, frame.tier))
    ledger.numbers[key] = number
    ledger.emit(Template.ACCOUNT_ASSIGNED, -1, *key, number, frame.tier)
    return Refusal.NONE
