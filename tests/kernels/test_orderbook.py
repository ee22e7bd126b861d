"""Books from snapshots and updates, best and impact prices, premium: kernel = twin, and by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kernels import orderbook as ob
from kernels.jit import kernel
from tests.kernels import orderbook_twin as twin
from tests.kernels.entries import int64s, run
from tests.kernels.orderbook_twin import ASKS, BIDS, Row

CAPACITY = 8


@kernel
def _excess_ratio(a: int, b: int, c: int, d: int) -> tuple[int, int]:
    return ob.excess_ratio_ppm(a, b, c, d)


class Pair:
    """The kernel's book and its twin, compared after every step."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.levels = np.full((2, capacity, 2), -9, np.int64)
        self.rows = np.zeros(1, ob.BOOK)
        self.twin = twin.Book(capacity)

    @property
    def book(self) -> np.void:
        return self.rows[0]

    def snapshot(self, rows: list[Row], update_id: int = 100) -> int:
        status = run(ob.apply_snapshot, self.levels, self.book, array(rows), update_id)
        assert status == self.twin.snapshot(rows, update_id)
        return self.compared(status)

    def update(self, rows: list[Row], first_id: int, last_id: int, previous_id: int) -> int:
        ids = first_id, last_id, previous_id
        status = run(ob.apply_update, self.levels, self.book, array(rows), *ids)
        assert status == self.twin.update(rows, *ids)
        return self.compared(status)

    def compared(self, status: int) -> int:
        state = ob.LOST if self.twin.lost else ob.FROM_SNAPSHOT if self.twin.fresh else ob.RUNNING
        assert (int(self.book["state"]), int(self.book["update_id"])) == (state, self.twin.update_id)
        for side, name in ((BIDS, "bids"), (ASKS, "asks")):
            count = int(self.book[name])
            assert self.levels[side, :count].tolist()[::-1] == [list(x) for x in self.twin.ranked(side)]
        assert run(ob.best, self.levels, self.book) == self.twin.best()
        return status

    def impact(self, side: int, notional: int, size_up: int) -> tuple[int, int]:
        return run(ob.impact_price, self.levels, self.book, side, notional, size_up)

    def premium(self, index: int, notional: int, exponent: int, limit: int) -> tuple[int, int]:
        return run(ob.book_premium_ppm, self.levels, self.book, index, notional, exponent, limit)


def array(rows: list[Row]) -> np.ndarray:
    return np.array(rows, np.int64).reshape(-1, 3)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["snapshot", "next", "next", "next", "old", "same", "gap", "overlap"]),
        st.lists(
            st.tuples(
                st.sampled_from([0, 0, 0, 1, 1, 1, 1, 2]),
                st.integers(1, 12) | st.just(0),
                st.sampled_from([0, 1, 2, 5, 2**63 - 1]),
            ),
            max_size=6,
        ),
    ),
    max_size=12,
)


@given(STEPS)
def test_books_against_the_twin(steps: list[tuple[str, list[Row]]]) -> None:
    pair = Pair(capacity=4)
    for kind, rows in steps:
        at = pair.twin.update_id
        if kind == "snapshot":
            pair.snapshot(rows, at + 10)
        else:
            ids = {
                "next": (at + 1, at + 5, at),
                "old": (at - 5, at - 1, at),
                "same": (at, at, at - 1),
                "gap": (at + 2, at + 5, at + 1),
                "overlap": (at - 2, at + 3, at - 3),
            }[kind]
            pair.update(rows, *ids)


def test_a_book_by_hand() -> None:
    pair = Pair()
    assert run(ob.best, pair.levels, pair.book) == (0, 0, 0, 0)
    assert pair.update([(0, 99, 1)], 101, 102, 100) == ob.NO_SNAPSHOT
    assert pair.snapshot([(0, 99, 5), (0, 100, 1), (0, 98, 7), (1, 102, 3), (1, 101, 2)]) == ob.APPLIED
    assert run(ob.best, pair.levels, pair.book) == (100, 1, 101, 2)
    assert pair.update([(0, 100, 0), (1, 101, 9), (1, 103, 0)], 90, 110, 80) == ob.APPLIED
    assert run(ob.best, pair.levels, pair.book) == (99, 5, 101, 9)
    assert pair.update([], 111, 120, 110) == ob.APPLIED
    assert pair.update([(0, 99, 1)], 111, 120, 110) == ob.OLD
    assert pair.update([(0, 99, 1)], 122, 130, 121) == ob.GAP
    assert pair.update([(0, 99, 1)], 121, 130, 120) == ob.NO_SNAPSHOT


