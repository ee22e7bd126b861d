"""The sweep by rooms, over books that a follower folds: on every step it marks what the sweep of everyone marks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.common.errors import SweepMismatch
from engine.core.apply import Machine
from engine.core.params import Row
from engine.follower import Followed
from engine.risk import rooms as rooms_module
from engine.risk import sweeper as sweeper_module
from engine.risk.sweeper import Found, Sweeper
from kernels import room, sweep, touched
from kernels.frames import ParamKey, SettingKind, Template, TransferKind
from tests.engine.core.builders import PRICE, SCALES, Script, array_of, genesis, key_of, views

ACCOUNTS = 6


class Following:
    """A machine, fed by a script as a follower feeds its own, and a sweeper over it."""

    def __init__(self, script: Script) -> None:
        self.script, self.machine = script, Machine(capacity=4096)
        self.sweeper = Sweeper(self.machine)
        self._done = 0

    def fold(self) -> None:
        """Everything the script has added since."""
        while frames := self.script.frames[self._done : self._done + 4096]:
            self._done += len(frames)
            applied = self.machine.apply(views(frames), 0, len(frames))
            ordinal = self.machine.state.number("ordinal") - len(frames) + 1
            self.sweeper.touch(Followed(array_of(frames), ordinal, applied.results, applied.legs))

    def checked(self) -> Found:
        """Fold, sweep, compare with everyone."""
        self.fold()
        found = self.sweeper.sweep()
        self.sweeper.check(found)
        for ours, anew in zip(self.rooms(), self.rooms_anew(), strict=True):
            assert ours.tolist() == anew.tolist()
        return found

    def follow_nonces(self) -> None:
        """Fold. A refused request uses up no nonce; the script's own count follows the books."""
        self.fold()
        for account in range(1, ACCOUNTS + 1):
            self.script.nonces[account] = int(self.machine.books.accounts[account]["nonce"])

    def late(self) -> tuple[list[int], list[int]]:
        """Slots and accounts whose rooms are still due."""
        marks = self.sweeper.rooms.touched
        return np.flatnonzero(marks.slot_marks).tolist(), np.flatnonzero(marks.account_marks).tolist()

    def rooms(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Those that the sweeper keeps, of units in use."""
        number = self.machine.state.number
        own = self.sweeper.rooms
        return own.slots[: number("positions")], own.accounts[: number("accounts")]

    def rooms_anew(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """What they would be, taken now at the anchors that they count from."""
        own, books, number = self.sweeper.rooms, self.machine.books, self.machine.state.number
        slots, accounts = np.int64(number("positions")), np.int64(number("accounts"))
        first, members = np.zeros(accounts + 1, np.int64), np.zeros(slots + 1, np.int64)
        sweep.list_cross(books.positions, slots, accounts, first, members)
        out = []
        for anchor in (own.anchor, own.former):
            rules = anchor, books.tiers, self.sweeper.tier_at
            rooms, account_rooms = np.zeros(slots, np.int32), np.zeros(accounts, np.int32)
            room.anchor_positions(books.positions, np.int64(0), slots, *rules, rooms)
            for account, row in enumerate(books.accounts[:accounts]):
                ends = first[account], first[account + 1]
                account_rooms[account] = room.account_room(
                    row["free_e6"], books.positions, members, *ends, *rules
                )
            out.append((rooms, account_rooms))
        for new, old, upto in zip(*out, own.upto.tolist(), strict=True):
            new[upto:] = old[upto:]
        return out[0]

    def price(self, market: int, price: int) -> None:
        """Every feed of a market says so, and a second passes."""
        for feed in range((3, 2, 1)[market]):
            expo = SCALES[market][1] - SCALES[market][0]
            self.script.observe(price, market=market, feed=feed, expo=expo)
        self.script.seconds(1)


def started(deposit_e6: int = 10**11, cross: int = 2) -> Following:
    """Accounts 1..cross have all their positions in cross mode."""
    script = genesis(accounts=ACCOUNTS, deposit_e6=deposit_e6)
    for account in range(1, cross + 1):
        for market in range(3):
            script.setting(account, SettingKind.MARGIN_MODE, 1, market)
    return Following(script)


steps = st.one_of(
    st.tuples(
        st.just("fill"),
        st.integers(1, ACCOUNTS),
        st.integers(1, ACCOUNTS),
        st.integers(0, 2),
        st.integers(-30, 30).filter(bool),
    ),
    st.tuples(st.just("price"), st.integers(0, 2), st.sampled_from([-900, -300, -40, -5, 5, 40, 300, 900])),
    st.tuples(st.just("deposit"), st.integers(0, ACCOUNTS), st.integers(1, 10**10)),
    st.tuples(st.just("withdraw"), st.integers(1, ACCOUNTS), st.integers(1, 10**10)),
    st.tuples(
        st.just("mode"), st.integers(1, ACCOUNTS), st.integers(0, 2), st.integers(0, 1)
    ),
    st.tuples(
        st.just("leverage"), st.integers(1, ACCOUNTS), st.integers(0, 2), st.sampled_from([1, 5, 20, 50])
    ),
    st.tuples(st.just("tiers"), st.integers(1, 3)),
    st.tuples(st.just("default"), st.integers(0, 2), st.integers(1, 50)),
)  # fmt: skip
UNITS = {0: 1, 1: 10**9 // 10, 2: 1}
"""What one lot of a drawn size is in each market, so that all are worth much the same."""


def take(run: Following, step: tuple[object, ...], prices: list[int]) -> None:
    script, kind, rest = run.script, step[0], [int(str(value)) for value in step[1:]]
    if kind == "fill":
        maker, taker, market, size = rest
        script.fill(maker, taker, size * UNITS[market], prices[market], market=market)
    elif kind == "price":
        market, bps = rest
        prices[market] = prices[market] * (10_000 + bps) // 10_000
        run.price(market, prices[market])
    elif kind == "deposit":
        script.deposit(*rest)
    elif kind == "withdraw":
        script.move(TransferKind.WITHDRAWAL, *rest)
    elif kind == "mode":
        account, market, value = rest
        script.setting(account, SettingKind.MARGIN_MODE, value, market)
    elif kind == "leverage":
        account, market, value = rest
        script.setting(account, SettingKind.LEVERAGE, value, market)
    elif kind == "tiers":
        change = run.machine.state.number("ordinal")
        script.params([Row(ParamKey.MARGIN_TIER_RATES, 0, 5 * 10**10, rest[0] * 10**10)], change=change)
        script.seconds(1)
    else:
        change = run.machine.state.number("ordinal")
        script.params([Row(ParamKey.MARKET_LEVERAGE, rest[0], rest[1], 50)], change=change)
        script.seconds(1)


@given(st.lists(steps, min_size=5, max_size=60), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_on_every_step_rooms_mark_whom_the_whole_sweep_marks(
    drawn: list[tuple[object, ...]], sweep_every: int
) -> None:
    follow(drawn, sweep_every)


@given(st.lists(steps, min_size=5, max_size=60), st.integers(1, 3), st.integers(1, 4))
@example(
    drawn=[
        ("price", 0, -900),
        ("price", 0, -900),
        ("fill", 3, 1, 0, 1),
        ("price", 0, -40),
        ("price", 0, -900),
    ],
    least=3,
    slices=1,
)
@settings(max_examples=30, deadline=None)
def test_so_they_do_while_rooms_are_taken_anew_slice_by_slice(
    drawn: list[tuple[object, ...]], least: int, slices: int
) -> None:
    """A new anchor as soon as one unit was valued for nothing, and of so few units at a sweep that the next price
    comes in the middle; checks go round by slices."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in (
            (rooms_module, "SLICE_LEAST", least),
            (sweeper_module, "WASTE_LEAST", 0),
            (sweeper_module, "WASTE_SHARE", 10**6),
        ):
            patch.setattr(module, name, value)
        turned = follow(drawn, 1, slices)
    event(f"sweeps between two anchors: {min(turned, 5)}")


