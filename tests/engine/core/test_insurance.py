"""Insurance's way out: it takes over, sells by reduce-only orders, is backed by its fund, and past that deleveraged;
on machine and model at once, identities after every frame."""

from __future__ import annotations

import pytest

from engine.core.params import Row
from kernels.frames import LiquidationKind, ParamKey, Refusal, SettingKind
from kernels.layouts import LEG_DELEVERAGE, LEG_TRANSFER, MARKET_FROZEN
from tests.engine.core.builders import PRICE
from tests.engine.core.liquidation_stage import (
    CANCEL_ALL,
    DELEVERAGE,
    REDUCE_ONLY,
    RELEASE,
    TAKER_E9,
    USDC,
    Stage,
    mark,
    quote,
)

DROP = -60_000


def holding(insurance_e6: int = 10**13, lots: int = 1_000, rows: tuple[Row, ...] = ()) -> Stage:
    """Insurance has taken over so many lots at 6 % below PRICE, from account 2."""
    stage = Stage(insurance_e6=insurance_e6, rows=rows)
    stage.open(lots)
    stage.move(DROP)
    assert stage.candidate() == 0
    assert stage.position(0)[0] == lots
    stage.told()
    return stage


def sell(stage: Stage, lots: int, ppm: int = DROP, maker: int = 3) -> int:
    """Insurance sells so many lots to an account; the refusal."""
    stage.script.fill(maker, 0, -lots, mark(ppm))
    return stage.take()


def test_it_is_told_to_sell_all_it_holds_within_the_band_and_again_each_second() -> None:
    stage = holding()
    assert stage.candidate(0) == 0
    limit = mark(DROP) - mark(DROP) // 10
    assert stage.told() == [(CANCEL_ALL, 0, -1, 0, 0), (REDUCE_ONLY, 0, 0, -1_000, limit)]
    for _ in range(9):
        stage.later()
        assert stage.candidate(0) == 0
    assert stage.told() == []
    stage.move(DROP + 10_000)
    assert stage.candidate(0) == 0
    limit = mark(DROP + 10_000) - mark(DROP + 10_000) // 10
    assert stage.told() == [(REDUCE_ONLY, 0, 0, -1_000, limit)]


def test_the_limit_is_where_the_fund_would_be_empty() -> None:
    stage = holding(insurance_e6=700_000 * USDC)
    stage.candidate(0)
    (_, _, _, lots, limit), fund = stage.told()[-1], stage.free() + stage.position(0)[1]
    fee = quote(1_000, limit) * TAKER_E9 // 10**9
    assert lots == -1_000 and mark(DROP) * 9 // 10 < limit < mark(DROP)
    assert 0 <= fund + quote(1_000, limit) - fee < quote(1_000, 1) + USDC


def test_what_it_sells_goes_to_the_fund_less_the_fee_of_its_tier() -> None:
    stage = holding()
    stage.candidate(0)
    stage.told()
    fund = stage.free() + stage.position(0)[1]
    assert sell(stage, 400) == 0
    assert stage.told() == [], "its order stands; the next comes in a second"
    assert sell(stage, 600) == 0
    got = quote(1_000, mark(DROP))
    assert stage.position(0) == (0, 0)
    assert stage.free() == fund + got - got * TAKER_E9 // 10**9
    assert [order.kind for order in stage.told()] == [RELEASE]
    assert stage.open_rows() == 0 and not stage.twins.market()["state"]
    assert stage.candidate(0) == Refusal.STALE_CANDIDATE


def test_as_maker_it_closes_too() -> None:
    stage = holding()
    stage.script.fill(0, 3, 1_000, mark(DROP))
    assert stage.take() == 0
    assert stage.position(0) == (0, 0)


@pytest.mark.parametrize(
    ("maker", "taker", "size", "left"),
    [(3, 0, 1, 1_001), (3, 0, -1_001, -1), (0, 3, -1, 1_001), (0, 3, 1_001, -1), (0, 0, 1, 1_000)],
)
def test_a_fill_that_does_not_only_close_is_booked_as_what_it_is(
    maker: int, taker: int, size: int, left: int
) -> None:
    stage = holding()
    fund, cash = stage.free(), stage.position(0)[1]
    stage.script.fill(maker, taker, size, mark(DROP))
    assert stage.take() == 0
    assert not stage.twins.market()["state"]
    assert stage.position(0)[0] == left
    # What moved beside quote and fee came from the fund or went there.
    spent = fund + cash - stage.free() - stage.position(0)[1]
    assert abs(spent - (left - 1_000) * quote(1, mark(DROP))) <= stage.twins.market()["fees_e6"] + USDC


