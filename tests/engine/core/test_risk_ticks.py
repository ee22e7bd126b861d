"""RISK ticks between two seconds: prices anew, and nothing that counts seconds moves. On machine and model."""

from __future__ import annotations

import pytest

from engine.core.params import Row
from kernels.frames import ObservationKind, ParamKey, Refusal, Source, Template, TickKind
from kernels.layouts import MARKET_REDUCE_ONLY, STATUS_HELD, STATUS_NONE, STATUS_OK
from tests.engine.core.builders import HOUR_NS, PRICE, SECOND_NS, Script, frame, genesis
from tests.engine.core.twins import Twins

TENTH_NS = SECOND_NS // 10
COUNTED = (
    "premium_sum_e12",
    "weight_valid",
    "seconds_valid",
    "seconds_seen",
    "basis_e6",
    "basis_known",
    "pay_price",
    "epoch",
    "index_e6",
    "index_rem",
    "rate_e12",
    "rate_set_e12",
)


def risk(script: Script, count: int = 1) -> None:
    """That many RISK ticks."""
    for _ in range(count):
        script.tick(script.now_ns + TENTH_NS, TickKind.RISK)


def all_say(script: Script, price: int) -> None:
    """The three providers of market 0."""
    for feed in range(3):
        script.observe(price, feed=feed)


def book_says(script: Script, price: int) -> None:
    """Middle and impact prices of market 0."""
    for kind in (ObservationKind.MID, ObservationKind.IMPACT_BID, ObservationKind.IMPACT_ASK):
        script.observe(price, kind=kind)


def test_a_price_is_in_force_before_the_second_is_over() -> None:
    script = genesis()
    all_say(script, PRICE + 500)
    risk(script)
    twins = Twins(script.frames)
    row = twins.market()
    assert (int(row["status"]), int(row["oracle"]), int(row["mark"])) == (STATUS_OK, PRICE + 500, PRICE + 500)
    assert twins.machine.state.number("now_ns") == twins.machine.state.number("second_ns") + TENTH_NS


def test_nothing_that_counts_seconds_moves() -> None:
    script = genesis()
    book_says(script, PRICE + 90_000)
    script.seconds(2)
    before = Twins(script.frames).market()
    all_say(script, PRICE + 500)
    book_says(script, PRICE - 90_000)
    risk(script, 9)
    after = Twins(script.frames).market()
    assert [int(after[name]) for name in COUNTED] == [int(before[name]) for name in COUNTED]
    assert int(after["mark"]) != int(before["mark"])


def test_the_average_basis_stands_while_the_book_is_silent() -> None:
    """A book that went stale between two seconds is forgotten by the second, not before."""
    script = genesis()
    script.params([Row(ParamKey.OBSERVATION_AGE_NS, 0, 5 * TENTH_NS)], change=2)
    book_says(script, PRICE + 90_000)
    risk(script)
    assert int(Twins(script.frames).market()["basis_known"]) == 0
    script.tick(script.now_ns + TENTH_NS)
    basis = int(Twins(script.frames).market()["basis_e6"])
    assert basis == 90_000 * 10**6
    risk(script, 8)
    row = Twins(script.frames).market()
    assert (int(row["basis_known"]), int(row["basis_e6"]), int(row["mark"])) == (1, basis, PRICE)
    script.tick(script.now_ns + TENTH_NS)
    assert int(Twins(script.frames).market()["basis_known"]) == 0


