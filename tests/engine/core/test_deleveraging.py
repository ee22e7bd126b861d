"""Past insurance: deleveraging, and cross accounts as one unit; on machine and model at once, identities after every
frame."""

from __future__ import annotations

import pytest

from engine.core.params import Row
from kernels.frames import (
    LiquidationKind,
    ParamKey,
    Refusal,
    SettingKind,
    Template,
    TransferKind,
)
from kernels.layouts import (
    LEG_DELEVERAGE,
    LEG_TAKEOVER,
)
from tests.engine.core.builders import PRICE, Script, views
from tests.engine.core.fixed_run import fold
from tests.engine.core.liquidation_stage import (
    CANCEL_ALL,
    DELEVERAGE,
    REDUCE_ONLY,
    RELEASE,
    TAKEOVER,
    USDC,
    Stage,
    mark,
    quote,
)


def test_what_insurance_takes_over_leaves_nothing_behind() -> None:
    stage = Stage()
    stage.open(1_000)
    stage.move(-30_000)
    assert stage.candidate() == 0
    stage.later(5)
    before, insurance, free = stage.position(), stage.free(), stage.free(2)
    assert stage.candidate() == 0
    size, cash = before
    worth = quote(size, mark(-30_000))
    transfer = max(0, worth // 100 - cash - worth)
    assert stage.position() == (0, 0)
    assert stage.position(0) == (size, cash + transfer)
    assert (stage.free(), stage.free(2)) == (insurance - transfer, free)
    # account, market, kind, dsize, dcash, transfer, cover, fee
    assert [leg[1:9] for leg in stage.legs()] == [
        (2, 0, LEG_TAKEOVER, -size, -cash, 0, 0, 0),
        (0, 0, LEG_TAKEOVER, size, cash, transfer, 0, 0),
    ]
    assert stage.told()[-2][:4] == (TAKEOVER, 2, 0, -size)
    assert stage.open_rows() == 0
    assert stage.twins.machine.state.number("liquidations") == 1
    assert stage.candidate() == Refusal.STALE_CANDIDATE


def test_what_insurance_cannot_take_is_deleveraged_and_nothing_is_made_or_lost() -> None:
    stage = Stage(insurance_e6=USDC)
    stage.open(1_000)
    stage.open(-300, account=3, leverage=10, maker=4)
    stage.move(-60_000)
    assert stage.candidate(kind=DELEVERAGE, against=3) == Refusal.STALE_CANDIDATE, "not begun"
    assert stage.candidate() == 0
    assert stage.free() == USDC, "one lot is too much for it"
    assert [order.kind for order in stage.told()] == [CANCEL_ALL]
    (size, cash), (size3, _), (size1, cash1) = stage.position(), stage.position(3), stage.position(1)
    assert (size, size3, size1) == (1_000, -300, -1_000)
    free3 = stage.free(3)
    assert stage.candidate(kind=DELEVERAGE, against=3) == 0
    moved = cash * 300 // 1_000
    assert stage.position() == (700, cash - moved)
    assert stage.position(3) == (0, 0)
    assert [leg[1:6] for leg in stage.legs()] == [
        (2, 0, LEG_DELEVERAGE, -300, -moved),
        (3, 0, LEG_DELEVERAGE, 300, moved),
    ]
    assert stage.legs()[1][6] == -(stage.free(3) - free3), "what its position held is free now"
    assert [(o.kind, o.account, o.size) for o in stage.told()] == [
        (LiquidationKind.DELEVERAGE, 2, -300),
        (LiquidationKind.DELEVERAGE, 3, 300),
    ]
    assert stage.candidate(kind=DELEVERAGE, against=1) == 0
    assert (stage.position(), stage.position(1)) == ((0, 0), (-300, cash1 + cash - moved))
    assert [o.kind for o in stage.told()][-1] == RELEASE
    assert stage.free() == USDC


def test_insurance_takes_what_it_can_back_and_the_rest_is_deleveraged() -> None:
    stage = Stage(insurance_e6=200_000 * USDC)
    stage.open(1_000)
    stage.move(-60_000)
    assert stage.candidate() == 0
    left, _ = stage.position()
    assert 0 < left < 1_000 and stage.position(0)[0] == 1_000 - left
    assert 0 <= stage.free() < 600 * USDC, "less than another lot needs"
    assert stage.open_rows() == 1
    assert stage.candidate(kind=DELEVERAGE, against=1) == 0
    assert stage.position() == (0, 0)
    assert stage.open_rows() == 0


def deleveraging(**insurance: int) -> Stage:
    """Account 2 bankrupt with 1,000 lots, and begun; 3 stands on the same side, 4 beside it with nothing."""
    stage = Stage(**insurance)
    stage.open(1_000)
    stage.open(10, account=3, leverage=10)
    stage.move(-60_000)
    assert stage.candidate() == 0
    return stage


@pytest.mark.parametrize("against", [2, 3, 4, 0, -1, 6, 2**40, -(2**63)])
def test_only_the_other_side_is_deleveraged(against: int) -> None:
    stage = deleveraging(insurance_e6=USDC)
    stage.told()
    assert stage.candidate(kind=DELEVERAGE, against=against) == Refusal.STALE_CANDIDATE
    assert stage.told() == []


def test_nobody_is_deleveraged_while_insurance_can_bear_a_lot() -> None:
    stage = deleveraging(insurance_e6=USDC)
    stage.script.deposit(0, 10**10)
    stage.take()
    assert stage.candidate(kind=DELEVERAGE, against=1) == Refusal.STALE_CANDIDATE
    assert stage.candidate() == 0
    assert stage.candidate(kind=DELEVERAGE, against=1) == 0


def test_nobody_is_deleveraged_before_the_takeover_is_due() -> None:
    stage = Stage(insurance_e6=USDC)
    stage.open(1_000)
    stage.move(-30_000)
    assert stage.candidate() == 0
    stage.later(4)
    assert stage.candidate(kind=DELEVERAGE, against=1) == Refusal.STALE_CANDIDATE
    stage.later()
    assert stage.candidate(kind=DELEVERAGE, against=1) == Refusal.STALE_CANDIDATE, "insurance gains by it"


def test_a_counterparty_that_would_fall_below_zero_is_spared() -> None:
    stage = Stage(insurance_e6=USDC, rows=(Row(ParamKey.MARKET_BAND, 0, 500_000),))
    stage.open(1_000)
    stage.move(-90_000)
    # At 50x a short entered at the fallen price has less than the 4 % of its notional that it would lose.
    stage.script.setting(3, SettingKind.LEVERAGE, 50)
    stage.script.fill(4, 3, -2, mark(-90_000))
    stage.take()
    assert stage.candidate() == 0
    assert stage.candidate(kind=DELEVERAGE, against=3) == Refusal.STALE_CANDIDATE
    assert stage.candidate(kind=DELEVERAGE, against=1) == 0


def crossed() -> Stage:
    """Account 2 cross in markets 0 and 1, with as much free as it may keep: 100,000 USDC less."""
    stage = Stage()
    for m in (0, 1):
        stage.script.setting(2, SettingKind.MARGIN_MODE, 1, market=m)
    stage.open(100)
    stage.open(1_000_000, market=1)
    stage.script.move(TransferKind.WITHDRAWAL, 2, stage.free(2) - 170_000 * USDC)
    assert stage.take() == 0
    return stage


def test_a_cross_account_is_one_unit_and_ends_at_nothing() -> None:
    stage = crossed()
    stage.move(-30_000)
    assert stage.candidate() == 0
    assert [o.kind for o in stage.told()] == [CANCEL_ALL, REDUCE_ONLY]
    assert stage.candidate(market=1) == Refusal.STALE_CANDIDATE, "one position of a unit at a time"
    stage.later(5)
    (size, cash), (other, other_cash) = stage.position(), stage.position(market=1)
    beside = stage.free(2) + other_cash + other * PRICE // 1_000
    assert beside != 0
    assert stage.candidate() == 0
    assert stage.legs()[0][1:7] == (2, 0, LEG_TAKEOVER, -size, -cash - beside, beside)
    assert stage.position() == (0, 0)
    assert stage.free(2) + other_cash + other * PRICE // 1_000 == 0, "the rest is worth nothing now"
    assert stage.candidate(market=1) == 0, "and follows at once"
    assert (stage.position(market=1), stage.free(2)) == ((0, 0), 0)
    assert stage.open_rows() == 0


def test_a_cross_counterparty_pays_with_all_it_has() -> None:
    stage = Stage(insurance_e6=USDC)
    stage.open(1_000)
    stage.script.setting(3, SettingKind.MARGIN_MODE, 1)
    stage.script.fill(4, 3, -300, PRICE)
    stage.move(-60_000)
    assert stage.candidate() == 0
    free, (_, cash), (_, theirs) = stage.free(3), stage.position(), stage.position(3)
    assert stage.candidate(kind=DELEVERAGE, against=3) == 0
    assert stage.position(3) == (0, 0)
    assert stage.free(3) == free + theirs + cash * 300 // 1_000


def test_grouping_does_not_show_in_liquidations() -> None:
    stage = deleveraging(insurance_e6=200_000 * USDC)
    stage.candidate(kind=DELEVERAGE, against=1)
    stage.later(12)
    stage.open(500, account=5)
    stage.move(-90_000)
    for _ in range(4):
        stage.candidate(5)
        stage.script.fill(1, 5, -20, mark(-90_000))
        stage.later(2)
    frames = stage.script.frames
    alone = fold(frames, 1)
    assert alone["digest"] == stage.twins.model.digest().hex()
    assert fold(frames, 7) == alone == fold(frames, len(frames))


def test_views_have_candidates() -> None:
    script = Script()
    script.add(Template.CANDIDATE, account=7, kind=DELEVERAGE, counterparty=9)
    row = views(script.frames).candidate[0]
    assert (int(row["account"]), int(row["kind"]), int(row["counterparty"])) == (7, 2, 9)
