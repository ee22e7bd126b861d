"""What a parameter row writes, and the rules that tables must keep among themselves."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.state import Books
from kernels import oracle_rules, profiles
from kernels.book import size_limit
from kernels.frames import ParamKey
from kernels.layouts import FEED_SLOTS, KNOBS, LIMIT, MAX_MARKETS, MAX_PROVIDERS, MAX_TIERS, PRICE_EXP_MAX
from kernels.profiles import Profile

RATE_ONE = 10**12
FEE_ONE = 10**9
LOT_EXP_MAX = 9
DAY_NS = 86_400 * 10**9
_MARKET_KEYS = {
    ParamKey.MARKET_SYMBOL,
    ParamKey.MARKET_SCALE,
    ParamKey.MARKET_LEVERAGE,
    ParamKey.MARKET_FUNDING,
    ParamKey.MARKET_BAND,
    ParamKey.FEED,
    ParamKey.MARKET_MOVE,
    ParamKey.MARKET_PROFILE,
    ParamKey.MARKET_KNOB,
    ParamKey.MARKET_ORACLE,
}


class Violation(NamedTuple):
    """Which staged row breaks a rule, and the rule in words."""

    row: int
    rule: str


def put_row(books: Books, row: np.void) -> str | None:
    """Write one PARAM row into the tables; the rule it breaks by itself, or None."""
    key, n = int(row["key"]), int(row["row"])
    value, value2 = int(row["value"]), int(row["value2"])
    if key in _MARKET_KEYS:
        if not 0 <= n < MAX_MARKETS:
            return f"market {n} is not in 0..{MAX_MARKETS - 1}"
        if key != ParamKey.MARKET_SCALE and n >= int(books.meta[0]["markets"]):
            return f"market {n} does not exist yet: its scale comes first"
        return _put_market(books, ParamKey(key), n, value, value2)
    if key in (ParamKey.MARGIN_TIER_RATES, ParamKey.MARGIN_TIER_LIMITS, ParamKey.FEE_TIER):
        if not 0 <= n < MAX_TIERS:
            return f"tier {n} is not in 0..{MAX_TIERS - 1}"
        return _put_tier(books, ParamKey(key), n, value, value2)
    return _put_exchange(books, key, value, value2)


def _put_exchange(books: Books, key: int, value: int, value2: int) -> str | None:
    if key == ParamKey.LIQUIDATION:
        if not 0 <= value < FEE_ONE or not 0 <= value2 <= RATE_ONE:
            return (
                f"liquidation fee {value} is not in 0..{FEE_ONE - 1}, or reserve {value2} above 1 or negative"
            )
        books.meta[0]["liquidation_fee_e9"], books.meta[0]["reserve_e12"] = value, value2
        return None
    names = {
        int(ParamKey.BATCH_WINDOW_NS): "batch_window_ns",
        int(ParamKey.OBSERVATION_AGE_NS): "observation_age_ns",
        int(ParamKey.HOLD_NS): "hold_ns",
    }
    if key not in names:
        return f"key {key} is not known"
    if not 0 < value <= DAY_NS:
        return f"{names[key]} {value} is not in 1..{DAY_NS}"
    books.meta[0][names[key]] = value
    return None


def _put_tier(books: Books, key: ParamKey, n: int, value: int, value2: int) -> str | None:
    tier = books.tiers[n]
    if key is ParamKey.FEE_TIER:
        if not 0 <= value < FEE_ONE:
            return f"taker fee {value} is not in 0..{FEE_ONE - 1}"
        if not -value <= value2 < FEE_ONE:
            return f"maker fee {value2}: a rebate may not exceed the taker fee {value}"
        tier["taker_e9"], tier["maker_e9"], tier["fees_set"] = value, value2, 1
    elif key is ParamKey.MARGIN_TIER_RATES:
        if not 0 < value2 < value <= RATE_ONE:
            return f"tier {n}: 0 < maintenance {value2} < initial {value} <= 1 does not hold"
        tier["initial_e12"], tier["maintenance_e12"], tier["margin_set"] = value, value2, 1
    else:
        if not 0 < value <= 1000 or value2 < 0:
            return f"tier {n}: leverage {value} is not in 1..1000, or notional {value2} is negative"
        tier["max_leverage"], tier["max_notional_e6"] = value, value2
    return None


def _put_market(books: Books, key: ParamKey, n: int, value: int, value2: int) -> str | None:
    market = books.markets[n]
    if key is ParamKey.MARKET_SYMBOL:
        market["symbol0"], market["symbol1"] = value, value2
    elif key is ParamKey.MARKET_SCALE:
        return _put_scale(books, n, value, value2)
    elif key is ParamKey.MARKET_LEVERAGE:
        if not 0 < value <= value2 <= 1000:
            return f"market {n}: 0 < default {value} <= largest leverage {value2} <= 1000 does not hold"
        market["leverage_default"], market["leverage_max"] = value, value2
    elif key is ParamKey.MARKET_FUNDING:
        if not 0 <= value2 <= RATE_ONE or abs(value) > value2:
            return f"market {n}: interest {value} above its cap {value2}, or the cap above 1"
        market["interest_e12"], market["cap_e12"] = value, value2
    elif key is ParamKey.MARKET_BAND:
        if not 0 < value <= 10**6:
            return f"market {n}: band {value} is not in 1..{10**6}"
        market["band_e6"] = value
    elif key is ParamKey.MARKET_MOVE:
        if not 0 <= value <= RATE_ONE:
            return f"market {n}: move {value} is not in 0..{RATE_ONE}"
        market["move_e12"] = value
    elif key is ParamKey.MARKET_PROFILE:
        return _put_profile(market, n, value)
    elif key is ParamKey.MARKET_KNOB:
        return _put_knob(market, n, value, value2)
    elif key is ParamKey.MARKET_ORACLE:
        why = oracle_rules.knob_fault(value, value2)
        if why is not None:
            return f"market {n}: {why}"
        books.oracles[n][oracle_rules.ORACLE_KNOBS[value]] = value2
    else:
        if not 0 <= value < MAX_PROVIDERS or not 0 <= value2 <= 10**6:
            return (
                f"market {n}: provider {value} is not in 0..{MAX_PROVIDERS - 1}, or weight {value2} too large"
            )
        books.feeds[n * FEED_SLOTS + value]["weight"] = value2
    return None


def _put_profile(market: np.void, n: int, profile: int) -> str | None:
    if not 0 <= profile < len(Profile):
        return f"market {n}: profile {profile} is not in 0..{len(Profile) - 1}"
    rule = profiles.rule_row(Profile(profile))
    for name in profiles.RULE.names or ():
        market[name] = rule[name]
    _restart_interval(market)
    return None


def _put_knob(market: np.void, n: int, knob: int, value: int) -> str | None:
    why = profiles.knob_fault(knob, value)
    if why is not None:
        return f"market {n}: {why}"
    market[KNOBS[knob]] = value
    _restart_interval(market)
    return None


def _restart_interval(market: np.void) -> None:
    """Samples taken by one rule say nothing under another: the interval goes on without them."""
    for name in ("premium_sum_e12", "weight_valid", "seconds_valid", "seconds_seen", "rate_set_e12"):
        market[name] = 0


def _put_scale(books: Books, n: int, price_exp: int, lot_exp: int) -> str | None:
    market, meta = books.markets[n], books.meta[0]
    if not 0 <= price_exp <= PRICE_EXP_MAX or not 0 <= lot_exp <= LOT_EXP_MAX:
        return (
            f"market {n}: price scale {price_exp} is not in 0..{PRICE_EXP_MAX}, "
            f"or lot scale {lot_exp} is not in 0..{LOT_EXP_MAX}"
        )
    if market["active"]:
        return f"market {n}: the scale of a market in force never changes"
    if n > int(meta["markets"]):
        return f"market {n}: markets are numbered without gaps, next is {int(meta['markets'])}"
    rule = profiles.rule_row(Profile.GODARK)
    for name in KNOBS:
        market[name] = rule[name]
    market["price_exp"], market["lot_exp"] = price_exp, lot_exp
    market["scale"] = 10**price_exp
    market["quote_mul"] = 10 ** max(0, 6 - price_exp)
    market["quote_div"] = 10 ** max(0, price_exp - 6)
    market["size_max"] = size_limit(int(market["quote_mul"]), int(market["quote_div"]))
    books.oracles[n] = oracle_rules.oracle_row()
    market["active"] = 1
    meta["markets"] = max(int(meta["markets"]), n + 1)
    return None


def contradiction(books: Books) -> str | None:
    """The first rule that tables break together, in words, or None."""
    meta, tiers = books.meta[0], books.tiers
    for name in ("batch_window_ns", "observation_age_ns", "hold_ns"):
        if not int(meta[name]):
            return f"{name} is not set"
    margin = list(itertools.takewhile(lambda tier: bool(tier["margin_set"]), tiers))
    if not margin:
        return "there is no margin tier"
    beyond = [k for k in range(len(margin), MAX_TIERS) if tiers[k]["margin_set"]]
    if beyond:
        return f"margin tier {len(margin)} is missing, though tier {beyond[0]} is set"
    fee_e9 = int(meta["liquidation_fee_e9"])
    why = _margin_contradiction(margin) or _fee_contradiction(tiers)
    why = why or _cost_contradiction(tiers, margin, fee_e9)
    if why is not None:
        return why
    for n in range(int(meta["markets"])):
        why = _market_contradiction(books, n, margin[-1])
        if why is not None:
            return why
    return None


def _margin_contradiction(margin: list[np.void]) -> str | None:
    """Tiers in rising leverage: what they ask falls strictly, and how much they admit never rises (0: all)."""
    if not int(margin[0]["max_leverage"]):
        return "margin tier 0 has no leverage limit"
    for k, (lower, tier) in enumerate(itertools.pairwise(margin), 1):
        if not int(tier["max_leverage"]):
            return f"margin tier {k} has no leverage limit"
        if int(tier["max_leverage"]) <= int(lower["max_leverage"]):
            return f"margin tier {k}: leverage limits must rise"
        if int(tier["initial_e12"]) >= int(lower["initial_e12"]):
            return f"margin tier {k}: initial margin must fall as leverage rises"
        if int(tier["maintenance_e12"]) >= int(lower["maintenance_e12"]):
            return f"margin tier {k}: maintenance margin must fall as leverage rises"
        if (int(tier["max_notional_e6"]) or LIMIT) > (int(lower["max_notional_e6"]) or LIMIT):
            return f"margin tier {k}: the largest position must not grow with leverage"
    return None


def _fee_contradiction(tiers: NDArray[np.void]) -> str | None:
    set_tiers = [tier for tier in tiers if int(tier["fees_set"])]
    if not set_tiers:
        return "there is no fee tier"
    lowest = min(int(tier["taker_e9"]) for tier in set_tiers)
    rebate = max(-int(tier["maker_e9"]) for tier in set_tiers)
    if rebate > lowest:
        return f"a maker rebate of {rebate} exceeds another tier's taker fee of {lowest}: the house would pay"
    return None


def _cost_contradiction(tiers: NDArray[np.void], margin: list[np.void], fee_e9: int) -> str | None:
    """What a liquidation at maintenance would leave too little for: the fee of closing the position. With the
    liquidation fee it must stay below initial margin, or a position would be liquidated as it is opened."""
    taker_e9 = max(int(tier["taker_e9"]) for tier in tiers if int(tier["fees_set"]))
    for k, tier in enumerate(margin):
        if int(tier["maintenance_e12"]) < taker_e9 * (RATE_ONE // FEE_ONE):
            return f"margin tier {k}: maintenance margin is below a taker fee of {taker_e9}"
        if int(tier["initial_e12"]) <= (taker_e9 + fee_e9) * (RATE_ONE // FEE_ONE):
            return f"margin tier {k}: initial margin is within taker and liquidation fee, {taker_e9 + fee_e9}"
    return None


def _market_contradiction(books: Books, n: int, highest: np.void) -> str | None:
    market = books.markets[n]
    if not int(market["leverage_max"]):
        return f"market {n} has no leverage"
    if int(market["leverage_max"]) > int(highest["max_leverage"]):
        return f"market {n}: leverage {int(market['leverage_max'])} is above every margin tier"
    if not int(market["band_e6"]):
        return f"market {n} has no fill band"
    why = profiles.contradiction(market)
    if why is not None:
        return f"market {n}: {why}"
    weights = [int(books.feeds[n * FEED_SLOTS + k]["weight"]) for k in range(MAX_PROVIDERS)]
    if not any(weights):
        return f"market {n} has no price feed"
    return _lone_feed_fault(books, n, [k for k, weight in enumerate(weights) if weight])


def _lone_feed_fault(books: Books, n: int, voters: list[int]) -> str | None:
    """One provider alone: only the primary may be, and its first price needs somebody's word for it."""
    if len(voters) > 1:
        return None
    if voters != [0]:
        return f"market {n}: provider {voters[0]} may not be alone, only provider 0, the primary"
    oracle = books.oracles[n]
    if not int(oracle["alone"]) and not int(oracle["reference"]):
        return f"market {n}: provider 0 alone sets no first price: give it a witness, or set alone to 1"
    return None
