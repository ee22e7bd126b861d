"""Liquidation against its twin, and that no step makes or loses a unit of cash or size."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import liquidation, liquidation_price, margin
from kernels.layouts import LIMIT
from kernels.liquidation import FULL_BELOW_E6, SCORE_MAX, TARGET_E6
from relayer.verify import model_margin as model
from relayer.verify.model_margin import Closing, Margin, Market, Tier
from tests.kernels.entries import int64s, run
from tests.kernels.margins import (
    PUBLISHED,
    USDC,
    exponents,
    limited,
    markets,
    prices,
    scale_of,
    tables,
    tier_rows,
)
from tests.kernels.twins import I64_MAX, ONE_E12, Scale


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 50)), max_size=40))
def test_candidates_lowest_ratio_first(units: list[tuple[int, int]]) -> None:
    margins = [Margin(*u) for u in units]
    equity, need = (np.array([u[k] for u in units], np.int64) for k in (0, 1))
    order = np.full(len(units) + 1, -1, np.int64)
    count = run(liquidation.order_candidates, equity, need, order)
    assert order[:count].tolist() == model.ratio_order(margins)


@given(st.lists(st.tuples(limited, st.integers(0, LIMIT)), max_size=12))
def test_candidates_at_the_extremes(units: list[tuple[int, int]]) -> None:
    equity, need = (np.array([u[k] for u in units], np.int64) for k in (0, 1))
    order = np.zeros(len(units) + 1, np.int64)
    count = run(liquidation.order_candidates, equity, need, order)
    assert order[:count].tolist() == model.ratio_order([Margin(*u) for u in units])


def close(
    market: Market, size: int, held: Margin, tiers: list[Tier], top: int, terms: Closing
) -> tuple[int, int]:
    return run(
        liquidation.close_size,
        size,
        held.equity,
        held.maintenance,
        market.mark,
        tier_rows(tiers),
        top,
        market.floor_e12,
        terms.fee_e9,
        terms.target_e6,
        terms.full_below_e6,
        *scale_of(market)[1:],
    )


@given(
    markets(),
    st.integers(-60, 60),
    st.data(),
    st.one_of(st.just(PUBLISHED), tables()),
    st.sampled_from([0, 0, 10**7, FULL_BELOW_E6]),
)
def test_close_size_restores_and_one_lot_less_does_not(
    market: Market, size: int, data: st.DataObject, tiers: list[Tier], full_below: int
) -> None:
    top = data.draw(st.integers(0, len(tiers) - 1))
    slices = model.slices_of(tiers, top, market.floor_e12)
    notional = math.ceil(abs(model.exact_worth(market.e, size, market.mark)))
    others = data.draw(st.sampled_from([0, 0, notional // 50]))
    need = model.need_e6(slices, notional) + others
    held = Margin(need * data.draw(st.integers(30, 110)) // 100, need)
    terms = Closing(data.draw(st.integers(0, 3_000_000)), TARGET_E6, full_below)
    lots, ok = close(market, size, held, tiers, top, terms)
    assert ok == 1
    wanted, whole = model.close_size(market, slices, size, held, terms)
    if wanted == 0 or whole or lots == abs(size):
        assert lots == wanted
        return
    assert model.restored(market, slices, abs(size) - lots, lots, held.equity, others, terms)
    assert lots == 1 or not model.restored(
        market, slices, abs(size) - lots + 1, lots - 1, held.equity, others, terms
    )


def test_close_size_by_hand() -> None:
    """100,000 USDC at 20x: maintenance 2,500, equity 2,000. 1.25 x 2.5 % x kept <= 2,000: close 36 %."""
    lots = 1000
    price = 100 * USDC
    rows = tier_rows(PUBLISHED)
    args = (price, rows, 0, 0, 0, TARGET_E6, FULL_BELOW_E6, 1, 1)
    assert run(liquidation.close_size, lots, 2000 * USDC, 2500 * USDC, *args) == (360, 1)
    assert run(liquidation.close_size, -lots, 2000 * USDC, 2500 * USDC, *args) == (360, 1)
    assert run(liquidation.close_size, lots, 2500 * USDC, 2500 * USDC, *args) == (0, 1)
    assert run(liquidation.close_size, lots, 1249 * USDC, 2500 * USDC, *args) == (1000, 1)
    assert run(liquidation.close_size, lots, 1250 * USDC, 2500 * USDC, *args) == (600, 1)
    small = (200 * USDC, 249 * USDC)
    assert run(liquidation.close_size, 99, *small, *args) == (99, 1)


def test_close_size_at_its_bounds() -> None:
    """10,000 USDC are closed in part, one lot at least; nothing is nothing; what is past bounds is refused."""
    rows, price = tier_rows(PUBLISHED), 100 * USDC
    at = (price, rows, 0, 0, 0)
    terms = (TARGET_E6, FULL_BELOW_E6, 1, 1)
    assert run(liquidation.close_size, 100, 200 * USDC, 250 * USDC, *at, *terms) == (36, 1)
    assert run(liquidation.close_size, 1000, 2499 * USDC, 2500 * USDC, *at, 10**6, 0, 1, 1) == (1, 1)
    assert run(liquidation.close_size, 1, 2 * USDC, 3 * USDC, *at, *terms) == (1, 1)
    assert run(liquidation.close_size, 0, 2 * USDC, 3 * USDC, *at, *terms) == (0, 1)
    assert run(liquidation.close_size, 1, LIMIT, LIMIT, *at, *terms) == (0, 1)
    assert run(liquidation.close_size, 1, -LIMIT, LIMIT, *at, *terms) == (1, 1)
    for size, equity, need in [(LIMIT + 1, 0, 1), (1, -LIMIT - 1, LIMIT), (1, 0, LIMIT + 1)]:
        assert run(liquidation.close_size, size, equity, need, *at, *terms) == (0, 0)
    for mark in (-1, margin.PRICE_WIDE + 1):
        got = run(liquidation.close_size, 1, 0, 1, mark, rows, 0, 0, 0, *terms)
        assert got == (0, 0)
    less_than_its_own = 250 * USDC - 1
    assert run(liquidation.close_size, 100, 0, less_than_its_own, *at, *terms) == (0, 0)


def test_a_part_restores_where_equity_less_fees_is_the_target_to_the_unit() -> None:
    """1000 lots at 100 USDC and 20x need 2,500, the target is 3,125; closing 10 of 1010 costs 1 at 0.1 %."""
    rows, price, equity = tier_rows(PUBLISHED), 100 * USDC, 3125 * USDC
    for closed, fee_e9, cost in [(0, 0, 0), (10, 10**6, USDC)]:
        args = (price, rows, 0, 0, fee_e9, TARGET_E6, 1, 1)
        assert run(liquidation.restored, 1000, closed, equity + cost, 0, *args) == 1
        assert run(liquidation.restored, 1000, closed, equity + cost - 1, 0, *args) == 0
        assert run(liquidation.restored, 1000, closed, equity + cost, 1, *args) == 0


def test_what_cannot_be_computed_does_not_restore() -> None:
    rows = tier_rows(PUBLISHED)
    for kept, closed, others, mark, fee_e9, target in [
        (LIMIT, 0, 0, 10**7, 0, TARGET_E6),
        (1, LIMIT, 0, 10**7, 0, TARGET_E6),
        (1, 10**6, 0, 10**7, I64_MAX, TARGET_E6),
        (1, 1, LIMIT, 10**7, 0, 10**7),
        (1, 1, 0, -1, 0, TARGET_E6),
    ]:
        args = (mark, rows, 0, 0, fee_e9, target, 1, 1)
        assert run(liquidation.restored, kept, closed, LIMIT, others, *args) == 0


def test_a_fee_past_its_bounds_is_refused() -> None:
    assert run(liquidation.liquidation_fee, LIMIT, 10**9, LIMIT) == (LIMIT, 1)
    assert run(liquidation.liquidation_fee, -LIMIT, 10**9, LIMIT) == (LIMIT, 1)
    for quote, fee_e9 in [(LIMIT + 1, 1), (-LIMIT - 1, 1), (LIMIT, I64_MAX)]:
        assert run(liquidation.liquidation_fee, quote, fee_e9, LIMIT) == (0, 0)


@given(int64s, int64s, int64s, int64s)
def test_extremes_are_refused_or_within_the_position(size: int, equity: int, need: int, mark: int) -> None:
    rows = tier_rows(PUBLISHED)
    lots, ok = run(liquidation.close_size, size, equity, need, mark, rows, 2, 0, 10**6, TARGET_E6, 0, 1, 1000)
    assert 0 <= lots <= abs(size)
    assert ok == 1 or lots == 0
    dsize, dcash, transfer, ok = run(liquidation.takeover, size, equity, mark, need, 10**10, 1, 1000)
    assert abs(dsize) <= abs(size)
    assert 0 <= transfer <= max(0, need)
    assert ok == 1 or (dsize, dcash, transfer) == (0, 0, 0)
    fee, ok = run(liquidation.liquidation_fee, size, 10**6, equity)
    assert 0 <= fee <= max(0, equity)


@given(limited, st.integers(0, 10**9), limited)
def test_liquidation_fee_never_takes_what_is_not_there(quote: int, fee_e9: int, equity: int) -> None:
    fee, ok = run(liquidation.liquidation_fee, quote, fee_e9, equity)
    assert ok == 1
    assert fee == min(math.ceil(Fraction(abs(quote) * fee_e9, 10**9)), max(0, equity))


@given(
    exponents,
    prices,
    st.integers(-(10**6), 10**6),
    st.integers(-1000, 1000),
    st.integers(0, 10**12),
    st.sampled_from([0, 0, 10**9, 25 * 10**9, ONE_E12]),
)
def test_takeover(e: int, mark: int, size: int, share: int, available: int, reserve: int) -> None:
    market = Market(e, mark)
    size = max(-Scale(e).size_max, min(Scale(e).size_max, size))
    worth = math.floor(model.exact_worth(e, size, mark))
    cash = -worth + abs(worth) * share // 10_000
    args = (size, cash, mark, available, reserve, *scale_of(market)[1:])
    dsize, dcash, transfer, ok = run(liquidation.takeover, *args)
    assert ok == 1
    assert 0 <= transfer <= available
    assert abs(dsize) <= abs(size)
    assert dsize * size >= 0
    if size == 0:
        return
    part = abs(dsize)
    if part:
        assert (dcash, transfer, True) == model.takeover(market, size, cash, available, reserve, part)
        worth_taken = math.floor(model.exact_worth(e, dsize, mark))
        assert dcash + transfer + worth_taken >= 0
    else:
        assert (dcash, transfer) == (0, 0)
    if part < abs(size):
        assert not model.takeover(market, size, cash, available, reserve, part + 1)[2]
        assert not model.takeover(market, size, cash, available, reserve, abs(size))[2]


@pytest.mark.parametrize("side", [1, -1])
def test_takeover_to_the_unit(side: int) -> None:
    """Two lots at 100 USDC, 3 units short of worth: each lot's share of cash is rounded down."""
    price = 100 * USDC
    for available, wanted in [
        (4, (2 * side, -2 * side * price - 3, 3)),
        (3, (2 * side, -2 * side * price - 3, 3)),
        (2, (side, -side * price - 2, 2)),
        (1, (0, 0, 0)),
        (-5, (0, 0, 0)),
    ]:
        got = run(liquidation.takeover, 2 * side, -2 * side * price - 3, price, available, 0, 1, 1)
        assert got == (*wanted, 1)
    one = (side, -side * price - 3, 3, 1)
    assert run(liquidation.takeover, side, -side * price - 3, price, 3, 0, 1, 1) == one


