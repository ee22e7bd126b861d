"""Decimals and rationals on int64 against Python's integers and fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.venues import exact
from tests.kernels.entries import int64s, run
from tests.kernels.twins import I64_MAX, I64_MIN
from tests.kernels.venues.twins import fits, power

rationals = st.builds(Fraction, int64s, st.one_of(st.integers(1, 10**6), st.integers(1, I64_MAX)))
exponents = st.one_of(st.integers(-60, 30), int64s)


def answer(value: Fraction) -> tuple[int, int, int]:
    """What a kernel must say for an exact value."""
    fit = fits(value.numerator, value.denominator)
    return (value.numerator, value.denominator, 1) if fit else (0, 1, 0)


@given(int64s)
def test_magnitude(value: int) -> None:
    assert run(exact.magnitude, value) == ((abs(value), 1) if value != I64_MIN else (0, 0))


@given(int64s, int64s)
def test_multiply_and_subtract(a: int, b: int) -> None:
    assert run(exact.multiply, a, b) == ((a * b, 1) if fits(a * b) else (0, 0))
    fit = I64_MIN <= a - b <= I64_MAX
    assert run(exact.subtract, a, b) == ((a - b, 1) if fit else (0, 0))


@pytest.mark.parametrize(
    ("a", "b", "fit"), [(2**62, -2, 0), (I64_MIN, 1, 0), (I64_MAX, -1, 1), (I64_MAX, 1, 1), (2**62, 2, 0)]
)
def test_a_product_can_be_negated(a: int, b: int, fit: int) -> None:
    """-2**63 is refused although it is an int64."""
    assert run(exact.multiply, a, b) == run(exact.multiply, b, a) == (fit * a * b, fit)


@given(int64s, int64s, exponents)
def test_scaled_product(a: int, b: int, exponent: int) -> None:
    wanted = 0
    if a and b and exponent >= -60:
        wanted = math.trunc(a * b * power(exponent)) if exponent <= 30 else I64_MAX + 1
    fit = fits(a, b, wanted)
    assert run(exact.scaled_product, a, b, exponent) == ((wanted, 1) if fit else (0, 0))


@pytest.mark.parametrize("digits", range(17, 40))
def test_every_divisor_past_an_int64(digits: int) -> None:
    for a, b in [(I64_MAX, I64_MAX), (I64_MAX, -I64_MAX), (10**18 - 1, 10**18 + 1), (999_999_999, I64_MAX)]:
        wanted = math.trunc(a * b * power(-digits))
        assert run(exact.scaled_product, a, b, -digits) == ((wanted, 1) if fits(wanted) else (0, 0))


@pytest.mark.parametrize("exponent", [-1, 0, 1])
def test_signs_of_single_units(exponent: int) -> None:
    for a, b in [(1, 10), (1, -10), (-1, 10), (-1, -10), (10, 1), (-10, 1), (0, -10), (-10, 0)]:
        assert run(exact.scaled_product, a, b, exponent) == (math.trunc(a * b * power(exponent)), 1)


def test_the_largest_power_that_can_fit() -> None:
    assert run(exact.scaled_product, 3, -3, 18) == (-9 * 10**18, 1)
    assert run(exact.scaled_product, 1, 10, 18) == (0, 0)
    assert run(exact.scaled_product, 1, 1, 19) == (0, 0)
    assert run(exact.scaled_product, 0, 5, 19) == (0, 1)
    assert run(exact.scaled_product, 10**18, 10**18, -36) == (1, 1)


@given(int64s, st.integers(1, I64_MAX))
def test_gcd(a: int, b: int) -> None:
    assert run(exact.gcd, a, b) == math.gcd(a, b)


@given(int64s, int64s)
def test_ratio(num: int, den: int) -> None:
    refused = den == 0 or I64_MIN in (num, den)
    assert run(exact.ratio, num, den) == ((0, 1, 0) if refused else answer(Fraction(num, den)))


def test_ratios_of_small_numbers() -> None:
    for num in range(-4, 5):
        for den in range(-4, 5):
            wanted = answer(Fraction(num, den)) if den else (0, 1, 0)
            assert run(exact.ratio, num, den) == wanted
    for num, den in [(I64_MIN, 1), (1, I64_MIN)]:
        assert run(exact.ratio, num, den) == (0, 1, 0)


def test_rationals_at_the_ends_of_int64() -> None:
    """Numerator and denominator each just fit, or are refused."""
    for a, b in [
        (Fraction(I64_MAX), Fraction(1)),
        (Fraction(-I64_MAX), Fraction(1)),
        (Fraction(2**62), Fraction(2)),
        (Fraction(-(2**62)), Fraction(2)),
        (Fraction(1, I64_MAX), Fraction(1)),
        (Fraction(1, 2**62), Fraction(1, 2)),
        (Fraction(1, 2**62), Fraction(1, 3)),
        (Fraction(I64_MAX), Fraction(-I64_MAX)),
        (Fraction(-(2**62)), Fraction(-(2**62))),
        (Fraction(0), Fraction(0)),
        (Fraction(1), Fraction(-1)),
    ]:
        pairs = a.numerator, a.denominator, b.numerator, b.denominator
        assert run(exact.times, *pairs) == answer(a * b)
        assert run(exact.plus, *pairs) == answer(a + b)


@given(rationals, rationals)
def test_times_and_plus(a: Fraction, b: Fraction) -> None:
    pairs = a.numerator, a.denominator, b.numerator, b.denominator
    assert run(exact.times, *pairs) == answer(a * b)
    assert run(exact.plus, *pairs) == answer(a + b)


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**4), st.integers(1, 10**4), st.integers(-99, 99))
def test_sums_and_products_that_cancel(n: int, d: int, e: int, m: int) -> None:
    """Common factors everywhere: what is left is in lowest terms."""
    a, b = Fraction(n * e, d * 12), Fraction(m * d, e * 12)
    pairs = a.numerator, a.denominator, b.numerator, b.denominator
    assert run(exact.times, *pairs) == answer(a * b)
    assert run(exact.plus, *pairs) == answer(a + b)


@given(st.lists(naturals := st.one_of(int64s, st.just(I64_MAX)).map(lambda x: abs(x) & I64_MAX), max_size=4))
def test_products_in_limbs(factors: list[int]) -> None:
    out = np.full(exact.LIMBS, -1, np.int64)
    run(exact.put_natural, out, 1)
    for factor in factors:
        run(exact.scale_natural, out, factor)
    assert exact.int_of_limbs(out) == math.prod(factors)
    assert all(0 <= limb < 2**exact.LIMB_BITS for limb in out)


@given(naturals)
def test_a_natural_in_limbs(value: int) -> None:
    out = np.full(exact.LIMBS, -1, np.int64)
    run(exact.put_natural, out, value)
    assert exact.int_of_limbs(out) == value


def test_a_numerator_of_128_bits_is_no_overflow_if_it_cancels() -> None:
    a = Fraction(I64_MAX - 1, I64_MAX)
    b = Fraction(1, I64_MAX)
    assert run(exact.plus, a.numerator, a.denominator, b.numerator, b.denominator) == (1, 1, 1)
    assert run(exact.plus, I64_MIN, 1, 0, 1) == (0, 1, 0)
    assert run(exact.plus, I64_MIN, 1, 1, 1) == (-I64_MAX, 1, 1)
