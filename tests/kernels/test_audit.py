"""Sums from scratch, index steps and payments rounded toward zero."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import audit
from tests.kernels.entries import divisors, int64s, run
from tests.kernels.twins import I64_MIN, fits

small = st.integers(-(10**12), 10**12)


@given(st.lists(st.tuples(small | int64s, small | int64s), max_size=6))
def test_market_sums(positions: list[tuple[int, int]]) -> None:
    rows = np.array(positions, np.int64).reshape(-1, 2)
    sizes, quotes = rows[:, 0].copy(), rows[:, 1].copy()
    running = [(0, 0, 0)]
    for size, quote in positions:
        last = running[-1]
        running.append((last[0] + size, last[1] + max(size, 0), last[2] + quote))
    exact = all(fits(value) for sums in running for value in sums)
    wanted = (*running[-1], 1) if exact else (0, 0, 0, 0)
    assert run(audit.market_sums, sizes, quotes) == wanted


@given(int64s, int64s, int64s)
def test_step_error(before: int, rate: int, after: int) -> None:
    exact = after - (before + rate)
    reached = before + rate
    good = fits(reached) and reached != I64_MIN and fits(exact)
    assert run(audit.step_error, before, rate, after) == ((exact, 1) if good else (0, 0))


@given(int64s, int64s, int64s, divisors)
def test_payment_toward_zero(size: int, before: int, after: int, scale: int) -> None:
    exact = Fraction(-size * (after - before), scale)
    good = I64_MIN not in (size, before) and fits(after - before) and fits(math.floor(exact))
    got = run(audit.payment_toward_zero, size, before, after, scale)
    assert got == ((math.trunc(exact), 1) if good else (0, 0))


@given(small, small, small, st.sampled_from([1, 1000, 10**12]))
def test_payment_is_odd_in_the_size(size: int, before: int, after: int, scale: int) -> None:
    here = run(audit.payment_toward_zero, size, before, after, scale)
    there = run(audit.payment_toward_zero, -size, before, after, scale)
    assert here[1] == there[1] == 1 or not fits(size * (after - before) // scale)
    assert here[0] == -there[0] or here[1] == 0 or there[1] == 0


@pytest.mark.parametrize(
    ("size", "move", "paid"), [(3, 5, -1), (-3, 5, 1), (3, -5, 1), (1, 5, 0), (2, 5, -1), (3, 3, 0)]
)
def test_payment_by_hand(size: int, move: int, paid: int) -> None:
    assert run(audit.payment_toward_zero, size, 100, 100 + move, 10) == (paid, 1)
