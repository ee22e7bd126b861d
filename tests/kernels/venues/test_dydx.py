"""dYdX v4's margin and liquidation against the plain rules."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from kernels.venues import dydx
from kernels.venues.exact import LIMBS, int_of_limbs
from kernels.venues.status import NO_REQUIREMENT, NOT_A_REDUCTION, NOT_OPPOSITE, OK, OUT_OF_RANGE, OVERFLOW
from tests.kernels.entries import int64s, run
from tests.kernels.twins import I64_MAX, I64_MIN
from tests.kernels.venues import twins
from tests.kernels.venues.twins import Held, fits

ppm = st.integers(0, 10**6)
held = st.builds(
    Held,
    st.integers(-(10**14), 10**14),
    st.integers(1, 10**11),
    st.integers(-12, -8),
    ppm,
    st.integers(1, 10**6),
)
accounts = st.lists(held, min_size=1, max_size=4)
cash = st.integers(-(10**16), 10**16)
wild = st.builds(Held, int64s, int64s, st.integers(-40, 20), int64s, int64s)
BTC = Held(10_000_000, 5_000_000_000, -7, 200_000, 500_000)


def rows(positions: list[Held]) -> np.ndarray:
    return np.array([tuple(p) for p in positions], dydx.POSITION)


def wild_answer(value: int | None, refusal: set[int], got: tuple[int, ...]) -> None:
    """On any int64: the exact value, or a refusal by one of the named statuses."""
    assert (got[-1] == OK and got[0] == value) or (got[0] == 0 and got[-1] in refusal)


@given(int64s, int64s, int64s, int64s)
def test_scaled_rate(initial: int, oi: int, lower: int, upper: int) -> None:
    rate, status = run(dydx.scaled_initial_ppm, initial, oi, lower, upper)
    if status == OK:
        assert rate == twins.scaled_initial_ppm(initial, oi, lower, upper)
    else:
        assert (rate, status) == (0, OVERFLOW)
        assert not fits(10**6 - initial, oi - lower, upper - lower) or upper - lower > I64_MAX


@given(ppm, st.lists(st.integers(0, 10**15), min_size=2, max_size=2), st.integers(0, 10**15))
def test_more_open_interest_never_asks_less(initial: int, oi: list[int], lower: int) -> None:
    low, high = (run(dydx.scaled_initial_ppm, initial, o, lower, lower + 10**14)[0] for o in sorted(oi))
    assert initial <= low <= high <= 10**6


@given(int64s, int64s, int64s, int64s, int64s)
def test_initial_margin(quote: int, initial: int, oi: int, lower: int, upper: int) -> None:
    got = run(dydx.initial_margin_e6, quote, initial, oi, lower, upper)
    wild_answer(twins.initial_margin(quote, initial, oi, lower, upper), {OVERFLOW}, got)


@given(held, st.integers(0, 10**14), st.integers(0, 10**13), st.integers(0, 10**13))
def test_requirement(position: Held, oi_base: int, lower: int, more: int) -> None:
    wanted = twins.initial_margin(
        *(abs(position.quote()), position.initial_ppm, position.quote(oi_base), lower, lower + more)
    )
    got = run(dydx.margin_requirement, *position, oi_base, lower, lower + more)
    assert got == (wanted, position.maintenance(), OK)
    assert got[0] >= got[1]


@given(wild, int64s, int64s, int64s)
def test_requirement_at_the_edges(position: Held, oi_base: int, lower: int, upper: int) -> None:
    initial, maintenance, status = run(dydx.margin_requirement, *position, oi_base, lower, upper)
    if status == OK:
        oi = position.quote(oi_base)
        assert initial == twins.initial_margin(abs(position.quote()), position.initial_ppm, oi, lower, upper)
        assert maintenance == position.maintenance()
    else:
        assert (initial, maintenance) == (0, 0)
        negative = min(position.initial_ppm, position.maintenance_ppm) < 0
        assert status == OVERFLOW or (status == OUT_OF_RANGE and negative)


@pytest.mark.parametrize(
    ("net", "need", "verdict"),
    [(99, 100, 1), (100, 100, 0), (-1, 0, 0), (I64_MIN, 1, 1), (I64_MIN, -5, 0), (5, I64_MAX, 1)],
)
def test_is_liquidatable_is_strict(net: int, need: int, verdict: int) -> None:
    assert run(dydx.is_liquidatable, net, need) == verdict


@given(cash, accounts)
def test_totals_do_not_depend_on_order(usdc: int, positions: list[Held]) -> None:
    got = run(dydx.account_totals, usdc, rows(positions))
    assert got == (*twins.totals(usdc, positions), OK)
    assert got == run(dydx.account_totals, usdc, rows(positions[::-1]))


def test_a_sum_may_pass_int64_on_its_way() -> None:
    long, short = Held(I64_MAX, 1, 0, 0, 0), Held(-I64_MAX, 1, 0, 0, 0)
    assert run(dydx.account_totals, I64_MAX, rows([long, short])) == (I64_MAX, 0, OK)
    assert run(dydx.account_totals, 1, rows([long])) == (0, 0, OVERFLOW)


@given(cash, accounts, st.data())
def test_bankruptcy_quote(usdc: int, positions: list[Held], data: st.DataObject) -> None:
    k = data.draw(st.integers(0, len(positions) - 1))
    size = positions[k].size
    close = st.integers(min(0, -size), max(0, -size))
    delta = data.draw(st.one_of(close, st.integers(-abs(size) - 1, abs(size) + 1)))
    quote, status = run(dydx.bankruptcy_quote, usdc, rows(positions), k, delta)
    wanted = twins.bankruptcy_quote(usdc, positions, k, delta)
    assert (quote if status == OK else None) == wanted
    if wanted is None:
        assert quote == 0 and status in (NOT_A_REDUCTION, NO_REQUIREMENT)


@given(cash, accounts)
def test_a_bankrupt_close_of_everything_leaves_nothing_short(usdc: int, positions: list[Held]) -> None:
    """Closing every position at its bankruptcy quote leaves at most one unit a position, never a debt."""
    assume(twins.totals(usdc, positions)[1] > 0 and all(p.size for p in positions))
    left = usdc
    for k, position in enumerate(positions):
        quote, status = run(dydx.bankruptcy_quote, usdc, rows(positions), k, -position.size)
        assert status == OK
        left += quote
    assert 0 <= left < len(positions)


@given(st.one_of(cash, int64s), st.lists(wild, min_size=1, max_size=3), int64s)
@example(I64_MAX, [Held(1, 1, 0, 10**6, 10**6)], -1)
def test_bankruptcy_at_the_edges(usdc: int, positions: list[Held], delta: int) -> None:
    got = run(dydx.bankruptcy_quote, usdc, rows(positions), 0, delta)
    refusals = {OVERFLOW, OUT_OF_RANGE, NOT_A_REDUCTION, NO_REQUIREMENT}
    wild_answer(twins.bankruptcy_quote(usdc, positions, 0, delta), refusals, got)


def fillable(usdc: int, positions: list[Held], k: int, adjustment: int, spread: int) -> tuple[Fraction, int]:
    num, den = np.full((2, LIMBS), -7, np.int64)
    status = run(dydx.fillable_price, usdc, rows(positions), k, adjustment, spread, num, den)
    price = Fraction(int_of_limbs(num), int_of_limbs(den)) if status == OK else Fraction(0)
    return price, status


@given(cash, accounts, st.data(), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_fillable_price(
    usdc: int, positions: list[Held], data: st.DataObject, adjustment: int, spread: int
) -> None:
    k = data.draw(st.integers(0, len(positions) - 1))
    price, status = fillable(usdc, positions, k, adjustment, spread)
    wanted = twins.fillable_price(usdc, positions, k, adjustment, spread)
    assert (price if status == OK else None) == wanted


@given(cash, st.integers(0, 10**7), st.integers(0, 10**6), st.booleans())
def test_fillable_price_is_never_better_than_the_oracle(
    usdc: int, adjustment: int, spread: int, short: bool
) -> None:
    position = BTC._replace(size=-BTC.size) if short else BTC
    price, status = fillable(usdc, [position], 0, adjustment, spread)
    assert status == OK
    assert price >= 500 if short else 0 <= price <= 500


@given(int64s, wild, int64s, int64s)
@example(-I64_MAX // 2, Held(I64_MAX, 1, 0, 10**6, 10**6), I64_MAX, I64_MAX)
@example(0, Held(I64_MAX, 1, 0, 10**6, 500_001), 999_999, I64_MAX)
def test_fillable_at_the_edges(usdc: int, position: Held, adjustment: int, spread: int) -> None:
    price, status = fillable(usdc, [position], 0, adjustment, spread)
    if status == OK:
        assert price == twins.fillable_price(usdc, [position], 0, adjustment, spread)
    else:
        assert status in (OVERFLOW, OUT_OF_RANGE, NOT_A_REDUCTION, NO_REQUIREMENT)


@given(cash, accounts, st.data(), st.booleans(), st.integers(0, 10**15), ppm)
def test_insurance_delta(
    usdc: int, positions: list[Held], data: st.DataObject, buys: bool, quote: int, fee: int
) -> None:
    k = data.draw(st.integers(0, len(positions) - 1))
    base = data.draw(st.integers(1, abs(positions[k].size) + 1))
    got, status = run(dydx.insurance_delta, usdc, rows(positions), k, int(buys), base, quote, fee)
    wanted = twins.insurance_delta(usdc, positions, k, buys, base, quote, fee)
    assert (got if status == OK else None) == wanted
    assert status == OK or got == 0


@given(int64s, wild, st.booleans(), int64s, int64s, int64s)
def test_insurance_at_the_edges(
    usdc: int, position: Held, buys: bool, base: int, quote: int, fee: int
) -> None:
    got = run(dydx.insurance_delta, usdc, rows([position]), 0, int(buys), base, quote, fee)
    wanted = twins.insurance_delta(usdc, [position], 0, buys, base, quote, fee)
    wild_answer(wanted, {OVERFLOW, OUT_OF_RANGE, NOT_A_REDUCTION, NO_REQUIREMENT}, got)


def test_a_fee_limit_beyond_int64_is_no_limit() -> None:
    position = Held(10, 1, 17, 10**6, 10**6)
    got = run(dydx.insurance_delta, -(10**18), rows([position]), 0, 0, 10, 5 * 10**18, 10**7)
    assert got == (4 * 10**18, OK)


@given(int64s, int64s, int64s, st.booleans(), int64s)
def test_open_interest(size_a: int, delta: int, size_b: int, opposite: bool, other: int) -> None:
    delta_b = -delta if opposite and delta != I64_MIN else other
    got, status = run(dydx.open_interest_delta, size_a, delta, size_b, delta_b)
    wanted = twins.open_interest_delta(size_a, delta, size_b, delta_b)
    assert got == (wanted if status == OK else 0)
    if status == OK:
        return
    if status == NOT_OPPOSITE:
        assert wanted is None
    else:
        sums = size_a + delta, size_b + delta_b
        assert not all(I64_MIN <= x <= I64_MAX for x in (*sums, wanted or 0))


@pytest.mark.parametrize(
    ("deltas", "status"),
    [((5, -5), OK), ((5, -4), NOT_OPPOSITE), ((5, -6), NOT_OPPOSITE), ((I64_MIN, I64_MIN), NOT_OPPOSITE)],
)
def test_deltas_of_a_match_are_opposite(deltas: tuple[int, int], status: int) -> None:
    got = run(dydx.open_interest_delta, 1, deltas[0], -1, deltas[1])
    assert got == ((5, OK) if status == OK else (0, status))


def test_open_interest_that_changes_past_int64_is_refused() -> None:
    assert run(dydx.open_interest_delta, 0, I64_MAX, I64_MAX, -I64_MAX) == (0, OK)
    assert run(dydx.open_interest_delta, I64_MIN + 1, I64_MAX, I64_MAX, -I64_MAX) == (-I64_MAX, OK)


@pytest.mark.parametrize(
    ("oi", "rate"),
    [(99, 10), (100, 10), (101, 10_009), (150, 500_005), (199, 990_000), (200, 10**6), (999, 10**6)],
)
def test_scaled_rate_between_its_caps(oi: int, rate: int) -> None:
    assert run(dydx.scaled_initial_ppm, 10, oi, 100, 200) == (rate, OK)
    assert run(dydx.scaled_initial_ppm, 10, oi, 100, 0) == (10, OK)


@pytest.mark.parametrize("sizes", [(I64_MAX, 0), (0, I64_MIN)])
def test_either_side_of_a_match_may_leave_the_range(sizes: tuple[int, int]) -> None:
    assert run(dydx.open_interest_delta, sizes[0], 1, sizes[1], -1) == (0, OVERFLOW)
