"""Margin in the books, case by case with the numbers worked out here: slices, cross sides, leverage, size, bands."""

from __future__ import annotations

import pytest

from engine.core.params import Row, oracle_rule
from kernels.frames import ParamKey, Refusal, SettingKind, Template, TransferKind
from kernels.layouts import ACCOUNT_CROSS, ACCOUNT_FROZEN, LEG_TRANSFER, MARKET_HALTED, POSITION_TOO_LARGE
from kernels.netting import net_legs
from tests.engine.core.builders import PRICE, SCALES, SECOND_NS, Script, genesis
from tests.engine.core.strategies import Hour
from tests.engine.core.twins import Twins

USDC = 10**6
LEVERAGE, MODE = int(SettingKind.LEVERAGE), int(SettingKind.MARGIN_MODE)
OUT, TO, FROM = TransferKind.WITHDRAWAL, TransferKind.TO_POSITION, TransferKind.FROM_POSITION
MILLION = 10**12
LOT = 30_000 * USDC  # of market 0 at PRICE


def crossed(deposit_e6: int = MILLION) -> Script:
    """Account 2 in cross mode in market 0, ten lots long at ten times: 30,000 USDC needed, 150 paid in fees."""
    script = genesis(deposit_e6=deposit_e6)
    script.deposit(1, 10 * MILLION)
    script.setting(2, MODE, 1)
    script.fill(1, 2, 10, PRICE)
    return script


def priced(script: Script, price: int, market: int = 0) -> None:
    """Seconds in which every feed of the market says `price`, so many that a jump is believed."""
    for _ in range(4):
        script.seconds(1)
        for k in range(3 - market):
            script.observe(price, market=market, feed=k, expo=SCALES[market][1] - SCALES[market][0])
    script.seconds(1)


def answer(script: Script, twins: Twins) -> int:
    """The refusal of the script's last frame; a refused one gives its nonce back."""
    why = twins.last_of(script)
    if why:
        for account in script.nonces:
            script.nonces[account] = twins.model.ledger.accounts[account].nonce
    return why


def draws(script: Script, twins: Twins, kind: TransferKind, most: int, market: int = 0) -> bool:
    """Account 2 may draw `most` and not a unit more."""
    script.move(kind, 2, most + 1, market=market)
    refused = answer(script, twins) == Refusal.INSUFFICIENT_FREE
    script.move(kind, 2, most, market=market)
    return refused and answer(script, twins) == 0


def states_told(twins: Twins) -> list[tuple[int, int, int, int]]:
    """(account, market, state, equity_e6) of every ACCOUNT_STATE so far."""
    rows = twins.machine.books.outbox[: twins.model.ledger.outputs]
    found = [row for row in rows if int(row[0]) >> 16 & 0xFFFF == Template.ACCOUNT_STATE]
    return [(int(r[5]) & 0xFFFFFFFF, int(r[7]) >> 16, int(r[5]) >> 32, int(r[3])) for r in found]


def new_market(script: Script) -> int:
    """Market 3 as market 0, but with a feed that has said nothing: it has no mark."""
    rows = [
        Row(ParamKey.MARKET_SCALE, 3, 4, 4),
        Row(ParamKey.MARKET_LEVERAGE, 3, 10, 50),
        Row(ParamKey.MARKET_BAND, 3, 10_000),
        Row(ParamKey.FEED, 3, 0, 1),
        oracle_rule(3, "alone", 1),
    ]
    script.params(rows, change=2)
    script.seconds(1)
    return 3


def test_a_withdrawal_leaves_cross_positions_what_they_need() -> None:
    script = crossed()
    assert draws(script, Twins(script.frames), OUT, MILLION - 30_150 * USDC)


