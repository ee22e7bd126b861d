"""Mango v4's PnL against the plain rules."""

from __future__ import annotations

import math
from fractions import Fraction

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
        change = wanted - quote
        parts = wanted.numerator, wanted.denominator, change.numerator, change.denominator
        assert not fits(held * lot_size, num, *parts)


def test_small_positions_are_not_refused() -> None:
    assert run(mango.unsettled_pnl, -50, 10, 5000, 23, 2) == (-750, 1, OK)
