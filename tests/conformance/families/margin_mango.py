"""Mango v4: PnL of a list of trades, and of a position that has not been settled."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

from engine.app.margin_account import int64
from engine.app.venues.common import require
from kernels.venues import mango
from tests.conformance.data import Malformed
from tests.conformance.margin_vectors import family, numbers


def _pair(value: Any, field: str) -> tuple[int, int]:
    """A decimal as (num, den), past the product's gate."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise Malformed(f"{field} is no exact number")
    exact = Fraction(Decimal(value))
    return int64(exact.numerator, field), int64(exact.denominator, field)


def _trades(inputs: dict[str, Any]) -> dict[str, Any]:
    start = inputs["start"]
    lots, running = numbers(start, "base_lots", "quote_running")
    num, den = _pair(start["avg_entry_per_lot"], "avg_entry_per_lot")
    realised = []
    for trade in inputs["trades"]:
        lots, num, den, running, pnl, pnl_den, status = mango.trade(
            lots, num, den, running, *numbers(trade, "base_lots", "quote")
        )
        require(status, "trade")
        realised.append(Fraction(int(pnl), int(pnl_den)))
    even, even_den, status = mango.break_even(lots, running)
    require(status, "break-even")
    return {
        "base_lots": int(lots),
        "quote_running": int(running),
        "avg_entry_per_lot": Fraction(int(num), int(den)),
        "break_even_per_lot": Fraction(int(even), int(even_den)),
        "realized_pnl_per_trade": realised,
    }


def _unsettled(inputs: dict[str, Any]) -> dict[str, Any]:
    held = numbers(inputs, "base_lots", "base_lot_size", "quote")
    num, den, status = mango.unsettled_pnl(*held, *_pair(inputs["oracle_price"], "oracle_price"))
    require(status, "unsettled PnL")
    return {"pnl_quote": Fraction(int(num), int(den))}


FAMILIES = [
    family("mango_trade_pnl", "mango.trade, mango.break_even", _trades),
    family("mango_unsettled_pnl", "mango.unsettled_pnl", _unsettled),
]
