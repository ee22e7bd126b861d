"""Plain fills booked the short way leave what the long way leaves, to the byte, and others leave it no trace."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench._fills import Traders
from engine.core import fast_fills
from engine.core.apply import DONE, Machine, apply_frames
from engine.core.fast_fills import NEAR, SNUG
from engine.core.state import Books
from engine.core.views import Views, new_scratch, views_of
from kernels.frames import FILL, SettingKind
from kernels.layouts import ACCOUNT_CROSS, LIMIT, PRICE_MAX, PRICE_MIN
from tests.engine.core.builders import PRICE, Script, array_of, genesis, views
from tests.engine.core.twins import differences

FAR_AHEAD = 1 << 40


class Left(NamedTuple):
    """What applying frames left: results, legs, witness, and how many fills went the short way."""

    results: bytes
    legs: bytes
    witness: int
    plain: int


def apply_short(books: Books, seen: Views, count: int) -> Left:
    """All frames in one call, as the engine does, over what calls before left in the scratch."""
    scratch = new_scratch(count)
    scratch.legs_flat[:] = -7
    scratch.results.view(np.uint8)[:] = 249
    at, n_legs, why = apply_frames(books, seen, scratch, 0, count, 0, 0)
    assert (at, why) == (count, DONE)
    witness, plain = int(books.witness[0]), int(scratch.ahead[1])
    return Left(scratch.results.tobytes(), scratch.legs[:n_legs].tobytes(), witness, plain)


def apply_long(books: Books, seen: Views, count: int) -> Left:
    """A frame at a time, no slot ever looked up: every fill takes the long way."""
    results, legs, plain = [], [], 0
    for i in range(count):
        scratch = new_scratch(1)
        scratch.slots[:] = -1
        scratch.ahead[0] = FAR_AHEAD
        _, n_legs, why = apply_frames(books, seen, scratch, i, i + 1, i, 0)
        assert why == DONE
        plain += int(scratch.ahead[1])
        results.append(scratch.results.tobytes())
        legs.append(scratch.legs[:n_legs].tobytes())
    return Left(b"".join(results), b"".join(legs), int(books.witness[0]), plain)


def machine_of(frames: list[bytes], room: int = 64) -> Machine:
    machine = Machine(capacity=4096)
    machine.apply(views(frames), 0, len(frames))
    machine.state.reserve(room)
    return machine


def both_ways(frames: list[bytes], change: dict[str, int], fills: np.ndarray) -> tuple[Left, Machine]:
    """The fills on two machines with the same past and the same numbers put into it, compared whole."""
    ways = []
    for apply in (apply_short, apply_long):
        machine = machine_of(frames)
        put(machine, change)
        ways.append((apply(machine.books, views_of(fills.copy()), len(fills)), machine))
    (short, a), (long, b) = ways
    assert differences(a.state.sections(), b.state.sections()) == []
    assert short[:3] == long[:3]
    assert long.plain == 0
    return short, a


def put(machine: Machine, change: dict[str, int]) -> None:
    """Numbers into the books by name: `position1.cash` is account 1's, `market.mark` market 0's, `largest.e6`
    any tier's."""
    books = machine.books
    for name, value in change.items():
        of, field = name.split(".")
        if of == "market":
            books.markets[0][field] = value
        elif of == "meta":
            books.meta[0][field] = value
        elif of == "largest":
            books.initial_at[:, 2] = value
        else:
            rows = books.positions if of.startswith("position") else books.accounts
            number = int(of[-1])
            rows[number - 1 if of.startswith("position") else number][field] = value


@functools.cache
def past() -> list[bytes]:
    """Accounts 1 to 5; in market 0 account 1 is short 100 lots and account 2 long as many: slots 0 and 1."""
    script = genesis(deposit_e6=10**12)
    script.fill(1, 2, 100, PRICE)
    return script.frames


def fill_of(maker: int, taker: int, size: int, price: int, count: int = 1) -> np.ndarray:
    """The next `count` fills after `past`."""
    script = Script()
    script.last_seq = {0: 0}
    for _ in range(count):
        script.fill(maker, taker, size, price)
    frames = array_of(script.frames).view(FILL)
    frames["seq"] += 1
    return frames


sizes = st.one_of(st.integers(-300, 300), st.sampled_from([100, -100, 99, -101, 10**6, -(10**6)])).filter(
    bool
)


