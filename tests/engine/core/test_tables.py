"""Parameter tables: what each row writes, and every rule refused by the name of what breaks it."""

from __future__ import annotations

import numpy as np
import pytest

from engine.core.params import Row, check_rows, exchange_rows, market_rows, oracle_rule
from engine.core.state import Books, State
from engine.core.tables import DAY_NS, contradiction, put_row
from kernels import frames as f
from kernels.book import size_limit
from kernels.frames import ParamKey
from kernels.layouts import FEED_SLOTS, MAX_MARKETS, MAX_PROVIDERS, MAX_TIERS
from kernels.oracle_rules import BOUNDS, ORACLE_KNOBS

K = ParamKey
ONE = 10**12
GENESIS = [
    *exchange_rows(),
    *market_rows(0, "BTC", price_exp=4, lot_exp=5),
    *market_rows(1, "SOL", price_exp=6, lot_exp=2),
]


def param(row: Row) -> np.void:
    out = np.zeros(1, f.PARAM)
    out["key"], out["row"], out["value"], out["value2"] = int(row.key), row.row, row.value, row.value2
    return out[0]


def staged(rows: list[Row]) -> np.ndarray:
    return np.array([param(row) for row in rows], f.PARAM)


def tables_with(rows: list[Row]) -> Books:
    """Books with these rows in force, none of which may be refused."""
    books = State().books
    for row in rows:
        assert put_row(books, param(row)) is None
    return books


def bytes_of(books: Books) -> bytes:
    return b"".join(a.tobytes() for a in (books.meta, books.markets, books.tiers, books.feeds, books.oracles))


