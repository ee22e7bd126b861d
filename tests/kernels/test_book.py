"""Quotes, fees, requirements, cost and the sums of a market against exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import book, int128, margin, narrow
from kernels.layouts import LIMIT, MARKET, NOTIONAL_LIMIT_E6, PRICE_MAX, PRICE_MIN
from tests.kernels import twins
from tests.kernels.entries import int64s, run
from tests.kernels.twins import Lot, Scale

prices = st.one_of(st.sampled_from([PRICE_MIN, PRICE_MAX]), st.integers(PRICE_MIN, PRICE_MAX))
scales = st.integers(0, 9).map(Scale)
rates_e12 = st.one_of(st.sampled_from([0, 1, 10**12]), st.integers(0, 10**12))
money = st.one_of(st.sampled_from([0, 1, -1, LIMIT, -LIMIT]), st.integers(-LIMIT, LIMIT))


def needed(size: int, price: int, rate_e12: int, scale: Scale) -> int:
    """What a margin rate asks of a position, as booking takes it."""
    _, notional, ok = run(book.worth_of, size, price, scale.mul, scale.div)
    assert ok == 1
    return run(narrow.share_up, notional, rate_e12)


def sizes_of(scale: Scale) -> st.SearchStrategy[int]:
    limit = scale.size_max
    return st.one_of(st.sampled_from([0, 1, -1, limit, -limit]), st.integers(-limit, limit))


sized = scales.flatmap(lambda scale: st.tuples(st.just(scale), sizes_of(scale)))


@given(int64s)
def test_within(value: int) -> None:
    assert run(book.within, value) == int(abs(value) <= 2**61)


def test_the_limit_itself_is_within() -> None:
    assert [run(book.within, x) for x in (-LIMIT - 1, -LIMIT, LIMIT, LIMIT + 1)] == [0, 1, 1, 0]


@pytest.mark.parametrize("e", range(10))
def test_size_limit_keeps_the_notional_in_bounds(e: int) -> None:
    scale = Scale(e)
    limit = run(book.size_limit, scale.mul, scale.div)
    assert limit == scale.size_max
    assert scale.worth(limit, PRICE_MAX) <= NOTIONAL_LIMIT_E6 < scale.worth(limit + 2, PRICE_MAX)


def test_a_size_limit_past_int64_admits_nothing() -> None:
    assert run(book.size_limit, 1, 2**62) == 0


@given(sized, prices)
def test_quote_is_nearest_even_and_odd_in_size(scaled: tuple[Scale, int], price: int) -> None:
    scale, size = scaled
    quote, ok = run(book.quote_of, size, price, scale.mul, scale.div)
    assert (quote, ok) == (twins.half_even(scale.worth(size, price)), 1)
    assert run(book.quote_of, -size, price, scale.mul, scale.div) == (-quote, 1)
    if scale.e <= 6:
        assert quote == scale.worth(size, price)


@given(sized, prices)
def test_worth_is_down_and_notional_up(scaled: tuple[Scale, int], price: int) -> None:
    scale, size = scaled
    exact = scale.worth(size, price)
    wanted = (math.floor(exact), math.ceil(abs(exact)), 1)
    assert run(book.worth_of, size, price, scale.mul, scale.div) == wanted


@pytest.mark.parametrize(
    ("size", "price", "worth", "notional"),
    [
        (1, 10_000_001, 10_000, 10_001),
        (-1, 10_000_001, -10_001, 10_001),
        (1, 10_000_999, 10_000, 10_001),
        (1, 10_000_000, 10_000, 10_000),
        (-1, 10_000_000, -10_000, 10_000),
    ],
)
def test_worth_and_notional_of_one_lot(size: int, price: int, worth: int, notional: int) -> None:
    """At e = 9 a price unit is a thousandth of a micro-USDC: any fraction takes the notional up one."""
    assert run(book.worth_of, size, price, 1, 1000) == (worth, notional, 1)


def test_what_does_not_fit_is_said() -> None:
    assert run(book.quote_of, 2**40, PRICE_MAX, 1, 1) == (0, 0)
    assert run(book.worth_of, 2**40, PRICE_MAX, 1, 1) == (0, 0, 0)
    assert run(book.worth_of, -(2**40), PRICE_MAX, 1, 1) == (0, 0, 0)
    assert run(book.fee_of, 2**62, 10**9 * 4) == (0, 0)


@given(st.integers(-(2**60), 2**60), st.integers(-(10**9), 10**9))
def test_fee_is_up_and_a_rebate_down(quote: int, rate_e9: int) -> None:
    fee, ok = run(book.fee_of, quote, rate_e9)
    exact = Fraction(abs(quote) * rate_e9, 10**9)
    assert ok == 1 and exact <= fee < exact + 1
    assert run(book.fee_of, -quote, rate_e9) == (fee, 1)
    if rate_e9 < 0:
        assert abs(fee) <= abs(exact)


@given(st.integers(-(2**60), 2**60), st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_house_never_pays_more_than_it_takes(quote: int, taker_e9: int, rebate_e9: int) -> None:
    taker_e9 = max(taker_e9, rebate_e9)
    assert run(book.fee_of, quote, taker_e9)[0] + run(book.fee_of, quote, -rebate_e9)[0] >= 0


@given(sized, prices, rates_e12)
def test_requirement_against_the_twin(scaled: tuple[Scale, int], price: int, rate: int) -> None:
    scale, size = scaled
    need = needed(size, price, rate, scale)
    assert need == twins.requirement(scale, size, price, rate)
    assert need >= abs(scale.worth(size, price)) * Fraction(rate, 10**12)
    assert needed(-size, price, rate, scale) == need


@pytest.mark.parametrize(
    ("price", "rate", "need"),
    [(10_000_001, 10**12, 10_001), (10_000_001, 5 * 10**11, 5_001), (10_000_000, 10**11 + 1, 1_001)],
)
def test_requirement_rounds_notional_and_share_up(price: int, rate: int, need: int) -> None:
    """One lot at e = 9: 10,000.001 micro-USDC count as 10,001, and half of that as 5,001."""
    assert needed(1, price, rate, Scale(9)) == need


@given(sized, prices, prices, rates_e12, rates_e12, st.integers(0, 2**40))
def test_requirement_is_monotone(
    scaled: tuple[Scale, int], price: int, price2: int, rate: int, rate2: int, less: int
) -> None:
    scale, size = scaled
    smaller = max(0, abs(size) - less)
    low = needed(smaller, min(price, price2), min(rate, rate2), scale)
    assert low <= needed(size, max(price, price2), max(rate, rate2), scale)


@given(sized, money, money, prices, rates_e12)
def test_an_isolated_increase_is_topped_up(
    scaled: tuple[Scale, int], cash: int, free: int, price: int, rate: int
) -> None:
    scale, size = scaled
    worth, notional, ok = run(book.worth_of, size, price, scale.mul, scale.div)
    need = run(narrow.share_up, notional, rate)
    assert ok == 1
    moved = run(margin.top_up, cash + worth, need, free)
    assert moved == twins.isolated_transfer(scale, size, cash, free, price, rate)
    assert 0 <= moved <= max(0, free)
    equity = cash + moved + worth
    assert equity == need or moved == max(0, free) or (moved == 0 and equity > need)


@given(money, st.integers(0, 1), money)
def test_close_out_empties_the_slot_as_far_as_it_may(cash: int, isolated: int, insurance: int) -> None:
    transfer, cover = run(book.close_out, cash, isolated, insurance)
    left = cash + transfer + cover
    assert 0 <= cover <= max(0, insurance)
    if cash >= 0 or isolated == 0:
        assert (transfer, cover, left) == (-cash, 0, 0)
    else:
        assert transfer == 0 and left <= 0
        assert left == 0 or cover == max(0, insurance)


lots = st.builds(
    Lot, st.integers(-(10**9), 10**9), st.one_of(st.integers(-(10**15), 10**15), st.integers(-9, 9))
).map(lambda lot: lot if lot.size else Lot(0, 0))
trades = st.tuples(
    st.one_of(st.integers(-20, 20), st.integers(-(10**9), 10**9)).filter(bool), st.integers(-(10**15), 10**15)
)


@given(lots, trades)
def test_cost_against_the_twin(lot: Lot, trade: tuple[int, int]) -> None:
    assert run(book.next_cost, *lot, *trade) == twins.next_cost(lot, *trade)


@given(lots.filter(lambda lot: lot.size != 0), st.integers(1, 10**9), st.integers(-(10**15), 10**15))
def test_a_flip_is_a_close_and_an_open(lot: Lot, beyond: int, quote: int) -> None:
    dsize = -lot.size - beyond * (1 if lot.size > 0 else -1)
    closing = math.trunc(Fraction(quote * abs(lot.size), abs(dsize)))
    cost1, realised1 = run(book.next_cost, *lot, -lot.size, closing)
    cost2, realised2 = run(book.next_cost, 0, cost1, dsize + lot.size, quote - closing)
    assert cost1 == 0
    assert run(book.next_cost, *lot, dsize, quote) == (cost2, realised1 + realised2)


@given(lots, st.lists(trades, max_size=8))
def test_cost_and_realised_add_up_to_what_was_paid(lot: Lot, sequence: list[tuple[int, int]]) -> None:
    """cost - realised is the signed quote paid in all, whatever the order; flat means no cost."""
    (size, cost), realised, paid = lot, 0, lot.cost_e6
    for dsize, quote in sequence:
        cost, more = run(book.next_cost, size, cost, dsize, quote)
        size, realised, paid = size + dsize, realised + more, paid + quote
        assert cost - realised == paid
        assert size != 0 or cost == 0


def sums(market: np.ndarray) -> tuple[int, int, int]:
    row = market[0]
    idx_sum = int128.int_of(int(row["sum_size_idx_hi"]), int(row["sum_size_idx_lo"]))
    return int(row["sum_size"]), idx_sum, int(row["open_interest"])


touches = st.tuples(st.integers(-(2**40), 2**40), st.one_of(st.sampled_from([0, LIMIT, -LIMIT]), money))


@given(st.lists(touches, max_size=8))
def test_sums_follow_a_position_through_its_touches(steps: list[tuple[int, int]]) -> None:
    market = np.zeros(1, MARKET)
    size = idx = 0
    for new_size, index in steps:
        run(book.touch_sums, market[0], size, idx, new_size, index)
        size, idx = new_size, index
        assert sums(market) == (size, size * idx, max(size, 0))


@given(touches, touches)
def test_one_touch_is_a_close_and_an_open(old: tuple[int, int], new: tuple[int, int]) -> None:
    once, twice = np.zeros(1, MARKET), np.zeros(1, MARKET)
    run(book.touch_sums, once[0], *old, *new)
    run(book.touch_sums, twice[0], *old, 0, new[1])
    run(book.touch_sums, twice[0], 0, 0, *new)
    assert once.tobytes() == twice.tobytes()


class Pit:
    """A market of a few positions, booked by hand in plain integers; its sums are the kernels'."""

    def __init__(self, scale: Scale, holders: int) -> None:
        self.scale, self.index = scale, 0
        self.market = np.zeros(1, MARKET)
        self.market[0]["scale"] = scale.one
        self.held = [{"size": 0, "cash": 0, "idx": 0, "rem": 0} for _ in range(holders)]

    def touch(self, who: int, dsize: int, dcash: int, moved_in: int) -> None:
        p, row = self.held[who], self.market[0]
        pay, rem, ok = twins.settle(p["size"], p["rem"], p["idx"], self.index, self.scale.one)
        assert ok == 1
        run(book.touch_sums, row, p["size"], p["idx"], p["size"] + dsize, self.index)
        row["sum_cash"] += pay + dcash
        row["sum_rem"] += rem - p["rem"]
        row["moved_in"] += moved_in
        p.update(size=p["size"] + dsize, cash=p["cash"] + pay + dcash, idx=self.index, rem=rem)

    def move_index(self, by: int) -> None:
        self.index += by
        self.market[0]["index_e6"] = self.index

    def is_balanced(self) -> bool:
        """Identity 2 from the positions themselves: A*D + R + J - S*I = T*D, and S = 0."""
        total = {k: sum(p[k] for p in self.held) for k in ("size", "cash", "rem")}
        idx_sum = sum(p["size"] * p["idx"] for p in self.held)
        left = total["cash"] * self.scale.one + total["rem"] + idx_sum - total["size"] * self.index
        return total["size"] == 0 and left == int(self.market[0]["moved_in"]) * self.scale.one


