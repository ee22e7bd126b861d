"""Markets that follow other venues' funding rules: machine and model agree, and the numbers worked out here."""

from __future__ import annotations

import random

import pytest

from engine.core.params import Row
from kernels.frames import ObservationKind, ParamKey, Refusal, TickKind
from kernels.layouts import KNOBS
from kernels.profiles import BOUNDS, RULES, Profile
from tests.engine.core.builders import HOUR_NS, PRICE, SECOND_NS, Script, genesis
from tests.engine.core.test_params import commit
from tests.engine.core.twins import Twins

BOOK = (ObservationKind.MID, ObservationKind.IMPACT_BID, ObservationKind.IMPACT_ASK)


def quote(script: Script, off: int, at_ns: int) -> None:
    """An index price, and a book `off` above it."""
    for feed in range(3):
        script.observe(PRICE, feed=feed, publish_ns=at_ns)
    for kind in BOOK:
        script.observe(PRICE + off, kind=kind, publish_ns=at_ns)


def following(profile: Profile, *more: Row, start_ns: int = 1000 * HOUR_NS) -> Script:
    """A market 0 with one open position, on this rule from the first second of an interval of eight hours."""
    script = genesis(deposit_e6=10**13, start_ns=start_ns)
    script.params([Row(ParamKey.MARKET_PROFILE, 0, profile), *more], change=2)
    script.fill(1, 2, 700_000, PRICE)
    return script


