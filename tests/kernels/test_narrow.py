"""The short ways of exact arithmetic give the answers of the long ones."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import narrow
from kernels.jit import kernel
from kernels.layouts import MARKET, PRICE_MAX, TIER
from tests.kernels import twins
from tests.kernels.entries import divisors, int64s, run
from tests.kernels.twins import I64_MAX, I64_MIN, ONE_E12, Scale


@kernel
def mul_add_fits(a: int, b: int, c: int) -> tuple[int, int]:
    return narrow.mul_add_fits(a, b, c)


@given(int64s, int64s, int64s)
def test_products_that_fit(a: int, b: int, c: int) -> None:
    fits = twins.fits(a * b) and twins.fits(a * b + c)
    assert run(mul_add_fits, a, b, c) == ((a * b + c, 1) if fits else (0, 0))


@kernel
def quotient_of(a: int, b: int, divisor: int) -> tuple[int, int]:
    return narrow.quotient_of(a, b, divisor)


@given(st.integers(0, I64_MAX), st.integers(0, I64_MAX), divisors)
def test_quotient_of(a: int, b: int, divisor: int) -> None:
    """Exact where it promises to be, and an answer without a trap where not."""
    q, r = divmod(a * b, divisor)
    answer = run(quotient_of, a, b, divisor)
    if q <= I64_MAX:
        assert answer == (q, r)
    elif q >= 2**64:
        assert answer == (answer[0], a * b % 2**64 % divisor)


@pytest.mark.parametrize(
    ("a", "b", "divisor", "wanted"),
    [
        (2**62, 2**62, 2**60 - 1, (0, 0)),
        (3 * 2**32, 2**32, 2, (0, 0)),
        (2**33 + 1, 2**33 + 1, 3, divmod(2**34 + 1, 3)),
        (2**62 + 1, 2**62, 2**60, (4, 0)),
    ],
)
def test_quotient_of_too_large_a_product_is_that_of_its_low_half(
    a: int, b: int, divisor: int, wanted: tuple[int, int]
) -> None:
    assert run(quotient_of, a, b, divisor) == wanted


@given(
    st.integers(0, narrow.SHORT - 1),
    st.one_of(st.integers(0, 11).map(lambda e: 10**e), st.integers(1, 2**61)),
)
def test_quotient_by(value: int, divisor: int) -> None:
    magic, shift = run(narrow.magic_of, divisor)
    assert run(narrow.quotient_by, value, divisor, magic, shift) == divmod(value, divisor)


@given(st.integers(0, 11), st.integers(1, 2**38), st.integers(0, 3), st.integers(1 - 10**9, 10**9 - 1))
def test_index_quotes(price_exp: int, size_max: int, m: int, rate: int) -> None:
    """The largest size that the short way takes is worth less than 2**58 at any mark; the largest quote times any
    fee rate, and the next larger times the highest, are on either side of what can be rounded up in int64."""
    markets, quote_by = np.zeros(4, MARKET), np.full((4, 4), -7, np.int64)
    scale = Scale(price_exp)
    markets[m]["quote_mul"], markets[m]["quote_div"], markets[m]["size_max"] = scale.mul, scale.div, size_max
    tiers = np.zeros(3, TIER)
    tiers[m % 3]["taker_e9" if rate % 2 else "maker_e9"] = rate
    tiers[(m + 1) % 3]["taker_e9"] = rate // 2
    run(narrow.index_quotes, markets, tiers, quote_by)
    magic, shift, largest, quote = quote_by[m].tolist()
    assert (magic, shift) == run(narrow.magic_of, scale.div)
    highest = max(abs(rate), abs(rate // 2), 1)
    assert quote * highest + 10**9 - 1 < 2**63 <= (quote + 1) * highest + 10**9 - 1
    assert 0 < largest <= size_max
    assert largest * scale.mul * PRICE_MAX * 1005 // 1000 < 2**58
    assert largest == size_max or (largest + 1) * scale.mul * PRICE_MAX > 2**57


@pytest.mark.parametrize(
    ("a", "b", "c", "fits"),
    [
        (2**62, 2, 0, 0),
        (2**62, 2, -1, 0),
        (2**62, -2, 0, 1),
        (I64_MAX, 1, 0, 1),
        (I64_MAX, 1, 1, 0),
        (I64_MIN, 1, 0, 1),
        (I64_MIN, 1, -1, 0),
        (I64_MIN, -1, 0, 0),
    ],
)
def test_products_at_the_ends_of_int64(a: int, b: int, c: int, fits: int) -> None:
    """The product by itself must fit, even where the sum would."""
    assert run(mul_add_fits, a, b, c) == (fits * (a * b + c), fits)


@given(int64s, int64s, int64s, divisors)
def test_divmod_floor(a: int, b: int, c: int, divisor: int) -> None:
    q, r = divmod(a * b + c, divisor)
    assert run(narrow.divmod_floor, a, b, c, divisor) == ((q, r, 1) if twins.fits(q) else (0, 0, 0))


@pytest.mark.parametrize("value", [I64_MIN, I64_MIN + 1, -4, -3, -1, 0, 1, 3, I64_MAX])
def test_divmod_floor_where_the_product_of_a_floor_leaves_int64(value: int) -> None:
    """A third of -2**63, down, times three is below it."""
    for divisor in (1, 2, 3, 10**9, I64_MAX):
        assert run(narrow.divmod_floor, value, 1, 0, divisor) == (*divmod(value, divisor), 1)


@given(int64s, int64s, int64s, st.one_of(st.integers(0, 18).map(lambda e: 10**e), st.integers(1, 2**61)))
def test_divmod_by(a: int, b: int, c: int, divisor: int) -> None:
    magic, shift = run(narrow.magic_of, divisor)
    assert 2**62 <= magic < 2**63
    wanted = run(narrow.divmod_floor, a, b, c, divisor)
    assert run(narrow.divmod_by, a, b, c, divisor, magic, shift) == wanted


@given(st.integers(0, 18), st.integers(-(2**61), 2**61 - 1), st.integers(-3, 3))
def test_divmod_by_of_multiples(e: int, value: int, off: int) -> None:
    """Next to a multiple of the divisor, where a magic too large or small would show."""
    divisor = 10**e
    near = max(-(2**61), min(2**61 - 1, value // divisor * divisor + off))
    magic, shift = run(narrow.magic_of, divisor)
    assert run(narrow.divmod_by, near, 1, 0, divisor, magic, shift) == (*divmod(near, divisor), 1)


@pytest.mark.parametrize("value", [2**61 - 1, 2**61, 2**61 + 1, -(2**61), -(2**61) - 1, -(2**61) - 2])
def test_divmod_by_where_the_short_way_ends(value: int) -> None:
    for divisor in (1, 2, 7, 10**9, 2**61):
        magic, shift = run(narrow.magic_of, divisor)
        assert run(narrow.divmod_by, value, 1, 0, divisor, magic, shift) == (*divmod(value, divisor), 1)


shares = st.one_of(st.sampled_from([0, 1, 10**6 - 1, 10**6, ONE_E12 - 1, ONE_E12]), st.integers(0, ONE_E12))
quotes = st.one_of(
    st.sampled_from([0, 1, 10**6 - 1, 10**12, 2**61, I64_MAX, I64_MAX - 1]), st.integers(0, I64_MAX)
)


@kernel
def share_by(quote_e6: int, rate_e12: int, magic: int) -> int:
    return narrow.share_by(quote_e6, rate_e12, magic)


@given(st.one_of(st.sampled_from([0, 1, 2**61 - 1]), st.integers(0, 2**61 - 1)), shares)
def test_share_by(quote_e6: int, rate_e12: int) -> None:
    magic = run(narrow.rate_magic, rate_e12)
    assert magic == rate_e12 * 2**62 // ONE_E12
    wanted = math.ceil(Fraction(quote_e6 * rate_e12, ONE_E12))
    assert run(share_by, quote_e6, rate_e12, magic) == wanted


@given(quotes, shares)
def test_share_up(quote_e6: int, rate_e12: int) -> None:
    assert run(narrow.share_up, quote_e6, rate_e12) == math.ceil(Fraction(quote_e6 * rate_e12, ONE_E12))
