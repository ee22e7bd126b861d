"""Liquidation step by step, with the numbers worked out here; on machine and model at once, identities after every
frame."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest

from engine.core.params import Row, oracle_rule
from kernels.frames import (
    CandidateKind,
    CorrectionKind,
    LiquidationKind,
    ParamKey,
    Refusal,
    SettingKind,
    Source,
    Template,
    TickKind,
    TransferKind,
)
from kernels.layouts import (
    LEG_DELEVERAGE,
    LEG_TAKEOVER,
    MARKET_HALTED,
    MAX_LIQUIDATIONS,
    POSITION_LIQUIDATING,
    STATUS_OK,
)
from relayer.verify.model_frames import decode, head_of
from tests.engine.core.builders import PRICE, SCALES, SECOND_NS, WEIGHTS, Script, genesis, views
from tests.engine.core.fixed_run import fold
from tests.engine.core.twins import Twins

USDC = 10**6
LOT = 30_000 * USDC  # of market 0 at PRICE
TENTH_NS = SECOND_NS // 10
TAKER_E9, FEE_E9 = 500_000, 5_000_000
LIQUIDATE, DELEVERAGE = CandidateKind.LIQUIDATE, CandidateKind.DELEVERAGE
CANCEL_ALL, REDUCE_ONLY, TAKEOVER, RELEASE = (
    LiquidationKind.CANCEL_ALL,
    LiquidationKind.REDUCE_ONLY,
    LiquidationKind.TAKEOVER,
    LiquidationKind.RELEASE,
)


class Order(NamedTuple):
    """A liquidation order as it was told."""

    kind: LiquidationKind
    account: int
    market: int
    size: int
    price: int


class Stage:
    """Account 1 makes every market; 2 is what a story is about. Frames go to both twins as they are written."""

    def __init__(self, insurance_e6: int = 10**13, rows: tuple[Row, ...] = ()) -> None:
        self.script = genesis(accounts=5, deposit_e6=10**14)
        if insurance_e6 > USDC:
            self.script.deposit(0, insurance_e6 - USDC)
        calm = [Row(ParamKey.MARKET_FUNDING, m, 0, 10**10) for m in (0, 1)]
        self.script.params([Row(ParamKey.MARKET_BAND, 0, 100_000), *calm, *rows], change=2)
        self.script.seconds(1)
        self.twins = Twins(self.script.frames)
        self._told = 0

    def take(self) -> int:
        """Everything written since; the last frame's refusal."""
        script, ledger = self.script, self.twins.model.ledger
        why = [self.twins.apply(raw).refusal for raw in script.frames[ledger.meta.ordinal :]]
        return why[-1] if why else 0

    def open(self, size: int, leverage: int = 20, account: int = 2, market: int = 0, maker: int = 1) -> None:
        """A position at PRICE with just its initial margin; account 1 takes the other side."""
        self.script.setting(account, SettingKind.LEVERAGE, leverage, market=market)
        self.script.fill(maker, account, size, PRICE, market=market)
        assert self.take() == 0

    def say(self, ppm: int, market: int = 0, conf: int = 0) -> None:
        """All providers say a price, so many millionths off PRICE."""
        for k in range(len(WEIGHTS[market])):
            expo = SCALES[market][1] - SCALES[market][0]
            self.script.observe(PRICE + PRICE * ppm // 10**6, market=market, feed=k, expo=expo, conf=conf)

    def later(self, count: int = 1) -> None:
        """RISK ticks, 100 ms each."""
        for _ in range(count):
            self.script.tick(self.script.now_ns + TENTH_NS, TickKind.RISK)
        assert self.take() == 0

    def move(self, ppm: int, market: int = 0) -> None:
        """The market's price, in force 100 ms later."""
        self.say(ppm, market)
        self.later()

    def candidate(self, account: int = 2, kind: int = LIQUIDATE, against: int = 0, market: int = 0) -> int:
        """Risk's word; the refusal."""
        self.script.add(Template.CANDIDATE, market=market, account=account, kind=kind, counterparty=against)
        return self.take()

    def told(self) -> list[Order]:
        """Liquidation orders since last asked."""
        outbox = self.twins.model.ledger.outbox[self._told :]
        self._told += len(outbox)
        orders = [decode(Template.LIQUIDATION_ORDER, raw) for raw in outbox if head_of(raw)[0] == 34]
        return [Order(LiquidationKind(o.kind), o.account, o.market, o.size, o.price) for o in orders]

    def position(self, account: int = 2, market: int = 0) -> tuple[int, int]:
        """(size, cash)."""
        row = self.twins.position(account, market)
        return int(row["size"]), int(row["cash"])

    def legs(self) -> list[Any]:
        """Legs of the last frame."""
        return self.twins.machine._scratch.legs[:2].tolist()

    def free(self, account: int = 0) -> int:
        return self.twins.free(account)

    def open_rows(self) -> int:
        return self.twins.machine.state.number("open_liquidations")


def mark(ppm: int) -> int:
    return PRICE + PRICE * ppm // 10**6


def quote(lots: int, price: int) -> int:
    """In 1e-6 USDC, in market 0."""
    return lots * price * 100


def test_a_part_is_closed_that_restores_a_quarter_more_than_maintenance() -> None:
    stage = Stage()
    stage.open(1_000)
    stage.move(-30_000)
    assert stage.candidate() == 0
    cancel, order = stage.told()
    assert cancel == (CANCEL_ALL, 2, -1, 0, 0)
    equity = 1_000 * LOT // 20 - 1_000 * LOT * 3 // 100
    price = mark(-30_000)

    def restores(closed: int) -> bool:
        left = equity - math.ceil(quote(closed, price) * (TAKER_E9 + FEE_E9) / 10**9)
        return left * 4 >= math.ceil(quote(1_000 - closed, price) * 25 / 1000) * 5

    assert order[:4] == (REDUCE_ONLY, 2, 0, -next(n for n in range(1, 1_001) if restores(n)))
    assert 0 < -order.size < 1_000
    # At the limit the whole position closes for its taker fee, and nothing is left: one tick lower it is short.
    cash = equity - quote(1_000, price)

    def leaves(limit: int) -> int:
        return cash + quote(1_000, limit) - math.ceil(quote(1_000, limit) * TAKER_E9 / 10**9)

    assert leaves(order.price) >= 0 > leaves(order.price - 1)

    insurance = stage.free()
    stage.script.fill(1, 2, order.size, price)
    assert stage.take() == 0
    fee = math.ceil(quote(-order.size, price) * FEE_E9 / 10**9)
    assert stage.free() == insurance + fee
    assert stage.told() == [(RELEASE, 2, 0, 0, 0)]
    size, cash = stage.position()
    assert size == 1_000 + order.size
    assert cash + quote(size, price) == equity - fee - math.ceil(quote(-order.size, price) * TAKER_E9 / 10**9)
    assert not stage.twins.position(2)["flags"] & POSITION_LIQUIDATING


def test_a_short_is_bought_back_below_its_bankruptcy_price() -> None:
    stage = Stage()
    stage.open(-1_000)
    stage.move(30_000)
    assert stage.candidate() == 0
    _, order = stage.told()
    assert order.kind == REDUCE_ONLY and 0 < order.size < 1_000
    assert mark(30_000) < order.price < mark(50_000)


def test_a_position_under_ten_thousand_is_closed_whole() -> None:
    stage = Stage()
    stage.script.params([Row(ParamKey.MARKET_BAND, 1, 100_000)], change=3)
    stage.open(33_000, market=1)
    stage.move(-30_000, market=1)
    assert stage.candidate(market=1) == 0
    assert stage.told()[1][:4] == (REDUCE_ONLY, 2, 1, -33_000)


def test_under_half_of_maintenance_all_of_it_is_closed() -> None:
    stage = Stage()
    stage.open(1_000)
    stage.move(-40_000)
    assert stage.candidate() == 0
    assert stage.told()[1][:4] == (REDUCE_ONLY, 2, 0, -1_000)


def test_no_limit_is_farther_from_the_mark_than_fills_may_be() -> None:
    stage = Stage(rows=(Row(ParamKey.MARKET_BAND, 0, 10_000),))
    stage.open(1_000)
    stage.move(-30_000)
    assert stage.candidate() == 0
    assert stage.told()[1].price == mark(-30_000) - mark(-30_000) // 100


def test_three_orders_a_tenth_of_a_second_apart_then_insurance() -> None:
    stage = Stage()
    stage.open(1_000)
    stage.move(-30_000)
    seen = []
    for step in range(6):
        assert stage.candidate() == 0
        assert stage.candidate() == (0 if step < 5 else Refusal.STALE_CANDIDATE)
        seen.append([order.kind for order in stage.told()])
        if step < 5:
            stage.later()
    assert seen == [[CANCEL_ALL, REDUCE_ONLY], [REDUCE_ONLY], [REDUCE_ONLY], [], [], [TAKEOVER, RELEASE]]


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


def test_a_bankrupt_is_taken_over_at_once() -> None:
    stage = Stage()
    stage.open(1_000)
    stage.move(-60_000)
    size, cash = stage.position()
    lack = -(cash + quote(size, mark(-60_000)))
    insurance = stage.free()
    assert lack > 0
    assert stage.candidate() == 0
    assert [order.kind for order in stage.told()] == [CANCEL_ALL, TAKEOVER, RELEASE]
    keep = quote(size, mark(-60_000)) // 100
    assert stage.free() == insurance - lack - keep
    assert stage.position() == (0, 0)


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


def test_a_stale_candidate_changes_nothing_and_says_nothing() -> None:
    stage = Stage()
    stage.open(1_000)
    stage.take()
    stage.told()
    outputs = stage.twins.model.ledger.outputs
    for account, m, why in (
        (2, 0, Refusal.STALE_CANDIDATE),
        (3, 0, Refusal.STALE_CANDIDATE),
        (2, 1, Refusal.STALE_CANDIDATE),
        (0, 0, Refusal.UNKNOWN_ACCOUNT),
        (6, 0, Refusal.UNKNOWN_ACCOUNT),
        (-1, 0, Refusal.UNKNOWN_ACCOUNT),
        (2, 3, Refusal.UNKNOWN_MARKET),
        (2, -1, Refusal.UNKNOWN_MARKET),
    ):
        assert stage.candidate(account, market=m) == why
    for kind in (0, 3, -1):
        assert stage.candidate(kind=kind) == Refusal.UNKNOWN_KIND
    assert stage.twins.model.ledger.outputs == outputs
    assert stage.open_rows() == 0


def test_one_unit_of_equity_decides() -> None:
    """Strictly below maintenance: at it nothing is liquidated."""
    stage = Stage()
    stage.open(1_000)
    stage.move(-25_700)
    _, cash = stage.position()
    lack = math.ceil(quote(1_000, mark(-25_700)) * 25 / 1000) - cash - quote(1_000, mark(-25_700))
    assert lack > 1
    stage.script.move(TransferKind.TO_POSITION, 2, lack - 1)
    stage.take()
    assert stage.candidate() == 0
    stage.script.move(TransferKind.TO_POSITION, 2, 1)
    stage.take()
    assert stage.candidate() == 0, "healthy again: its liquidation ends"
    assert [o.kind for o in stage.told()] == [CANCEL_ALL, REDUCE_ONLY, RELEASE]
    assert stage.candidate() == Refusal.STALE_CANDIDATE


def test_a_price_that_is_not_good_enough_liquidates_nobody() -> None:
    stage = Stage(rows=(oracle_rule(0, "liquidation_on", 0),))
    stage.open(1_000)
    stage.move(-30_000)
    assert stage.candidate() == Refusal.STALE_CANDIDATE
    stage.script.params([oracle_rule(0, "liquidation_on", 1 << STATUS_OK)], change=5)
    stage.later()
    assert stage.candidate() == 0
    stage.script.tick(stage.script.now_ns + 11 * SECOND_NS)
    stage.take()
    assert stage.candidate() == Refusal.STALE_CANDIDATE, "the price is held"


def test_a_halted_or_frozen_market_liquidates_nobody() -> None:
    stage = Stage()
    stage.open(1_000)
    stage.move(-30_000)
    stage.script.fill(3, 4, 1, mark(-200_000))
    stage.take()
    assert stage.twins.market()["state"] & MARKET_HALTED
    assert stage.candidate() == Refusal.STALE_CANDIDATE
    stage.script.add(Template.CORRECTION, kind=CorrectionKind.MARKET)
    stage.script.fill(3, 4, 0, PRICE)
    stage.move(-30_000)
    assert stage.candidate() == Refusal.STALE_CANDIDATE, "frozen by a refused fill"
    stage.script.add(Template.CORRECTION, kind=CorrectionKind.MARKET)
    assert stage.take() == 0
    assert stage.candidate() == 0


def test_a_candidate_from_elsewhere_is_judged_the_same() -> None:
    stage = Stage()
    stage.open(1_000)
    stage.script.last_seq[int(Source.RISK)] = 5
    assert stage.candidate() == Refusal.SEQUENCE
    assert stage.told() == []


def test_silence_ends_a_liquidation() -> None:
    # Insurance asks for more than there is behind them, and has nothing: both wait.
    stage = Stage(insurance_e6=USDC, rows=(Row(ParamKey.LIQUIDATION, 0, FEE_E9, 5 * 10**10),))
    stage.open(1_000)
    stage.open(1_000, account=3)
    stage.move(-30_000)
    assert stage.candidate() == stage.candidate(3) == 0
    stage.told()
    stage.script.tick(stage.script.now_ns + 9 * SECOND_NS + 9 * TENTH_NS)
    stage.say(-30_000)
    stage.script.tick(stage.script.now_ns + 1)
    stage.take()
    assert stage.candidate(3) == 0
    stage.told()
    stage.script.tick(stage.script.now_ns + TENTH_NS)
    stage.take()
    assert stage.told() == [(RELEASE, 2, 0, 0, 0)]
    assert (int(stage.twins.position(2)["liquidation"]), int(stage.twins.position(3)["liquidation"])) == (
        0,
        1,
    )


def test_the_fee_never_exceeds_the_equity_left() -> None:
    stage = Stage()
    stage.open(1_000)
    stage.move(-30_000)
    assert stage.candidate() == 0
    limit = stage.told()[1].price
    insurance = stage.free()
    stage.script.fill(1, 2, -1_000, limit)
    assert stage.take() == 0
    fee = stage.free() - insurance
    assert 0 <= fee < 10**6, "one tick of a thousand lots is a tenth of a dollar"
    assert stage.position() == (0, 0)
    assert stage.twins.market()["state"] & MARKET_HALTED == 0


def test_a_closing_fill_of_a_lost_position_does_not_halt_its_market() -> None:
    stage = Stage(insurance_e6=USDC)
    stage.open(1_000)
    stage.move(-60_000)
    assert stage.candidate() == 0
    stage.script.fill(1, 2, -10, mark(-60_000))
    assert stage.take() == 0
    assert stage.twins.market()["state"] & MARKET_HALTED == 0
    stage = Stage(insurance_e6=USDC)
    stage.open(1_000)
    stage.move(-60_000)
    stage.script.fill(1, 2, -10, mark(-60_000))
    assert stage.take() == 0
    assert stage.twins.market()["state"] & MARKET_HALTED, "of one that nobody liquidates it does"


def test_accruing_funding_counts() -> None:
    """Longs about to pay: the same price liquidates them at the end of the hour, before anything is paid."""
    stage = Stage()
    stage.open(1_000)
    stage.move(-25_000)
    assert stage.candidate() == Refusal.STALE_CANDIDATE
    script = stage.script
    script.tick(3600 * SECOND_NS * 1000 + 3500 * SECOND_NS)
    stage.say(-25_000)
    script.seconds(1)
    stage.take()
    for market in (stage.twins.market(), stage.twins.model.ledger.tables.markets[0]):
        values = {"premium_sum_e12": 3500 * 5 * 10**10, "seconds_valid": 3500, "weight_valid": 3500}
        for name, value in values.items():
            if isinstance(market, np.void):
                market[name] = value
            else:
                setattr(market, name, value)
    assert stage.candidate() == 0
    assert stage.position()[0] == 1_000


def test_as_many_at_once_as_the_books_remember() -> None:
    script = genesis(accounts=0)
    count = MAX_LIQUIDATIONS + 1
    maker = script.account(10_000, deposit_e6=10**15)
    for n in range(1, count + 1):
        account = script.account(n, deposit_e6=10**11)
        script.fill(maker, account, 1, PRICE)
    for k in range(3):
        script.observe(PRICE * 915 // 1000, feed=k)
    script.tick(script.now_ns + TENTH_NS, TickKind.RISK)
    for account in range(2, count + 2):
        script.add(Template.CANDIDATE, account=account, kind=LIQUIDATE)
    script.deposit(0, 1)
    twins = Twins(script.frames[:-2])
    assert twins.machine.state.number("open_liquidations") == MAX_LIQUIDATIONS
    assert twins.apply(script.frames[-2]).refusal == Refusal.LIQUIDATIONS_FULL


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
