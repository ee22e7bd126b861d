"""What single frames do, case by case, with the numbers worked out here; machine and model both must agree."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.frames import (
    CorrectionKind,
    OutcomeStage,
    Refusal,
    SettingKind,
    Source,
    Template,
    TransferKind,
)
from kernels.layouts import (
    LIMIT,
    MARKET_FROZEN,
    MARKET_HALTED,
    MARKET_REDUCE_ONLY,
    MAX_OPEN_REFUSALS,
    OUTBOX_SLOTS,
    PRICE_MAX,
    STATUS_HELD,
    STATUS_OK,
    STATUS_PRIMARY,
    STATUS_TWO,
)
from tests.engine.core.builders import HOUR_NS, PRICE, SECOND_NS, Script, frame, genesis
from tests.engine.core.strategies import Hour
from tests.engine.core.twins import Twins


def booked(script: Script) -> Twins:
    """Both twins after the script."""
    return Twins(script.frames)


def position(twins: Twins, account: int, market: int = 0) -> np.void:
    """A position of the machine."""
    rows = twins.machine.books.positions
    return next(row for row in rows if (row["account"], row["market"]) == (account, market))


def free(twins: Twins, account: int) -> int:
    """An account's free balance in the machine."""
    return int(twins.machine.books.accounts[account]["free_e6"])


def market(twins: Twins, number: int = 0) -> np.void:
    """A market of the machine."""
    return twins.machine.books.markets[number]


def outputs(twins: Twins) -> list[int]:
    """Templates of every output so far."""
    return [int(row[0]) >> 16 & 0xFFFF for row in twins.machine.books.outbox[: twins.model.ledger.outputs]]


def refused(twins: Twins, script: Script) -> int:
    """The refusal of the script's last frame, applied by itself."""
    return twins.apply(script.frames[-1]).refusal


def test_a_fill_moves_size_quote_fees_and_margin() -> None:
    script = genesis()
    script.fill(1, 2, 10, PRICE)
    twins = booked(script)
    # 10 lots at 30,000 = 300,000 USDC; taker (tier 0) pays 5 bps, maker (tier 1) 333,333 parts in 1e9.
    taker_fee, maker_fee = 150_000_000, 99_999_900
    taker = position(twins, 2)
    # Default leverage 10, so 10 % of 300,000 stand in the position; all of free is less than that.
    assert (int(taker["size"]), free(twins, 2)) == (10, 0)
    assert int(taker["cash"]) == -300_000_000_000 - taker_fee + 10**10
    assert int(market(twins)["fees_e6"]) == taker_fee + maker_fee
    assert int(market(twins)["open_interest"]) == 10


def test_an_isolated_position_takes_exactly_its_initial_margin() -> None:
    script = genesis(deposit_e6=10**12)
    script.fill(1, 2, 10, PRICE)
    taker = position(booked(script), 2)
    assert int(taker["cash"]) + 300_000_000_000 == 30_000_000_000


def test_a_rebate_is_rounded_down_and_a_fee_up() -> None:
    script = genesis()
    script.fill(2, 1, 1, PRICE + 1)  # maker of tier 0: −1e-4 of 30,000.0001; taker of tier 1: 1.000001e-3
    twins = booked(script)
    legs = twins.apply(frame(Template.FILL, 2, maker=2, taker=1, size=1, price=PRICE + 1)).legs
    assert [leg.fee for leg in legs] == [-3_000_000, 30_000_031]


def test_a_flip_closes_and_opens_anew() -> None:
    script = genesis(deposit_e6=10**13)
    script.fill(1, 2, 10, PRICE)
    script.fill(1, 2, -25, PRICE + 1_000_000)
    row = position(booked(script), 2)
    assert int(row["size"]) == -15
    assert int(row["realised_e6"]) == 10 * 100 * 10**6  # ten lots, 100 USD each
    assert int(row["cost_e6"]) == -15 * 30_100 * 10**6


def test_both_legs_of_a_self_trade_meet_in_one_position() -> None:
    script = genesis(deposit_e6=10**13)
    script.fill(2, 2, 10, PRICE)
    twins = booked(script)
    assert int(position(twins, 2)["size"]) == 0
    assert free(twins, 2) == 10**13 - 150_000_000 + 30_000_000
    assert twins.model.ledger.meta.booked == 1


