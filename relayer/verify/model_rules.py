"""Funding rules of the model: the venues' knobs written out again, samples and rates by exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, NamedTuple

from kernels.layouts import LIMIT
from relayer.verify.model_state import Market

ONE = 10**12
SAMPLES_MAX = 2**20
SUM_MAX = 2**61
FROM_MARK, FROM_IMPACT, FROM_MID, FROM_AVERAGES = range(4)

KNOB_BOUNDS = [
    ("source", 0, 3),
    ("sample_s", 1, 3600),
    ("weights", 0, 1),
    ("missing", 0, 1),
    ("valid_min", 0, 86_400),
    ("premium_limit_e12", 1, ONE),
    ("interest_rule", 0, 1),
    ("dampener_e12", 0, ONE),
    ("multiplier_ppm", 1, 10**7),
    ("period_s", 3600, 30 * 86_400),
    ("interval_s", 3600, 86_400),
    ("change_e12", 0, ONE),
    ("lag", 0, 1),
    ("pay_on", 0, 1),
    ("rounding", 0, 2),
]
"""Knobs 1..15 with their smallest and largest values."""


def knobs(cap_e12: int, interest_e12: int, **others: int) -> dict[str, int]:
    """All knobs of a venue: those given, the rest as most venues have them."""
    usual = {
        "source": FROM_IMPACT, "sample_s": 5, "weights": 0, "missing": 0, "valid_min": 0,
        "premium_limit_e12": ONE, "interest_rule": 1, "dampener_e12": 0, "multiplier_ppm": 10**6,
        "period_s": 28_800, "interval_s": 3600, "change_e12": 0, "lag": 0, "pay_on": 1, "rounding": 0,
    }  # fmt: skip
    return usual | others | {"cap_e12": cap_e12, "interest_e12": interest_e12}


RULES_BY_PROFILE = [
    knobs(
        15 * 10**10, 10**8, source=FROM_MARK, sample_s=1, valid_min=1200, premium_limit_e12=5 * 10**10,
        interest_rule=0, pay_on=0,
    ),
    knobs(32 * 10**10, 10**8, dampener_e12=5 * 10**8, rounding=2),
    knobs(
        2 * 10**10, 10**8, weights=1, missing=1, premium_limit_e12=5 * 10**10, dampener_e12=5 * 10**8,
        interval_s=28_800, pay_on=0, rounding=2,
    ),
    knobs(
        375 * 10**7, 10**8, sample_s=60, missing=1, premium_limit_e12=5 * 10**10, dampener_e12=5 * 10**8,
        interval_s=28_800, change_e12=375 * 10**7, lag=1, pay_on=0, rounding=2,
    ),
    knobs(12 * 10**10, 0, sample_s=60, premium_limit_e12=72 * 10**10, interest_rule=0),
    knobs(
        ONE // 99, 2 * 10**8, source=FROM_AVERAGES, sample_s=1, missing=1, interest_rule=0,
        period_s=86_400,
    ),
]  # fmt: skip
"""GoDark, Hyperliquid, Binance, BitMEX, dYdX v4, Drift."""


class Seen(NamedTuple):
    """What is known of the book in a second."""

    mid: int | None
    bid: int | None
    ask: int | None


def put_knobs(market: Market, values: dict[str, int]) -> None:
    """Set knobs of a market; what its open interval has sampled is forgotten."""
    for name, value in values.items():
        setattr(market, name, value)
    forget_samples(market)
    market.rate_set_e12 = 0


def forget_samples(market: Market) -> None:
    """An interval without samples."""
    market.premium_sum_e12 = market.weight_valid = market.seconds_valid = market.seconds_seen = 0


def rule_is_sound(market: Market) -> bool:
    """Whether the knobs agree among themselves."""
    if market.interval_s % 3600 or 86_400 % market.interval_s or 3600 % market.sample_s:
        return False
    slots = market.interval_s // market.sample_s
    weight = sum(range(1, slots + 1)) if market.weights else slots
    return (
        abs(market.interest_e12) <= market.cap_e12
        and market.dampener_e12 <= market.cap_e12
        and market.change_e12 <= 2 * market.cap_e12
        and market.valid_min <= slots
        and not (market.weights and (market.sample_s == 1 or market.source == FROM_AVERAGES))
        and market.premium_limit_e12 * weight <= SUM_MAX
    )


def interval_ends(market: Market, prev_ns: int, now_ns: int) -> bool:
    """Whether the funding interval of a market ends between two ticks."""
    interval_ns = market.interval_s * 10**9
    return now_ns // interval_ns > prev_ns // interval_ns


def difference_of(market: Market, seen: Seen) -> int | None:
    """How far the market stands off its index price by the source of the rule; None: not known."""
    if market.source in (FROM_MARK, FROM_AVERAGES):
        return market.mark - market.oracle
    if market.source == FROM_MID:
        return None if seen.mid is None else seen.mid - market.oracle
    if seen.bid is None or seen.ask is None:
        return None
    above, below = max(0, seen.bid - market.oracle), max(0, market.oracle - seen.ask)
    return above - below


def take_sample(market: Market, seen: Seen, prev_ns: int, now_ns: int) -> None:
    """Add the premium of a second, where a sample is due: one for each stretch of `sample_s`."""
    step_ns = market.sample_s * 10**9
    due = market.sample_s == 1 or now_ns // step_ns > prev_ns // step_ns
    difference = difference_of(market, seen)
    if not due or difference is None or market.seconds_valid >= SAMPLES_MAX:
        return
    market.seconds_valid += 1
    if market.source == FROM_AVERAGES:
        market.premium_sum_e12 += difference
        market.weight_valid += market.oracle
        return
    place = market.interval_s // market.sample_s
    if not interval_ends(market, prev_ns, now_ns):
        place = -(-(now_ns % (market.interval_s * 10**9)) // step_ns) or place
    weight = place if market.weights else 1
    limit = market.premium_limit_e12
    premium = math.trunc(Fraction(difference * ONE, market.oracle))
    market.premium_sum_e12 += weight * max(-limit, min(limit, premium))
    market.weight_valid += weight


def rounded(market: Market, value: Fraction) -> int:
    """As the rule rounds: toward zero, down, or to nearest with ties to even."""
    how: list[Any] = [math.trunc, math.floor, round]
    return int(how[market.rounding](value))


def mean_of_interval(market: Market, elapsed: int) -> int | None:
    """The mean premium of an interval of which so many slots are over; None: it has too few samples for that."""
    slots = market.interval_s // market.sample_s
    if market.seconds_valid < 1 or market.seconds_valid * slots < market.valid_min * elapsed:
        return None
    if market.weight_valid <= 0 and (market.missing or market.source == FROM_AVERAGES):
        return None
    if market.source == FROM_AVERAGES:
        mean = rounded(market, Fraction(market.premium_sum_e12 * ONE, market.weight_valid))
        return max(-market.premium_limit_e12, min(market.premium_limit_e12, mean))
    weight = market.weight_valid
    if market.missing == 0:
        weight = elapsed * (elapsed + 1) // 2 if market.weights else elapsed
    return rounded(market, Fraction(market.premium_sum_e12, weight))


def rate_of_interval(market: Market, elapsed: int | None = None) -> int:
    """The rate per 8 h that an interval sets, or would if it were over now: 0 with too few samples."""
    mean = mean_of_interval(market, elapsed or market.interval_s // market.sample_s)
    if mean is None:
        return 0
    interest = market.interest_e12
    if market.interest_rule:
        interest = max(-market.dampener_e12, min(market.dampener_e12, interest - mean))
    scale = Fraction(market.multiplier_ppm * 28_800, 10**6 * market.period_s)
    cap = market.cap_e12
    rate = max(-cap, min(cap, rounded(market, (mean + interest) * scale)))
    if market.change_e12:
        before = market.rate_set_e12
        rate = max(before - market.change_e12, min(before + market.change_e12, rate))
    return max(-cap, min(cap, rate))


def accrued_index(market: Market, second_ns: int) -> int:
    """The index with what the open interval has accrued by its last second: as equity counts it."""
    seconds = second_ns // 10**9 % market.interval_s
    if not seconds or not market.open_interest:
        return market.index_e6
    interval_ns = market.interval_s * 10**9
    rate = market.rate_set_e12
    if not market.lag:
        rate = rate_of_interval(market, (second_ns - 1) % interval_ns // (market.sample_s * 10**9) + 1)
    owed = market.pay_price * 10**6 * rate * seconds + market.index_rem
    step = owed // (28_800 * ONE)
    fits = abs(step) <= LIMIT and abs(market.index_e6 + step) <= LIMIT
    return market.index_e6 + step if fits else market.index_e6