@given(st.lists(steps, min_size=5, max_size=60), st.integers(0, 4), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_with_little_time_only_the_late_are_missed_and_nobody_is_marked_wrongly(
    drawn: list[tuple[object, ...]], most: int, slices: int
) -> None:
    """One unit is listed as it is touched, and of the others, at first of all, so many get a room at a sweep."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rooms_module, "LISTED", 1)
        run, prices, seen = started(), [PRICE] * 3, 0
        for step in drawn:
            take(run, step, prices)
            run.follow_nonces()
            run.sweeper.take_rooms(most)
            found = run.sweeper.look()
            run.sweeper.check_slice(found, slices)
            run.sweeper.check(found)
            late = run.late()
            assert run.sweeper.counts.late == len(late[0]) + len(late[1])
            whole, sweeper = Sweeper(run.machine), run.sweeper
            whole.rooms.anchor[:], whole.rooms.former[:] = sweeper.rooms.anchor, sweeper.rooms.former
            for ours, all_marked, waiting in zip(found, whole.sweep(), late, strict=True):
                assert {*ours.tolist()} <= {*all_marked.tolist()} <= {*ours.tolist()} | {*waiting}
            seen = max(seen, sweeper.counts.late)
        for _ in range(60):
            run.sweeper.take_rooms(most or 1)
        assert run.sweeper.look() and run.sweeper.counts.late == 0
        run.checked()
    event(f"most late: {min(seen, 10)}")


def follow(drawn: list[tuple[object, ...]], sweep_every: int, slices: int = 1) -> int:
    """Take the steps, sweeping and checking between them. How many sweeps met rooms of two anchors."""
    run, prices, turned = started(), [PRICE] * 3, 0
    run.checked()
    for k, step in enumerate(drawn):
        take(run, step, prices)
        run.follow_nonces()
        if k % sweep_every == 0:
            run.sweeper.check_slice(run.checked(), slices)
            turned += run.sweeper.rooms.turning
    run.checked()
    return turned


def with_positions() -> Following:
    """Four accounts with a position each, priced, swept once."""
    run = started()
    for account in (3, 5):
        run.script.fill(account, account + 1, 10, PRICE)
    run.checked()
    return run


def test_a_calm_sweep_looks_at_nobody_and_a_touch_at_those_it_touched() -> None:
    run = with_positions()
    run.checked()
    assert (run.sweeper.counts.valued, run.sweeper.counts.anchored) == (0, 0)
    run.script.fill(3, 4, 1, PRICE)
    run.fold()
    assert run.sweeper.rooms.touched.counts.tolist() == [2, 0, 0, 0]
    assert len(run.checked().slots) == 0
    assert run.sweeper.rooms.touched.counts.tolist() == [0, 0, 0, 0]


def test_more_touched_than_are_listed_are_done_as_far_as_there_is_time() -> None:
    run = with_positions()
    rooms = run.sweeper.rooms
    rooms.touched = touched.new_touched(len(rooms.slots), len(rooms.accounts), 1)
    run.script.fill(3, 4, 1, PRICE)
    run.script.fill(5, 6, 1, PRICE)
    run.fold()
    assert rooms.touched.counts.tolist() == [1, 0, 3, 0]
    for late in (2, 1, 0, 0):
        run.sweeper.take_rooms(1)
        run.sweeper.check(run.sweeper.look())
        counts = run.sweeper.counts
        assert (counts.late, counts.anchored) == (late, 0)
    run.checked()


def test_who_was_found_is_looked_at_first_where_all_are_due() -> None:
    """No time for anyone else: who was below zero before the tiers changed, or before another sweeper, is found."""
    run = with_positions()
    for percent in (3, 6, 9, 12, 15):
        run.price(0, PRICE * (100 - percent) // 100)
    found = [units.copy() for units in run.checked()]
    assert len(found[0]) == 2
    run.script.params([Row(ParamKey.MARGIN_TIER_RATES, 0, 5 * 10**10, 3 * 10**10)], change=999)
    run.script.seconds(1)
    run.fold()
    for sweeper in (run.sweeper, Sweeper(run.machine, Found(*found))):
        sweeper.take_rooms(0)
        again = sweeper.look()
        assert [units.tolist() for units in again] == [units.tolist() for units in found]
        assert sweeper.counts.late > 2 and sweeper.counts.anchored == 1
        sweeper.check(again)
    nobody = Sweeper(run.machine)
    nobody.take_rooms(0)
    assert len(nobody.look().slots) == 0
    assert len(nobody.sweep().slots) == 2 and nobody.counts.late == 0


def test_rooms_are_taken_anew_when_too_many_are_looked_at_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another market's move is as wide as their rooms: all four are met and passed over."""
    monkeypatch.setattr(sweeper_module, "WASTE_LEAST", 3)
    run = with_positions()
    for percent in (3, 6, 9, 12, 15):
        run.price(1, PRICE * (100 + percent) // 100)
    assert len(run.checked().slots) == 0
    assert (run.sweeper.counts.valued, run.sweeper.counts.anchored) == (4, 0)
    run.checked()
    assert (run.sweeper.counts.valued, run.sweeper.counts.anchored) == (0, 1)


@pytest.mark.parametrize("more", [2_000, 9_000])
def test_books_that_grow_are_followed(more: int) -> None:
    """Accounts and positions past the arrays' first size: none is missed, and nobody is looked at for nothing."""
    run = with_positions()
    before = len(run.sweeper.rooms.accounts)
    for n in range(100, 100 + more):
        run.script.add(Template.ACCOUNT, tier=0, **key_of(n))
    run.checked()
    assert len(run.sweeper.rooms.accounts) > before
    assert run.sweeper.counts.anchored == 0, "growth takes no rooms anew"


def test_a_wrong_room_is_told_loudly() -> None:
    run = with_positions()
    for percent in (3, 6, 9, 12, 15):
        run.price(0, PRICE * (100 - percent) // 100)
    run.fold()
    run.sweeper.rooms.slots[:] = room.ROOM_NEVER
    found = run.sweeper.sweep()
    with pytest.raises(
        SweepMismatch, match=r"only the full sweep marks slot \d+ \(\d differ\) after \d+ frames"
    ):
        run.sweeper.check(found)
    with pytest.raises(SweepMismatch, match="only the sweep by rooms marks account 5 "):
        run.sweeper.check(run.sweeper.full()._replace(accounts=np.array([5])))


def test_a_round_of_slices_meets_every_unit_once_and_keeps_the_lowest_ratio() -> None:
    run = with_positions()
    found = run.checked()
    lowest = run.sweeper._worst_e6
    run.sweeper._worst_e6 = 0
    seen: list[tuple[tuple[int, int], tuple[int, int]]] = []
    value = run.sweeper._value
    run.sweeper._value = lambda slots, accounts: (seen.append((slots, accounts)), value(slots, accounts))[1]  # type: ignore[method-assign]
    done = [run.sweeper.check_slice(found, 3) for _ in range(6)]
    assert done == [False, False, True] * 2
    number = run.machine.state.number
    for which, count in ((0, number("positions")), (1, number("accounts"))):
        spans = [spans[which] for spans in seen[:3]]
        assert [k for first, last in spans for k in range(first, last)] == list(range(count))
    assert run.sweeper._worst_e6 == lowest


def test_a_slice_tells_of_its_own_units_only() -> None:
    run = with_positions()
    found = run.checked()
    last = run.machine.state.number("positions") - 1
    wrong = found._replace(slots=np.array([last]))
    assert not run.sweeper.check_slice(wrong, 3), "it is not in the first third"
    assert not run.sweeper.check_slice(wrong, 3)
    with pytest.raises(SweepMismatch, match=f"only the sweep by rooms marks slot {last} "):
        run.sweeper.check_slice(wrong, 3)