def test_an_isolated_deficit_is_covered_as_far_as_insurance_reaches() -> None:
    script = genesis(deposit_e6=10**9)
    script.fill(1, 2, 1, PRICE)
    script.fill(3, 2, -1, PRICE // 2)  # the long loses 15,000 with 1,000 of its own
    twins = booked(script)
    legs = twins.machine.state.number("booked")
    row = position(twins, 2)
    assert legs == 2
    assert int(row["size"]) == 0 and free(twins, 0) == 0
    assert int(row["cash"]) == 10**9 + 1_000_000 - 15_000 * 10**6 - 15_000_000 - 7_500_000
    assert int(market(twins)["state"]) & MARKET_HALTED
    assert int(twins.machine.books.accounts[2]["flags"]) == 1


def test_a_cross_deficit_goes_to_free_and_takes_no_insurance() -> None:
    script = genesis(deposit_e6=10**9)
    script.setting(2, SettingKind.MARGIN_MODE, 1)
    script.fill(1, 2, 1, PRICE)
    script.fill(3, 2, -1, PRICE // 2)
    twins = booked(script)
    assert int(position(twins, 2)["cash"]) == 0
    assert free(twins, 2) == 10**9 - 15_000 * 10**6 - 15_000_000 - 7_500_000
    assert free(twins, 0) == 1_000_000


def test_off_the_band_is_booked_halts_and_freezes() -> None:
    script = genesis(deposit_e6=10**13)
    script.fill(1, 2, 1, PRICE * 105 // 100)
    twins = booked(script)
    assert int(market(twins)["state"]) == 0
    script.fill(1, 2, 1, PRICE * 105 // 100 + 1)
    assert refused(twins, script) == 0
    assert int(market(twins)["state"]) == MARKET_HALTED
    assert outputs(twins)[-3:] == [Template.MARKET_STATE, Template.ACCOUNT_STATE, Template.ACCOUNT_STATE]
    script.fill(1, 2, 1, PRICE)
    assert refused(twins, script) == 0, "what was matched is booked, halted or not"
    script.move(TransferKind.WITHDRAWAL, 2, 1)
    assert refused(twins, script) == Refusal.INSUFFICIENT_FREE
    script.nonces[2] -= 1
    script.add(Template.CORRECTION, kind=CorrectionKind.ACCOUNT, refused_seq=2)
    assert refused(twins, script) == 0
    script.move(TransferKind.WITHDRAWAL, 2, 1)
    assert refused(twins, script) == 0


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"market": 3}, Refusal.UNKNOWN_MARKET),
        ({"market": -1}, Refusal.UNKNOWN_MARKET),
        ({"maker": 0}, Refusal.UNKNOWN_ACCOUNT),
        ({"taker": 6}, Refusal.UNKNOWN_ACCOUNT),
        ({"price": 9_999_999}, Refusal.PRICE_OFF_SCALE),
        ({"price": 9_000_000_001}, Refusal.PRICE_OFF_SCALE),
        ({"size": 0}, Refusal.SIZE_OFF_SCALE),
        ({"size": 1_281_023_895}, Refusal.SIZE_OFF_SCALE),
        ({"size": -(2**63)}, Refusal.SIZE_OFF_SCALE),
        ({"seq": 2}, Refusal.SEQUENCE),
        ({"seq": 0}, Refusal.SEQUENCE),
    ],
)
def test_a_refused_fill_says_why_and_freezes_its_market(fields: dict[str, int], why: Refusal) -> None:
    twins = booked(genesis())
    given = {"market": 0, "seq": 1, "maker": 1, "taker": 2, "price": PRICE, "size": 1, **fields}
    number = given["market"]
    assert twins.apply(frame(Template.FILL, given.pop("seq"), **given)).refusal == why
    known = 0 <= number < 3
    assert outputs(twins)[-2:][0 if known else 1] == Template.REFUSAL
    assert int(market(twins, number if known else 0)["state"]) == (MARKET_FROZEN if known else 0)