def fills_of(scale: Scale) -> st.SearchStrategy[list[tuple[int, ...]]]:
    """(buyer, seller, size, quote, collateral, drift of the index), within what a market may hold."""
    most = scale.size_max // 10
    fill = st.tuples(
        st.integers(0, 3),
        st.integers(0, 3),
        st.integers(-most, most),
        st.integers(-(10**14), 10**14),
        st.integers(0, 10**9),
        st.integers(-(10**14), 10**14),
    )
    return st.lists(fill, min_size=1, max_size=10)


runs = scales.flatmap(lambda scale: st.tuples(st.just(scale), fills_of(scale)))


def traded(scale: Scale, sequence: list[tuple[int, ...]]) -> Pit:
    """Fills with collateral and a fee each, the index moving between them; checked after every one."""
    pit = Pit(scale, 4)
    for buyer, seller, size, quote, collateral, drift in sequence:
        pit.touch(buyer, size, collateral - quote, collateral)
        pit.touch(seller, -size, quote - 7, -7)
        assert pit.is_balanced()
        assert run(book.residual_is_zero, pit.market[0]) == 1
        pit.move_index(drift)
        assert run(book.residual_is_zero, pit.market[0]) == 1
    return pit


@given(runs)
def test_the_residual_stays_zero(run_of: tuple[Scale, list[tuple[int, ...]]]) -> None:
    pit = traded(*run_of)
    for who in range(4):
        pit.touch(who, 0, 0, 0)
    assert pit.is_balanced() and run(book.residual_is_zero, pit.market[0]) == 1


@pytest.mark.parametrize(
    "name", ["sum_size", "sum_cash", "sum_rem", "sum_size_idx_hi", "sum_size_idx_lo", "moved_in"]
)
@pytest.mark.parametrize("by", [1, -1, 2**40])
@settings(max_examples=15)
@given(run_of=runs)
def test_any_number_that_is_off_shows(
    name: str, by: int, run_of: tuple[Scale, list[tuple[int, ...]]]
) -> None:
    pit = traded(run_of[0], run_of[1][:2])
    row = pit.market[0]
    row[name] = row[name] + np.int64(by)
    assert run(book.residual_is_zero, row) == 0
