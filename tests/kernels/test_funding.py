"""Premium, rate, index and settlement against plain integers, and the algebra they promise."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import funding, funding_rate, profiles
from kernels.layouts import LIMIT, PRICE_MAX, PRICE_MIN
from tests.kernels import twins
from tests.kernels.entries import run

prices = st.one_of(st.sampled_from([PRICE_MIN, PRICE_MAX]), st.integers(PRICE_MIN, PRICE_MAX))
rates = st.one_of(st.sampled_from([0, 1, -1, 10**12, -(10**12)]), st.integers(-(10**12), 10**12))
limited = st.one_of(
    st.sampled_from([0, 1, -1, LIMIT, -LIMIT]), st.integers(-(10**9), 10**9), st.integers(-LIMIT, LIMIT)
)
scales = st.integers(0, 9).map(lambda e: 10**e)
HOUR_WHOLE = 8 * 3600 * 10**12


def hourly_rate(total: int, valid: int, interest: int, cap: int) -> int:
    """Rate of an hour by GoDark's rule with another interest and cap."""
    rule = profiles.rule_row(profiles.Profile.GODARK, interest_e12=interest, cap_e12=cap)
    return run(funding_rate.interval_rate_e12, rule, total, valid, valid, 3600, 0)


@given(prices, prices)
def test_premium_against_the_twin(mark: int, oracle: int) -> None:
    assert run(funding.premium_e12, mark, oracle) == twins.premium_e12(mark, oracle)


@given(prices, st.integers(-(10**6), 10**6))
def test_premium_has_the_sign_of_the_difference(oracle: int, apart: int) -> None:
    above, below = (
        run(funding.premium_e12, oracle + apart, oracle),
        run(funding.premium_e12, oracle - apart, oracle),
    )
    assert above == -below
    assert (above > 0) - (above < 0) == (apart > 0) - (apart < 0)
    assert abs(above) <= funding.PREMIUM_LIMIT_E12


@given(prices, st.integers(0, 2**61))
def test_premium_is_clamped_however_far(oracle: int, further: int) -> None:
    """A quotient past int64 counts as its clamp."""
    apart = oracle // 20 + 1 + further
    assert run(funding.premium_e12, oracle + apart, oracle) == funding.PREMIUM_LIMIT_E12
    assert run(funding.premium_e12, oracle - apart, oracle) == -funding.PREMIUM_LIMIT_E12


@given(st.integers(-(10**16), 10**16), st.integers(-(10**16), 10**16))
def test_basis_moves_toward_the_sample(basis: int, sample: int) -> None:
    moved = run(funding.next_basis, basis, sample)
    assert moved == basis + math.floor(Fraction(sample - basis, 150))
    assert min(basis, sample) <= moved <= max(basis, sample)


def test_basis_settles_near_a_steady_sample() -> None:
    """Rounding down leaves less than 150 units of 1e-6 below, and none above."""
    for start in (0, 10**6):
        basis = start
        for _ in range(3000):
            basis = run(funding.next_basis, basis, 500_000)
        assert 0 <= 500_000 - basis < 150


sums = st.one_of(st.integers(-(10**15), 10**15), st.integers(-3600 * 5 * 10**10, 3600 * 5 * 10**10))


@given(sums, st.integers(0, 3600), rates, st.integers(0, 10**12))
def test_hourly_rate_against_the_twin(total: int, valid: int, interest: int, cap: int) -> None:
    got = hourly_rate(total, valid, interest, cap)
    assert got == twins.hourly_rate_e12(total, valid, interest, cap)
    assert -cap <= got <= cap


@pytest.mark.parametrize(("valid", "rate"), [(0, 0), (1199, 0), (1200, 1_000_100), (3600, 1_000_100)])
def test_too_few_seconds_pay_nothing(valid: int, rate: int) -> None:
    assert hourly_rate(3600 * 10**6, valid, 100, 10**12) == rate


@given(sums, st.integers(1200, 3600), st.integers(0, 10**12))
def test_rate_without_interest_is_odd_in_the_premium(total: int, valid: int, cap: int) -> None:
    up = hourly_rate(total, valid, 0, cap)
    assert up == -hourly_rate(-total, valid, 0, cap)


@given(st.integers(1200, 3599), st.integers(1, 5 * 10**10))
def test_absent_seconds_never_amplify(valid: int, premium: int) -> None:
    """Leaving samples out can only bring the mean nearer to 0."""
    fewer = hourly_rate(valid * premium, valid, 0, 10**12)
    assert 0 <= fewer <= hourly_rate(3600 * premium, 3600, 0, 10**12)


@given(limited, st.integers(0, HOUR_WHOLE - 1), prices, rates, st.integers(1, 3600))
def test_index_against_the_twin(index: int, rem: int, price: int, rate: int, seconds: int) -> None:
    got = run(funding.next_index, index, rem, price, rate, seconds)
    assert got == twins.next_index(index, rem, price, rate, seconds)


