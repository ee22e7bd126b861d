"""The limit of a liquidation order: the last price that leaves nothing owed, on scale and within the band."""

from __future__ import annotations

import math
from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st

from kernels.layouts import LIMIT, PRICE_MAX, PRICE_MIN
from kernels.liquidation_price import order_limit
from tests.kernels.entries import run
from tests.kernels.twins import Scale

sizes = st.integers(-(10**6), 10**6).filter(bool) | st.sampled_from([1, -1, 2**37, -(2**37)])


@given(
    st.integers(0, 11),
    sizes,
    st.integers(-LIMIT, LIMIT) | st.integers(-(10**12), 10**12),
    st.sampled_from([0, 500_000, 10**9 - 1]),
    st.integers(PRICE_MIN, PRICE_MAX),
    st.sampled_from([-1, 0, 10_000, 10**6]),
)
@example(0, 1, 9_223_372_037, 10**9 - 1, PRICE_MIN, -1)
@example(6, 1, -LIMIT, 10**9 - 1, PRICE_MAX, -1)
@example(0, -1, LIMIT, 0, PRICE_MAX, -1)
@example(6, -1, 10**12, 0, 10**8, 0)
@example(6, -1, 10**12, 0, 10**8, 10_000)
@example(6, 1, -(10**7), 0, 10**8, 0)
@example(6, 1, -(10**7), 0, 10**8, 10_000)
def test_it_is_the_last_that_leaves_nothing_owed(
    e: int, size: int, held: int, taker_e9: int, mark: int, band: int
) -> None:
    quote_mul, quote_div = 10 ** max(0, 6 - e), 10 ** max(0, e - 6)
    if abs(size) > Scale(e).size_max:
        size = 1 if size > 0 else -1
    price = run(order_limit, size, held, taker_e9, mark, band, quote_mul, quote_div)
    lot = Fraction(quote_mul, quote_div) * abs(size)
    if size > 0:
        ideal = math.ceil(math.ceil(Fraction(-held * 10**9, 10**9 - taker_e9)) / lot)
    else:
        ideal = math.floor(math.floor(Fraction(held * 10**9, 10**9 + taker_e9)) / lot)
    reach = mark * band // 10**6
    if band >= 0:
        ideal = max(ideal, mark - reach) if size > 0 else min(ideal, mark + reach)
    assert price == max(PRICE_MIN, min(PRICE_MAX, ideal))
