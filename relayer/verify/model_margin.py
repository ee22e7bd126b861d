"""The naive twin of margin and liquidation: fractions and plain integers, written to be read.

Prices have e decimals, so `size * price` is worth size·price·10**6 / 10**e in 1e-6 USDC. Every rounding
of MONEY.md is one `math.floor` or `math.ceil` here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

ONE_E12 = 10**12
PRICE_WIDE = 9 * 10**12
LIMIT = 2**61
NEVER, FOUND, ALWAYS, BEYOND = 0, 1, 2, 3


class Tier(NamedTuple):
    """A margin tier in force; max_notional_e6 = 0: without end."""

    max_leverage: int
    initial_e12: int
    maintenance_e12: int
    max_notional_e6: int = 0


class Market(NamedTuple):
    """What margin needs of a market. `index_e6` holds the open hour's accrual."""

    e: int
    mark: int
    index_e6: int = 0
    floor_e12: int = 0
    leverage: int = 1


class Holding(NamedTuple):
    """The four numbers of a position, and the leverage set (0: the market's)."""

    size: int
    cash: int = 0
    idx: int = 0
    rem: int = 0
    leverage: int = 0


class Slice(NamedTuple):
    """From `start_e6` of a position's notional on, `rate_e12` is asked of every unit."""

    start_e6: int
    rate_e12: int


class Margin(NamedTuple):
    """Equity and maintenance of a position or an account, in 1e-6 USDC."""

    equity: int
    maintenance: int

    @property
    def liquidatable(self) -> bool:
        return self.maintenance > 0 and self.equity < self.maintenance


def slices_of(tiers: Sequence[Tier], top: int, least_e12: int, initial: bool = False) -> list[Slice]:
    """The rates along a position's notional: tier `top` to its limit, then the tiers below it."""
    if top < 0:
        return [Slice(0, ONE_E12)]
    out: list[Slice] = []
    start = 0
    rate = least_e12
    for k in range(top, -1, -1):
        tier = tiers[k]
        rate = max(rate, tier.initial_e12 if initial else tier.maintenance_e12)
        out.append(Slice(start, min(rate, ONE_E12)))
        if tier.max_notional_e6 == 0:
            break
        start = max(start, tier.max_notional_e6)
    return out


def need_e18(slices: Sequence[Slice], notional_e6: int) -> int:
    """Margin of a notional in 1e-18 USDC, exact."""
    ends = [*(s.start_e6 for s in slices[1:]), notional_e6]
    return sum(
        max(0, min(notional_e6, end) - part.start_e6) * part.rate_e12
        for part, end in zip(slices, ends, strict=True)
    )


def exact_need(slices: Sequence[Slice], notional_e6: int) -> Fraction:
    """Margin of a notional in 1e-6 USDC, not rounded."""
    return Fraction(need_e18(slices, notional_e6), ONE_E12)


