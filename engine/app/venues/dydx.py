"""An account under dYdX v4's rules.

Integers throughout: `_e6` is 1e-6 USDC, {"num", "den"} an exact rational. A rule that does not apply answers
{"refused": reason}; a wrong field or an amount beyond int64 is a ParameterError that names it.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from engine.app.margin_account import Account, DydxMarket, Market, bounded, int64, units
from engine.app.venues.common import (
    QUOTE_EXPONENT,
    Report,
    answer,
    e6,
    held_in,
    positions_of,
    rational,
    require,
    trades_in,
)
from kernels.venues import dydx
from kernels.venues.exact import LIMBS, int_of_limbs
from kernels.venues.status import OK


def rule_of(market: Market) -> DydxMarket:
    """The market's section for this venue, which whoever asks for a report has made sure of."""
    assert market.dydx is not None
    return market.dydx


def rows_of(account: Account) -> NDArray[np.void]:
    """The positions as dydx.POSITION[n]. ParameterError: one is not exact in the market's units."""
    rows = np.zeros(len(account.positions), dydx.POSITION)
    for k, held, market in positions_of(account):
        rule, where = rule_of(market), f"markets.{held.market}"
        rows[k]["size_base"] = units(held.size, rule.base_resolution, f"positions[{k}].size")
        rows[k]["price"] = units(market.price, rule.price_exponent, f"{where}.price")
        rows[k]["exponent"] = rule.price_exponent + rule.base_resolution - QUOTE_EXPONENT
        rows[k]["initial_ppm"] = rule.initial_margin_ppm
        rows[k]["maintenance_ppm"] = rule.maintenance_fraction_ppm
    return rows


def _net_cash_e6(account: Account) -> int:
    total = e6(account.cash_usdc, "cash_usdc")
    total += sum(e6(p.quote_usdc, f"positions[{k}].quote_usdc") for k, p in enumerate(account.positions))
    return int64(total, "cash_usdc with every quote_usdc")


def report(account: Account) -> Report:
    """Requirement, liquidation, prices of a close, insurance and open interest by dYdX v4's rule."""
    rows, usdc = rows_of(account), _net_cash_e6(account)
    positions, initial = [], 0
    for k, held, market in positions_of(account):
        rule, where = rule_of(market), f"markets.{held.market}.dydx"
        asked = dydx.margin_requirement(
            *(int(rows[k]["size_base"]), int(rows[k]["price"]), int(rows[k]["exponent"])),
            rule.initial_margin_ppm,
            rule.maintenance_fraction_ppm,
            units(rule.open_interest, rule.base_resolution, f"{where}.open_interest"),
            e6(rule.oi_lower_cap_usdc, f"{where}.oi_lower_cap_usdc"),
            e6(rule.oi_upper_cap_usdc, f"{where}.oi_upper_cap_usdc"),
        )
        require(asked[2], f"positions[{k}]: dydx requirement")
        initial += int(asked[0])
        positions.append(
            {"market": held.market, "initial_e6": int(asked[0]), "maintenance_e6": int(asked[1])}
        )
    net, need, status = dydx.account_totals(usdc, rows)
    require(status, "dydx collateral")
    out: Report = {
        "collateral_e6": int(net),
        "initial_e6": int64(initial, "dydx initial requirement"),
        "maintenance_e6": int(need),
        "liquidatable": bool(dydx.is_liquidatable(net, need)),
        "positions": positions,
    }
    if account.close is not None:
        out["close"] = _close(account, rows, usdc)
    if account.trades:
        out["trades"] = _trades(account)
    return out


def fillable_price(
    usdc: int, rows: NDArray[np.void], k: int, adjustment_ppm: int, spread_ppm: int
) -> tuple[Fraction, int]:
    """(price in quote units per base unit, status); the price is 0 if the status is not OK."""
    num, den = np.zeros((2, LIMBS), np.int64)
    status = dydx.fillable_price(usdc, rows, k, adjustment_ppm, spread_ppm, num, den)
    price = Fraction(int_of_limbs(num), int_of_limbs(den)) if status == OK else Fraction(0)
    return price, int(status)


def _close(account: Account, rows: NDArray[np.void], usdc: int) -> Report:
    close = account.close
    assert close is not None
    k = next(k for k, held in enumerate(account.positions) if held.market == close.market)
    rule = rule_of(account.markets[close.market])
    delta = units(close.size, rule.base_resolution, "close.size")
    fill = e6(close.fill_quote_usdc, "close.fill_quote_usdc")
    adjustment = bounded(close.bankruptcy_adjustment_ppm, 0, 2**32 - 1, "close.bankruptcy_adjustment_ppm")
    spread = bounded(close.spread_to_maintenance_ppm, 0, 2**32 - 1, "close.spread_to_maintenance_ppm")
    fee = bounded(close.max_liquidation_fee_ppm, 0, 1_000_000, "close.max_liquidation_fee_ppm")
    per_coin = Fraction(10) ** (QUOTE_EXPONENT - rule.base_resolution)
    quote, status = dydx.bankruptcy_quote(usdc, rows, k, delta)
    # A close of the wrong side or too much of it is the file's mistake, whatever the account holds.
    if delta == 0 or abs(delta) > abs(int(rows[k]["size_base"])) or delta * int(rows[k]["size_base"]) > 0:
        require(status, "close.size")
    worst, status_price = fillable_price(usdc, rows, k, adjustment, spread)
    paid, status_paid = dydx.insurance_delta(usdc, rows, k, int(delta > 0), abs(delta), fill, fee)
    return {
        "bankruptcy_quote_e6": answer(status, "close: dydx bankruptcy price", lambda: int(quote)),
        "bankruptcy_price": answer(
            status, "close: dydx bankruptcy price", lambda: rational(quote, -delta, per_coin)
        ),
        "fillable_price": answer(
            status_price,
            "close: dydx fillable price",
            lambda: rational(worst.numerator, worst.denominator, per_coin),
        ),
        "insurance_delta_e6": answer(status_paid, "close: dydx insurance", lambda: int(paid)),
    }


def _trades(account: Account) -> list[Report]:
    out = []
    for name, market in account.markets.items():
        resolution = rule_of(market).base_resolution
        size = units(held_in(account, name).size, resolution, f"size held in {name}")
        for field, trade in trades_in(account, name):
            delta = units(trade.size, resolution, f"{field}.size")
            if trade.other_size is not None:
                other = units(trade.other_size, resolution, f"{field}.other_size")
                change, status = dydx.open_interest_delta(size, delta, other, -delta)
                require(status, f"{field}: dydx open interest")
                out.append({"trade": field, "open_interest_delta_base": int(change)})
            size = int64(size + delta, f"{field}.size")
    return out
