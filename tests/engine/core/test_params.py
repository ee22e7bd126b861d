"""Parameters: staged, committed, in force at their tick; contradictions refused as a whole, by row."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.params import Row, exchange_rows, market_rows, oracle_rule, stage
from kernels.frames import ParamKey, Refusal, Source, Template, TickKind
from kernels.layouts import MAX_STAGED
from relayer.verify.model_frames import encode, head_of
from tests.engine.core.builders import HOUR_NS, PRICE, SECOND_NS, Script, frame, genesis, genesis_rows
from tests.engine.core.strategies import feed_rows, new_market, param_rows
from tests.engine.core.twins import Twins

NEW_MARKET = [
    Row(ParamKey.MARKET_SCALE, 3, 6, 0),
    Row(ParamKey.MARKET_LEVERAGE, 3, 5, 20),
    Row(ParamKey.MARKET_BAND, 3, 10_000),
    Row(ParamKey.FEED, 3, 0, 1),
    oracle_rule(3, "alone", 1),
]


def commit(twins: Twins, rows: list[Row], *, change: int = 7, not_before_ns: int = 0) -> tuple[int, int]:
    """Stage and commit; (refusal of the commit row, its detail)."""
    first = twins.next_seq(Source.ADMIN)
    frames = stage(rows, change=change, not_before_ns=not_before_ns, first_seq=first)
    refusals = [twins.apply(row.tobytes()).refusal for row in frames]
    assert not any(refusals[:-1])
    newest = twins.machine.books.outbox[twins.model.ledger.outputs - 1]
    return refusals[-1], int(newest[4]) if refusals[-1] else 0


def tick(twins: Twins, now_ns: int, kind: TickKind = TickKind.OPEN) -> int:
    """A tick in order; its refusal."""
    last = twins.model.ledger.meta.now_ns
    fields = {"now_ns": now_ns, "prev_ns": last, "interval_ns": now_ns - last, "kind": int(kind)}
    return twins.apply(frame(Template.TICK, twins.next_seq(Source.CLOCK), **fields)).refusal


def test_a_change_waits_for_its_tick() -> None:
    script = genesis()
    twins = Twins(script.frames)
    due = script.now_ns + 10 * SECOND_NS
    assert commit(twins, NEW_MARKET, not_before_ns=due) == (0, 0)
    assert tick(twins, due - 1) == 0
    assert twins.machine.state.number("markets") == 3
    assert tick(twins, due) == 0
    assert twins.machine.state.number("markets") == 4
    assert twins.machine.state.number("staged") == 0


def test_a_market_is_sampled_in_the_second_it_comes_into_force() -> None:
    script = genesis()
    twins = Twins(script.frames)
    assert commit(twins, NEW_MARKET) == (0, 0)
    assert tick(twins, script.now_ns + SECOND_NS, TickKind.SECOND) == 0
    assert int(twins.machine.books.markets[3]["seconds_seen"]) == 1


def test_a_pending_change_takes_no_more_rows_nor_commits() -> None:
    twins = Twins(genesis().frames)
    assert commit(twins, NEW_MARKET, not_before_ns=2**62) == (0, 0)
    seq = twins.next_seq(Source.ADMIN)
    assert twins.apply(frame(Template.PARAM, seq, change=7, key=1, value=5)).refusal == Refusal.PARAM_FULL
    again = frame(Template.PARAM, seq + 1, change=7, key=0, of=len(NEW_MARKET))
    assert twins.apply(again).refusal == Refusal.PARAM_DIGEST


@pytest.mark.parametrize("lie", ["of", "change", "value", "value2"])
def test_a_commit_that_does_not_match_is_refused_and_may_be_repeated(lie: str) -> None:
    twins = Twins(genesis().frames)
    frames = stage(NEW_MARKET, change=7, not_before_ns=0, first_seq=twins.next_seq(Source.ADMIN))
    good = frames[-1:].copy()
    frames[-1][lie] += 1
    assert [twins.apply(row.tobytes()).refusal for row in frames][-1] == Refusal.PARAM_DIGEST
    good["seq"] = twins.next_seq(Source.ADMIN)
    assert twins.apply(good[0].tobytes()).refusal == 0


@pytest.mark.parametrize(
    ("wrong", "row"),
    [
        (Row(ParamKey.BATCH_WINDOW_NS, 0, 0), 0),
        (Row(ParamKey.HOLD_NS, 0, 86_400 * 10**9 + 1), 0),
        (Row(ParamKey.FEE_TIER, 0, 100, -101), 0),
        (Row(ParamKey.FEE_TIER, 16, 100, 0), 0),
        (Row(ParamKey.MARGIN_TIER_RATES, 0, 10**10, 10**10), 0),
        (Row(ParamKey.MARGIN_TIER_LIMITS, 0, 1001, 0), 0),
        (Row(ParamKey.MARGIN_TIER_LIMITS, 0, 50, 0), 0),
        (Row(ParamKey.MARGIN_TIER_RATES, 1, 6 * 10**10, 10**9), 0),
        (Row(ParamKey.MARGIN_TIER_RATES, 1, 5 * 10**10, 10**9), 0),
        (Row(ParamKey.MARKET_SCALE, 0, 4, 4), 0),
        (Row(ParamKey.MARKET_SCALE, 4, 4, 4), 0),
        (Row(ParamKey.MARKET_SCALE, 3, 10, 0), 0),
        (Row(ParamKey.MARKET_SCALE, 3, 4, 4), 0),
        (Row(ParamKey.MARKET_LEVERAGE, 0, 10, 101), 0),
        (Row(ParamKey.MARKET_LEVERAGE, 0, 10, 9), 0),
        (Row(ParamKey.MARKET_FUNDING, 0, 2, 1), 0),
        (Row(ParamKey.MARKET_FUNDING, 0, -(2**63), 1), 0),
        (Row(ParamKey.MARKET_BAND, 0, 0), 0),
        (Row(ParamKey.FEED, 0, 13, 1), 0),
        (Row(ParamKey.FEED, 2, 0, 0), 0),
        (Row(ParamKey.FEED, 1, 0, 0), 0),
        (oracle_rule(0, "rearm", 0), 0),
        (oracle_rule(0, "funding_on", 16), 0),
        (Row(ParamKey.FEED, 256, 0, 1), 0),
    ],
)
def test_a_change_that_breaks_a_rule_is_dropped_as_a_whole(wrong: Row, row: int) -> None:
    twins = Twins(genesis().frames)
    tables = twins.machine.books.tiers.tobytes() + twins.machine.books.markets.tobytes()
    assert commit(twins, [wrong]) == (Refusal.PARAM_INVALID, row)
    assert commit(twins, [Row(ParamKey.HOLD_NS, 0, 5), wrong, Row(ParamKey.HOLD_NS, 0, 5)])[0]
    assert twins.machine.books.tiers.tobytes() + twins.machine.books.markets.tobytes() == tables
    assert twins.machine.state.number("staged") == 0


def test_tables_must_be_whole_before_the_first_commit() -> None:
    whole = [*exchange_rows(), *market_rows(0, "M", price_exp=4, lot_exp=4, feeds=1)]
    whole.append(oracle_rule(0, "alone", 1))
    needless = {
        (ParamKey.LIQUIDATION, 0),
        (ParamKey.MARGIN_TIER_RATES, 2),
        (ParamKey.MARKET_SYMBOL, 0),
        (ParamKey.MARKET_FUNDING, 0),
    }
    for gone in whole:
        wanted = 0 if (gone.key, gone.row) in needless else Refusal.PARAM_INVALID
        assert commit(Twins(), [row for row in whole if row != gone])[0] == wanted, gone
    assert commit(Twins(), whole) == (0, 0)


def test_a_row_of_another_change_drops_what_was_staged() -> None:
    twins = Twins(genesis().frames)
    for change in (1, 1, 2):
        seq = twins.next_seq(Source.ADMIN)
        assert twins.apply(frame(Template.PARAM, seq, change=change, key=1, value=5)).refusal == 0
    assert twins.machine.state.number("staged") == 1


def test_staging_is_bounded() -> None:
    twins, script = Twins(genesis().frames), Script()
    script.last_seq[int(Source.ADMIN)] = twins.next_seq(Source.ADMIN) - 1
    for _ in range(MAX_STAGED):
        script.add(Template.PARAM, change=9, key=1, value=5)
    twins.apply_all(script.frames)
    seq = twins.next_seq(Source.ADMIN)
    assert twins.apply(frame(Template.PARAM, seq, change=9, key=1, value=5)).refusal == Refusal.PARAM_FULL


@pytest.mark.parametrize(("lots", "margin"), [(3, 1_800), (4, 3_000), (10, 12_000)])
def test_leverage_in_force_sets_the_margin_that_a_fill_moves(lots: int, margin: int) -> None:
    """50x: 1/50 and the tier's 2 % agree up to 100,000 USDC; what lies beyond is held to the 5 % below."""
    script = genesis(deposit_e6=10**13)
    script.setting(2, 1, 50)
    script.fill(1, 2, lots, PRICE)
    twins = Twins(script.frames)
    row = next(r for r in twins.machine.books.positions if r["account"] == 2)
    assert int(row["cash"]) + lots * 30_000 * 10**6 == margin * 10**6


