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
from engine.core.apply import DONE, Machine, apply_frames, new_parcel
from engine.core.fast_fills import BLOCK, SNUG
from engine.core.state import Books
from engine.core.views import Scratch, Views, new_scratch, views_of
from kernels.frames import FILL, ObservationKind, SettingKind, Template, TransferKind
from kernels.layouts import ACCOUNT_CROSS, LIMIT, PRICE_MAX, PRICE_MIN
from tests.engine.core.builders import HOUR_NS, PRICE, SCALES, Script, array_of, genesis, views
from tests.engine.core.twins import differences

FAR_AHEAD = 1 << 40
EXPOS = [lot_exp - price_exp for price_exp, lot_exp in SCALES]


class Left(NamedTuple):
    """What applying frames left: results, legs, witness, and how many fills went the short way."""

    results: bytes
    legs: bytes
    witness: int
    plain: int


def frames_applied(books: Books, seen: Views, scratch: Scratch, start: int, stop: int) -> tuple[int, ...]:
    """What `Machine.apply` calls, with a scratch of ours."""
    parcel = new_parcel()
    for number, arrays in enumerate((books, seen, scratch)):
        parcel.put(number, arrays)
    return apply_frames(parcel.words, start, stop, start, 0)


def apply_short(books: Books, seen: Views, count: int) -> Left:
    """All frames in one call, as the engine does, over what calls before left in the scratch."""
    scratch = new_scratch(count)
    scratch.legs_flat[:] = -7
    scratch.results.view(np.uint8)[:] = 249
    at, n_legs, why = frames_applied(books, seen, scratch, 0, count)
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
        _, n_legs, why = frames_applied(books, seen, scratch, i, i + 1)
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


@given(st.lists(sizes, min_size=1, max_size=3 * BLOCK), st.integers(-40, 40))
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


@pytest.mark.parametrize("size", [-(2**63), 2**63 - 1, 1 - 2**63, -(2**37) - 1, 2**37 + 1])
@pytest.mark.parametrize("left", [0, 100])
def test_a_size_off_scale_is_refused_even_where_both_sides_are_empty(size: int, left: int) -> None:
    """The absolute value of the least int64 is negative: it once divided by zero, which ends the process."""
    change = {"position1.size": -left, "position2.size": left}
    short, machine = both_ways(past(), change, fill_of(1, 2, size, PRICE))
    assert short.plain == 0
    assert machine.state.number("refused") == 1