@pytest.mark.parametrize("between", [1, 9])
def test_seconds_sample_and_pay_the_same_with_and_without(between: int) -> None:
    """1,300 seconds and an hour: the same prices, samples, index, payments."""
    ends = []
    for count in (0, between):
        script = genesis()
        script.fill(1, 2, 5, PRICE)
        for second in range(1300):
            start = script.now_ns
            if second % 2 == 0:
                all_say(script, PRICE + 7 * (second % 11))
                book_says(script, PRICE + 90_000)
            risk(script, count)
            script.tick(start + SECOND_NS)
        script.tick((script.now_ns // HOUR_NS + 1) * HOUR_NS)
        twins = Twins(script.frames)
        ends.append((twins.market().tobytes(), [p._replace(now_ns=0) for p in twins.model.payments]))
    assert ends[0] == ends[1]
    assert ends[0][1][0].paid_e6 > 0


def test_a_jump_is_believed_by_rounds_of_seconds_only() -> None:
    script = genesis()
    for _ in range(8):
        all_say(script, PRICE * 3 // 2)
        risk(script)
    row = Twins(script.frames).market()
    assert (int(row["oracle"]), int(row["status"])) == (PRICE, STATUS_HELD)
    for _ in range(3):
        all_say(script, PRICE * 3 // 2)
        risk(script)
        all_say(script, PRICE * 3 // 2)
        script.seconds(1)
    assert int(Twins(script.frames).market()["oracle"]) == PRICE * 3 // 2


def test_agreement_on_a_jump_outlives_the_ticks_between() -> None:
    """Two rounds agreed; ten RISK ticks later the third does."""
    script = genesis()
    for _ in range(2):
        all_say(script, PRICE * 3 // 2)
        script.seconds(1)
    twins = Twins(script.frames)
    assert int(twins.machine.books.oracles[0]["agreements"]) == 2
    risk(script, 5)
    assert int(Twins(script.frames).machine.books.oracles[0]["agreements"]) == 2
    all_say(script, PRICE * 3 // 2)
    script.seconds(1)
    assert int(Twins(script.frames).market()["oracle"]) == PRICE * 3 // 2


def test_a_price_held_too_long_between_seconds_is_reduce_only() -> None:
    script = genesis()
    risk(script, 60)
    row = Twins(script.frames).market()
    assert int(row["status"]) in (STATUS_HELD, STATUS_NONE)
    assert int(row["state"]) & MARKET_REDUCE_ONLY


def test_the_hour_is_ended_by_a_second() -> None:
    script = genesis()
    script.tick(1001 * HOUR_NS - TENTH_NS)
    twins = Twins(script.frames)
    now, epoch = script.now_ns, int(twins.market()["epoch"])

    def tick(at: int, kind: TickKind, prev: int) -> int:
        fields = {"now_ns": at, "prev_ns": prev, "interval_ns": at - prev, "kind": int(kind)}
        return twins.apply(frame(Template.TICK, twins.next_seq(Source.CLOCK), **fields)).refusal

    assert tick(1001 * HOUR_NS, TickKind.RISK, now) == Refusal.CLOCK_OUT_OF_ORDER
    assert tick(1001 * HOUR_NS + 5, TickKind.RISK, now) == Refusal.CLOCK_OUT_OF_ORDER
    assert int(twins.market()["epoch"]) == epoch
    assert tick(1001 * HOUR_NS + 6, TickKind.SECOND, now) == 0
    assert int(twins.market()["epoch"]) == epoch + 1
    assert tick(1001 * HOUR_NS + 7, TickKind.RISK, 1001 * HOUR_NS + 6) == 0
    assert tick(1001 * HOUR_NS + 7, TickKind.RISK, 1001 * HOUR_NS + 7) == Refusal.CLOCK_OUT_OF_ORDER
    assert tick(1001 * HOUR_NS + 9, TickKind.RISK, 1001 * HOUR_NS) == Refusal.CLOCK_OUT_OF_ORDER


def test_a_batch_closes_at_the_first_tick_past_its_window_whatever_its_kind() -> None:
    script = genesis()
    twins = Twins(script.frames)
    script.frames.clear()
    script.tick(script.now_ns + SECOND_NS // 2, TickKind.RISK)
    script.tick(script.now_ns + SECOND_NS * 6 // 10, TickKind.RISK)
    script.tick(script.now_ns + SECOND_NS // 10)
    script.tick(script.now_ns + SECOND_NS * 9 // 10)
    assert [twins.apply(raw).boundary for raw in script.frames] == [False, True, False, True]


def test_pending_parameters_come_into_force_at_a_risk_tick() -> None:
    script = genesis()
    script.params([Row(ParamKey.HOLD_NS, 0, 77)], change=2)
    risk(script)
    twins = Twins(script.frames)
    assert twins.machine.state.number("hold_ns") == 77
