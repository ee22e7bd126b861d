"""The funding families: all published rows match, a row that is off by one unit does not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.families import funding_market, funding_vectors
from tests.conformance.harness import REFUSED, run

SHARED = Path(os.environ.get("GODARK_SHARED", Path(__file__).parents[2].parent / "shared"))
DATA = SHARED / "data"
MARKET = {
    "market R1 hyperliquid": 50_738,
    "market R2 premium": 173,
    "market R3 hip-3": 55_137,
    "market R4 drift": 8_467,
    "market R8 binance": 9_451,
}


def test_every_published_vector_and_row_matches() -> None:
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is absent: set GODARK_SHARED to check against published data")
    files = [DATA / "funding-vectors", *(DATA / "market").glob("*fund*"), *(DATA / "market").glob("hl_full*")]
    files += (DATA / "market").glob("hl_asset*")
    tallies = run(files, [*funding_vectors.FAMILIES, *funding_market.FAMILIES]).tallies
    assert {name: tally.first_mismatch for name, tally in tallies.items() if tally.first_mismatch} == {}
    assert {name: tallies[name].matched for name in MARKET} == MARKET
    vectors = [tally for name, tally in tallies.items() if name not in MARKET]
    assert (sum(tally.matched for tally in vectors), sum(tally.refused for tally in vectors)) == (62, 1)


DAY_2024 = 1_704_067_200
UNCERTAIN = 1_689_400_800


@pytest.mark.parametrize(
    ("premium", "time_s", "published", "fits"),
    [
        ("0.0009943926", DAY_2024, "0.0000617991", True),
        ("0.0009943926", DAY_2024, "0.0000617992", False),
        ("0.0009943926", DAY_2024, "0.0000617990", False),
        # Any dampener of 0.03 % to 0.05 % may have been in force: 0.07 % / 8 to 0.05 % / 8.
        ("0.001", UNCERTAIN, "0.0000875", True),
        ("0.001", UNCERTAIN, "0.00007", True),
        ("0.001", UNCERTAIN, "0.0000625", True),
        ("0.001", UNCERTAIN, "0.0000624999", False),
        ("0.001", UNCERTAIN, "0.0000875001", False),
        ("0.001", UNCERTAIN - 12 * 3600, "0.000125", True),
        ("0.001", UNCERTAIN - 60 * 86_400, "0.0007", True),
    ],
)
def test_hyperliquid_rows(premium: str, time_s: int, published: str, fits: bool) -> None:
    row = {"premium": premium, "time": str(time_s * 1000 + 45), "funding_rate": published}
    assert (funding_market.check_hyperliquid((row, 50)) is None) == fits


@pytest.mark.parametrize(
    ("coin", "premium", "published", "fits"),
    [
        ("hyna:A", "0.0011", "0.0001", True),
        ("hyna:A", "0.0011", "0.0001000008", False),
        ("para:A", "0.0011", "0.00006", True),
        ("para:A", "0.0011", "0.0001", False),
        ("hyna:A", "0.0", "0.0", True),
        ("hyna:A", "0.0", "0.0000125", True),
        ("hyna:A", "0.5", "0.04", True),
        ("hyna:A", "-0.5", "-0.04", True),
        ("hyna:A", "0.5", "0.05", False),
    ],
)
def test_hip3_rows(coin: str, premium: str, published: str, fits: bool) -> None:
    row = {"coin": coin, "premium_8dp": premium, "funding_rate": published}
    assert (funding_market.check_hip3(row) is None) == fits


@pytest.mark.parametrize(
    ("dex", "bid", "ask", "published", "fits"),
    [
        ("main", "101", "102", "0.01", True),
        ("main", "98", "99", "-0.01", True),
        ("main", "99", "101", "0", True),
        ("main", "101", "102", "0.0100000001", False),
        ("xyz", "101", "102", "0.015", True),
        ("xyz", "101", "102", "0.01", False),
    ],
)
def test_premium_rows(dex: str, bid: str, ask: str, published: str, fits: bool) -> None:
    row = {"dex": dex, "impact_bid_px": bid, "impact_ask_px": ask, "oracle_px": "100", "premium": published}
    assert (funding_market.check_premium(row) is None) == fits


def test_drift_rows_match_to_the_unit() -> None:
    row = {"markPriceTwap": "84.652352", "oraclePriceTwap": "84.693889", "fundingRate": "-0.001024958"}
    assert funding_market.check_drift((row, (33,))) is None
    assert funding_market.check_drift((row | {"fundingRate": "-0.001024959"}, (33,))) is not None


def test_a_binance_row_lies_between_its_bars() -> None:
    bars = [{"low": "0.0010", "high": "0.0020"}] * 8
    for published, fits in (("0.0005", True), ("0.0015", True), ("0.00049", False), ("0.00151", False)):
        assert (funding_market.check_binance((8, published, bars, "BTC")) is None) == fits


VALUES: list[tuple[str, dict[str, Any], dict[str, Any], Any]] = [
    ("dydx_int_mean", {"values": [1, 2]}, {"mean": 1}, None),
    ("dydx_int_mean", {"values": [2**63]}, {"mean": 2**63}, REFUSED),
    ("dydx_int_mean", {"values": []}, {"error": True}, REFUSED),
    ("dydx_int_mean", {"values": [1]}, {"error": True}, "answered, must be refused"),
    ("dydx_int_mean", {"values": []}, {"mean": 0}, "refused: no answer fits in 64 bits"),
    ("dydx_int_mean", {"values": [1, 2]}, {"mean": 2}, "mean: published 2, ours 1"),
    ("dydx_trim_tails", {"samples": [2, 1], "tail_removal_ppm": 0}, {"kept": [1, 2]}, "kept: published"),
    (
        "twap_step",
        {"period_s": 4, "last_before": 3, "updates": [[2, 4]], "excluded": []},
        {"twap_num": 7, "twap_den": 2},
        None,
    ),
]


@pytest.mark.parametrize(("formula", "inputs", "expected", "outcome"), VALUES)
def test_vectors(formula: str, inputs: dict[str, Any], expected: dict[str, Any], outcome: Any) -> None:
    got = funding_vectors.check((formula, inputs, expected))
    if isinstance(outcome, str):
        assert isinstance(got, str) and got.startswith(outcome)
    else:
        assert got is outcome