def test_takeover_keeps_its_reserve_to_the_unit() -> None:
    """A reserve of everything: the whole notional stands behind the lots, besides what they are worth."""
    worth = margin.PRICE_WIDE
    for reserve, keep in [(ONE_E12, worth), (ONE_E12 - 1, worth - 9), (1, 9), (0, 0)]:
        got = run(liquidation.takeover, 1, -worth, worth, worth, reserve, 1, 1)
        assert got == (1, -worth, keep, 1)
        if keep:
            got = run(liquidation.takeover, 1, -worth, worth, keep - 1, reserve, 1, 1)
            assert got == (0, 0, 0, 1)


@pytest.mark.parametrize(
    ("size", "cash", "mark", "reserve", "ok"),
    [
        (0, -5, USDC, 0, 1),
        (LIMIT + 1, 0, USDC, 0, 0),
        (1, -LIMIT - 1, USDC, 0, 0),
        (1, 0, USDC, -1, 0),
        (1, 0, USDC, ONE_E12 + 1, 0),
        (1, 0, -1, 0, 0),
        (1, 0, margin.PRICE_WIDE + 1, 0, 0),
        (LIMIT, 0, margin.PRICE_WIDE, 0, 0),
    ],
)
def test_takeover_past_bounds_takes_nothing(size: int, cash: int, mark: int, reserve: int, ok: int) -> None:
    assert run(liquidation.takeover, size, cash, mark, LIMIT, reserve, 1, 1) == (0, 0, 0, ok)
    if size and ok == 0 and abs(size) <= LIMIT and 0 <= reserve <= ONE_E12 and abs(cash) <= LIMIT:
        assert run(liquidation.backing, size, cash, abs(size), mark, reserve, 1, 1) == (0, 0, 0)


