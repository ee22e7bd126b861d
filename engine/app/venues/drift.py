"""An account under Drift v2's rules.

Integers throughout: `_e6` is 1e-6 USDC, {"num", "den"} an exact rational. A rule that does not apply answers
{"refused": reason}; a wrong field or an amount beyond int64 is a ParameterError that names it.
"""

from __future__ import annotations

from engine.app.margin_account import Account, DriftMarket, Market, bounded, int64, units
from engine.app.venues.common import Report, answer, e6, held_in, positions_of, require, trades_in
from kernels.venues import drift

BASE_EXPONENT = -9


def rule_of(market: Market) -> DriftMarket:
    """The market's section for this venue, which whoever asks for a report has made sure of."""
    assert market.drift is not None
    return market.drift


def report(account: Account) -> Report:
    """Requirement, liquidation, base and fees of a close, lost collateral and trades by Drift v2's rule."""
    positions, initial, need = [], 0, 0
    collateral = e6(account.cash_usdc, "cash_usdc")
    for k, held, market in positions_of(account):
        rule, where = rule_of(market), f"positions[{k}]"
        base = units(held.size, BASE_EXPONENT, f"{where}.size")
        price = e6(market.price, f"markets.{held.market}.price")
        pnl, status = drift.unrealised_pnl(base, e6(held.quote_usdc, f"{where}.quote_usdc"), price)
        require(status, f"{where}: drift unrealised PnL")
        asked = []
        for ratio in (rule.initial_ratio_1e4, rule.maintenance_ratio_1e4):
            value, status = drift.margin_requirement(base, price, ratio, rule.imf_factor_1e6)
            require(status, f"{where}: drift requirement")
            asked.append(int(value))
        collateral, initial, need = collateral + int(pnl), initial + asked[0], need + asked[1]
        positions.append(
            {
                "market": held.market,
                "initial_e6": asked[0],
                "maintenance_e6": asked[1],
                "unrealised_pnl_e6": int(pnl),
            }
        )
    out: Report = {
        "collateral_e6": int64(collateral, "drift collateral"),
        "initial_e6": int64(initial, "drift initial requirement"),
        "maintenance_e6": int64(need, "drift maintenance requirement"),
        "liquidatable": bool(drift.is_liquidatable(collateral, need)),
        "positions": positions,
    }
    if account.close is not None:
        out["close"] = _close(account, collateral, need)
    if account.trades:
        out["trades"] = _trades(account)
    if account.fees is not None and account.fees.drift is not None:
        out["fees"] = _fees(account)
    return out


def _close(account: Account, collateral: int, need: int) -> Report:
    close = account.close
    assert close is not None
    market = account.markets[close.market]
    rule, where = rule_of(market), f"markets.{close.market}.drift"
    held = held_in(account, close.market)
    base = abs(units(held.size, BASE_EXPONENT, "close: size held"))
    price, one = e6(market.price, f"markets.{close.market}.price"), 10**6
    shortage = max(0, int64(need - collateral, "drift margin shortage"))
    ratio, fee = rule.maintenance_ratio_1e4, rule.liquidator_fee_1e6
    insurance, status = drift.insurance_fee(
        shortage, base, ratio, fee, price, one, rule.insurance_fee_max_1e6
    )
    require(status, "close: drift insurance fee")
    size, status = drift.base_to_cover_shortage(shortage, ratio, fee, insurance, price, one)
    loss = min(0, collateral)
    longs = units(rule.long_base, BASE_EXPONENT, f"{where}.long_base")
    shorts = units(rule.short_base, BASE_EXPONENT, f"{where}.short_base")
    rate, status_loss = drift.socialised_loss_rate(loss, longs, shorts)
    return {
        "margin_shortage_e6": shortage,
        "insurance_fee_1e6": int(insurance),
        "base_to_cover_1e9": answer(status, "close: drift base to cover", lambda: int(size)),
        "socialised_loss_rate_1e9": answer(status_loss, "close: drift loss", lambda: int(rate)),
    }


def _trades(account: Account) -> list[Report]:
    out = []
    for name in account.markets:
        held = held_in(account, name)
        base = units(held.size, BASE_EXPONENT, f"size held in {name}")
        quote = e6(held.quote_usdc, f"quote held in {name}")
        entry = even = quote
        for field, trade in trades_in(account, name):
            base, quote, entry, even, pnl, status = drift.position_update(
                *(base, quote, entry, even),
                units(trade.size, BASE_EXPONENT, f"{field}.size"),
                e6(trade.quote_usdc, f"{field}.quote_usdc"),
            )
            require(status, f"{field}: drift position")
            out.append({"trade": field, "realised_pnl_e6": int(pnl), "entry_e6": int(entry)})
    return out


def _fees(account: Account) -> Report:
    fees = account.fees
    assert fees is not None
    assert fees.drift is not None
    rule = fees.drift
    for name in ("taker_1e5", "maker_1e5"):
        bounded(getattr(rule, name), 0, 100_000, f"fees.drift.{name}")
    for name in ("discount_pct", "reward_pct"):
        bounded(getattr(rule, name), 0, 100, f"fees.drift.{name}")
    taker, maker, house, referrer, discount, status = drift.trade_fees(
        e6(fees.notional_usdc, "fees.notional_usdc"),
        rule.taker_1e5,
        rule.maker_1e5,
        bounded(rule.adjustment_pct, -100, 100, "fees.drift.adjustment_pct"),
        int(rule.referred),
        rule.discount_pct,
        rule.reward_pct,
    )
    require(status, "fees: drift")
    return {
        "taker_pays_e6": int(taker),
        "maker_receives_e6": int(maker),
        "house_receives_e6": int(house),
        "referrer_receives_e6": int(referrer),
        "discount_e6": int(discount),
    }
