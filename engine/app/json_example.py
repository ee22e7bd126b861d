"""Lines of JSON to begin with: an exchange with one market, and a first trade on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from solders.pubkey import Pubkey

from engine.core.params import Row, exchange_rows, market_rows

MARKET = "BTC"
_PRICE_EXP, _LOT_EXP = 7, 4
_PRICE = "66940.3"
_FEEDS = 3


def market_lines() -> Iterator[dict[str, Any]]:
    """One change of parameters: tiers, fees, and a market for `MARKET`. In force at the engine's next tick."""
    rows = exchange_rows() + market_rows(
        0, MARKET, price_exp=_PRICE_EXP, lot_exp=_LOT_EXP, feeds=_FEEDS, leverage=10
    )
    yield {"type": "params", "change": 1, "rows": [_row(row) for row in rows]}


def trade_lines() -> Iterator[dict[str, Any]]:
    """Two accounts with a deposit each, what three providers say of the price now, and a fill between the two."""
    for account in (1, 2):
        yield {"type": "account", "key": str(Pubkey(bytes([account] * 32))), "tier": 0}
    for account in (1, 2):
        yield {"type": "transfer", "kind": "deposit", "account": account, "quote": "10000", "number": 1}
    now_ms = time.time_ns() // 1_000_000
    for feed in range(_FEEDS):
        yield {"type": "observation", "kind": "oracle", "market": MARKET, "price": _PRICE, "conf": "12.5",
               "feed": feed, "time_ms": now_ms}  # fmt: skip
    yield {"type": "fill", "market": MARKET, "price": _PRICE, "size": "0.5", "side": "buy", "maker": 1, "taker": 2,
           "trade_id": 1, "time_ms": now_ms}  # fmt: skip


EXAMPLES = {"market": market_lines, "trade": trade_lines}


def _row(row: Row) -> list[Any]:
    return [row.key.name, row.row, row.value, row.value2]
