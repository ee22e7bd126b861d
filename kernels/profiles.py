"""Whose funding rule a market follows: one table of knobs per venue, and the rules that knobs must keep.

Rates are in 1e-12 per 8 h. Every venue's rule is a row of the same knobs, so one set of kernels computes all:

    mean   = average of the interval's premium samples, by `weights`, absent ones as `missing` says
    rate   = mean + interest (ADDED), or mean + clamp(interest - mean, +-dampener) (DAMPED)
    rate   = rate * multiplier * 8 h / period, rounded; capped; moved at most `change` from the one before
    paid   = that rate, or with a lag the one of the interval before, for `interval`, on `pay_on`
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

import numpy as np

from kernels.layouts import KNOBS, LIMIT

HOUR_S = 3600
DAY_S = 86_400
PERIOD_S = 8 * HOUR_S
RATE_ONE = 10**12
PPM = 10**6

MARK, IMPACT, MID, TWAP_DIFF = 0, 1, 2, 3
"""Where a premium sample comes from. TWAP_DIFF divides the average difference by the average index price."""
EVEN, RISING = 0, 1
"""Weights of samples: all the same, or 1..n by their place in the interval."""
ZERO, SKIP = 0, 1
"""A missing sample counts as 0, or not at all."""
ADDED, DAMPED = 0, 1
TO_ZERO, DOWN, NEAREST = 0, 1, 2
"""Rounding of mean and rate to 1e-12; NEAREST takes ties to even."""
ON_MARK, ON_ORACLE = 0, 1

RULE = np.dtype([(name, "<i8") for name in (*KNOBS, "interest_e12", "cap_e12")])
"""One funding rule. MARKET holds the same fields, so kernels take either."""


class Profile(enum.IntEnum):
    """Venues whose rule a market can follow."""

    GODARK = 0
    HYPERLIQUID = 1
    BINANCE = 2
    BITMEX = 3
    DYDX_V4 = 4
    DRIFT = 5


class Rule(NamedTuple):
    """The knobs of one venue, named as in RULE; `about` names where they come from."""

    about: str
    interest_e12: int
    cap_e12: int
    source: int = IMPACT
    sample_s: int = 5
    weights: int = EVEN
    missing: int = ZERO
    valid_min: int = 0
    premium_limit_e12: int = RATE_ONE
    interest_rule: int = DAMPED
    dampener_e12: int = 0
    multiplier_ppm: int = PPM
    period_s: int = PERIOD_S
    interval_s: int = HOUR_S
    change_e12: int = 0
    lag: int = 0
    pay_on: int = ON_ORACLE
    rounding: int = TO_ZERO


_PERCENT = RATE_ONE // 100
_BP = RATE_ONE // 10_000

RULES = {
    Profile.GODARK: Rule(
        "GoDark: MONEY.md and the exchange's own documents",
        interest_e12=_BP,
        cap_e12=15 * _PERCENT,
        source=MARK,
        sample_s=1,
        valid_min=1200,
        premium_limit_e12=5 * _PERCENT,
        interest_rule=ADDED,
        pay_on=ON_MARK,
    ),
    Profile.HYPERLIQUID: Rule(
        "Hyperliquid's documents; regimes from its published rows (R1)",
        interest_e12=_BP,
        cap_e12=32 * _PERCENT,
        dampener_e12=5 * _BP,
        rounding=NEAREST,
    ),
    Profile.BINANCE: Rule(
        "Binance's documents: weights 1..n over 8 h; the cap is that of BTC's published rows",
        interest_e12=_BP,
        cap_e12=2 * _PERCENT,
        weights=RISING,
        missing=SKIP,
        premium_limit_e12=5 * _PERCENT,
        dampener_e12=5 * _BP,
        interval_s=PERIOD_S,
        pay_on=ON_MARK,
        rounding=NEAREST,
    ),
    Profile.BITMEX: Rule(
        "BitMEX's documents: caps of 75 % of margins of 1 % and 0.5 %, one interval of lag",
        interest_e12=_BP,
        cap_e12=375 * _BP // 10,
        sample_s=60,
        missing=SKIP,
        premium_limit_e12=5 * _PERCENT,
        dampener_e12=5 * _BP,
        interval_s=PERIOD_S,
        change_e12=375 * _BP // 10,
        lag=1,
        pay_on=ON_MARK,
        rounding=NEAREST,
    ),
    Profile.DYDX_V4: Rule(
        "dYdX v4 x/perpetuals: a vote each minute, zero padded; cap 6 * (5 % - 3 %)",
        interest_e12=0,
        cap_e12=12 * _PERCENT,
        sample_s=60,
        premium_limit_e12=72 * _PERCENT,
        interest_rule=ADDED,
    ),
    Profile.DRIFT: Rule(
        "Drift v2 controller/funding: average difference + 1/5000 over a day, capped at 1/33 of it",
        interest_e12=2 * _BP,
        cap_e12=RATE_ONE // 33 // 3,
        source=TWAP_DIFF,
        sample_s=1,
        missing=SKIP,
        interest_rule=ADDED,
        period_s=DAY_S,
    ),
}

BOUNDS = {
    "profile": (0, len(Profile) - 1),
    "source": (MARK, TWAP_DIFF),
    "sample_s": (1, HOUR_S),
    "weights": (EVEN, RISING),
    "missing": (ZERO, SKIP),
    "valid_min": (0, DAY_S),
    "premium_limit_e12": (1, RATE_ONE),
    "interest_rule": (ADDED, DAMPED),
    "dampener_e12": (0, RATE_ONE),
    "multiplier_ppm": (1, 10 * PPM),
    "period_s": (HOUR_S, 30 * DAY_S),
    "interval_s": (HOUR_S, DAY_S),
    "change_e12": (0, RATE_ONE),
    "lag": (0, 1),
    "pay_on": (ON_MARK, ON_ORACLE),
    "rounding": (TO_ZERO, NEAREST),
}
"""Smallest and largest value of each knob. A knob's number is its place here and in `layouts.KNOBS`."""

