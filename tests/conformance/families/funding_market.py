"""Published funding rows of Hyperliquid, Drift and Binance: rules R1 to R4 and R8 of the data's README."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np

from engine.app.funding_calculator import calculate
from engine.app.funding_compare import rate_8h_e12
from engine.app.funding_file import HOUR_S
from kernels.funding_compare import charge
from kernels.funding_premium import premium_of_source
from kernels.profiles import (
    IMPACT,
    MID,
    PERIOD_S,
    RATE_ONE,
    RULE,
    UNCERTAIN_HYPERLIQUID,
    Profile,
    hip3,
    hyperliquid_at,
    rule_row,
)
from tests.conformance.data import DataFile, Malformed
from tests.conformance.harness import Family, Vector

REACHES = "godark funding --compare"
R1_COARSE_E12, PREMIUM_8DP_E12, R2_E12, R3_E12, R8_E12 = 100, 5_000, 51, 750, 5_000
"""Tolerances. R2's is half of what is published, and one for our rounding toward zero."""
CAPS_BINANCE_E12 = tuple(share * RATE_ONE // 10_000 for share in (75, 150, 200))
"""What Binance let a payment of SOL reach in November 2022, from its published rows."""


def e12(text: str) -> int:
    """A decimal in 1e-12, nearest."""
    return int((Decimal(text) * RATE_ONE).to_integral_value())


def labelled(file: DataFile) -> Iterator[Vector]:
    """The rows of a table."""
    for number, row in enumerate(file.records(), 1):
        yield Vector(f"row {number}", row)


def off(rate_e12: int, interval_s: int, published_e12: int, tolerance_e12: int) -> bool:
    """Whether what an interval pays lies further from what was published than the tolerance."""
    return abs(rate_e12 * interval_s - published_e12 * PERIOD_S) > tolerance_e12 * PERIOD_S


def hyperliquid_vectors(file: DataFile) -> Iterator[Vector]:
    """The rows with how exact their rates are: half of the last decimal that the file ever prints."""
    name = "fundingRate" if "fundingRate" in file.keys else "funding_rate"
    decimals = max(-int(Decimal(row[name]).as_tuple().exponent) for row in file.records())
    for number, row in enumerate(file.records(), 1):
        yield Vector(f"row {number}", (row, RATE_ONE // 2 // 10**decimals))


def check_hyperliquid(content: tuple[dict[str, str], int]) -> str | None:
    """R1: in the hours whose dampener cannot be told, any of the range may fit."""
    row, tolerance = content
    coarse = "premium_8dp" in row
    time_s = int(row["time_s"]) if coarse else int(row["time"]) // 1000
    premium = e12(row["premium_8dp" if coarse else "premium"])
    published = e12(row["fundingRate" if "fundingRate" in row else "funding_rate"])
    rule = hyperliquid_at(time_s)
    interval = int(rule["interval_s"])
    if coarse:
        tolerance = PREMIUM_8DP_E12 * interval // PERIOD_S + R1_COARSE_E12
    rates = [rate_8h_e12(rule, premium)]
    start, end, widest = UNCERTAIN_HYPERLIQUID
    if start <= time_s < end:
        rates.append(rate_8h_e12(rule_row(Profile.HYPERLIQUID, dampener_e12=widest), premium))
    low, high = min(rates), max(rates)
    nearest = max(low, min(high, published * PERIOD_S // interval))
    if not off(nearest, interval, published, tolerance):
        return None
    return f"published {published}, ours {low * interval // PERIOD_S}, in 1e-12"


def check_hip3(row: dict[str, str]) -> str | None:
    """R3: a premium of exactly 0 with a rate of 0 is an hour without a sample."""
    published, premium = e12(row["funding_rate"]), e12(row["premium_8dp"])
    absent = premium == 0 and published == 0
    rule = hip3(row["coin"].partition(":")[0])
    rate = rate_8h_e12(rule, None if absent else premium)
    if not off(rate, HOUR_S, published, R3_E12):
        return None
    return f"published {published}, ours {rate // 8}, in 1e-12"


def check_premium(row: dict[str, str]) -> str | None:
    """R2: of the impact prices; on exchanges built on Hyperliquid of their middle."""
    bid, ask, oracle = (
        int(Decimal(row[name]) * 10**8) for name in ("impact_bid_px", "impact_ask_px", "oracle_px")
    )
    main = row["dex"] == "main"
    prices = (0, 0, bid, ask, oracle) if main else (0, bid + ask, 0, 0, 2 * oracle)
    values = (IMPACT if main else MID, *prices, RATE_ONE)
    ours, valid = premium_of_source(*(np.int64(value) for value in values))
    published = e12(row["premium"])
    if int(valid) == 1 and abs(int(ours) - published) <= R2_E12:
        return None
    return f"published {published}, ours {int(ours)}, in 1e-12"


def check_drift(row: dict[str, str]) -> str | None:
    """R4: exact."""
    given = {
        "mark_twap": int(Decimal(row["markPriceTwap"]) * 10**6),
        "oracle_twap": int(Decimal(row["oraclePriceTwap"]) * 10**6),
        "offset_denominator": 5000,
        "max_spread_denominator": 33,
        "funding_period_s": 3600,
    }
    ours = calculate("drift_rate_from_twaps", given)["funding_rate_1e9"]
    published = int(Decimal(row["fundingRate"]) * 10**9)
    return None if ours == published else f"published {published}, ours {ours}, in 1e-9"


def binance_vectors(file: DataFile) -> Iterator[Vector]:
    """R8: each payment with the hours of premium that it is made of, found in the file beside it."""
    beside = file.path.with_name(file.name.replace("_funding_mark", "_premium_index_1h"))
    if not beside.is_file():
        raise Malformed(f"{beside.name} is not beside it")
    bars = {int(row["open_time_ms"]) // 3_600_000: row for row in DataFile(beside).records()}
    solana = "SOL" in file.name
    for number, row in enumerate(file.records(), 1):
        hours = int(row["funding_interval_hours"])
        end = round(int(row["calc_time_ms"]) / 3_600_000)
        november = 1_667_260_800 <= end * HOUR_S <= 1_669_852_800
        span = [bars.get(hour) for hour in range(end - hours, end)]
        if None in span or (solana and hours == 2 and november):
            continue
        yield Vector(f"row {number}", (hours, end, row["funding_rate"], span))


def check_binance(content: tuple[int, int, str, list[dict[str, str]]]) -> str | None:
    """R8: the rate lies between those of the lowest and of the highest premiums, at one of the known caps."""
    hours, _, text, span = content
    rules = np.zeros(1, RULE)
    rules[0] = rule_row(Profile.BINANCE, interval_s=hours * HOUR_S, cap_e12=RATE_ONE)
    bounds = []
    for side in ("low", "high"):
        premium = np.array([e12(bar[side]) for bar in span], np.int64)
        out = np.zeros((hours, 3), np.int64)
        none, one = np.zeros(hours, np.int64), np.ones(hours, np.int64)
        charge(rules, none, np.int64(0), premium, one, one, out)
        bounds.append(int(out[-1, 2]))
    published = e12(text)
    for cap in (RATE_ONE, *CAPS_BINANCE_E12):
        low, high = (max(-cap, min(cap, bound)) for bound in bounds)
        if low - R8_E12 <= published <= high + R8_E12:
            return None
    return f"published {published}, not in {bounds[0]}..{bounds[1]}, in 1e-12"


def _claims(prefix: str, *columns: str) -> Any:
    return lambda file: (
        file.name.startswith(prefix) and file.kind == "table" and file.keys >= frozenset(columns)
    )


def _hyperliquid(file: DataFile) -> bool:
    rate = file.keys & {"funding_rate", "fundingRate"}
    premium = file.keys >= {"time_s", "premium_8dp"} or file.keys >= {"time", "premium"}
    return bool(file.name.startswith(("hl_full_", "hl_funding_")) and rate and premium)


FAMILIES = [
    Family("market R1 hyperliquid", REACHES, _hyperliquid, hyperliquid_vectors, check_hyperliquid),
    Family(
        "market R2 premium",
        "the engine's premium sample, profile Hyperliquid",
        _claims("hl_asset_contexts", "dex", "impact_bid_px", "impact_ask_px", "oracle_px", "premium"),
        labelled,
        check_premium,
    ),
    Family(
        "market R3 hip-3",
        REACHES,
        _claims("hl_hip3_funding", "coin", "time_s", "funding_rate", "premium_8dp"),
        labelled,
        check_hip3,
    ),
    Family(
        "market R4 drift",
        "godark funding --calculate drift_rate_from_twaps",
        _claims("drift_funding", "fundingRate", "oraclePriceTwap", "markPriceTwap"),
        labelled,
        check_drift,
    ),
    Family(
        "market R8 binance",
        REACHES,
        _claims("binance_um", "calc_time_ms", "funding_interval_hours", "funding_rate"),
        binance_vectors,
        check_binance,
    ),
]
