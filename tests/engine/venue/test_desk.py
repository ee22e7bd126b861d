"""The simulated matching engine's desk: what it answers, what it leaves alone, what it believes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.venue.desk import LATE_NS, Desk, Match, Policy
from engine.venue.recording import TRADE
from kernels import frames as f
from kernels.frames import FRAME, LiquidationKind, Source, Template
from kernels.layouts import (
    ACCOUNT_FROZEN,
    ACCOUNT_REDUCE_ONLY,
    MARKET_FROZEN,
    MARKET_HALTED,
    MARKET_REDUCE_ONLY,
)

PRICES = np.array([1_000, 2_000], np.int64)
MS = 10**6


def desk(policy: Policy) -> Desk:
    made = Desk(5, markets=2, accounts=6, policy=policy)
    made.now_ns = 10**9
    return made


def output(template: Template, market: int, **payload: int) -> np.void:
    frame = f.new_frames(template, 1, source=Source.ENGINE)
    frame["market"] = market
    for name, value in payload.items():
        frame[name] = value
    row: np.void = frame.view(FRAME)[0]
    return row


def order(
    kind: LiquidationKind, size: int = 0, price: int = 0, *, account: int = 1, market: int = 0
) -> np.void:
    return output(Template.LIQUIDATION_ORDER, market, kind=int(kind), size=size, price=price, account=account)


def maker(draw: int, market: int) -> int:
    return 5


def answers(of: Desk, ms: int) -> list[Match]:
    return of.answers(10**9 + ms * MS, PRICES, maker)


def test_full_answers_the_whole_order_once_at_the_market_within_the_limit() -> None:
    full = desk(Policy.FULL)
    full.hear(order(LiquidationKind.REDUCE_ONLY, -50, 990))
    assert answers(full, 1) == [Match(1, 5, 0, -50, 1_000)]
    assert answers(full, 2) == []
    full.hear(order(LiquidationKind.REDUCE_ONLY, 50, 1_010))
    assert answers(full, 3) == [Match(1, 5, 0, 50, 1_000)]


@pytest.mark.parametrize(
    ("size", "price", "filled"), [(-5, 1_000, 1), (-5, 1_001, 0), (5, 1_000, 1), (5, 999, 0)]
)
def test_nobody_is_worse_off_than_the_limit(size: int, price: int, filled: int) -> None:
    full = desk(Policy.FULL)
    full.hear(order(LiquidationKind.REDUCE_ONLY, size, price))
    assert len(answers(full, 1)) == filled


def test_part_answers_some_of_each_order() -> None:
    part = desk(Policy.PART)
    sizes = []
    for k in range(20):
        part.hear(order(LiquidationKind.REDUCE_ONLY, -1_000, 990))
        sizes += [match.size for match in answers(part, 100 * k)]
    assert len(sizes) == 20 and len(set(sizes)) > 10
    assert all(-900 <= size <= -100 for size in sizes)
    part.hear(order(LiquidationKind.REDUCE_ONLY, 1, 1_010))
    assert answers(part, 9_000)[0].size == 1


def test_late_answers_the_order_that_stands_then_and_never_none() -> None:
    late, never = desk(Policy.LATE), desk(Policy.NEVER)
    for one in (late, never):
        one.hear(order(LiquidationKind.REDUCE_ONLY, -50, 990))
        assert answers(one, 100) == []
        one.hear(order(LiquidationKind.REDUCE_ONLY, -60, 980))
        assert answers(one, LATE_NS // MS - 1) == []
    assert answers(late, LATE_NS // MS) == [Match(1, 5, 0, -60, 1_000)]
    assert answers(never, 10**6) == []


@pytest.mark.parametrize(
    "kind", [LiquidationKind.TAKEOVER, LiquidationKind.DELEVERAGE, LiquidationKind.RELEASE]
)
def test_what_ends_an_order_withdraws_it(kind: LiquidationKind) -> None:
    late = desk(Policy.LATE)
    late.hear(order(LiquidationKind.REDUCE_ONLY, -50, 990))
    late.hear(order(LiquidationKind.REDUCE_ONLY, -50, 990, market=1))
    late.hear(order(kind, -50, 990))
    assert [match.market for match in answers(late, 10**4)] == [1]
    assert late.held[1].tolist() == [0 if kind is LiquidationKind.RELEASE else -50, 0]


def test_mixed_keeps_its_mind_through_a_liquidation_and_uses_every_way() -> None:
    outcomes = set()
    for account in range(1, 6):
        for start in range(40):
            mixed = desk(Policy.MIXED)
            mixed.now_ns = (1 + start) * 10**9
            told = []
            for _k in range(3):
                mixed.hear(order(LiquidationKind.REDUCE_ONLY, -1_000, 990, account=account))
                now = mixed.now_ns + 100 * MS
                told.append(tuple(match.size for match in mixed.answers(now, PRICES, maker)))
            outcomes.add(tuple(len(sizes) and (sizes[0] == -1_000) + 1 for sizes in told))
    full, part, never, late = (2, 2, 2), (1, 1, 1), (0, 0, 0), (0, 0, 2)
    assert outcomes == {full, part, never, late}


def test_a_halted_market_and_a_frozen_account_are_left_alone() -> None:
    full = desk(Policy.FULL)
    full.hear(order(LiquidationKind.REDUCE_ONLY, -50, 990))
    for state, stopped in [(MARKET_HALTED, True), (MARKET_FROZEN, True), (MARKET_REDUCE_ONLY, False)]:
        full.hear(output(Template.MARKET_STATE, 0, state=state))
        assert full.market_closed.tolist() == [stopped, False]
    full.hear(output(Template.MARKET_STATE, 0, state=MARKET_HALTED))
    assert answers(full, 1) == []
    full.hear(output(Template.MARKET_STATE, 0, state=0))
    assert len(answers(full, 2)) == 1
    full.hear(output(Template.ACCOUNT_STATE, -1, account=2, state=ACCOUNT_FROZEN))
    assert full.account_closed.tolist() == [False, False, True, False, False, False]
    full.hear(output(Template.ACCOUNT_STATE, -1, account=2, state=0))
    assert not full.account_closed.any()


def test_an_account_trades_again_when_all_its_liquidations_are_over() -> None:
    full = desk(Policy.FULL)
    for _ in range(2):
        full.hear(order(LiquidationKind.CANCEL_ALL, market=-1))
    full.hear(order(LiquidationKind.RELEASE))
    assert full.account_closed[1]
    full.hear(order(LiquidationKind.RELEASE, market=1))
    assert not full.account_closed[1]
    assert full.heard[LiquidationKind.CANCEL_ALL] == 2


def trades(*rows: tuple[int, int, int, int]) -> NDArray[np.void]:
    """(taker, maker, market, size)."""
    out = np.zeros(len(rows), TRADE)
    for row, (taker, other, market, size) in zip(out, rows, strict=True):
        row["taker"], row["maker"], row["market"], row["size"] = taker, other, market, size
    return out


def test_who_has_too_little_free_may_only_close() -> None:
    full = desk(Policy.FULL)
    full.matched(trades((1, 2, 0, 10)))
    full.hear(output(Template.FREE_COLLATERAL, -1, taker=1, maker=-1, taker_free_e6=99, maker_free_e6=0))
    given = trades((1, 3, 0, 5), (1, 3, 0, -10), (1, 3, 0, -11), (3, 1, 0, 10), (3, 1, 1, 1), (3, 4, 0, 1))
    worth = np.full(len(given), 100, np.int64)
    assert full.admits(given, worth).tolist() == [False, True, False, True, False, True]
    full.hear(output(Template.FREE_COLLATERAL, -1, taker=3, maker=1, taker_free_e6=0, maker_free_e6=100))
    assert full.admits(given, worth).tolist() == [False, False, False, False, False, False]


def test_reduce_only_and_closed_are_not_matched() -> None:
    full = desk(Policy.FULL)
    full.matched(trades((1, 2, 0, 10)))
    full.hear(output(Template.ACCOUNT_STATE, 0, account=1, state=ACCOUNT_REDUCE_ONLY))
    given = trades((1, 3, 0, 5), (1, 3, 0, -5), (1, 3, 1, 5), (3, 4, 1, 5), (4, 3, 0, 5))
    worth = np.zeros(len(given), np.int64)
    assert full.admits(given, worth).tolist() == [False, True, True, True, True]
    full.hear(output(Template.MARKET_STATE, 1, state=MARKET_HALTED))
    full.hear(output(Template.ACCOUNT_STATE, -1, account=4, state=ACCOUNT_FROZEN))
    assert full.admits(given, worth).tolist() == [False, True, False, False, False]


def test_what_it_does_not_know_it_passes_over() -> None:
    full = desk(Policy.FULL)
    full.hear(output(Template.REFUSAL, 0))
    full.hear(output(Template.MARKET_STATE, -1, state=MARKET_HALTED))
    assert not full.market_closed.any()
