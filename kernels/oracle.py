"""Oracle prices of one round: scaling, gates with reasons, weighted median, primary and witness. Integers.

One vote per provider and market. A vote passes every gate or is held back for one named reason, the first
in the order of the gates; `tally` makes one price of those that passed. What holds from one round to the
next is in `kernels.oracle_rounds`. Rules and starting values: facts, Oracles; MONEY.md, Prices.
"""

from __future__ import annotations

import numpy as np

from kernels.int128 import divmod128, mul_add_divmod, mul_div_ceil, mul_div_floor
from kernels.jit import kernel
from kernels.layouts import (
    PRICE_MAX,
    PRICE_MIN,
    STATUS_NONE,
    STATUS_OK,
    STATUS_PRIMARY,
    STATUS_TWO,
)
from kernels.narrow import divmod_floor, mul_add_fits
from kernels.types import Record, Rows, Words

CONF_LIMIT_PPM = 20_000
"""A confidence wider than this share of its price (2 %) is not a price."""
SKEW_NS = 1_000_000_000
"""A publisher's clock may run so far ahead of the books', which stand still between ticks."""
WITNESS_BAND_PPM = 2_500
"""Two providers agree within max(sum of confidences, 25 bps)."""
WEIGHT_MAX = 1 << 32
"""The weights of all providers of a market add up without wrapping."""

PASSES, NO_WEIGHT, NOT_VALID, NO_TIME, FROM_THE_FUTURE, TOO_OLD = 0, 1, 2, 3, 4, 5
NOT_POSITIVE, OFF_SCALE, TOO_WIDE, TOO_FAR, FEW_SAMPLES = 6, 7, 8, 9, 10
REASONS = (
    "passes",
    "no weight, or more than 2**32",
    "not of the expected owner, kind or verification",
    "no publish time",
    "from the future",
    "older than the age limit",
    "not a positive price",
    "off the scale of its market",
    "confidence unknown or too wide",
    "too far from the last good price",
    "too few samples",
)
"""What each reason code says, in the order of the gates."""

VOTE = np.dtype(
    [
        ("weight", "<i8"),
        ("publish_ns", "<i8"),
        ("price", "<i8"),  # in the market's price units
        ("conf", "<i8"),  # likewise
        ("samples", "<i8"),
        ("valid", "<i8"),  # 1: owner, discriminator and verification were right
    ]
)
ORACLE_RULES = np.dtype(
    [
        ("skew_ns", "<i8"),
        ("age_ns", "<i8"),
        ("conf_ppm", "<i8"),
        ("band_ppm", "<i8"),  # a vote's distance from the reference: base,
        ("band_ppm_s", "<i8"),  # and this more for every second since
        ("samples_min", "<i8"),
        ("rearm", "<i8"),  # agreements in a row after which a jump is believed
        ("hold_ns", "<i8"),
        ("witness_ppm", "<i8"),  # two providers agree within the larger of this and their confidences
        ("alone", "<i8"),  # 1: a primary alone may set the first price
    ]
)
"""Bounds that keep every product below within int64: times in 0 .. 2**61, shares in 0 .. 10**9 ppm."""
_LARGEST = 9_223_372_036_854_775_807


def starting_rules() -> Rows:
    """ORACLE_RULES[1] with the starting values: 10 s, 2 %, 10 % + 5 bps/s, 25 bps, hold 300 s, 3 agreements."""
    rules = np.zeros(1, ORACLE_RULES)
    rules["skew_ns"], rules["age_ns"], rules["hold_ns"] = SKEW_NS, 10 * 10**9, 300 * 10**9
    rules["conf_ppm"], rules["band_ppm"], rules["band_ppm_s"] = CONF_LIMIT_PPM, 100_000, 500
    rules["samples_min"], rules["rearm"], rules["witness_ppm"] = 1, 3, WITNESS_BAND_PPM
    return rules


@kernel
def power10(n: int) -> int:
    """10**n for 0 <= n <= 18."""
    out = 1
    for _ in range(n):
        out *= 10
    return out


@kernel
def rescale(value: int, shift: int) -> tuple[int, int]:
    """(value * 10**shift, ok): exact upwards, nearest with ties to even downwards. |shift| <= 18."""
    if shift < -18 or shift > 18:
        return 0, 0
    if shift >= 0:
        return mul_add_fits(value, power10(shift), 0)
    divisor = power10(-shift)
    q, r, ok = divmod_floor(value, 1, 0, divisor)
    rest = divisor - r
    if r > rest or (r == rest and q % 2 != 0):
        q += 1
    return q, ok


@kernel
def rescale128(hi: int, lo: int, shift: int) -> tuple[int, int]:
    """(value * 10**shift, ok) of a 128-bit (hi, lo), nearest with ties to even. -18 <= shift <= 0.

    Switchboard publishes 128-bit values of 1e-18. ok = 0: another shift, or the result is beyond int64.
    """
    if shift < -18 or shift > 0:
        return 0, 0
    divisor = power10(-shift)
    q, r, ok = divmod128(hi, lo, divisor)
    rest = divisor - r
    if r > rest or (r == rest and q % 2 != 0):
        if q == _LARGEST:
            return 0, 0
        q += 1
    return q, ok


@kernel
def age_limit_ns(leverage: int) -> int:
    """How old a price may be with `leverage` in force: 1 s above 100x, 3 s above 20x, else 10 s."""
    if leverage > 100:
        return 1_000_000_000
    if leverage > 20:
        return 3_000_000_000
    return 10_000_000_000


