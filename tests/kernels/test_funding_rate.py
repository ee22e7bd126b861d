"""Rates of every kind of rule against fractions, and what each knob promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import funding_compare, funding_rate, profiles
from kernels.layouts import KNOBS, LIMIT
from kernels.profiles import BOUNDS, RATE_ONE, RULE, RULES, Profile
from tests.kernels import funding_twins as twins
from tests.kernels.entries import run
from tests.kernels.twins import I64_MAX, I64_MIN

shares = st.one_of(st.sampled_from([0, 1, -1, RATE_ONE, -RATE_ONE]), st.integers(-RATE_ONE, RATE_ONE))
positive = st.one_of(st.sampled_from([0, 1, RATE_ONE]), st.integers(0, RATE_ONE))


@st.composite
def rules(draw: st.DrawFn) -> Any:
    """A rule of any venue with some knobs changed, its interval short enough to list its samples."""
    cap = draw(positive)
    return profiles.rule_row(
        draw(st.sampled_from([p for p in Profile if p is not Profile.DRIFT])),
        sample_s=draw(st.sampled_from([300, 720, 1200, 3600])),
        interval_s=draw(st.sampled_from([3600, 7200])),
        weights=draw(st.integers(0, 1)),
        missing=draw(st.integers(0, 1)),
        valid_min=draw(st.integers(0, 1)),
        interest_rule=draw(st.integers(0, 1)),
        interest_e12=draw(st.integers(-cap, cap)),
        dampener_e12=draw(positive),
        cap_e12=cap,
        change_e12=draw(positive),
        multiplier_ppm=draw(st.sampled_from([10**6, 600_000, 1, 10**7])),
        period_s=draw(st.sampled_from([28_800, 3600, 86_400])),
        rounding=draw(st.integers(0, 2)),
    )


def slots_of(rule: Any) -> int:
    return int(rule["interval_s"]) // int(rule["sample_s"])


def folded(rule: Any, samples: list[int | None]) -> tuple[int, int, int]:
    """(total, weight, valid) of samples taken one by one."""
    total = weight = valid = 0
    for slot, premium in enumerate(samples, 1):
        if premium is not None:
            total, weight = run(funding_rate.add_premium, rule, total, weight, premium, slot, slot)
            valid += 1
    return total, weight, valid


@given(rules(), st.data())
def test_rate_against_the_twin_at_every_moment(rule: Any, data: st.DataObject) -> None:
    """Also the predicted rate, at any second of the interval and at its last."""
    samples = data.draw(st.lists(st.none() | shares, min_size=1, max_size=slots_of(rule)))
    before = data.draw(shares)
    so_far = folded(rule, samples)
    expected = twins.rate(rule, samples, before)
    assert run(funding_rate.interval_rate_e12, rule, *so_far, len(samples), before) == expected
    assert abs(expected) <= int(rule["cap_e12"])
    interval_ns, step_ns = int(rule["interval_s"]) * 10**9, int(rule["sample_s"]) * 10**9
    start = 7 * interval_ns + (len(samples) - 1) * step_ns
    for now in (start + 1, start + step_ns):
        assert run(funding_rate.slots_elapsed, rule, now) == len(samples)
        assert run(funding_rate.predicted_rate_e12, rule, *so_far, now, before) == expected


means = st.one_of(shares, st.sampled_from([LIMIT, -LIMIT]), st.integers(-LIMIT, LIMIT))


@given(rules(), means)
def test_rate_of_a_mean_against_the_twin(rule: Any, mean: int) -> None:
    assert run(funding_rate.rate_of_mean, rule, mean) == twins.rate_of_mean(rule, mean)


@given(rules(), means, means)
def test_a_rate_rises_with_its_premium(rule: Any, one: int, other: int) -> None:
    low, high = (run(funding_rate.rate_of_mean, rule, mean) for mean in sorted((one, other)))
    assert low <= high


@given(st.integers(0, RATE_ONE), st.integers(0, 10**9))
def test_within_the_dampener_the_rate_is_the_interest(cap: int, dampener: int) -> None:
    rule = profiles.rule_row(Profile.HYPERLIQUID, dampener_e12=dampener, cap_e12=RATE_ONE)
    interest = int(rule["interest_e12"])
    for off in (-dampener, 0, dampener):
        assert run(funding_rate.rate_of_mean, rule, interest + off) == interest
    assert run(funding_rate.rate_of_mean, rule, interest + dampener + 7) == interest + 7


@given(st.lists(shares, min_size=12, max_size=12))
def test_later_samples_weigh_more_where_weights_rise(samples: list[int]) -> None:
    rule = profiles.rule_row(
        Profile.BINANCE, sample_s=300, interval_s=3600, dampener_e12=0, premium_limit_e12=RATE_ONE
    )
    rule["cap_e12"] = RATE_ONE
    rising = run(funding_rate.interval_rate_e12, rule, *folded(rule, sorted(samples)), 12, 0)
    falling = run(funding_rate.interval_rate_e12, rule, *folded(rule, sorted(samples)[::-1]), 12, 0)
    assert rising >= falling


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**9), st.integers(1, 10**6), st.integers(0, 2))
def test_a_difference_of_averages_is_divided_by_the_average(
    off: int, oracle: int, valid: int, rounding: int
) -> None:
    rule = profiles.rule_row(Profile.DRIFT, rounding=rounding, premium_limit_e12=RATE_ONE)
    mean, ok = run(funding_rate.mean_premium_e12, rule, off * valid, oracle * valid, valid, 3600)
    exact = twins.ROUND[rounding](twins.Fraction(off * RATE_ONE, oracle))
    assert (mean, ok) == (twins.clip(exact, RATE_ONE), 1)


@pytest.mark.parametrize(("total", "weight", "valid"), [(5, 0, 1), (5, 10, 0), (0, 0, 0)])
def test_an_average_of_nothing_is_no_rate(total: int, weight: int, valid: int) -> None:
    rule = profiles.rule_row(Profile.DRIFT)
    assert run(funding_rate.mean_premium_e12, rule, total, weight, valid, 3600) == (0, 0)
    assert run(funding_rate.interval_rate_e12, rule, total, weight, valid, 3600, 77) == 0


def test_an_interval_that_has_not_begun_has_no_mean() -> None:
    for missing in (profiles.ZERO, profiles.SKIP):
        rule = profiles.rule_row(Profile.HYPERLIQUID, missing=missing)
        assert run(funding_rate.mean_premium_e12, rule, 5, 1, 1, 0) == (0, 0)
        assert run(funding_rate.mean_premium_e12, rule, 5, 1, 1, 1) == (5, 1)


@pytest.mark.parametrize(("sample_s", "slots"), [(1, 3600), (5, 720), (60, 60)])
def test_too_few_samples_are_counted_in_slots(sample_s: int, slots: int) -> None:
    """A third of the slots, however long a slot is; in proportion while the interval runs."""
    rule = profiles.rule_row(Profile.GODARK, sample_s=sample_s, valid_min=slots // 3, missing=profiles.SKIP)
    for elapsed in (slots, slots // 2):
        enough = elapsed // 3
        assert run(funding_rate.mean_premium_e12, rule, 7 * enough, enough, enough, elapsed) == (7, 1)
        few = enough - 1
        assert run(funding_rate.mean_premium_e12, rule, 7 * few, few, few, elapsed) == (0, 0)


def test_a_quotient_past_int64_counts_as_its_limit() -> None:
    rule = profiles.rule_row(Profile.DRIFT)
    for sign in (1, -1):
        mean, ok = run(funding_rate.mean_premium_e12, rule, sign * LIMIT, 1, 1, 3600)
        assert (mean, ok) == (sign * RATE_ONE, 1)


@pytest.mark.parametrize("profile", list(Profile))
def test_each_profile_is_sound_and_its_fullest_interval_stays_in_bounds(profile: Profile) -> None:
    rule = profiles.rule_row(profile)
    assert profiles.contradiction(rule) is None
    assert all(low <= int(rule[name]) <= high for name, (low, high) in BOUNDS.items())
    slots = slots_of(rule)
    total, weight = run(funding_rate.add_premium, rule, 0, 0, 2**62, 1, slots)
    assert 0 < total <= LIMIT and weight == sum(twins.weights_of(rule, slots))
    assert RULES[profile].about


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"interest_e12": 3 * 10**11}, "interest_e12"),
        ({"dampener_e12": 16 * 10**10}, "dampener_e12"),
        ({"change_e12": 31 * 10**10}, "change_e12"),
        ({"interval_s": 5400}, "whole hours"),
        ({"interval_s": 5 * 3600}, "divide a day"),
        ({"sample_s": 7}, "divide an hour"),
        ({"valid_min": 3601}, "valid_min"),
        ({"weights": 1}, "one second"),
        ({"weights": 1, "sample_s": 5, "source": 3, "valid_min": 0}, "difference of averages"),
        ({"weights": 1, "sample_s": 2, "interval_s": 86_400}, "leaves the bounds"),
    ],
)
def test_knobs_that_contradict_each_other_are_named(changes: dict[str, int], word: str) -> None:
    why = profiles.contradiction(profiles.rule_row(Profile.GODARK, **changes))
    assert why is not None and word in why


@pytest.mark.parametrize(("number", "value"), [(0, 1), (16, 0), (-1, 0), (1, 4), (2, 0), (2, 3601), (15, 3)])
def test_a_knob_out_of_range_is_named(number: int, value: int) -> None:
    assert profiles.knob_fault(number, value)
    assert profiles.knob_fault(2, 3600) is None


def charged(
    rule_list: list[Any],
    which: list[int],
    first: int,
    premium: list[int | None],
    prices: list[int] | None = None,
) -> tuple[Any, Any]:
    table = np.zeros(len(rule_list), RULE)
    for k, rule in enumerate(rule_list):
        table[k] = rule
    out = np.full((len(which), 3), -1, np.int64)
    values = np.array([p or 0 for p in premium], np.int64)
    valid = np.array([p is not None for p in premium], np.int64)
    price = np.array(prices or [10**8] * len(which), np.int64)
    kind = np.array(which, np.int64)
    return run(funding_compare.charge, table, kind, first, values, valid, price, out), out


@pytest.mark.parametrize("number", range(1, len(KNOBS)))
def test_a_knob_may_take_its_ends_and_nothing_past_them(number: int) -> None:
    low, high = BOUNDS[KNOBS[number]]
    assert profiles.knob_fault(number, low) is None is profiles.knob_fault(number, high)
    for value in (low - 1, high + 1):
        assert str(profiles.knob_fault(number, value)).startswith(
            f"{KNOBS[number]} {value} is not in {low}.."
        )


def test_knobs_are_numbered_from_one() -> None:
    for number in (0, -1, len(KNOBS), len(KNOBS) + 1):
        assert profiles.knob_fault(number, 1) == f"knob {number} is not in 1..{len(KNOBS) - 1}"


@pytest.mark.parametrize(
    "changes",
    [
        {"interest_e12": 10**9, "cap_e12": 10**9},
        {"interest_e12": -(10**9), "cap_e12": 10**9},
        {"dampener_e12": 15 * 10**10},
        {"change_e12": 30 * 10**10},
        {"interval_s": 86_400},
        {"sample_s": 3600, "valid_min": 1},
        {"valid_min": 3600},
        {"weights": 1, "sample_s": 2},
        {"weights": 0, "sample_s": 5, "source": 3, "valid_min": 0},
        {"weights": 1, "sample_s": 3600, "interval_s": 7200, "premium_limit_e12": LIMIT // 3, "valid_min": 2},
        {"sample_s": 1800, "premium_limit_e12": LIMIT // 2, "valid_min": 2},
    ],
)
def test_knobs_at_the_edge_of_contradiction(changes: dict[str, int]) -> None:
    assert profiles.contradiction(profiles.rule_row(Profile.GODARK, **changes)) is None


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"interest_e12": 10**9 + 1, "cap_e12": 10**9}, "interest_e12"),
        ({"interest_e12": -(10**9) - 1, "cap_e12": 10**9}, "interest_e12"),
        ({"dampener_e12": 15 * 10**10 + 1}, "dampener_e12"),
        ({"change_e12": 30 * 10**10 + 1}, "change_e12"),
        ({"interval_s": 3601}, "whole hours"),
        ({"weights": 1, "sample_s": 3600, "interval_s": 7200, "premium_limit_e12": LIMIT // 3 + 1}, "leaves"),
        ({"sample_s": 1800, "premium_limit_e12": LIMIT // 2 + 1}, "leaves"),
    ],
)
def test_knobs_one_past_the_edge(changes: dict[str, int], word: str) -> None:
    why = profiles.contradiction(profiles.rule_row(Profile.GODARK, valid_min=0, **changes))
    assert why is not None and word in why


def test_hyperliquid_as_it_was() -> None:
    """Each regime from its first second on; what is not named is as it is today."""
    for k, (since_s, dampener, interval) in enumerate(profiles.REGIMES_HYPERLIQUID):
        rule = profiles.hyperliquid_at(since_s)
        assert (rule["dampener_e12"], rule["interval_s"]) == (dampener, interval)
        assert rule["interest_e12"] == 10**8
        if k:
            before = profiles.hyperliquid_at(since_s - 1)
            assert (before["dampener_e12"], before["interval_s"]) == profiles.REGIMES_HYPERLIQUID[k - 1][1:]


@pytest.mark.parametrize(("dex", "multiplier"), [("hyna", 10**6), ("para", 600_000), ("other", 10**6)])
def test_exchanges_on_hyperliquid(dex: str, multiplier: int) -> None:
    rule = profiles.hip3(dex)
    assert (rule["multiplier_ppm"], rule["dampener_e12"], rule["profile"]) == (multiplier, 3 * 10**8, 1)


hours = st.tuples(st.none() | st.integers(-(10**10), 10**10), st.integers(1, 10**12))


@given(st.integers(0, 10**6), st.lists(hours, max_size=40))
def test_recorded_hours_are_charged_as_the_twin_would(
    first: int, hours: list[tuple[int | None, int]]
) -> None:
    premium, prices = [p for p, _ in hours], [price for _, price in hours]
    for profile in (Profile.GODARK, Profile.HYPERLIQUID, Profile.BINANCE, Profile.BITMEX):
        rule = profiles.rule_row(profile)
        (count, paid, largest, index, ok), out = charged([rule], [0] * len(premium), first, premium, prices)
        interval_s, slots = int(rule["interval_s"]), 3600 // int(rule["sample_s"])
        length = interval_s // 3600
        start = -first % length
        wanted, rates, before, moved = [[0, 0, 0]] * len(premium), [], 0, 0
        for at in range(start, len(premium) - length + 1, length):
            span = premium[at : at + length]
            set_rate = twins.rate(rule, [p for p in span for _ in range(slots)], before)
            rates.append(before if rule["lag"] else set_rate)
            before = set_rate
            moved += prices[at + length - 1] * 10**6 * rates[-1] * interval_s
            so_far = sum(rates) * length // 8
            wanted[at + length - 1 :] = [[length, rates[-1], so_far]] + [[0, 0, so_far]] * len(premium)
        assert out.tolist() == wanted[: len(premium)]
        assert (ok, count) == (1, len(rates) * length)
        assert paid == sum(rates) * length // 8
        assert largest == max((abs(rate) for rate in rates), default=0)
        assert index == moved // (28_800 * RATE_ONE)


def test_an_index_or_a_price_out_of_bounds_is_refused_whole() -> None:
    """At 15 % per 8 h on the largest price the index leaves +-2**61 in the fourteenth hour."""
    rule = profiles.rule_row(Profile.GODARK, premium_limit_e12=RATE_ONE)
    most = funding_compare.PRICE_MOST
    for sign in (1, -1):
        premium = [sign * RATE_ONE] * 14
        assert charged([rule], [0] * 13, 0, premium[:13], [most] * 13)[0][4] == 1
        assert charged([rule], [0] * 13, 0, premium[:13], [-most] * 13)[0][4] == 1
        assert charged([rule], [0] * 14, 0, premium, [most] * 14)[0] == (0, 0, 0, 0, 0)
        for price in (sign * (most + 1), I64_MIN, I64_MAX):
            assert charged([rule], [0], 0, [0], [price])[0] == (0, 0, 0, 0, 0)


@given(st.lists(st.integers(-(2 * 10**9), 2 * 10**9), min_size=2, max_size=8))
def test_recorded_differences_of_averages_are_charged_at_their_mean(premium: list[int]) -> None:
    """Each clamped; every hour weighs the same."""
    rule = profiles.rule_row(Profile.DRIFT, interval_s=7200, premium_limit_e12=10**9, interest_e12=0)
    (hours, _, _, _, ok), out = charged([rule], [0] * len(premium), 0, list(premium))
    held = [twins.clip(p, 10**9) for p in premium]
    means = [twins.math.trunc(twins.Fraction(a + b, 2)) for a, b in zip(held[::2], held[1::2], strict=False)]
    assert (ok, hours) == (1, 2 * len(means))
    assert [int(r) for n, r, _ in out if n] == [twins.rate_of_mean(rule, mean) for mean in means]


def test_an_interval_cut_by_a_change_of_rule_is_not_charged() -> None:
    slow, fast = (profiles.rule_row(Profile.HYPERLIQUID, interval_s=s) for s in (28_800, 3600))
    (hours, paid, _, _, _), out = charged([slow, fast], [0] * 12 + [1] * 2, 0, [0] * 14)
    assert hours == 8 + 2
    assert paid == 10**8 + 2 * 10**8 // 8
    assert [k for k, row in enumerate(out) if row[0]] == [7, 12, 13]


def test_an_interval_whose_rule_changes_is_not_charged_the_next_one_is() -> None:
    one, other = (profiles.rule_row(Profile.HYPERLIQUID, interval_s=28_800, dampener_e12=d) for d in (0, 1))
    (hours, _, _, _, ok), out = charged([one, other], [0] * 4 + [1] * 12, 0, [0] * 16)
    assert (ok, hours) == (1, 8)
    assert [k for k, row in enumerate(out) if row[0]] == [15]
