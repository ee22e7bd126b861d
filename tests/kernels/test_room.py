"""The incremental sweep names what the full one names, on every step of a random walk."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import room, slots, sweep, touched
from kernels.layouts import PRICE_MAX, PRICE_MIN
from kernels.margin import PRICE_WIDE
from kernels.room import MOVE_MAX, ROOM_MAX, ROOM_NEVER, ROOM_NONE
from kernels.sweep import FLAG_FAULT, FLAG_LIQUIDATABLE
from relayer.verify import model_margin as model
from relayer.verify.model_margin import Holding, Market, Tier
from tests.kernels.entries import run
from tests.kernels.margins import (
    PUBLISHED,
    holdings,
    markets,
    position_rows,
    prices,
    put_holding,
    risk_rows,
    tables,
    tier_index,
    tier_rows,
)
from tests.kernels.test_sweep import account_rows, listed
from tests.kernels.twins import I64_MAX

MARKED = FLAG_LIQUIDATABLE | FLAG_FAULT
ACCOUNTS = 4


class World:
    """Positions, accounts and markets, swept in both ways."""

    def __init__(self, given_markets: list[Market], rows: np.ndarray, free: list[int], tiers: list[Tier]):
        self.markets, self.rows, self.accounts = given_markets, rows, account_rows(free)
        self.table = tier_rows(tiers)
        self.index = tier_index(self.table)
        self.first, self.members = listed(rows, len(free))
        self.heads, self.following = np.zeros(len(free), np.int32), np.zeros(len(rows), np.int32)
        run(slots.index_cross, self.heads, self.following, rows, len(rows))
        self.rooms = np.zeros(len(rows), np.int32)
        self.account_rooms = np.zeros(len(free), np.int32)
        self.set_anchor()

    def set_anchor(self) -> None:
        """Take the prices of now as the anchor and every room from there."""
        self.anchor = risk_rows(self.markets)
        tail = (self.anchor, self.table, self.index)
        run(room.anchor_positions, self.rows, 0, len(self.rows), *tail, self.rooms)
        n = len(self.accounts)
        run(room.anchor_accounts, self.accounts, 0, n, *self.lists, *tail, self.account_rooms)

    @property
    def lists(self) -> tuple[np.ndarray, ...]:
        """Positions, and each account's cross ones as the books list them."""
        return self.rows, self.heads, self.following, touched.new_members()

    def touch(self, slot: int) -> None:
        """Take the room of a slot and of its account anew."""
        tail = (self.anchor, self.table, self.index)
        run(room.anchor_positions, self.rows, slot, slot + 1, *tail, self.rooms)
        a = int(self.rows[slot]["account"])
        run(room.anchor_accounts, self.accounts, a, a + 1, *self.lists, *tail, self.account_rooms)

    def full(self) -> tuple[list[int], list[int]]:
        """Marked slots and accounts of the full sweep."""
        risk, tail = risk_rows(self.markets), (self.table, self.index)
        ratios, flags = np.zeros(len(self.rows), np.int64), np.zeros(len(self.rows), np.int8)
        run(sweep.sweep_positions, self.rows, 0, len(self.rows), risk, *tail, ratios, flags, sweep.new_work())
        n = len(self.accounts)
        account_ratios, account_flags = np.zeros(n, np.int64), np.zeros(n, np.int8)
        lists = (self.rows, self.first, self.members)
        run(sweep.sweep_accounts, self.accounts, 0, n, *lists, risk, *tail, account_ratios, account_flags)
        return np.flatnonzero(flags & MARKED).tolist(), np.flatnonzero(account_flags & MARKED).tolist()

    def incremental(self) -> tuple[list[int], list[int]]:
        """The same by rooms."""
        risk, tail = risk_rows(self.markets), (self.table, self.index)
        moves = np.zeros(len(self.markets), np.int64)
        widest = run(room.move_markets, self.anchor, risk, len(self.markets), moves)
        assert widest == moves.max()
        found, n = np.zeros(len(self.rows), np.int64), len(self.accounts)
        count = run(room.out_of_room, self.rooms, 0, len(self.rows), widest, found)
        kept = run(room.recheck_positions, found, count, self.rows, risk, moves, self.rooms, *tail)
        near = np.zeros(n, np.int64)
        count = run(room.out_of_room, self.account_rooms, 0, n, widest, near)
        lists = self.accounts, *self.lists
        held = run(room.recheck_accounts, near, count, *lists, risk, moves, self.account_rooms, *tail)
        return found[:kept].tolist(), near[:held].tolist()


