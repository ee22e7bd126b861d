"""Markets, tiers and holdings for the tests of margin: drawn, and as the rows that kernels take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from kernels import margin
from kernels.layouts import LIMIT, MAX_TIERS, POSITION, PRICE_MAX, PRICE_MIN, TIER
from relayer.verify.model_margin import Holding, Market, Tier
from tests.kernels.entries import run
from tests.kernels.twins import ONE_E12, Scale

USDC = 10**6
PUBLISHED = [
    Tier(20, 5 * 10**10, 25 * 10**9, 0),
    Tier(50, 2 * 10**10, 10**10, 100_000 * USDC),
    Tier(100, 10**10, 5 * 10**9, 50_000 * USDC),
]

exponents = st.integers(0, 9)
prices = st.one_of(st.sampled_from([PRICE_MIN, PRICE_MAX, 3 * 10**8]), st.integers(PRICE_MIN, PRICE_MAX))
rates = st.one_of(
    st.sampled_from([0, 1, ONE_E12 - 1, ONE_E12]), st.integers(0, ONE_E12), st.integers(0, 10**11)
)
limited = st.one_of(
    st.sampled_from([0, 1, -1, LIMIT, -LIMIT]), st.integers(-(10**12), 10**12), st.integers(-LIMIT, LIMIT)
)
notionals = st.one_of(
    st.sampled_from([0, 1, LIMIT]),
    st.integers(0, 300_000 * USDC),
    st.integers(0, LIMIT),
    st.integers(0, 2000),
)


@st.composite
def tables(draw: st.DrawFn) -> list[Tier]:
    """One to a few tiers in rising leverage; limits and maintenance in any order, so that kernels must mind."""
    count = draw(st.integers(1, 5))
    leverages = draw(st.lists(st.integers(1, 1000), min_size=count, max_size=count, unique=True))
    out = []
    for leverage in sorted(leverages):
        maintenance = draw(st.one_of(st.integers(1, ONE_E12), st.integers(1, 10**11)))
        initial = draw(st.integers(maintenance, ONE_E12))
        limit = draw(st.one_of(st.just(0), st.integers(1, 1000), st.integers(1, 300_000 * USDC)))
        out.append(Tier(leverage, initial, maintenance, limit))
    return out


@st.composite
def markets(draw: st.DrawFn) -> Market:
    return Market(
        draw(exponents),
        draw(prices),
        draw(st.integers(-(10**15), 10**15)),
        draw(st.one_of(st.just(0), st.integers(0, 10**11))),
        draw(st.integers(1, 1000)),
    )


def sizes_of(e: int) -> st.SearchStrategy[int]:
    """Sizes a market admits: tiny, usual, and to its limit."""
    most = Scale(e).size_max
    return st.one_of(
        st.sampled_from([1, -1, most, -most]),
        st.integers(-(10**5), 10**5).map(lambda n: max(-most, min(most, n))),
        st.integers(-most, most),
    )


@st.composite
def holdings(draw: st.DrawFn, market: Market) -> Holding:
    """A position whose cash is near what its size cost, so that margins of all kinds come up."""
    size = draw(sizes_of(market.e))
    worth = size * market.mark * 10**6 // 10**market.e
    share = draw(st.integers(-(10**6), 10**6))
    cash = -worth + abs(worth) * share // 10**6 + draw(st.integers(-1000, 1000))
    idx = market.index_e6 + draw(st.one_of(st.just(0), st.integers(-(10**12), 10**12)))
    rem = draw(st.integers(0, 10**market.e - 1))
    return Holding(size, cash, idx, rem, draw(st.sampled_from([0, 1, 20, 50, 100, 1000])))


def tier_rows(tiers: Sequence[Tier]) -> np.ndarray:
    """TIER rows as the tables hold them; past the last one in force lies what must not be read."""
    rows = np.zeros(MAX_TIERS, TIER)
    rows["max_leverage"], rows["initial_e12"], rows["maintenance_e12"] = 1000, 1, 1
    for row, tier in zip(rows, tiers, strict=False):
        row["max_leverage"], row["initial_e12"], row["margin_set"] = tier.max_leverage, tier.initial_e12, 1
        row["maintenance_e12"], row["max_notional_e6"] = tier.maintenance_e12, tier.max_notional_e6
    return rows


def tier_index(rows: np.ndarray) -> np.ndarray:
    """tier_at of those rows."""
    out = np.zeros((margin.LEVERAGE_MAX + 1, 4), np.int64)
    margin.index_tiers(rows, out)
    return out


def initial_index(rows: np.ndarray) -> np.ndarray:
    """initial_at of those rows."""
    out = np.zeros((margin.LEVERAGE_MAX + 1, 4), np.int64)
    margin.index_initial(rows, out)
    return out


def scale_of(market: Market) -> tuple[int, int, int]:
    """Scale, quote_mul and quote_div of a market."""
    scale = Scale(market.e)
    return scale.one, scale.mul, scale.div


def risk_rows(given: Sequence[Market]) -> np.ndarray:
    """RISK rows of markets."""
    rows = np.zeros(len(given), margin.RISK)
    for row, market in zip(rows, given, strict=True):
        run(
            margin.put_risk,
            row,
            market.mark,
            market.index_e6,
            market.floor_e12,
            market.leverage,
            *scale_of(market),
        )
    return rows


def put_holding(row: np.void, holding: Holding) -> None:
    """Write a holding's five numbers into a POSITION row."""
    row["size"], row["cash"], row["idx"], row["rem"], row["leverage"] = holding


def position_rows(given: Sequence[tuple[int, int, int, Holding]]) -> np.ndarray:
    """POSITION rows of (account, market, mode, holding)."""
    rows = np.zeros(len(given), POSITION)
    for row, (account, market, mode, holding) in zip(rows, given, strict=True):
        row["account"], row["market"], row["mode"] = account, market, mode
        put_holding(row, holding)
    return rows


def maintenance_of(tiers: Sequence[Tier], leverage: int, notional_e6: int, floor_e12: int) -> int:
    """The kernel's maintenance of a notional."""
    rows = tier_rows(tiers)
    return int(
        run(margin.maintenance_e6, rows, run(margin.held_tier, rows, leverage), notional_e6, floor_e12)
    )
