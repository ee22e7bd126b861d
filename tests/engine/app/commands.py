"""Every `godark` command that computes with kernels in its own process, on small files made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.app.margin import EXAMPLE
from tests.engine.venue import test_orderbook as orderbooks
from tests.engine.venue import test_published as states
from tests.relayer.verify.material import write_journal

DAY_S = 1_704_067_200
ORACLE = {"price": 2000, "price_exponent": -2, "base_atomic_resolution": -6}
MARGINS = {
    "initial_margin_ppm": 50_000,
    "maintenance_fraction_ppm": 600_000,
    "funding_clamp_factor_ppm": 6_000_000,
}
FORMULAS: list[tuple[str, dict[str, Any]]] = [
    ("dydx_funding_index_delta", {"elapsed_s": 3600, "rate_8h_ppm": 100} | ORACLE),
    (
        "dydx_funding_tick",
        {"sample_duration_s": 60, "tick_duration_s": 3600, "samples_ppm_run_length": [[100, 60]]}
        | {"tail_removal_ppm": 0, "default_funding_8h_ppm": 0}
        | MARGINS
        | ORACLE,
    ),
    ("dydx_settlement_ppm", {"market_index_ppm": 5, "position_index_ppm": 2, "size_base": 9}),
    (
        "dydx_settle_account",
        {
            "usdc_quantums": 7,
            "positions": [{"perp": 1, "market_index_ppm": 5, "position_index_ppm": 2, "size_base": 9}],
        },
    ),
    ("dydx_trim_tails", {"samples": [3, 1, 2], "tail_removal_ppm": 400_000}),
    ("dydx_padded_median", {"nonzero_votes_ppm": [5, 7], "num_rounds": 3, "min_votes": 1}),
    ("dydx_int_median", {"values": [2, 1]}),
    ("dydx_int_mean", {"values": [2, 1]}),
    ("dydx_max_abs_rate", MARGINS),
    (
        "drift_rate_from_twaps",
        {"mark_twap": 11, "oracle_twap": 10, "offset_denominator": 5000, "max_spread_denominator": 33}
        | {"funding_period_s": 3600},
    ),
    ("drift_max_spread", {"oracle_twap": 100, "max_spread_denominator": 33}),
    (
        "drift_capped_symmetric",
        {"funding_rate_1e9": 10**9, "net_base_vs_protocol": -900, "long_base": 100, "short_base": -1000}
        | {"total_exchange_fee": 0, "fee_pool_total": 3},
    ),
    ("twap_step", {"updates": [[1, 5]], "excluded": [[2, 3]], "last_before": 3, "period_s": 10}),
    (
        "twap_difference_payment",
        {"internal_twap": "101", "external_twap": "100", "interest_enabled": True, "clamp_lower": "-0.1"}
        | {
            "clamp_upper": "0.1",
            "interest_rate_annual": "0.05",
            "year_fraction": "0.5",
            "active_fraction": "1",
        }
        | {"scaling": "1", "rate_lower": None, "rate_upper": "0.001", "truncate_payment_to_integer": True},
    ),
    (
        "published_example",
        {
            "kind": "dampened_rate_8h",
            "bid": "101",
            "index": "100",
            "interest": "0.0001",
            "dampener": "0.0005",
        },
    ),
    (
        "published_example",
        {"kind": "bitmex_cap", "factor": "0.75", "initial_margin": "0.01", "maintenance_margin": "0.005"},
    ),
    ("published_example", {"kind": "mid_premium_day", "mid": "101", "oracle": "100", "size": "2"}),
    ("published_example", {"kind": "impact_margin_notional", "margin_usdt": "200", "max_leverage": 20}),
    ("published_example", {"kind": "cumulative_index", "mark": ["3"], "index": ["1"], "divisor": 24}),
]


def _write(path: Path, *lines: str) -> str:
    path.write_text("\n".join([*lines, ""]))
    return str(path)


def funding(folder: Path) -> list[list[str]]:
    """A file of each venue, and Drift's sides."""
    hours = [DAY_S + 3600 * k for k in range(1, 25)]
    bars = [f"{(DAY_S + 3600 * k) * 1000},0.001,0,0,0.001,720" for k in range(8)]
    _write(folder / "x_premium_index_1h.csv", "open_time_ms,open,high,low,close,samples", *bars)
    files = [
        _write(folder / "h.csv", "time_s,funding_rate,premium_8dp", *(f"{h},0,0.001" for h in hours)),
        _write(
            folder / "x_funding_mark.csv",
            "calc_time_ms,funding_interval_hours,funding_rate,mark_price_open_at_funding_hour",
            f"{(DAY_S + 28_800) * 1000},8,0.0005,100",
        ),
        _write(folder / "m.csv", "timestamp,close,funding_rate", f"{DAY_S + 28_800}.0,100,0.0007"),
        _write(
            folder / "d.csv",
            "ts,fundingRate,oraclePriceTwap,markPriceTwap",
            *(f"{h},0.01,200,200.2" for h in hours),
        ),
    ]
    dex = _write(folder / "x.csv", "coin,time_s,funding_rate,premium_8dp", f"para:A,{hours[0]},0,0.0011")
    compared = [["funding", "--compare", file] for file in (*files, dex)]
    compared.append(["funding", "--compare", files[3], "--drift-sides", "100,900,0,0", "--json"])
    return compared + [["funding", "--calculate", name, json.dumps(given)] for name, given in FORMULAS]