ROWS_THAT_BREAK_A_RULE = [
    (Row(K.BATCH_WINDOW_NS, 0, 0), "batch_window_ns 0 is not in 1.."),
    (Row(K.BATCH_WINDOW_NS, 0, DAY_NS + 1), f"batch_window_ns {DAY_NS + 1} is not in 1..{DAY_NS}"),
    (Row(K.OBSERVATION_AGE_NS, 0, -1), "observation_age_ns -1 is not in"),
    (Row(K.HOLD_NS, 0, 0), "hold_ns 0 is not in"),
    (Row(K.COMMIT, 0, 1), "key 0 is not known"),
    (Row(5, 0, 1), "key 5 is not known"),  # type: ignore[arg-type]
    (Row(K.LIQUIDATION, 0, -1), "liquidation fee -1 is not in"),
    (Row(K.LIQUIDATION, 0, 10**9), f"liquidation fee {10**9} is not in"),
    (Row(K.LIQUIDATION, 0, 0, -1), "reserve -1 above 1 or negative"),
    (Row(K.LIQUIDATION, 0, 0, ONE + 1), f"reserve {ONE + 1} above 1"),
    (Row(K.MARKET_MOVE, 0, -1), "market 0: move -1 is not in"),
    (Row(K.MARKET_MOVE, 0, ONE + 1), f"market 0: move {ONE + 1} is not in"),
    (Row(K.MARKET_MOVE, 9, 1), "market 9 does not exist yet"),
    (Row(-1, 0, 1), "key -1 is not known"),  # type: ignore[arg-type]
    (Row(K.FEE_TIER, MAX_TIERS, 1), f"tier {MAX_TIERS} is not in 0..{MAX_TIERS - 1}"),
    (Row(K.MARGIN_TIER_RATES, -1, 2, 1), "tier -1 is not in"),
    (Row(K.FEE_TIER, 0, -1), "taker fee -1 is not in"),
    (Row(K.FEE_TIER, 0, 10**9), f"taker fee {10**9} is not in"),
    (Row(K.FEE_TIER, 0, 5, -6), "maker fee -6: a rebate may not exceed the taker fee 5"),
    (Row(K.FEE_TIER, 0, 5, 10**9), f"maker fee {10**9}"),
    (Row(K.MARGIN_TIER_RATES, 3, 5, 5), "tier 3: 0 < maintenance 5 < initial 5 <= 1"),
    (Row(K.MARGIN_TIER_RATES, 3, 5, 0), "tier 3: 0 < maintenance 0"),
    (Row(K.MARGIN_TIER_RATES, 3, ONE + 1, 5), f"initial {ONE + 1} <= 1"),
    (Row(K.MARGIN_TIER_LIMITS, 2, 0), "tier 2: leverage 0 is not in 1..1000"),
    (Row(K.MARGIN_TIER_LIMITS, 2, 1001), "tier 2: leverage 1001 is not in 1..1000"),
    (Row(K.MARGIN_TIER_LIMITS, 2, 10, -1), "notional -1 is negative"),
    (Row(K.MARKET_SYMBOL, -1, 0), f"market -1 is not in 0..{MAX_MARKETS - 1}"),
    (Row(K.FEED, MAX_MARKETS, 0, 1), f"market {MAX_MARKETS} is not in"),
    (Row(K.MARKET_LEVERAGE, 1, 0, 10), "market 1: 0 < default 0"),
    (Row(K.MARKET_LEVERAGE, 1, 11, 10), "default 11 <= largest leverage 10"),
    (Row(K.MARKET_LEVERAGE, 1, 1, 1001), "largest leverage 1001 <= 1000"),
    (Row(K.MARKET_FUNDING, 1, 11, 10), "market 1: interest 11 above its cap 10"),
    (Row(K.MARKET_FUNDING, 1, -11, 10), "interest -11 above its cap 10"),
    (Row(K.MARKET_FUNDING, 1, 0, -1), "cap -1"),
    (Row(K.MARKET_FUNDING, 1, 0, ONE + 1), f"cap {ONE + 1}, or the cap above 1"),
    (Row(K.MARKET_BAND, 1, 0), "market 1: band 0 is not in"),
    (Row(K.MARKET_BAND, 1, 10**6 + 1), f"band {10**6 + 1} is not in"),
    (Row(K.FEED, 1, -1, 1), "market 1: provider -1 is not in"),
    (Row(K.FEED, 1, MAX_PROVIDERS, 1), f"provider {MAX_PROVIDERS} is not in 0..{MAX_PROVIDERS - 1}"),
    (Row(K.FEED, 1, 0, -1), "weight -1"),
    (Row(K.FEED, 1, 0, 10**6 + 1), f"weight {10**6 + 1} too large"),
    (Row(K.MARKET_SCALE, 2, 12, 0), "market 2: price scale 12"),
    (Row(K.MARKET_SCALE, 2, -1, 0), "price scale -1"),
    (Row(K.MARKET_SCALE, 2, 0, 10), "lot scale 10 is not in 0..9"),
    (Row(K.MARKET_SCALE, 2, 0, -1), "lot scale -1"),
    (Row(K.MARKET_SCALE, 1, 6, 2), "market 1: the scale of a market in force never changes"),
    (Row(K.MARKET_SCALE, 3, 6, 2), "market 3: markets are numbered without gaps, next is 2"),
    (Row(K.MARKET_ORACLE, 1, -1, 1), "market 1: oracle knob -1 is not in 0..10"),
    (Row(K.MARKET_ORACLE, 1, 11, 1), "market 1: oracle knob 11 is not in 0..10"),
    (Row(K.MARKET_ORACLE, 2, 0, 1), "market 2 does not exist yet"),
    *[
        (oracle_rule(1, name, value), f"market 1: {name} {value} is not in {low}..{high}")
        for name, (low, high) in BOUNDS.items()
        if name not in ("funding_on", "liquidation_on")
        for value in (low - 1, high + 1)
    ],
    *[
        (oracle_rule(1, name, value), f"market 1: {name} {value} {why}")
        for name in ("funding_on", "liquidation_on")
        for value, why in (
            (1, "admits a price that is held or none"),
            (16, "admits a price that is held or none"),
            (30, "admits a price that is held or none"),
            (32, "is not in 0..14"),
            (-32, "is not in 0..14"),
        )
    ],
]


@pytest.mark.parametrize(("row", "rule"), ROWS_THAT_BREAK_A_RULE)
def test_a_row_that_breaks_a_rule_is_named_and_writes_nothing(row: Row, rule: str) -> None:
    books = tables_with(GENESIS)
    before = bytes_of(books)
    why = put_row(books, param(row))
    assert why is not None and rule in why
    assert bytes_of(books) == before