@kernel
def switchboard_conf(price: int, std_dev: int, spread: int) -> int:
    """Confidence of a Switchboard price: max(1.96 * std_dev, range / 2, 10 bps of price), each rounded up.

    The floor of 10 bps is there because feeds of three samples publish a deviation of 0. What does not fit
    int64 is its largest value, which no gate lets through. Negative inputs count as 0.
    """
    by_deviation, ok = mul_div_ceil(max(0, std_dev), 196, 100)
    if ok == 0:
        by_deviation = _LARGEST
    by_range, _ = mul_div_ceil(max(0, spread), 1, 2)
    by_price, _ = mul_div_ceil(max(0, price), 1, 1_000)
    return max(by_deviation, max(by_range, by_price))


@kernel
def time_reason(publish_ns: int, now_ns: int, skew_ns: int, age_ns: int) -> int:
    """Why an observation of `publish_ns` may not count at `now_ns`, or 0."""
    if publish_ns <= 0:
        return NO_TIME
    if publish_ns - skew_ns > now_ns:
        return FROM_THE_FUTURE
    if now_ns - publish_ns > age_ns:
        return TOO_OLD
    return PASSES


@kernel
def price_reason(price: int, conf: int, conf_ppm: int) -> int:
    """Why a price with its confidence may not count, or 0."""
    if price <= 0:
        return NOT_POSITIVE
    if price < PRICE_MIN or price > PRICE_MAX:
        return OFF_SCALE
    if conf < 0 or conf > PRICE_MAX or conf * 1_000_000 > price * conf_ppm:
        return TOO_WIDE
    return PASSES


@kernel
def band_of(price: int, age_ns: int, base_ppm: int, ppm_s: int) -> int:
    """price * (base_ppm + ppm_s * age) / 1e6, age in seconds, rounded down; saturates at int64.

    price, age_ns >= 0; base_ppm, ppm_s in 0 .. 10**9.
    """
    share_e15, _, ok = mul_add_divmod(ppm_s, age_ns, base_ppm * 1_000_000_000, 1)
    if ok == 0:
        return _LARGEST
    band, ok = mul_div_floor(price, share_e15, 1_000_000_000_000_000)
    return band if ok == 1 else _LARGEST


@kernel
def vote_reason(vote: Record, rules: Record, reference: int, band: int, now_ns: int) -> int:
    """The first gate that holds back this VOTE row, or 0. `reference` 0: there is no price to be far from."""
    if vote["weight"] <= 0 or vote["weight"] > WEIGHT_MAX:
        return NO_WEIGHT
    if vote["valid"] != 1:
        return NOT_VALID
    reason = time_reason(vote["publish_ns"], now_ns, rules["skew_ns"], rules["age_ns"])
    if reason == PASSES:
        reason = price_reason(vote["price"], vote["conf"], rules["conf_ppm"])
    if reason != PASSES:
        return reason
    if reference > 0 and abs(vote["price"] - reference) > band:
        return TOO_FAR
    if vote["samples"] < rules["samples_min"]:
        return FEW_SAMPLES
    return PASSES


@kernel
def insert_vote(rows: Rows, base: int, order: Words, votes: int, k: int) -> None:
    """Put provider `k` among the first `votes` of `order`, which are sorted by price, then number."""
    price = rows[base + k]["price"]
    at = votes
    while at > 0 and rows[base + order[at - 1]]["price"] > price:
        order[at] = order[at - 1]
        at -= 1
    order[at] = k


@kernel
def tally(
    rows: Rows, base: int, order: Words, votes: int, reference: int, witness_ppm: int
) -> tuple[int, int, int]:
    """(status, price, conf) of the votes that passed: rows[base + order[i]], i < `votes`, sorted by price.

    Three or more: weighted median, the first price whose cumulated weight reaches half. Where a cut halves
    the weight exactly, any price between its two sides is a median: the one nearest to `reference`, or the
    lower side without one (0), with the wider of the two confidences (the lower side's without reference).
    OK unless one vote has half the weight, then only TWO. Two: the lower-numbered provider is primary, the
    other its witness; disagreement beyond max(sum of confidences, `witness_ppm` of the primary's price, down)
    has no price. One: provider 0, the primary, only. rows: VOTE.
    """
    if votes == 0 or (votes == 1 and order[0] != 0):
        return STATUS_NONE, 0, 0
    if votes == 1:
        return STATUS_PRIMARY, rows[base]["price"], rows[base]["conf"]
    if votes == 2:
        return _witnessed(rows, base, min(order[0], order[1]), max(order[0], order[1]), witness_ppm)
    total = 0
    heaviest = 0
    for i in range(votes):
        weight = rows[base + order[i]]["weight"]
        total += weight
        heaviest = max(heaviest, weight)
    at = 0
    cumulated = rows[base + order[0]]["weight"]
    while 2 * cumulated < total:
        at += 1
        cumulated += rows[base + order[at]]["weight"]
    status = STATUS_OK if 2 * heaviest < total else STATUS_TWO
    price = rows[base + order[at]]["price"]
    conf = rows[base + order[at]]["conf"]
    if reference > 0 and 2 * cumulated == total:
        price = max(price, min(reference, rows[base + order[at + 1]]["price"]))
        conf = max(conf, rows[base + order[at + 1]]["conf"])
    return status, price, conf


@kernel
def _witnessed(votes: Rows, base: int, primary: int, witness: int, witness_ppm: int) -> tuple[int, int, int]:
    price = votes[base + primary]["price"]
    other = votes[base + witness]["price"]
    conf = votes[base + primary]["conf"]
    band = max(conf + votes[base + witness]["conf"], price * witness_ppm // 1_000_000)
    if abs(price - other) > band:
        return STATUS_NONE, 0, 0
    return STATUS_TWO, price, conf


@kernel
def median3(a: int, b: int, c: int) -> int:
    """The middle of three."""
    return max(min(a, b), min(max(a, b), c))
