"""Parameters of the model: staged rows, one commit, in force at the first tick that is due and taken."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

from kernels.frames import ParamKey, Refusal, Template
from kernels.layouts import (
    LIMIT,
    MAX_MARKETS,
    MAX_PROVIDERS,
    MAX_STAGED,
    MAX_TIERS,
    NOTIONAL_LIMIT_E6,
    PRICE_MAX,
)
from relayer.verify.model_frames import decode
from relayer.verify.model_oracle import ORACLE_BOUNDS, STATUS_SETS, Oracle
from relayer.verify.model_rules import KNOB_BOUNDS, RULES_BY_PROFILE, put_knobs, rule_is_sound
from relayer.verify.model_state import Ledger, Market, Tables, Tier

RULES = 1
RATE_ONE = 10**12
FEE_ONE = 10**9
DAY_NS = 86_400 * 10**9
LEVERAGE_MAX = 1000
_EXCHANGE = {
    ParamKey.BATCH_WINDOW_NS: "batch_window_ns",
    ParamKey.OBSERVATION_AGE_NS: "observation_age_ns",
    ParamKey.HOLD_NS: "hold_ns",
}
_RULE_KEYS = (ParamKey.MARKET_PROFILE, ParamKey.MARKET_KNOB, ParamKey.MARKET_ORACLE)


class RowInvalid(Exception):
    """A row breaks a rule. Never leaves this module."""


def require(rule: bool) -> None:
    """Raise RowInvalid unless the rule holds."""
    if not rule:
        raise RowInvalid


def put_exchange(tables: Tables, row: Any) -> None:
    """A duration that holds for the whole exchange: up to a day. Or the terms of liquidation."""
    if row.key == ParamKey.LIQUIDATION:
        require(0 <= row.value < FEE_ONE and 0 <= row.value2 <= RATE_ONE)
        tables.liquidation_fee_e9, tables.reserve_e12 = row.value, row.value2
        return
    require(0 < row.value <= DAY_NS)
    setattr(tables, _EXCHANGE[row.key], row.value)


def put_tier(tables: Tables, row: Any) -> None:
    """Fees or margin of a tier."""
    require(0 <= row.row < MAX_TIERS)
    tables.margin = None
    tier = tables.tiers.setdefault(row.row, Tier())
    if row.key == ParamKey.FEE_TIER:
        require(0 <= row.value < FEE_ONE and -row.value <= row.value2 < FEE_ONE)
        tier.taker_e9, tier.maker_e9, tier.fees_set = row.value, row.value2, 1
    elif row.key == ParamKey.MARGIN_TIER_RATES:
        require(0 < row.value2 < row.value <= RATE_ONE)
        tier.initial_e12, tier.maintenance_e12, tier.margin_set = row.value, row.value2, 1
    else:
        require(0 < row.value <= LEVERAGE_MAX and row.value2 >= 0)
        tier.max_leverage, tier.max_notional_e6 = row.value, row.value2


def put_market(tables: Tables, row: Any) -> None:
    """One pair of parameters of a market, or the weight of one of its providers."""
    require(0 <= row.row < MAX_MARKETS)
    require(row.key == ParamKey.MARKET_SCALE or row.row < tables.count)
    market = tables.markets.setdefault(row.row, Market())
    if row.key == ParamKey.MARKET_SYMBOL:
        market.symbol0, market.symbol1 = row.value, row.value2
    elif row.key == ParamKey.MARKET_SCALE:
        put_scale(tables, market, row)
    elif row.key == ParamKey.MARKET_LEVERAGE:
        require(0 < row.value <= row.value2 <= LEVERAGE_MAX)
        market.leverage_default, market.leverage_max = row.value, row.value2
    elif row.key == ParamKey.MARKET_FUNDING:
        require(abs(row.value) <= row.value2 <= RATE_ONE)
        market.interest_e12, market.cap_e12 = row.value, row.value2
    elif row.key == ParamKey.MARKET_BAND:
        require(0 < row.value <= 10**6)
        market.band_e6 = row.value
    elif row.key == ParamKey.MARKET_MOVE:
        require(0 <= row.value <= RATE_ONE)
        market.move_e12 = row.value
    elif row.key == ParamKey.MARKET_PROFILE:
        require(0 <= row.value < len(RULES_BY_PROFILE))
        put_knobs(market, RULES_BY_PROFILE[row.value] | {"profile": row.value})
    elif row.key == ParamKey.MARKET_KNOB:
        require(0 < row.value <= len(KNOB_BOUNDS))
        name, low, high = KNOB_BOUNDS[row.value - 1]
        require(low <= row.value2 <= high)
        put_knobs(market, {name: row.value2})
    elif row.key == ParamKey.MARKET_ORACLE:
        require(0 <= row.value < len(ORACLE_BOUNDS))
        name, low, high = ORACLE_BOUNDS[row.value]
        require(low <= row.value2 <= high)
        require(name not in STATUS_SETS or row.value2 % 2 == 0)
        setattr(tables.oracles[row.row], name, row.value2)
    else:
        require(0 <= row.value < MAX_PROVIDERS and 0 <= row.value2 <= 10**6)
        tables.weights.setdefault(row.row, {})[row.value] = row.value2


def put_scale(tables: Tables, market: Market, row: Any) -> None:
    """Open a market, the next number: D = 10^e, and the quote factor 10^(6 − e) as a fraction."""
    exponent = row.value
    require(0 <= exponent <= 11 and 0 <= row.value2 <= 9)
    require(not market.active and row.row == tables.count)
    market.active = 1
    market.price_exp, market.lot_exp = exponent, row.value2
    market.scale = 10**exponent
    market.quote_mul = 10 ** max(0, 6 - exponent)
    market.quote_div = 10 ** max(0, exponent - 6)
    market.size_max = NOTIONAL_LIMIT_E6 // market.quote_mul * market.quote_div // PRICE_MAX
    tables.oracles[row.row] = Oracle()
    tables.count += 1


def put_row(tables: Tables, row: Any) -> None:
    """Write one row. RowInvalid: it breaks a rule by itself."""
    if row.key in _EXCHANGE or row.key == ParamKey.LIQUIDATION:
        put_exchange(tables, row)
    elif row.key in (ParamKey.FEE_TIER, ParamKey.MARGIN_TIER_RATES, ParamKey.MARGIN_TIER_LIMITS):
        put_tier(tables, row)
    else:
        require(row.key in (*range(ParamKey.MARKET_SYMBOL, ParamKey.MARKET_MOVE + 1), *_RULE_KEYS))
        put_market(tables, row)


def require_consistent(tables: Tables) -> None:
    """RowInvalid if the tables contradict themselves."""
    require(all(getattr(tables, name) for name in _EXCHANGE.values()))
    margin = []
    for n in range(MAX_TIERS):
        tier = tables.tiers.get(n)
        if tier is None or not tier.margin_set:
            break
        margin.append(tier)
    require(bool(margin) and all(tier.max_leverage for tier in margin))
    require(len(margin) == sum(tier.margin_set for tier in tables.tiers.values()))
    for lower, higher in itertools.pairwise(margin):
        require(lower.max_leverage < higher.max_leverage and lower.initial_e12 > higher.initial_e12)
        require(lower.maintenance_e12 > higher.maintenance_e12)
        require((higher.max_notional_e6 or LIMIT) <= (lower.max_notional_e6 or LIMIT))
    fees = [tier for tier in tables.tiers.values() if tier.fees_set]
    require(bool(fees) and max(-tier.maker_e9 for tier in fees) <= min(tier.taker_e9 for tier in fees))
    require(min(tier.maintenance_e12 for tier in margin) >= max(tier.taker_e9 * 1000 for tier in fees))
    costs = max(tier.taker_e9 for tier in fees) + tables.liquidation_fee_e9
    require(min(tier.initial_e12 for tier in margin) > costs * 1000)
    for n in range(tables.count):
        market = tables.markets[n]
        require(0 < market.leverage_max <= margin[-1].max_leverage)
        require(market.band_e6 > 0)
        require(rule_is_sound(market))
        voters = [k for k, weight in tables.weights.get(n, {}).items() if weight]
        oracle = tables.oracles[n]
        require(len(voters) > 1 or (voters == [0] and bool(oracle.alone or oracle.reference)))


def first_wrong_row(tables: Tables, rows: list[Any]) -> int | None:
    """Which row cannot be put in force; the last one stands for all together. None: all can."""
    trial = tables.trial()
    for k, row in enumerate(rows):
        try:
            put_row(trial, row)
        except RowInvalid:
            return k
    try:
        require_consistent(trial)
    except RowInvalid:
        return len(rows) - 1
    return None


def staged_rows(ledger: Ledger) -> list[Any]:
    """The staged frames, decoded."""
    return [decode(Template.PARAM, frame) for frame in ledger.staged]


def rows_digest(rows: list[Any]) -> bytes:
    """First 16 bytes of SHA-256 over key, row, value, value2 of every row, 8 bytes little-endian each."""
    h = hashlib.sha256()
    for row in rows:
        for value in (row.key, row.row, row.value, row.value2):
            h.update(value.to_bytes(8, "little", signed=True))
    return h.digest()[:16]


def drop_staged(ledger: Ledger) -> None:
    """Forget the staged change."""
    ledger.staged.clear()
    ledger.meta.staged_change = ledger.meta.pending = ledger.meta.pending_not_before_ns = 0


def stage_row(ledger: Ledger, row: Any, frame: bytes) -> tuple[Refusal, int]:
    """Stage one row; a row of another change drops what was staged, unless that is committed."""
    if ledger.meta.pending:
        return Refusal.PARAM_FULL, ledger.meta.staged_change
    if ledger.staged and ledger.meta.staged_change != row.change:
        drop_staged(ledger)
    if len(ledger.staged) == MAX_STAGED:
        return Refusal.PARAM_FULL, MAX_STAGED
    ledger.meta.staged_change = row.change
    ledger.staged.append(frame)
    return Refusal.NONE, 0


def commit(ledger: Ledger, row: Any) -> tuple[Refusal, int]:
    """Commit the staged change if count, digest and rules agree; a change that breaks a rule is dropped."""
    meta, rows = ledger.meta, staged_rows(ledger)
    given = row.value.to_bytes(8, "little", signed=True) + row.value2.to_bytes(8, "little", signed=True)
    same = row.change == meta.staged_change and row.of == len(rows) and rows_digest(rows) == given
    if meta.pending or not same:
        return Refusal.PARAM_DIGEST, len(rows)
    wrong = first_wrong_row(ledger.tables, rows)
    if wrong is not None:
        drop_staged(ledger)
        return Refusal.PARAM_INVALID, wrong
    meta.pending, meta.pending_not_before_ns = 1, row.not_before_ns
    return Refusal.NONE, 0


def apply_param(ledger: Ledger, frame: bytes) -> tuple[Refusal, int]:
    """One PARAM frame: (refusal, detail)."""
    row = decode(Template.PARAM, frame)
    if row.key == ParamKey.COMMIT:
        return commit(ledger, row)
    return stage_row(ledger, row, frame)


def apply_upgrade(ledger: Ledger, frame: bytes) -> tuple[Refusal, int]:
    """Newer rules that this build knows, or (refusal, the rules asked for)."""
    wanted = decode(Template.UPGRADE, frame).rules
    if not ledger.meta.rules < wanted <= RULES:
        return Refusal.RULES_UNKNOWN, wanted
    ledger.meta.rules = wanted
    return Refusal.NONE, 0


def put_in_force(ledger: Ledger) -> None:
    """Write the pending rows; they were tried when they were committed."""
    for row in staged_rows(ledger):
        put_row(ledger.tables, row)
    drop_staged(ledger)