def test_levels_come_and_go() -> None:
    """A deleted level leaves nothing behind that could be taken for one."""
    pair = Pair(capacity=4)
    pair.snapshot([(0, 10, 1), (0, 20, 2), (0, 30, 3), (0, 40, 4), (1, 50, 5)])
    for rows in (
        [(0, 20, 0)],
        [(0, 20, 0)],
        [(0, 40, 0), (0, 40, 0)],
        [(0, 40, 7)],
        [(1, 50, 0), (1, 50, 6)],
    ):
        at = pair.twin.update_id
        assert pair.update(rows, at + 1, at + 2, at) == ob.APPLIED
    assert pair.twin.ranked(BIDS) == [(40, 7), (30, 3), (10, 1)]
    assert pair.snapshot([(0, 11, 1)]) == ob.APPLIED
    assert run(ob.best, pair.levels, pair.book) == (11, 1, 0, 0)


@pytest.mark.parametrize(
    ("ids", "status"),
    [
        ((90, 99, 80), ob.OLD),
        ((90, 100, 80), ob.APPLIED),
        ((100, 101, 90), ob.APPLIED),
        ((101, 102, 90), ob.GAP),
        ((101, 102, 100), ob.APPLIED),
    ],
)
def test_the_first_update_reaches_the_snapshot_or_follows_it(ids: tuple[int, int, int], status: int) -> None:
    pair = Pair()
    pair.snapshot([(0, 7, 1)], update_id=100)
    assert pair.update([(0, 7, 2)], *ids) == status


@pytest.mark.parametrize("row", [(2, 5, 1), (-1, 5, 1), (0, 0, 1), (1, -1, 1), (0, 5, -1)])
def test_what_is_no_level_loses_the_book(row: Row) -> None:
    pair = Pair()
    assert pair.snapshot([(0, 7, 1), row]) == ob.BAD_LEVEL
    assert pair.update([], 100, 101, 100) == ob.NO_SNAPSHOT


def test_a_full_side_still_takes_changes_but_no_new_level() -> None:
    pair = Pair(capacity=2)
    assert pair.snapshot([(1, 5, 1), (1, 6, 1), (1, 5, 3), (1, 6, 0), (1, 4, 1)]) == ob.APPLIED
    assert pair.update([(1, 7, 1)], 100, 101, 100) == ob.BOOK_FULL
    assert int(pair.book["state"]) == ob.LOST
    assert run(ob.set_level, pair.levels, ASKS, 2, 9, 1) == -1


sizes = st.one_of(st.integers(1, 50), st.integers(1, 2**63 - 1))
prices = st.one_of(st.integers(1, 60), st.integers(1, 2**40))
books = st.lists(st.tuples(st.integers(0, 1), prices, sizes), max_size=7)
notionals = st.one_of(st.integers(-1, 500), st.integers(0, 2**62), st.just(2**63 - 1))


@given(books, st.integers(0, 1), notionals, st.integers(0, 1))
def test_impact_against_the_twin(rows: list[Row], side: int, notional: int, size_up: int) -> None:
    """Where the denominator is beyond int64 the kernel may refuse; it never answers otherwise."""
    pair = Pair()
    pair.snapshot(rows)
    wanted = pair.twin.impact(side, notional, bool(size_up))
    got = pair.impact(side, notional, size_up)
    assert got == wanted or (got == (0, ob.REFUSED) and notional > 2**52)


@given(books, st.integers(0, 1), st.integers(1, 500))
def test_impact_never_improves_with_size(rows: list[Row], side: int, notional: int) -> None:
    pair = Pair()
    pair.snapshot(rows)
    best = pair.impact(side, 0, 0)
    small, large = pair.impact(side, notional, 0), pair.impact(side, 2 * notional, 0)
    if large[1] == ob.PRICED:
        away = 1 if side == ASKS else -1
        assert small[1] == ob.PRICED
        assert away * best[0] <= away * small[0] <= away * large[0]


def test_impact_by_hand() -> None:
    """100 at 10, then 5 more: 105 for 10 + 5/11 sold below; 150 bought at 12 then 15."""
    pair = Pair()
    pair.snapshot([(0, 10, 10), (0, 8, 100), (1, 12, 10), (1, 15, 2)])
    assert pair.impact(BIDS, 100, 0) == (10, ob.PRICED)
    assert pair.impact(BIDS, 180, 0) == (9, ob.PRICED)
    assert pair.impact(BIDS, 101, 1) == (round(Fraction(101, 11)), ob.PRICED)
    assert pair.impact(ASKS, 150, 0) == (round(Fraction(150, 12)), ob.PRICED)
    assert pair.impact(ASKS, 151, 0) == (0, ob.SHORT)
    assert pair.impact(ASKS, -1, 0) == (0, ob.REFUSED)
    assert Pair().impact(ASKS, 0, 0) == (0, ob.SHORT)


