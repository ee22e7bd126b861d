"""Accounts, transfers and settings: what each does to the books, or why it is refused.

Every function checks first and writes after: a refusal (non-zero return) leaves no trace but its count.
"""

from __future__ import annotations

from engine.core.cross import bears_more, draw_refusal, leverage_of
from engine.core.legs import (
    Held,
    Leg,
    commit_leg,
    held_at,
    known_market,
    note_excess,
    out_of_bounds,
    position_slot,
    sums_after,
    sums_of,
    sums_within,
    who_of,
    write_leg,
    write_sums,
)
from engine.core.outputs import emit_assigned, tell_free
from engine.core.state import Books
from engine.core.views import Scratch
from kernels.book import within, worth_of
from kernels.frames import Refusal, SettingKind, TransferKind
from kernels.funding import settle
from kernels.jit import kernel, routine
from kernels.layouts import (
    ACCOUNT_CROSS,
    ACCOUNT_FROZEN,
    LEG_TRANSFER,
    LIMIT,
    MAX_ACCOUNTS,
    MAX_TIERS,
    POSITION_TOO_LARGE,
)
from kernels.margin import initial_by, tier_of, too_large
from kernels.slots import find_account, find_position, insert_account, link_position, unlink_position
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
_MARK = int(Refusal.MARK_UNKNOWN)
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
    if find_account(books.account_table, books.keys, k0, k1, k2, k3) >= 0:
        return _EXISTS
    tier = wide(frame["tier"])
    if tier < 0 or tier >= MAX_TIERS or books.tiers[tier]["fees_set"] == 0:
        return _TIER
    n = meta["accounts"]
    if n >= MAX_ACCOUNTS:
        return _BOUNDS
    row = books.accounts[n]
    key = books.keys[n]
    key["key0"] = k0
    key["key1"] = k1
    key["key2"] = k2
    key["key3"] = k3
    row["tier"] = tier
    insert_account(books.account_table, books.keys, n)
    meta["accounts"] = n + 1
    emit_assigned(books, n)
    return _OK


@routine
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
        tell_free(books, account, row["free_e6"] - quote)
        return _OK, 0
    if account == 0:
        return _UNKNOWN_ACCOUNT, 0
    if frame["event_no"] != row["nonce"] + 1:
        return _NONCE, 0
    if kind == _WITHDRAWAL:
        if wide(row["flags"]) & ACCOUNT_FROZEN != 0:
            return _FREE, 0
        why = draw_refusal(books, account, quote)
        if why != _OK:
            return why, 0
        if within(meta["held_e6"] + quote) == 0:
            return _BOUNDS, 0
        row["nonce"] += 1
        row["free_e6"] -= quote
        meta["held_e6"] += quote
        tell_free(books, account, row["free_e6"] + quote)
        return _OK, 0
    if kind == _TO_POSITION or kind == _FROM_POSITION:
        return move_cash(books, frame, scratch, n_legs)
    return _KIND, 0


@kernel
def move_cash(books: Books, frame: Record, scratch: Scratch, n_legs: int) -> tuple[int, int]:
    """Cash between free and an open isolated position, which settles its funding first. (refusal, legs made).

    A cross position takes none: the free balance stands behind it as it is.
    """
    m, account = wide(frame["market"]), wide(frame["account"])
    if known_market(books, m) == 0:
        return _UNKNOWN_MARKET, 0
    slot = find_position(books.position_table, books.positions, account, m)
    if slot < 0 or books.positions[slot]["size"] == 0 or wide(books.positions[slot]["mode"]) != 0:
        return _POSITION, 0
    market = books.markets[m]
    held = held_at(books, slot, account, market)
    moved = frame["quote_e6"]
    if wide(frame["flags"]) == _FROM_POSITION:
        moved = -moved
    else:
        why = draw_refusal(books, account, moved)
        if why != _OK:
            return why, 0
    leg = moved_leg(held, market, moved, 0, wide(books.positions[slot]["flags"]) & POSITION_TOO_LARGE)
    if leg.ok == 0:
        return _BOUNDS, 0
    if moved < 0 and stays_funded(books, held, market, leg.cash) == 0:
        return _POSITION, 0
    why = book_moved(books, slot, account, m, held, leg, scratch, n_legs)
    if why != _OK:
        return why, 0
    books.accounts[account]["nonce"] += 1
    tell_free(books, account, held.free_e6)
    return _OK, 1


@kernel
def moved_leg(held: Held, market: Record, moved: int, worth: int, excess: int) -> Leg:
    """The leg that settles a position and moves `moved`, within +-LIMIT, from free into it.

    worth: of the size at the mark, for what is told if `excess` changes.
    """
    pay, rem, ok = settle(held.size, held.rem, held.idx, market["index_e6"], market["scale"])
    if ok == 0 or within(pay) == 0 or within(held.cash + pay) == 0:
        return out_of_bounds()
    cash, free = held.cash + pay + moved, held.free_e6 - moved
    if within(cash) == 0 or within(free) == 0:
        return out_of_bounds()
    return Leg(
        1, held.size, cash, rem, held.cost_e6, held.realised_e6, free, worth, 0, moved, 0, 0, pay, excess
    )


