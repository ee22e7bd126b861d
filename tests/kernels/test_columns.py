"""Division by columns against divmod: exact wherever it answers, and it answers wherever a quotient is not huge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kernels import columns
from kernels.columns import DIVISOR_MOST
from kernels.jit import kernel
from tests.kernels import twins
from tests.kernels.entries import int64s, run
from tests.kernels.twins import I64_MAX, I64_MIN

divisors = st.one_of(
    st.integers(0, 15).map(lambda e: 10**e),
    st.integers(1, DIVISOR_MOST),
    st.sampled_from([1, 3, DIVISOR_MOST]),
)
added = st.one_of(st.integers(-9, 9), st.integers(-(2**62), 2**62))


@kernel
def lane(a: int, b: int, c: int, divisor: int) -> tuple[int, int, int]:
    return columns.lane(a, b, c, divisor, columns.inverse_of(divisor))


@given(int64s, int64s, added, divisors)
@example(I64_MIN, I64_MIN, 0, DIVISOR_MOST)
@example(I64_MIN, -1, 0, 1)
@example(2**61 - 1, 3, 1, 3)
@example(3 * (2**51 - 1), 2**10, 0, 2**51 - 1)
def test_a_lane_is_exact_or_wild(a: int, b: int, c: int, divisor: int) -> None:
    q, r = divmod(a * b + c, divisor)
    got = run(lane, a, b, c, divisor)
    if abs(q) < 2**61:
        assert got == (q, r, 0)
    elif abs(q) > 2**62 + 2**53:
        assert got == (0, 0, 1)
    else:
        assert got in ((0, 0, 1), (q, r, 0))


@given(st.integers(-(2**60), 2**60), divisors, st.integers(-2, 2))
def test_next_to_a_multiple_of_the_divisor(q: int, divisor: int, off: int) -> None:
    """Where a guess is a whole number, one too large or small would show."""
    wanted = divmod(q * divisor + off, divisor)
    for a, b in ((q, divisor), (divisor, q)):
        assert run(lane, a, b, off, divisor) == (*wanted, 0)


@given(
    st.lists(st.tuples(int64s, int64s), max_size=20), st.one_of(divisors, st.integers(DIVISOR_MOST, I64_MAX))
)
def test_a_column_against_divmod(pairs: list[tuple[int, int]], divisor: int) -> None:
    a, b = (np.array([pair[k] for pair in pairs], np.int64) for k in range(2))
    out = np.zeros(len(pairs), np.int64)
    wanted = [x * y // divisor for x, y in pairs]
    fitting = next((i for i, q in enumerate(wanted) if not twins.fits(q)), len(pairs))
    assert run(columns.mul_div_floor_column, a, b, divisor, out) == fitting
    assert out[:fitting].tolist() == wanted[:fitting]


@pytest.mark.parametrize("divisor", [0, -1, I64_MIN])
def test_a_divisor_that_is_not_positive_fits_nothing(divisor: int) -> None:
    one = np.ones(1, np.int64)
    assert run(columns.mul_div_floor_column, one, one, divisor, one.copy()) == 0


@kernel
def mul_sub_wraps(a: int, b: int, c: int, d: int) -> int:
    return columns.mul_sub_wraps(a, b, c, d)


@given(int64s, int64s, int64s, int64s)
def test_mul_sub_wraps(a: int, b: int, c: int, d: int) -> None:
    assert run(mul_sub_wraps, a, b, c, d) == (a * b - c * d + 2**63) % 2**64 - 2**63


@pytest.mark.parametrize(
    ("a", "b", "c", "divisor", "wanted"),
    [
        (49, 1, 0, 49, (1, 0, 0)),
        (7, 14, 0, 49, (2, 0, 0)),
        (0, 0, 2**62, 3, (*divmod(2**62, 3), 0)),
        (0, 0, -(2**62), 3, (*divmod(-(2**62), 3), 0)),
        (2**61, 2, 0, 1, (0, 0, 1)),
        (2**61, 1, 0, 1, (2**61, 0, 0)),
    ],
)
def test_a_lane_whose_guess_is_off_or_too_large(
    a: int, b: int, c: int, divisor: int, wanted: tuple[int, int, int]
) -> None:
    """In floats 49 / 49 is less than 1: the remainder puts it right. A guess of 2**62 is wild."""
    assert run(lane, a, b, c, divisor) == wanted
