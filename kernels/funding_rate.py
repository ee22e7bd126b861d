"""Rate of an interval from its premium samples, by the knobs of any venue.

`rule` is a RULE or a MARKET record (`kernels/profiles.py`), already checked by `profiles.contradiction`.
Rates are in 1e-12 per 8 h; positive: longs pay. Nothing here keeps state: the interval so far is passed in.
"""

from __future__ import annotations

from kernels.int128 import mul_add_divmod, mul_div_half_even, mul_div_trunc
from kernels.jit import kernel
from kernels.layouts import LIMIT
from kernels.profiles import ADDED, DOWN, NEAREST, PERIOD_S, PPM, RATE_ONE, RISING, TWAP_DIFF, ZERO
from kernels.types import Record


@kernel
def clamp(value: int, bound: int) -> int:
    """`value` within +-bound. bound >= 0."""
    return max(-bound, min(bound, value))


@kernel
def ratio(a: int, b: int, divisor: int, rounding: int) -> tuple[int, int]:
    """(a*b / divisor as the rounding knob says, ok). ok = 0 also if `divisor` is not positive."""
    if rounding == NEAREST:
        return mul_div_half_even(a, b, divisor)
    if rounding == DOWN:
        down, _, ok = mul_add_divmod(a, b, 0, divisor)
        return down, ok
    return mul_div_trunc(a, b, divisor)


@kernel
def slot_weight(rule: Record, first: int, last: int) -> int:
    """Sum of the weights of sample slots first..last (from 1, both counted) of an interval."""
    if rule["weights"] == RISING:
        return (first + last) * (last - first + 1) // 2
    return last - first + 1


@kernel
def add_premium(
    rule: Record, total: int, weight: int, premium_e12: int, first: int, last: int
) -> tuple[int, int]:
    """(total, weight) of an interval with one premium more, clamped to the rule's limit, that fills sample
    slots first..last. A rule without contradiction keeps a whole interval within +-LIMIT."""
    more = slot_weight(rule, first, last)
    return total + clamp(premium_e12, rule["premium_limit_e12"]) * more, weight + more


@kernel
def mean_premium_e12(rule: Record, total: int, weight: int, valid: int, elapsed: int) -> tuple[int, int]:
    """(mean premium of an interval of which `elapsed` slots are over, ok), in 1e-12.

    valid: samples taken. Fewer than valid_min, in proportion to `elapsed`, or none at all: ok = 0 and the
    rate is 0. ZERO divides by the weights of all elapsed slots, so that leaving samples out never amplifies;
    SKIP by the weights of those taken. TWAP_DIFF divides the sum of differences by that of index prices.
    """
    slots = rule["interval_s"] // rule["sample_s"]
    if elapsed <= 0 or valid <= 0 or valid * slots < rule["valid_min"] * elapsed:
        return 0, 0
    if rule["source"] == TWAP_DIFF:
        if weight <= 0:
            return 0, 0
        mean, ok = ratio(total, RATE_ONE, weight, rule["rounding"])
        if ok == 0:
            mean = LIMIT if total > 0 else -LIMIT
        return clamp(mean, rule["premium_limit_e12"]), 1
    if rule["missing"] == ZERO:
        weight = slot_weight(rule, 1, elapsed)
    return ratio(total, 1, weight, rule["rounding"])


@kernel
def rate_of_mean(rule: Record, mean_e12: int) -> int:
    """Rate of a mean premium: interest, dampener, multiplier, period, cap. |mean_e12| <= 2**62 - 2**60."""
    interest = rule["interest_e12"]
    if rule["interest_rule"] == ADDED:
        rate = mean_e12 + interest
    else:
        rate = mean_e12 + clamp(interest - mean_e12, rule["dampener_e12"])
    if rule["multiplier_ppm"] != PPM or rule["period_s"] != PERIOD_S:
        scaled, ok = ratio(rate, rule["multiplier_ppm"] * PERIOD_S, PPM * rule["period_s"], rule["rounding"])
        if ok == 0:
            scaled = LIMIT if rate > 0 else -LIMIT
        rate = scaled
    return clamp(rate, rule["cap_e12"])


@kernel
def interval_rate_e12(
    rule: Record, total: int, weight: int, valid: int, elapsed: int, before_e12: int
) -> int:
    """Rate of an interval so far; at its end, with every slot elapsed, the rate itself.

    before_e12: the rate set by the interval before; the new one is at most `change` away, if that is set.
    Too few samples give 0, however far that is from before.
    """
    mean, ok = mean_premium_e12(rule, total, weight, valid, elapsed)
    if ok == 0:
        return 0
    rate = rate_of_mean(rule, mean)
    if rule["change_e12"] > 0:
        rate = max(before_e12 - rule["change_e12"], min(before_e12 + rule["change_e12"], rate))
    return clamp(rate, rule["cap_e12"])


@kernel
def slots_elapsed(rule: Record, now_ns: int) -> int:
    """How many sample slots of its interval have begun at `now_ns`, 1..n. The end of an interval is its last."""
    interval_ns = rule["interval_s"] * 1_000_000_000
    return (now_ns - 1) % interval_ns // (rule["sample_s"] * 1_000_000_000) + 1


@kernel
def predicted_rate_e12(
    rule: Record, total: int, weight: int, valid: int, now_ns: int, before_e12: int
) -> int:
    """Rate that would be set if the interval were over: a pure function of its samples and of how long it is.

    What has not happened yet is left out, so it is the rate itself at the last second.
    """
    return interval_rate_e12(rule, total, weight, valid, slots_elapsed(rule, now_ns), before_e12)