@pytest.mark.parametrize(
    ("price", "size", "exponent", "wanted"),
    [
        (1, 99, -2, (0, 1)),
        (1, 100, -2, (1, 1)),
        (7, 3, 0, (21, 1)),
        (7, 3, 2, (2100, 1)),
        (2**62, 2, 0, (0, 0)),
        (2**62, 2, 1, (0, 0)),
        (2**31, 2**31, 1, (0, 0)),
        (2**61, 2**61, -18, (2**122 // 10**18, 1)),
        (2**62, 2**62, -17, (0, 0)),
    ],
)
def test_quote_of_a_level(price: int, size: int, exponent: int, wanted: tuple[int, int]) -> None:
    assert run(ob.quote_of_level, price, size, exponent) == wanted


def test_a_walk_that_finds_no_price_says_nothing_else() -> None:
    """Too few levels, a level's quote past int64, whole levels whose sizes do not add up."""
    pair = Pair()
    pair.snapshot([(0, 3, 5), (1, 3, 2**62), (1, 2, 2**62)])
    assert run(ob.walk, pair.levels, BIDS, 1, 15, 0) == (ob.PRICED, 0, 0, 15, 15)
    assert run(ob.walk, pair.levels, BIDS, 1, 16, 0) == (ob.SHORT, 0, 0, 0, 0)
    assert run(ob.walk, pair.levels, ASKS, 2, 1, 0) == (ob.REFUSED, 0, 0, 0, 0)
    assert run(ob.walk, pair.levels, ASKS, 2, 10**6, -18) == (ob.REFUSED, 0, 0, 0, 0)


def test_an_impact_price_whose_size_passes_int64_is_refused() -> None:
    """2**61 taken at 1 count 1,024 times as much in units of the next level's price."""
    pair = Pair()
    pair.snapshot([(1, 1, 2**61), (1, 1024, 1024)])
    assert pair.impact(ASKS, 2**61, 0) == (1, ob.PRICED)
    assert pair.impact(ASKS, 2**61 + 5, 0) == (0, ob.REFUSED)


small_books = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 60), st.integers(1, 50)), max_size=7)


@given(
    small_books,
    st.integers(-1, 70),
    st.one_of(st.integers(-1, 500), st.integers(0, 5000)),
    st.integers(-2, 2),
    st.sampled_from([10**6, 10**5, 0]),
)
def test_premium_against_the_twin(
    rows: list[Row], index: int, notional: int, exponent: int, limit: int
) -> None:
    pair = Pair()
    pair.snapshot(rows)
    got = pair.premium(index, notional, exponent, limit)
    assert got == pair.twin.premium_ppm(index, notional, exponent, limit)


@given(
    books,
    st.one_of(int64s, st.integers(1, 2**42)),
    notionals,
    st.integers(-19, 19),
    st.integers(0, 2**62),
)
def test_premium_is_refused_or_exact(
    rows: list[Row], index: int, notional: int, exponent: int, limit: int
) -> None:
    pair = Pair()
    pair.snapshot(rows)
    got = pair.premium(index, notional, exponent, limit)
    assert got == (0, 0) or got == pair.twin.premium_ppm(index, notional, exponent, limit)
    assert got[1] == 1 or not (-18 <= exponent <= -10 and 0 < index < 2**42 and 0 <= notional < 2**42)


def test_premium_refuses_by_exponent_and_where_sizes_do_not_add_up() -> None:
    pair = Pair()
    pair.snapshot([(0, 10, 2**63 - 1), (0, 9, 2**63 - 1)])
    for exponent, wanted in ((-19, (0, 0)), (-18, (10**6, 1)), (18, (10**6, 1)), (19, (0, 0))):
        assert pair.premium(5, 0, exponent, 10**6) == wanted
    assert pair.premium(5, 150, -18, 10**6) == (0, 0)


