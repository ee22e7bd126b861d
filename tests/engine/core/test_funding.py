"""Prices, clock and hours, case by case, with the numbers worked out here; machine and model must agree."""

from __future__ import annotations

from engine.core.params import Row
from kernels.frames import (
    ObservationKind,
    ParamKey,
    Refusal,
    Source,
    Template,
)
from kernels.layouts import (
    MARKET_REDUCE_ONLY,
    PRICE_MAX,
    STATUS_HELD,
    STATUS_OK,
    STATUS_PRIMARY,
    STATUS_TWO,
)
from tests.engine.core.builders import HOUR_NS, PRICE, SECOND_NS, frame, genesis
from tests.engine.core.strategies import Hour
from tests.engine.core.twins import Twins


def test_a_fill_whose_funding_leaves_its_bounds_is_refused_and_changes_nothing() -> None:
    script = genesis(deposit_e6=10**16)
    script.fill(1, 2, 128_102_389_400, PRICE, market=1)
    twins = Twins(script.frames)
    assert int(twins.position(2, 1)["size"]) == 128_102_389_400
    for _ in range(17):
        Hour(10**17, 3600, PRICE_MAX).build(twins)
        last = twins.model.ledger.meta.now_ns
        now = (last // HOUR_NS + 1) * HOUR_NS
        fields = {"now_ns": now, "prev_ns": last, "interval_ns": now - last, "kind": 1}
        twins.apply(frame(Template.TICK, twins.next_seq(Source.CLOCK), **fields))
    script.fill(1, 2, 1, PRICE, market=1)
    assert twins.last_of(script) == Refusal.OUT_OF_BOUNDS
    script.fill(3, 4, 1, PRICE, market=1)
    assert twins.last_of(script) == 0


def test_a_position_pays_the_hour_when_touched_and_dust_stays_with_it() -> None:
    script = genesis(deposit_e6=10**13)
    script.fill(1, 2, 7, PRICE)
    for _ in range(1300):
        for k in range(3):
            script.observe(PRICE, feed=k)
        script.seconds(1)
    script.tick((script.now_ns // HOUR_NS + 1) * HOUR_NS)
    twins = Twins(script.frames)
    # Premium 0, interest 1e8 per 8 h: 1e-4 / 8 of 3e8, in 1e-6 price units.
    step = 3 * 10**8 * 10**6 * 10**8 // (8 * 10**12)
    assert int(twins.market()["index_e6"]) == step == 3_750_000_000
    assert twins.model.paid_e6(0) == 7 * step // 10**4
    script.fill(1, 2, 1, PRICE)
    legs = twins.apply(script.frames[-1]).legs
    assert [leg.funding for leg in legs] == [7 * step // 10**4, -7 * step // 10**4]


def test_a_jump_of_many_hours_pays_one() -> None:
    script = genesis(deposit_e6=10**13)
    script.fill(1, 2, 7, PRICE)
    for _ in range(1300):
        for k in range(3):
            script.observe(PRICE, feed=k)
        script.seconds(1)
    script.tick((script.now_ns // HOUR_NS + 9) * HOUR_NS)
    twins = Twins(script.frames)
    assert int(twins.market()["index_e6"]) == 3_750_000_000
    assert [payment.paid_e6 > 0 for payment in twins.model.payments] == [True, False, False]


def test_prices_go_from_median_to_witness_to_primary_to_held_to_reduce_only() -> None:
    script = genesis()
    seen = []
    for providers in ((0, 1, 2), (0, 2), (0,), (), (), (), (), (0, 1, 2)):
        script.tick(script.now_ns + 11 * SECOND_NS)
        for k in providers:
            script.observe(PRICE + k, feed=k)
        script.seconds(1)
        seen.append(len(script.frames))
    script_frames, twins, at, states = script.frames, Twins(genesis().frames), len(genesis().frames), []
    for end in seen:
        twins.apply_all(script_frames[at:end])
        at = end
        states.append((int(twins.market()["status"]), int(twins.market()["state"])))
    assert states[:3] == [(STATUS_OK, 0), (STATUS_TWO, 0), (STATUS_PRIMARY, 0)]
    assert (STATUS_HELD, MARKET_REDUCE_ONLY) in states[3:]
    assert states[-1] == (STATUS_OK, 0)


def test_a_tie_of_weights_takes_the_lower_price() -> None:
    script = genesis()
    script.params([Row(ParamKey.FEED, 0, k, 2) for k in range(4)], change=2)
    script.seconds(1)
    for k, price in enumerate((PRICE + 30, PRICE + 10, PRICE + 40, PRICE + 20)):
        script.observe(price, feed=k, conf=k)
    script.seconds(1)
    row = Twins(script.frames).market()
    assert (int(row["status"]), int(row["oracle"]), int(row["conf"])) == (STATUS_OK, PRICE + 20, 3)


def test_a_premium_is_cut_toward_zero_on_both_sides() -> None:
    for off in (1, -1):
        script = genesis()
        for kind in (ObservationKind.MID, ObservationKind.IMPACT_BID, ObservationKind.IMPACT_ASK):
            script.observe(PRICE + off, kind=kind)
        script.seconds(1)
        row = Twins(script.frames).market()
        assert (int(row["mark"]), int(row["premium_sum_e12"])) == (PRICE + off, off * 3333)


def test_two_providers_that_disagree_have_no_price() -> None:
    script = genesis()
    band = PRICE * 25 // 10_000
    for at, status in ((PRICE + band, STATUS_TWO), (PRICE + band + 1, STATUS_HELD)):
        script.observe(PRICE, market=1, feed=0, expo=-9)
        script.observe(at, market=1, feed=1, expo=-9)
        script.seconds(1)
        assert int(Twins(script.frames).market(1)["status"]) == status


def test_the_clock_only_moves_forward_and_names_its_interval() -> None:
    script = genesis()
    twins = Twins(script.frames)
    now, seq = script.now_ns, twins.next_seq(Source.CLOCK)

    def tick(at: int, prev: int, interval: int, kind: int = 1) -> int:
        fields = {"now_ns": at, "prev_ns": prev, "interval_ns": interval, "kind": kind}
        return twins.apply(frame(Template.TICK, twins.next_seq(Source.CLOCK), **fields)).refusal

    assert tick(now, now, 0) == Refusal.CLOCK_OUT_OF_ORDER
    assert tick(now + 5, now - 1, 6) == Refusal.CLOCK_OUT_OF_ORDER
    assert tick(now + 5, now, 4) == Refusal.CLOCK_OUT_OF_ORDER
    assert tick(now + 5, now, 5, kind=3) == Refusal.UNKNOWN_KIND
    assert tick(now + 5, 0, 0, kind=0) == 0
    assert tick(now + 9, now + 5, 4) == 0
    assert twins.next_seq(Source.CLOCK) == seq + 6, "what was refused consumed its number"
