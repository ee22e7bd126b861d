from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.venue import scales
from kernels.layouts import PRICE_MAX, PRICE_MIN

DECIMALS = st.decimals(min_value=0, max_value=10**9, places=8).filter(lambda d: d < 10**9)


@given(DECIMALS)
@example(Decimal("0.10"))
@example(Decimal("100"))
def test_a_decimal_is_kept_exactly(value: Decimal) -> None:
    mantissa, decimals = scales.parse_decimal(f"{value:f}")
    assert Fraction(mantissa, 10**decimals) == Fraction(value)
    assert decimals == 0 or mantissa % 10, "a trailing zero of the fraction was kept"
    packed = np.array([scales.pack(mantissa, decimals)])
    assert [int(part[0]) for part in scales.unpack(packed)] == [mantissa, decimals]
    assert Fraction(scales.plain(int(packed[0]))) == Fraction(value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("NaN", "not a number"),
        ("inf", "not a number"),
        ("1e5", "exponent"),
        ("-1.5", "negative"),
        ("+1", "not a decimal"),
        ("1.", "not a decimal"),
        (".5", "not a decimal"),
        ("1.2.3", "not a decimal"),
        ("1_000", "not a decimal"),
        (" 1", "not a decimal"),
        ("٣", "not a decimal"),
        ("²", "not a decimal"),
        ("123456789012345678", "more digits"),
        ("0.0000000000000000001", "more digits"),
        ("9" * 5000, "more digits"),
    ],
)
def test_what_is_not_a_plain_decimal_is_refused(text: str, reason: str) -> None:
    with pytest.raises(scales.BadField, match=reason):
        scales.parse_decimal(text)


def test_zero_is_not_a_price_or_a_size() -> None:
    with pytest.raises(scales.BadField, match="zero"):
        scales.PositiveDecimals()["0.000"]


def test_a_memo_forgets_rather_than_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scales, "_MEMO_MAX", 4)
    memo = scales.PositiveDecimals()
    values = [memo[str(n)] for n in range(1, 12)]
    assert len(memo) <= 4
    assert values == [scales.pack(n, 0) for n in range(1, 12)]


@given(st.integers(1, 10**15), st.integers(0, 9), st.integers(0, 9))
def test_the_price_exponent_is_the_geometrically_nearest(mantissa: int, decimals: int, lot_exp: int) -> None:
    def distance(e: int) -> Fraction:
        price = Fraction(mantissa, 10**decimals) * Fraction(10) ** (e - lot_exp)
        return max(price / (3 * 10**8), (3 * 10**8) / price)

    chosen = scales.choose_price_exp(mantissa, decimals, lot_exp)
    on_scale = Fraction(mantissa, 10**decimals) * Fraction(10) ** (9 - lot_exp) >= PRICE_MIN
    assert distance(chosen) == min(distance(e) for e in (range(10) if on_scale else range(12)))


def test_a_coin_of_a_tenth_of_a_cent_a_lot_is_on_scale() -> None:
    assert scales.choose_price_exp(1234, 6, 0) == 11  # 0.001234 USD
    assert scales.choose_price_exp(1, 2, 0) == 9  # one cent
    assert scales.choose_price_exp(1, 9, 0) == 11  # 1e-9 USD: off scale at any


@given(st.integers(1, 10**17 - 1), st.integers(0, 18), st.integers(-30, 30))
def test_rescaling_is_exact_or_bad(mantissa: int, decimals: int, shift: int) -> None:
    packed = np.array([scales.pack(mantissa, decimals)])
    most = np.array([PRICE_MAX])
    value, bad = scales.rescale(packed, np.array([shift]), PRICE_MIN, most)
    exact = Fraction(mantissa, 10**decimals) * Fraction(10) ** shift
    fits = exact.denominator == 1 and PRICE_MIN <= exact <= PRICE_MAX
    assert bool(bad[0]) != fits
    assert int(value[0]) == (exact if fits else 0)


def test_the_largest_size_fits_the_books() -> None:
    for e in range(12):
        most = scales.size_max(e)
        assert most * PRICE_MAX * 10**6 <= 10**e << 60 < (most + 1) * PRICE_MAX * 10**6