def test_a_loss_locks_more_and_a_gain_nothing_less() -> None:
    for price, locked in (
        (PRICE // 100 * 99, 29_700 + 3_000 + 150),
        (PRICE // 100 * 101, 30_300),
        (2 * PRICE, 60_000),
    ):
        script = crossed()
        priced(script, price)
        assert draws(script, Twins(script.frames), OUT, MILLION - locked * USDC), price


def test_two_cross_positions_make_up_for_each_other_only_in_their_loss() -> None:
    script = crossed()
    script.setting(2, MODE, 1, market=1)
    script.fill(1, 2, -1_000_000, PRICE, market=1)  # 300,000 USDC short
    priced(script, PRICE * 104 // 100)
    priced(script, PRICE * 103 // 100, market=1)
    twins = Twins(script.frames)
    # +12,000 and -9,000 less 300 of fees is a gain: 31,200 + 30,900 are needed, and that is all.
    assert draws(script, twins, OUT, MILLION - 62_100 * USDC)
    priced(script, PRICE * 108 // 100, market=1)
    twins = Twins(script.frames)
    free = twins.free(2)
    # +12,000 and -24,000 less 300 of fees
    assert free - (31_200 + 32_400 + 12_300) * USDC < 0
    script.move(OUT, 2, 1)
    assert answer(script, twins) == Refusal.INSUFFICIENT_FREE


def test_an_isolated_position_takes_only_what_cross_positions_leave() -> None:
    script = crossed(deposit_e6=40_150 * USDC)
    script.fill(1, 2, 400_000, PRICE, market=1)  # 120,000 USDC: 12,000 needed, 60 paid in fees
    twins = Twins(script.frames)
    assert twins.free(2) == 30_150 * USDC
    assert int(twins.position(2, 1)["cash"]) == (-120_000 - 60 + 10_000) * USDC
    script.fill(1, 2, 1000, PRICE, market=1)
    assert twins.last_of(script) == 0
    assert twins.free(2) == 30_150 * USDC, "nor does one that is there already take more"
    script.move(TO, 2, 1, market=1)
    assert answer(script, twins) == Refusal.INSUFFICIENT_FREE


def test_cash_for_an_isolated_position_comes_from_what_is_not_needed() -> None:
    script = crossed()
    script.fill(1, 2, 1000, PRICE, market=1)  # 300 USDC: 30 needed, 0.15 of fees
    twins = Twins(script.frames)
    assert draws(script, twins, TO, MILLION - 30_150 * USDC - 30 * USDC - 150_000, market=1)


def test_a_cross_position_takes_no_collateral_of_its_own() -> None:
    script = crossed()
    twins = Twins(script.frames)
    for kind in (TO, FROM):
        script.move(kind, 2, 1)
        assert answer(script, twins) == Refusal.INSUFFICIENT_POSITION


def test_without_a_mark_nothing_can_be_drawn() -> None:
    script = genesis(deposit_e6=MILLION)
    market = new_market(script)
    script.setting(2, MODE, 1, market=market)
    script.fill(1, 2, 1000, PRICE, market=1)
    twins = Twins(script.frames)
    script.move(OUT, 2, 1)
    assert answer(script, twins) == 0, "an empty cross position needs no mark"
    script.fill(1, 2, 1, PRICE, market=market)
    assert twins.last_of(script) == 0
    script.move(OUT, 2, 1)
    assert answer(script, twins) == Refusal.MARK_UNKNOWN
    script.move(TO, 2, 1, market=1)
    assert answer(script, twins) == Refusal.MARK_UNKNOWN
    script.move(OUT, 2, MILLION)
    assert answer(script, twins) == Refusal.INSUFFICIENT_FREE
    script.setting(2, LEVERAGE, 9, market=market)
    assert answer(script, twins) == Refusal.MARK_UNKNOWN
    script.setting(2, LEVERAGE, 11, market=market)
    assert answer(script, twins) == 0
    free = twins.free(2)
    script.fill(1, 2, 1, PRICE)
    assert twins.last_of(script) == 0 and twins.free(2) == free
    script.setting(1, LEVERAGE, 9, market=market)
    assert answer(script, twins) == Refusal.MARK_UNKNOWN


def test_a_cross_account_halts_by_what_all_of_it_is_worth() -> None:
    script = crossed(deposit_e6=10_000 * USDC)
    script.setting(2, MODE, 1, market=1)
    script.fill(1, 2, -1_000_000, PRICE, market=1)
    priced(script, PRICE * 3 // 2)
    priced(script, PRICE * 3 // 2, market=1)
    script.fill(1, 2, 1_000_000, PRICE * 3 // 2, market=1)  # 150,000 lost here, 150,000 gained there
    twins = Twins(script.frames)
    assert twins.free(2) < 0
    assert int(twins.market(1)["state"]) == 0 and int(twins.market(0)["state"]) == 0
    priced(script, PRICE)
    script.fill(1, 2, -1, PRICE)
    twins = Twins(script.frames)
    assert int(twins.market(0)["state"]) == MARKET_HALTED
    assert int(twins.machine.books.accounts[2]["flags"]) == ACCOUNT_FROZEN | ACCOUNT_CROSS
    # 10,000 - 150,000 lost and no gain; fees: 150 each of the first two, 225 and 15 of the last two.
    assert states_told(twins)[-1] == (2, 0, 1, (10_000 - 150_000 - 150 - 150 - 225 - 15) * USDC)


def test_a_lower_leverage_is_paid_for_at_once() -> None:
    script = genesis(deposit_e6=80_000 * USDC)
    script.fill(1, 2, 10, PRICE)
    twins = Twins(script.frames)
    free = twins.free(2)
    script.setting(2, LEVERAGE, 5)
    legs = twins.apply(script.frames[-1]).legs
    assert [(leg.account, leg.market, leg.kind, leg.transfer, leg.dcash) for leg in legs] == [
        (2, 0, LEG_TRANSFER, 30_000 * USDC, 0)
    ]
    assert twins.free(2) == free - 30_000 * USDC
    assert int(twins.position(2)["cash"]) + 10 * LOT == 60_000 * USDC
    script.setting(2, LEVERAGE, 3)  # 100,000.02, a third rounded up
    assert answer(script, twins) == Refusal.INSUFFICIENT_FREE
    assert int(twins.position(2)["leverage"]) == 5
    script.setting(2, LEVERAGE, 20)
    assert twins.apply(script.frames[-1]).legs == []
    assert int(twins.position(2)["cash"]) + 10 * LOT == 60_000 * USDC
    for quote, why in ((45_000 * USDC + 1, Refusal.INSUFFICIENT_POSITION), (45_000 * USDC, 0)):
        script.move(FROM, 2, quote)
        assert answer(script, twins) == why


def test_the_leg_of_a_leverage_is_netted_and_settles_funding() -> None:
    script = genesis(deposit_e6=MILLION)
    script.fill(1, 2, 10, PRICE)
    twins = Twins(script.frames)
    Hour(3600 * 10**10, 3600, PRICE).build(twins)
    script.tick((script.now_ns // (3600 * SECOND_NS) + 1) * 3600 * SECOND_NS)
    assert twins.last_of(script) == 0
    owed = 10 * int(twins.market()["index_e6"]) // 10**4
    assert owed > 0 and int(twins.position(2)["idx"]) == 0
    script.setting(2, LEVERAGE, 5)
    raw = script.frames[-1]
    legs = twins.apply(raw).legs
    assert [leg.funding for leg in legs] == [-owed]
    assert legs[0].transfer == 30_000 * USDC + owed
    assert int(twins.position(2)["idx"]) == int(twins.market()["index_e6"])
    deltas = net_legs(twins.machine._scratch.legs[:1])
    assert [(int(row["account"]), int(row["transfer"])) for row in deltas] == [(2, legs[0].transfer)]


@pytest.mark.parametrize(("short", "moved"), [(-1, []), (0, []), (1, [1])])
def test_a_lower_leverage_takes_what_is_short_to_the_unit(short: int, moved: list[int]) -> None:
    script = genesis(deposit_e6=MILLION)
    script.fill(1, 2, 10, PRICE)
    script.move(TO, 2, 30_000 * USDC - short)
    twins = Twins(script.frames)
    script.setting(2, LEVERAGE, 5)
    assert [leg.transfer for leg in twins.apply(script.frames[-1]).legs] == moved
    assert int(twins.position(2)["leverage"]) == 5


def test_the_leverage_that_is_in_force_moves_nothing_though_the_position_is_short() -> None:
    script = genesis(deposit_e6=MILLION)
    script.fill(1, 2, 10, PRICE)
    priced(script, PRICE * 99 // 100)
    twins = Twins(script.frames)
    for leverage in (10, 11):
        script.setting(2, LEVERAGE, leverage)
        assert twins.apply(script.frames[-1]).legs == []


def test_a_lower_leverage_of_a_cross_position_must_leave_its_account_funded() -> None:
    script = crossed(deposit_e6=60_150 * USDC)
    twins = Twins(script.frames)
    script.setting(2, LEVERAGE, 4)
    assert answer(script, twins) == Refusal.INSUFFICIENT_FREE
    script.setting(2, LEVERAGE, 5)
    assert twins.apply(script.frames[-1]).legs == []
    priced(script, PRICE * 11 // 10)
    twins = Twins(script.frames)
    # The gain of 30,000 meets the requirement, though it cannot be paid out: 90,000 against 330,000 / 4.
    script.setting(2, LEVERAGE, 4)
    assert answer(script, twins) == 0
    script.move(OUT, 2, 1)
    assert answer(script, twins) == Refusal.INSUFFICIENT_FREE


def test_a_lower_leverage_takes_nothing_that_cross_positions_need() -> None:
    script = crossed(deposit_e6=40_150 * USDC)
    script.fill(1, 2, 100_000, PRICE, market=1)  # 30,000 USDC: 3,000 needed, 15 of fees
    twins = Twins(script.frames)
    script.setting(2, LEVERAGE, 2, market=1)  # 12,000 more, of 6,985 that are left
    assert answer(script, twins) == Refusal.INSUFFICIENT_FREE
    script.setting(2, LEVERAGE, 4, market=1)
    assert answer(script, twins) == 0


@pytest.mark.parametrize("mode", [0, 1])
def test_a_position_too_large_for_its_leverage_is_booked_and_told(mode: int) -> None:
    script = genesis(deposit_e6=MILLION)
    script.setting(2, MODE, mode)
    script.setting(2, LEVERAGE, 50)
    script.fill(1, 2, 3, PRICE)  # 90,000 of at most 100,000 USDC
    twins = Twins(script.frames)
    assert states_told(twins) == []
    for size, states in ((1, [2]), (1, []), (-1, []), (-1, [0])):
        before = len(states_told(twins))
        script.fill(1, 2, size, PRICE)
        assert twins.last_of(script) == 0
        assert [state for *_, state, _ in states_told(twins)[before:]] == states
        assert bool(int(twins.position(2)["flags"]) & POSITION_TOO_LARGE) == (twins.position(2)["size"] > 3)
    assert int(twins.position(1)["flags"]) == 0, "ten times admits any size"


def test_leverage_changes_how_large_a_position_may_be() -> None:
    script = genesis(deposit_e6=MILLION)
    script.fill(1, 2, 4, PRICE)
    twins = Twins(script.frames)
    for leverage, told in ((21, [(2, 0, 2, 12_000 * USDC)]), (50, []), (20, [(2, 0, 0, 12_000 * USDC)])):
        before = len(states_told(twins))
        script.setting(2, LEVERAGE, leverage)
        assert twins.last_of(script) == 0
        assert states_told(twins)[before:] == told


def test_a_frozen_account_that_may_only_reduce_is_told_both() -> None:
    script = genesis(deposit_e6=MILLION)
    script.setting(2, LEVERAGE, 50)
    script.fill(1, 2, 4, PRICE * 2)
    twins = Twins(script.frames)
    assert [(a, m, state) for a, m, state, _ in states_told(twins)] == [(2, 0, 2), (1, 0, 1), (2, 0, 3)]


def test_the_band_of_a_market_is_a_parameter() -> None:
    script = genesis(deposit_e6=10**13)
    script.params([Row(ParamKey.MARKET_BAND, 0, 10_000)], change=2)
    script.seconds(1)
    script.fill(1, 2, 1, PRICE * 101 // 100)
    script.fill(1, 2, 1, PRICE * 99 // 100)
    twins = Twins(script.frames)
    assert int(twins.market()["state"]) == 0
    script.fill(1, 2, 1, PRICE * 99 // 100 - 1)
    assert twins.last_of(script) == 0
    assert int(twins.market()["state"]) == MARKET_HALTED


def test_an_account_is_cross_as_long_as_one_of_its_positions_is() -> None:
    script = genesis()
    twins = Twins(script.frames)
    for market, mode, flags in ((0, 1, 4), (2, 1, 4), (2, 1, 4), (0, 0, 4), (1, 0, 4), (2, 0, 0), (2, 0, 0)):
        script.setting(2, MODE, mode, market=market)
        assert answer(script, twins) == 0
        assert int(twins.machine.books.accounts[2]["flags"]) == flags