@given(st.lists(sizes, min_size=1, max_size=3 * NEAR), st.integers(-40, 40))
def test_fills_between_two(traded: list[int], off: int) -> None:
    """Open, add, reduce, close, flip: many in one call, so that some are looked up ahead of others they touch."""
    script = Script()
    for k, size in enumerate(traded):
        script.fill(1 + k % 2, 2 - k % 2, size, PRICE + off * (PRICE // 10_000))
    fills = array_of(script.frames).view(FILL)
    fills["seq"] += 1
    left, _ = both_ways(past(), {}, fills)
    if max(map(abs, traded)) < 300:
        assert left.plain > 0


edges = [0, 1, -1, SNUG - 1, SNUG, SNUG + 1, -SNUG, -SNUG - 1, SNUG // 2, LIMIT, LIMIT - 1, -LIMIT, 1 - LIMIT]
fields = [
    *(f"position{n}.{name}" for n in (1, 2) for name in ("cash", "cost_e6", "realised_e6", "rem")),
    *(f"account{n}.free_e6" for n in (0, 1, 2)),
    *(f"market.{name}" for name in ("sum_cash", "moved_in", "fees_e6", "open_interest", "mark", "oracle")),
    "meta.house_e6",
]
near_an_edge = st.tuples(st.sampled_from(edges), st.integers(-(10**4), 10**4)).map(
    lambda pair: max(-LIMIT, min(LIMIT, sum(pair)))
)
prices = st.one_of(st.integers(PRICE_MIN, PRICE_MAX), st.just(PRICE), st.sampled_from([PRICE_MIN, PRICE_MAX]))


@given(st.dictionaries(st.sampled_from(fields), near_an_edge, max_size=4), sizes, prices)
def test_numbers_at_the_bounds(change: dict[str, int], size: int, price: int) -> None:
    """Whatever the books hold: the same fill is booked or refused the same way, halts and outputs included."""
    for name in ("market.mark", "market.oracle"):
        if name in change:
            change[name] = min(PRICE_MAX, abs(change[name]))
    both_ways(past(), change, fill_of(1, 2, size, price))


@given(st.integers(-(2**37), 2**37), st.integers(-(2**37), 2**37), st.integers(1, 2**37), prices)
def test_sizes_up_to_the_largest(first: int, second: int, size: int, price: int) -> None:
    bound = int(machine_of(past()).books.markets[0]["size_max"])
    change = {"position1.size": first % bound, "position2.size": -(second % bound)}
    both_ways(past(), change, fill_of(2, 1, size % bound + 1, price))


@pytest.mark.parametrize(
    ("change", "maker", "taker", "size"),
    [
        ({"position1.mode": 1, "account1.flags": ACCOUNT_CROSS}, 1, 2, 5),
        ({"account2.flags": ACCOUNT_CROSS}, 1, 2, 5),
        ({"position1.idx": -7}, 1, 2, 5),
        ({"position1.flags": 1}, 1, 2, 5),
        ({"position2.cash": -(10**13)}, 1, 2, -100),
        ({"market.mark": PRICE * 2}, 1, 2, 5),
        ({"position1.cash": -(10**12), "account1.free_e6": 0}, 1, 2, 5),
        ({"market.active": 0}, 1, 2, 5),
        ({}, 1, 1, 5),
        ({}, 1, 3, 5),
        ({}, 1, 6, 5),
        ({}, 0, 1, 5),
        ({}, 1, 2, 2**40),
    ],
    ids=[
        "cross", "account with a cross side", "funding due", "too large before", "deficit at the close",
        "off the band", "below zero", "unknown market", "self-trade", "new position", "unknown account", "insurance",
        "too large",
    ],
)  # fmt: skip
def test_what_is_not_plain_takes_the_long_way(
    change: dict[str, int], maker: int, taker: int, size: int
) -> None:
    left, _ = both_ways(past(), change, fill_of(maker, taker, size, PRICE))
    assert left.plain == 0


LARGEST = 2**57 // (PRICE_MAX * 100)
"""Largest size of market 0 whose quote takes the short way."""


@pytest.mark.parametrize(
    ("field", "value", "plain"),
    [
        ("size", 5, 1),
        ("template", 2, 0),
        ("template", 32, 0),
        ("market", -1, 0),
        ("market", 3, 0),
        ("seq", 1, 0),
        ("seq", 3, 0),
        ("maker", 0, 0),
        ("taker", 0, 0),
        ("maker", -1, 0),
        ("maker", 2, 0),
        ("maker", 5, 1),
        ("maker", 6, 0),
        ("taker", 6, 0),
        ("taker", 7, 0),
        ("size", 0, 0),
        ("size", 1, 1),
        ("size", -1, 1),
        ("size", LARGEST, 1),
        ("size", LARGEST + 1, 0),
        ("size", -LARGEST, 1),
        ("size", -LARGEST - 1, 0),
        ("price", PRICE_MIN, 1),
        ("price", PRICE_MIN - 1, 0),
        ("price", PRICE_MAX, 1),
        ("price", PRICE_MAX + 1, 0),
    ],
)
def test_a_plain_frame_is_next_known_and_on_scale(field: str, value: int, plain: int) -> None:
    """Three markets, accounts 1 to 5. What is refused here the long way judges."""
    fills = fill_of(1, 2, 5, PRICE)
    assert fills["seq"][0] == 2
    fills[field] = value
    books = machine_of(past()).books
    assert books.quote_by[0, 2] == LARGEST
    assert fast_fills.is_plain_frame(books, views_of(fills).fill[0]) == plain
    both_ways(past(), {}, fills)


@pytest.mark.parametrize("name", ["account", "market", "mode", "flags", "idx"])
def test_a_plain_position_is_the_account_s_own_isolated_and_settled(name: str) -> None:
    position = machine_of(past()).books.positions[1]
    assert fast_fills.is_plain_position(position, 2, 0, 0) == 1
    position[name] += 1
    assert fast_fills.is_plain_position(position, 2, 0, 0) == 0


@pytest.mark.parametrize(
    "name",
    [
        *(f"position{n}.{field}" for n in (1, 2) for field in ("cash", "cost_e6", "realised_e6")),
        *(f"account{n}.free_e6" for n in (1, 2)),
        *(f"market.{field}" for field in ("sum_cash", "moved_in", "fees_e6", "open_interest")),
        "meta.house_e6",
    ],
)
def test_a_number_near_a_bound_is_not_plain(name: str) -> None:
    """Any single one, in a fill that is otherwise: past LIMIT only the long way refuses it."""
    fills = fill_of(1, 2, 5, PRICE)
    for value, plain in ((SNUG // 2, 1), (SNUG + 10**13, 0), (LIMIT, 0)):
        left, _ = both_ways(past(), {name: value}, fills)
        assert left.plain == plain


@pytest.mark.parametrize(("beyond", "plain"), [(0, 1), (1, 0)])
def test_a_position_is_plain_up_to_its_tier(beyond: int, plain: int) -> None:
    """105 lots of either side after the fill."""
    largest = 105 * PRICE * 100 - beyond
    left, _ = both_ways(past(), {"largest.e6": largest}, fill_of(1, 2, 5, PRICE))
    assert left.plain == plain


@pytest.mark.parametrize(("beyond", "plain"), [(0, 1), (1, 0)])
@pytest.mark.parametrize(
    "change", [{"position1.size": 5 - LARGEST, "position1.cash": 10**16}, {"position2.size": LARGEST - 5}]
)
def test_either_position_is_plain_up_to_the_largest_size(
    change: dict[str, int], beyond: int, plain: int
) -> None:
    change = {name: value + beyond * (1 if value > 0 else -1) for name, value in change.items()}
    left, _ = both_ways(past(), change, fill_of(1, 2, 5, PRICE))
    assert left.plain == plain


@pytest.mark.parametrize("account", [1023, 1024, 1025, 2**31 - 1, -1])
def test_an_account_past_the_last_row_is_not_looked_up(account: int) -> None:
    fills = fill_of(1, 2, 5, PRICE, count=3)
    fills["maker"][1] = account
    left, machine = both_ways(past(), {}, fills)
    assert (left.plain, machine.state.number("refused")) == (2, 1)


def test_a_wrong_sequence_stops_no_fill_after_it() -> None:
    fills = fill_of(1, 2, 5, PRICE, count=40)
    fills["seq"][20] += 5
    fills["seq"][21:] -= 1
    left, machine = both_ways(past(), {}, fills)
    assert left.plain == 39
    assert machine.state.number("refused") == 1


def test_nearly_all_fills_of_a_market_are_plain() -> None:
    """Random traders, every position looked up by its account's row or, past eight markets, by the table."""
    traders = Traders(markets=12, accounts=40)
    frames = [row.tobytes() for part in traders.opening() for row in part]
    left, machine = both_ways(frames, {}, traders.fills(3000).view(FILL))
    assert left.plain >= 2990
    assert machine.state.number("refused") == 0


@pytest.mark.parametrize(("own1", "own2"), [(3, 10), (1, 2)])
def test_leverage_of_its_own_is_margined_as_the_long_way_does(own1: int, own2: int) -> None:
    script = genesis(deposit_e6=10**12)
    script.fill(1, 2, 100, PRICE)
    for account, leverage in ((1, own1), (2, own2)):
        script.setting(account, SettingKind.LEVERAGE, leverage)
    left, _ = both_ways(script.frames, {}, fill_of(1, 2, 7, PRICE, count=5))
    assert left.plain == 5


def test_the_bound_of_plain_numbers_is_below_every_bound() -> None:
    assert fast_fills.SNUG == 1 << fast_fills.SNUG_BITS - 1 <= LIMIT // 8