def test_a_fill_on_its_way_past_a_takeover_opens_and_what_it_opens_is_sold() -> None:
    """Insurance sells 100 lots; before the fill arrives a takeover of the other side has closed its position."""
    stage = holding(lots=100)
    assert stage.candidate(0) == 0
    stage.open(-100, account=4, maker=5)
    stage.move(DROP + 90_000)
    assert stage.candidate(4) == 0
    assert stage.position(0) == (0, 0)
    stage.told()
    fund = stage.free()
    assert sell(stage, 100, ppm=DROP + 90_000) == 0
    size, cash = stage.position(0)
    assert size == -100 and not stage.twins.market()["state"]
    margin = cash - quote(100, mark(DROP + 90_000))
    assert 0 < margin <= fund - stage.free(), "initial margin from the fund, and the fee"
    assert stage.candidate(0) == 0
    told = [order for order in stage.told() if order.account == 0]
    assert [(order.kind, order.size) for order in told] == [(CANCEL_ALL, 0), (REDUCE_ONLY, 100)]
    stage.script.fill(3, 0, 100, mark(DROP + 90_000))
    assert stage.take() == 0 and stage.position(0) == (0, 0)


def test_an_order_on_the_wrong_side_is_withdrawn_and_one_on_the_right_follows_at_once() -> None:
    stage = holding()
    assert stage.candidate(0) == 0
    stage.told()
    assert sell(stage, 1_200) == 0
    assert [(order.kind, order.account) for order in stage.told()] == [(RELEASE, 0)]
    assert stage.candidate(0) == 0
    assert [(order.kind, order.size) for order in stage.told()] == [(CANCEL_ALL, 0), (REDUCE_ONLY, 200)]
    assert sell(stage, 1) == 0
    assert stage.told() == [], "on this side it only adds, and the order goes on reducing"


def test_what_an_empty_fund_opens_is_deleveraged() -> None:
    stage = holding(insurance_e6=700_000 * USDC)
    assert sell(stage, 1_000, ppm=DROP) == 0
    assert sell(stage, 6_000, ppm=DROP) == 0
    assert stage.position(0)[0] == -6_000 and stage.free() == 0
    stage.told()
    stage.move(DROP + 80_000)
    assert stage.candidate(0) == 0
    assert stage.candidate(0, kind=DELEVERAGE, against=3) == 0
    assert stage.position(0) == (0, 0) and stage.free() == 0


def test_where_it_never_held_anything_it_cannot_trade() -> None:
    """No order of ours can have led to such a fill: somebody numbers accounts wrongly."""
    stage = Stage()
    for maker, taker in ((0, 1), (1, 0)):
        stage.script.fill(maker, taker, 1, PRICE)
        assert stage.take() == Refusal.INSURANCE_REDUCE_ONLY
        assert stage.twins.market()["state"] == MARKET_FROZEN


def test_a_loss_past_the_fund_stays_in_its_slot_and_the_fund_is_not_below_zero() -> None:
    stage = holding(insurance_e6=700_000 * USDC, rows=(Row(ParamKey.MARKET_BAND, 0, 500_000),))
    fund = stage.free() + stage.position(0)[1]
    assert sell(stage, 1_000, ppm=DROP - 60_000) == 0
    got = quote(1_000, mark(DROP - 60_000))
    left = fund + got - got * TAKER_E9 // 10**9
    assert left < 0
    assert (stage.free(), stage.position(0)) == (0, (0, left))
    assert not stage.twins.market()["state"], "nobody but insurance lacks anything"
    # What covers a debt is free balance that comes later: the slot is met at its next close.
    assert stage.candidate(0) == Refusal.STALE_CANDIDATE


