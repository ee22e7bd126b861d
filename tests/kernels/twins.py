"""Naive twins of the kernels: plain Python integers and fractions, written to be read, not to be fast."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

I64_MIN, I64_MAX = -(2**63), 2**63 - 1
LIMIT = 2**61
ONE_E12 = 10**12
PRICE_MIN, PRICE_MAX = 10**7, 9 * 10**9

Rounding = Callable[[Fraction], int]


def fits(value: int) -> bool:
    """True if `value` is an int64."""
    return I64_MIN <= value <= I64_MAX


def half_even(x: Fraction) -> int:
    """Nearest integer, ties to even."""
    return round(x)


def half_away(x: Fraction) -> int:
    """Nearest integer, ties away from zero."""
    return math.floor(x + Fraction(1, 2)) if x >= 0 else math.ceil(x - Fraction(1, 2))


def int128(hi: int, lo: int) -> int:
    """Value of a (hi, lo) pair of int64, lo read as unsigned."""
    return hi * 2**64 + lo % 2**64


def crc32c(data: bytes, crc: int = 0) -> int:
    """CRC-32C bit by bit, as a polynomial division with reflected bits."""
    register = crc ^ 0xFFFFFFFF
    for byte in data:
        for bit in range(8):
            carry = (register ^ (byte >> bit)) & 1
            register >>= 1
            if carry:
                register ^= 0x82F63B78
    return register ^ 0xFFFFFFFF


class Scale(NamedTuple):
    """How a market with e decimals of price turns size * price into 1e-6 USDC."""

    e: int

    @property
    def one(self) -> int:
        return 10**self.e

    @property
    def mul(self) -> int:
        return 10 ** max(0, 6 - self.e)

    @property
    def div(self) -> int:
        return 10 ** max(0, self.e - 6)

    @property
    def size_max(self) -> int:
        """Largest size whose notional at the largest price is at most 2**60 (mul first, rounded down)."""
        return (2**60 // self.mul) * self.div // PRICE_MAX

    def worth(self, size: int, price: int) -> Fraction:
        """Exact size * price in 1e-6 USDC."""
        return Fraction(size * price * 10**6, self.one)


def requirement(scale: Scale, size: int, price: int, rate_e12: int) -> int:
    """Margin of a position: notional up, then its share up."""
    notional = math.ceil(abs(scale.worth(size, price)))
    return math.ceil(Fraction(notional * rate_e12, ONE_E12))


def isolated_transfer(scale: Scale, size: int, cash: int, free: int, price: int, rate_e12: int) -> int:
    """What lifts equity to the requirement, at most what is free, at least nothing."""
    equity = cash + math.floor(scale.worth(size, price))
    wanted = requirement(scale, size, price, rate_e12) - equity
    return max(0, min(wanted, free))


class Lot(NamedTuple):
    """A stretch of open size and the signed quote that it cost."""

    size: int
    cost_e6: int


def next_cost(lot: Lot, dsize: int, quote_e6: int) -> tuple[int, int]:
    """(cost, realised added), one case after the other, a flip as close and open."""
    if lot.size == 0 or lot.size * dsize > 0:
        return lot.cost_e6 + quote_e6, 0
    if abs(dsize) == abs(lot.size):
        return 0, -(quote_e6 + lot.cost_e6)
    if abs(dsize) < abs(lot.size):
        out = math.trunc(Fraction(lot.cost_e6 * abs(dsize), abs(lot.size)))
        return lot.cost_e6 - out, -(quote_e6 + out)
    closing = math.trunc(Fraction(quote_e6 * abs(lot.size), abs(dsize)))
    _, realised = next_cost(lot, -lot.size, closing)
    cost, _ = next_cost(Lot(0, 0), dsize + lot.size, quote_e6 - closing)
    return cost, realised


class Vote(NamedTuple):
    """One oracle observation, in the fields of layouts.FEED."""

    weight: int
    publish_ns: int
    price: int
    conf: int


def may_vote(vote: Vote, now_ns: int, age_ns: int) -> bool:
    """Weight, time, price and confidence of an observation are all acceptable."""
    return (
        vote.weight > 0
        and 0 < vote.publish_ns <= now_ns + 10**9
        and now_ns - vote.publish_ns <= age_ns
        and PRICE_MIN <= vote.price <= PRICE_MAX
        and 0 <= vote.conf <= PRICE_MAX
        and Fraction(vote.conf, vote.price) <= Fraction(2, 100)
    )


NONE, OK, TWO, PRIMARY = 0, 1, 2, 3


def consensus(votes: Sequence[Vote], now_ns: int, age_ns: int) -> tuple[int, int, int]:
    """(status, price, conf)."""
    good = [(k, v) for k, v in enumerate(votes) if may_vote(v, now_ns, age_ns)]
    if not good:
        return NONE, 0, 0
    if len(good) == 1:
        k, vote = good[0]
        return (PRIMARY, vote.price, vote.conf) if k == 0 else (NONE, 0, 0)
    if len(good) == 2:
        first, second = good[0][1], good[1][1]
        band = max(first.conf + second.conf, first.price * 25 // 10_000)
        agree = abs(first.price - second.price) <= band
        return (TWO, first.price, first.conf) if agree else (NONE, 0, 0)
    good.sort(key=lambda item: (item[1].price, item[0]))
    total = sum(v.weight for _, v in good)
    for at, (_, vote) in enumerate(good):
        if Fraction(sum(v.weight for _, v in good[: at + 1]), total) >= Fraction(1, 2):
            heavy = any(2 * v.weight >= total for _, v in good)
            return (TWO if heavy else OK), vote.price, vote.conf
    raise AssertionError("the last vote completes the weight")


def premium_e12(mark: int, oracle: int) -> int:
    """Premium in 1e-12, toward zero, within 5 %."""
    exact = math.trunc(Fraction(mark - oracle, oracle) * ONE_E12)
    return max(-5 * 10**10, min(5 * 10**10, exact))


def hourly_rate_e12(premium_sum_e12: int, seconds_valid: int, interest_e12: int, cap_e12: int) -> int:
    """Mean over 3,600 s toward zero, plus interest, capped; nothing under 1,200 s."""
    if seconds_valid < 1200:
        return 0
    rate = math.trunc(Fraction(premium_sum_e12, 3600)) + interest_e12
    return max(-cap_e12, min(cap_e12, rate))


def next_index(index: int, rem: int, pay_price: int, rate_e12: int, seconds: int) -> tuple[int, int, int]:
    """(index, remainder, ok): the exact step with what was left over before, rounded down."""
    whole = 8 * 3600 * ONE_E12
    step, left = divmod(pay_price * 10**6 * rate_e12 * seconds + rem, whole)
    if abs(step) > LIMIT or abs(index + step) > LIMIT:
        return index, rem, 0
    return index + step, left, 1


def settle(size: int, rem: int, idx: int, index: int, scale: int) -> tuple[int, int, int]:
    """(pay, rem, ok) of a position between two indices."""
    if size == 0 or idx == index:
        return 0, rem, 1
    pay, left = divmod(-size * (index - idx) + rem, scale)
    return (pay, left, 1) if fits(pay) else (0, 0, 0)


class Tier(NamedTuple):
    """A margin tier in force."""

    max_leverage: int
    initial_e12: int


def initial_rate_e12(tiers: Sequence[Tier], leverage: int) -> int:
    """The larger of 1/leverage, up, and the rate of the first tier that admits it; all of it if none does."""
    for tier in tiers:
        if leverage <= tier.max_leverage:
            return max(math.ceil(Fraction(ONE_E12, leverage)), tier.initial_e12)
    return ONE_E12