@pytest.mark.parametrize(("row", "rule"), ROWS_THAT_BREAK_A_RULE)
def test_a_change_with_it_is_refused_at_its_row(row: Row, rule: str) -> None:
    state = State()
    state.books = tables_with(GENESIS)
    before = bytes_of(state.books)
    good = Row(K.HOLD_NS, 0, 77)
    wrong = check_rows(state, staged([good, good, row, good]))
    assert wrong is not None and wrong.row == 2 and rule in wrong.rule
    assert bytes_of(state.books) == before


EDGES_THAT_PASS = [
    Row(K.BATCH_WINDOW_NS, 0, 1),
    Row(K.HOLD_NS, 0, DAY_NS),
    Row(K.FEE_TIER, MAX_TIERS - 1, 5, -5),
    Row(K.FEE_TIER, 0, 0, 0),
    Row(K.MARGIN_TIER_RATES, 0, ONE, 1),
    Row(K.MARGIN_TIER_LIMITS, 0, 1000, 0),
    Row(K.MARKET_LEVERAGE, 0, 1000, 1000),
    Row(K.MARKET_FUNDING, 0, -7, 7),
    Row(K.MARKET_FUNDING, 0, ONE, ONE),
    Row(K.MARKET_BAND, 0, 10**6),
    Row(K.FEED, 0, MAX_PROVIDERS - 1, 10**6),
    Row(K.MARKET_SCALE, 2, 9, 9),
    *[oracle_rule(0, name, bound) for name, bounds in BOUNDS.items() for bound in bounds],
]


@pytest.mark.parametrize("row", EDGES_THAT_PASS)
def test_the_edge_of_a_rule_passes(row: Row) -> None:
    assert put_row(tables_with(GENESIS), param(row)) is None


def test_what_rows_write() -> None:
    books = tables_with(
        [
            Row(K.OBSERVATION_AGE_NS, 0, 123),
            Row(K.FEE_TIER, 4, 50, -10),
            Row(K.MARGIN_TIER_RATES, 3, 40, 20),
            Row(K.MARGIN_TIER_LIMITS, 3, 30, 10**9),
            Row(K.MARKET_SCALE, 0, 8, 3),
            Row(K.MARKET_SYMBOL, 0, 0x435442, 5),
            Row(K.MARKET_LEVERAGE, 0, 7, 9),
            Row(K.MARKET_FUNDING, 0, -3, 8),
            Row(K.MARKET_BAND, 0, 11),
            Row(K.FEED, 0, 12, 6),
            *[oracle_rule(0, name, low + 1) for name, (low, _) in BOUNDS.items() if not name.endswith("_on")],
            oracle_rule(0, "funding_on", 2),
            oracle_rule(0, "liquidation_on", 4),
        ]
    )
    oracle = books.oracles[0]
    written = [low + 1 for name, (low, _) in BOUNDS.items() if not name.endswith("_on")]
    assert [int(oracle[name]) for name in ORACLE_KNOBS] == [*written, 2, 4]
    market, tier = books.markets[0], books.tiers[3]
    assert int(books.meta[0]["observation_age_ns"]) == 123 and int(books.meta[0]["markets"]) == 1
    fee = books.tiers[4]
    assert [int(fee[n]) for n in ("taker_e9", "maker_e9", "fees_set", "margin_set")] == [50, -10, 1, 0]
    names = ("initial_e12", "maintenance_e12", "margin_set", "max_leverage", "max_notional_e6", "fees_set")
    assert [int(tier[n]) for n in names] == [40, 20, 1, 30, 10**9, 0]
    scale = [int(market[n]) for n in ("active", "price_exp", "lot_exp", "scale", "quote_mul", "quote_div")]
    assert scale == [1, 8, 3, 10**8, 1, 100]
    assert int(market["size_max"]) == size_limit(1, 100) > 0
    names = ("symbol0", "symbol1", "leverage_default", "leverage_max", "interest_e12", "cap_e12", "band_e6")
    assert [int(market[n]) for n in names] == [0x435442, 5, 7, 9, -3, 8, 11]
    assert [int(w) for w in books.feeds["weight"][:FEED_SLOTS]] == [0] * 12 + [6, 0, 0, 0]


