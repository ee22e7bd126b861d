"""Prices through the whole machine: frames in, states and marks out; the model must say the same."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.params import Row, oracle_rule
from kernels import oracle
from kernels.frames import CorrectionKind, ObservationKind, ParamKey, Refusal, Template, TickKind
from kernels.layouts import (
    MARKET_HALTED,
    MARKET_REDUCE_ONLY,
    PRICE_MAX,
    STATUS_HELD,
    STATUS_NONE,
    STATUS_OK,
    STATUS_PRIMARY,
    STATUS_TWO,
)
from tests.engine.core.builders import HOUR_NS, PRICE, SECOND_NS, genesis
from tests.engine.core.exchange import Exchange, three
from tests.engine.core.twins import Twins

CLOSED = MARKET_HALTED | MARKET_REDUCE_ONLY


# The incidents of facts, Oracles: each stopped by the rule that the table names.


def test_pyth_september_2021_a_price_with_a_confidence_of_four_times_itself() -> None:
    """BTC at $5,402 +- $21,623: the confidence gate."""
    exchange = Exchange()
    exchange.script.observe(PRICE // 8, feed=0, conf=PRICE // 2)
    exchange.second({1: PRICE + 3, 2: PRICE + 5})
    assert exchange.reasons() == [oracle.TOO_WIDE, oracle.PASSES, oracle.PASSES]
    assert (exchange.status(), exchange.number("mark")) == (STATUS_TWO, PRICE + 3)


def test_mango_october_2022_a_price_that_is_24_times_the_last() -> None:
    """MNGO 0.038 -> 0.91, one venue first: the deviation band, whatever the weights."""
    exchange = Exchange()
    exchange.second({0: 24 * PRICE, 1: PRICE, 2: PRICE})
    assert exchange.reasons() == [oracle.TOO_FAR, oracle.PASSES, oracle.PASSES]
    assert (exchange.status(), exchange.number("oracle")) == (STATUS_TWO, PRICE)
    exchange.second({0: 24 * PRICE, 1: 24 * PRICE, 2: PRICE})
    assert exchange.reasons() == [oracle.TOO_FAR, oracle.TOO_FAR, oracle.PASSES]
    assert (exchange.status(), exchange.number("oracle"), exchange.number("mark")) == (
        STATUS_HELD,
        PRICE,
        PRICE,
    )


def test_synthetix_krw_two_feeds_left_and_never_averaged() -> None:
    """A wrong primary and a right witness: no price, not the middle of them."""
    exchange = Exchange()
    exchange.second({0: PRICE + PRICE // 20, 1: PRICE}, wait=4)
    assert exchange.reasons() == [oracle.PASSES, oracle.PASSES, oracle.TOO_OLD]
    assert (exchange.status(), exchange.number("oracle")) == (STATUS_HELD, PRICE)


def test_compound_dai_one_venue_at_1_30_of_three() -> None:
    """One of three is outvoted, inside the band as well."""
    exchange = Exchange()
    exchange.second({0: PRICE * 109 // 100, 1: PRICE + 9, 2: PRICE + 4})
    assert exchange.reasons() == [oracle.PASSES] * 3
    assert (exchange.status(), exchange.number("oracle")) == (STATUS_OK, PRICE + 9)
    exchange.second({0: PRICE * 130 // 100, 1: PRICE + 9, 2: PRICE + 4})
    assert exchange.reasons()[0] == oracle.TOO_FAR


def test_venus_luna_frozen_at_0_107_ends_in_a_halt() -> None:
    """A feed that stands still, or leaves the scale, is no price: held, reduce-only, then halted."""
    exchange = Exchange()
    exchange.script.observe(PRICE // 10**6, feed=0)
    exchange.script.observe(PRICE_MAX + 1, feed=1)
    exchange.send()
    assert exchange.twins.model.ledger.meta.refused == 2
    seen = []
    for second in range(1, 308):
        exchange.second()
        step = (exchange.status(), exchange.state())
        if not seen or seen[-1][1] != step:
            seen.append((second, step))
    assert exchange.number("oracle") == exchange.number("mark") == PRICE
    # Votes of second 0 of an age of 3 s may count until second 2: the genesis is a second old.
    assert seen == [
        (1, (STATUS_OK, 0)),
        (3, (STATUS_HELD, 0)),
        (6, (STATUS_HELD, MARKET_REDUCE_ONLY)),
        (303, (STATUS_NONE, MARKET_REDUCE_ONLY)),
        (304, (STATUS_NONE, CLOSED)),
    ]
    exchange.second(three(PRICE))
    assert (exchange.status(), exchange.state()) == (STATUS_OK, MARKET_HALTED), "an operator ends a halt"


def test_dydx_october_2025_a_restart_after_eight_hours_waits_for_fresh_prices() -> None:
    exchange = Exchange()
    script = exchange.script
    script.tick(script.now_ns + 8 * HOUR_NS, TickKind.OPEN)
    exchange.send()
    assert (exchange.status(), exchange.state()) == (STATUS_HELD, MARKET_REDUCE_ONLY)
    for k in range(3):
        script.observe(PRICE + k, feed=k, publish_ns=script.now_ns - 1)
    exchange.second()
    assert exchange.reasons() == [oracle.TOO_OLD] * 3, "younger than the limit, but from before the restart"
    assert (exchange.status(), exchange.state()) == (STATUS_NONE, MARKET_REDUCE_ONLY)
    exchange.second(three(2 * PRICE))
    assert (exchange.status(), exchange.state()) == (STATUS_OK, 0), "the band has widened over eight hours"
    assert exchange.number("oracle") == 2 * PRICE


def test_a_halted_market_restarts_reduce_only_until_something_newer_is_published() -> None:
    exchange = Exchange()
    script = exchange.script
    script.fill(1, 2, 10, 2 * PRICE)
    exchange.send()
    assert exchange.state() == MARKET_HALTED
    script.observe(PRICE, feed=0, publish_ns=script.now_ns - 5)
    script.add(Template.CORRECTION, market=0, kind=CorrectionKind.MARKET)
    exchange.send()
    assert (exchange.status(), exchange.state()) == (STATUS_HELD, MARKET_REDUCE_ONLY)
    exchange.second({0: PRICE, 1: PRICE})
    assert (exchange.status(), exchange.state()) == (STATUS_TWO, 0)
    assert exchange.reasons() == [oracle.PASSES, oracle.PASSES, oracle.TOO_OLD]


def test_a_frozen_market_that_was_not_halted_goes_on_at_once() -> None:
    exchange = Exchange()
    exchange.script.fill(1, 99, 10, PRICE)
    exchange.script.add(Template.CORRECTION, market=0, kind=CorrectionKind.MARKET)
    exchange.send()
    assert (exchange.status(), exchange.state()) == (STATUS_OK, 0)


# The rounds.


def test_a_true_jump_is_believed_after_three_rounds_of_newer_agreement() -> None:
    exchange = Exchange()
    seen = []
    for k in range(4):
        exchange.second(three(2 * PRICE + k))
        seen.append((exchange.status(), exchange.number("oracle"), exchange.reasons()[0]))
    held = (STATUS_HELD, PRICE, oracle.TOO_FAR)
    assert seen == [held, held, (STATUS_OK, 2 * PRICE + 2, oracle.PASSES), (STATUS_OK, 2 * PRICE + 3, 0)]


def test_a_jump_needs_new_words_each_round() -> None:
    """Providers that say it once and fall silent agree once, however many seconds pass."""
    exchange = Exchange()
    exchange.second(three(2 * PRICE))
    exchange.second()
    exchange.second()
    assert (exchange.status(), exchange.number("oracle")) == (STATUS_HELD, PRICE)
    assert int(exchange.twins.machine.books.oracles[0]["agreements"]) == 1


def test_the_number_of_agreements_is_a_rule_of_the_market() -> None:
    exchange = Exchange(oracle_rule(0, "rearm", 1))
    exchange.second(three(2 * PRICE))
    assert (exchange.status(), exchange.number("oracle")) == (STATUS_OK, 2 * PRICE)


def test_a_held_confidence_widens_by_the_second() -> None:
    """5 bps of the price a second since the last good one, on top of its confidence."""
    exchange = Exchange()
    exchange.second(three(PRICE), conf=700)
    widths = []
    for _ in range(6):
        exchange.second()
        widths.append((exchange.status(), exchange.number("conf")))
    bps5 = PRICE * 5 // 10_000
    good = [(STATUS_OK, 700)] * 2
    assert widths == [*good, *[(STATUS_HELD, 700 + k * bps5) for k in (1, 2, 3, 4)]]


def test_an_exact_tie_takes_what_is_nearest_to_the_last_price() -> None:
    exchange = Exchange(*[Row(ParamKey.FEED, 0, k, 2) for k in range(4)])
    exchange.second()
    exchange.second(dict(enumerate((PRICE + 30, PRICE + 10, PRICE + 40, PRICE - 20))), conf=5)
    exchange.second(dict(enumerate((PRICE + 30, PRICE + 10, PRICE + 40, PRICE + 25))))
    assert exchange.number("oracle") == PRICE + 25
    exchange.second(dict(enumerate((PRICE + 60, PRICE + 15, PRICE + 40, PRICE + 20))))
    assert exchange.number("oracle") == PRICE + 25, "between 20 and 40"


@pytest.mark.parametrize(("largest", "limit_s"), [(20, 10), (21, 3), (100, 3)])
def test_prices_age_by_the_leverage_the_market_allows(largest: int, limit_s: int) -> None:
    exchange = Exchange(Row(ParamKey.MARKET_LEVERAGE, 0, 10, largest))
    exchange.second(three(PRICE))
    said_ns = exchange.script.now_ns - SECOND_NS
    while exchange.status() == STATUS_OK:
        last_ns = exchange.script.now_ns
        exchange.second()
    assert last_ns - said_ns == limit_s * SECOND_NS
    assert exchange.reasons() == [oracle.TOO_OLD] * 3


def test_a_market_may_have_an_age_limit_of_its_own() -> None:
    exchange = Exchange(oracle_rule(0, "age_limit_ns", 60 * SECOND_NS))
    exchange.second(three(PRICE))
    exchange.second(wait=59)
    assert exchange.status() == STATUS_OK
    exchange.second()
    assert exchange.status() == STATUS_HELD


def test_each_market_has_its_own_rules() -> None:
    """A narrow band in market 0 says nothing of market 1."""
    exchange = Exchange(oracle_rule(0, "band_ppm", 1), oracle_rule(0, "band_ppm_s", 0))
    for market in (0, 1):
        exchange.second(three(PRICE + 1000) if market == 0 else {0: PRICE + 1000, 1: PRICE}, market=market)
    assert (exchange.number("oracle"), exchange.number("oracle", 1)) == (PRICE, PRICE + 1000)


def test_the_band_of_two_witnesses_is_a_rule() -> None:
    exchange = Exchange(oracle_rule(1, "witness_ppm", 10))
    exchange.second({0: PRICE, 1: PRICE + 3000}, market=1)
    assert exchange.status(1) == STATUS_TWO
    exchange.second({0: PRICE, 1: PRICE + 3001}, market=1)
    assert exchange.status(1) == STATUS_HELD


def test_a_primary_alone_sets_the_first_price_only_where_it_may() -> None:
    for alone, status in ((0, STATUS_NONE), (1, STATUS_PRIMARY)):
        script = genesis()
        rows = [Row(ParamKey.MARKET_SCALE, 3, 4, 4), Row(ParamKey.MARKET_LEVERAGE, 3, 5, 20)]
        rows += [Row(ParamKey.MARKET_FUNDING, 3, 10**9, 10**11), Row(ParamKey.MARKET_BAND, 3, 10**4)]
        rows += [Row(ParamKey.FEED, 3, k, 2) for k in range(2)] + [oracle_rule(3, "alone", alone)]
        script.params(rows, change=2)
        script.seconds(1)
        script.observe(PRICE, market=3)
        script.seconds(1)
        market = Twins(script.frames).market(3)
        assert (int(market["status"]), int(market["oracle"])) == (status, PRICE * alone)
        assert int(market["state"]) == 0, "what never had a price is not reduce-only"


@pytest.mark.parametrize("admitted", [0, 1 << STATUS_OK, 1 << STATUS_OK | 1 << STATUS_TWO])
def test_only_seconds_of_admitted_statuses_count_for_funding(admitted: int) -> None:
    exchange = Exchange(oracle_rule(0, "funding_on", admitted))
    counted = []
    for prices in (three(PRICE), {0: PRICE, 1: PRICE}, {0: PRICE}, {}):
        exchange.second(wait=4)
        before = exchange.number("seconds_valid")
        exchange.second(prices)
        counted.append((exchange.status(), exchange.number("seconds_valid") - before))
    statuses = (STATUS_OK, STATUS_TWO, STATUS_PRIMARY, STATUS_HELD)
    assert counted == [(status, admitted >> status & 1) for status in statuses]


def test_a_market_opened_later_follows_the_starting_values_and_a_restart_covers_every_market() -> None:
    exchange = Exchange()
    script = exchange.script
    script.tick(script.now_ns + SECOND_NS, TickKind.OPEN)
    exchange.send()
    states = [(exchange.status(m), exchange.state(m)) for m in range(3)]
    assert states == [(STATUS_HELD, MARKET_REDUCE_ONLY)] * 3
    for m in range(3):
        assert int(exchange.twins.machine.books.oracles[m]["restart_ns"]) == script.now_ns


def test_an_operator_cannot_admit_a_held_price() -> None:
    script = genesis()
    script.params([oracle_rule(0, "liquidation_on", 1 << STATUS_HELD)], change=2)
    assert Twins(script.frames[:-1]).last_of(script) == Refusal.PARAM_INVALID


# Random streams: jumps, silence, doubt, disagreement; machine = model, digest and reasons.

_price = st.sampled_from(
    [PRICE, PRICE + 1, PRICE * 1001 // 1000, PRICE * 104 // 100, PRICE * 13 // 10, 2 * PRICE, PRICE // 2]
)
_seen = st.tuples(
    st.integers(0, 2),
    st.integers(0, 2),
    _price,
    st.sampled_from([0, 0, 300_000, PRICE // 40]),
    st.sampled_from([0, 0, 0, 1, -SECOND_NS, -4 * SECOND_NS]),
)
_steps = st.lists(
    st.tuples(
        st.lists(_seen, max_size=6),
        st.sampled_from([1, 1, 1, 1, 2, 4, 20, 310]),
        st.sampled_from(["", "", "", "", "", "open", "correction", "rule"]),
    ),
    max_size=14,
)


def _odd(exchange: Exchange, what: str, change: int) -> None:
    script = exchange.script
    if what == "open":
        script.tick(script.now_ns + SECOND_NS, TickKind.OPEN)
    elif what == "correction":
        script.add(Template.CORRECTION, market=0, kind=CorrectionKind.MARKET)
    elif what == "rule":
        rules = (("rearm", 1), ("band_ppm_s", 10**6), ("hold_ns", 3 * SECOND_NS), ("age_limit_ns", SECOND_NS))
        script.params([oracle_rule(change % 3, *rules[change % 4])], change=change)


@settings(max_examples=60)
@given(_steps)
def test_machine_and_model_agree_on_any_stream(steps: list[tuple[list[tuple[int, ...]], int, str]]) -> None:
    exchange = Exchange()
    for change, (seen, wait_s, what) in enumerate(steps, 3):
        _odd(exchange, what, change)
        for market, feed, price, conf, late_ns in seen:
            at_ns = exchange.script.now_ns + wait_s * SECOND_NS + late_ns
            expo = (0, -9, 9)[market]
            exchange.script.observe(price, market=market, feed=feed, conf=conf, expo=expo, publish_ns=at_ns)
        exchange.script.tick(exchange.script.now_ns + wait_s * SECOND_NS)
        exchange.send()


def test_a_long_walk_reaches_every_status_and_state() -> None:
    """Providers that jump together, lag, doubt and fall silent, for 4,000 seconds of uneven length."""
    chance = random.Random(5)
    exchange = Exchange(oracle_rule(0, "hold_ns", 20 * SECOND_NS))
    reached, level, quiet = set(), PRICE, 0
    for _ in range(4000):
        level = level if chance.random() < 0.98 else chance.choice((PRICE, PRICE * 3 // 2, PRICE * 2 // 3))
        quiet = max(0, quiet - 1) if chance.random() < 0.98 else chance.randint(1, 40)
        for k in range(3):
            if quiet == 0 and chance.random() < 0.7:
                conf = chance.choice((0, 1000, PRICE))
                exchange.script.observe(level + chance.randint(-9, 9), feed=k, conf=conf)
        if exchange.twins.market()["state"] & MARKET_HALTED:
            exchange.script.add(Template.CORRECTION, market=0, kind=CorrectionKind.MARKET)
        exchange.script.observe(level, kind=ObservationKind.MID)
        exchange.script.seconds(1)
        if chance.random() < 0.05:
            exchange.send()
            reached.add((exchange.status(), exchange.state()))
    exchange.send()
    assert {status for status, _ in reached} == {
        STATUS_NONE, STATUS_OK, STATUS_TWO, STATUS_PRIMARY, STATUS_HELD,
    }  # fmt: skip
    assert {state for _, state in reached} >= {0, MARKET_REDUCE_ONLY, CLOSED}
