"""Liquidation step by step, with the numbers worked out here; on machine and model at once, identities after every
frame."""

from __future__ import annotations

import math

import numpy as np

from engine.core.params import Row, oracle_rule
from kernels.frames import (
    CorrectionKind,
    ParamKey,
    Refusal,
    Source,
    Template,
    TickKind,
    TransferKind,
)
from kernels.layouts import (
    MARKET_HALTED,
    MAX_LIQUIDATIONS,
    POSITION_LIQUIDATING,
    STATUS_OK,
)
from tests.engine.core.builders import PRICE, SECOND_NS, genesis
from tests.engine.core.liquidation_stage import (
    CANCEL_ALL,
    FEE_E9,
    LIQUIDATE,
    LOT,
    REDUCE_ONLY,
    RELEASE,
    TAKEOVER,
    TAKER_E9,
    TENTH_NS,
    USDC,
    Stage,
    mark,
    quote,
)
from tests.engine.core.twins import Twins


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
        (0, 0, Refusal.STALE_CANDIDATE),
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