scores = st.integers(-5, 5)


@given(st.lists(st.tuples(scores, st.integers(-3, 3)), max_size=40), st.sampled_from([1, -1]))
def test_deleveraging_order(rows: list[tuple[int, int]], side: int) -> None:
    ranked, sizes = (np.array([r[k] for r in rows], np.int64) for k in (0, 1))
    order = np.zeros(len(rows) + 1, np.int64)
    count = run(liquidation.order_deleveraging, ranked, sizes, side, order)
    wanted = [k for k, (_, size) in enumerate(rows) if size * side > 0]
    assert order[:count].tolist() == sorted(wanted, key=lambda k: (-rows[k][0], k))


@given(limited, limited, st.integers(-10, LIMIT), st.integers(-10, LIMIT))
def test_deleverage_score(pnl: int, cost: int, notional: int, equity: int) -> None:
    score = run(liquidation.deleverage_score, pnl, cost, notional, equity)
    if equity <= 0 or notional <= 0:
        assert score == -SCORE_MAX * SCORE_MAX
        return
    profit = max(-SCORE_MAX, min(SCORE_MAX, pnl * 10**6 // max(1, abs(cost))))
    leverage = max(1, min(SCORE_MAX, notional * 10**6 // equity))
    assert score == (profit * leverage if profit >= 0 else profit * 10**6 // leverage)
    assert (score < 0) == (profit < 0)


def test_scores_begin_at_one_unit() -> None:
    assert run(liquidation.deleverage_score, 5, 100, 1, 1) == 50_000 * 10**6
    assert run(liquidation.deleverage_score, -5, 100, 1, 1) == -50_000
    assert run(liquidation.deleverage_score, 0, 100, 1, 1) == 0
    for notional, equity in [(0, 1), (1, 0)]:
        assert run(liquidation.deleverage_score, 5, 100, notional, equity) == -SCORE_MAX * SCORE_MAX


def test_no_side_is_on_neither() -> None:
    ranked, sizes, order = (np.array(row, np.int64) for row in ([1, 2], [5, -5], [9, 9]))
    assert run(liquidation.order_deleveraging, ranked, sizes, 0, order) == 0


@pytest.mark.parametrize("side", [1, -1])
def test_one_lot_is_spread(side: int) -> None:
    out = np.zeros(1, np.int64), np.zeros(1, np.int64)
    order = np.zeros(1, np.int64)
    for lots, wanted in [(-5, (0, 1, 1)), (-1, (0, 1, 1)), (0, (1, 0, 0)), (1, (1, 0, 0)), (5, (1, 0, 0))]:
        others = np.array([lots * side], np.int64)
        assert run(liquidation.deleverage, side, -7, others, order, 1, *out) == wanted
    assert [o.tolist() for o in out] == [[side], [-7]]


def test_most_profitable_and_leveraged_comes_first() -> None:
    """20 % at 10x before 20 % at 5x before 5 % at 10x before a loss at 10x before one at 5x."""
    rows = [(20, 100, 10), (20, 100, 20), (5, 100, 10), (-5, 100, 10), (-5, 100, 20)]
    ranked = [run(liquidation.deleverage_score, pnl, 100, n, equity) for pnl, n, equity in rows]
    assert ranked == sorted(ranked, reverse=True)
    assert len(set(ranked)) == 5


@given(
    st.integers(-(10**6), 10**6).filter(bool),
    limited,
    st.lists(st.integers(1, 10**6), max_size=8),
)
def test_deleveraging_conserves_sizes_and_cash(size: int, cash: int, others: list[int]) -> None:
    side = -1 if size > 0 else 1
    sizes = np.array([side * n for n in others], np.int64)
    order = np.arange(len(others) + 1)
    dsizes, dcashes = np.zeros(len(others) + 1, np.int64), np.zeros(len(others) + 1, np.int64)
    left, used, ok = run(liquidation.deleverage, size, cash, sizes, order, len(others), dsizes, dcashes)
    assert ok == 1
    moved = list(zip(dsizes[:used].tolist(), dcashes[:used].tolist(), strict=True))
    assert moved == model.deleverage(size, cash, sizes.tolist())
    assert left == abs(size) - sum(abs(d) for d, _ in moved) == max(0, abs(size) - sum(others))
    assert all(abs(d) <= abs(s) and d * s < 0 for (d, _), s in zip(moved, sizes.tolist(), strict=False))
    if left == 0:
        assert sum(c for _, c in moved) == cash


def test_deleveraging_refuses_the_same_side_and_numbers_past_bounds() -> None:
    sizes, order = np.array([-5, 3], np.int64), np.array([0, 1], np.int64)
    out = np.zeros(2, np.int64), np.zeros(2, np.int64)
    assert run(liquidation.deleverage, 8, 1, sizes, order, 2, *out) == (8, 0, 0)
    assert run(liquidation.deleverage, LIMIT + 1, 1, sizes, order, 1, *out) == (0, 0, 0)
    assert run(liquidation.deleverage, 0, 1, sizes, order, 1, *out) == (0, 0, 1)


@given(markets(), st.lists(st.integers(1, 10**5), min_size=1, max_size=6), st.data())
def test_a_bankruptcy_conserves_everything(market: Market, others: list[int], data: st.DataObject) -> None:
    """A long without equity: insurance takes what it can, the shorts the rest. In the end nothing is left of
    it, sizes sum to zero, cash + insurance is what it was, insurance is not negative."""
    others = [min(n, Scale(market.e).size_max // 6) for n in others]
    size = sum(others)
    worth = math.floor(model.exact_worth(market.e, size, market.mark))
    cash = -worth - data.draw(st.integers(0, max(1, worth // 10)))
    insurance = data.draw(st.integers(0, max(1, worth // 10)))
    sizes = np.array([-n for n in others], np.int64)
    moneys = [data.draw(st.integers(0, 10**12)) for _ in others]
    total = cash + sum(moneys) + insurance

    mul, div = scale_of(market)[1:]
    dsize, dcash, transfer, ok = run(liquidation.takeover, size, cash, market.mark, insurance, 0, mul, div)
    assert ok == 1
    size, cash, insurance = size - dsize, cash - dcash, insurance - transfer
    fund_size, fund_cash = dsize, dcash + transfer
    assert insurance >= 0
    order = np.arange(len(others))
    dsizes, dcashes = np.zeros(len(others), np.int64), np.zeros(len(others), np.int64)
    left, used, ok = run(liquidation.deleverage, size, cash, sizes, order, len(others), dsizes, dcashes)
    assert (left, ok) == (0, 1)
    after = sizes.copy()
    after[:used] += dsizes[:used]
    assert int(after.sum()) + fund_size == 0
    given_away = int(dcashes[:used].sum())
    assert given_away == (cash if size else 0)
    assert cash - given_away + sum(moneys) + given_away + insurance + fund_cash == total
    if size == 0:
        assert cash == 0
    else:
        assert cash - given_away == 0


@pytest.mark.parametrize("e", [0, 6, 9])
def test_liquidation_price_is_where_candidates_begin(e: int) -> None:
    """The price that people are told and the test that liquidates agree to the tick."""
    scale, size = Scale(e), 1000 * 10**e // 10**3 or 1
    mark = 2 * 10**8
    held = -math.floor(model.exact_worth(e, size, mark)) * 95 // 100
    rows = tier_rows(PUBLISHED)
    price, status = run(liquidation_price.liquidation_price, size, held, rows, 0, 0, scale.mul, scale.div)
    assert status == liquidation_price.PRICE_FOUND
    for at, wanted in ((price, 0), (price - 1, 1)):
        worth, notional, _ = run(margin.valued, size, at, scale.mul, scale.div)
        need = run(margin.maintenance_e6, rows, 0, notional, 0)
        assert run(margin.liquidatable, held + worth, need) == wanted
