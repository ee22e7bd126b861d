"""What positions of the model are worth and need: funding, tiers in slices, an account's cross side."""

from __future__ import annotations

import itertools

from relayer.verify import model_margin
from relayer.verify.model_state import Ledger, Market, Position, ceil_div, within

EVERYTHING_E6 = 2**62


def settle(position: Position, market: Market) -> tuple[int, int]:
    """(pay, rem) that bring a position to the market's index: divmod_floor(−size·(I − idx) + rem, D)."""
    if position.size == 0:
        return 0, position.rem
    owed = -position.size * (market.index_e6 - position.idx) + position.rem
    return divmod(owed, market.scale)


def value_floor(size: int, price: int, market: Market) -> int:
    """size·price in 1e-6 USDC, rounded down."""
    return size * price * market.quote_mul // market.quote_div


def notional_of(size: int, price: int, market: Market) -> int:
    """|size|·price in 1e-6 USDC, rounded up."""
    return ceil_div(abs(size) * price * market.quote_mul, market.quote_div)


def margin_tiers(ledger: Ledger) -> list[model_margin.Tier]:
    """The margin tiers in force; they count up to the first that is not set."""
    if ledger.tables.margin is None:
        rows = (ledger.tables.tiers.get(n) for n in range(len(ledger.tables.tiers)))
        ledger.tables.margin = [
            model_margin.Tier(row.max_leverage, row.initial_e12, row.maintenance_e12, row.max_notional_e6)
            for row in itertools.takewhile(lambda row: row is not None and row.margin_set, rows)
            if row is not None
        ]
    return ledger.tables.margin


def initial_need(ledger: Ledger, market: Market, own_leverage: int, size: int, price: int) -> int:
    """Initial margin of `size` at `price`, slice by slice: at least 1/leverage, at least its tier's, up."""
    leverage = own_leverage or market.leverage_default
    return model_margin.initial_e6(margin_tiers(ledger), leverage, notional_of(size, price, market), 0)


def too_large(ledger: Ledger, market: Market, own_leverage: int, size: int, price: int) -> bool:
    """Whether a position is larger than the first tier that admits its leverage allows."""
    leverage = own_leverage or market.leverage_default
    largest = next((t.max_notional_e6 for t in margin_tiers(ledger) if leverage <= t.max_leverage), 0)
    return largest > 0 and notional_of(size, price, market) > largest


def cross_positions(ledger: Ledger, account: int) -> list[Position]:
    """The open cross positions of an account."""
    markets = ledger.crossing.get(account, ())
    return [p for p in (ledger.position(account, number) for number in markets) if p is not None and p.size]


def equity_of(ledger: Ledger, position: Position, price: int) -> int | None:
    """Cash with funding settled, and worth at `price`; None without a price, or past the bounds."""
    market = ledger.tables.markets[position.market]
    pay, _ = settle(position, market)
    worth = value_floor(position.size, price, market)
    if price <= 0 or not within(pay, worth):
        return None
    return position.cash + pay + worth


def shortfall(ledger: Ledger, account: int) -> int | None:
    """What the cross side's requirement exceeds its equity and the free balance by; None: a mark is missing."""
    short = -ledger.accounts[account].free_e6
    for position in cross_positions(ledger, account):
        market = ledger.tables.markets[position.market]
        equity = equity_of(ledger, position, market.mark)
        if equity is None:
            return None
        short += initial_need(ledger, market, position.leverage, position.size, market.mark) - equity
    return short


def locked_e6(ledger: Ledger, account: int) -> int | None:
    """What cross positions need of the free balance: their requirement, and their loss together.

    A gain does not lower it. None: a mark is missing, so that nothing may be drawn.
    """
    needs, equity = 0, 0
    for position in cross_positions(ledger, account):
        market = ledger.tables.markets[position.market]
        own = equity_of(ledger, position, market.mark)
        if own is None:
            return None
        needs += initial_need(ledger, market, position.leverage, position.size, market.mark)
        equity += own
    return needs - min(0, equity)


def usable_e6(ledger: Ledger, account: int) -> int:
    """What a pre-trade check may use: free less what cross positions keep; -2**62 where a mark is missing."""
    locked = locked_e6(ledger, account)
    return (
        -EVERYTHING_E6 if locked is None else max(ledger.accounts[account].free_e6 - locked, -EVERYTHING_E6)
    )


def account_equity(ledger: Ledger, account: int, number: int, price: int) -> int:
    """Free balance and cross positions, market `number` at `price`; one without a mark counts for nothing."""
    total = ledger.accounts[account].free_e6
    for position in cross_positions(ledger, account):
        at = price if position.market == number else ledger.tables.markets[position.market].mark
        total += equity_of(ledger, position, at) or 0
    return max(-EVERYTHING_E6, min(EVERYTHING_E6, total))
