"""Seeded books for the margin benchmark, and what the sweeps are measured against: NumPy, Decimal."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.layouts import ACCOUNT, MAX_TIERS, POSITION, TIER
from kernels.margin import LEVERAGE_MAX, RISK, index_tiers, put_risk
from relayer.verify.model_margin import Holding, Margin, Market, Tier, position_margin

Rows = NDArray[np.void]
USDC = 10**6
TIERS = [
    Tier(20, 5 * 10**10, 25 * 10**9, 0),
    Tier(50, 2 * 10**10, 10**10, 100_000 * USDC),
    Tier(100, 10**10, 5 * 10**9, 50_000 * USDC),
]
FLOOR_E12 = 2 * 10**9


class Books(NamedTuple):
    """What a sweep takes. risk: RISK[markets]; positions: POSITION[n]; tier_at: int64[1001, 4]."""

    exponents: NDArray[np.int64]
    risk: Rows
    tiers: Rows
    tier_at: NDArray[np.int64]
    positions: Rows
    accounts: Rows


def tier_table() -> tuple[Rows, NDArray[np.int64]]:
    """(TIER rows of the published tiers up to 100x, their index by leverage)."""
    rows, index = np.zeros(MAX_TIERS, TIER), np.zeros((LEVERAGE_MAX + 1, 4), np.int64)
    for row, tier in zip(rows, TIERS, strict=False):
        row["max_leverage"], row["initial_e12"], row["maintenance_e12"], row["max_notional_e6"] = tier
        row["margin_set"] = 1
    index_tiers(rows, index)
    return rows, index


def put_market(row: np.void, e: int, mark: int, index_e6: int) -> None:
    """Write the RISK row of a market with e decimals of price."""
    put_risk(row, mark, index_e6, FLOOR_E12, 20, 10**e, 10 ** max(0, 6 - e), 10 ** max(0, e - 6))


def seeded_books(count: int, markets: int, cross_per_account: int = 0) -> Books:
    """`count` positions, margins from just above maintenance to ample, few of them under it.

    Of 1,000 to some 100,000 USDC, within their tier's limit, with unsettled funding. With
    `cross_per_account` all are cross, so many to an account.
    """
    random = np.random.default_rng(7)
    exponents = random.integers(6, 10, markets)
    risk = np.zeros(markets, RISK)
    marks = random.integers(10**8, 9 * 10**8, markets).tolist()
    indices = random.integers(-(10**13), 10**13, markets).tolist()
    for row, e, mark, index in zip(risk, exponents.tolist(), marks, indices, strict=True):
        put_market(row, e, mark, index)
    tiers, tier_at = tier_table()
    positions = np.zeros(count, POSITION)
    market = random.integers(0, markets, count)
    leverage = random.choice([10, 20, 50, 100], count)
    limit = tiers["max_notional_e6"][tier_at[leverage, 0]]
    notional = np.exp(random.normal(math.log(5_000 * USDC), 1.0, count))
    notional = np.where(limit > 0, np.minimum(notional, limit * 0.95), notional)
    lot = risk["lot_e6"][market] / risk["quote_div"][market]
    size = np.maximum(1, notional / lot).astype(np.int64) * random.choice([-1, 1], count)
    worth = (size * lot).astype(np.int64)
    held = np.abs(worth) * (0.026 + random.gamma(2.0, 0.1, count))
    held = np.where(random.random(count) < 1e-4, np.abs(worth) * 0.001, held)
    positions["market"], positions["leverage"], positions["size"] = market, leverage, size
    positions["cash"] = held.astype(np.int64) - worth
    positions["idx"] = risk["index_e6"][market] - random.integers(-(10**10), 10**10, count)
    positions["rem"] = random.integers(0, 2**60, count) % risk["scale"][market]
    per = max(1, cross_per_account)
    positions["account"], positions["mode"] = np.arange(count) // per, 1 if cross_per_account else 0
    return Books(exponents, risk, tiers, tier_at, positions, np.zeros(-(-count // per), ACCOUNT))


def moved(books: Books, bps: float) -> Rows:
    """RISK rows after every price has moved by up to so many basis points, and funding accrued a little."""
    random = np.random.default_rng(8)
    risk = books.risk.copy()
    for row, e in zip(risk, books.exponents.tolist(), strict=True):
        mark = int(row["mark"])
        step = int(mark * random.uniform(-bps, bps) / 10_000)
        put_market(row, e, mark + step, int(row["index_e6"]) + int(random.integers(-(10**7), 10**7)))
    return risk


class Columns:
    """The same books as float64 columns, and their sweep in NumPy: rounded as the exact one, 53 bits wide."""

    def __init__(self, books: Books) -> None:
        rows, risk = books.positions, books.risk
        self.size, self.cash, self.idx, self.rem = (
            rows[name].astype(np.float64) for name in ("size", "cash", "idx", "rem")
        )
        self.market, self.leverage = rows["market"].astype(np.int64), rows["leverage"].astype(np.int64)
        self.lot = risk["lot_e6"] / risk["quote_div"]
        self.index, self.scale = risk["index_e6"].astype(np.float64), risk["scale"].astype(np.float64)
        self.floor = risk["floor_e12"] / 1e12
        self.rates = books.tiers["maintenance_e12"] / 1e12
        self.tier_at = np.ascontiguousarray(books.tier_at[:, 0])
        limits = books.tiers["max_notional_e6"].astype(np.float64)
        self.limits = np.where(limits > 0, limits, np.inf)

    def sweep(self, part: slice, ratios: NDArray[np.float64], below: NDArray[np.bool_]) -> None:
        """ratios[part] = equity / maintenance in 1e-6, below[part] = liquidatable."""
        market, size = self.market[part], self.size[part]
        pay = np.floor((-size * (self.index[market] - self.idx[part]) + self.rem[part]) / self.scale[market])
        worth = size * self.lot[market]
        notional = np.ceil(np.abs(worth))
        top, floor = self.tier_at[self.leverage[part]], self.floor[market]
        need = np.minimum(notional, self.limits[top]) * np.maximum(self.rates[top], floor)
        over = np.flatnonzero(notional > self.limits[top])
        if len(over):
            self._lower_tiers(need, over, notional[over], top[over], floor[over])
        need = np.ceil(need)
        equity = self.cash[part] + pay + np.floor(worth)
        np.floor(equity * 1e6 / need, out=ratios[part])
        np.less(equity, need, out=below[part])

    def _lower_tiers(
        self,
        need: NDArray[np.float64],
        over: NDArray[np.int64],
        notional: NDArray[np.float64],
        tier: NDArray[np.int64],
        floor: NDArray[np.float64],
    ) -> None:
        while len(over):
            reached, tier = self.limits[tier], tier - 1
            upto = np.where(tier > 0, np.minimum(notional, self.limits[tier]), notional)
            need[over] += np.maximum(0, upto - reached) * np.maximum(self.rates[tier], floor)
            more = upto < notional
            over, notional, tier, floor = over[more], notional[more], tier[more], floor[more]


def model_rows(books: Books, count: int) -> list[Margin]:
    """Margins of the first positions by the naive twin, in fractions."""
    markets = [
        Market(e, *(int(row[name]) for name in ("mark", "index_e6", "floor_e12", "leverage")))
        for e, row in zip(books.exponents.tolist(), books.risk, strict=True)
    ]
    names = ("size", "cash", "idx", "rem", "leverage")
    return [
        position_margin(Holding(*(int(row[name]) for name in names)), markets[int(row["market"])], TIERS)
        for row in books.positions[:count]
    ]


DecimalRow = tuple[int, int, Decimal, Decimal, Decimal, Decimal]


def decimal_rows(books: Books, count: int) -> list[DecimalRow]:
    """(market, leverage, size, cash, idx, rem) of the first positions, as a Decimal engine would hold them."""
    part = books.positions[:count]
    whole = (part["market"].tolist(), part["leverage"].tolist())
    numbers = (list(map(Decimal, part[name].tolist())) for name in ("size", "cash", "idx", "rem"))
    return list(zip(*whole, *numbers, strict=True))


class DecimalSweep:
    """Margins in Decimal, one position after the other, every rounding as in the exact sweep."""

    def __init__(self, books: Books) -> None:
        self.markets = [
            (
                Decimal(int(row["lot_e6"])) / int(row["quote_div"]),
                Decimal(int(row["index_e6"])),
                Decimal(int(row["scale"])),
                Decimal(int(row["floor_e12"])).scaleb(-12),
            )
            for row in books.risk
        ]
        self.tier_at = books.tier_at[:, 0].tolist()
        self.tiers = [(Decimal(t.maintenance_e12).scaleb(-12), Decimal(t.max_notional_e6)) for t in TIERS]

    def sweep(self, rows: list[DecimalRow]) -> list[tuple[int, bool]]:
        """(ratio in 1e-6, liquidatable) of each."""
        out = []
        for market, leverage, size, cash, idx, rem in rows:
            lot, index, scale, floor = self.markets[market]
            pay = ((rem - size * (index - idx)) / scale).to_integral_value(ROUND_FLOOR)
            worth = size * lot
            notional = abs(worth).to_integral_value(ROUND_CEILING)
            need = self._need(notional, self.tier_at[leverage], floor)
            equity = cash + pay + worth.to_integral_value(ROUND_FLOOR)
            ratio = (equity * 1_000_000 / need).to_integral_value(ROUND_FLOOR)
            out.append((int(ratio), equity < need))
        return out

    def _need(self, notional: Decimal, top: int, floor: Decimal) -> Decimal:
        need, reached = Decimal(0), Decimal(0)
        for k in range(top, -1, -1):
            rate, limit = self.tiers[k]
            upto = min(notional, limit) if k and limit else notional
            need += (upto - reached) * max(rate, floor)
            reached = upto
            if reached == notional:
                break
        return need.to_integral_value(ROUND_CEILING)
