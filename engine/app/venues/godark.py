"""An account under GoDark's own rules (MONEY.md), cross margin.

Integers throughout: `_e6` is 1e-6 USDC. A wrong field or an amount beyond the books' bounds is a
ParameterError that names it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.app.margin_account import Account, GodarkMarket, Market, bounded, exact, int64, units
from engine.app.venues.common import Report, e6, held_in, positions_of, require, trades_in
from engine.common.errors import ParameterError
from kernels import book, margin
from kernels.layouts import MAX_TIERS, PRICE_MAX, PRICE_MIN, TIER


def rule_of(market: Market) -> GodarkMarket:
    """The market's section for this venue, which whoever asks for a report has made sure of."""
    assert market.godark is not None
    return market.godark


def tiers_of(rule: GodarkMarket) -> NDArray[np.void]:
    """The margin tiers as the books keep them."""
    rows = np.zeros(MAX_TIERS, TIER)
    for k, (row, tier) in enumerate(zip(rows, rule.tiers, strict=False)):
        row["max_leverage"], row["initial_e12"] = tier.max_leverage, tier.initial_e12
        row["maintenance_e12"], row["margin_set"] = tier.maintenance_e12, 1
        row["max_notional_e6"] = e6(tier.max_notional_usdc, f"godark.tiers[{k}].max_notional_usdc")
    return rows


def scale_of(rule: GodarkMarket) -> tuple[int, int]:
    """(quote_mul, quote_div): size * price * quote_mul / quote_div is 1e-6 USDC."""
    return 10 ** max(0, 6 - rule.price_exp), 10 ** max(0, rule.price_exp - 6)


def _price(market: Market, rule: GodarkMarket, where: str) -> int:
    value = units(market.price, rule.lot_exp - rule.price_exp, f"{where}.price")
    return bounded(value, PRICE_MIN, PRICE_MAX, f"{where}.price in 10**-{rule.price_exp} USDC per lot")


def _size(amount: str | int, rule: GodarkMarket, field: str) -> int:
    limit = int(book.size_limit(*scale_of(rule)))
    return bounded(units(amount, -rule.lot_exp, field), -limit, limit, f"{field} in lots")


def report(account: Account) -> Report:
    """Equity, requirement, liquidation, insurance of a close, trades and fees by GoDark's rule."""
    positions, initial, need = [], 0, 0
    equity = e6(account.cash_usdc, "cash_usdc")
    for k, held, market in positions_of(account):
        rule, where = rule_of(market), f"positions[{k}]"
        tiers, scale = tiers_of(rule), scale_of(rule)
        tier = int(margin.tier_of(tiers, rule.leverage))
        if tier < 0:
            raise ParameterError(f"markets.{held.market}.godark.leverage: no tier admits {rule.leverage}")
        price = _price(market, rule, f"markets.{held.market}")
        size = _size(held.size, rule, f"{where}.size")
        quote = e6(held.quote_usdc, f"{where}.quote_usdc")
        _, notional, ok = margin.valued(size, price, *scale)
        require(ok, f"{where}: godark notional")
        own, ok = margin.equity_e6(size, quote, 0, 0, 0, 10**rule.price_exp, price, *scale)
        require(ok, f"{where}: godark equity")
        asked = {
            "initial_e6": int(margin.initial_e6(tiers, rule.leverage, notional, 0)),
            "maintenance_e6": int(margin.maintenance_e6(tiers, tier, notional, 0)),
        }
        equity, initial = equity + int(own), initial + asked["initial_e6"]
        need += asked["maintenance_e6"]
        positions.append({"market": held.market, **asked, "unrealised_pnl_e6": int(own)})
    out: Report = {
        "collateral_e6": int64(equity, "godark equity"),
        "initial_e6": int64(initial, "godark initial requirement"),
        "maintenance_e6": int64(need, "godark maintenance requirement"),
        "liquidatable": bool(margin.liquidatable(equity, need)),
        "positions": positions,
    }
    if account.close is not None:
        out["close"] = _close(account)
    if account.trades:
        out["trades"] = _trades(account)
    if account.fees is not None and account.fees.godark is not None:
        out["fees"] = _fees(account)
    return out


def _close(account: Account) -> Report:
    """A full close of the position, taken as isolated on its own quote: what goes to free, what insurance
    covers and what stays as bad debt."""
    close = account.close
    assert close is not None
    held = held_in(account, close.market)
    size = exact(close.size, "close.size")
    if size != -exact(held.size, "close: size held"):
        return {"refused": "the books' close_out is of a whole position"}
    fill = e6(close.fill_quote_usdc, "close.fill_quote_usdc")
    cash = e6(held.quote_usdc, "close: quote held") + (fill if size < 0 else -fill)
    insurance = bounded(
        e6(close.insurance_usdc, "close.insurance_usdc"), 0, 2**63 - 1, "close.insurance_usdc in 1e-6"
    )
    limit = 2**61
    bounded(cash, -limit, limit, "close: cash after the fill in 1e-6 USDC")
    transfer, cover = book.close_out(cash, 1, insurance)
    return {
        "to_free_e6": -int(transfer),
        "insurance_delta_e6": -int(cover),
        "bad_debt_e6": -(cash + int(transfer) + int(cover)),
    }


def _trades(account: Account) -> list[Report]:
    out = []
    for name, market in account.markets.items():
        rule = rule_of(market)
        held = held_in(account, name)
        size = _size(held.size, rule, f"size held in {name}")
        cost = -e6(held.quote_usdc, f"quote held in {name}")
        for field, trade in trades_in(account, name):
            delta = _size(trade.size, rule, f"{field}.size")
            quote = -e6(trade.quote_usdc, f"{field}.quote_usdc")
            limit = 2**61
            bounded(quote, -limit, limit, f"{field}.quote_usdc in 1e-6")
            bounded(cost, -limit, limit, f"{field}: godark cost in 1e-6 USDC")
            cost, realised = (int(x) for x in book.next_cost(size, cost, delta, quote))
            size = bounded(size + delta, -limit, limit, f"{field}.size in lots")
            out.append({"trade": field, "realised_pnl_e6": realised, "cost_e6": cost})
    return out


def _fees(account: Account) -> Report:
    fees = account.fees
    assert fees is not None
    assert fees.godark is not None
    quote = e6(fees.notional_usdc, "fees.notional_usdc")
    limit = 2**61
    bounded(quote, 0, limit, "fees.notional_usdc in 1e-6")
    one = 10**9
    taker, ok = book.fee_of(quote, bounded(fees.godark.taker_e9, 0, one, "fees.godark.taker_e9"))
    require(ok, "fees: godark taker")
    maker, ok = book.fee_of(quote, bounded(fees.godark.maker_e9, -one, one, "fees.godark.maker_e9"))
    require(ok, "fees: godark maker")
    return {
        "taker_pays_e6": int(taker),
        "maker_receives_e6": -int(maker),
        "house_receives_e6": int(taker) + int(maker),
    }