def test_a_market_thaws_with_its_last_open_refusal() -> None:
    script = genesis()
    for size in (0, 0, 1):
        script.fill(1, 2, size, PRICE)
    twins = booked(script)
    for seq, state in ((2, MARKET_FROZEN), (1, 0)):
        script.add(Template.CORRECTION, kind=CorrectionKind.VOID, refused_source=1, refused_seq=seq)
        assert refused(twins, script) == 0
        assert int(market(twins)["state"]) == state
    script.add(Template.CORRECTION, kind=CorrectionKind.REPLACED, refused_source=1, refused_seq=1)
    assert refused(twins, script) == Refusal.NOTHING_TO_CORRECT


def test_open_refusals_past_their_table_are_only_counted_and_closed_by_market() -> None:
    script = genesis()
    for _ in range(MAX_OPEN_REFUSALS + 10):
        script.fill(1, 2, 0, PRICE)
    twins = booked(script)
    assert twins.machine.state.number("open_refusals") == MAX_OPEN_REFUSALS
    assert int(market(twins)["open_refusals"]) == MAX_OPEN_REFUSALS + 10
    script.add(Template.CORRECTION, kind=CorrectionKind.MARKET)
    assert refused(twins, script) == 0
    assert twins.machine.state.number("open_refusals") == 0
    assert int(market(twins)["state"]) == 0


def test_the_outbox_is_a_ring() -> None:
    script = genesis()
    for _ in range(OUTBOX_SLOTS + 100):
        script.fill(1, 2, 0, PRICE)
    twins = booked(script)
    ring = twins.machine.books.outbox
    newest = twins.machine.state.number("outputs")
    assert newest > OUTBOX_SLOTS
    assert int(ring[(newest - 1) % OUTBOX_SLOTS, 1]) == newest
    assert int(ring[newest % OUTBOX_SLOTS, 1]) == newest + 1 - OUTBOX_SLOTS


def test_no_account_and_no_sum_leaves_its_bounds() -> None:
    script = genesis(deposit_e6=1)
    script.deposit(1, LIMIT - 10**15)
    twins = booked(script)
    script.deposit(1, LIMIT)
    assert refused(twins, script) == Refusal.OUT_OF_BOUNDS
    script.events[1] -= 1
    script.deposit(1, 10**15 - 10**7)
    assert refused(twins, script) == 0