@pytest.mark.parametrize("missing", [LIMIT, LIMIT - 10**12, LIMIT // 2])
def test_a_balance_does_not_hide_a_cash_past_its_bound(missing: int) -> None:
    """Cash of -L and a balance of L: the transfer would bring both back among the plain numbers."""
    change = {"position2.cash": -missing, "account2.free_e6": missing}
    left, machine = both_ways(past(), change, fill_of(1, 2, 5, PRICE))
    assert left.plain == 0
    assert machine.state.number("refused") == (1 if missing == LIMIT else 0)


def mixed(script: Script, k: int, what: int, size: int) -> None:
    """The `k`-th frame of a stream: mostly fills between few accounts, else anything that may stand among them."""
    maker, taker, market = 1 + k % 4, 1 + (k + 1 + abs(size) % 3) % 4, k // 4 % 3
    if what == 0:
        script.seconds(1)
    elif what == 1:
        script.tick((script.now_ns // HOUR_NS + 1) * HOUR_NS)
    elif what == 2:
        script.deposit(maker, 10**9 + abs(size))
    elif what == 3:
        script.setting(maker, SettingKind.LEVERAGE, 1 + abs(size) % 50, market=market)
    elif what == 4:
        script.setting(maker, SettingKind.MARGIN_MODE, abs(size) % 2, market=market)
    elif what == 5:
        script.move(TransferKind.TO_POSITION, maker, 1 + abs(size), market=market)
    elif what == 6:
        script.observe(PRICE + size * 1000, market=market, expo=EXPOS[market], kind=ObservationKind.MID)
    elif what == 7:
        script.account(100 + k, deposit_e6=10**10)
    elif what == 8:
        script.fill(maker, taker, size, PRICE * (1 + size % 2), market=market)
    else:
        script.fill(maker, taker, size, PRICE + size * 1000, market=market)


def grouped(frames: list[bytes], group: int) -> tuple[Left, Machine]:
    """The frames by `Machine.apply`, so many in a call."""
    machine, seen = machine_of(past()), views(frames)
    results, legs = [], []
    for start in range(0, len(frames), group):
        applied = machine.apply(seen, start, min(start + group, len(frames)))
        results.append(applied.results.tobytes())
        legs.append(applied.legs.tobytes())
    plain = int(machine._scratch.ahead[1])
    return Left(b"".join(results), b"".join(legs), machine.witness, plain), machine


def same_however_grouped(frames: list[bytes]) -> Left:
    """The frames in one call, in calls of 1 and of 7, and all fills the long way: equal to the byte."""
    long_machine = machine_of(past(), room=len(frames))
    long = apply_long(long_machine.books, views(frames), len(frames))
    for group in (len(frames), 7, 1):
        short, machine = grouped(frames, group)
        assert short[:3] == long[:3]
        assert differences(machine.state.sections(), long_machine.state.sections()) == []
        assert machine.state.digest() == long_machine.state.digest()
    return short


fill_sizes = st.integers(-60, 60).filter(bool)
streams = st.lists(
    st.tuples(st.sampled_from([*range(9), *[9] * 20]), fill_sizes), min_size=1, max_size=4 * BLOCK
)


def continued() -> Script:
    """A script that goes on after `past`."""
    script = genesis(deposit_e6=10**12)
    script.fill(1, 2, 100, PRICE)
    script.frames = []
    return script


@given(streams)
def test_fills_among_everything_else(stream: list[tuple[int, int]]) -> None:
    """Prices, funding, deposits, settings, new accounts and halts between the fills of one call."""
    script = continued()
    for k, (what, size) in enumerate(stream):
        mixed(script, k, what, size)
    same_however_grouped(script.frames)


def test_a_long_stream_is_mostly_plain_in_spite_of_what_stands_between() -> None:
    script = continued()
    for market, expo in enumerate(EXPOS):
        script.observe(PRICE, market=market, expo=expo, kind=ObservationKind.MID)
    for k in range(600):
        mixed(script, k, k // 10 % 9 if k % 10 == 9 else 9, 1 + k % 50 if k % 3 else -1 - k % 50)
    assert same_however_grouped(script.frames).plain > 100


def test_words_of_any_frame_may_be_looked_up() -> None:
    """Whatever stands further on is read as if it were a fill: accounts and markets far out of the tables."""
    script = continued()
    random = np.random.default_rng(5)
    for k in range(300):
        script.fill(1 + k % 2, 2 - k % 2, 1 + k % 9, PRICE)
    frames = array_of(script.frames).view(FILL)
    strange = np.flatnonzero(random.integers(0, 3, 300) == 0)
    words = frames.view(np.int64).reshape(-1, 8)
    words[strange, 2:7] = random.integers(-(2**63), 2**63, (len(strange), 5))
    frames["market"][strange] = random.choice([-(2**15), -1, 0, 3, 255, 256, 2**15 - 1], len(strange))
    frames["template"][strange] = random.choice(
        [Template.FILL, Template.OUTCOME, Template.CANDIDATE], len(strange)
    )
    for name in ("maker", "taker"):
        edge = strange[random.integers(0, 2, len(strange)) == 0]
        frames[name][edge] = random.choice([-1, 0, 1, 6, 1023, 1024, 2**31 - 1, -(2**31)], len(edge))
    raw = [row.tobytes() for row in frames]
    assert same_however_grouped(raw).plain > 150


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