REGIMES_HYPERLIQUID = (
    (0, 3 * _BP, PERIOD_S),
    (1_686_186_000, 3 * _BP, HOUR_S),
    (1_686_949_200, 0, HOUR_S),
    (1_689_390_000, 3 * _BP, HOUR_S),
    (1_689_469_200, 2 * _BP, HOUR_S),
    (1_689_710_400, 3 * _BP, HOUR_S),
    (1_702_335_600, 5 * _BP, HOUR_S),
)
"""Hyperliquid over time: from (s since 1970), dampener, interval. From the published rows (R1)."""
UNCERTAIN_HYPERLIQUID = (1_689_390_000, 1_689_469_200, 5 * _BP)
"""From, to, and the largest dampener that the rows between allow (the smallest stands in the table)."""


def rule_row(profile: Profile, **changes: int) -> Any:
    """RULE of a profile, some knobs changed. Not checked: see `contradiction`."""
    knobs = RULES[profile]._asdict() | {"profile": int(profile)} | changes
    row = np.zeros(1, RULE)
    for name in RULE.names or ():
        row[name] = knobs[name]
    return row[0]


def hyperliquid_at(time_s: int) -> Any:
    """RULE of Hyperliquid as it was at a time."""
    _, dampener, interval = next(r for r in reversed(REGIMES_HYPERLIQUID) if r[0] <= time_s)
    return rule_row(Profile.HYPERLIQUID, dampener_e12=dampener, interval_s=interval)


def knob_fault(number: int, value: int) -> str | None:
    """What is wrong with one knob by itself, or None."""
    if not 0 < number < len(KNOBS):
        return f"knob {number} is not in 1..{len(KNOBS) - 1}"
    low, high = BOUNDS[KNOBS[number]]
    return None if low <= value <= high else f"{KNOBS[number]} {value} is not in {low}..{high}"


def contradiction(rule: Any) -> str | None:
    """The first rule that the knobs of `rule` (RULE or MARKET) break together, in words, or None."""
    knob = {name: int(rule[name]) for name in RULE.names or ()}
    samples = knob["interval_s"] // knob["sample_s"]
    weight = samples * (samples + 1) // 2 if knob["weights"] == RISING else samples
    broken = {
        "interest_e12 is above cap_e12": abs(knob["interest_e12"]) > knob["cap_e12"],
        "dampener_e12 is above cap_e12": knob["dampener_e12"] > knob["cap_e12"],
        "change_e12 is above twice cap_e12": knob["change_e12"] > 2 * knob["cap_e12"],
        "interval_s is not whole hours": knob["interval_s"] % HOUR_S != 0,
        "interval_s does not divide a day": DAY_S % knob["interval_s"] != 0,
        "sample_s does not divide an hour": HOUR_S % knob["sample_s"] != 0,
        "valid_min is above the samples of an interval": knob["valid_min"] > samples,
        "weights rise with samples of one second": knob["weights"] == RISING and knob["sample_s"] == 1,
        "weights rise in a difference of averages": knob["weights"] == RISING and knob["source"] == TWAP_DIFF,
        "premium_limit_e12 times the weights leaves the bounds": knob["premium_limit_e12"] * weight > LIMIT,
    }
    return next((why for why, is_so in broken.items() if is_so), None)


DEXES_HIP3 = {"hyna": PPM, "para": 600_000}
"""Multiplier of the rate of exchanges built on Hyperliquid, from their published rows (R3)."""


def hip3(dex: str) -> Any:
    """RULE of an exchange built on Hyperliquid; one that is not known has multiplier 1."""
    multiplier = DEXES_HIP3.get(dex, PPM)
    return rule_row(Profile.HYPERLIQUID, dampener_e12=3 * _BP, multiplier_ppm=multiplier)
