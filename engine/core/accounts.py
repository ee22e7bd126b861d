"""Accounts, transfers and settings: what each does to the books, or why it is refused.

Every function checks first and writes after: a refusal (non-zero return) leaves no trace but its count.
"""

from __future__ import annotations

from engine.core.booking import (
    Held,
    Leg,
    commit_leg,
    held_at,
    known_market,
    position_slot,
    sums_after,
    sums_of,
    sums_within,
    who_of,
    write_leg,
    write_sums,
)
from engine.core.outputs import emit_assigned
from engine.core.state import Books
from engine.core.views import Scratch
from kernels.book import share_of, within, worth_of
from kernels.frames import Refusal, SettingKind, TransferKind
from kernels.funding import settle
from kernels.jit import kernel
from kernels.layouts import ACCOUNT_FROZEN, LEG_TRANSFER, LIMIT, MAX_TIERS
from kernels.margin import initial_rate_e12, tier_of
from kernels.slots import find_account, find_position, insert_account
from kernels.types import Record, wide

_OK = int(Refusal.NONE)
_UNKNOWN_MARKET = int(Refusal.UNKNOWN_MARKET)
_UNKNOWN_ACCOUNT = int(Refusal.UNKNOWN_ACCOUNT)
_BOUNDS = int(Refusal.OUT_OF_BOUNDS)
_KIND = int(Refusal.UNKNOWN_KIND)
_EVENT = int(Refusal.EVENT_OUT_OF_ORDER)
_NONCE = int(Refusal.NONCE_OUT_OF_ORDER)
_FREE = int(Refusal.INSUFFICIENT_FREE)
_POSITION = int(Refusal.INSUFFICIENT_POSITION)
_EXISTS = int(Refusal.ACCOUNT_EXISTS)
_TIER = int(Refusal.UNKNOWN_TIER)
_LEVERAGE = int(Refusal.LEVERAGE_OFF_TABLE)
_DEPOSIT = int(TransferKind.DEPOSIT)
_WITHDRAWAL = int(TransferKind.WITHDRAWAL)
_TO_POSITION = int(TransferKind.TO_POSITION)
_FROM_POSITION = int(TransferKind.FROM_POSITION)
_SET_LEVERAGE = int(SettingKind.LEVERAGE)
_SET_MODE = int(SettingKind.MARGIN_MODE)


@kernel
def apply_account(books: Books, frame: Record) -> int:
    """Give a public key the next account number and tell it."""
    meta = books.meta[0]
    k0, k1, k2, k3 = frame["key0"], frame["key1"], frame["key2"], frame["key3"]
    if find_account(books.account_table, books.accounts, k0, k1, k2, k3) >= 0:
        return _EXISTS
    tier = wide(frame["tier"])
    if tier < 0 or tier >= MAX_TIERS or books.tiers[tier]["fees_set"] == 0:
        return _TIER
    n = meta["accounts"]
    row = books.accounts[n]
    row["key0"] = k0
    row["key1"] = k1
    row["key2"] = k2
    row["key3"] = k3
    row["tier"] = tier
    insert_account(books.account_table, books.accounts, n)
    meta["accounts"] = n + 1
    emit_assigned(books, n)
    return _OK


@kernel
def apply_transfer(books: Books, frame: Record, scratch: Scratch, n_legs: int) -> tuple[int, int]:
    """A deposit, a withdrawal, or cash moved between free and a position. Returns (refusal, legs made)."""
    meta = books.meta[0]
    account, quote = wide(frame["account"]), frame["quote_e6"]
    if account < 0 or account >= meta["accounts"]:
        return _UNKNOWN_ACCOUNT, 0
    if quote <= 0 or quote > LIMIT:
        return _BOUNDS, 0
    row = books.accounts[account]
    kind = wide(frame["flags"])
    if kind == _DEPOSIT:
        if frame["event_no"] != row["event_no"] + 1:
            return _EVENT, 0
        if within(row["free_e6"] + quote) == 0 or within(meta["deposits_e6"] + quote) == 0:
            return _BOUNDS, 0
        row["event_no"] += 1
        row["free_e6"] += quote
        meta["deposits_e6"] += quote
        return _OK, 0
    if account == 0:
        return _UNKNOWN_ACCOUNT, 0
    if frame["event_no"] != row["nonce"] + 1:
        return _NONCE, 0
    if kind == _WITHDRAWAL:
        if quote > row["free_e6"] or wide(row["flags"]) & ACCOUNT_FROZEN != 0:
            return _FREE, 0
        if within(meta["held_e6"] + quote) == 0:
            return _BOUNDS, 0
        row["nonce"] += 1
        row["free_e6"] -= quote
        meta["held_e6"] += quote
        return _OK, 0
    if kind == _TO_POSITION or kind == _FROM_POSITION:
        return move_cash(books, frame, scratch, n_legs)
    return _KIND, 0