def books(folder: Path) -> list[list[str]]:
    """A linear book, an inverse one, and a table of snapshots; every rule of premiums."""
    linear = str(orderbooks.write(folder, *orderbooks.CAPTURE[:6]))
    (folder / "inverse").mkdir()
    inverse = orderbooks.SNAPSHOT | {"symbol": "BTCUSD_PERP"}
    contracts = str(orderbooks.write(folder / "inverse", inverse))
    table = _write(
        folder / "table.csv",
        "symbol,local_timestamp,asks[0].price,asks[0].amount,bids[0].price,bids[0].amount",
        "X,1598918403810979,10.6,1,10.5,2.25",
    )
    shared = ["--notional", "4", "--index", "10.0"]
    return [["book", file, *shared] for file in (linear, contracts, table)] + [
        ["book", file, "--premium", rule, *shared] for rule in ("mid", "dydx") for file in (linear, contracts)
    ]


def audits(folder: Path) -> list[list[str]]:
    """A published table of each kind."""
    rows = "5,8.0,-3.0,4.5,0.5,1.0,1.0,0.1,0.1\n6,8.0,-3.0,4.5,0.5,1.25,1.25,0.25,0.25\n"
    states.write(folder, "x_positions.csv", states.POSITIONS + "1,a,0,5,-50,1\n1,b,0,-3,31,2\n")
    tables = [
        states.write(folder, "s.csv", states.SETTLEMENTS + "a,1,2,27100000000,-441904132,-443835215,52332\n"),
        states.write(folder, "m2.csv", states.SNAPSHOTS + rows),
        states.write(folder, "x_markets.csv", states.MARKETS + "1,0,5,-3,-19,3\n"),
    ]
    return [["audit", str(table)] for table in tables]


def margins(folder: Path) -> list[list[str]]:
    """The example of the command itself, and books in which a move of the marks liquidates some."""
    (folder / "journal").mkdir()
    write_journal(folder / "journal")
    compared = ["margin", "--compare", _write(folder / "account.json", json.dumps(EXAMPLE))]
    return [compared, ["margin", "--books", str(folder), "--move", "200"]]


def all_of(folder: Path) -> list[list[str]]:
    """Arguments of every command; all of them exit 0."""
    return [*funding(folder), *books(folder), *audits(folder), *margins(folder)]
