"""Why a file is not covered: what is known of its kind, in words for whoever must decide without it.

A file is covered where a published number follows by a rule from others that are published too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.conformance.data import DataFile

COLUMNS_SHOWN = 6


class Reason(NamedTuple):
    """How a kind of file is recognised, and why its rows are not recomputed."""

    claims: Callable[[DataFile], bool]
    text: str


def _table(*columns: str) -> Callable[[DataFile], bool]:
    return lambda file: file.kind == "table" and file.keys >= set(columns)


def _lines(*keys: str) -> Callable[[DataFile], bool]:
    return lambda file: file.kind == "lines" and file.keys >= set(keys)


def _named(*parts: str) -> Callable[[DataFile], bool]:
    return lambda file: all(part in file.name for part in parts)


def _captured(file: DataFile) -> bool:
    return file.kind == "lines" and file.keys == {"received", "body"}


REASONS = (
    Reason(
        _table("open_time_ms", "low", "high", "close"),
        "premiums only: an input of market R8, where the funding file of the same contract lies beside it",
    ),
    Reason(
        _table("calc_time_ms", "funding_interval_hours", "funding_rate"),
        "rates without the premiums that they come from: R8 needs *_premium_index_1h beside *_funding_mark",
    ),
    Reason(
        _table("timestamp", "close", "funding_rate"),
        "BitMEX publishes neither the premium index nor the impact prices that its rates come from",
    ),
    Reason(
        _table("time", "coin", "szi", "usdc", "fundingRate"),
        "a payment is size x rate x oracle price, and the oracle price of the hour is not published with it",
    ),
    Reason(
        _table("time", "user", "liquidated_ntl_pos", "liquidated_account_value"),
        "values at liquidation without positions, prices or the margin table in force: no requirement follows",
    ),
    Reason(
        _table("time", "user", "delta_usd"),
        "deposits and withdrawals without balances: no number follows from the others",
    ),
    Reason(
        _table("time", "coin", "side", "px", "sz", "closedPnl"),
        "PnL of closes whose entry prices lie before the first row; the data's README gives no rule for it",
    ),
    Reason(
        _table("time", "user", "coin", "side", "px", "sz", "crossed"),
        "fill sides without the market makers' half: they sum to nothing (godark replay takes them)",
    ),
    Reason(
        _table("exchange", "symbol", "id", "side", "price", "amount"),
        "trades without accounts: nothing in them follows from the rest (godark replay takes them)",
    ),
    Reason(
        _table("asks[0].price", "bids[0].price"),
        "book snapshots without a second source of the same moment to hold them against (godark book reads them)",
    ),
    Reason(
        _table("user", "base_asset_amount", "quote_asset_amount", "lp_shares"),
        "positions whose table of markets, which they must sum to (R7), is not beside them",
    ),
    Reason(
        _table("base_long_1e9", "quote_asset_amount_1e6"),
        "sums of a whole exchange whose table of positions (R7) is not beside them",
    ),
    Reason(
        _lines("ts", "user", "perps", "spots"),
        "account states hours apart without the fills between them: no change can be recomputed",
    ),
    Reason(
        lambda file: _captured(file) and _named("l2book")(file),
        "whole books without a second source of the same moment to hold them against (godark book reads them)",
    ),
    Reason(
        lambda file: _captured(file) and _named("binance_", "_raw_")(file),
        "a capture without a book snapshot, or without bookTicker to hold a rebuilt book against (R9 needs both)",
    ),
    Reason(
        _named("cryptofeed_"),
        "a recorded WebSocket session of a venue whose messages state no number that follows from others",
    ),
    Reason(
        lambda file: file.kind == "document" and file.keys >= {"data_base64", "expected"},
        "an oracle account: its decoders come with the live price feeds, which are not built yet",
    ),
)


def reason_of(file: DataFile) -> str:
    """In words. Raises Malformed where the file cannot even be looked at."""
    if named := file.family:
        return f"unknown family {named}"
    known = next((reason.text for reason in REASONS if reason.claims(file)), None)
    if known is not None:
        return known
    if not file.keys:
        return f"unknown {file.kind}"
    shown = sorted(file.keys) if file.kind != "table" else list(file.header)
    more = ", …" if len(shown) > COLUMNS_SHOWN else ""
    return f"unknown {file.kind}: no rule is known for {', '.join(shown[:COLUMNS_SHOWN])}{more}"
