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
    (int128.mul_div_floor, math.floor),
    (int128.mul_div_ceil, math.ceil),
    (int128.mul_div_trunc, math.trunc),
    (int128.mul_div_half_even, twins.half_even),
]


@given(int64s, int64s, int64s, divisors)
def test_mul_add_divmod(a: int, b: int, c: int, divisor: int) -> None:
    q, r = divmod(a * b + c, divisor)
    wanted = (q, r, 1) if twins.fits(q) else (0, 0, 0)
    assert run(entries.mul_add_divmod, a, b, c, divisor) == wanted


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


@pytest.mark.parametrize(("function", "rounding"), ROUNDINGS, ids=lambda f: f.__name__)
@given(a=int64s, b=int64s, divisor=divisors)
def test_mul_div_rounds_as_named(function, rounding, a: int, b: int, divisor: int) -> None:  # type: ignore[no-untyped-def]
    """Exact where it answers; it declines only what does not fit, rounded down or as asked."""
    exact = Fraction(a * b, divisor)
    value, ok = run(function, a, b, divisor)
    wanted = rounding(exact)
    if ok == 1:
        assert value == wanted
    else:
        assert value == 0
        assert not (twins.fits(wanted) and twins.fits(math.floor(exact)))


@pytest.mark.parametrize(("function", "rounding"), ROUNDINGS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("a", [-7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("divisor", [1, 2, 3, 4])
def test_small_quotients_and_ties(function, rounding, a: int, divisor: int) -> None:  # type: ignore[no-untyped-def]
    assert run(function, a, 1, divisor) == (rounding(Fraction(a, divisor)), 1)


def test_what_does_not_fit_is_said() -> None:
    for function, _ in ROUNDINGS:
        assert run(function, I64_MAX, 2, 1) == (0, 0)
        assert run(function, I64_MIN, 2, 1) == (0, 0)
        assert run(function, I64_MIN, -1, 1) == (0, 0)
        assert run(function, I64_MAX, I64_MAX, I64_MAX) == (I64_MAX, 1)
        assert run(function, I64_MIN, 1, 1) == (I64_MIN, 1)
    # The floor of 2**63 - 1/2 still fits, its ceiling and its nearest even do not.
    a = I64_MAX // 3 * 2 + 1
    assert Fraction(a * 3, 2) == I64_MAX + Fraction(1, 2)
    assert run(int128.mul_div_floor, a, 3, 2) == (I64_MAX, 1)
    assert run(int128.mul_div_ceil, a, 3, 2) == (0, 0)
    assert run(int128.mul_div_half_even, a, 3, 2) == (0, 0)


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
