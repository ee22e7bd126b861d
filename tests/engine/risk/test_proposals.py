"""Who is proposed, in which order, and who stands on the other side of what insurance cannot take."""

from __future__ import annotations

import numpy as np
import pytest

from engine.core.apply import Machine
from engine.risk import proposals
from engine.risk.insolvent import Insolvent, waiting
from engine.risk.proposals import Proposal, deleverage, frames_of, rank
from engine.risk.sweeper import Found, Sweeper
from kernels.crc32c import first_bad_frame, words_of
from kernels.frames import CANDIDATE, CandidateKind, SettingKind, Source, TransferKind
from kernels.margin import RATIO_MAX_E6
from tests.engine.core.builders import PRICE, Script, genesis, views

USDC = 10**6


def swept(script: Script) -> tuple[Machine, Sweeper, Found]:
    """Books after the script, and who is marked in them."""
    machine = Machine(capacity=len(script.frames))
    machine.apply(views(script.frames), 0, len(script.frames))
    sweeper = Sweeper(machine)
    return machine, sweeper, sweeper.sweep()


def fallen(percent: int, extra: dict[int, int], lots: int = 10, cross: tuple[int, ...] = ()) -> Script:
    """Accounts that bought so many lots of 30,000 USD with leverage 20 from account 9 and put `extra` USDC behind
    them, above the initial margin, before the price of market 0 fell. A cross account has that much free."""
    script = genesis(accounts=9, deposit_e6=0)
    script.deposit(9, 10**8 * USDC)
    for account, usdc in extra.items():
        script.deposit(account, (1_650 * lots + usdc) * USDC)
    for account in cross:
        for market in (0, 1):
            script.setting(account, SettingKind.MARGIN_MODE, 1, market)
    for account in extra:
        script.setting(account, SettingKind.LEVERAGE, 20)
        script.fill(9, account, lots, PRICE)
        if account not in cross and extra.get(account):
            script.move(TransferKind.TO_POSITION, account, extra[account] * USDC)
    for feed in range(3):
        script.observe(PRICE * (100 - percent) // 100, feed=feed)
    script.seconds(1)
    return script


def test_lowest_ratio_first_and_a_cross_account_by_its_largest_position() -> None:
    script = fallen(4, {1: 2_000, 2: 200, 3: 100, 4: 20_000}, cross=(3,))
    script.fill(9, 3, 1000, PRICE, market=1)
    machine, sweeper, found = swept(script)
    ranked = rank(machine, sweeper, found, 100)
    assert [(one.account, one.market) for one in ranked.proposals] == [(2, 0), (3, 0), (1, 0)]
    ratios = [one.ratio_e6 for one in ranked.proposals]
    assert ratios == sorted(ratios) and ratios[-1] < 10**6
    assert ranked.worst_e6 == ratios[0] and ranked.faults == 0
    assert {one.kind for one in ranked.proposals} == {CandidateKind.LIQUIDATE}


@pytest.mark.parametrize("most", [1, 2, 3, 4])
def test_the_bound_keeps_the_lowest(most: int) -> None:
    machine, sweeper, found = swept(fallen(4, {1: 900, 2: 100, 3: 500, 4: 300}))
    ranked = rank(machine, sweeper, found, most)
    assert [one.account for one in ranked.proposals] == [2, 4, 3, 1][:most]


def test_equals_go_by_their_numbers_and_insurance_is_never_proposed() -> None:
    machine, sweeper, found = swept(fallen(4, {1: 0, 2: 0, 3: 0}))
    assert [one.account for one in rank(machine, sweeper, found, 2).proposals] == [1, 2]
    machine.books.positions["account"][found.slots[0]] = 0
    assert [one.account for one in rank(machine, sweeper, found, 2).proposals] == [2, 3]


def test_what_cannot_be_told_is_counted_and_not_proposed() -> None:
    machine, sweeper, _ = swept(fallen(4, {1: 0, 2: 0}))
    machine.books.markets["mark"][0] = 0
    found = sweeper.sweep()
    ranked = rank(machine, sweeper, found, 10)
    assert (ranked.proposals, ranked.faults, ranked.worst_e6) == ([], 3, RATIO_MAX_E6)


def test_frames_are_numbered_sealed_and_say_what_was_seen() -> None:
    given = [
        Proposal(CandidateKind.LIQUIDATE, 7, 2, 800_000),
        Proposal(CandidateKind.DELEVERAGE, 8, 1, -RATIO_MAX_E6, 9),
    ]
    frames = frames_of(given, 41, 1234)
    assert first_bad_frame(words_of(frames), 0, 2) == 2
    rows = frames.view(CANDIDATE)
    assert rows["seq"].tolist() == [41, 42] and set(rows["source"].tolist()) == {int(Source.RISK)}
    assert rows["seen_position"].tolist() == [1234, 1234]
    names = ("kind", "account", "market", "ratio", "counterparty")
    told = list(zip(*(rows[name].tolist() for name in names), strict=True))
    assert told == [(1, 7, 2, 800_000, 0), (2, 8, 1, -RATIO_MAX_E6, 9)]
    assert len(frames_of([], 1, 0)) == 0


def shorts(script: Script, given: dict[int, tuple[int, int]]) -> None:
    """Shorts of (lots, leverage) against account 9."""
    for account, (lots, leverage) in given.items():
        script.deposit(account, 10**6 * USDC)
        script.setting(account, SettingKind.LEVERAGE, leverage)
        script.fill(9, account, -lots, PRICE)


def test_the_most_profitable_times_leveraged_go_first_each_once() -> None:
    """All shorts have the same profit share; leverage decides, then the number. Account 9 is short of nothing."""
    script = genesis(accounts=9, deposit_e6=0)
    script.deposit(9, 10**8 * USDC)
    shorts(script, {1: (3, 5), 2: (3, 20), 3: (3, 10), 4: (3, 10)})
    for feed in range(3):
        script.observe(PRICE * 98 // 100, feed=feed)
    script.seconds(1)
    machine, sweeper, _ = swept(script)
    first, second = Insolvent(8, 0, 5), Insolvent(7, 0, 4)
    told = deleverage(machine, sweeper, [first, second], 100)
    assert {one.kind for one in told} == {CandidateKind.DELEVERAGE}
    assert [(one.account, one.counterparty) for one in told] == [(8, 2), (8, 3), (7, 3), (7, 4)]
    assert [one.counterparty for one in deleverage(machine, sweeper, [first], 1)] == [2]
    # More than the side holds: all of it, once.
    told = deleverage(machine, sweeper, [Insolvent(8, 0, 100), second], 100)
    assert [one.counterparty for one in told] == [2, 3, 4, 1]
    # Never itself, though it should be the first.
    told = deleverage(machine, sweeper, [Insolvent(2, 0, 5)], 100)
    assert [one.counterparty for one in told] == [3, 4]
    # A bankrupt short is covered by longs.
    assert [one.counterparty for one in deleverage(machine, sweeper, [Insolvent(1, 0, -5)], 100)] == [9]


def test_a_cross_position_is_ranked_by_the_leverage_of_its_account() -> None:
    """Its own equity is only its profit: as a unit of its own it would always be first."""
    script = genesis(accounts=9, deposit_e6=0)
    script.deposit(9, 10**8 * USDC)
    script.setting(1, SettingKind.MARGIN_MODE, 1)
    shorts(script, {1: (3, 20), 2: (3, 20)})
    for feed in range(3):
        script.observe(PRICE * 99 // 100, feed=feed)
    script.seconds(1)
    machine, sweeper, _ = swept(script)
    told = deleverage(machine, sweeper, [Insolvent(8, 0, 6)], 100)
    assert [one.counterparty for one in told] == [2, 1]


def under_liquidation(machine: Machine, rows: list[tuple[int, int, int]]) -> None:
    """Pretend that the engine liquidates these (account, market) since `first_ns`."""
    books = machine.books
    for k, (account, market, first_ns) in enumerate(rows):
        row = books.liquidations[k]
        row["account"], row["market"], row["first_ns"] = account, market, first_ns
    books.meta[0]["open_liquidations"] = len(rows)


def test_waiting_for_deleveraging_is_what_is_due_and_too_much_for_insurance() -> None:
    machine, sweeper, _ = swept(fallen(6, {1: 200, 2: 300, 3: 400, 4: 1_000}))
    now = machine.state.number("now_ns")
    under_liquidation(machine, [(4, 0, now - 100), (1, 0, now - 50), (2, 0, now - 10**9)])
    # All are below zero at -6 %; insurance holds one USDC, which bears no lot.
    told = waiting(machine, sweeper)
    assert [(one.account, one.market, one.size) for one in told] == [(2, 0, 10), (4, 0, 10), (1, 0, 10)]
    owners = {
        int(row["account"]): row for row in machine.books.positions[: machine.state.number("positions")]
    }
    mark = PRICE * 94 // 100
    for one in told:
        # Less the funding that accrued in a second.
        assert 0 <= int(owners[one.account]["cash"]) + 10 * mark * 100 - one.equity_e6 < 10_000
    machine.books.accounts[0]["free_e6"] = 10**6 * USDC
    assert waiting(machine, sweeper) == []
    machine.books.accounts[0]["free_e6"] = 9_000 * USDC
    left = waiting(machine, sweeper)
    assert [one.account for one in left] == [4, 1] and 0 < left[0].size < 10 and left[1].size == 10


def test_who_still_has_equity_waits_for_half_a_second_first() -> None:
    machine, sweeper, _ = swept(fallen(4, {1: 500}))
    machine.books.accounts[0]["free_e6"] = 0
    machine.books.meta[0]["reserve_e12"] = 5 * 10**10
    now = machine.state.number("now_ns")
    under_liquidation(machine, [(1, 0, now - 5 * 10**8 + 1)])
    assert waiting(machine, sweeper) == []
    under_liquidation(machine, [(1, 0, now - 5 * 10**8)])
    assert [one.account for one in waiting(machine, sweeper)] == [1]


def test_ties_at_the_bound_are_ranked_exactly() -> None:
    ratios = np.array([5, 3, 3, 9, 3], np.int64)
    assert proposals._nearest(ratios, 2).tolist() == [1, 2, 4]
    assert proposals._nearest(ratios, 5).tolist() == [0, 1, 2, 3, 4]