@kernel
def book_moved(
    books: Books, slot: int, account: int, m: int, held: Held, leg: Leg, scratch: Scratch, n_legs: int
) -> int:
    """Book a `moved_leg`, or say why not."""
    market = books.markets[m]
    sums = sums_after(sums_of(books, market), held, leg)
    if sums_within(sums) == 0:
        return _BOUNDS
    write_leg(scratch, n_legs, books.meta[0]["ordinal"], who_of(account, m, LEG_TRANSFER), 0, leg)
    commit_leg(books, slot, account, m, held, leg)
    write_sums(books, market, sums)
    return _OK


@kernel
def stays_funded(books: Books, held: Held, market: Record, cash: int) -> int:
    """1 if the position with `cash` still meets its initial requirement at a known mark."""
    if market["mark"] <= 0:
        return 0
    worth, notional, ok = worth_of(held.size, market["mark"], market["quote_mul"], market["quote_div"])
    need = initial_by(books.tiers, books.initial_at, held.leverage, notional)
    return 1 if ok == 1 and cash + worth >= need else 0


@routine
def apply_setting(books: Books, frame: Record, scratch: Scratch, n_legs: int) -> tuple[int, int]:
    """Leverage or margin mode of (account, market). Returns (refusal, legs made)."""
    account, m = wide(frame["account"]), wide(frame["market"])
    if account < 1 or account >= books.meta[0]["accounts"]:
        return _UNKNOWN_ACCOUNT, 0
    if known_market(books, m) == 0:
        return _UNKNOWN_MARKET, 0
    if frame["nonce"] != books.accounts[account]["nonce"] + 1:
        return _NONCE, 0
    value, kind, free = frame["value"], wide(frame["kind"]), books.accounts[account]["free_e6"]
    why, made = _KIND, 0
    if kind == _SET_LEVERAGE:
        why, made = set_leverage(books, account, m, value, scratch, n_legs)
    elif kind == _SET_MODE:
        why = set_mode(books, account, m, value)
    if why == _OK:
        books.accounts[account]["nonce"] += 1
        tell_free(books, account, free)
    return why, made


@kernel
def set_mode(books: Books, account: int, m: int, value: int) -> int:
    """Isolated (0) or cross (1), of an empty position only, so that nothing moves. Keeps the list of those."""
    if value < 0 or value > 1:
        return _KIND
    slot = find_position(books.position_table, books.positions, account, m)
    if slot >= 0 and (books.positions[slot]["size"] != 0 or books.positions[slot]["cash"] != 0):
        return _POSITION
    slot = position_slot(books, account, m)
    row, owner = books.positions[slot], books.accounts[account]
    if wide(row["mode"]) == value:
        return _OK
    row["mode"] = value
    if value == 1:
        link_position(books.cross_first, books.cross_next, account, slot)
        owner["flags"] |= ACCOUNT_CROSS
        return _OK
    unlink_position(books.cross_first, books.cross_next, account, slot)
    if wide(books.cross_first[account]) == 0:
        owner["flags"] &= ~ACCOUNT_CROSS
    return _OK


@kernel
def set_leverage(
    books: Books, account: int, m: int, value: int, scratch: Scratch, n_legs: int
) -> tuple[int, int]:
    """Leverage from now on. Returns (refusal, legs made).

    A lower one asks more of an open position, at once: an isolated one settles its funding and takes from
    free what lifts it to the new initial requirement, a cross one must leave its account's requirement met.
    Refused where that does not reach, or where there is no mark to tell. A higher one moves nothing.
    """
    market = books.markets[m]
    if value < 1 or value > market["leverage_max"] or tier_of(books.tiers, value) < 0:
        return _LEVERAGE, 0
    slot = find_position(books.position_table, books.positions, account, m)
    made = 0
    if slot >= 0 and books.positions[slot]["size"] != 0:
        why, made = restate(books, slot, account, m, value, scratch, n_legs)
        if why != _OK:
            return why, 0
    books.positions[position_slot(books, account, m)]["leverage"] = value
    return _OK, made


@kernel
def restate(
    books: Books, slot: int, account: int, m: int, value: int, scratch: Scratch, n_legs: int
) -> tuple[int, int]:
    """What `set_leverage` does to an open position but for writing the leverage. (refusal, legs made)."""
    row, market = books.positions[slot], books.markets[m]
    mark, lower = market["mark"], value < leverage_of(row, market)
    if mark <= 0:
        return (_MARK if lower else _OK), 0
    worth, notional, ok = worth_of(row["size"], mark, market["quote_mul"], market["quote_div"])
    if ok == 0:
        return _BOUNDS, 0
    excess = too_large(books.initial_at, value, notional)
    need = initial_by(books.tiers, books.initial_at, value, notional)
    if lower and wide(row["mode"]) != 0:
        before = initial_by(books.tiers, books.initial_at, leverage_of(row, market), notional)
        why = bears_more(books, account, need - before)
        if why != _OK:
            return why, 0
    elif lower:
        held = held_at(books, slot, account, market)
        settled = moved_leg(held, market, 0, worth, excess)
        if settled.ok == 0:
            return _BOUNDS, 0
        short = need - (settled.cash + worth)
        if short > 0:
            why = draw_refusal(books, account, short)
            if why != _OK:
                return why, 0
            leg = moved_leg(held, market, short, worth, excess)
            if leg.ok == 0:
                return _BOUNDS, 0
            why = book_moved(books, slot, account, m, held, leg, scratch, n_legs)
            return why, (1 if why == _OK else 0)
    note_excess(books, slot, excess, row["cash"] + worth)
    return _OK, 0