def steady(script: Script, off: int, hours: int, step_s: int) -> None:
    """Ticks `step_s` apart to the end of so many hours, the book always `off` above the index price."""
    end = (script.now_ns // HOUR_NS + hours) * HOUR_NS
    while script.now_ns < end:
        at_ns = min(end, (script.now_ns // SECOND_NS // step_s + 1) * step_s * SECOND_NS)
        quote(script, off, at_ns)
        script.tick(at_ns)


def test_a_new_market_follows_our_own_rule() -> None:
    market = Twins(genesis().frames).market()
    ours = RULES[Profile.GODARK]
    assert {name: int(market[name]) for name in KNOBS[1:]} == {n: getattr(ours, n) for n in KNOBS[1:]}


@pytest.mark.parametrize(
    ("profile", "premium", "rate"),
    [
        # The first number is the premium of every sample; the second what the venue's documents make of it.
        (Profile.GODARK, 4 * 10**8, 5 * 10**8),
        (Profile.HYPERLIQUID, 4 * 10**8, 10**8),
        (Profile.HYPERLIQUID, 9 * 10**8, 4 * 10**8),
        (Profile.BINANCE, -(9 * 10**8), -(4 * 10**8)),
        (Profile.BITMEX, 9 * 10**8, 4 * 10**8),
        (Profile.DYDX_V4, 9 * 10**8, 9 * 10**8),
        (Profile.DRIFT, 4 * 10**8, 2 * 10**8),
    ],
)
def test_what_each_rule_pays_on_a_steady_premium(profile: Profile, premium: int, rate: int) -> None:
    few = [
        Row(ParamKey.MARKET_KNOB, 0, KNOBS.index(name), n) for name, n in (("valid_min", 0), ("missing", 1))
    ]
    script = following(profile, *few)
    rule = RULES[profile]
    hours = rule.interval_s * (2 if rule.lag else 1) // 3600
    steady(script, PRICE * premium // 10**12, hours, 60)
    market = Twins(script.frames).market()
    assert int(market["rate_set_e12"]) == rate
    expected = int(market["rate_set_e12"]) * PRICE * rule.interval_s // (28_800 * 10**6)
    assert abs(int(market["index_e6"]) - expected) <= abs(expected) // 1000 + 1


@pytest.mark.parametrize("profile", list(Profile))
def test_machine_and_model_agree_on_every_rule(profile: Profile) -> None:
    """Sixteen hours with gaps, late ticks, a book that comes and goes, and a clock that stands still."""
    chance = random.Random(int(profile))
    script = following(profile, start_ns=1000 * HOUR_NS)
    end = script.now_ns + 17 * HOUR_NS
    while script.now_ns < end:
        at_ns = script.now_ns + chance.choice((1, 5, 60, 300, 700)) * SECOND_NS + chance.randint(0, 9)
        if chance.random() < 0.8:
            for feed in range(3):
                script.observe(PRICE + chance.randint(-(10**5), 10**5), feed=feed, publish_ns=at_ns)
        for kind in BOOK:
            if chance.random() < 0.8:
                script.observe(PRICE + chance.randint(-(10**6), 10**6), kind=kind, publish_ns=at_ns)
        script.tick(at_ns, TickKind.OPEN if chance.random() < 0.01 else TickKind.SECOND)
    twins = Twins(script.frames)
    assert int(twins.market()["epoch"]) > 16
    script.fill(2, 1, 3, PRICE)
    assert twins.last_of(script) == 0


def test_a_rule_with_eight_hours_pays_in_the_eighth_and_counts_epochs_hourly() -> None:
    script = following(Profile.BINANCE)
    steady(script, 10**6, 7, 600)
    before = Twins(script.frames).market().copy()
    assert (int(before["index_e6"]), int(before["seconds_valid"])) == (0, 42)
    steady(script, 10**6, 1, 600)
    after = Twins(script.frames).market()
    assert int(after["epoch"]) == int(before["epoch"]) + 1
    assert int(after["index_e6"]) > 0 and int(after["seconds_valid"]) == 0


def test_late_samples_weigh_more_where_weights_rise() -> None:
    rates = []
    for early, late in ((0, 10**6), (10**6, 0)):
        script = following(Profile.BINANCE)
        steady(script, early, 4, 600)
        steady(script, late, 4, 600)
        rates.append(int(Twins(script.frames).market()["rate_set_e12"]))
    assert rates[0] > 2 * rates[1] > 0


def test_a_lagging_rule_pays_the_rate_of_the_interval_before() -> None:
    lag = Row(ParamKey.MARKET_KNOB, 0, KNOBS.index("lag"), 1)
    script = following(Profile.DYDX_V4, lag)
    steady(script, 10**6, 1, 60)
    first = Twins(script.frames).market().copy()
    assert int(first["rate_e12"]) == 0 and int(first["rate_set_e12"]) > 0
    steady(script, 0, 1, 60)
    second = Twins(script.frames).market()
    assert int(second["rate_e12"]) == int(first["rate_set_e12"])
    assert int(second["rate_set_e12"]) == 0


def test_a_rate_moves_no_further_than_its_change_allows() -> None:
    change = Row(ParamKey.MARKET_KNOB, 0, KNOBS.index("change_e12"), 10**9)
    script = following(Profile.DYDX_V4, change)
    for expected in (10**9, 2 * 10**9, 3 * 10**9):
        steady(script, 10**6, 1, 60)
        assert int(Twins(script.frames).market()["rate_e12"]) == expected


def test_an_interval_that_the_clock_missed_pays_nothing_nor_does_its_lagging_rate() -> None:
    script = following(Profile.BITMEX)
    steady(script, 10**6, 8, 600)
    assert int(Twins(script.frames).market()["rate_set_e12"]) > 0
    script.tick(script.now_ns + 9 * HOUR_NS, TickKind.OPEN)
    steady(script, 10**6, 7, 600)
    market = Twins(script.frames).market()
    assert (int(market["index_e6"]), int(market["rate_e12"])) == (0, 0)


def test_a_change_of_rule_starts_the_interval_anew() -> None:
    script = following(Profile.DYDX_V4)
    steady(script, 10**6, 1, 60)
    for _ in range(30):
        quote(script, 10**6, script.now_ns + 60 * SECOND_NS)
        script.tick(script.now_ns + 60 * SECOND_NS)
    script.params([Row(ParamKey.MARKET_PROFILE, 0, Profile.DRIFT)], change=3)
    assert int(Twins(script.frames).market()["seconds_valid"]) > 0
    quote(script, 10**6, script.now_ns + SECOND_NS)
    script.seconds(1)
    market = Twins(script.frames).market()
    assert int(market["profile"]) == Profile.DRIFT
    assert (int(market["rate_set_e12"]), int(market["seconds_valid"])) == (0, 1)


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        ([Row(ParamKey.MARKET_PROFILE, 0, 6)], 0),
        ([Row(ParamKey.MARKET_PROFILE, 0, -1)], 0),
        ([Row(ParamKey.MARKET_PROFILE, 3, 0)], 0),
        ([Row(ParamKey.MARKET_KNOB, 0, 0, 0)], 0),
        ([Row(ParamKey.MARKET_KNOB, 0, 16, 0)], 0),
        *(
            ([Row(ParamKey.MARKET_KNOB, 0, KNOBS.index(name), bound + step)], 0)
            for name in KNOBS[1:]
            for bound, step in zip(BOUNDS[name], (-1, 1), strict=True)
        ),
        ([Row(ParamKey.MARKET_PROFILE, 0, 1), Row(ParamKey.MARKET_FUNDING, 0, 0, 10**8)], 1),
        ([Row(ParamKey.MARKET_KNOB, 0, KNOBS.index("interval_s"), 3601)], 0),
        ([Row(ParamKey.MARKET_KNOB, 0, KNOBS.index("interval_s"), 18_000)], 0),
        ([Row(ParamKey.MARKET_KNOB, 0, KNOBS.index("sample_s"), 7)], 0),
        ([Row(ParamKey.MARKET_KNOB, 0, KNOBS.index("sample_s"), 5)], 0),
        ([Row(ParamKey.MARKET_KNOB, 0, KNOBS.index("weights"), 1)], 0),
        ([Row(ParamKey.MARKET_PROFILE, 0, 2), Row(ParamKey.MARKET_KNOB, 0, KNOBS.index("source"), 3)], 1),
        ([Row(ParamKey.MARKET_PROFILE, 0, 2), Row(ParamKey.MARKET_KNOB, 0, 6, 10**12)], 1),
    ],
)
def test_a_rule_that_contradicts_itself_is_refused_as_a_whole(rows: list[Row], wrong: int) -> None:
    twins = Twins(genesis().frames)
    assert commit(twins, rows) == (Refusal.PARAM_INVALID, wrong)
    assert int(twins.market()["profile"]) == Profile.GODARK