@pytest.mark.parametrize("insurance_is_maker", [False, True])
def test_one_fund_covers_the_other_side_and_takes_what_insurance_gets(insurance_is_maker: bool) -> None:
    """In one fill a bankrupt position closes with a deficit and insurance with a gain, or the other way round."""
    stage = holding(insurance_e6=1_000_000 * USDC, rows=(Row(ParamKey.MARKET_BAND, 0, 500_000),))
    stage.open(-200, account=4, maker=5)
    stage.move(DROP + 40_000)
    stage.move(DROP + 90_000)
    before = stage.free() + stage.position(0)[1]
    (size, cash), price = stage.position(4), DROP + 90_000
    assert (size, stage.position(0)[0]) == (-200, 1_000)
    sell(stage, 800, ppm=price)
    stage.script.fill(*((0, 4, 200) if insurance_is_maker else (4, 0, -200)), mark(price))
    assert stage.take() == 0
    lack = -(cash - quote(200, mark(price)))
    assert lack > 0 and stage.position(4) == (0, 0)
    assert stage.position(0) == (0, 0)
    # Maker of the last fill with a rebate or a fee, taker with a fee; both sides' fees are in what moved.
    paid = stage.twins.market()["fees_e6"]
    gain = quote(1_000, mark(price))
    assert 0 < before + gain - lack - stage.free() < paid


def test_a_position_that_lacks_margin_is_lifted_from_the_fund() -> None:
    stage = holding()
    fund, (size, cash) = stage.free(), stage.position(0)
    stage.move(DROP - 20_000)
    assert stage.candidate(0) == 0
    (leg,) = [leg for leg in stage.legs() if leg[1:4] == (0, 0, LEG_TRANSFER)]
    moved = leg[6]
    assert moved > 0 and (stage.free(), stage.position(0)) == (fund - moved, (size, cash + moved))
    assert stage.candidate(0) == 0
    assert stage.free() == fund - moved, "once is enough"
    assert stage.candidate(0, kind=DELEVERAGE, against=1) == Refusal.STALE_CANDIDATE


def short_of_money() -> Stage:
    """The fund has little left, and what it holds falls by a few percent more."""
    stage = holding(insurance_e6=700_000 * USDC)
    assert stage.candidate(0) == 0
    stage.told()
    stage.move(DROP - 40_000)
    return stage


def test_what_the_fund_cannot_back_is_deleveraged_at_the_mark_as_far_as_it_reaches() -> None:
    stage = short_of_money()
    fund, (size, cash) = stage.free(), stage.position(0)
    lack = -(cash + quote(size, mark(DROP - 40_000)))
    assert stage.candidate(0, kind=DELEVERAGE, against=3) == Refusal.STALE_CANDIDATE, "holds nothing"
    assert stage.candidate(0, kind=DELEVERAGE, against=0) == Refusal.STALE_CANDIDATE
    assert stage.candidate(0, kind=DELEVERAGE, against=1) == 0
    lifted = min(max(0, lack), fund)
    assert [leg[1:7] for leg in stage.legs()] == [
        (0, 0, LEG_DELEVERAGE, -size, -(cash + lifted), lifted),
        (1, 0, LEG_DELEVERAGE, size, cash + lifted, stage.legs()[1][6]),
    ]
    assert (stage.free(), stage.position(0)) == (fund - lifted, (0, 0))
    assert [order.kind for order in stage.told()] == [LiquidationKind.DELEVERAGE] * 2 + [RELEASE]


def test_it_is_deleveraged_only_once_begun() -> None:
    stage = holding(insurance_e6=700_000 * USDC)
    stage.move(DROP - 40_000)
    assert stage.candidate(0, kind=DELEVERAGE, against=1) == Refusal.STALE_CANDIDATE
    assert stage.candidate(0) == 0
    assert stage.candidate(0, kind=DELEVERAGE, against=1) == 0


def test_a_takeover_from_the_other_side_sells_it_off_and_ends_its_orders() -> None:
    stage = holding(lots=100)
    assert stage.candidate(0) == 0
    stage.open(-100, account=4, maker=5)
    stage.told()
    stage.move(DROP + 90_000)
    assert stage.candidate(4) == 0
    assert stage.position(0) == (0, 0) and stage.position(4) == (0, 0)
    ended = [(order.kind, order.account) for order in stage.told()]
    assert ended[-2:] == [(RELEASE, 4), (RELEASE, 0)]
    assert stage.open_rows() == 0


def test_nobody_changes_its_settings() -> None:
    stage = holding()
    for kind in SettingKind:
        stage.script.setting(0, kind, 1)
        assert stage.take() == Refusal.UNKNOWN_ACCOUNT


def test_risks_silence_withdraws_its_order_and_a_word_places_it_anew() -> None:
    stage = holding()
    stage.candidate(0)
    stage.told()
    stage.later(101)
    assert [order.kind for order in stage.told()] == [RELEASE]
    stage.say(DROP)
    stage.later()
    assert stage.candidate(0) == 0
    assert [order.kind for order in stage.told()] == [CANCEL_ALL, REDUCE_ONLY]
