"""Mango v4's PnL against the plain rules."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.venues import mango
from kernels.venues.status import OK, OVERFLOW
from tests.kernels.entries import int64s, run
from tests.kernels.twins import I64_MAX, I64_MIN
from tests.kernels.venues import twins
from tests.kernels.venues.twins import Lots, fits

lots = st.integers(-(10**4), 10**4)
quotes = st.integers(-(10**9), 10**9)
averages = st.builds(Fraction, st.integers(0, 10**8), st.integers(1, 10**3))
starts = st.builds(Lots, lots, averages, quotes)


def traded(start: Lots, dlots: int, dquote: int) -> tuple[Lots, Fraction, int]:
    out = run(
        mango.trade,
        *(start.lots, start.average.numerator, start.average.denominator, start.running, dlots, dquote),
    )
    for num, den in (out[1:3], out[4:6]):
        assert den > 0 and math.gcd(num, den) == 1
    return Lots(out[0], Fraction(out[1], out[2]), out[3]), Fraction(out[4], out[5]), out[6]


@given(starts, lots, quotes)
def test_trade(start: Lots, dlots: int, dquote: int) -> None:
    assert traded(start, dlots, dquote) == (*twins.mango_trade(start, dlots, dquote), OK)


@given(st.builds(Lots, int64s, st.builds(Fraction, int64s, st.integers(1, I64_MAX)), int64s), int64s, int64s)
def test_trade_at_the_edges(start: Lots, dlots: int, dquote: int) -> None:
    after, pnl, status = traded(start, dlots, dquote)
    if status == OK:
        assert (after, pnl) == twins.mango_trade(start, dlots, dquote)
    else:
        assert (after, pnl, status) == (Lots(0, Fraction(0), 0), 0, OVERFLOW)


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(("held", "dlots"), [(-1, 2), (-1, 3), (2, -1), (1, -1), (1, 0), (0, 1), (1, 1)])
def test_trades_of_single_lots(side: int, held: int, dlots: int) -> None:
    start = Lots(side * held, Fraction(7, 2) if held else Fraction(0), 5)
    given_trade = side * dlots, -side * dlots * 9 + 1
    assert traded(start, *given_trade) == (*twins.mango_trade(start, *given_trade), OK)


@pytest.mark.parametrize(
    ("start", "dlots", "dquote"),
    [
        (Lots(1, Fraction(1), 0), -2, I64_MIN),
        (Lots(1, Fraction(I64_MIN), 0), -2, 5),
        (Lots(0, Fraction(0), 0), I64_MIN, 5),
        (Lots(1, Fraction(-I64_MAX), 0), -2, 5),
        (Lots(I64_MAX, Fraction(1), 0), -I64_MAX - 1, 2**62),
        (Lots(I64_MAX, Fraction(0), 0), 1, 5),
        (Lots(1, Fraction(5), I64_MAX), 1, 1),
        (Lots(I64_MIN, Fraction(5), 0), 1, 1),
        (Lots(-1, Fraction(5), 0), I64_MIN + 1, 1),
        (Lots(1, Fraction(5), 0), 1, I64_MIN),
        (Lots(3, Fraction(I64_MAX), 0), -3, 1),
        (Lots(3, Fraction(I64_MAX), 0), -2, 1),
        (Lots(3, Fraction(I64_MAX), 0), 1, 1),
        (Lots(3, Fraction(1, I64_MAX), 0), 4, 1),
    ],
)
def test_a_trade_with_a_step_past_int64_is_refused(start: Lots, dlots: int, dquote: int) -> None:
    """Each step by itself, in a flip, a close, a reduction and an increase; nothing of it is told."""
    assert traded(start, dlots, dquote) == (Lots(0, Fraction(0), 0), 0, OVERFLOW)


@given(st.lists(st.tuples(lots.filter(bool), st.integers(1, 10**5)), min_size=1, max_size=8))
def test_pnl_of_a_round_trip_is_the_quote(trades: list[tuple[int, int]]) -> None:
    """Averages may need many digits on the way; back at flat what was realised is what was paid and received."""
    state, realised, paid = Lots(0, Fraction(0), 0), Fraction(0), 0
    last = -sum(size for size, _ in trades)
    for size, price in [*trades, (last, 777)]:
        state, pnl, status = traded(state, size, -size * price)
        if status != OK:
            return
        realised, paid = realised + pnl, paid - size * price
    assert state == Lots(0, Fraction(0), 0)
    assert realised == paid


@given(int64s, int64s)
def test_break_even(held: int, running: int) -> None:
    num, den, status = run(mango.break_even, held, running)
    if held == 0:
        assert (num, den, status) == (0, 1, OK)
    elif I64_MIN in (held, running):
        assert status == OVERFLOW
    else:
        assert (Fraction(num, den), status) == (-Fraction(running, held), OK)


@given(int64s, int64s, int64s, int64s, st.integers(1, I64_MAX))
def test_unsettled_pnl(held: int, lot_size: int, quote: int, num: int, den: int) -> None:
    got_num, got_den, status = run(mango.unsettled_pnl, held, lot_size, quote, num, den)
    wanted = quote + held * lot_size * Fraction(num, den)
    if status == OK:
        assert Fraction(got_num, got_den) == wanted
        assert math.gcd(got_num, got_den) == 1
    else:
        assert (got_num, got_den, status) == (0, 1, OVERFLOW)
        change = wanted - quote
        parts = wanted.numerator, wanted.denominator, change.numerator, change.denominator
        assert not fits(held * lot_size, num, *parts)


@pytest.mark.parametrize(
    "given_values",
    [
        (I64_MAX, 2, 0, 1, 1),
        (1, 1, 0, I64_MIN, 1),
        (1, 1, 0, 1, 0),
        (2, 1, 0, I64_MAX, 1),
        (1, 1, 2, I64_MAX, 1),
    ],
)
def test_unsettled_pnl_with_a_step_past_int64_is_refused(given_values: tuple[int, ...]) -> None:
    assert run(mango.unsettled_pnl, *given_values) == (0, 1, OVERFLOW)


def test_small_positions_are_not_refused() -> None:
    assert run(mango.unsettled_pnl, -50, 10, 5000, 23, 2) == (-750, 1, OK)