@pytest.mark.parametrize("e", range(10))
def test_a_scale_turns_lots_into_micro_usdc(e: int) -> None:
    market = tables_with([Row(K.MARKET_SCALE, 0, e, 0)]).markets[0]
    assert int(market["scale"]) == 10**e
    assert int(market["quote_mul"]) * 10**e == int(market["quote_div"]) * 10**6


def without(key: ParamKey, row: int | None = None) -> list[Row]:
    kept = [r for r in GENESIS if r.key != key or (row is not None and r.row != row)]
    assert len(kept) < len(GENESIS)
    return kept


CONTRADICTIONS = [
    (without(K.BATCH_WINDOW_NS), "batch_window_ns is not set"),
    (without(K.OBSERVATION_AGE_NS), "observation_age_ns is not set"),
    (without(K.HOLD_NS), "hold_ns is not set"),
    (without(K.MARGIN_TIER_RATES), "there is no margin tier"),
    (without(K.MARGIN_TIER_LIMITS, 1), "margin tier 1 has no leverage limit"),
    ([*GENESIS, Row(K.MARGIN_TIER_LIMITS, 1, 20)], "margin tier 1: leverage limits must rise"),
    (
        [*GENESIS, Row(K.MARGIN_TIER_RATES, 2, 2 * 10**10, 10**10)],
        "margin tier 2: initial margin must fall as leverage rises",
    ),
    (
        [*GENESIS, Row(K.MARGIN_TIER_RATES, 2, 15 * 10**9, 10**10)],
        "margin tier 2: maintenance margin must fall as leverage rises",
    ),
    (
        [*GENESIS, Row(K.MARGIN_TIER_LIMITS, 2, 100, 0)],
        "margin tier 2: the largest position must not grow with leverage",
    ),
    (
        [*GENESIS, Row(K.MARGIN_TIER_RATES, 5, 9 * 10**9, 10**9)],
        "margin tier 3 is missing, though tier 5 is set",
    ),
    (
        [*GENESIS, Row(K.FEE_TIER, 1, 5_000_001, 0)],
        "margin tier 2: maintenance margin is below a taker fee of 5000001",
    ),
    (
        [*GENESIS, Row(K.LIQUIDATION, 0, 10**7 - 500_000)],
        f"margin tier 2: initial margin is within taker and liquidation fee, {10**7}",
    ),
    (without(K.MARKET_LEVERAGE, 1), "market 1 has no leverage"),
    ([*GENESIS, Row(K.MARKET_LEVERAGE, 1, 10, 101)], "market 1: leverage 101 is above every margin tier"),
    (without(K.MARKET_BAND, 0), "market 0 has no fill band"),
    (without(K.FEED, 1), "market 1 has no price feed"),
    ([*GENESIS, *[Row(K.FEED, 0, k, 0) for k in range(3)]], "market 0 has no price feed"),
    (
        [*GENESIS, *[Row(K.FEED, 0, k, 0) for k in (1, 2)]],
        "market 0: provider 0 alone sets no first price: give it a witness, or set alone to 1",
    ),
    (
        [*GENESIS, oracle_rule(1, "alone", 1), *[Row(K.FEED, 1, k, 0) for k in (0, 1)]],
        "market 1: provider 2 may not be alone, only provider 0, the primary",
    ),
]


@pytest.mark.parametrize(("rows", "rule"), CONTRADICTIONS, ids=[rule for _, rule in CONTRADICTIONS])
def test_tables_that_contradict_themselves(rows: list[Row], rule: str) -> None:
    assert contradiction(tables_with(rows)) == rule
    wrong = check_rows(State(), staged(rows))
    assert wrong is not None and (wrong.row, wrong.rule) == (len(rows) - 1, rule)


def test_the_defaults_do_not_contradict_themselves() -> None:
    assert contradiction(tables_with(GENESIS)) is None
    assert check_rows(State(), staged(GENESIS)) is None
