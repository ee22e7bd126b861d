"""Consensus of oracle observations: scaling, gates and the weighted median, in integers."""

from __future__ import annotations

from kernels.int128 import mul_add_divmod
from kernels.jit import kernel
from kernels.layouts import (
    FEED_SLOTS,
    MAX_PROVIDERS,
    PRICE_MAX,
    PRICE_MIN,
    STATUS_NONE,
    STATUS_OK,
    STATUS_PRIMARY,
    STATUS_TWO,
)
from kernels.types import Record, Rows, Words

CONF_LIMIT_PPM = 20_000
"""A confidence wider than this share of its price (2 %) is not a price."""
SKEW_NS = 1_000_000_000
"""A publisher's clock may run so far ahead of the books', which stand still between ticks."""
WITNESS_BAND_PPM = 2_500
"""Two providers agree within max(sum of confidences, 25 bps)."""


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
        q, _, ok = mul_add_divmod(value, power10(shift), 0, 1)
        return q, ok
    divisor = power10(-shift)
    q, r, ok = mul_add_divmod(value, 1, 0, divisor)
    rest = divisor - r
    if r > rest or (r == rest and q % 2 != 0):
        q += 1
    return q, ok


@kernel
def gate(feed: Record, now_ns: int, age_ns: int) -> int:
    """1 if this observation may vote at `now_ns`: it has a weight, a price on scale, is neither from the
    future (but for `SKEW_NS`) nor older than `age_ns`, and its confidence is narrow enough."""
    publish_ns = feed["publish_ns"]
    price = feed["price"]
    if (
        feed["weight"] <= 0
        or publish_ns <= 0
        or publish_ns - SKEW_NS > now_ns
        or now_ns - publish_ns > age_ns
    ):
        return 0
    if price < PRICE_MIN or price > PRICE_MAX:
        return 0
    if feed["conf"] < 0 or feed["conf"] > PRICE_MAX:
        return 0
    if feed["conf"] * 1_000_000 > price * CONF_LIMIT_PPM:
        return 0
    return 1


@kernel
def consensus(feeds: Rows, market: int, now_ns: int, age_ns: int, order: Words) -> tuple[int, int, int]:
    """(status, price, conf) of one market from its providers' observations.

    feeds: FEED[markets * 16]; order: int64[16], scratch. Three or more votes: weighted median (first price
    whose cumulated weight reaches half; an exact tie takes the lower of the two), OK unless one vote has
    half the weight, then only TWO. Two: the lower-numbered provider is primary, the other its witness;
    disagreement beyond max(confidences, 25 bps) has no price. One: provider 0, the primary, only. The
    confidence is the chosen vote's own.
    """
    base = market * FEED_SLOTS
    votes = 0
    total = 0
    heaviest = 0
    for k in range(MAX_PROVIDERS):
        if gate(feeds[base + k], now_ns, age_ns) == 0:
            continue
        weight = feeds[base + k]["weight"]
        total += weight
        heaviest = max(heaviest, weight)
        price = feeds[base + k]["price"]
        at = votes
        while at > 0 and feeds[base + order[at - 1]]["price"] > price:
            order[at] = order[at - 1]
            at -= 1
        order[at] = k
        votes += 1
    if votes == 0:
        return STATUS_NONE, 0, 0
    if votes == 1 and order[0] != 0:
        return STATUS_NONE, 0, 0
    if votes == 1:
        return STATUS_PRIMARY, feeds[base + order[0]]["price"], feeds[base + order[0]]["conf"]
    if votes == 2:
        return _witnessed(feeds, base, min(order[0], order[1]), max(order[0], order[1]))
    cumulated = 0
    at = 0
    while True:
        cumulated += feeds[base + order[at]]["weight"]
        if 2 * cumulated >= total:
            break
        at += 1
    status = STATUS_OK if 2 * heaviest < total else STATUS_TWO
    return status, feeds[base + order[at]]["price"], feeds[base + order[at]]["conf"]


@kernel
def _witnessed(feeds: Rows, base: int, primary: int, witness: int) -> tuple[int, int, int]:
    price = feeds[base + primary]["price"]
    other = feeds[base + witness]["price"]
    conf = feeds[base + primary]["conf"]
    band = max(conf + feeds[base + witness]["conf"], price * WITNESS_BAND_PPM // 1_000_000)
    if abs(price - other) > band:
        return STATUS_NONE, 0, 0
    return STATUS_TWO, price, conf


@kernel
def median3(a: int, b: int, c: int) -> int:
    """The middle of three."""
    return max(min(a, b), min(max(a, b), c))
