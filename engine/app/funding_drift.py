"""Drift's rule in its own integers: from its published averages, and with what its fee pool can bear.

`kernels.profiles` holds Drift's rule with the knobs of a market; here are the venue's own steps, so that a
file of its averages gives its published rates to the unit. Where longs and shorts differ the protocol takes
the other side, and the receiving side's rate shrinks once the fee pool cannot pay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from engine.app.funding_calculator import Refused, held, scaled, words
from engine.app.funding_file import Stretch
from engine.app.funding_rows import Charged, per_8h
from engine.common.errors import UsageError
from kernels.funding_premium import share_e12
from kernels.funding_venues import drift_rate_e9, drift_sides
from kernels.int128 import mul_div_trunc
from kernels.profiles import RATE_ONE

OFFSET_DIV: Final = 5000
SPREAD_DIV: Final = 33
"""Of the contract tiers A and B, which SOL, BTC and ETH are in; controller/funding.rs (facts/funding.md)."""
PERIOD_S: Final = 3600
FORM: Final = "LONGS,SHORTS,POOL,FEES"


@dataclass(frozen=True)
class Imbalance:
    """Users' longs and shorts in 1e-9 coins (shorts below 0), fee pool and exchange fees in 1e-6 USD."""

    long_e9: int
    short_e9: int
    pool_e6: int
    fee_e6: int


class Hour(NamedTuple):
    """One hour: its place in the stretch, Drift's rate in 1e-9 USD per coin, oracle price in 1e-6 USD."""

    place: int
    rate_e9: int
    oracle_e6: int


def parse_imbalance(text: str) -> Imbalance:
    """Coins and USD as decimals, e.g. 141.9,2411.6,0,0. Raises UsageError."""
    parts = text.split(",")
    if len(parts) != 4:
        raise UsageError(f"--drift-sides {text}: give {FORM}, e.g. 141.9,2411.6,0,0")
    try:
        values = [scaled(part, places) for part, places in zip(parts, (9, 9, 6, 6), strict=True)]
    except Refused as error:
        raise UsageError(f"--drift-sides {text}: {error.message}") from error
    if min(values) < 0:
        raise UsageError(f"--drift-sides {text}: no number is below 0; shorts are counted, not signed")
    return Imbalance(values[0], -values[1], values[2], values[3])


def hours_of(stretch: Stretch) -> Iterator[Hour]:
    """Every hour with a premium and a price. Raises Refused."""
    for place in np.flatnonzero(stretch.valid):
        oracle, mark = _averages_e6(stretch, int(place))
        if oracle <= 0:
            continue
        (rate,) = held(drift_rate_e9(*words(mark, oracle, OFFSET_DIV, SPREAD_DIV, PERIOD_S)))
        yield Hour(int(place), rate, oracle)


def _averages_e6(stretch: Stretch, place: int) -> tuple[int, int]:
    """(oracle, mark) of an hour: as stated, else its price and what the premium makes of that, toward zero."""
    if stretch.oracle_e6[place]:
        return int(stretch.oracle_e6[place]), int(stretch.mark_e6[place])
    oracle = int(stretch.price_e4[place]) * 100
    (apart,) = held(mul_div_trunc(*words(stretch.premium_e12[place].item(), oracle, RATE_ONE)))
    return oracle, oracle + apart


def _share_e12(rate_e9: int, oracle_e6: int) -> int:
    return int(share_e12(*words(rate_e9, oracle_e6 * 1000, RATE_ONE)))


def _charged(name: str, hours: list[Hour], rates_e9: list[int]) -> Charged:
    """A row of the comparison from a rate for each hour."""
    total = largest = 0
    line = []
    for hour, rate in zip(hours, rates_e9, strict=True):
        share = _share_e12(rate, hour.oracle_e6)
        total, largest = total + share, max(largest, abs(share) * 8)
        line.append((hour.place + 1, total))
    coin_e10 = sum(rates_e9) * 10
    return Charged(name, len(hours), total, per_8h(total, len(hours)), largest, coin_e10, line)


def charged_by_drift(stretch: Stretch) -> Charged:
    """What Drift's own steps charge over a file of its averages. Raises Refused."""
    hours = list(hours_of(stretch))
    return _charged("Drift", hours, [hour.rate_e9 for hour in hours])


def charged_by_sides(stretch: Stretch, given: Imbalance) -> tuple[list[Charged], str]:
    """(rows of longs and of shorts, what became of the pool): the positions stay, the pool goes on from hour
    to hour. Raises UsageError: no price an hour, or a number beyond 64 bits."""
    hours = list(hours_of(stretch))
    if not hours:
        raise UsageError("--drift-sides: the file has no prices, and Drift's rate is in USD per coin")
    pool, net = given.pool_e6, given.long_e9 + given.short_e9
    sides: tuple[list[int], list[int]] = ([], [])
    short_of = 0
    for hour in hours:
        state = words(hour.rate_e9, net, given.long_e9, given.short_e9, given.fee_e6, pool)
        long_rate, short_rate, pool = held(drift_sides(*state))
        sides[0].append(long_rate)
        sides[1].append(short_rate)
        short_of += long_rate != short_rate
    rows = [
        _charged(f"Drift, {name} of --drift-sides", hours, rates)
        for name, rates in zip(("longs", "shorts"), sides, strict=True)
    ]
    note = (
        f"--drift-sides: in {short_of:,} of {len(hours):,} hours the fee pool could not pay and receivers got "
        f"less; it went from {given.pool_e6 / 10**6:,.2f} to {pool / 10**6:,.2f} USD"
    )
    return rows, note