@pytest.mark.parametrize(
    ("rows", "index", "wanted"),
    [
        ([(0, 3, 1)], 1, (2 * 10**6, 1)),
        ([(0, 3, 1)], 3, (0, 1)),
        ([(0, 3, 1)], 4, (0, 1)),
        ([(1, 3, 1)], 4, (-250_000, 1)),
        ([(1, 1, 1)], 2, (-500_000, 1)),
        ([(1, 3, 1)], 3, (0, 1)),
        ([(0, 10, 1), (1, 8, 1)], 10, (-200_000, 1)),
        ([(0, 10, 1), (1, 8, 1)], 9, (111_111, 1)),
        ([(0, 10**13, 1)], 1, (10**7, 1)),
    ],
)
def test_premium_of_a_best_price(rows: list[Row], index: int, wanted: tuple[int, int]) -> None:
    """Bids above the index come first, also in a crossed book; what passes int64 is the limit."""
    pair = Pair()
    pair.snapshot(rows)
    assert pair.premium(index, 0, 0, 10**7) == pair.twin.premium_ppm(index, 0, 0, 10**7) == wanted


@pytest.mark.parametrize(
    ("rows", "index", "notional", "exponent", "wanted"),
    [
        ([(0, 10, 2**62)], 5, 100, 0, (0, 0)),
        ([(0, 10, 2**62)], 10, 100, 0, (0, 1)),
        ([(1, 10, 2**62)], 10, 100, 0, (0, 1)),
        ([(0, 2**50, 2**62)], 2**49, 2**52, -18, (0, 0)),
        ([(1, 1, 1), (1, 2**60, 1)], 2, 2**59, 0, (0, 1)),
        ([(0, 2**40, 2**10)], 1, 2**49, 0, (10**7, 1)),
    ],
)
def test_premium_of_what_does_not_fit(
    rows: list[Row], index: int, notional: int, exponent: int, wanted: tuple[int, int]
) -> None:
    """Refused where it would count; of a side that does not reach past the index nothing is asked; an impact
    price far on the wrong side of the index is no premium."""
    pair = Pair()
    pair.snapshot(rows)
    assert pair.premium(index, notional, exponent, 10**7) == wanted


M63 = 2**63


@pytest.mark.parametrize(
    ("given_four", "wanted"),
    [
        ((10**6 - M63, 1, 10**6, 1), (-M63, 1)),
        ((10**6 + 1 - M63, 1, 10**6, 1), (1 - M63, 1)),
        ((10**6 - 1 - M63, 1, 10**6, 1), (0, 2)),
        ((542551296285633871, 17, 10**6, 1), (M63 - 1, 1)),
        ((2**62 + 500_000, 2, 10**6, 1), (0, 2)),
        ((1, 1, 2**53, 2**53), (0, 0)),
        ((1, 1, 2**53 - 1, 2**53 + 1), (-999_999, 1)),
        ((1, 1, 0, 1), (0, 0)),
        ((1, 1, -1, 1), (0, 0)),
        ((6, 7, 7, 6), (0, 1)),
    ],
)
def test_excess_ratio_at_the_edges_of_its_range(given_four: tuple[int, ...], wanted: tuple[int, int]) -> None:
    assert run(_excess_ratio, *given_four) == twin.excess_ratio_ppm(*given_four) == wanted


@given(int64s, int64s, int64s, int64s)
def test_excess_ratio_against_the_twin(a: int, b: int, c: int, d: int) -> None:
    assert run(_excess_ratio, a, b, c, d) == twin.excess_ratio_ppm(a, b, c, d)


@given(st.integers(1, 2**53), st.integers(1, 2**52), st.integers(-3, 3), st.integers(0, 10**7))
def test_excess_ratio_near_whole_ppm(c: int, d: int, beside: int, ppm: int) -> None:
    a = c * d * (10**6 + ppm) // 10**6 + beside
    assume(abs(a) < 2**63)
    assert run(_excess_ratio, a, 1, c, d) == twin.excess_ratio_ppm(a, 1, c, d)


@given(small_books, st.integers(1, 10**9))
def test_linear_levels(rows: list[Row], numerator: int) -> None:
    pair = Pair()
    pair.snapshot(rows)
    out = np.full_like(pair.levels, -9)
    assert run(ob.linear_levels, pair.levels, pair.book, numerator, out) == 1
    for side, name in ((BIDS, "bids"), (ASKS, "asks")):
        count = int(pair.book[name])
        wanted = [[p, round(Fraction(s * numerator, p))] for p, s in pair.twin.ranked(side)[::-1]]
        assert out[side, :count].tolist() == wanted
        assert (out[side, count:] == -9).all()


def test_linear_levels_refuses_what_does_not_fit() -> None:
    pair = Pair()
    pair.snapshot([(1, 1, 2**62)])
    assert run(ob.linear_levels, pair.levels, pair.book, 4, np.zeros_like(pair.levels)) == 0