def test_a_fill_whose_funding_leaves_its_bounds_is_refused_and_changes_nothing() -> None:
    script = genesis(deposit_e6=10**16)
    script.fill(1, 2, 128_102_389_400, PRICE, market=1)
    twins = booked(script)
    assert int(position(twins, 2, 1)["size"]) == 128_102_389_400
    for _ in range(17):
        Hour(10**17, 3600, PRICE_MAX).build(twins)
        last = twins.model.ledger.meta.now_ns
        now = (last // HOUR_NS + 1) * HOUR_NS
        fields = {"now_ns": now, "prev_ns": last, "interval_ns": now - last, "kind": 1}
        twins.apply(frame(Template.TICK, twins.next_seq(Source.CLOCK), **fields))
    script.fill(1, 2, 1, PRICE, market=1)
    assert refused(twins, script) == Refusal.OUT_OF_BOUNDS
    script.fill(3, 4, 1, PRICE, market=1)
    assert refused(twins, script) == 0


def test_a_position_pays_the_hour_when_touched_and_dust_stays_with_it() -> None:
    script = genesis(deposit_e6=10**13)
    script.fill(1, 2, 7, PRICE)
    for _ in range(1300):
        for k in range(3):
            script.observe(PRICE, feed=k)
        script.seconds(1)
    script.tick((script.now_ns // HOUR_NS + 1) * HOUR_NS)
    twins = booked(script)
    # Premium 0, interest 1e8 per 8 h: 1e-4 / 8 of 3e8, in 1e-6 price units.
    step = 3 * 10**8 * 10**6 * 10**8 // (8 * 10**12)
    assert int(market(twins)["index_e6"]) == step == 3_750_000_000
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
    twins = booked(script)
    assert int(market(twins)["index_e6"]) == 3_750_000_000
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
    script_frames, twins, at, states = script.frames, booked(genesis()), len(genesis().frames), []
    for end in seen:
        twins.apply_all(script_frames[at:end])
        at = end
        states.append((int(market(twins)["status"]), int(market(twins)["state"])))
    assert states[:3] == [(STATUS_OK, 0), (STATUS_TWO, 0), (STATUS_PRIMARY, 0)]
    assert (STATUS_HELD, MARKET_REDUCE_ONLY) in states[3:]
    assert states[-1] == (STATUS_OK, 0)


def test_two_providers_that_disagree_have_no_price() -> None:
    script = genesis()
    band = PRICE * 25 // 10_000
    for at, status in ((PRICE + band, STATUS_TWO), (PRICE + band + 1, STATUS_HELD)):
        script.observe(PRICE, market=1, feed=0, expo=-9)
        script.observe(at, market=1, feed=1, expo=-9)
        script.seconds(1)
        assert int(market(booked(script), 1)["status"]) == status


def test_the_clock_only_moves_forward_and_names_its_interval() -> None:
    script = genesis()
    twins = booked(script)
    now, seq = script.now_ns, twins.next_seq(Source.CLOCK)

    def tick(at: int, prev: int, interval: int, kind: int = 1) -> int:
        fields = {"now_ns": at, "prev_ns": prev, "interval_ns": interval, "kind": kind}
        return twins.apply(frame(Template.TICK, twins.next_seq(Source.CLOCK), **fields)).refusal

    assert tick(now, now, 0) == Refusal.CLOCK_OUT_OF_ORDER
    assert tick(now + 5, now - 1, 6) == Refusal.CLOCK_OUT_OF_ORDER
    assert tick(now + 5, now, 4) == Refusal.CLOCK_OUT_OF_ORDER
    assert tick(now + 5, now, 5, kind=2) == Refusal.UNKNOWN_KIND
    assert tick(now + 5, 0, 0, kind=0) == 0
    assert tick(now + 9, now + 5, 4) == 0
    assert twins.next_seq(Source.CLOCK) == seq + 6, "what was refused consumed its number"


def test_batches_settle_in_order() -> None:
    script, twins = genesis(), booked(genesis())
    for batch, stage, why in (
        (1, OutcomeStage.COMMIT, 0),
        (2, OutcomeStage.SETTLED, Refusal.BATCH_OUT_OF_ORDER),
        (1, OutcomeStage.SETTLED, 0),
        (1, OutcomeStage.CHUNK, Refusal.BATCH_OUT_OF_ORDER),
        (2, 9, Refusal.UNKNOWN_KIND),
        (2, OutcomeStage.SETTLED, 0),
    ):
        script.add(Template.OUTCOME, batch=batch, stage=stage)
        assert refused(twins, script) == why
    assert twins.machine.state.number("settled_batch") == 2


def test_cash_leaves_a_position_only_down_to_its_initial_margin() -> None:
    script = genesis(deposit_e6=10**12)
    script.fill(1, 2, 10, PRICE)
    script.move(TransferKind.TO_POSITION, 2, 500)
    twins = booked(script)
    script.move(TransferKind.FROM_POSITION, 2, 501)
    assert refused(twins, script) == Refusal.INSUFFICIENT_POSITION
    script.nonces[2] -= 1
    script.move(TransferKind.FROM_POSITION, 2, 500)
    assert refused(twins, script) == 0
    script.move(TransferKind.TO_POSITION, 2, 1, market=1)
    assert refused(twins, script) == Refusal.INSUFFICIENT_POSITION


def test_hints_are_refused_without_an_output() -> None:
    twins = booked(genesis())
    before = outputs(twins)
    assert twins.apply(frame(Template.CANDIDATE, 1, account=1)).refusal == Refusal.NOT_IN_FORCE
    seq = twins.next_seq(Source.FEEDS)
    assert twins.apply(frame(Template.OBSERVATION, seq, feed=12)).refusal == Refusal.UNKNOWN_FEED
    assert outputs(twins) == before
    assert twins.machine.state.number("refused") == 2


def test_thousands_of_accounts_grow_the_tables_and_change_nothing_else() -> None:
    script = genesis(accounts=0)
    for n in range(1, 3001):
        script.account(n, deposit_e6=10**9)
    for n in range(1, 2999):
        script.fill(n, n + 1, 1, PRICE, market=2)
        script.fill(n, 3000 - n, 1, PRICE)
    twins = booked(script)
    assert twins.machine.state.number("positions") > 4096
    assert len(twins.machine.books.accounts) > 1024
    fresh = Twins()
    fresh.machine.state.reserve(20_000)
    fresh.apply_all(script.frames)
    assert fresh.machine.state.digest() == twins.machine.state.digest()
    assert fresh.machine.witness == twins.machine.witness
