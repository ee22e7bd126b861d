"""Outputs to the matching engine: numbered, kept in a bounded ring that is part of the state."""

from __future__ import annotations

from engine.core.cross import free_of
from engine.core.state import Books
from kernels.frames import BLOCK_LENGTH, SCHEMA_ID, SCHEMA_VERSION, Source, Template
from kernels.jit import kernel
from kernels.layouts import (
    ACCOUNT_CROSS,
    ACCOUNT_FROZEN,
    ACCOUNT_REDUCE_ONLY,
    MARKET_FROZEN,
    MAX_OPEN_REFUSALS,
    OUTBOX_SLOTS,
    POSITION_TOO_LARGE,
)
from kernels.slots import find_position
from kernels.types import Record, at, wide

_REFUSAL = int(Template.REFUSAL)
_ASSIGNED = int(Template.ACCOUNT_ASSIGNED)
_MARKET_STATE = int(Template.MARKET_STATE)
_ACCOUNT_STATE = int(Template.ACCOUNT_STATE)
_FREE_COLLATERAL = int(Template.FREE_COLLATERAL)
_HEAD = BLOCK_LENGTH | (SCHEMA_ID << 32) | (SCHEMA_VERSION << 48)
_HINTS = (int(Source.FEEDS), int(Source.RISK))
_FILL = int(Template.FILL)
_MATCHING = int(Source.MATCHING)


@kernel
def pair(low: int, high: int) -> int:
    """Two int32 as one little-endian word."""
    return (low & 0xFFFFFFFF) | (high << 32)


@kernel
def emit(books: Books, template: int, market: int, w0: int, w1: int, w2: int, w3: int, w4: int) -> None:
    """Append one output frame with the five payload words; its CRC is written when it is sent."""
    meta = books.meta[0]
    number = meta["outputs"] + 1
    meta["outputs"] = number
    k = at((number - 1) & (OUTBOX_SLOTS - 1))
    out = books.outbox
    out[k, 0] = _HEAD | (template << 16)
    out[k, 1] = number
    out[k, 2] = w0
    out[k, 3] = w1
    out[k, 4] = w2
    out[k, 5] = w3
    out[k, 6] = w4
    out[k, 7] = (market & 0xFFFF) << 16


@kernel
def emit_assigned(books: Books, account: int) -> None:
    """Tell the number the engine gave to a public key."""
    key = books.keys[account]
    word = pair(account, wide(books.accounts[account]["tier"]))
    emit(books, _ASSIGNED, -1, key["key0"], key["key1"], key["key2"], key["key3"], word)


@kernel
def emit_market_state(books: Books, market: int, reason: int) -> None:
    """Tell frozen, halted, reduce-only of a market as they are now."""
    row = books.markets[market]
    meta = books.meta[0]
    word = pair(row["state"], reason)
    emit(books, _MARKET_STATE, market, meta["ordinal"], row["mark"], meta["now_ns"], word, 0)


@kernel
def emit_account_state(books: Books, account: int, market: int, equity_e6: int) -> None:
    """Tell that an account is frozen, or no longer; in a market also whether it may only reduce there."""
    meta = books.meta[0]
    state = wide(books.accounts[account]["flags"]) & ACCOUNT_FROZEN
    slot = find_position(books.position_table, books.positions, account, market) if market >= 0 else -1
    if slot >= 0 and wide(books.positions[slot]["flags"]) & POSITION_TOO_LARGE != 0:
        state |= ACCOUNT_REDUCE_ONLY
    word = pair(account, state)
    emit(books, _ACCOUNT_STATE, market, meta["ordinal"], equity_e6, meta["now_ns"], word, 0)


@kernel
def emit_free(books: Books, taker: int, taker_free_e6: int, maker: int, maker_free_e6: int) -> None:
    """Tell both sides of a fill at once, or one account as `taker` with maker = -1, what they may still use."""
    seq = books.sources[at(_MATCHING)]["last_seq"]
    word = pair(taker, maker)
    emit(books, _FREE_COLLATERAL, -1, books.meta[0]["ordinal"], seq, taker_free_e6, maker_free_e6, word)


@kernel
def tells_free(books: Books, account: int, before_e6: int) -> int:
    """1 if a frame that touched `account`, whose free balance was before_e6, must tell what it may use now.

    What cross positions keep of it moves with every fill and setting. The insurance fund's is nobody's to use.
    """
    row = books.accounts[account]
    if account == 0:
        return 0
    return 1 if row["free_e6"] != before_e6 or wide(row["flags"]) & ACCOUNT_CROSS != 0 else 0


@kernel
def tell_free(books: Books, account: int, before_e6: int) -> None:
    """After a frame that touched one account, whose free balance was before_e6: tell it if that changed."""
    if tells_free(books, account, before_e6) == 1:
        emit_free(books, account, free_of(books, account), -1, 0)


@kernel
def tell_free_of_both(books: Books, taker: int, taker_e6: int, maker: int, maker_e6: int) -> None:
    """The same after a fill. taker_e6, maker_e6: free balances before it."""
    if tells_free(books, taker, taker_e6) + tells_free(books, maker, maker_e6) > 0:
        emit_free(books, taker, free_of(books, taker), maker, free_of(books, maker))


@kernel
def set_market_state(books: Books, market: int, bit: int, on: int, reason: int) -> None:
    """Set or clear one state bit of a market; an output only if that changes it."""
    row = books.markets[market]
    before = row["state"]
    after = (before | bit) if on == 1 else (before & ~bit)
    if after != before:
        row["state"] = after
        emit_market_state(books, market, reason)


@kernel
def refuse(books: Books, head: Record, account: int, reason: int, detail: int) -> None:
    """Account for a refused frame: count it, tell it, and freeze its market if it was a fill.

    head: the frame's FRAME record. Hints (feeds, risk) are refused without an output. An open refusal waits
    in `books.refusals` for its correction; past the table's end only its market's count remembers it.
    """
    meta = books.meta[0]
    meta["refused"] += 1
    source = wide(head["source"])
    if source == _HINTS[0] or source == _HINTS[1]:
        return
    market = wide(head["market"])
    template = wide(head["template"])
    emit(
        books,
        _REFUSAL,
        market,
        head["seq"],
        meta["ordinal"],
        detail,
        pair(account, template),
        pair(source, reason),
    )
    if template != _FILL or market < 0 or market >= meta["markets"]:
        return
    books.markets[market]["open_refusals"] += 1
    n = meta["open_refusals"]
    if n < MAX_OPEN_REFUSALS:
        books.refusals[n]["source"] = source
        books.refusals[n]["market"] = market
        books.refusals[n]["seq"] = head["seq"]
        meta["open_refusals"] = n + 1
    set_market_state(books, market, MARKET_FROZEN, 1, reason)
