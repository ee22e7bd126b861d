"""The proof beside LIMIT (kernels/layouts.py), run: a leg at the bounds against integers without any.

With the JIT on a wrapped sum shows as a wrong number, with the JIT off and `-W error` as an overflow.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.core import booking, candidates
from engine.core.apply import Machine
from engine.core.legs import Held, Leg, Sums
from engine.core.state import Books
from kernels.funding import MARK_BAND_PPM
from kernels.jit import kernel
from kernels.layouts import LIMIT, PRICE_MAX, PRICE_MIN
from relayer.verify import model_margin
from tests.engine.core.builders import SCALES, genesis, views
from tests.kernels import twins
from tests.kernels.entries import run
from tests.kernels.twins import Lot, Scale

PRICE_EXP = SCALES[0][0]
SCALE = Scale(PRICE_EXP)
SIZE_MAX = SCALE.size_max


@kernel
def held_of(held: np.ndarray) -> Held:
    """`Held` of int64[10]."""
    return Held(
        held[0], held[1], held[2], held[3], held[4], held[5], held[6], held[7], held[8], held[9]
    )  # fmt: skip


@kernel
def plan(books: Books, held: np.ndarray, given: np.ndarray, out: np.ndarray) -> int:
    """`plan_leg` on int64[10] and int64[7], into int64[14]."""
    h = held_of(held)
    leg = booking.plan_leg(
        books, h, books.markets[0], given[0], given[1], given[2], given[3], given[4], given[5], given[6]
    )
    for k in range(14):
        out[k] = leg[k]
    return leg.ok


@kernel
def add_sums(sums: np.ndarray, held: np.ndarray, legs: np.ndarray) -> int:
    """`sums_after` and `sums_within` on int64[5], in place."""
    h = held_of(held)
    leg = Leg(
        legs[0], legs[1], legs[2], legs[3], legs[4], legs[5], legs[6], legs[7], legs[8], legs[9],
        legs[10], legs[11], legs[12], legs[13],
    )  # fmt: skip
    after = booking.sums_after(Sums(sums[0], sums[1], sums[2], sums[3], sums[4]), h, leg)
    for k in range(5):
        sums[k] = after[k]
    return booking.sums_within(after)


@kernel
def exchange(books: Books, held: np.ndarray, given: np.ndarray, out: np.ndarray) -> int:
    """`exchanged_leg` on int64[10] and int64[4], into int64[14]."""
    h = held_of(held)
    leg = candidates.exchanged_leg(books, h, books.markets[0], given[0], given[1], given[2], given[3])
    for k in range(14):
        out[k] = leg[k]
    return leg.ok


@functools.cache
def books() -> Books:
    machine, frames = Machine(), genesis().frames
    machine.apply(views(frames), 0, len(frames))
    return machine.books


def within(value: int) -> bool:
    return -LIMIT <= value <= LIMIT


def notional_of(size: int, price: int) -> int:
    return math.ceil(abs(SCALE.worth(size, price)))


def initial_of(size: int, price: int, leverage: int) -> int:
    """Initial margin by the tiers of `genesis`, which are the published ones, with unbounded integers."""
    tiers = [
        model_margin.Tier(*(int(row[name]) for name in model_margin.Tier._fields))
        for row in books().tiers[:3]
    ]
    return model_margin.initial_e6(tiers, leverage, notional_of(size, price), 0)


def leg_twin(
    held: list[int],
    dsize: int,
    quote: int,
    fee: int,
    insurance: int,
    price: int,
    charge: tuple[int, int] = (0, 0),
) -> list[int] | None:
    """The leg in unbounded integers, or None where a number leaves its bounds."""
    size, cash, idx, rem, cost, realised, isolated, leverage, free, locked = held
    index, scale = int(books().markets[0]["index_e6"]), 10**PRICE_EXP
    pay, rem_after = divmod(-size * (index - idx) + rem, scale) if size and idx != index else (0, rem)
    after, dcash = size + dsize, -quote - fee
    settled = cash + pay
    total = settled + dcash
    if not (within(pay) and within(settled) and within(total) and abs(after) <= SIZE_MAX):
        return None
    transfer = cover = charged = 0
    if size * dsize < 0:
        closing = abs(quote) * min(abs(size), abs(dsize)) // abs(dsize)
        equity = total + math.floor(SCALE.worth(after, price)) + charge[1]
        charged = min(math.ceil(Fraction(closing * charge[0], 10**9)), max(0, equity))
    total -= charged
    if after == 0:
        if total >= 0 or not isolated:
            transfer = -total
        else:
            cover = max(0, min(-total, insurance))
    elif isolated and (abs(after) > abs(size) or (after > 0) != (size > 0)):
        need = initial_of(after, price, leverage)
        transfer = max(0, min(need - total - math.floor(SCALE.worth(after, price)), free - locked))
    cost_after, gained = twins.next_cost(Lot(size, cost), dsize, quote)
    told = [total + transfer + cover, free - transfer, cost_after, realised + gained]
    cover -= charged
    if not all(within(value) for value in (*told, insurance - cover)):
        return None
    worth = math.floor(SCALE.worth(after, price))
    large = leverage > 20 and notional_of(after, price) > (100_000 if leverage <= 50 else 50_000) * 10**6
    return [
        1, after, told[0], rem_after, cost_after, told[3], told[1], worth, dcash, transfer, cover, fee, pay,
        int(large),
    ]  # fmt: skip


money = st.one_of(
    st.sampled_from([0, 1, -1, LIMIT, -LIMIT, LIMIT - 1, 1 - LIMIT]), st.integers(-LIMIT, LIMIT)
)
sizes = st.one_of(
    st.sampled_from([SIZE_MAX, -SIZE_MAX, SIZE_MAX - 1, 1, -1, 0]), st.integers(-SIZE_MAX, SIZE_MAX)
)
prices = st.one_of(st.sampled_from([PRICE_MIN, PRICE_MAX]), st.integers(PRICE_MIN, PRICE_MAX))
MARK_MAX = PRICE_MAX + PRICE_MAX * MARK_BAND_PPM // 10**6
"""The index at its largest price, and the mark as far above it as it may be."""
marks = st.one_of(st.sampled_from([PRICE_MIN, PRICE_MAX, MARK_MAX]), st.integers(PRICE_MIN, MARK_MAX))
fee_rates = st.sampled_from([-(10**9) + 1, -100_000, 0, 500_000, 10**9 - 1])


@st.composite
def legs(draw: st.DrawFn) -> tuple[list[int], int, int, int, int, int]:
    """(held, dsize, price, fee rate, insurance, reference price) anywhere within what the books may hold."""
    held = [draw(sizes), *(draw(money) for _ in range(2)), draw(st.integers(0, 10**PRICE_EXP - 1))]
    held += [
        draw(money),
        draw(money),
        draw(st.integers(0, 1)),
        draw(st.sampled_from([1, 3, 20, 21, 50, 51, 100])),
        draw(money),
        draw(st.sampled_from([0, 0, 1, LIMIT, 2 * LIMIT])),
    ]
    dsize = draw(st.one_of(st.just(-held[0]), sizes)) or 1
    return held, dsize, draw(prices), draw(fee_rates), draw(money), draw(marks)


charges = st.one_of(
    st.just((0, 0)), st.tuples(st.sampled_from([1, 5_000_000, 10**9 - 1]), st.one_of(money, st.just(LIMIT)))
)


@given(legs(), charges)
@example(
    ([SIZE_MAX - 1, LIMIT - 2**60, 0, 0, 0, 0, 1, 1, LIMIT, 0], 1, PRICE_MAX, -(10**9) + 1, 0, PRICE_MAX),
    (0, 0),
)
@example(([SIZE_MAX - 1, -LIMIT, 0, 0, 0, 0, 1, 1, LIMIT, 0], 1, PRICE_MAX, 0, 0, MARK_MAX), (0, 0))
@example(([1 - SIZE_MAX, LIMIT, 0, 0, 0, 0, 1, 1, LIMIT, 0], -1, PRICE_MAX, 0, 0, MARK_MAX), (0, 0))
@example(
    ([SIZE_MAX, -LIMIT, LIMIT, 0, LIMIT, LIMIT, 1, 1, LIMIT, 0], -SIZE_MAX, PRICE_MAX, 0, LIMIT, PRICE_MAX),
    (0, 0),
)
@example(
    ([-SIZE_MAX, LIMIT, 0, 0, -LIMIT, -LIMIT, 0, 1, -LIMIT, 0], SIZE_MAX, PRICE_MAX, 0, LIMIT, PRICE_MAX),
    (0, 0),
)
@example(([1, -LIMIT, 0, 0, 0, 0, 1, 1, LIMIT, 0], 1, PRICE_MAX, 0, 0, PRICE_MAX), (0, 0))
@example(([1, -LIMIT, 0, 0, 0, 0, 1, 1, -LIMIT, 2 * LIMIT], 1, PRICE_MAX, 0, 0, PRICE_MAX), (0, 0))
@example(([10_001, -LIMIT, LIMIT, 0, 0, 0, 1, 1, LIMIT, 0], 1, PRICE_MAX, 0, 0, PRICE_MAX), (0, 0))
@example(
    ([SIZE_MAX, -LIMIT, 0, 0, 0, 0, 1, 1, LIMIT, 0], -SIZE_MAX, PRICE_MAX, 0, LIMIT, PRICE_MAX),
    (10**9 - 1, LIMIT),
)
@example(([5, LIMIT, 0, 0, 0, 0, 0, 1, 0, 0], -SIZE_MAX, PRICE_MAX, 0, 0, PRICE_MAX), (10**9 - 1, LIMIT))
def test_a_leg_anywhere_in_bounds_is_exact_or_refused(
    case: tuple[list[int], int, int, int, int, int], charge: tuple[int, int]
) -> None:
    held, dsize, price, rate, insurance, ref = case
    quote = twins.half_even(SCALE.worth(dsize, price))
    fee = math.ceil(Fraction(abs(quote) * rate, 10**9))
    out = np.zeros(14, np.int64)
    given = np.array([dsize, quote, rate, insurance, ref, *charge])
    ok = run(plan, books(), np.array(held), given, out)
    wanted = leg_twin(held, dsize, quote, fee, insurance, ref, charge)
    assert ok == (wanted is not None)
    assert out.tolist() == (wanted or [0] * 14)


@pytest.mark.parametrize(("cash", "ok"), [(LIMIT, 1), (LIMIT + 1, 0), (-LIMIT, 1), (-LIMIT - 1, 0)])
def test_the_last_unit_of_cash(cash: int, ok: int) -> None:
    """A cross position that sells or buys one lot: its cash ends exactly at the bound, or one unit past it."""
    dsize = -1 if cash > 0 else 1
    quote = int(SCALE.worth(dsize, PRICE_MIN))
    held = [5, cash + quote, 0, 0, 0, 0, 0, 1, 0, 0]
    out = np.zeros(14, np.int64)
    assert run(plan, books(), np.array(held), np.array([dsize, quote, 0, 0, PRICE_MIN, 0, 0]), out) == ok
    assert int(out[2]) == (cash if ok else 0)


@given(st.lists(money, min_size=5, max_size=5), money, money, money, money, st.integers(-(2**60), 2**60))
def test_sums_one_leg_past_their_bounds_do_not_wrap(
    sums: list[int], old: int, new: int, transfer: int, cover: int, fee: int
) -> None:
    held, leg = np.zeros(10, np.int64), np.zeros(14, np.int64)
    if transfer:
        cover = 0
    held[0], held[1] = -SIZE_MAX, old
    leg[1], leg[2], leg[9], leg[10], leg[11] = SIZE_MAX, new, transfer, abs(cover), fee
    wanted = [
        sums[0] + new - old,
        sums[1] + transfer + abs(cover) - fee,
        sums[2] + fee,
        sums[3] + fee,
        sums[4] + SIZE_MAX,
    ]
    got = np.array(sums)
    assert run(add_sums, got, held, leg) == all(within(value) for value in wanted)
    assert got.tolist() == wanted


@given(legs(), money, money, st.one_of(st.just(0), money))
@example(([5, LIMIT, 0, 0, 0, 0, 0, 1, LIMIT, 0], -5, PRICE_MAX, 0, 0, PRICE_MAX), -LIMIT, LIMIT, 0)
@example(([5, 0, 0, 0, LIMIT, LIMIT, 1, 1, -LIMIT, 0], -5, PRICE_MAX, 0, 0, PRICE_MAX), LIMIT, 0, 0)
@example(([5, -LIMIT, 0, 0, -LIMIT, -LIMIT, 1, 1, LIMIT, 0], -5, PRICE_MAX, 0, 0, PRICE_MAX), 0, 0, LIMIT)
def test_an_exchange_anywhere_in_bounds_is_exact_or_refused(
    case: tuple[list[int], int, int, int, int, int], dcash: int, moved: int, reach: int
) -> None:
    held, dsize = case[0], case[1]
    out = np.zeros(14, np.int64)
    ok = run(exchange, books(), np.array(held), np.array([dsize, dcash, moved, max(0, reach)]), out)
    wanted = exchange_twin(held, dsize, dcash, moved, max(0, reach))
    assert ok == (wanted is not None)
    assert out.tolist() == (wanted or [0] * 14)


def exchange_twin(held: list[int], dsize: int, dcash: int, moved: int, reach: int) -> list[int] | None:
    """The leg of an exchange in unbounded integers, or None where a number leaves its bounds."""
    size, cash, idx, rem, cost, realised, isolated, leverage, free, _ = held
    index, scale = int(books().markets[0]["index_e6"]), 10**PRICE_EXP
    mark = int(books().markets[0]["mark"])
    pay, rem_after = divmod(-size * (index - idx) + rem, scale) if size and idx != index else (0, rem)
    after, settled = size + dsize, cash + pay
    total, transfer = settled + moved + dcash, moved
    bounded = [pay, settled, moved, settled + moved, total]
    if after == 0:
        rest = -total if total >= 0 or not isolated else min(-total, reach)
        total, transfer = total + rest, transfer + rest
    cost_after, gained = twins.next_cost(Lot(size, cost), dsize, -dcash)
    bounded += [free - transfer, cost_after, realised + gained]
    if abs(after) > SIZE_MAX or not all(within(value) for value in bounded):
        return None
    worth = math.floor(SCALE.worth(after, mark))
    large = leverage > 20 and notional_of(after, mark) > (100_000 if leverage <= 50 else 50_000) * 10**6
    return [
        1, after, total, rem_after, cost_after, realised + gained, free - transfer, worth, dcash, transfer, 0, 0,
        pay, int(large),
    ]  # fmt: skip


def test_an_index_far_from_a_large_position_is_refused_or_exact() -> None:
    """The largest position across 2**62 of index: over 2**64 before the division."""
    for idx in (LIMIT, -LIMIT, 10**9, 0):
        held = [-SIZE_MAX, 0, idx, 10**PRICE_EXP - 1, 0, 0, 1, 1, 0, 0]
        out = np.zeros(14, np.int64)
        quote = int(SCALE.worth(1, PRICE_MIN))
        run(plan, books(), np.array(held), np.array([1, quote, 0, 0, PRICE_MIN, 0, 0]), out)
        assert out.tolist() == (leg_twin(held, 1, quote, 0, 0, PRICE_MIN) or [0] * 14)