@st.composite
def near_holdings(draw: st.DrawFn, market: Market) -> Holding:
    """Positions of some USDC with a margin of a few per cent, where a walk makes a difference."""
    lot_e6 = market.mark * 10**6 // 10**market.e
    lots = max(1, draw(st.integers(10**6, 3 * 10**11)) // max(1, lot_e6))
    size = draw(st.sampled_from([lots, -lots, 0]))
    worth = size * market.mark * 10**6 // 10**market.e
    cash = -worth + abs(worth) * draw(st.integers(-1, 80)) // 1000
    idx = market.index_e6 + draw(st.integers(-(10**10), 10**10))
    return Holding(size, cash, idx, 0, draw(st.sampled_from([0, 10, 50, 100])))


def stepped(market: Market, draw: st.DataObject) -> Market:
    """A tick: price, index and floor a little on, or not, and now and then far."""
    wide = draw.draw(st.sampled_from([0, 10, 1000, 1000, 50_000]))
    step = market.mark * draw.draw(st.integers(-wide, wide)) // 10**6
    mark = max(PRICE_MIN, min(PRICE_MAX, market.mark + step))
    index = market.index_e6 + draw.draw(st.sampled_from([0, 0, 10**9, -(10**10), 10**11]))
    floor = draw.draw(st.sampled_from([market.floor_e12, 2 * 10**9, 3 * 10**9, 10**10]))
    return market._replace(mark=mark, index_e6=index, floor_e12=floor)


@settings(max_examples=80)
@given(st.lists(markets(), min_size=1, max_size=3), st.data(), st.one_of(st.just(PUBLISHED), tables()))
def test_incremental_is_full_on_every_step(
    given_markets: list[Market], draw: st.DataObject, tiers: list[Tier]
) -> None:
    """Ticks, fills, deposits, funding hours and new anchors in any order."""
    rows = []
    for _ in range(draw.draw(st.integers(1, 8))):
        m = draw.draw(st.integers(0, len(given_markets) - 1))
        holding = draw.draw(near_holdings(given_markets[m]))
        rows.append((draw.draw(st.integers(0, ACCOUNTS - 1)), m, draw.draw(st.integers(0, 1)), holding))
    free = [draw.draw(st.integers(0, 10**9)) for _ in range(ACCOUNTS)]
    world = World(list(given_markets), position_rows(rows), free, tiers)
    assert world.incremental() == world.full()
    for _ in range(draw.draw(st.integers(1, 8))):
        what = draw.draw(st.sampled_from(["tick", "tick", "tick", "fill", "deposit", "hour", "anchor"]))
        slot = draw.draw(st.integers(0, len(rows) - 1))
        market = int(world.rows[slot]["market"])
        if what == "tick":
            world.markets = [stepped(m, draw) for m in world.markets]
        elif what == "fill":
            put_holding(world.rows[slot], draw.draw(near_holdings(world.markets[market])))
            world.touch(slot)
        elif what == "deposit":
            world.accounts[int(world.rows[slot]["account"])]["free_e6"] += draw.draw(
                st.integers(-(10**8), 10**9)
            )
            world.touch(slot)
        elif what == "hour":
            sweep.settle_positions(world.rows, 0, len(world.rows), risk_rows(world.markets))
        else:
            world.set_anchor()
        assert world.incremental() == world.full()


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("side", [1, -1])
def test_a_unit_is_looked_at_when_its_own_market_has_moved_and_named_when_it_is_due(
    mode: int, side: int
) -> None:
    """Two accounts with 3 % behind a position that needs 2.5 %, each in a market of its own."""
    at = Market(6, 10**8, 0, 0, 20)
    held = Holding(side * 1000, -side * 10**11 + 3 * 10**9)
    world = World([at, at], position_rows([(0, 0, mode, held), (1, 1, mode, held)]), [0, 0], PUBLISHED)
    assert 0 < max(world.account_rooms[:2] if mode else world.rooms) < 6 * 10**6
    for off_ppm, due in [
        (0, False),
        (-4000, False),
        (-6000, True),
        (6000, False),
        (200_000, False),
        (-9, False),
    ]:
        moved = at._replace(mark=10**8 + side * off_ppm * 100)
        for markets_now, unit in (([moved, at], 0), ([at, moved], 1)):
            world.markets = markets_now
            wanted = [unit] if due else []
            assert world.incremental() == world.full() == (([], wanted) if mode else (wanted, []))


@given(markets(), st.data())
def test_moves_round_up(anchor: Market, draw: st.DataObject) -> None:
    now = stepped(stepped(anchor, draw), draw)
    rows = risk_rows([anchor, now])
    price = Fraction(abs(now.mark - anchor.mark), anchor.mark)
    funding = Fraction(abs(now.index_e6 - anchor.index_e6), anchor.mark * 10**6)
    floor = Fraction(max(0, now.floor_e12 - anchor.floor_e12), 10**12) * (1 + price)
    exact = (price + funding + floor) * 10**9
    move = run(room.move_e9, rows[0], rows[1])
    assert move == MOVE_MAX if exact > MOVE_MAX else exact <= move <= exact + 5


@pytest.mark.parametrize("mark", [0, -1, PRICE_WIDE + 1])
def test_a_market_without_a_price_moves_without_bound(mark: int) -> None:
    rows = risk_rows([Market(6, 10**8), Market(6, mark)])
    assert run(room.move_e9, rows[0], rows[1]) == MOVE_MAX
    assert run(room.move_e9, rows[1], rows[0]) == MOVE_MAX


def move(anchor: Market, now: Market) -> int:
    rows = risk_rows([anchor, now])
    return int(run(room.move_e9, rows[0], rows[1]))


def test_moves_to_the_unit() -> None:
    """Nothing moved is 0, even at the least and the largest price; the least step of each kind is 1, up."""
    at = Market(6, PRICE_WIDE, 5, 7)
    for market in (at, Market(6, 1)):
        assert move(market, market) == 0
    assert move(at, at._replace(mark=PRICE_WIDE - 1)) == 1
    assert move(at, at._replace(index_e6=6)) == move(at, at._replace(index_e6=4)) == 1
    assert move(at, at._replace(floor_e12=8)) == 1
    assert move(at, at._replace(floor_e12=6)) == 0
    assert move(at, at._replace(floor_e12=1007)) == 1
    assert move(at, at._replace(floor_e12=1008)) == 2
    assert move(Market(6, 10**8), Market(6, 11 * 10**7, 10**12, 10**10)) == 10**8 + 10**7 + 11 * 10**6


def test_a_move_past_what_can_be_counted_is_the_widest() -> None:
    least = Market(6, 1)
    assert move(least, Market(6, PRICE_WIDE)) == MOVE_MAX
    assert move(least, Market(6, 1, 2**61)) == MOVE_MAX
    assert move(Market(6, 10**9), Market(6, 10**9 + 2 * 10**9)) == 2 * 10**9
    assert move(Market(6, 10**9), Market(6, 10**9 + 2 * 10**9, 10**15)) == MOVE_MAX
    for index in (-(2**61) - 1, 2**61 + 1):
        assert move(Market(6, 10**9), Market(6, 10**9, index)) == MOVE_MAX
        assert move(Market(6, 10**9, index), Market(6, 10**9)) == MOVE_MAX


@given(markets(), st.data(), tables())
def test_exposure_against_the_twin(market: Market, draw: st.DataObject, tiers: list[Tier]) -> None:
    """Surplus less what rounding may take; weight at the highest rate of the tiers up to the one held."""
    holding = draw.draw(holdings(market))
    table = tier_rows(tiers)
    got = run(
        room.exposure,
        position_rows([(0, 0, 0, holding)])[0],
        risk_rows([market])[0],
        table,
        tier_index(table),
    )
    margin = model.position_margin(holding, market, tiers)
    notional = math.ceil(abs(model.exact_worth(market.e, holding.size, market.mark)))
    top = model.held_tier(tiers, holding.leverage or market.leverage)
    rate = max(market.floor_e12, *(tier.maintenance_e12 for tier in tiers[: top + 1]))
    weight = notional + math.ceil(Fraction(notional * min(rate, 10**12), 10**12))
    assert got == (margin.equity - margin.maintenance - room.ROUNDING_SLACK_E6, weight, 1)


@pytest.mark.parametrize(("leverage", "percent"), [(0, 5), (20, 1), (21, 5), (100, 5), (1000, 5)])
def test_a_position_without_leverage_has_that_of_its_market(leverage: int, percent: int) -> None:
    tiers = tier_rows([Tier(20, 10**11, 10**10), Tier(100, 10**11, 5 * 10**10)])
    row = position_rows([(0, 0, 0, Holding(1000, 0, leverage=leverage))])[0]
    risk = risk_rows([Market(6, 10**8, 0, 0, 100)])[0]
    _, weight, ok = run(room.exposure, row, risk, tiers, tier_index(tiers))
    assert (weight, ok) == (10**11 + percent * 10**9, 1)


@given(markets(), st.data(), tables(), st.integers(-(10**12), 10**15))
def test_room_of_an_account_is_that_of_its_sums(
    market: Market, draw: st.DataObject, tiers: list[Tier], free: int
) -> None:
    mine = draw.draw(st.lists(holdings(market), min_size=1, max_size=3))
    rows = position_rows([(0, 0, 1, holding) for holding in mine])
    world = World([market], rows, [free], tiers)
    parts = [run(room.exposure, row, world.anchor[0], world.table, world.index) for row in rows]
    surplus, weight = free + sum(part[0] for part in parts), sum(part[1] for part in parts)
    wanted: int = run(room.room_of, surplus, weight) if weight else ROOM_NEVER
    assert world.account_rooms[0] == wanted
    assert (world.rooms == ROOM_NEVER).all()


def test_rooms_at_their_ends() -> None:
    """Worth nothing is no room; a sum past int64 is no room; a weight of one unit is one."""
    free_tier = [Tier(1000, 0, 0, 0)]
    for mark, cash, wanted in [(0, 100, ROOM_NONE), (1, 100, ROOM_MAX), (1, 0, ROOM_NONE), (1, 3, 0)]:
        for mode in (0, 1):
            rows = position_rows([(0, 0, mode, Holding(1, cash))])
            world = World([Market(6, mark)], rows, [0], free_tier)
            assert (world.account_rooms if mode else world.rooms)[0] == wanted
    rows = position_rows([(0, 0, 1, Holding(1, 10**6))])
    assert World([Market(6, 10**8)], rows, [I64_MAX], PUBLISHED).account_rooms[0] == ROOM_NONE
    assert World([Market(6, 10**8)], rows, [10**18], PUBLISHED).account_rooms[0] == ROOM_MAX
    assert World([Market(6, -1)], rows, [10**18], PUBLISHED).account_rooms[0] == ROOM_NONE


def test_what_has_no_value_has_no_exposure_and_no_room() -> None:
    table = tier_rows(PUBLISHED)
    at = (risk_rows([Market(6, -1)]), table, tier_index(table))
    rows = position_rows([(0, 0, 0, Holding(5))])
    assert run(room.exposure, rows[0], at[0][0], *at[1:]) == (0, 0, 0)
    assert run(room.position_room, rows[0], *at) == ROOM_NONE


@given(st.integers(-(2**61), 2**61), st.integers(1, 2**61))
def test_room_rounds_down(surplus: int, weight: int) -> None:
    wanted = ROOM_NONE if surplus < 0 else min(ROOM_MAX, surplus * 10**9 // weight)
    assert run(room.room_of, surplus, weight) == wanted


@given(st.lists(st.integers(-1, 2**31 - 1), max_size=600), st.integers(0, 2**31 - 1))
@settings(max_examples=20)
def test_out_of_room_finds_each_once(given_rooms: list[int], widest: int) -> None:
    rooms, out = np.array(given_rooms, np.int32), np.zeros(len(given_rooms) + 1, np.int64)
    count = run(room.out_of_room, rooms, 0, len(rooms), widest, out)
    assert out[:count].tolist() == [k for k, r in enumerate(given_rooms) if r < widest]


def test_what_holds_nothing_is_never_looked_at() -> None:
    world = World(
        [Market(6, 10**8)],
        position_rows([(0, 0, 0, Holding(0, -5)), (1, 0, 1, Holding(7))]),
        [0, 0],
        PUBLISHED,
    )
    assert world.rooms.tolist() == [ROOM_NEVER, ROOM_NEVER]
    assert world.account_rooms[0] == ROOM_NEVER
    assert 0 < world.account_rooms[1] <= ROOM_MAX


@given(prices, st.integers(1, 10**5), st.integers(0, 100))
def test_a_price_inside_the_room_is_safe_and_rooms_are_not_idle(mark: int, size: int, share: int) -> None:
    """Room of a fully known long: its surplus over its weight, less what rounding may take."""
    market = Market(6, mark, 0, 0, 20)
    worth = size * mark
    holding = Holding(size, -worth + worth * (30 + share) // 1000)
    world = World([market], position_rows([(0, 0, 0, holding)]), [0], PUBLISHED)
    surplus = worth + holding.cash - -(-worth * 25 // 1000)
    exact = Fraction(surplus * 10**9, worth + -(-worth * 25 // 1000))
    assert exact - Fraction(5 * 10**9, worth) - 1 <= int(world.rooms[0]) <= exact
