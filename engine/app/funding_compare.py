"""What each venue's rule would have charged over recorded hours, beside what the file's own venue published."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.app.funding_drift import charged_by_drift
from engine.app.funding_file import Stretch
from engine.app.funding_rows import Charged, per_8h
from engine.common.errors import UsageError
from kernels.funding_compare import UNPRICED, charge
from kernels.funding_rate import interval_rate_e12
from kernels.profiles import (
    REGIMES_HYPERLIQUID,
    RULE,
    Profile,
    hip3,
    hyperliquid_at,
    rule_row,
)

HOUR_S = 3600
NAMES = {
    Profile.GODARK: "GoDark",
    Profile.HYPERLIQUID: "Hyperliquid",
    Profile.BINANCE: "Binance",
    Profile.BITMEX: "BitMEX",
    Profile.DYDX_V4: "dYdX v4",
    Profile.DRIFT: "Drift",
}


def rules_of(profile: Profile, stretch: Stretch, coin: str | None) -> tuple[Any, NDArray[np.int64]]:
    """(RULE[r], the rule of each hour) of a venue: Hyperliquid's changed over time and differ by exchange."""
    hours, coin = len(stretch.premium_e12), coin or stretch.coin
    which = np.zeros(hours, np.int64)
    if profile is not Profile.HYPERLIQUID:
        rules = [rule_row(profile)]
    elif ":" in coin:
        rules = [hip3(coin.partition(":")[0])]
    else:
        starts = [start for start, _, _ in REGIMES_HYPERLIQUID]
        rules = [hyperliquid_at(start) for start in starts]
        ends_s = (stretch.first_hour + 1 + np.arange(hours, dtype=np.int64)) * HOUR_S
        which = np.searchsorted(starts, ends_s, side="right").astype(np.int64) - 1
    out = np.zeros(len(rules), RULE)
    for k, rule in enumerate(rules):
        out[k] = rule
    return out, which


def charged_by(profile: Profile, stretch: Stretch, coin: str | None = None) -> Charged:
    """What a venue's rule charges over a stretch. Raises UsageError where a sum leaves its bounds.

    A file of Drift's averages is charged by Drift's own steps, to the unit of what it published.
    """
    if profile is Profile.DRIFT and stretch.venue == NAMES[Profile.DRIFT]:
        return charged_by_drift(stretch)
    rules, which = rules_of(profile, stretch, coin)
    out = np.zeros((len(which), 3), np.int64)
    priced = bool(stretch.price_e4.any())
    price = stretch.price_e4 if priced else np.full(len(which), UNPRICED, np.int64)
    first: Any = np.int64(stretch.first_hour)
    answer = charge(rules, which, first, stretch.premium_e12, stretch.valid, price, out)
    hours, total, largest, index, ok = (int(value) for value in answer)
    if ok != 1:
        raise UsageError(f"{NAMES[profile]}: the sum of so many payments leaves 64 bits")
    paid = np.flatnonzero(out[:, 0])
    line = [(int(k) + 1, int(out[k, 2])) for k in paid]
    return Charged(
        NAMES[profile], hours, total, per_8h(total, hours), largest, index if priced else None, line
    )


def published_by(stretch: Stretch) -> Charged | None:
    """What the file's own venue published, or None if it does not say."""
    if not stretch.published:
        return None
    total = hours = largest = 0
    line = []
    for last, length, rate in stretch.published:
        total, hours = total + rate, hours + length
        largest = max(largest, abs(rate) * 8 // length)
        line.append((last + 1, total))
    coin = _coin_of(stretch) if stretch.price_e4.any() else None
    mean = per_8h(total, hours)
    return Charged(f"{stretch.venue}, published", hours, total, mean, largest, coin, line)


def _coin_of(stretch: Stretch) -> int:
    return sum(int(stretch.price_e4[last]) * rate for last, _, rate in stretch.published) // 10**6


def compare(stretch: Stretch, coin: str | None = None) -> list[Charged]:
    """Every venue, and last what was published."""
    rows = [charged_by(profile, stretch, coin) for profile in Profile]
    published = published_by(stretch)
    return rows if published is None else [*rows, published]


def rate_8h_e12(rule: Any, premium_e12: int | None) -> int:
    """Rate of an interval whose every sample is one premium; None: without a sample."""
    slots = int(rule["interval_s"]) // int(rule["sample_s"])
    valid = 0 if premium_e12 is None else slots
    weight = slots * (slots + 1) // 2 if rule["weights"] else slots
    values: list[Any] = [np.int64(v) for v in ((premium_e12 or 0) * weight, weight, valid, slots, 0)]
    return int(interval_rate_e12(rule, *values))
