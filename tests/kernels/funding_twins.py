"""Naive twins of the funding rules: fractions and lists, one sample after another."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from tests.kernels.twins import fits

ONE = 10**12
ROUND: list[Any] = [math.trunc, math.floor, round]
Parts = tuple[int, ...]


def clip(value: int, bound: int) -> int:
    """`value` within +-bound."""
    return max(-bound, min(bound, value))


def fitting(*values: int) -> Parts:
    """(values, 1), or zeros and 0 where one does not fit int64."""
    return (*values, 1) if all(fits(value) for value in values) else (*(0 for _ in values), 0)


def share_e12(difference: int, oracle: int, limit: int) -> int:
    return clip(math.trunc(Fraction(difference * ONE, oracle)), limit)


def weights_of(rule: Any, slots: int) -> list[int]:
    """Weight of every sample slot."""
    return list(range(1, slots + 1)) if rule["weights"] else [1] * slots


def rate(rule: Any, samples: Sequence[int | None], before: int) -> int:
    """Rate of an interval of which these samples are over (None: missing), not for differences of averages."""
    slots = int(rule["interval_s"]) // int(rule["sample_s"])
    taken = [sample for sample in samples if sample is not None]
    if not taken or Fraction(len(taken), len(samples)) < Fraction(int(rule["valid_min"]), slots):
        return 0
    limit = int(rule["premium_limit_e12"])
    weights = weights_of(rule, len(samples))
    total = sum(w * clip(s, limit) for w, s in zip(weights, samples, strict=True) if s is not None)
    if rule["missing"]:
        over = sum(w for w, s in zip(weights, samples, strict=True) if s is not None)
    else:
        over = sum(weights)
    return rate_of_mean(rule, ROUND[rule["rounding"]](Fraction(total, over)), before)


def rate_of_mean(rule: Any, mean: int, before: int | None = None) -> int:
    """Rate of a mean premium; before: the rate that a change is held against, if the rule says so."""
    knob = {name: int(rule[name]) for name in rule.dtype.names}
    more = knob["interest_e12"]
    if knob["interest_rule"]:
        more = clip(more - mean, knob["dampener_e12"])
    scale = Fraction(knob["multiplier_ppm"] * 28_800, 10**6 * knob["period_s"])
    out = clip(ROUND[knob["rounding"]]((mean + more) * scale), knob["cap_e12"])
    if before is not None and knob["change_e12"]:
        out = max(before - knob["change_e12"], min(before + knob["change_e12"], out))
    return clip(out, knob["cap_e12"])


def mean(values: Sequence[int], length: int) -> Parts:
    over = max(len(values), length)
    return (math.trunc(Fraction(sum(values), over)), 1) if over else (0, 0)


def median(values: Sequence[int]) -> Parts:
    if not values:
        return 0, 0
    exact = statistics.median([Fraction(value) for value in values])
    away = math.floor(abs(exact) + Fraction(1, 2))
    return (away if exact > 0 else -away), 1


def trimmed(values: Sequence[int], tail_ppm: int) -> list[int]:
    gone = len(values) * 2 * tail_ppm // 10**6
    if gone == 0 or gone >= len(values):
        return list(values)
    low = gone // 2
    return sorted(values)[low : len(values) - (gone - low)]


def twap(
    updates: Sequence[tuple[int, int]], outages: Sequence[tuple[int, int]], before: int, until: int
) -> Parts:
    """Second by second."""
    counted = [s for s in range(until) if not any(a <= s < b for a, b in outages)]
    held = [([before] + [price for at, price in updates if at <= second])[-1] for second in counted]
    return fitting(sum(held), len(counted))


def index_step(elapsed: int, rate_ppm: int, price: int, mul: int, div: int) -> Parts:
    return fitting(math.trunc(Fraction(elapsed * rate_ppm * price * mul, div * 28_800)))


def drift_rate(mark: int, oracle: int, offset: int, part: int, period: int) -> Parts:
    parts = 86_400 // max(3600, period)
    if oracle < 0 or offset < 0 or part <= 0 or parts == 0:
        return 0, 0
    spread = mark - oracle + (oracle // offset if offset else 0)
    if not fits(mark - oracle) or not fits(spread):
        return 0, 0
    return fitting(math.trunc(Fraction(clip(spread, oracle // part) * 1000, parts)))


def drift_payment(rate_e9: int, base: int) -> int:
    return -math.trunc(Fraction(rate_e9 * base, ONE))


def drift_sides(rate_e9: int, net: int, longs: int, shorts: int, fee: int, pool: int) -> Parts:
    refused = 0, 0, 0, 0
    gain = -drift_payment(rate_e9, net)
    limit = -(max(0, pool - fee // 2) // 3)
    after = pool + max(gain, limit)
    if not all(fits(value) for value in (gain, -gain, after)):
        return refused
    if gain >= limit:
        return rate_e9, rate_e9, after, 1
    giving, taking = (longs, shorts) if rate_e9 > 0 else (shorts, longs)
    given = drift_payment(rate_e9, giving)
    over = limit - abs(given) + 1
    if taking == 0 or not fits(abs(given)) or not fits(-over):
        return refused
    reduced = math.trunc(Fraction(over * ONE, taking))
    if not fits(reduced):
        return refused
    pair = (rate_e9, reduced) if rate_e9 > 0 else (reduced, rate_e9)
    return (*pair, after, 1)


def difference_payment(internal: int, external: int, low: int, high: int, grown: int, share: int) -> Parts:
    def of(part: int) -> int:
        return math.trunc(Fraction(part * external, ONE))

    total = internal - external + min(of(high), max(of(low), of(grown) - internal))
    return fitting(math.trunc(Fraction(total * share, ONE)))
