"""Sums from scratch and index steps."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernels import audit
from tests.kernels.entries import int64s, run
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