def need_e6(slices: Sequence[Slice], notional_e6: int) -> int:
    """Margin of a notional, up."""
    return -(-need_e18(slices, notional_e6) // ONE_E12)


def held_tier(tiers: Sequence[Tier], leverage: int) -> int:
    """The first tier that admits the leverage, else the last; -1 of an empty table."""
    return next((k for k, t in enumerate(tiers) if leverage <= t.max_leverage), len(tiers) - 1)


def initial_e6(tiers: Sequence[Tier], leverage: int, notional_e6: int, floor_e12: int) -> int:
    """Initial margin: 1/leverage (up), tiers and floor; all of it where no tier admits the leverage."""
    top = next((k for k, t in enumerate(tiers) if leverage <= t.max_leverage), -1)
    least = max(-(-ONE_E12 // leverage), floor_e12)
    return need_e6(slices_of(tiers, top, least, initial=True), notional_e6)


def floor_rate_e12(taker_e9: int, liquidation_e9: int, conf: int, mark: int, move_e12: int) -> int:
    """Fees + twice the confidence + the move, up, at most 1."""
    if mark <= 0 or conf > mark:
        return ONE_E12
    exact = (
        Fraction(taker_e9 + liquidation_e9, 10**9) + Fraction(2 * conf, mark) + Fraction(move_e12, ONE_E12)
    )
    return min(ONE_E12, math.ceil(exact * ONE_E12))


def exact_worth(e: int, size: int, price: int) -> Fraction:
    """size * price in 1e-6 USDC."""
    return Fraction(size * price * 10**6, 10**e)


def settled_cash(holding: Holding, market: Market) -> int:
    """Cash after funding, down."""
    if holding.size == 0 or holding.idx == market.index_e6:
        return holding.cash
    owed = -holding.size * (market.index_e6 - holding.idx) + holding.rem
    return holding.cash + math.floor(Fraction(owed, 10**market.e))


def equity_e6(holding: Holding, market: Market) -> int:
    """Settled cash + worth, each down."""
    return settled_cash(holding, market) + math.floor(exact_worth(market.e, holding.size, market.mark))


def maintenance_slices(holding: Holding, market: Market, tiers: Sequence[Tier]) -> list[Slice]:
    """Maintenance rates along this position's notional."""
    leverage = min(1000, max(1, holding.leverage or market.leverage))
    return slices_of(tiers, held_tier(tiers, leverage), market.floor_e12)


def position_margin(holding: Holding, market: Market, tiers: Sequence[Tier]) -> Margin:
    """Equity and maintenance of one position."""
    if holding.size == 0:
        return Margin(holding.cash, 0)
    notional = math.ceil(abs(exact_worth(market.e, holding.size, market.mark)))
    return Margin(equity_e6(holding, market), need_e6(maintenance_slices(holding, market, tiers), notional))


def account_margin(free_e6: int, rows: Sequence[tuple[Holding, Market]], tiers: Sequence[Tier]) -> Margin:
    """Equity and maintenance of an account's cross side."""
    each = [position_margin(holding, market, tiers) for holding, market in rows]
    return Margin(free_e6 + sum(m.equity for m in each), sum(m.maintenance for m in each))


def _edges(slices: Sequence[Slice]) -> list[int]:
    return [*(s.start_e6 for s in slices[1:]), 2**200]


def _long_worth(held_e6: int, slices: Sequence[Slice], unit: int) -> int | None:
    """Smallest worth >= 0 with worth + held >= need(worth + unit), by the line of each slice."""
    for part, end in zip(slices, _edges(slices), strict=True):
        rate = Fraction(part.rate_e12, ONE_E12)
        short = exact_need(slices, part.start_e6) + rate * (unit - part.start_e6) - held_e6
        least = max(0, part.start_e6 - unit)
        if rate < 1:
            worth = max(least, math.ceil(short / (1 - rate)))
        elif short <= 0:
            worth = least
        else:
            continue
        if worth + unit <= end:
            return worth
    return None


def _short_worth(held_e6: int, slices: Sequence[Slice]) -> int:
    """Largest worth w with held - w >= need(w), by the line of each slice. held_e6 >= 0."""
    best = 0
    for part, end in zip(slices, _edges(slices), strict=True):
        rate = Fraction(part.rate_e12, ONE_E12)
        room = held_e6 - exact_need(slices, part.start_e6) + rate * part.start_e6
        worth = min(end, math.floor(room / (1 + rate)))
        if worth >= part.start_e6:
            best = max(best, worth)
    return best


def _price(e: int, size: int, worth: int, up: bool) -> tuple[int, int]:
    exact = Fraction(worth * 10**e, abs(size) * 10**6)
    price = math.ceil(exact) if up else math.floor(exact)
    if price > PRICE_WIDE:
        return 0, BEYOND
    return (price, FOUND) if price else (0, ALWAYS)


def liquidation_price(e: int, size: int, held_e6: int, slices: Sequence[Slice]) -> tuple[int, int]:
    """(price, status): the last safe price. Where a lot's value has fractions, a long's notional may be a
    unit above its worth, and is taken so."""
    if size == 0:
        return 0, NEVER
    if size > 0:
        worth = _long_worth(held_e6, slices, 1 if e > 6 else 0)
        if worth == 0:
            return 0, NEVER
        return (0, ALWAYS) if worth is None or worth > LIMIT - 1 else _price(e, size, worth, True)
    if held_e6 < 0:
        return 0, ALWAYS
    return _price(e, size, min(LIMIT - 1, _short_worth(held_e6, slices)), False)


def bankruptcy_price(e: int, size: int, held_e6: int) -> tuple[int, int]:
    """(price, status): the last price at which equity is not negative."""
    if size == 0 or (size > 0 and held_e6 >= 0):
        return 0, NEVER
    if size < 0 and held_e6 < 0:
        return 0, ALWAYS
    return _price(e, size, abs(held_e6), size > 0)


def ratio_order(margins: Sequence[Margin]) -> list[int]:
    """The liquidatable, lowest ratio first, ties by number."""
    found = [k for k, m in enumerate(margins) if m.liquidatable]
    return sorted(found, key=lambda k: (Fraction(margins[k].equity, margins[k].maintenance), k))


class Closing(NamedTuple):
    """Terms of a liquidation: fees of closing, target of equity over maintenance, what is closed whole."""

    fee_e9: int
    target_e6: int = 1_250_000
    full_below_e6: int = 10_000_000_000


def restored(
    market: Market, slices: Sequence[Slice], kept: int, closed: int, equity: int, others: int, terms: Closing
) -> bool:
    """Whether closing so much at the mark leaves the target."""
    left = need_e6(slices, math.ceil(abs(exact_worth(market.e, kept, market.mark)))) + others
    closing = math.ceil(abs(exact_worth(market.e, closed, market.mark)))
    fee = math.ceil(Fraction(closing * terms.fee_e9, 10**9))
    return equity - fee >= math.ceil(Fraction(left * terms.target_e6, 10**6))


def close_size(
    market: Market, slices: Sequence[Slice], size: int, margin: Margin, terms: Closing
) -> tuple[int, bool]:
    """(lots, whole) to close: the first part, counted up from one lot, that restores."""
    notional = math.ceil(abs(exact_worth(market.e, size, market.mark)))
    others = margin.maintenance - need_e6(slices, notional)
    if size == 0 or not margin.liquidatable:
        return 0, False
    if notional < terms.full_below_e6 or 2 * margin.equity < margin.maintenance:
        return abs(size), True
    for part in range(1, abs(size)):
        if restored(market, slices, abs(size) - part, part, margin.equity, others, terms):
            return part, False
    return abs(size), True


def takeover(
    market: Market, size: int, cash: int, available_e6: int, reserve_e12: int, part: int
) -> tuple[int, int, bool]:
    """(cash, transfer, can be borne) of insurance taking `part` lots of a position."""
    taken = math.floor(Fraction(cash * part, abs(size)))
    worth = exact_worth(market.e, part if size > 0 else -part, market.mark)
    keep = math.ceil(Fraction(math.ceil(abs(worth)) * reserve_e12, ONE_E12))
    transfer = max(0, keep - taken - math.floor(worth))
    return taken, transfer, transfer <= max(0, available_e6)


def deleverage(size: int, cash: int, others: Sequence[int]) -> list[tuple[int, int]]:
    """(dsize, dcash) of each of `others` in turn until nothing is left, cash in proportion."""
    out: list[tuple[int, int]] = []
    done = 0
    for other in others:
        part = min(abs(other), abs(size) - done)
        if part == 0:
            break
        before = math.floor(Fraction(cash * done, abs(size)))
        done += part
        after = math.floor(Fraction(cash * done, abs(size)))
        out.append((part if size > 0 else -part, after - before))
    return out
