"""The model's state as the arrays of `kernels.layouts`, byte for byte: what the state digest is taken over."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.core.state import Section
from kernels import layouts
from kernels.frames import PARAM
from kernels.oracle_rules import ORACLE
from relayer.verify.model_state import Feed, Ledger, Market

_WORD = 1 << 64
_BLANK_FEED = Feed()


def signed(word: int) -> int:
    """The int64 with the bits of `word` modulo 2**64."""
    word %= _WORD
    return word - _WORD if word >= _WORD // 2 else word


def sections_of(ledger: Ledger) -> list[Section]:
    """Every section of `State.sections()`, in its order, built anew."""
    return [
        Section("meta", meta_rows(ledger)),
        Section("sources", source_rows(ledger)),
        Section("accounts", account_rows(ledger)),
        Section("keys", key_rows(ledger)),
        Section("positions", position_rows(ledger)),
        Section("markets", market_rows(ledger)),
        Section("feeds", feed_rows(ledger)),
        Section("oracles", oracle_rows(ledger)),
        Section("tiers", tier_rows(ledger)),
        Section("refusals", np.array([tuple(row) for row in ledger.refusals], layouts.OPEN_REFUSAL)),
        Section("outbox", np.frombuffer(b"".join(ledger.outbox), "<i8").reshape(-1, 8)),
        Section("staged", np.frombuffer(b"".join(ledger.staged), PARAM)),
        Section("liquidations", liquidation_rows(ledger)),
    ]


def meta_rows(ledger: Ledger) -> NDArray[np.void]:
    """META[1]: counters, lengths and exchange-wide parameters."""
    numbers = {
        "accounts": len(ledger.accounts),
        "positions": len(ledger.positions),
        "markets": ledger.tables.count,
        "outputs": ledger.outputs,
        "open_refusals": len(ledger.refusals),
        "staged": len(ledger.staged),
        "batch_window_ns": ledger.tables.batch_window_ns,
        "observation_age_ns": ledger.tables.observation_age_ns,
        "hold_ns": ledger.tables.hold_ns,
        "liquidation_fee_e9": ledger.tables.liquidation_fee_e9,
        "reserve_e12": ledger.tables.reserve_e12,
        "liquidations": len(ledger.liquidations),
    }
    rows = np.zeros(1, layouts.META)
    rows[0] = tuple(
        numbers[name] if name in numbers else getattr(ledger.meta, name) for name in names_of(layouts.META)
    )
    return rows


def names_of(dtype: np.dtype[Any]) -> tuple[str, ...]:
    """Field names of a record."""
    return dtype.names or ()


def source_rows(ledger: Ledger) -> NDArray[np.void]:
    """SOURCE[256]."""
    rows = np.zeros(layouts.SOURCES, layouts.SOURCE)
    for source, seq in ledger.last_seq.items():
        rows[source] = (seq,)
    return rows


def account_rows(ledger: Ledger) -> NDArray[np.void]:
    """ACCOUNT[accounts]. Of markets with the same low three bits an account's first has the near entry."""
    near = [[0] * layouts.NEAR_ENTRIES for _ in ledger.accounts]
    for slot, p in enumerate(ledger.positions):
        if near[p.account][p.market % 8] == 0 and slot + 1 < 1 << 26:
            near[p.account][p.market % 8] = (slot + 1) * 32 + p.market // 8
    crossing = {position.account for position in ledger.positions if position.cross}
    rows = [
        (
            account.tier,
            (1 if account.frozen else 0) + (4 if number in crossing else 0),
            account.free_e6,
            account.event_no,
            account.nonce,
            near[number],
        )
        for number, account in enumerate(ledger.accounts)
    ]
    return np.array(rows, layouts.ACCOUNT)


def key_rows(ledger: Ledger) -> NDArray[np.void]:
    """KEY[accounts]."""
    return np.array([account.key for account in ledger.accounts], layouts.KEY)


def position_rows(ledger: Ledger) -> NDArray[np.void]:
    """POSITION[positions], in the order of first touch."""
    under = {(row.account, row.market): n for n, row in enumerate(ledger.liquidations, 1)}
    rows = [
        (
            p.account,
            p.market,
            1 if p.cross else 0,
            (1 if p.too_large else 0) + (2 if (p.account, p.market) in under else 0),
            p.size,
            p.cash,
            p.idx,
            p.rem,
            p.cost_e6,
            p.realised_e6,
            p.leverage,
            under.get((p.account, p.market), 0),
        )
        for p in ledger.positions
    ]
    return np.array(rows, layouts.POSITION)


def liquidation_rows(ledger: Ledger) -> NDArray[np.void]:
    """LIQUIDATION[under way]."""
    names = names_of(layouts.LIQUIDATION)
    return np.array(
        [tuple(getattr(row, n) for n in names) for row in ledger.liquidations], layouts.LIQUIDATION
    )


def market_row(market: Market) -> tuple[int, ...]:
    """One row of MARKET; the sum of size·idx takes two words."""
    wide = {
        "sum_size_idx_hi": market.sum_size_idx >> 64,
        "sum_size_idx_lo": signed(market.sum_size_idx),
    }
    return tuple(wide[name] if name in wide else getattr(market, name) for name in names_of(layouts.MARKET))


def market_rows(ledger: Ledger) -> NDArray[np.void]:
    """MARKET[markets in force]."""
    rows = [market_row(ledger.tables.markets[number]) for number in range(ledger.tables.count)]
    return np.array(rows, layouts.MARKET)


def feed_rows(ledger: Ledger) -> NDArray[np.void]:
    """FEED[markets in force · 16]."""
    rows = []
    for number in range(ledger.tables.count):
        weights, feeds = ledger.tables.weights.get(number, {}), ledger.feeds.get(number, {})
        for slot in range(layouts.FEED_SLOTS):
            feed = feeds.get(slot, _BLANK_FEED)
            rows.append((weights.get(slot, 0), feed.publish_ns, feed.price, feed.conf, feed.slot))
    return np.array(rows, layouts.FEED)


def oracle_rows(ledger: Ledger) -> NDArray[np.void]:
    """ORACLE[markets in force]: rules and rounds."""
    oracles = [ledger.tables.oracles[number] for number in range(ledger.tables.count)]
    return np.array([tuple(getattr(o, name) for name in names_of(ORACLE)) for o in oracles], ORACLE)


def tier_rows(ledger: Ledger) -> NDArray[np.void]:
    """TIER[16]."""
    rows = np.zeros(layouts.MAX_TIERS, layouts.TIER)
    for number, tier in ledger.tables.tiers.items():
        rows[number] = tuple(getattr(tier, name) for name in names_of(layouts.TIER))
    return rows
