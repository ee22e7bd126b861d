"""What single frames do, case by case, with the numbers worked out here; machine and model both must agree."""

from __future__ import annotations

import numpy as np
import pytest

from engine.core.params import Row
from kernels.frames import (
    CorrectionKind,
    OutcomeStage,
    ParamKey,
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
    MAX_OPEN_REFUSALS,
    OUTBOX_SLOTS,
)
from tests.engine.core.builders import PRICE, frame, genesis
from tests.engine.core.twins import Twins


def test_a_fill_moves_size_quote_fees_and_margin() -> None:
    script = genesis()
    script.fill(1, 2, 10, PRICE)
    twins = Twins(script.frames)
    # 10 lots at 30,000 = 300,000 USDC; taker (tier 0) pays 5 bps, maker (tier 1) 333,333 parts in 1e9.
    taker_fee, maker_fee = 150_000_000, 99_999_900
    taker = twins.position(2)
    # Default leverage 10, so 10 % of 300,000 stand in the position; all of free is less than that.
    assert (int(taker["size"]), twins.free(2)) == (10, 0)
    assert int(taker["cash"]) == -300_000_000_000 - taker_fee + 10**10
    assert int(twins.market()["fees_e6"]) == taker_fee + maker_fee
    assert int(twins.market()["open_interest"]) == 10


def test_an_isolated_position_takes_exactly_its_initial_margin() -> None:
    script = genesis(deposit_e6=10**12)
    script.fill(1, 2, 10, PRICE)
    taker = Twins(script.frames).position(2)
    assert int(taker["cash"]) + 300_000_000_000 == 30_000_000_000


def test_a_rebate_is_rounded_down_and_a_fee_up() -> None:
    script = genesis()
    script.fill(2, 1, 1, PRICE + 1)  # maker of tier 0: −1e-4 of 30,000.0001; taker of tier 1: 1.000001e-3
    twins = Twins(script.frames)
    legs = twins.apply(frame(Template.FILL, 2, maker=2, taker=1, size=1, price=PRICE + 1)).legs
    assert [leg.fee for leg in legs] == [-3_000_000, 30_000_031]


def test_a_flip_closes_and_opens_anew() -> None:
    script = genesis(deposit_e6=10**13)
    script.fill(1, 2, 10, PRICE)
    script.fill(1, 2, -25, PRICE + 1_000_000)
    row = Twins(script.frames).position(2)
    assert int(row["size"]) == -15
    assert int(row["realised_e6"]) == 10 * 100 * 10**6  # ten lots, 100 USD each
    assert int(row["cost_e6"]) == -15 * 30_100 * 10**6


def test_both_legs_of_a_self_trade_meet_in_one_position() -> None:
    script = genesis(deposit_e6=10**13)
    script.fill(2, 2, 10, PRICE)
    twins = Twins(script.frames)
    assert int(twins.position(2)["size"]) == 0
    assert twins.free(2) == 10**13 - 150_000_000 + 30_000_000
    assert twins.model.ledger.meta.booked == 1


