"""An account under Mango v4's rules.

Integers throughout: `_e6` is 1e-6 USDC, {"num", "den"} an exact rational. A rule that does not apply answers
{"refused": reason}; a wrong field or an amount beyond int64 is a ParameterError that names it.
"""

from __future__ import annotations

from fractions import Fraction

from engine.app.margin_account import Account, Amount, MangoMarket, Market, exact, int64, units
from engine.app.venues.common import (
    QUOTE_EXPONENT,
    Report,
    e6,
    held_in,
    positions_of,
    rational,
    require,
    trades_in,
)
from engine.common.errors import ParameterError
from kernels.venues import mango


def rule_of(market: Market) -> MangoMarket:
    """The market's section for this venue, which whoever asks for a report has made sure of."""
    assert market.mango is not None
    return market.mango


def report(account: Account) -> Report:
    """PnL of positions and of a list of trades by Mango v4's rule. Its health weights are per token and not
    part of what is reproduced here, so it states no requirement."""
    positions = []
    for k, held, market in positions_of(account):
        rule, where = rule_of(market), f"positions[{k}]"
        native = exact(market.price, f"markets.{held.market}.price") * Fraction(10) ** (
            -QUOTE_EXPONENT - rule.base_decimals
        )
        num, den, status = mango.unsettled_pnl(
            lots_of(held.size, rule, f"{where}.size"),
            rule.base_lot_size,
            e6(held.quote_usdc, f"{where}.quote_usdc"),
            int64(native.numerator, f"markets.{held.market}.price"),
            int64(native.denominator, f"markets.{held.market}.price"),
        )
        require(status, f"{where}: mango unsettled PnL")
        positions.append({"market": held.market, "unsettled_pnl_e6": rational(num, den)})
    out: Report = {"positions": positions}
    if account.trades:
        out["trades"] = _trades(account)
    return out


def lots_of(amount: Amount, rule: MangoMarket, field: str) -> int:
    """`amount` of coins in base lots. ParameterError: it is no whole number of them."""
    native = units(amount, -rule.base_decimals, field)
    if native % rule.base_lot_size:
        raise ParameterError(f"{field}: {amount} is not a whole number of lots of {rule.base_lot_size}")
    return native // rule.base_lot_size


def _trades(account: Account) -> list[Report]:
    out = []
    for name, market in account.markets.items():
        held = held_in(account, name)
        lots = lots_of(held.size, rule_of(market), f"size held in {name}")
        running = e6(held.quote_usdc, f"quote held in {name}")
        average = Fraction(abs(running), abs(lots)) if lots else Fraction(0)
        num, den = average.numerator, average.denominator
        for field, trade in trades_in(account, name):
            lots, num, den, running, pnl, pnl_den, status = mango.trade(
                *(lots, num, den, running),
                lots_of(trade.size, rule_of(market), f"{field}.size"),
                e6(trade.quote_usdc, f"{field}.quote_usdc"),
            )
            require(status, f"{field}: mango PnL")
            even, even_den, status = mango.break_even(lots, running)
            require(status, f"{field}: mango break-even")
            out.append(
                {
                    "trade": field,
                    "realised_pnl_e6": rational(pnl, pnl_den),
                    "entry_e6_per_lot": rational(num, den),
                    "break_even_e6_per_lot": rational(even, even_den),
                }
            )
    return out