@given(st.lists(st.tuples(prices, rates, st.integers(1, 3600)), max_size=10))
def test_the_index_remainder_is_carried(hours: list[tuple[int, int, int]]) -> None:
    """After any number of hours index and remainder are the exact sum: no dust is lost, none made."""
    index = rem = 0
    for price, rate, seconds in hours:
        index, rem, ok = run(funding.next_index, index, rem, price, rate, seconds)
        assert ok == 1 and 0 <= rem < HOUR_WHOLE
    assert index * HOUR_WHOLE + rem == sum(p * 10**6 * r * s for p, r, s in hours)


@given(prices, rates)
def test_an_hour_in_parts_is_an_hour(price: int, rate: int) -> None:
    whole = run(funding.next_index, 0, 0, price, rate, 3600)
    index = rem = 0
    for seconds in (1, 1199, 1300, 1100):
        index, rem, _ = run(funding.next_index, index, rem, price, rate, seconds)
    assert (index, rem, 1) == whole


@pytest.mark.parametrize("sign", [1, -1])
def test_an_index_past_its_bounds_does_not_move(sign: int) -> None:
    near = sign * (LIMIT - 5)
    assert run(funding.next_index, near, 9, PRICE_MAX, sign * 10**12, 3600) == (near, 9, 0)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_index_may_reach_its_bounds(sign: int) -> None:
    """LIMIT itself is in bounds, in one step from 0 or the last unit of the way; one more is not."""
    price, rate = 2**40, sign * 2**24 * 10**6
    assert run(funding.next_index, 0, 0, price, rate, 3600) == (sign * LIMIT, 0, 1)
    assert run(funding.next_index, -sign, 0, price, rate, 3600) == (sign * (LIMIT - 1), 0, 1)
    assert run(funding.next_index, sign, 0, price, rate, 3600) == (sign, 0, 0)


@given(limited, limited, scales)
def test_what_is_empty_or_has_not_moved_keeps_its_remainder(idx: int, index: int, scale: int) -> None:
    for rem in (0, scale - 1):
        assert run(funding.settle, 0, rem, idx, index, scale) == (0, rem, 1)
        assert run(funding.settle, 5, rem, index, index, scale) == (0, rem, 1)


@st.composite
def settlements(draw: st.DrawFn) -> tuple[int, int, int, int, int]:
    """(size, rem, idx, index, scale) of a position as the books may hold it."""
    e = draw(st.integers(0, 9))
    limit = twins.Scale(e).size_max
    size = draw(st.one_of(st.sampled_from([0, 1, -1, limit, -limit]), st.integers(-limit, limit)))
    rem = draw(st.integers(0, 10**e - 1))
    return size, rem, draw(limited), draw(limited), 10**e


@given(settlements())
def test_settle_against_the_twin(position: tuple[int, int, int, int, int]) -> None:
    size, rem, idx, index, scale = position
    assert run(funding.settle, size, rem, idx, index, scale) == twins.settle(size, rem, idx, index, scale)


@given(settlements(), st.lists(limited, max_size=4))
def test_settling_does_not_depend_on_the_path(
    position: tuple[int, int, int, int, int], path: list[int]
) -> None:
    size, rem, start, end, scale = position
    straight = run(funding.settle, size, rem, start, end, scale)
    paid, at, ok = 0, start, 1
    for stop in [*path, end]:
        pay, rem, fine = run(funding.settle, size, rem, at, stop, scale)
        paid, at, ok = paid + pay, stop, ok & fine
    if ok == 1 and straight[2] == 1:
        assert (paid, rem) == straight[:2]
    else:
        assert max(abs(end - start), *(abs(p - start) for p in path), 1) * abs(size) > scale * 2**61


@given(
    scales,
    st.lists(st.tuples(st.integers(-(10**9), 10**9), st.integers(0, 10**9)), min_size=1, max_size=8),
    st.integers(-(10**9), 10**9),
)
def test_settling_conserves(scale: int, held: list[tuple[int, int]], moved: int) -> None:
    """With sizes that sum to 0, sum of pay * D + sum of remainders does not change."""
    sizes = [s for s, _ in held]
    sizes.append(-sum(sizes))
    rems = [r % scale for _, r in held] + [0]
    done = [run(funding.settle, s, r, 0, moved, scale) for s, r in zip(sizes, rems, strict=True)]
    assert all(ok == 1 for _, _, ok in done)
    assert sum(p for p, _, _ in done) * scale + sum(r for _, r, _ in done) == sum(rems)


@given(scales, st.integers(1, 10**9), st.integers(1, 10**9))
def test_longs_pay_when_the_index_rises(scale: int, size: int, rise: int) -> None:
    assert run(funding.settle, size, 0, 0, rise, scale)[0] < 0
    assert run(funding.settle, -size, 0, 0, rise, scale)[0] >= 0
    assert run(funding.settle, -size, 0, rise, 0, scale)[0] < 0
