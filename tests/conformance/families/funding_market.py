"""Published funding rows of Hyperliquid, Drift and Binance: rules R1 to R4 and R8 of the data's README."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np

from engine.app.funding_calculator import calculate
from engine.app.funding_compare import rate_8h_e12
from engine.app.funding_file import HOUR_S
from kernels.funding_compare import charge
from kernels.funding_premium import premium_of_source
from kernels.profiles import (
    DEXES_HIP3,
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
from tests.conformance.harness import Family, LeftOut, Outcome, Vector

REACHES = "godark funding --compare"
R1_COARSE_E12, PREMIUM_8DP_E12, R2_E12, R3_E12, R8_E12 = 100, 5_000, 51, 750, 5_000
"""Tolerances. R2's is half of what is published, and one for our rounding toward zero."""
CAPS_BINANCE_E12 = tuple(share * RATE_ONE // 10_000 for share in (75, 150, 200))
"""What Binance let a payment of SOL reach in November 2022, from its published rows."""
CAP_STEP_E12, CAP_LEAST_E12 = 5 * RATE_ONE // 10_000, 30 * RATE_ONE // 10_000
"""Caps of other contracts are multiples of 0.05 %, from 0.3 % on: Binance's funding rate table."""


def decimal(text: str) -> Decimal:
    """A plain number. Raises Malformed."""
    try:
        value = Decimal(text)
    except InvalidOperation as fault:
        raise Malformed(f"{text[:40]!r} is not a number") from fault
    if not value.is_finite() or abs(value) > 1 << 62:
        raise Malformed(f"{text[:40]} is out of range")
    return value


def e12(text: str) -> int:
    """A decimal in 1e-12, nearest."""
    return int((decimal(text) * RATE_ONE).to_integral_value())


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
    decimals = max((_decimals(row[name]) for row in file.records()), default=0)
    for number, row in enumerate(file.records(), 1):
        yield Vector(f"row {number}", (row, RATE_ONE // 2 // 10**decimals))


def _decimals(text: str) -> int:
    """After the point; 0 where there is no number, which is told when the row is checked."""
    try:
        return -int(decimal(text).as_tuple().exponent)
    except Malformed:
        return 0


def check_hyperliquid(content: tuple[dict[str, str], int]) -> str | None:
    """R1: in the hours whose dampener cannot be told, any of the range may fit."""
    row, tolerance = content
    coarse = "premium_8dp" in row
    time_s = int(decimal(row["time_s"])) if coarse else int(decimal(row["time"])) // 1000
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


def check_hip3(row: dict[str, str]) -> Outcome:
    """R3: a premium of exactly 0 with a rate of 0 is an hour without a sample."""
    dex = row["coin"].partition(":")[0]
    if dex not in DEXES_HIP3:
        return LeftOut(f"the multiplier of the exchange {dex} is not known")
    published, premium = e12(row["funding_rate"]), e12(row["premium_8dp"])
    absent = premium == 0 and published == 0
    rate = rate_8h_e12(hip3(dex), None if absent else premium)
    if not off(rate, HOUR_S, published, R3_E12):
        return None
    return f"published {published}, ours {rate // 8}, in 1e-12"


def check_premium(row: dict[str, str]) -> str | None:
    """R2: of the impact prices; on exchanges built on Hyperliquid of their middle."""
    bid, ask, oracle = (
        int(decimal(row[name]) * 10**8) for name in ("impact_bid_px", "impact_ask_px", "oracle_px")
    )
    main = row["dex"] == "main"
    prices = (0, 0, bid, ask, oracle) if main else (0, bid + ask, 0, 0, 2 * oracle)
    values = (IMPACT if main else MID, *prices, RATE_ONE)
    ours, valid = premium_of_source(*(np.int64(value) for value in values))
    published = e12(row["premium"])
    if int(valid) == 1 and abs(int(ours) - published) <= R2_E12:
        return None
    return f"published {published}, ours {int(ours)}, in 1e-12"


def drift_vectors(file: DataFile) -> Iterator[Vector]:
    """R4: each row with the parts of the price that its spread may reach: those of the contract's tier, or,
    for a contract whose tier is not known, those of any tier."""
    known = any(f"_{coin}_" in file.name for coin in ("SOL", "BTC", "ETH"))
    for number, row in enumerate(file.records(), 1):
        yield Vector(f"row {number}", (row, (33,) if known else (33, 20, 10)))


def check_drift(content: tuple[dict[str, str], tuple[int, ...]]) -> str | None:
    """R4: exact."""
    row, parts = content
    given = {
        "mark_twap": int(decimal(row["markPriceTwap"]) * 10**6),
        "oracle_twap": int(decimal(row["oraclePriceTwap"]) * 10**6),
        "offset_denominator": 5000,
        "funding_period_s": 3600,
    }
    ours = [
        calculate("drift_rate_from_twaps", given | {"max_spread_denominator": part})["funding_rate_1e9"]
        for part in parts
    ]
    published = int(decimal(row["fundingRate"]) * 10**9)
    return None if published in ours else f"published {published}, ours {ours[0]}, in 1e-9"


def _premiums_of(path: Path) -> Path | None:
    """The premium index of the same contract, zipped or not."""
    name = path.name.replace("_funding_mark", "_premium_index_1h").removesuffix(".gz")
    beside = (path.with_name(name), path.with_name(f"{name}.gz"))
    return next((other for other in beside if other != path and other.is_file()), None)


def binance_vectors(file: DataFile) -> Iterator[Vector]:
    """R8: each payment with the hours of premium that it is made of, found in the file beside it."""
    beside = _premiums_of(file.path)
    assert beside is not None, "claimed only with it"
    bars = {int(decimal(row["open_time_ms"])) // 3_600_000: row for row in DataFile(beside).records()}
    solana = "SOL" in file.name
    for number, row in enumerate(file.records(), 1):
        hours = int(decimal(row["funding_interval_hours"]))
        if not 1 <= hours <= 24:
            raise Malformed(f"row {number}: an interval of {hours} hours")
        end = (int(decimal(row["calc_time_ms"])) + 1_800_000) // 3_600_000
        november = 1_667_260_800 <= end * HOUR_S <= 1_669_852_800
        span = [bars.get(hour) for hour in range(end - hours, end)]
        content: Any = (hours, row["funding_rate"], span, file.name)
        if None in span:
            content = LeftOut("hours of premium are missing from the file beside it")
        elif solana and hours == 2 and november:
            content = LeftOut("SOL's 2-hour payments of November 2022, which the data's README excludes")
        yield Vector(f"row {number}", content)


def _caps_e12(name: str, published_e12: int) -> tuple[int, ...]:
    """The caps that a payment may have met: the known ones, or for other contracts a round one."""
    if "BTC" in name or "SOL" in name:
        return CAPS_BINANCE_E12
    is_round = published_e12 % CAP_STEP_E12 == 0 and abs(published_e12) >= CAP_LEAST_E12
    return (*CAPS_BINANCE_E12, abs(published_e12)) if is_round else CAPS_BINANCE_E12


def check_binance(content: tuple[int, str, list[dict[str, str]], str] | LeftOut) -> Outcome:
    """R8: the rate lies between those of the lowest and of the highest premiums, at one of the known caps."""
    if isinstance(content, LeftOut):
        return content
    hours, text, span, name = content
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
    for cap in (RATE_ONE, *_caps_e12(name, published)):
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


_binance_funding = _claims("binance_um", "calc_time_ms", "funding_interval_hours", "funding_rate")


def _binance(file: DataFile) -> bool:
    return bool(_binance_funding(file)) and _premiums_of(file.path) is not None


FAMILIES = [
    Family("market R1 hyperliquid", REACHES, _hyperliquid, hyperliquid_vectors, check_hyperliquid),
    Family(
        "market R2 premium",
        "godark book --premium impact, mid",
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
        REACHES,
        _claims("drift_funding", "fundingRate", "oraclePriceTwap", "markPriceTwap"),
        drift_vectors,
        check_drift,
    ),
    Family(
        "market R8 binance",
        REACHES,
        _binance,
        binance_vectors,
        check_binance,
    ),
]
