"""Which units frames touch, and the sweep of cross accounts by the books' own lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import frames as f
from kernels import room, slots, sweep, touched
from kernels.frames import FRAME, SETTING, TRANSFER, Source, Template
from kernels.layouts import ACCOUNT, ACCOUNT_CROSS, LEG
from kernels.room import MOVE_MAX, ROOM_MAX
from kernels.sweep import FLAG_FAULT, FLAG_LIQUIDATABLE
from relayer.verify.model_margin import Holding, Market
from tests.kernels.entries import run
from tests.kernels.margins import PUBLISHED, position_rows, risk_rows, tier_index, tier_rows

ACCOUNTS, MARKETS = 6, 4


class World:
    """Positions of (account, market, mode) in slots, with their table and lists."""

    def __init__(self, given: list[tuple[int, int, int]]) -> None:
        self.positions = position_rows([(a, m, mode, Holding(100, 10**9)) for a, m, mode in given])
        self.accounts = np.zeros(ACCOUNTS, ACCOUNT)
        for account, _, mode in given:
            if mode:
                self.accounts["flags"][account] = ACCOUNT_CROSS
        self.table = np.full(64, slots.EMPTY, np.int64)
        run(slots.index_positions, self.table, self.positions, len(given))
        self.first, self.following = np.zeros(ACCOUNTS, np.int32), np.zeros(max(1, len(given)), np.int32)
        run(slots.index_cross, self.first, self.following, self.positions, len(given))
        self.touched = touched.new_touched(max(1, len(given)), ACCOUNTS, 8)

    @property
    def at(self) -> tuple[object, ...]:
        return self.table, self.positions, self.accounts, ACCOUNTS

    def listed(self) -> tuple[list[int], list[int]]:
        counts = self.touched.counts.tolist()
        return self.touched.slots[: counts[0]].tolist(), self.touched.accounts[: counts[1]].tolist()


pairs = st.lists(
    st.tuples(st.integers(0, ACCOUNTS - 1), st.integers(0, MARKETS - 1)), unique=True, max_size=12
)


@given(pairs, st.data())
def test_the_lists_name_each_cross_position_of_an_account_once(
    given: list[tuple[int, int]], draw: st.DataObject
) -> None:
    world = World([(a, m, draw.draw(st.integers(0, 1))) for a, m in given])
    members = touched.new_members()
    for account in range(ACCOUNTS):
        count = run(slots.list_linked, world.first, world.following, account, members)
        mine = [k for k, row in enumerate(world.positions) if row["account"] == account and row["mode"]]
        assert sorted(members[:count].tolist()) == mine


def legs_of(*given: tuple[int, int]) -> np.ndarray:
    legs = np.zeros(len(given), LEG)
    for leg, pair in zip(legs, given, strict=True):
        leg["account"], leg["market"] = pair
    return legs


def test_legs_touch_their_positions_and_cross_accounts_once() -> None:
    world = World([(1, 0, 0), (2, 0, 1), (2, 1, 1), (3, 3, 0)])
    legs = legs_of((1, 0), (2, 1), (1, 0), (2, 1))
    run(touched.touch_legs, legs, len(legs), *world.at, world.touched)
    assert world.listed() == ([0, 2], [2])
    assert world.touched.slot_marks.tolist() == [1, 0, 1, 0]
    assert world.touched.account_marks.tolist() == [0, 0, 1, 0, 0, 0]
    run(touched.touch_legs, legs, 0, *world.at, world.touched)
    assert world.listed() == ([0, 2], [2])


def test_any_leg_touches_insurance_where_that_is_cross() -> None:
    world = World([(0, 2, 1), (1, 0, 0), (0, 1, 0)])
    run(touched.touch_legs, legs_of((1, 0)), 0, *world.at, world.touched)
    assert world.listed() == ([], []), "without a leg nothing is"
    run(touched.touch_legs, legs_of((1, 0)), 1, *world.at, world.touched)
    assert world.listed() == ([1], [0])


@pytest.mark.parametrize(
    ("account", "market"), [(-1, 0), (ACCOUNTS, 0), (2**31 - 1, 0), (-(2**31), 0), (1, -1), (1, 256), (5, 0)]
)
def test_numbers_that_are_nobodys_touch_no_position(account: int, market: int) -> None:
    world = World([(1, 0, 0)])
    run(touched.touch_pair, account, market, *world.at, 0, world.touched)
    assert world.listed() == ([], [])
    run(touched.touch_pair, account, market, *world.at, 1, world.touched)
    assert world.listed() == ([], [account] if 0 <= account < ACCOUNTS else [])


def test_transfers_and_settings_touch_and_others_do_not() -> None:
    world = World([(1, 0, 0), (2, 1, 0), (3, 2, 0)])
    given = [
        (Template.FILL, {"maker": 1, "taker": 1}, 0),
        (Template.TRANSFER, {"account": 2}, 1),
        (Template.FILL, {"maker": 3, "taker": 3}, 0),
        (Template.SETTING, {"account": 3}, 2),
        (Template.TRANSFER, {"account": 0}, -1),
    ]
    frames = np.zeros(len(given), FRAME)
    for k, (template, payload, market) in enumerate(given):
        one = f.new_frames(template, 1, source=Source.API)
        one["market"] = market
        for name, value in payload.items():
            one[name] = value
        frames[k] = one.view(FRAME)[0]
    same = frames, frames.view(TRANSFER), frames.view(SETTING), len(frames)
    run(touched.touch_frames, *same, *world.at, world.touched)
    assert world.listed() == ([1, 2], [2, 3, 0])


def test_of_what_does_not_fit_the_list_a_mark_and_the_count_are_kept() -> None:
    world = World([(1, 0, 0), (2, 0, 0), (3, 0, 0), (4, 0, 0)])
    world.accounts["flags"][3:5] = ACCOUNT_CROSS
    world.touched = touched.new_touched(4, ACCOUNTS, 1)
    for _ in range(2):
        run(touched.touch_legs, legs_of((1, 0), (2, 0), (3, 0), (4, 0)), 4, *world.at, world.touched)
        assert world.touched.counts.tolist() == [1, 1, 3, 1]
        assert world.listed() == ([0], [3])
        assert world.touched.slot_marks.tolist() == [1, 1, 1, 1]
        assert world.touched.account_marks.tolist() == [0, 0, 0, 1, 1, 0]


def test_all_are_touched_and_the_known_ones_listed_first() -> None:
    world = World([(a, 0, 0) for a in range(1, 5)])
    world.touched = touched.new_touched(5, ACCOUNTS, 2)
    world.accounts["flags"][3] = ACCOUNT_CROSS
    run(touched.touch_legs, legs_of((1, 0), (3, 0), (4, 0)), 3, *world.at, world.touched)
    known = np.array([2, 1, 2, 0]), np.array([3])
    run(touched.touch_all, 4, 5, *known, world.touched)
    assert world.listed() == ([2, 1], [3]), "though 2 and 3 were touched before"
    assert world.touched.counts.tolist() == [2, 1, 2, 4]
    assert world.touched.slot_marks.tolist() == [1, 1, 1, 1, 0]
    assert world.touched.account_marks.tolist() == [1] * 5 + [0]


@given(st.lists(st.integers(0, 1), max_size=900), st.integers(0, 900), st.integers(0, 900))
@settings(max_examples=60)
def test_the_next_marked_unit(given: list[int], start: int, stop: int) -> None:
    marks = np.array([*given[:20], *[0] * 600, *given[20:]], np.int8)
    start, stop = min(start, len(marks)), min(stop, len(marks))
    wanted = next((k for k in range(start, stop) if marks[k]), stop if start < stop else None)
    got = run(touched.next_marked, marks, start, stop)
    assert got == (stop if wanted is None else wanted)


def test_rooms_of_what_is_listed_are_taken_anew_and_no_others() -> None:
    """Against the rooms of everything by ranges, at either anchor: two cross positions each of accounts 1..3."""
    given = [(a, m, int(1 <= a <= 3)) for m in (0, 1) for a in range(ACCOUNTS)]
    world = World(given)
    world.positions["cash"] = -(10**10) + 3 * 10**8 + np.arange(len(given)) * 10**7
    world.accounts["free_e6"] = np.arange(ACCOUNTS) * 10**7
    tiers = tier_rows(PUBLISHED)
    rules = tiers, tier_index(tiers)
    anchors = [risk_rows([Market(6, mark, leverage=20)] * 2) for mark in (10**8, 101 * 10**6)]
    first, members = [0, 0, 2, 4, 6, 6, 6], np.array([1, 7, 2, 8, 3, 9])
    whole, whole_accounts = np.zeros((2, len(given)), np.int32), np.zeros((2, ACCOUNTS), np.int32)
    for k, anchor in enumerate(anchors):
        run(room.anchor_positions, world.positions, 0, len(given), anchor, *rules, whole[k])
        for a in range(ACCOUNTS):
            ends = first[a], first[a + 1]
            free_e6 = world.accounts["free_e6"][a]
            whole_accounts[k, a] = run(
                room.account_room, free_e6, world.positions, members, *ends, anchor, *rules
            )
        assert len({*whole[k].tolist()}) == 7, "cross positions have none"

    world.touched = touched.new_touched(len(given), ACCOUNTS, 5)
    legs = legs_of((4, 1), (1, 0), (5, 0), (4, 0), (2, 1))
    run(touched.touch_legs, legs, len(legs), *world.at, world.touched)
    listed = world.listed()
    assert listed == ([10, 1, 5, 4, 8], [1, 2])
    rooms, account_rooms = np.full(len(given), -7, np.int32), np.full(ACCOUNTS, -7, np.int32)
    lists = world.first, world.following, touched.new_members()
    upto = np.array([5, 2])
    books = world.touched, world.positions, world.accounts, *lists
    run(touched.refresh_rooms, *books, *anchors, upto, *rules, rooms, account_rooms)
    wanted = [int(whole[int(k >= 5)][k]) if k in listed[0] else -7 for k in range(len(given))]
    assert rooms.tolist() == wanted
    wanted = [int(whole_accounts[int(a >= 2)][a]) if a in listed[1] else -7 for a in range(ACCOUNTS)]
    assert account_rooms.tolist() == wanted
    assert world.listed() == ([], [])
    assert not world.touched.slot_marks.any() and not world.touched.account_marks.any()

    run(touched.touch_all, len(given), ACCOUNTS, np.array([3]), np.array([2]), world.touched)
    run(touched.refresh_rooms, *books, *anchors, upto, *rules, rooms, account_rooms)
    rooms[:], account_rooms[:] = -7, -7
    tail = *anchors, upto, *rules
    at, taken = run(touched.take_slots, world.touched, 2, 9, 3, world.positions, *tail, rooms)
    assert (at, taken) == (6, 3), "2, 4 and 5: 3 was listed"
    end = len(world.touched.slot_marks)
    at, taken = run(touched.take_slots, world.touched, at, end, 9, world.positions, *tail, rooms)
    assert (at, taken) == (end, 6) and world.touched.counts.tolist() == [0, 0, 2, 5]
    assert world.touched.slot_marks.tolist() == [1, 1] + [0] * 10
    wanted = [int(whole[int(k >= 5)][k]) if k not in (0, 1, 3) else -7 for k in range(len(given))]
    assert rooms.tolist() == wanted
    of = world.accounts, world.positions, *lists
    upto[1] = 3
    at, taken = run(touched.take_accounts, world.touched, 1, 4, 2, *of, *tail, account_rooms)
    assert (at, taken) == (4, 2) and world.touched.counts.tolist() == [0, 0, 2, 3], "1 and 3: 2 was listed"
    wanted = [int(whole_accounts[int(a >= 3)][a]) if a in (1, 3) else -7 for a in range(ACCOUNTS)]
    assert account_rooms.tolist() == wanted
    assert run(touched.take_accounts, world.touched, 3, 3, 2, *of, *tail, account_rooms) == (3, 0)
    assert world.touched.account_marks.tolist() == [1, 0, 0, 0, 1, 1]
    for start, most, wanted in ((4, 1, (5, 1)), (5, 9, (6, 1))):
        span = start, ACCOUNTS, most
        assert run(touched.take_accounts, world.touched, *span, *of, *tail, account_rooms) == wanted


@given(
    st.lists(st.tuples(st.integers(-1, 10), st.integers(1, 10), st.integers(0, 1)), min_size=1, max_size=5)
)
@settings(max_examples=50)
def test_the_widest_move_counts_what_can_be_valued(given: list[tuple[int, int, int]]) -> None:
    """(mark now in 1e8, mark at the anchor, leverage changed) by market; -1 and 0 are no mark."""
    marks = [(max(now, 0) * 10**8 or -1, then * 10**8) for now, then, _ in given]
    now = risk_rows(
        [Market(6, m, leverage=10 + other) for (m, _), (_, _, other) in zip(marks, given, strict=True)]
    )
    then = risk_rows([Market(6, m, leverage=10) for _, m in marks])
    moves, plain = np.zeros(len(given), np.int64), np.zeros(len(given), np.int64)
    run(room.move_markets, then, now, len(given), plain)
    wanted = [MOVE_MAX if other else int(move) for move, (_, _, other) in zip(plain, given, strict=True)]
    assert run(touched.widest_move, then, now, len(given), moves) == max(wanted)
    assert moves.tolist() == wanted


@pytest.mark.parametrize("marks", [(0, -1), (-1, 0), (0, 0), (-1, 10**8), (10**8, -1)])
def test_a_market_that_could_be_valued_once_has_moved_all_the_way(marks: tuple[int, int]) -> None:
    then, now = (risk_rows([Market(6, mark)]) for mark in marks)
    moves = np.zeros(1, np.int64)
    assert run(touched.widest_move, then, now, 1, moves) == MOVE_MAX


def test_a_market_that_never_had_a_mark_drags_nobody_in() -> None:
    then, now = (risk_rows([Market(6, 10**8), Market(6, -1)]) for _ in range(2))
    moves = np.zeros(2, np.int64)
    assert run(touched.widest_move, then, now, 2, moves) == 0
    assert run(room.move_markets, then, now, 2, moves) == MOVE_MAX


@given(
    st.lists(st.integers(-2_000_000_000, 2_000_000_000), min_size=ACCOUNTS, max_size=ACCOUNTS),
    st.integers(-900, 900),
)
@settings(max_examples=60)
def test_rechecking_by_rooms_keeps_whom_the_sweep_of_everyone_marks(free: list[int], bps: int) -> None:
    """Two cross positions an account."""
    world = World([(a, m, 1) for m in (0, 1) for a in range(ACCOUNTS)])
    world.positions["cash"] = -(10**10) + 3 * 10**8
    world.accounts["free_e6"] = free
    tiers = tier_rows(PUBLISHED)
    rules = tiers, tier_index(tiers)
    then = risk_rows([Market(6, 10**8, leverage=20)] * 2)
    now = risk_rows([Market(6, 10**8 * (10_000 + bps) // 10_000, leverage=20), Market(6, 10**8, leverage=20)])
    rooms, moves = np.zeros(ACCOUNTS, np.int32), np.zeros(2, np.int64)
    lists = world.positions, world.first, world.following, touched.new_members()
    run(room.anchor_accounts, world.accounts, 0, ACCOUNTS, *lists, then, *rules, rooms)
    assert rooms.max() < ROOM_MAX
    run(touched.widest_move, then, now, 2, moves)
    found, ratios, flags = np.arange(ACCOUNTS), np.zeros(ACCOUNTS, np.int64), np.zeros(ACCOUNTS, np.int8)
    given = now, moves, rooms, *rules
    kept = run(room.recheck_accounts, found, ACCOUNTS, world.accounts, *lists, *given)
    run(touched.sweep_linked, world.accounts, 0, ACCOUNTS, *lists, now, *rules, ratios, flags)
    assert found[:kept].tolist() == np.flatnonzero(flags & (FLAG_LIQUIDATABLE | FLAG_FAULT)).tolist()


def test_a_position_that_has_become_cross_is_not_marked_by_its_old_room() -> None:
    world = World([(1, 0, 1), (2, 0, 0)])
    world.positions["cash"] = -(10**12)
    tiers = tier_rows(PUBLISHED)
    found, rooms = np.array([0, 1]), np.zeros(2, np.int32)
    rules = risk_rows([Market(6, 10**8, leverage=20)]), np.array([1]), rooms, tiers, tier_index(tiers)
    assert run(room.recheck_positions, found, 2, world.positions, *rules) == 1
    assert found[0] == 1


@pytest.mark.parametrize(("room_e9", "move_e9", "kept"), [(0, 0, 0), (5, 5, 0), (4, 5, 1), (-1, 0, 1)])
def test_only_what_moved_past_its_room_is_valued(room_e9: int, move_e9: int, kept: int) -> None:
    """An account without any margin, whose room says otherwise."""
    world = World([(1, 0, 1)])
    world.positions["cash"] = -(10**12)
    tiers = tier_rows(PUBLISHED)
    found, moves = np.array([1]), np.array([move_e9])
    lists = world.first, world.following, touched.new_members()
    rooms = np.full(ACCOUNTS, room_e9, np.int32)
    rules = risk_rows([Market(6, 10**8, leverage=20)]), moves, rooms, tiers, tier_index(tiers)
    got = run(room.recheck_accounts, found, 1, world.accounts, world.positions, *lists, *rules)
    assert got == kept


def test_anchors_and_sweeps_by_lists_are_those_by_ranges() -> None:
    """Accounts 1 to 4 of six: liquidatable, healthy, one in a market without a mark, liquidatable again."""
    given = [(a, m, 1) for m in (0, 1) for a in range(ACCOUNTS)]
    world = World(given)
    world.positions["cash"] = -(10**10) + 3 * 10**8
    world.positions["market"][3] = 2
    world.accounts["free_e6"] = [10**9, -(10**9), 10**9, 10**9, -(10**9), 10**9]
    tiers = tier_rows(PUBLISHED)
    risk = risk_rows([*[Market(6, 10**8, leverage=20)] * 2, Market(6, -1, leverage=20)])
    rules = risk, tiers, tier_index(tiers)
    first = np.arange(ACCOUNTS + 1) * 2
    members = np.array([slot for a in range(ACCOUNTS) for slot in (a, a + ACCOUNTS)])
    ranges = world.accounts, 1, 5, world.positions, first, members
    lists = world.accounts, 1, 5, world.positions, world.first, world.following, touched.new_members()
    rooms = np.full((2, ACCOUNTS), -7, np.int32)
    for a in range(1, 5):
        given = world.accounts["free_e6"][a], world.positions, members, first[a], first[a + 1]
        rooms[0, a] = run(room.account_room, *given, *rules)
    run(room.anchor_accounts, *lists, *rules, rooms[1])
    assert rooms[1].tolist() == rooms[0].tolist() and len({*rooms[0].tolist()}) > 2
    ratios, flags = np.full((2, ACCOUNTS), -7, np.int64), np.full((2, ACCOUNTS), -7, np.int8)
    assert run(sweep.sweep_accounts, *ranges, *rules, ratios[0], flags[0]) == 3
    assert run(touched.sweep_linked, *lists, *rules, ratios[1], flags[1]) == 3
    assert ratios[1].tolist() == ratios[0].tolist() and flags[1].tolist() == flags[0].tolist()
