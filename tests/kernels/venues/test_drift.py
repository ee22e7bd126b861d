"""Drift v2's margin, liquidation, fees and positions against the plain rules."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.venues import drift
from kernels.venues.status import NO_OPEN_INTEREST, NO_SIZE, OK, OUT_OF_RANGE, OVERFLOW
from tests.kernels.entries import int64s, run
from tests.kernels.twins import I64_MAX, I64_MIN
from tests.kernels.venues import twins
from tests.kernels.venues.twins import fits

quotes = st.integers(-(10**15), 10**15)
prices = st.integers(0, 10**12)
naturals = st.integers(0, I64_MAX)


@given(quotes, quotes, quotes, quotes, quotes, quotes)
def test_position_update(base: int, quote: int, entry: int, even: int, dbase: int, dquote: int) -> None:
    arguments = base, quote, entry, even, dbase, dquote
    assert run(drift.position_update, *arguments) == (*twins.position_update(*arguments), OK)


@given(int64s, int64s, int64s, int64s, int64s, int64s)
def test_position_update_at_the_edges(
    base: int, quote: int, entry: int, even: int, dbase: int, dquote: int
) -> None:
    arguments = base, quote, entry, even, dbase, dquote
    *got, status = run(drift.position_update, *arguments)
    wanted = twins.position_update(*arguments)
    assert status == OK or not fits(*arguments, *wanted)
    assert tuple(got) == (wanted if status == OK else (0, 0, 0, 0, 0))


@given(st.integers(1, 10**12), quotes, st.integers(1, 10**12), quotes)
def test_a_flip_is_a_close_and_an_opening(base: int, entry: int, beyond: int, price: int) -> None:
    """At a price that divides exactly, one trade through zero is the same as two."""
    once = run(
        drift.position_update, base, entry, entry, entry, -base - beyond, (base + beyond) * (price % 99)
    )
    closed = run(drift.position_update, base, entry, entry, entry, -base, base * (price % 99))
    opened = run(drift.position_update, *closed[:4], -beyond, beyond * (price % 99))
    assert once[:4] == opened[:4]
    assert once[4] == closed[4] + opened[4]


@given(int64s, int64s, int64s)
def test_unrealised_pnl(base: int, quote: int, price: int) -> None:
    wanted = math.trunc(base * price * twins.power(-9)) + quote
    got, status = run(drift.unrealised_pnl, base, quote, price)
    assert (got == wanted) if status == OK else (got, fits(base, price, wanted, wanted - quote)) == (0, False)


@given(st.one_of(st.integers(0, 10**12), naturals))
def test_root_of_size(size: int) -> None:
    assert run(drift._root_of_size, size) == math.isqrt(size * 10 + 1)


@pytest.mark.parametrize("root", [1, 2, 3, 9, 11, 99, 9_603_838_833, 9_603_838_834])
def test_root_at_its_steps(root: int) -> None:
    for size in (-(-(root**2 - 1) // 10) - 1, -(-(root**2 - 1) // 10)):
        if 0 <= size <= I64_MAX:
            assert run(drift._root_of_size, size) == math.isqrt(size * 10 + 1)


@given(quotes, prices, st.integers(0, 10**4), st.integers(0, 10**6))
def test_requirement(base: int, price: int, ratio: int, imf: int) -> None:
    wanted = twins.drift_requirement(base, price, ratio, imf)
    told = (wanted, OK) if fits(wanted) else (0, OVERFLOW)
    assert run(drift.margin_requirement, base, price, ratio, imf) == told


@given(int64s, int64s, int64s, int64s)
def test_requirement_at_the_edges(base: int, price: int, ratio: int, imf: int) -> None:
    got, status = run(drift.margin_requirement, base, price, ratio, imf)
    if status == OK:
        assert got == twins.drift_requirement(base, price, ratio, imf)
    else:
        assert got == 0
        assert status == OVERFLOW or (status == OUT_OF_RANGE and min(price, ratio, imf) < 0)


@given(st.integers(0, 10**14), prices, st.integers(0, 10**4), st.integers(0, 10**4))
def test_a_larger_position_never_needs_less(base: int, price: int, ratio: int, imf: int) -> None:
    asked = [run(drift.margin_requirement, b, price, ratio, imf)[0] for b in (base // 2, base)]
    assert asked[0] <= asked[1]


@pytest.mark.parametrize(("collateral", "verdict"), [(99, 1), (100, 0), (101, 0), (-1, 1)])
def test_is_liquidatable_is_strict(collateral: int, verdict: int) -> None:
    assert run(drift.is_liquidatable, collateral, 100) == verdict


@given(quotes.map(abs), st.integers(0, 10**4), ppm := st.integers(0, 10**6), ppm, prices, prices)
def test_base_to_cover(
    shortage: int, ratio: int, fee: int, insurance: int, oracle: int, quote_oracle: int
) -> None:
    arguments = shortage, ratio, fee, insurance, oracle, quote_oracle
    got, status = run(drift.base_to_cover_shortage, *arguments)
    wanted = twins.base_to_cover(*arguments)
    if wanted is None:
        assert (got, status) == (0, NO_SIZE)
    else:
        assert (got, status) == ((wanted, OK) if fits(wanted) else (0, OVERFLOW))


@given(int64s, int64s, int64s, int64s, int64s, int64s)
def test_base_to_cover_at_the_edges(
    shortage: int, ratio: int, fee: int, insurance: int, oracle: int, quote_oracle: int
) -> None:
    arguments = shortage, ratio, fee, insurance, oracle, quote_oracle
    got, status = run(drift.base_to_cover_shortage, *arguments)
    assert (status == OUT_OF_RANGE) == (min(arguments) < 0)
    assert got == (twins.base_to_cover(*arguments) if status == OK else 0)
    if status == NO_SIZE:
        assert twins.base_to_cover(*arguments) is None


@given(quotes.map(abs), st.integers(0, 10**15), st.integers(0, 10**4), ppm, prices, prices, ppm)
def test_insurance_fee(
    shortage: int, base: int, ratio: int, fee: int, oracle: int, quote_oracle: int, fee_max: int
) -> None:
    arguments = shortage, base, ratio, fee, oracle, quote_oracle, fee_max
    got, status = run(drift.insurance_fee, *arguments)
    wanted = twins.drift_insurance_fee(*arguments)
    assert (got, status) == ((wanted, OK) if wanted is not None else (0, OUT_OF_RANGE))


@given(int64s, int64s, int64s, int64s, int64s, int64s, int64s)
def test_insurance_fee_at_the_edges(
    shortage: int, base: int, ratio: int, fee: int, oracle: int, quote_oracle: int, fee_max: int
) -> None:
    arguments = shortage, base, ratio, fee, oracle, quote_oracle, fee_max
    got, status = run(drift.insurance_fee, *arguments)
    assert got == (twins.drift_insurance_fee(*arguments) if status == OK else 0)
    if status == OK:
        return
    if status == OUT_OF_RANGE:
        assert min(arguments) < 0 or oracle * quote_oracle < 10**6
    else:
        assert status == OVERFLOW


def test_a_shortage_beyond_all_bounds_leaves_no_room() -> None:
    assert run(drift.insurance_fee, I64_MAX, 1, 500, 10_000, 10**8, 10**6, 50_000) == (0, OK)


@given(int64s, int64s, int64s)
def test_socialised_loss(loss: int, longs: int, shorts: int) -> None:
    got, status = run(drift.socialised_loss_rate, loss, longs, shorts)
    wanted = twins.socialised_loss_rate(loss, longs, shorts)
    if wanted is None:
        assert (got, status) == (0, NO_OPEN_INTEREST if fits(loss) else OVERFLOW)
    elif status == OK:
        assert got == wanted
        assert got * (abs(longs) + abs(shorts)) >= abs(loss) * 10**9 * 1000
    else:
        assert (got, status) == (0, OVERFLOW)
        assert not fits(loss, longs, shorts, abs(longs) + abs(shorts), wanted)


@given(
    st.integers(0, 10**15),
    st.integers(0, 10**5),
    st.integers(0, 10**5),
    st.integers(-100, 100),
    st.booleans(),
    st.integers(0, 100),
    st.integers(0, 100),
)
def test_trade_fees(
    notional: int, taker: int, maker: int, adjustment: int, referred: bool, discount: int, reward: int
) -> None:
    arguments = notional, taker, maker, adjustment, int(referred), discount, reward
    *got, status = run(drift.trade_fees, *arguments)
    assert (tuple(got), status) == (twins.trade_fees(*arguments), OK)
    assert got[0] == got[1] + got[2] + got[3]


@given(int64s, int64s, int64s, int64s, int64s, int64s)
def test_trade_fees_at_the_edges(
    notional: int, taker: int, maker: int, adjustment: int, discount: int, reward: int
) -> None:
    arguments = notional, taker, maker, adjustment, 1, discount, reward
    *got, status = run(drift.trade_fees, *arguments)
    if status == OK:
        assert tuple(got) == twins.trade_fees(*arguments)
    else:
        assert got == [0, 0, 0, 0, 0]
        assert status in (OVERFLOW, OUT_OF_RANGE)


def test_an_adjustment_below_minus_all_of_it_is_refused() -> None:
    assert run(drift.trade_fees, 10**6, 100, 60, -101, 0, 0, 0) == (0, 0, 0, 0, 0, OUT_OF_RANGE)
    assert run(drift.trade_fees, 10**6, 100, 60, -100, 0, 0, 0) == (0, 0, 0, 0, 0, OK)
    assert run(drift.trade_fees, 10**6, 100, 60, I64_MIN, 0, 0, 0) == (0, 0, 0, 0, 0, OVERFLOW)


@pytest.mark.parametrize("place", [0, 1, 2, 5, 6])
def test_a_negative_amount_of_a_trade_is_refused(place: int) -> None:
    arguments = [10**6, 100, 60, 0, 1, 10, 10]
    arguments[place] = -1
    assert run(drift.trade_fees, *arguments) == (0, 0, 0, 0, 0, OUT_OF_RANGE)


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(
    ("base", "dbase"), [(1, 1), (1, 0), (0, 1), (0, 0), (1, -1), (2, -1), (1, -2), (2, -3)]
)
def test_updates_of_single_units(side: int, base: int, dbase: int) -> None:
    arguments = (
        side * base,
        -side * base * 7,
        -side * base * 7,
        -side * base * 5,
        side * dbase,
        -side * dbase * 9,
    )
    assert run(drift.position_update, *arguments) == (*twins.position_update(*arguments), OK)


@pytest.mark.parametrize(
    "arguments",
    [
        (I64_MAX, 0, 0, 0, 1, 0),
        (1, I64_MAX, 0, 0, 1, 1),
        (I64_MIN, 0, 0, 0, 1, 0),
        (1, 0, 0, 0, I64_MIN, 0),
        (1, 0, I64_MAX, 0, 1, 1),
        (1, 0, 0, I64_MAX, 1, 1),
        (2, 0, I64_MIN, 0, -1, 0),
        (2, 0, 0, I64_MIN, -1, 0),
        (2, 0, I64_MAX, 0, -2, 1),
        (2, 0, 0, 0, -3, I64_MIN),
        (2, 0, I64_MAX, 0, -3, 3),
    ],
)
def test_an_update_with_a_step_past_int64_is_refused(arguments: tuple[int, ...]) -> None:
    assert run(drift.position_update, *arguments) == (0, 0, 0, 0, 0, OVERFLOW)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (drift.base_to_cover_shortage, (10, 1000, 0, 0, I64_MAX, 10**7)),
        (drift.base_to_cover_shortage, (10, I64_MAX, 0, 0, 10**6, 10**6)),
        (drift.base_to_cover_shortage, (10, 10**9, 0, 0, I64_MAX // 2, 10**6)),
        (drift.base_to_cover_shortage, (10, 1000, 0, 10**7, I64_MAX // 2, 10**6)),
        (drift.insurance_fee, (10, 1, I64_MAX, 0, 1, 1, 1)),
        (drift.insurance_fee, (10, 1, 500, 0, I64_MAX, 10**7, 1)),
        (drift.insurance_fee, (I64_MAX, 1, I64_MAX // 100, 0, 10**12, 10**6, 1)),
        (drift.socialised_loss_rate, (I64_MIN, 1, 1)),
        (drift.socialised_loss_rate, (1, I64_MIN, 1)),
        (drift.socialised_loss_rate, (1, 1, I64_MIN)),
        (drift.socialised_loss_rate, (1, I64_MAX, 1)),
        (drift.socialised_loss_rate, (10**10, 1, 0)),
        (drift.socialised_loss_rate, (10**7, 1, 0)),
        (drift.unrealised_pnl, (10**9, I64_MAX, 1)),
        (drift.unrealised_pnl, (I64_MAX, 0, 10**10)),
        (drift.trade_fees, (I64_MAX, 10**6, 1, 0, 0, 0, 0)),
        (drift.trade_fees, (I64_MAX, 1, 10**6, 0, 0, 0, 0)),
        (drift.trade_fees, (I64_MAX, 10**5, 1, 1, 0, 0, 0)),
        (drift.trade_fees, (I64_MAX, 1, 10**5, 1, 0, 0, 0)),
        (drift.trade_fees, (I64_MAX, 10**5, 1, 0, 1, 101, 0)),
        (drift.trade_fees, (I64_MAX, 10**5, 1, 0, 1, 0, 101)),
    ],
)
def test_each_step_beyond_the_range_is_refused(function, arguments: tuple[int, ...]) -> None:  # type: ignore[no-untyped-def]
    answer = run(function, *arguments)
    assert answer[-1] == OVERFLOW
    assert not any(answer)


def test_the_house_may_pay_for_a_trade() -> None:
    given = I64_MAX, 10**5, 0, 0, 1, 100, 100
    assert run(drift.trade_fees, *given) == (0, 0, -I64_MAX, I64_MAX, I64_MAX, OK)
    assert run(drift.trade_fees, I64_MAX, 10**5, 10**5, 0, 1, 100, 100) == (0, 0, 0, 0, 0, OVERFLOW)


def test_a_close_of_all_asks_nothing_of_the_quote() -> None:
    """No share is taken of it, so it may be what has no magnitude."""
    assert run(drift.position_update, 2, 0, 5, 0, -2, I64_MIN) == (0, I64_MIN, 0, 0, I64_MIN + 5, OK)


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ((I64_MIN, 1, 1), (0, OVERFLOW)),
        ((1, -1, 1), (0, OUT_OF_RANGE)),
        ((1, 1, -1), (0, OUT_OF_RANGE)),
        ((I64_MAX, 1, I64_MAX), (0, OVERFLOW)),
        ((I64_MAX, I64_MAX, I64_MAX // 3000), (0, OVERFLOW)),
        ((0, 500, 0), (500, OK)),
    ],
)
def test_size_ratio_is_refused_or_told(arguments: tuple[int, int, int], answer: tuple[int, int]) -> None:
    assert run(drift.size_ratio, *arguments) == answer


@pytest.mark.parametrize(
    ("fee", "percent", "answer"),
    [
        (1000, 0, (1000, 1)),
        (1000, 5, (1050, 1)),
        (1000, -5, (950, 1)),
        (1, I64_MIN, (0, 0)),
        (I64_MAX, I64_MAX, (0, 0)),
        (I64_MAX, 1, (0, 0)),
    ],
)
def test_a_fee_adjusted(fee: int, percent: int, answer: tuple[int, int]) -> None:
    assert run(drift._adjusted, fee, percent) == answer


def test_a_margin_no_larger_than_the_fee_frees_nothing_whatever_the_price() -> None:
    """Decided before the insurance fee, which would not fit."""
    assert run(drift.base_to_cover_shortage, 1, 1, 100, 10**7, I64_MAX, 1) == (0, NO_SIZE)


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ((0, 1, 500, 0, 10**6, 1, 50_000), (47_500, OK)),
        ((0, 1, 500, 0, 10**6, 0, 50_000), (0, OK)),
        ((0, 1, 500, 0, 1, 1, 50_000), (0, OUT_OF_RANGE)),
        ((0, 1, 1, 100, 1, 1, 50_000), (0, OK)),
        ((I64_MAX, 1, 83_887, 93, 2**40 * 10**6, 10**6, 1), (0, OK)),
        ((I64_MAX, 1, 83_887, 92, 2**40 * 10**6, 10**6, 1), (0, OVERFLOW)),
    ],
)
def test_insurance_fee_where_its_branches_meet(arguments: tuple[int, ...], answer: tuple[int, int]) -> None:
    """A price of one unit counts, of none is refused unless nothing is asked of it; the largest shortage that
    can be stated needs 2**23 - 1 of the margin's rate: with that room there is no fee, with more nobody knows.
    """
    assert run(drift.insurance_fee, *arguments) == answer
