"""Observations dated ahead of the books' clock: refused by name, or waiting; never in the way of a later one."""

from __future__ import annotations

import pytest

from engine.core.params import oracle_rule
from kernels import oracle
from kernels.frames import ObservationKind, Refusal, TickKind
from kernels.layouts import SLOT_MID
from tests.engine.core.builders import HOUR_NS, PRICE, SECOND_NS, Script, genesis_rows
from tests.engine.core.exchange import Exchange, three
from tests.engine.core.twins import Twins


@pytest.mark.parametrize("kind", [ObservationKind.ORACLE, ObservationKind.MID])
@pytest.mark.parametrize(
    ("ahead_ns", "refusal"),
    [
        (SECOND_NS + 1, Refusal.NONE),
        (HOUR_NS, Refusal.NONE),
        (HOUR_NS + 1, Refusal.OBSERVATION_AHEAD),
        (2**63 - 1 - 10_000 * HOUR_NS, Refusal.OBSERVATION_AHEAD),
    ],
)
def test_an_observation_from_the_future_holds_no_later_one_back(
    ahead_ns: int, refusal: Refusal, kind: ObservationKind
) -> None:
    """Past an hour it is refused by name, and below it gives way to whatever comes, whenever that was published."""
    exchange = Exchange()
    script, now_ns = exchange.script, exchange.script.now_ns
    for price, publish_ns, wanted in (
        (PRICE + 1, now_ns, Refusal.NONE),
        (PRICE + 9, now_ns + ahead_ns, refusal),
        (PRICE + 2, now_ns + SECOND_NS, Refusal.NONE),
        (PRICE + 3, now_ns + SECOND_NS - 1, Refusal.OBSERVATION_OLD),
    ):
        script.observe(price, kind=kind, publish_ns=publish_ns)
        assert exchange.twins.apply(script.frames[-1]).refusal == wanted
    slot = 0 if kind is ObservationKind.ORACLE else SLOT_MID
    assert exchange.twins.machine.books.feeds[slot]["price"] == PRICE + 2
    assert not exchange.state(), "no refused observation freezes a market"


def test_one_that_is_ahead_by_less_than_an_hour_does_not_count_yet_and_says_why() -> None:
    exchange = Exchange()
    exchange.script.observe(PRICE + 9, publish_ns=exchange.script.now_ns + 10 * SECOND_NS)
    exchange.second({1: PRICE, 2: PRICE})
    assert exchange.reasons() == [oracle.FROM_THE_FUTURE, oracle.PASSES, oracle.PASSES]
    exchange.second(three(PRICE))
    assert exchange.reasons() == [oracle.PASSES] * 3


def test_before_the_first_tick_nothing_is_ahead() -> None:
    """And nothing of then holds others back once the time is known."""
    script = Script()
    script.params(genesis_rows())
    script.tick(HOUR_NS, TickKind.OPEN)
    twins = Twins(script.frames)

    def at(now_ns: int, price: int, publish_ns: int) -> int:
        twins.machine.books.meta[0]["now_ns"] = twins.model.ledger.meta.now_ns = now_ns
        script.observe(price, publish_ns=publish_ns)
        return int(twins.apply(script.frames[-1]).refusal)

    assert at(0, PRICE, 9 * HOUR_NS) == Refusal.NONE
    assert at(0, PRICE, 8 * HOUR_NS) == Refusal.OBSERVATION_OLD
    assert at(HOUR_NS, PRICE + 5, HOUR_NS) == Refusal.NONE
    assert twins.machine.books.feeds[0]["price"] == PRICE + 5


def test_what_waits_is_told_by_the_markets_own_skew() -> None:
    exchange = Exchange(oracle_rule(0, "skew_ns", 5 * SECOND_NS))
    exchange.second()
    for ahead_s, refusal in ((5, Refusal.NONE), (4, Refusal.OBSERVATION_OLD), (6, 0), (4, 0)):
        exchange.script.observe(PRICE, publish_ns=exchange.script.now_ns + ahead_s * SECOND_NS)
        assert exchange.twins.apply(exchange.script.frames[-1]).refusal == refusal