def test_an_isolated_deficit_is_covered_as_far_as_insurance_reaches() -> None:
    script = genesis(deposit_e6=10**9)
    script.fill(1, 2, 1, PRICE)
    script.fill(3, 2, -1, PRICE // 2)  # the long loses 15,000 with 1,000 of its own
    twins = Twins(script.frames)
    legs = twins.machine.state.number("booked")
    row = twins.position(2)
    assert legs == 2
    assert int(row["size"]) == 0 and twins.free(0) == 0
    assert int(row["cash"]) == 10**9 + 1_000_000 - 15_000 * 10**6 - 15_000_000 - 7_500_000
    assert int(twins.market()["state"]) & MARKET_HALTED
    assert int(twins.machine.books.accounts[2]["flags"]) == 1


def test_two_deficits_in_one_fill_share_what_insurance_has() -> None:
    script = genesis(deposit_e6=10**9)
    script.fill(1, 2, 1, 2 * PRICE)
    script.fill(4, 3, -1, PRICE // 2)
    script.fill(2, 3, 1, PRICE)
    twins = Twins(script.frames)
    assert twins.free(0) == 0
    assert int(twins.position(2)["cash"]) < 0 and int(twins.position(3)["cash"]) < 0
    assert int(twins.position(2)["size"]) == int(twins.position(3)["size"]) == 0


def test_a_self_trade_that_flips_twice_spends_free_once() -> None:
    script = genesis(deposit_e6=2 * 10**10)
    script.fill(1, 2, 5, PRICE)
    script.params([Row(ParamKey.MARKET_LEVERAGE, 0, 1, 50)], change=2)
    script.seconds(1)
    script.fill(2, 2, 10, PRICE)
    twins = Twins(script.frames)
    assert int(twins.position(2)["size"]) == 5
    assert twins.free(2) == 0


@pytest.mark.parametrize(("price", "quote"), [(300_000_500, 300_000), (300_001_500, 300_002)])
def test_a_quote_between_two_is_rounded_to_even(price: int, quote: int) -> None:
    twins = Twins(genesis().frames)
    raw = frame(Template.FILL, 1, market=1, maker=1, taker=2, size=1, price=price)
    assert [leg.dcash + leg.fee for leg in twins.apply(raw).legs] == [quote, -quote]


def test_a_cross_deficit_goes_to_free_and_takes_no_insurance() -> None:
    script = genesis(deposit_e6=10**9)
    script.setting(2, SettingKind.MARGIN_MODE, 1)
    script.fill(1, 2, 1, PRICE)
    script.fill(3, 2, -1, PRICE // 2)
    twins = Twins(script.frames)
    assert int(twins.position(2)["cash"]) == 0
    assert twins.free(2) == 10**9 - 15_000 * 10**6 - 15_000_000 - 7_500_000
    assert twins.free(0) == 1_000_000


def test_off_the_band_is_booked_halts_and_freezes() -> None:
    script = genesis(deposit_e6=10**13)
    script.fill(1, 2, 1, PRICE * 105 // 100)
    twins = Twins(script.frames)
    assert int(twins.market()["state"]) == 0
    script.fill(1, 2, 1, PRICE * 105 // 100 + 1)
    assert twins.last_of(script) == 0
    assert int(twins.market()["state"]) == MARKET_HALTED
    states = [Template.MARKET_STATE, Template.ACCOUNT_STATE, Template.ACCOUNT_STATE]
    assert twins.outputs()[-4:] == [*states, Template.FREE_COLLATERAL]
    script.fill(1, 2, 1, PRICE)
    assert twins.last_of(script) == 0, "what was matched is booked, halted or not"
    script.move(TransferKind.WITHDRAWAL, 2, 1)
    assert twins.last_of(script) == Refusal.INSUFFICIENT_FREE
    script.nonces[2] -= 1
    script.add(Template.CORRECTION, kind=CorrectionKind.ACCOUNT, refused_seq=2)
    assert twins.last_of(script) == 0
    script.move(TransferKind.WITHDRAWAL, 2, 1)
    assert twins.last_of(script) == 0


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"market": 3}, Refusal.UNKNOWN_MARKET),
        ({"market": -1}, Refusal.UNKNOWN_MARKET),
        ({"maker": 0}, Refusal.INSURANCE_REDUCE_ONLY),
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
    twins = Twins(genesis().frames)
    given = {"market": 0, "seq": 1, "maker": 1, "taker": 2, "price": PRICE, "size": 1, **fields}
    number = given["market"]
    assert twins.apply(frame(Template.FILL, given.pop("seq"), **given)).refusal == why
    known = 0 <= number < 3
    assert twins.outputs()[-2:][0 if known else 1] == Template.REFUSAL
    assert int(twins.market(number if known else 0)["state"]) == (MARKET_FROZEN if known else 0)


def test_a_market_thaws_with_its_last_open_refusal() -> None:
    script = genesis()
    for size in (0, 0, 1):
        script.fill(1, 2, size, PRICE)
    twins = Twins(script.frames)
    for seq, state in ((2, MARKET_FROZEN), (1, 0)):
        script.add(Template.CORRECTION, kind=CorrectionKind.VOID, refused_source=1, refused_seq=seq)
        assert twins.last_of(script) == 0
        assert int(twins.market()["state"]) == state
    script.add(Template.CORRECTION, kind=CorrectionKind.REPLACED, refused_source=1, refused_seq=1)
    assert twins.last_of(script) == Refusal.NOTHING_TO_CORRECT


def test_open_refusals_past_their_table_are_only_counted_and_closed_by_market() -> None:
    script = genesis()
    for _ in range(MAX_OPEN_REFUSALS + 10):
        script.fill(1, 2, 0, PRICE)
    twins = Twins(script.frames)
    assert twins.machine.state.number("open_refusals") == MAX_OPEN_REFUSALS
    assert int(twins.market()["open_refusals"]) == MAX_OPEN_REFUSALS + 10
    script.add(Template.CORRECTION, kind=CorrectionKind.MARKET)
    assert twins.last_of(script) == 0
    assert twins.machine.state.number("open_refusals") == 0
    assert int(twins.market()["state"]) == 0


def test_the_outbox_is_a_ring() -> None:
    """Refused fills round the ring, from shortly before its end."""
    script = genesis()
    twins = Twins(script.frames)
    ring = twins.machine.books.outbox
    ring[:OUTBOX_SLOTS, 1] = np.arange(1, OUTBOX_SLOTS + 1)
    twins.machine.books.meta[0]["outputs"] = OUTBOX_SLOTS - 50
    twins.model.adopt_outputs(OUTBOX_SLOTS - 50, ring[: OUTBOX_SLOTS - 50])
    before = len(script.frames)
    for _ in range(100):
        script.fill(1, 2, 0, PRICE)
    twins.apply_all(script.frames[before:])
    newest = twins.machine.state.number("outputs")
    assert newest > OUTBOX_SLOTS
    assert int(ring[(newest - 1) % OUTBOX_SLOTS, 1]) == newest
    assert int(ring[newest % OUTBOX_SLOTS, 1]) == newest + 1 - OUTBOX_SLOTS


def test_no_account_and_no_sum_leaves_its_bounds() -> None:
    script = genesis(deposit_e6=1)
    script.deposit(1, LIMIT - 10**15)
    twins = Twins(script.frames)
    script.deposit(1, LIMIT)
    assert twins.last_of(script) == Refusal.OUT_OF_BOUNDS
    script.events[1] -= 1
    script.deposit(1, 10**15 - 10**7)
    assert twins.last_of(script) == 0


def test_batches_settle_in_order() -> None:
    script, twins = genesis(), Twins(genesis().frames)
    for batch, stage, why in (
        (1, OutcomeStage.COMMIT, 0),
        (2, OutcomeStage.SETTLED, Refusal.BATCH_OUT_OF_ORDER),
        (1, OutcomeStage.SETTLED, 0),
        (1, OutcomeStage.CHUNK, Refusal.BATCH_OUT_OF_ORDER),
        (2, 9, Refusal.UNKNOWN_KIND),
        (2, OutcomeStage.SETTLED, 0),
    ):
        script.add(Template.OUTCOME, batch=batch, stage=stage)
        assert twins.last_of(script) == why
    assert twins.machine.state.number("settled_batch") == 2


def test_cash_leaves_a_position_only_down_to_its_initial_margin() -> None:
    script = genesis(deposit_e6=10**12)
    script.fill(1, 2, 10, PRICE)
    script.move(TransferKind.TO_POSITION, 2, 500)
    twins = Twins(script.frames)
    script.move(TransferKind.FROM_POSITION, 2, 501)
    assert twins.last_of(script) == Refusal.INSUFFICIENT_POSITION
    script.nonces[2] -= 1
    script.move(TransferKind.FROM_POSITION, 2, 500)
    assert twins.last_of(script) == 0
    script.move(TransferKind.TO_POSITION, 2, 1, market=1)
    assert twins.last_of(script) == Refusal.INSUFFICIENT_POSITION


def test_hints_are_refused_without_an_output() -> None:
    twins = Twins(genesis().frames)
    before = twins.outputs()
    assert twins.apply(frame(Template.CANDIDATE, 1, account=1)).refusal == Refusal.UNKNOWN_KIND
    seq = twins.next_seq(Source.FEEDS)
    assert twins.apply(frame(Template.OBSERVATION, seq, feed=12)).refusal == Refusal.UNKNOWN_FEED
    assert twins.outputs() == before
    assert twins.machine.state.number("refused") == 2


def test_thousands_of_accounts_grow_the_tables_and_change_nothing_else() -> None:
    script = genesis(accounts=0)
    for n in range(1, 3001):
        script.account(n, deposit_e6=10**9)
    for n in range(1, 2999):
        script.fill(n, n + 1, 1, PRICE, market=2)
        script.fill(n, 3000 - n, 1, PRICE)
    twins = Twins(script.frames)
    assert twins.machine.state.number("positions") > 4096
    assert len(twins.machine.books.accounts) > 1024
    fresh = Twins()
    fresh.machine.state.reserve(20_000)
    fresh.apply_all(script.frames)
    assert fresh.machine.state.digest() == twins.machine.state.digest()
    assert fresh.machine.witness == twins.machine.witness
