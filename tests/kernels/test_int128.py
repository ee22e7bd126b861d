"""Exact arithmetic through 128 bits against Python's integers."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import int128
from tests.kernels import entries, twins
from tests.kernels.entries import divisors, int64s, run
from tests.kernels.twins import I64_MAX, I64_MIN

ROUNDINGS = [
    (int128.mul_div_floor, int128.mul_div_floor_by, math.floor),
    (int128.mul_div_ceil, int128.mul_div_ceil_by, math.ceil),
    (int128.mul_div_trunc, int128.mul_div_trunc_by, math.trunc),
    (int128.mul_div_half_even, int128.mul_div_half_even_by, twins.half_even),
    (int128.mul_div_half_away, int128.mul_div_half_away_by, twins.half_away),
]
NAMES = ["floor", "ceil", "trunc", "half_even", "half_away"]


def by(divisor: int) -> tuple[int, int, int]:
    """The divisor with its reciprocal, as the functions named `_by` take it."""
    return (divisor, *run(entries.reciprocal_of, divisor))


def told(value: int) -> tuple[int, int]:
    """What a function that can only answer in int64 says of `value`."""
    return (value, 1) if twins.fits(value) else (0, 0)


@st.composite
def near_the_edge(draw: st.DrawFn) -> tuple[int, int, int]:
    """(a, b, divisor) whose exact quotient lies within a few units of what int64 holds, or of 2**64."""
    divisor, b = draw(divisors), draw(divisors)
    edge = draw(st.sampled_from([2**63, -(2**63), 2**64, -(2**64)]))
    a = (edge * divisor + draw(st.integers(-3, 3)) * divisor // 2) // b + draw(st.integers(-2, 2))
    return max(I64_MIN, min(I64_MAX, a)), b, divisor


@given(int64s, int64s, int64s, divisors)
def test_mul_add_divmod(a: int, b: int, c: int, divisor: int) -> None:
    q, r = divmod(a * b + c, divisor)
    wanted = (q, r, 1) if twins.fits(q) else (0, 0, 0)
    assert run(entries.mul_add_divmod, a, b, c, divisor) == wanted
    assert run(entries.mul_add_divmod_by, a, b, c, *by(divisor)) == wanted


@given(divisors)
def test_reciprocal(divisor: int) -> None:
    """The shift brings the top bit up; 2**64 + reciprocal is the quotient of 2**128 - 1, rounded down."""
    _, reciprocal, shift = by(divisor)
    assert 2**63 <= divisor << shift < 2**64
    assert reciprocal % 2**64 + 2**64 == (2**128 - 1) // (divisor << shift)


@given(int64s, int64s, divisors)
def test_divmod128(hi: int, lo: int, divisor: int) -> None:
    q, r = divmod(twins.int128(hi, lo), divisor)
    wanted = (q, r, 1) if twins.fits(q) else (0, 0, 0)
    assert run(entries.divmod128, hi, lo, divisor) == wanted


@given(st.integers(-(2**61), 2**61), int64s, int64s, int64s)
def test_mul_add128(hi: int, lo: int, a: int, b: int) -> None:
    assert twins.int128(*run(entries.mul_add128, hi, lo, a, b)) == twins.int128(hi, lo) + a * b


@given(st.lists(st.tuples(int64s, int64s), max_size=12))
def test_products_add_up_in_any_order(products: list[tuple[int, int]]) -> None:
    """2**53 products fit by contract only if they are of bounded factors; a dozen halves of int64 do."""
    halved = [(a // 8, b // 8) for a, b in products]
    totals = []
    for order in (halved, halved[::-1]):
        hi = lo = 0
        for a, b in order:
            hi, lo = run(entries.mul_add128, hi, lo, a, b)
        totals.append((hi, lo))
    assert totals[0] == totals[1]
    assert int128.int_of(*totals[0]) == sum(a * b for a, b in halved)


@pytest.mark.parametrize(("function", "by_reciprocal", "rounding"), ROUNDINGS, ids=NAMES)
@given(case=st.one_of(st.tuples(int64s, int64s, divisors), near_the_edge()))
def test_mul_div_rounds_as_named(function, by_reciprocal, rounding, case) -> None:  # type: ignore[no-untyped-def]
    """Exact where it answers; it declines only what does not fit once it is rounded as asked."""
    a, b, divisor = case
    wanted = told(rounding(Fraction(a * b, divisor)))
    assert run(function, a, b, divisor) == wanted
    assert run(by_reciprocal, a, b, *by(divisor)) == wanted


@pytest.mark.parametrize(("function", "by_reciprocal", "rounding"), ROUNDINGS, ids=NAMES)
@pytest.mark.parametrize("divisor", [1, 2, 3, 4])
def test_small_quotients_and_ties(function, by_reciprocal, rounding, divisor: int) -> None:  # type: ignore[no-untyped-def]
    for a in range(-9, 10):
        wanted = (rounding(Fraction(a, divisor)), 1)
        assert run(function, a, 1, divisor) == run(by_reciprocal, a, 1, *by(divisor)) == wanted


@pytest.mark.parametrize("divisor", [1, 2, 3, 4, 7])
def test_small_remainders_are_those_of_divmod(divisor: int) -> None:
    for a in range(-9, 10):
        wanted = (*divmod(a, divisor), 1)
        assert run(entries.mul_add_divmod, 1, a, 0, divisor) == wanted
        assert run(entries.mul_add_divmod_by, 1, 0, a, *by(divisor)) == wanted
        assert run(entries.divmod128, -1 if a < 0 else 0, a, divisor) == wanted


@pytest.mark.parametrize(
    ("quotient", "divisor"),
    [
        (I64_MAX - 1, 2**62 + 7),
        (I64_MAX - 21, 2**62 + 62),
        (I64_MAX - 37, 553_079),
        (I64_MAX - 47, 1_513_180_651_784_312 * 3048 + 4),
    ],
)
def test_a_reciprocal_that_falls_one_short_is_put_right(quotient: int, divisor: int) -> None:
    """Products just above 2**125 or of small divisors, where the first guess of the quotient is too small."""
    for sign in (1, -1):
        for _, by_reciprocal, _ in ROUNDINGS:
            assert run(by_reciprocal, sign * quotient, divisor, *by(divisor)) == (sign * quotient, 1)
        for rest in (0, 1, divisor - 1):
            wanted = (sign * quotient, rest, 1)
            assert run(entries.mul_add_divmod_by, sign * quotient, divisor, rest, *by(divisor)) == wanted


def test_what_does_not_fit_is_said() -> None:
    for function, by_reciprocal, _ in ROUNDINGS:
        for a, b, divisor, wanted in [
            (I64_MAX, 2, 1, (0, 0)),
            (I64_MIN, 2, 1, (0, 0)),
            (I64_MIN, -1, 1, (0, 0)),
            (I64_MIN, I64_MIN, 1, (0, 0)),
            (I64_MIN, I64_MIN, I64_MAX, (0, 0)),
            (I64_MAX, I64_MAX, I64_MAX, (I64_MAX, 1)),
            (I64_MIN, I64_MAX, I64_MAX, (I64_MIN, 1)),
            (I64_MIN, 1, 1, (I64_MIN, 1)),
        ]:
            assert run(function, a, b, divisor) == wanted
            assert run(by_reciprocal, a, b, *by(divisor)) == wanted


@pytest.mark.parametrize("twice", [2**64 - 1, 2**64 - 2, -(2**64) - 1, -(2**64) - 2, -(2**64) + 1])
def test_halves_at_the_ends_of_int64(twice: int) -> None:
    """Quotients of n/2 round the ends: what fits depends on the rounding, not on the floor."""
    factor = next(k for k in (3, 5, 7, 274177) if twice % k == 0)
    a, exact = twice // factor, Fraction(twice, 2)
    assert a * factor == twice
    for function, by_reciprocal, rounding in ROUNDINGS:
        wanted = told(rounding(exact))
        assert run(function, a, factor, 2) == run(by_reciprocal, a, factor, *by(2)) == wanted


@pytest.mark.parametrize("divisor", [0, -1, I64_MIN])
def test_a_divisor_that_is_not_positive_is_told(divisor: int) -> None:
    assert by(divisor) == (divisor, 0, 0)
    assert run(entries.mul_add_divmod, 5, 7, 1, divisor) == (0, 0, 0)
    assert run(entries.mul_add_divmod_by, 5, 7, 1, *by(divisor)) == (0, 0, 0)
    assert run(entries.divmod128, 0, 7, divisor) == (0, 0, 0)
    for function, by_reciprocal, _ in ROUNDINGS:
        assert run(function, 5, 7, divisor) == run(by_reciprocal, 5, 7, *by(divisor)) == (0, 0)


@given(int64s, int64s)
def test_add_checked(a: int, b: int) -> None:
    wanted = (a + b, 1) if twins.fits(a + b) else (0, 0)
    assert run(int128.add_checked, a, b) == wanted


@pytest.mark.parametrize("b", [1, 2**62, I64_MAX, -1, -(2**62), I64_MIN])
def test_add_checked_at_the_edge(b: int) -> None:
    edge = I64_MAX if b > 0 else I64_MIN
    assert run(int128.add_checked, edge - b, b) == (edge, 1)
    beyond = edge - b + (1 if b > 0 else -1)
    assert run(int128.add_checked, beyond, b) == (0, 0)


@given(int64s, int64s)
def test_int_of(hi: int, lo: int) -> None:
    assert int128.int_of(hi, lo) == twins.int128(hi, lo)
