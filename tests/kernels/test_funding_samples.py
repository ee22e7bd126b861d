"""Averages against plain lists and fractions, and the formulas of other venues against theirs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import funding_premium, funding_samples, funding_venues
from tests.kernels import funding_twins as twins
from tests.kernels.entries import int64s, run
from tests.kernels.twins import I64_MAX, I64_MIN, fits

lists = st.lists(int64s, max_size=40)
ppm = st.one_of(st.sampled_from([0, 1, 250_000, 500_000, 10**6]), st.integers(0, 10**6))
small = st.integers(-(10**12), 10**12)
unsigned = st.one_of(st.sampled_from([0, 1, I64_MAX]), st.integers(0, I64_MAX), st.integers(0, 10**10))


def column(values: list[int], room: int = 0) -> Any:
    out = np.zeros(max(len(values), room), np.int64)
    out[: len(values)] = values
    return out


@given(lists)
def test_sorting(values: list[int]) -> None:
    array = column(values)
    run(funding_samples.sort_ascending, array, len(values))
    assert array.tolist() == sorted(values)


@given(lists, st.integers(0, 60))
def test_mean_among_zeros(values: list[int], length: int) -> None:
    assert run(funding_samples.padded_mean, column(values), len(values), length) == twins.mean(values, length)


@given(lists, st.integers(0, 60))
def test_median_among_zeros(values: list[int], length: int) -> None:
    padded = values + [0] * (length - len(values))
    array = column(padded)
    array[len(values) :] = 7
    assert run(funding_samples.padded_median, array, len(values), length) == twins.median(padded)


@pytest.mark.parametrize(
    ("values", "middle"),
    [([0, 1], 1), ([0, -1], -1), ([1, 2], 2), ([-2, -1], -2), ([-1, 1], 0), ([-1, 2], 1), ([2, 4], 3)],
)
def test_two_middles_give_their_mean_halves_away_from_zero(values: list[int], middle: int) -> None:
    assert run(funding_samples.median, column(values), 2) == (middle, 1)


@pytest.mark.parametrize(
    ("values", "length", "mean"), [([1], 2, 0), ([-1], 2, 0), ([3], 2, 1), ([-3], 2, -1), ([5, 4], 0, 4)]
)
def test_a_mean_is_rounded_toward_zero(values: list[int], length: int, mean: int) -> None:
    assert run(funding_samples.padded_mean, column(values), len(values), length) == (mean, 1)


@given(st.lists(int64s, min_size=1, max_size=20))
def test_a_median_is_odd_and_lies_within(values: list[int]) -> None:
    middle, ok = run(funding_samples.median, column(values), len(values))
    assert ok == 1 and min(values) <= middle <= max(values)
    if I64_MIN not in values:
        mirrored = run(funding_samples.median, column([-v for v in values]), len(values))
        assert mirrored == (-middle, 1)


@given(lists, ppm)
def test_trimming(values: list[int], tail: int) -> None:
    array = column(values)
    first, last = run(funding_samples.trim_tails, array, len(values), tail)
    assert array[first:last].tolist() == twins.trimmed(values, tail)


@pytest.mark.parametrize(
    ("count", "tail_ppm", "first", "last"),
    [(10, 100_000, 1, 9), (10, 99_999, 0, 9), (7, 250_000, 1, 5), (9, 400_000, 3, 5), (4, 125_000, 0, 3)],
)
def test_tails_are_cut_off_both_ends(count: int, tail_ppm: int, first: int, last: int) -> None:
    """Of an odd number the upper end loses one more."""
    array = column(list(range(count))[::-1])
    assert run(funding_samples.trim_tails, array, count, tail_ppm) == (first, last)
    assert array.tolist() == list(range(count))


@pytest.mark.parametrize(("count", "tail_ppm"), [(4, 124_999), (4, 500_000), (4, 10**6), (0, 250_000)])
def test_where_nothing_or_all_would_go_all_stays(count: int, tail_ppm: int) -> None:
    array = column(list(range(count))[::-1])
    assert run(funding_samples.trim_tails, array, count, tail_ppm) == (0, count)
    assert array.tolist() == list(range(count))[::-1]


@given(
    st.lists(st.tuples(st.integers(0, 90), st.one_of(int64s, small)), max_size=6),
    st.lists(st.integers(0, 90), max_size=4),
    st.one_of(int64s, small),
    st.integers(1, 80),
)
def test_average_over_time(updates: list[tuple[int, int]], cuts: list[int], before: int, until: int) -> None:
    updates.sort(key=lambda update: update[0])
    edges = sorted(set(cuts))
    outages = list(zip(edges[::2], edges[1::2], strict=False))
    got = run(
        funding_samples.twap_step,
        column([at for at, _ in updates]),
        column([price for _, price in updates]),
        np.array(outages, np.int64).reshape(-1, 2),
        before,
        until,
    )
    expected = twins.twap(updates, outages, before, until)
    if expected[-1] == 1 and got[-1] == 1:
        assert got == expected
    else:
        assert max(abs(p) for p in [before, *(p for _, p in updates)]) * 80 > I64_MAX


@pytest.mark.parametrize("times", [[5, 4], [-1]])
def test_an_average_over_times_that_fall_is_refused(times: list[int]) -> None:
    none = np.zeros((0, 2), np.int64)
    assert run(funding_samples.twap_step, column(times), column([1] * len(times)), none, 1, 9) == (0, 0, 0)


def test_an_average_over_time_past_int64_is_refused() -> None:
    none = np.zeros((0, 2), np.int64)
    for edge in (I64_MAX, I64_MIN):
        one = column([1]), column([edge])
        assert run(funding_samples.twap_step, *one, none, 0, 2) == (edge, 2, 1)
        assert run(funding_samples.twap_step, *one, none, 0, 3) == (0, 0, 0)


def test_what_comes_at_the_end_or_later_is_not_read() -> None:
    none = np.zeros((0, 2), np.int64)
    assert run(funding_samples.twap_step, column([4, 9, 2]), column([5, 6, 7]), none, 1, 9) == (29, 9, 1)


@given(st.lists(st.tuples(int64s, int64s), max_size=8))
def test_running_difference(pairs: list[tuple[int, int]]) -> None:
    out = np.zeros(len(pairs), np.int64)
    ok = run(
        funding_samples.running_difference, column([a for a, _ in pairs]), column([b for _, b in pairs]), out
    )
    sums = [sum(a - b for a, b in pairs[: k + 1]) for k in range(len(pairs))]
    if ok == 1:
        assert out.tolist() == sums
    else:
        assert I64_MIN in [b for _, b in pairs] or not all(
            fits(a - b) for a, b in pairs + [(s, 0) for s in sums]
        )


scale = st.integers(-9, 9).map(lambda x: (10 ** max(0, x), 10 ** max(0, -x)))


@given(int64s, int64s, int64s, scale)
def test_index_step(elapsed: int, rate: int, price: int, parts: tuple[int, int]) -> None:
    got = run(funding_venues.index_step_ppm, elapsed, rate, price, *parts)
    expected = twins.index_step(elapsed, rate, price, *parts)
    assert got == expected or (got == (0, 0) and not (fits(elapsed * rate) and fits(price * parts[0])))


@given(int64s, int64s, int64s)
def test_margin_bound(factor: int, initial: int, maintenance: int) -> None:
    got = run(funding_venues.margin_bound, factor, initial, maintenance)
    if 0 <= maintenance <= initial:
        assert got == twins.fitting(factor * (initial - maintenance) // 10**6)
    else:
        assert got == (0, 0)


@given(int64s, int64s, int64s)
def test_settlement(market: int, position: int, size: int) -> None:
    got = run(funding_venues.settlement_ppm, market, position, size)
    fine = market != I64_MIN and fits(position - market) and fits((position - market) * size)
    assert got == (((position - market) * size, 1) if fine else (0, 0))


@given(lists)
def test_settling_together_floors_once(nets: list[int]) -> None:
    payments = np.zeros(len(nets), np.int64)
    assert run(funding_venues.settle_together, column(nets), payments) == (sum(nets) // 10**6, 1)
    assert payments.tolist() == [-(net // 10**6) for net in nets]


@given(
    st.one_of(int64s, small),
    st.one_of(int64s, unsigned),
    st.sampled_from([0, 5000, 1, -1]),
    st.sampled_from([33, 20, 10, 1, 0]),
    st.sampled_from([3600, 1, 86_400, 86_401, -5]),
)
def test_drift_rate(mark: int, oracle: int, offset: int, part: int, period: int) -> None:
    got = run(funding_venues.drift_rate_e9, mark, oracle, offset, part, period)
    assert got == twins.drift_rate(mark, oracle, offset, part, period)


@given(int64s, int64s)
def test_drift_payment(rate: int, base: int) -> None:
    paid = twins.drift_payment(rate, base)
    fine = fits(paid) and fits(-paid)
    assert run(funding_venues.drift_payment, rate, base) == ((paid, 1) if fine else (0, 0))


@given(small, small)
def test_a_drift_payment_is_odd_in_the_size(rate: int, base: int) -> None:
    here, there = (run(funding_venues.drift_payment, rate, size) for size in (base, -base))
    assert here[1] == there[1] == 1
    assert here[0] == -there[0]


@pytest.mark.parametrize(
    ("base", "moved", "paid"), [(3, 5, -1), (-3, 5, 1), (3, -5, 1), (1, 5, 0), (2, 5, -1), (3, 3, 0)]
)
def test_drift_payments_by_hand(base: int, moved: int, paid: int) -> None:
    assert run(funding_venues.drift_payment, moved, base * 10**11) == (paid, 1)


@pytest.mark.parametrize(("nets", "received"), [([-1], -1), ([10**6 - 1], 0), ([10**6 - 1, 1], 1), ([], 0)])
def test_settling_together_at_a_unit(nets: list[int], received: int) -> None:
    assert run(funding_venues.settle_together, column(nets), column(nets)) == (received, 1)


def test_a_spread_or_payment_past_int64_is_refused() -> None:
    assert run(funding_venues.drift_rate_e9, I64_MIN, 1, 0, 1, 3600) == (0, 0)
    assert run(funding_venues.drift_rate_e9, I64_MIN, 1, 1, 1, 3600) == (0, 0)
    assert run(funding_venues.drift_rate_e9, I64_MAX, I64_MAX, 1, 1, 3600) == (0, 0)
    assert run(funding_venues.drift_rate_e9, 2, 1, 0, 1, 86_401) == (0, 0)
    assert run(funding_venues.drift_payment, I64_MIN, 10**12) == (0, 0)
    assert run(funding_venues.drift_payment, I64_MAX, 10**12) == (-I64_MAX, 1)


@given(small, small, st.integers(0, 10**14), st.integers(-(10**14), 0), unsigned, st.integers(0, 10**12))
def test_drift_sides(rate: int, net: int, longs: int, shorts: int, fee: int, pool: int) -> None:
    got = run(funding_venues.drift_sides, rate, net, longs, shorts, fee, pool)
    assert got == twins.drift_sides(rate, net, longs, shorts, fee, pool)


@given(int64s, int64s, unsigned, unsigned, unsigned, unsigned)
def test_drift_sides_of_any_size(rate: int, net: int, longs: int, shorts: int, fee: int, pool: int) -> None:
    got = run(funding_venues.drift_sides, rate, net, longs, -shorts, fee, pool)
    assert got == twins.drift_sides(rate, net, longs, -shorts, fee, pool)


@pytest.mark.parametrize(
    "values",
    [
        (-(10**12), 1, 1, -9_223_374, 0, 0),
        (-(10**12), 1, 1, -9_223_373, 0, 0),
        (2 * 10**12, I64_MAX, 1, -1, 0, 0),
        (10**12, 1, 1, -1, 0, I64_MAX),
        (10**12, -900, 100, 0, 0, 0),
        (10**12, -900, I64_MAX, -(2 * 10**12), 0, 3),
        (10**12, -900, I64_MAX, -(2 * 10**12), 0, 6),
        (10**12, -900, I64_MAX, -(2 * 10**12), 0, 9),
        (2 * 10**12, -900, I64_MAX, -(2 * 10**12), 0, 9),
        (10**12, -900, 100, -1000, 100, 300),
        (-(10**12), 900, 1000, -100, 101, 300),
        (1, -(10**13), 5 * 10**12, -(10**13), 0, 0),
        (-1, 10**13, 10**13, -5 * 10**12, 0, 0),
    ],
)
def test_drift_sides_at_their_bounds(values: tuple[int, ...]) -> None:
    """What each step may come to, on both sides of what int64 holds; pools less half the fees."""
    assert run(funding_venues.drift_sides, *values) == twins.drift_sides(*values)


def test_drift_sides_shrink_what_the_pool_cannot_bear() -> None:
    """Longs pay 100 units, shorts would receive 1,000: they share what there is."""
    long_rate, short_rate, pool, ok = run(funding_venues.drift_sides, 10**12, -900, 100, -1000, 0, 300)
    assert (long_rate, pool, ok) == (10**12, 200, 1)
    assert short_rate == (100 + 100 - 1) * 10**12 // 1000


@pytest.mark.parametrize(
    "odd",
    [
        (1, 1, -1, 0, 0, 0),
        (1, 1, 0, 1, 0, 0),
        (1, 1, 0, I64_MIN, 0, 0),
        (1, 1, 0, 0, -1, 0),
        (1, 1, 0, 0, 0, -1),
    ],
)
def test_drift_sides_of_the_wrong_sign_are_refused(odd: tuple[int, ...]) -> None:
    assert run(funding_venues.drift_sides, *odd) == (0, 0, 0, 0)


@given(small, st.integers(1, 10**12), small, small, small, small)
def test_difference_payment(
    internal: int, external: int, low: int, high: int, grown: int, share: int
) -> None:
    values = (internal, external, low, high, grown, share)
    assert run(funding_venues.difference_payment, *values) == twins.difference_payment(*values)


@given(st.tuples(int64s, int64s, int64s, int64s, int64s, int64s))
def test_a_difference_payment_is_right_or_refused(values: tuple[int, ...]) -> None:
    got = run(funding_venues.difference_payment, *values)
    assert got == (twins.difference_payment(*values) if got[1] == 1 else (0, 0))


@pytest.mark.parametrize(
    "values",
    [
        (I64_MIN, 0, 0, 0, 0, 10**12),
        (0, I64_MIN, 0, 0, 0, 10**12),
        (1, 2 * 10**12, I64_MAX, 0, 0, 1),
        (1, 2 * 10**12, 0, I64_MAX, 0, 1),
        (1, 2 * 10**12, 0, 0, I64_MAX, 1),
        (I64_MAX, -1, 0, 0, 0, 1),
        (-I64_MAX, 1, 0, 0, 10**12, 1),
        (2**62 - 1, -(2**62), -(10**12), -(10**12), 0, 1),
        (I64_MAX, 0, 0, 0, 0, 10**12 + 1),
    ],
)
def test_a_difference_payment_past_int64_is_refused(values: tuple[int, ...]) -> None:
    """Each step by itself: clamps, growth, difference, interest, their sum, the share."""
    assert run(funding_venues.difference_payment, *values) == (0, 0)


prices = st.one_of(st.sampled_from([10**7, 9 * 10**9]), st.integers(10**7, 9 * 10**9))
known = st.one_of(st.just(0), prices)


@given(prices, known, known, known, prices, st.integers(1, 10**12))
def test_premium_of_each_source(mark: int, mid: int, bid: int, ask: int, oracle: int, limit: int) -> None:
    impact = max(bid - oracle, 0) - max(oracle - ask, 0) if bid and ask else None
    for source, off in enumerate((mark - oracle, impact, mid - oracle if mid else None, None)):
        got = run(funding_premium.premium_of_source, source, mark, mid, bid, ask, oracle, limit)
        assert got == ((0, 0) if off is None else (twins.share_e12(off, oracle, limit), 1))


def test_the_smallest_price_is_a_price() -> None:
    """0 means not known; 1 is known, and half of 2."""
    impact, mid = 1, 2
    for source, bid, ask, middle, wanted in [
        (impact, 1, 3, 0, (0, 1)),
        (impact, 1, 1, 0, (-5 * 10**11, 1)),
        (impact, 0, 1, 1, (0, 0)),
        (impact, 1, 0, 1, (0, 0)),
        (mid, 0, 0, 1, (-5 * 10**11, 1)),
        (mid, 1, 1, 0, (0, 0)),
    ]:
        got = run(funding_premium.premium_of_source, source, 0, middle, bid, ask, 2, 10**12)
        assert got == wanted


@given(int64s, st.integers(1, I64_MAX), st.integers(0, 10**12))
def test_a_share_is_clamped_however_far(difference: int, oracle: int, limit: int) -> None:
    assert run(funding_premium.share_e12, difference, oracle, limit) == twins.share_e12(
        difference, oracle, limit
    )