@kernel
def move_cash(books: Books, frame: Record, scratch: Scratch, n_legs: int) -> tuple[int, int]:
    """Cash between free and an open position, which settles its funding first. (refusal, legs made)."""
    m, account = wide(frame["market"]), wide(frame["account"])
    if known_market(books, m) == 0:
        return _UNKNOWN_MARKET, 0
    slot = find_position(books.position_table, books.positions, account, m)
    if slot < 0 or books.positions[slot]["size"] == 0:
        return _POSITION, 0
    market = books.markets[m]
    held = held_at(books, slot, account, market)
    moved = frame["quote_e6"] if wide(frame["flags"]) == _TO_POSITION else -frame["quote_e6"]
    if moved > max(held.free_e6, 0):
        return _FREE, 0
    pay, rem, ok = settle(held.size, held.rem, held.idx, market["index_e6"], market["scale"])
    if ok == 0 or within(pay) == 0 or within(held.cash + pay) == 0:
        return _BOUNDS, 0
    cash, free = held.cash + pay + moved, held.free_e6 - moved
    if within(cash) == 0 or within(free) == 0:
        return _BOUNDS, 0
    if moved < 0 and stays_funded(books, held, market, cash) == 0:
        return _POSITION, 0
    leg = Leg(1, held.size, cash, rem, held.cost_e6, held.realised_e6, free, 0, 0, moved, 0, 0, pay)
    sums = sums_after(sums_of(books, market), held, leg)
    if sums_within(sums) == 0:
        return _BOUNDS, 0
    write_leg(scratch, n_legs, books.meta[0]["ordinal"], who_of(account, m, LEG_TRANSFER), 0, leg)
    commit_leg(books, slot, account, m, held, leg)
    write_sums(books, market, sums)
    books.accounts[account]["nonce"] += 1
    return _OK, 1


@kernel
def stays_funded(books: Books, held: Held, market: Record, cash: int) -> int:
    """1 if the position with `cash` still meets its initial requirement at a known mark."""
    if market["mark"] <= 0:
        return 0
    rate = initial_rate_e12(books.tiers, held.leverage)
    worth, notional, ok1 = worth_of(held.size, market["mark"], market["quote_mul"], market["quote_div"])
    need, ok2 = share_of(notional, rate)
    return 1 if ok1 == 1 and ok2 == 1 and cash + worth >= need else 0


@kernel
def apply_setting(books: Books, frame: Record) -> int:
    """Leverage or margin mode of (account, market). Leverage acts at the next increase."""
    account, m = wide(frame["account"]), wide(frame["market"])
    if account < 1 or account >= books.meta[0]["accounts"]:
        return _UNKNOWN_ACCOUNT
    if known_market(books, m) == 0:
        return _UNKNOWN_MARKET
    if frame["nonce"] != books.accounts[account]["nonce"] + 1:
        return _NONCE
    value, kind = frame["value"], wide(frame["kind"])
    if kind == _SET_LEVERAGE:
        if value < 1 or value > books.markets[m]["leverage_max"] or tier_of(books.tiers, value) < 0:
            return _LEVERAGE
    elif kind == _SET_MODE:
        if value < 0 or value > 1:
            return _KIND
        slot = find_position(books.position_table, books.positions, account, m)
        if slot >= 0 and (books.positions[slot]["size"] != 0 or books.positions[slot]["cash"] != 0):
            return _POSITION
    else:
        return _KIND
    row = books.positions[position_slot(books, account, m)]
    if kind == _SET_LEVERAGE:
        row["leverage"] = value
    else:
        row["mode"] = value
    books.accounts[account]["nonce"] += 1
    return _OK