def test_upgrades_name_rules_that_this_build_knows() -> None:
    twins = Twins(genesis().frames)
    for rules in (-1, 0, 1, 2):
        seq = twins.next_seq(Source.ADMIN)
        assert twins.apply(frame(Template.UPGRADE, seq, rules=rules)).refusal == Refusal.RULES_UNKNOWN


def test_a_refused_tick_puts_nothing_in_force() -> None:
    script = genesis()
    twins = Twins(script.frames)
    assert commit(twins, NEW_MARKET) == (0, 0)
    fields = {"now_ns": script.now_ns + 1, "prev_ns": 0, "interval_ns": 1, "kind": 1}
    twins.apply(frame(Template.TICK, twins.next_seq(Source.CLOCK), **fields))


def test_rows_for_a_market_to_come_are_refused() -> None:
    twins = Twins(genesis().frames)
    refusal, row = commit(twins, [Row(ParamKey.MARKET_BAND, 3, 10_000)])
    assert (refusal, row) == (Refusal.PARAM_INVALID, 0)


def test_three_providers_are_a_median_even_where_one_is_heavy() -> None:
    script = genesis()
    script.params([Row(ParamKey.FEED, 0, 0, 10)], change=2)
    script.seconds(1)
    for k, price in enumerate((PRICE + 2000, PRICE, PRICE + 1000)):
        script.observe(price, feed=k)
    script.seconds(1)
    twins = Twins()
    twins.apply_all(script.frames)
    assert int(twins.machine.books.markets[0]["oracle"]) == PRICE + 2000


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(param_rows, feed_rows, new_market), min_size=1, max_size=6))
def test_any_rows_do_the_same_to_machine_and_model(drawn: list) -> None:
    rows = [row for part in drawn for row in (part if isinstance(part, list) else [part])]
    twins = Twins()
    twins.apply_all([row.tobytes() for row in stage(genesis_rows(), change=1, not_before_ns=0, first_seq=1)])
    tick(twins, HOUR_NS)
    for change, row in enumerate(rows, start=2):
        commit(twins, [row], change=change)
        tick(twins, HOUR_NS + change)
    commit(twins, rows, change=99)
    tick(twins, 2 * HOUR_NS)


def test_what_the_builders_write_is_what_the_layouts_say() -> None:
    raw = frame(Template.REFUSAL, 5, source=Source.ENGINE, market=-1, refused_seq=3, reason=2)
    assert raw == encode(Template.REFUSAL, 5, -1, 3, 0, 0, 0, 0, 0, 2)
    assert head_of(raw) == (Template.REFUSAL, 5, Source.ENGINE, -1)
