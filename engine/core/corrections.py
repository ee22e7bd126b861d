"""What comes back: outcomes of settled batches, and an operator's corrections of refused frames."""

from __future__ import annotations

from engine.core.outputs import emit_account_state, set_market_state
from engine.core.prices import restart_market
from engine.core.state import Books
from kernels.frames import CorrectionKind, OutcomeStage, Refusal
from kernels.jit import kernel, routine
from kernels.layouts import ACCOUNT_FROZEN, MARKET_FROZEN, MARKET_HALTED
from kernels.types import Record, wide

_OK = int(Refusal.NONE)
_BATCH = int(Refusal.BATCH_OUT_OF_ORDER)
_NOTHING = int(Refusal.NOTHING_TO_CORRECT)
_KIND = int(Refusal.UNKNOWN_KIND)
_COMMIT = int(OutcomeStage.COMMIT)
_CHUNK = int(OutcomeStage.CHUNK)
_SETTLED = int(OutcomeStage.SETTLED)
_VOID = int(CorrectionKind.VOID)
_REPLACED = int(CorrectionKind.REPLACED)
_MARKET = int(CorrectionKind.MARKET)
_ACCOUNT = int(CorrectionKind.ACCOUNT)


@kernel
def apply_outcome(books: Books, frame: Record) -> int:
    """A finalized transaction, or a batch all of whose transactions are. Batches settle in order."""
    meta = books.meta[0]
    stage = wide(frame["stage"])
    if stage == _SETTLED:
        if frame["batch"] != meta["settled_batch"] + 1:
            return _BATCH
        meta["settled_batch"] += 1
    elif stage != _COMMIT and stage != _CHUNK:
        return _KIND
    elif frame["batch"] <= meta["settled_batch"]:
        return _BATCH
    meta["outcomes"] += 1
    return _OK


@routine
def apply_correction(books: Books, frame: Record) -> int:
    """Close open refusals; a market without any is no longer frozen."""
    kind = wide(frame["kind"])
    if kind == _VOID or kind == _REPLACED:
        return close_refusal(books, wide(frame["refused_source"]), frame["refused_seq"])
    if kind == _MARKET:
        return close_market(books, wide(frame["market"]))
    if kind == _ACCOUNT:
        return thaw_account(books, frame["refused_seq"])
    return _KIND


@kernel
def close_refusal(books: Books, source: int, seq: int) -> int:
    """Close one open refusal; keeps the others in order."""
    meta = books.meta[0]
    rows = books.refusals
    count = meta["open_refusals"]
    for k in range(count):
        if wide(rows[k]["source"]) == source and rows[k]["seq"] == seq:
            m = wide(rows[k]["market"])
            for j in range(k, count - 1):
                rows[j] = rows[j + 1]
            meta["open_refusals"] = count - 1
            market = books.markets[m]
            market["open_refusals"] -= 1
            if market["open_refusals"] == 0:
                set_market_state(books, m, MARKET_FROZEN, 0, 0)
            return _OK
    return _NOTHING


@kernel
def close_market(books: Books, m: int) -> int:
    """Close every open refusal of a market and end its halt: it starts again, and waits for fresh prices."""
    meta = books.meta[0]
    if m < 0 or m >= meta["markets"]:
        return _NOTHING
    market = books.markets[m]
    if market["open_refusals"] == 0 and market["state"] & (MARKET_FROZEN | MARKET_HALTED) == 0:
        return _NOTHING
    rows = books.refusals
    kept = 0
    for k in range(meta["open_refusals"]):
        if wide(rows[k]["market"]) != m:
            rows[kept] = rows[k]
            kept += 1
    meta["open_refusals"] = kept
    market["open_refusals"] = 0
    if market["state"] & MARKET_HALTED != 0:
        restart_market(books, m, meta["now_ns"])
    set_market_state(books, m, MARKET_FROZEN | MARKET_HALTED, 0, 0)
    return _OK


@kernel
def thaw_account(books: Books, account: int) -> int:
    """End an account's freeze."""
    if account < 0 or account >= books.meta[0]["accounts"]:
        return _NOTHING
    if wide(books.accounts[account]["flags"]) & ACCOUNT_FROZEN == 0:
        return _NOTHING
    books.accounts[account]["flags"] &= ~ACCOUNT_FROZEN
    emit_account_state(books, account, -1, 0)
    return _OK
