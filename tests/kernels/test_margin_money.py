"""Equity, requirements, ratios and the prices where they meet, against fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kernels import funding, liquidation_price, margin
from kernels.layouts import LIMIT, PRICE_MAX
from kernels.liquidation_price import PRICE_ALWAYS, PRICE_BEYOND, PRICE_FOUND, PRICE_NEVER
from kernels.margin import PRICE_WIDE, RATIO_MAX_E6
from relayer.verify import model_margin as model
from relayer.verify.model_margin import Holding, Market, Tier
from tests.kernels import twins
from tests.kernels.entries import int64s, run
from tests.kernels.margins import (
    PUBLISHED,
    USDC,
    exponents,
    holdings,
    initial_index,
    limited,
    maintenance_of,
    markets,
    notionals,
    position_rows,
    prices,
    rates,
    risk_rows,
    sizes_of,
    tables,
    tier_index,
    tier_rows,
)
from tests.kernels.twins import I64_MIN, ONE_E12, Scale


@given(tables(), st.integers(-5, 1100))
def test_held_tier_and_its_index(tiers: list[Tier], leverage: int) -> None:
    rows = tier_rows(tiers)
    wanted = model.held_tier(tiers, leverage)
    assert run(margin.held_tier, rows, leverage) == wanted
    if 0 <= leverage <= 1000:
        assert tier_index(rows)[leverage, 0] == wanted


def test_no_tier_asks_for_all_of_it() -> None:
    rows = tier_rows([])
    assert run(margin.held_tier, rows, 1) == -1
    assert run(margin.maintenance_e6, rows, -1, 12345, 0) == 12345


@given(tables(), st.integers(1, 1000), notionals, rates)
def test_requirements_against_the_twin(tiers: list[Tier], leverage: int, notional: int, floor: int) -> None:
    slices = model.slices_of(tiers, model.held_tier(tiers, leverage), floor)
    assert maintenance_of(tiers, leverage, notional, floor) == model.need_e6(slices, notional)
    initial = run(margin.initial_e6, tier_rows(tiers), leverage, notional, floor)
    assert initial == model.initial_e6(tiers, leverage, notional, floor)


@given(tables(), st.one_of(st.integers(1, 1000), int64s), notionals)
def test_initial_by_index_is_the_initial_requirement(tiers: list[Tier], leverage: int, notional: int) -> None:
    rows, notional = tier_rows(tiers), min(notional, LIMIT - 1)
    index = initial_index(rows)
    within = min(max(leverage, 1), 1000)
    wanted = model.initial_e6(tiers, within, notional, 0)
    assert run(margin.initial_by, rows, index, leverage, notional) == wanted
    if within == leverage:
        assert run(margin.initial_e6, rows, leverage, notional, 0) == wanted
    largest = next((t.max_notional_e6 for t in tiers if within <= t.max_leverage), 0)
    assert run(margin.too_large, index, leverage, notional) == (0 < largest < notional)


def test_a_position_is_too_large_from_the_first_unit_past_its_tier() -> None:
    index = initial_index(tier_rows(PUBLISHED))
    limits = {20: None, 21: 100_000 * USDC, 50: 100_000 * USDC, 51: 50_000 * USDC, 100: 50_000 * USDC}
    for leverage, largest in limits.items():
        for notional in (0, LIMIT - 1) if largest is None else (largest, largest + 1):
            wanted = largest is not None and notional > largest
            assert run(margin.too_large, index, leverage, notional) == wanted


@pytest.mark.parametrize(
    ("leverage", "thousands", "need"),
    [
        (10, 300, 30_000),
        (20, 300, 15_000),
        (50, 100, 2_000),
        (50, 300, 12_000),
        (100, 50, 500),
        (100, 300, 11_500),
    ],
)
def test_published_initial_margin_in_slices(leverage: int, thousands: int, need: int) -> None:
    """At 100x: 50,000 at 1 %, the next 50,000 at 2 %, the rest at 5 %."""
    rows = tier_rows(PUBLISHED)
    notional = thousands * 1000 * USDC
    assert run(margin.initial_by, rows, initial_index(rows), leverage, notional) == need * USDC


bounded = st.one_of(st.sampled_from([0, 2**62, -(2**62)]), st.integers(-(2**62), 2**62))


@given(bounded, st.integers(0, 2**60), bounded)
def test_top_up(equity: int, need: int, reach: int) -> None:
    moved = run(margin.top_up, equity, need, reach)
    assert moved == max(0, min(need - equity, reach))
    assert moved == 0 or moved == reach or equity + moved == need


@given(tables(), st.integers(1, 1000), notionals, notionals, rates)
def test_more_notional_never_needs_less_and_never_more_than_itself(
    tiers: list[Tier], leverage: int, a: int, b: int, floor: int
) -> None:
    low, high = min(a, b), max(a, b)
    at_low, at_high = (maintenance_of(tiers, leverage, n, floor) for n in (low, high))
    assert 0 <= at_high - at_low <= high - low
    assert at_high >= math.ceil(Fraction(high * floor, ONE_E12))


@given(tables(), st.integers(1, 1000), notionals, rates, rates)
def test_a_higher_floor_never_needs_less(
    tiers: list[Tier], leverage: int, notional: int, a: int, b: int
) -> None:
    low, high = min(a, b), max(a, b)
    assert maintenance_of(tiers, leverage, notional, low) <= maintenance_of(tiers, leverage, notional, high)


@pytest.mark.parametrize(
    ("leverage", "usdc", "maintenance"),
    [
        (20, 10**6, 25_000),
        (50, 100_000, 1_000),
        (50, 200_000, 3_500),
        (100, 50_000, 250),
        (100, 150_000, 2_000),
    ],
)
def test_published_tiers_by_slices(leverage: int, usdc: int, maintenance: int) -> None:
    """150,000 at 100x: 50,000 at 0.5 %, 50,000 at 1 %, 50,000 at 2.5 %."""
    assert maintenance_of(PUBLISHED, leverage, usdc * USDC, 0) == maintenance * USDC


@given(rates, rates, int64s, int64s, rates)
def test_floor_rate(taker: int, liquidation: int, conf: int, mark: int, move: int) -> None:
    taker, liquidation = taker // 1000, liquidation // 1000
    wanted = model.floor_rate_e12(taker, liquidation, max(conf, 0), mark, move)
    assert run(margin.floor_rate_e12, taker, liquidation, conf, mark, move) == wanted


def test_floor_rate_by_hand() -> None:
    """5 bp taker + 10 bp liquidation + 2 x 3 bp confidence + 4 bp move = 25 bp."""
    assert run(margin.floor_rate_e12, 500_000, 1_000_000, 30_000, 10**8, 4 * 10**8) == 25 * 10**8
    assert run(margin.floor_rate_e12, -5, -5, -5, 10**8, -5) == 0


@given(exponents, limited, st.one_of(prices, st.integers(-10, 2 * PRICE_WIDE)))
def test_valued(e: int, size: int, price: int) -> None:
    scale = Scale(e)
    exact = model.exact_worth(e, size, price)
    worth, notional, ok = run(margin.valued, size, price, scale.mul, scale.div)
    assert ok == (0 <= price <= PRICE_WIDE and -LIMIT <= math.floor(exact) <= LIMIT)
    assert (worth, notional) == ((math.floor(exact), math.ceil(abs(exact))) if ok else (0, 0))


@given(limited, limited, limited, limited, exponents, st.data())
def test_settled_cash_is_what_funding_settles(
    size: int, cash: int, idx: int, index: int, e: int, data: st.DataObject
) -> None:
    rem = data.draw(st.integers(0, 10**e - 1))
    pay, _, ok = run(funding.settle, size, rem, idx, index, 10**e)
    wanted = (cash + pay, 1) if ok == 1 and abs(pay) <= LIMIT else (0, 0)
    assert run(margin.settled_cash, size, cash, idx, rem, index, 10**e) == wanted
    if ok == 1 and abs(pay) <= LIMIT:
        market = Market(e, 1, index)
        assert model.settled_cash(Holding(size, cash, idx, rem), market) == cash + pay


@given(int64s, int64s, int64s, int64s, int64s)
def test_numbers_past_the_bounds_are_refused(size: int, cash: int, idx: int, index: int, cost: int) -> None:
    if max(map(abs, (size, cash, idx, index))) > LIMIT:
        assert run(margin.settled_cash, size, cash, idx, 0, index, 10**9) == (0, 0)
    if abs(cost) > LIMIT:
        assert run(margin.unrealised_e6, 1, cost, PRICE_MAX, 1, 1) == (0, 0)
    _, ok = run(margin.equity_e6, size, cash, idx, 0, index, 10**9, PRICE_MAX, 1, 1000)
    assert ok == 0 or max(map(abs, (size, cash, idx, index))) <= LIMIT


@given(markets(), st.data(), tables())
def test_position_margin_against_the_twin(market: Market, data: st.DataObject, tiers: list[Tier]) -> None:
    holding = data.draw(holdings(market))
    rows, risk = tier_rows(tiers), risk_rows([market])
    position = position_rows([(1, 0, 0, holding)])
    equity, need, notional, ok = run(margin.position_margin, position[0], risk[0], rows, tier_index(rows))
    assert ok == 1
    wanted = model.position_margin(holding, market, tiers)
    assert (equity, need) == wanted
    assert margin.liquidatable(equity, need) == wanted.liquidatable
    assert notional == math.ceil(abs(model.exact_worth(market.e, holding.size, market.mark)))
    scale = Scale(market.e)
    four = (holding.size, holding.cash, holding.idx, holding.rem)
    place = (market.index_e6, scale.one, market.mark, scale.mul, scale.div)
    assert run(margin.equity_e6, *four, *place) == (model.equity_e6(holding, market), 1)


@given(exponents, st.data(), prices, limited)
def test_unrealised(e: int, data: st.DataObject, price: int, cost: int) -> None:
    size = data.draw(sizes_of(e))
    wanted = math.floor(model.exact_worth(e, size, price)) - cost
    assert run(margin.unrealised_e6, size, cost, price, Scale(e).mul, Scale(e).div) == (wanted, 1)


@given(limited, st.integers(-5, LIMIT), limited, st.integers(1, LIMIT))
def test_ratios(equity: int, need: int, equity_b: int, need_b: int) -> None:
    rounded = run(margin.ratio_e6, equity, need)
    assert run(margin.liquidatable, equity, need) == (need > 0 and equity < need)
    if need <= 0:
        assert rounded == RATIO_MAX_E6
        return
    exact = Fraction(equity, need)
    assert rounded == max(-RATIO_MAX_E6, min(RATIO_MAX_E6, math.floor(exact * 10**6)))
    assert (rounded < 10**6) == (equity < need)
    assert run(margin.ratio_less, equity, need, equity_b, need_b) == (exact < Fraction(equity_b, need_b))


FREE = [model.Slice(0, 0)]
"""Asks for nothing."""


def surplus(e: int, size: int, held: int, price: int, slices: list[model.Slice]) -> int:
    """Equity less maintenance at a price."""
    exact = model.exact_worth(e, size, price)
    return held + math.floor(exact) - model.need_e6(slices, math.ceil(abs(exact)))


@given(exponents, st.data(), tables(), st.integers(1, 1000), rates)
def test_liquidation_price(e: int, data: st.DataObject, tiers: list[Tier], leverage: int, floor: int) -> None:
    size, near = data.draw(sizes_of(e)), data.draw(prices)
    held = -math.floor(model.exact_worth(e, size, near)) + data.draw(
        st.one_of(st.integers(-1000, 1000), st.integers(-(2**58), 2**58))
    )
    rows, scale = tier_rows(tiers), Scale(e)
    top = model.held_tier(tiers, leverage)
    slices = model.slices_of(tiers, top, floor)
    price, status = run(
        liquidation_price.liquidation_price, size, held, rows, top, floor, scale.mul, scale.div
    )
    assert (price, status) == model.liquidation_price(e, size, held, slices)
    if status != PRICE_FOUND:
        assert price == 0
        return
    safer = 1 if size > 0 else -1
    for step in (0, 1, 2, 10**6):
        assert surplus(e, size, held, max(0, price + safer * step), slices) >= 0
    beyond = surplus(e, size, held, price - safer, slices)
    assert beyond <= 0
    if e <= 6 or size < 0:
        assert beyond < 0


@given(exponents, st.data(), prices)
def test_bankruptcy_price(e: int, data: st.DataObject, near: int) -> None:
    size = data.draw(sizes_of(e))
    held = -math.floor(model.exact_worth(e, size, near)) + data.draw(st.integers(-1000, 1000))
    scale = Scale(e)
    price, status = run(liquidation_price.bankruptcy_price, size, held, scale.mul, scale.div)
    assert (price, status) == model.bankruptcy_price(e, size, held)
    if status == PRICE_FOUND:
        assert surplus(e, size, held, price, FREE) >= 0
        assert surplus(e, size, held, price - (1 if size > 0 else -1), FREE) < 0
        wall, found = run(
            liquidation_price.liquidation_price, size, held, tier_rows(PUBLISHED), 0, 0, scale.mul, scale.div
        )
        assert found != PRICE_FOUND or (wall >= price if size > 0 else wall <= price)


@given(int64s, int64s, exponents)
def test_prices_of_extremes_end_and_say_so(size: int, held: int, e: int) -> None:
    rows, scale = tier_rows(PUBLISHED), Scale(e)
    for price, status in (
        run(liquidation_price.liquidation_price, size, held, rows, 2, 0, scale.mul, scale.div),
        run(liquidation_price.bankruptcy_price, size, held, scale.mul, scale.div),
    ):
        assert 0 <= price <= PRICE_WIDE
        assert status in (PRICE_NEVER, PRICE_FOUND, PRICE_ALWAYS, PRICE_BEYOND)
        assert (price == 0) == (status != PRICE_FOUND)


@pytest.mark.parametrize(
    ("side", "price", "status"), [(1, 92_307_693, PRICE_FOUND), (-1, 107_317_073, PRICE_FOUND)]
)
def test_liquidation_price_by_hand(side: int, price: int, status: int) -> None:
    """One lot at 100 USD with 10 USDC behind it at 20x: P = (100 - 10) / 0.975, and (100 + 10) / 1.025."""
    held = -side * 100 * USDC + 10 * USDC
    assert run(liquidation_price.liquidation_price, side, held, tier_rows(PUBLISHED), 0, 0, 1, 1) == (
        price,
        status,
    )


def test_fully_paid_longs_have_no_price_and_the_ruined_every_one() -> None:
    rows = tier_rows(PUBLISHED)
    assert run(liquidation_price.liquidation_price, 5, 0, rows, 0, 0, 1, 1) == (0, PRICE_NEVER)
    assert run(liquidation_price.liquidation_price, 0, -5, rows, 0, 0, 1, 1) == (0, PRICE_NEVER)
    assert run(liquidation_price.liquidation_price, -5, 0, rows, 0, 0, 1, 1) == (0, PRICE_ALWAYS)
    assert run(liquidation_price.liquidation_price, 5, -1, rows, -1, 0, 1, 1) == (0, PRICE_ALWAYS)
    assert run(liquidation_price.liquidation_price, -1, 10**18, rows, 0, 0, 1, 1) == (0, PRICE_BEYOND)


HALF = [Tier(1, ONE_E12, ONE_E12 // 2, 0)]
"""Maintenance is half the notional, up."""


@pytest.mark.parametrize(
    ("size", "held", "e", "price"),
    [(1, -10, 6, 20), (1, -10, 9, 21_000), (1, 0, 9, 1000), (-1, 10, 6, 6), (-1, 10, 9, 6000), (-1, 3, 6, 2)],
)
def test_liquidation_price_of_a_few_units(size: int, held: int, e: int, price: int) -> None:
    """At nine decimals a long must also stand the fraction above its worth: 21 - 10 covers half of 22, up."""
    rows, scale = tier_rows(HALF), Scale(e)
    got = run(liquidation_price.liquidation_price, size, held, rows, 0, 0, scale.mul, scale.div)
    assert got == (price, PRICE_FOUND)
    assert got == model.liquidation_price(e, size, held, model.slices_of(HALF, 0, 0))


@pytest.mark.parametrize(("mul", "div"), [(1, 1), (1, 10)])
def test_liquidation_price_at_the_widest_notional(mul: int, div: int) -> None:
    """Half of LIMIT - 1, up, is half of LIMIT: a debt of the other half can just be stood, one unit more not."""
    rows, size, debt = tier_rows(HALF), 2**40, 2**60 - 1
    at = (rows, 0, 0, mul, div)
    assert run(liquidation_price.liquidation_price, size, -debt, *at) == (2**21 * div, PRICE_FOUND)
    assert run(liquidation_price.liquidation_price, size, -debt - 1, *at) == (0, PRICE_ALWAYS)


def test_what_stands_behind_a_position_may_reach_twice_the_limit() -> None:
    at = (tier_rows(HALF), 0, 0, 1, 1)
    most = 2 * LIMIT
    for size, held, status in [
        (1, most, PRICE_NEVER),
        (1, most + 1, PRICE_BEYOND),
        (1, -most, PRICE_ALWAYS),
        (1, -most - 1, PRICE_BEYOND),
        (-1, -most, PRICE_ALWAYS),
        (-1, 0, PRICE_ALWAYS),
        (-1, 1, PRICE_ALWAYS),
    ]:
        assert run(liquidation_price.liquidation_price, size, held, *at) == (0, status)
    for held, status in [(-most - 1, PRICE_BEYOND), (-most, PRICE_BEYOND), (most + 1, PRICE_NEVER)]:
        assert run(liquidation_price.bankruptcy_price, 1, held, 1, 1) == (0, status)
    size = most // PRICE_WIDE + 1
    for held in (most, -most):
        price, status = run(liquidation_price.bankruptcy_price, size if held < 0 else -size, held, 1, 1)
        assert status == PRICE_FOUND and price == (-(-most // size) if held < 0 else most // size)
    for held in (most + 1, -most - 1):
        got = run(liquidation_price.bankruptcy_price, size if held < 0 else -size, held, 1, 1)
        assert got == (0, PRICE_BEYOND)
    assert run(liquidation_price.bankruptcy_price, -1, 0, 1, 1) == (0, PRICE_ALWAYS)
    assert run(liquidation_price.bankruptcy_price, -1, -1, 1, 1) == (0, PRICE_ALWAYS)
    assert run(liquidation_price.bankruptcy_price, 1, 0, 1, 1) == (0, PRICE_NEVER)


@pytest.mark.parametrize(
    ("quote", "size", "mul", "wanted"),
    [
        (PRICE_WIDE, 1, 1, (PRICE_WIDE, PRICE_FOUND)),
        (PRICE_WIDE + 1, 1, 1, (0, PRICE_BEYOND)),
        (LIMIT, LIMIT, 1, (1, PRICE_FOUND)),
        (LIMIT, LIMIT + 1, 1, (0, PRICE_BEYOND)),
        (LIMIT // 10, -(LIMIT // 10), 10, (0, PRICE_FOUND)),
        (LIMIT, LIMIT // 10 + 1, 10, (0, PRICE_BEYOND)),
        (LIMIT, -LIMIT, 10, (0, PRICE_BEYOND)),
        (LIMIT, I64_MIN, 1, (0, PRICE_BEYOND)),
    ],
)
def test_price_of_a_worth_within_bounds(quote: int, size: int, mul: int, wanted: tuple[int, int]) -> None:
    assert run(liquidation_price.price_of, quote, size, mul, 1, 0) == wanted


@given(markets(), st.data())
def test_a_rising_price_never_liquidates_a_long(market: Market, data: st.DataObject) -> None:
    """The reason for slices: across a tier's limit the surplus of a long still rises with the price."""
    assume(market.e <= 6)
    scale = Scale(market.e)
    lots = max(1, 50_000 * USDC * scale.one // (market.mark * 10**6))
    slices = model.slices_of(PUBLISHED, 2, 0)
    held = data.draw(st.integers(-50_000 * USDC, 0))
    a, b = sorted(data.draw(st.tuples(prices, prices)))
    assert surplus(market.e, lots, held, a, slices) <= surplus(market.e, lots, held, b, slices)
    assert twins.fits(held)
