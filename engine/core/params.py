"""Parameters: staged rows, one commit row, in force at a tick. The only Python in the fold.

A change is staged as `param` frames with one change id, rows 0..n-1 by their order; the commit row (key
COMMIT) carries how many there were (`of`) and the first 16 bytes of their digest. A committed change waits
for the first tick at or past its `not_before_ns`. A table that contradicts itself is refused as a whole.

| key | row | value | value2 |
|---|---|---|---|
| BATCH_WINDOW_NS, OBSERVATION_AGE_NS, HOLD_NS | 0 | ns | - |
| LIQUIDATION | 0 | liquidation fee, 1e-9 of quote | margin that insurance keeps behind what it takes, 1e-12 |
| MARGIN_TIER_RATES | tier | initial, 1e-12 | maintenance, 1e-12 |
| MARGIN_TIER_LIMITS | tier | largest leverage | largest notional e6, 0: none |
| FEE_TIER | tier | taker, 1e-9 of quote | maker, negative: rebate |
| MARKET_SYMBOL | market | 8 ASCII bytes | 8 more |
| MARKET_SCALE | market | e of the price | decimals of a lot |
| MARKET_LEVERAGE | market | default | largest |
| MARKET_FUNDING | market | interest, 1e-12 per 8 h | cap, 1e-12 per 8 h |
| MARKET_BAND | market | band of fills round the mark, 1e-6 | - |
| FEED | market | provider 0..12 | weight, 0: none |
| MARKET_MOVE | market | what the price moves in 100 ms at p99.99, 1e-12 | - |
| MARKET_PROFILE | market | whose funding rule (`kernels.profiles.Profile`): sets every knob | - |
| MARKET_KNOB | market | number of a knob, its place in `kernels.layouts.KNOBS` | its value |
| MARKET_ORACLE | market | number of an oracle rule, its place in `kernels.oracle_rules.ORACLE_KNOBS` | its value |

A new market follows GoDark's rule, and decides its price by the starting values of `kernels.oracle_rules`.
Interest and cap are set by MARKET_FUNDING; a profile row sets them too, so what departs from the profile comes
after it. A change of funding rule drops the samples of the open interval. OBSERVATION_AGE_NS is for what the
matching engine says of its book; providers age by their market's oracle rules. MARKET_MOVE is 0 until it is set
(engine/risk/README.md): it is to be measured on the feeds of the market, and no published value is known.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.state import RULES, State
from engine.core.tables import Violation, contradiction, put_row
from kernels import frames as f
from kernels.frames import ParamKey, Refusal, Template
from kernels.layouts import MAX_STAGED
from kernels.oracle_rules import ORACLE_KNOBS

SECOND_NS = 1_000_000_000


class Row(NamedTuple):
    """One parameter row, as in the table above."""

    key: ParamKey
    row: int
    value: int
    value2: int = 0


def exchange_rows(
    *,
    batch_window_ns: int = SECOND_NS,
    observation_age_ns: int = 10 * SECOND_NS,
    hold_ns: int = 2 * SECOND_NS,
    liquidation_fee_e9: int = 5_000_000,
    reserve_e12: int = 10**10,
) -> list[Row]:
    """Exchange-wide defaults: the published margin tiers up to 100x, and one fee tier with a rebate.

    Liquidation fee: 0.5 %, the largest of dYdX v4's rule (`engine.app.margin_account`). Reserve: the initial
    margin of the highest of these tiers.
    """
    tiers = [(20, 5, 0), (50, 2, 100_000), (100, 1, 50_000)]
    rows = [
        Row(ParamKey.BATCH_WINDOW_NS, 0, batch_window_ns),
        Row(ParamKey.OBSERVATION_AGE_NS, 0, observation_age_ns),
        Row(ParamKey.HOLD_NS, 0, hold_ns),
        Row(ParamKey.LIQUIDATION, 0, liquidation_fee_e9, reserve_e12),
        Row(ParamKey.FEE_TIER, 0, 500_000, -100_000),
    ]
    for k, (leverage, percent, notional) in enumerate(tiers):
        initial = percent * 10**10
        rows.append(Row(ParamKey.MARGIN_TIER_RATES, k, initial, initial // 2))
        rows.append(Row(ParamKey.MARGIN_TIER_LIMITS, k, leverage, notional * 10**6))
    return rows


def market_rows(
    market: int,
    symbol: str,
    *,
    price_exp: int,
    lot_exp: int,
    feeds: int = 3,
    leverage: int = 10,
    price_age_ns: int = 0,
) -> list[Row]:
    """Defaults of one market: 0.01 % interest and 15 % cap per 8 h, a 1 % (majors) or 5 % band, equal feeds.

    leverage: in force unless an account sets its own. price_age_ns: how old a provider's price may be, 0: by
    the largest leverage, 3 s at 50x. The cap is 8 * 0.75 * (initial - maintenance) of the
    widest tier (MONEY.md, Funding).
    """
    name = symbol.encode("ascii").ljust(16, b"\0")
    words = np.frombuffer(name[:16], "<i8")
    rows = [
        Row(ParamKey.MARKET_SCALE, market, price_exp, lot_exp),
        Row(ParamKey.MARKET_SYMBOL, market, int(words[0]), int(words[1])),
        Row(ParamKey.MARKET_LEVERAGE, market, leverage, 50),
        Row(ParamKey.MARKET_FUNDING, market, 10**8, 15 * 10**10),
        Row(ParamKey.MARKET_BAND, market, 10_000 if symbol in ("BTC", "ETH", "SOL") else 50_000),
    ]
    rows += [Row(ParamKey.FEED, market, k, 1) for k in range(feeds)]
    if price_age_ns:
        rows.append(oracle_rule(market, "age_limit_ns", price_age_ns))
    return rows


def oracle_rule(market: int, name: str, value: int) -> Row:
    """The row that sets one oracle rule of a market, by its name in `kernels.oracle_rules.ORACLE_KNOBS`."""
    return Row(ParamKey.MARKET_ORACLE, market, ORACLE_KNOBS.index(name), value)


def stage(rows: list[Row], *, change: int, not_before_ns: int, first_seq: int) -> NDArray[np.void]:
    """PARAM frames of source ADMIN for one change, its commit row last. CRCs are not yet written."""
    out = f.new_frames(Template.PARAM, len(rows) + 1, source=f.Source.ADMIN, first_seq=first_seq)
    out["market"] = -1
    out["change"] = change
    out["not_before_ns"] = not_before_ns
    for k, row in enumerate(rows):
        out[k]["key"], out[k]["row"] = int(row.key), row.row
        out[k]["value"], out[k]["value2"] = row.value, row.value2
    out[-1]["key"] = int(ParamKey.COMMIT)
    out[-1]["of"] = len(rows)
    out[-1]["value"], out[-1]["value2"] = rows_digest(out[:-1])
    return out


def rows_digest(rows: NDArray[np.void]) -> tuple[int, int]:
    """First 16 bytes, as two words, of SHA-256 over (key, row, value, value2) of staged PARAM rows in order."""
    h = hashlib.sha256()
    for r in rows:
        for name in ("key", "row", "value", "value2"):
            h.update(int(r[name]).to_bytes(8, "little", signed=True))
    d = h.digest()
    return int.from_bytes(d[:8], "little", signed=True), int.from_bytes(d[8:16], "little", signed=True)


def apply_rare(state: State, frame: NDArray[np.void]) -> tuple[int, int]:
    """Apply one PARAM or UPGRADE frame (an array of one). Returns (refusal, detail): (0, 0) if taken."""
    if int(frame.view(f.FRAME)[0]["template"]) == Template.UPGRADE:
        return _apply_upgrade(state, frame.view(f.UPGRADE)[0])
    row = frame.view(f.PARAM)[0]
    if int(row["key"]) == ParamKey.COMMIT:
        return _commit(state, row)
    return _stage_one(state, row)


def _apply_upgrade(state: State, frame: np.void) -> tuple[int, int]:
    wanted = int(frame["rules"])
    if wanted <= state.number("rules") or wanted > RULES:
        return int(Refusal.RULES_UNKNOWN), wanted
    state.books.meta[0]["rules"] = wanted
    return 0, 0


def _stage_one(state: State, row: np.void) -> tuple[int, int]:
    meta, staged = state.books.meta[0], state.books.staged
    if meta["pending"]:
        return int(Refusal.PARAM_FULL), int(meta["staged_change"])
    if meta["staged"] and int(meta["staged_change"]) != int(row["change"]):
        _drop_staged(state)
    if int(meta["staged"]) == MAX_STAGED:
        return int(Refusal.PARAM_FULL), MAX_STAGED
    meta["staged_change"] = row["change"]
    staged[int(meta["staged"])] = row
    meta["staged"] += 1
    return 0, 0


def _drop_staged(state: State) -> None:
    meta = state.books.meta[0]
    state.books.staged[: int(meta["staged"])] = 0
    meta["staged"] = 0
    meta["staged_change"] = 0
    meta["pending"] = 0
    meta["pending_not_before_ns"] = 0


def _commit(state: State, row: np.void) -> tuple[int, int]:
    meta = state.books.meta[0]
    rows = state.books.staged[: int(meta["staged"])]
    if meta["pending"] or int(row["change"]) != int(meta["staged_change"]) or int(row["of"]) != len(rows):
        return int(Refusal.PARAM_DIGEST), len(rows)
    if rows_digest(rows) != (int(row["value"]), int(row["value2"])):
        return int(Refusal.PARAM_DIGEST), len(rows)
    wrong = check_rows(state, rows)
    if wrong is not None:
        _drop_staged(state)
        return int(Refusal.PARAM_INVALID), wrong.row
    meta["pending"] = 1
    meta["pending_not_before_ns"] = row["not_before_ns"]
    return 0, 0


def check_rows(state: State, rows: NDArray[np.void]) -> Violation | None:
    """The first row that cannot be put in force on top of `state`, with the rule it breaks, or None."""
    books = state.books
    trial = books._replace(
        meta=books.meta.copy(),
        markets=books.markets.copy(),
        tiers=books.tiers.copy(),
        feeds=books.feeds.copy(),
        oracles=books.oracles.copy(),
    )
    for k, row in enumerate(rows):
        why = put_row(trial, row)
        if why is not None:
            return Violation(k, why)
    why = contradiction(trial)
    return None if why is None else Violation(len(rows) - 1, why)


def put_in_force(state: State) -> None:
    """Put the pending change in force. It was checked when it was committed; nothing else changes tables."""
    for row in state.books.staged[: state.number("staged")]:
        why = put_row(state.books, row)
        if why is not None:
            raise AssertionError(f"a checked parameter row is refused: {why}")
    state.derive()
    _drop_staged(state)
