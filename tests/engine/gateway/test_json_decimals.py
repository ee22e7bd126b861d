"""Decimal text and scaled integers: what Python's decimals say, exactly or not at all."""

from __future__ import annotations

from decimal import Context, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.gateway.json_decimals import INT64_MAX, decimal_text, parse_decimal, scaled

EXACT = Context(prec=100)


@given(st.integers(-(10**25), 10**25), st.integers(0, 20), st.integers(-12, 12))
def test_scaling_is_exact_or_none(digits: int, places: int, decimals: int) -> None:
    text = f"{Decimal(digits).scaleb(-places, EXACT):f}"
    wanted = Decimal(text).scaleb(decimals, EXACT)
    got = scaled(text, decimals)
    if wanted == wanted.to_integral_value() and abs(wanted) <= INT64_MAX:
        assert got == int(wanted)
    else:
        assert got is None


@given(st.integers(-INT64_MAX, INT64_MAX), st.integers(-4, 18))
def test_text_says_the_value_and_comes_back(value: int, decimals: int) -> None:
    text = decimal_text(value, decimals)
    assert Decimal(text) == Decimal(value).scaleb(-decimals, EXACT)
    assert "E" not in text and not (decimals > 0 and "." in text and text.endswith("0"))
    if decimals >= 0:
        assert scaled(text, decimals) == value


@pytest.mark.parametrize(
    "text",
    ["", "-", ".5", "5.", "1e3", "1,5", " 1", "1 ", "+1", "0x1", "NaN", "１", "1_000", "--1", "1" * 31],
)
def test_what_is_no_decimal(text: str) -> None:
    with pytest.raises(ValueError, match="decimal in a string"):
        parse_decimal(text)
