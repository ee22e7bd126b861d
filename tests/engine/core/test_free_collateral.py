"""What accounts may still use is told to the matching engine after every frame that may have changed it."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from engine.core.cross import EVERYTHING_E6
from engine.core.params import Row, oracle_rule
from kernels.frames import DTYPES, ParamKey, SettingKind, Source, Template, TransferKind
from kernels.layouts import OUTBOX_SLOTS
from tests.engine.core.builders import PRICE, Script, genesis
from tests.engine.core.twins import Twins

USDC = 10**6
RICH = 10**12
LARGEST_GROUP = 65_536


class Told(NamedTuple):
    """One FREE_COLLATERAL: what its fields say."""

    as_of_seq: int
    taker: int
    taker_free_e6: int
    maker: int
    maker_free_e6: int


def told(twins: Twins, first: int = 1) -> list[Told]:
    """Those among the outputs from number `first` on."""
    rows = twins.machine.books.outbox[first - 1 : twins.machine.state.number("outputs")]
    frames = rows.reshape(-1).view(DTYPES[Template.FREE_COLLATERAL])
    return [
        Told(*(int(row[name]) for name in Told._fields))
        for row in frames
        if int(row["template"]) == Template.FREE_COLLATERAL
    ]


def new(script: Script, twins: Twins) -> list[Told]:
    """What the script's last frame, applied now, makes."""
    first = twins.machine.state.number("outputs") + 1
    twins.last_of(script)
    return told(twins, first)


def started(deposit_e6: int = RICH) -> tuple[Script, Twins]:
    script = genesis(deposit_e6=deposit_e6)
    return script, Twins(script.frames)


def crossing(*accounts: int) -> tuple[Script, Twins]:
    """A market with a mark, and these accounts cross in it."""
    script = genesis(deposit_e6=RICH)
    script.observe(PRICE)
    script.seconds(2)
    for account in accounts:
        script.setting(account, SettingKind.MARGIN_MODE, 1)
    return script, Twins(script.frames)


def test_a_fill_tells_both_sides_at_once() -> None:
    script, twins = started()
    script.fill(1, 2, 10, PRICE)
    seq = script.last_seq[int(Source.MATCHING)]
    assert new(script, twins) == [Told(seq, 2, twins.free(2), 1, twins.free(1))]
    assert twins.free(1) < RICH and twins.free(2) < RICH


def test_both_are_told_if_one_has_changed() -> None:
    script, twins = started()
    script.fill(1, 2, 10, PRICE)
    twins.last_of(script)
    script.fill(1, 3, -5, PRICE)  # account 1, which is short, buys back; account 3 opens
    both = new(script, twins)
    assert [(t.taker, t.maker, t.maker_free_e6) for t in both] == [(3, 1, twins.free(1))]


def test_a_fill_that_leaves_both_balances_tells_nothing() -> None:
    script, twins = started()
    script.fill(1, 2, 10, PRICE)
    twins.last_of(script)
    script.fill(1, 2, -4, PRICE)
    assert new(script, twins) == []
    script.fill(1, 2, -6, PRICE)
    assert len(new(script, twins)) == 1, "closing returns the cash"


def test_a_self_trade_is_told_with_the_account_on_both_sides() -> None:
    script, twins = started()
    script.fill(2, 2, 10, PRICE)
    seen = new(script, twins)
    assert [t.taker for t in seen] == [t.maker for t in seen]
    assert all(t.taker_free_e6 == t.maker_free_e6 == twins.free(2) for t in seen)


@pytest.mark.parametrize("kind", [TransferKind.WITHDRAWAL, TransferKind.TO_POSITION])
def test_a_transfer_tells_its_account_alone(kind: TransferKind) -> None:
    script, twins = started()
    script.fill(1, 2, 10, PRICE)
    twins.last_of(script)
    script.move(kind, 2, 5 * USDC)
    as_of = script.last_seq[int(Source.MATCHING)]
    assert new(script, twins) == [Told(as_of, 2, twins.free(2), -1, 0)]


def test_a_deposit_is_told_and_the_insurance_funds_is_not() -> None:
    script, twins = started()
    script.deposit(3, 7)
    assert [(t.taker, t.taker_free_e6, t.maker) for t in new(script, twins)] == [(3, RICH + 7, -1)]
    script.deposit(0, 7)
    assert new(script, twins) == []


def test_a_refused_frame_tells_nothing() -> None:
    script, twins = started()
    script.move(TransferKind.WITHDRAWAL, 2, RICH + 1)
    assert new(script, twins) == []
    script.fill(1, 2, 0, PRICE)
    assert new(script, twins) == []


def test_of_a_cross_account_what_its_positions_need_is_left_out() -> None:
    script, twins = crossing(2)
    script.fill(1, 2, 10, PRICE)
    (seen,) = new(script, twins)
    assert twins.free(2) == RICH, "a cross position draws nothing"
    # 10 lots at 30,000: a tenth of 300,000 is needed; the fee of 150 is a loss while there is no gain.
    assert seen.taker_free_e6 == RICH - 30_000 * USDC - 150 * USDC
    assert seen.maker_free_e6 == twins.free(1)


def test_a_cross_account_is_told_even_if_its_balance_stands() -> None:
    script, twins = crossing(1, 2)
    for size in (10, -4):
        script.fill(1, 2, size, PRICE)
        (seen,) = new(script, twins)
        assert (twins.free(1), twins.free(2)) == (RICH, RICH)
        assert RICH - 40_000 * USDC < seen.taker_free_e6 < RICH
    script.setting(2, SettingKind.LEVERAGE, 20)
    (seen,) = new(script, twins)
    assert (seen.taker, seen.maker) == (2, -1)
    assert seen.taker_free_e6 > RICH - 18_000 * USDC, "at 20x its positions need half"


def test_without_a_mark_a_cross_account_may_use_nothing() -> None:
    script = genesis(deposit_e6=RICH)
    rows = [Row(ParamKey.MARKET_SCALE, 3, 4, 4), Row(ParamKey.MARKET_LEVERAGE, 3, 10, 50)]
    rows += [Row(ParamKey.MARKET_BAND, 3, 10_000), Row(ParamKey.FEED, 3, 0, 1), oracle_rule(3, "alone", 1)]
    script.params(rows, change=2)
    script.seconds(1)
    script.setting(2, SettingKind.MARGIN_MODE, 1, market=3)
    twins = Twins(script.frames)
    script.fill(1, 2, 10, PRICE, market=3)
    (seen,) = new(script, twins)
    assert seen.taker_free_e6 == -EVERYTHING_E6
    script.deposit(2, 10)
    assert [t.taker_free_e6 for t in new(script, twins)] == [-EVERYTHING_E6]


def test_the_ring_holds_two_outputs_for_each_frame_of_the_largest_group() -> None:
    assert OUTBOX_SLOTS >= 2 * LARGEST_GROUP
    assert OUTBOX_SLOTS & (OUTBOX_SLOTS - 1) == 0, "the ring's index is taken by its low bits"


def test_plain_fills_tell_what_the_long_way_tells() -> None:
    """Many in one call, which book the short way, against the model, which has one way."""
    script, twins = started()
    before = len(script.frames)
    for k in range(200):
        script.fill(1 + k % 3, 1 + (k + 1) % 3, (k * 7) % 23 - 11 or 5, PRICE)
    twins.apply_all(script.frames[before:])
    assert len(told(twins)) > 50
