"""What a rule would have charged over recorded hours: rates, what they add up to, and per coin where priced."""

from __future__ import annotations

from kernels.funding import next_index
from kernels.funding_rate import add_premium, interval_rate_e12
from kernels.int128 import mul_add_divmod
from kernels.jit import kernel
from kernels.layouts import LIMIT
from kernels.profiles import PERIOD_S, RATE_ONE, TWAP_DIFF
from kernels.types import Record, Rows, Words

HOUR_S = 3600
PRICE_MOST = 9_223_372_036_854
"""Largest price of which a millionth fits int64."""
UNPRICED = 100_000_000
"""Price of a unit where the file has none; the sum per coin then means nothing."""


@kernel
def add_hour(rule: Record, total: int, weight: int, premium_e12: int, place: int) -> tuple[int, int, int]:
    """(total, weight, samples) with an hour whose every sample is `premium_e12`; place: 0.. in its interval."""
    samples = HOUR_S // rule["sample_s"]
    if rule["source"] == TWAP_DIFF:
        limit = rule["premium_limit_e12"]
        return total + max(-limit, min(limit, premium_e12)), weight + RATE_ONE, samples
    total, weight = add_premium(rule, total, weight, premium_e12, place * samples + 1, (place + 1) * samples)
    return total, weight, samples


@kernel
def charge(
    rules: Rows, which: Words, first_hour: int, premium_e12: Words, valid: Words, price: Words, out: Words
) -> tuple[int, int, int, int, int]:
    """(hours charged, sum in 1e-12 of notional, largest |rate| in 1e-12 per 8 h, index, status) of a stretch.

    rules: RULE[r]; which: int64[n], the rule of each hour; first_hour: number of the first hour since 1970;
    premium_e12, valid, price: int64[n], price on any scale. An interval that is not whole (at either end, or
    cut by a change of rule) is not charged. The sum and the index (1e-6 of the price's unit per coin) carry
    their remainders. Writes out[n, 3]: hours that a payment closes (0: none), its rate, the sum after it.
    Positive: longs pay. Status 0: a sum left its bounds or a price +-PRICE_MOST, and `out` means nothing.
    """
    total, weight, samples, before, started = 0, 0, 0, 0, 0
    hours, paid, paid_rem, largest, index, index_rem = 0, 0, 0, 0, 0, 0
    for k in range(which.shape[0]):
        rule = rules[which[k]]
        length = rule["interval_s"] // HOUR_S
        place = (first_hour + k) % length
        if place == 0:
            total, weight, samples, started = 0, 0, 0, 1
        elif which[k] != which[k - 1]:
            started = 0
        if started == 1 and valid[k] == 1:
            total, weight, more = add_hour(rule, total, weight, premium_e12[k], place)
            samples += more
        out[k, 0], out[k, 1], out[k, 2] = 0, 0, paid
        if started == 0 or place != length - 1:
            continue
        slots = rule["interval_s"] // rule["sample_s"]
        rate = interval_rate_e12(rule, total, weight, samples, slots, before)
        due = before if rule["lag"] == 1 else rate
        before = rate
        if not -PRICE_MOST <= price[k] <= PRICE_MOST:
            return 0, 0, 0, 0, 0
        step, paid_rem, ok1 = mul_add_divmod(due, rule["interval_s"], paid_rem, PERIOD_S)
        index, index_rem, ok2 = next_index(index, index_rem, price[k], due, rule["interval_s"])
        paid += step
        if ok1 == 0 or ok2 == 0 or abs(paid) > LIMIT:
            return 0, 0, 0, 0, 0
        hours += length
        largest = max(largest, abs(due))
        out[k, 0], out[k, 1], out[k, 2] = length, due, paid
    return hours, paid, largest, index, 1
