"""Further data of the same formats: other contracts, missing partners, damaged rows, other columns."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.files import write

HOUR_MS = 3_600_000
DAY_MS = 1_704_067_200_000
RATES = "calc_time_ms,funding_interval_hours,funding_rate,mark_price_open_at_funding_hour\n"
BARS = "open_time_ms,open,high,low,close,samples\n"


def bars(hours: range, low: str = "0.001", high: str = "0.001") -> bytes:
    rows = [f"{DAY_MS + HOUR_MS * h},{low},{high},{low},{high},720\n" for h in hours]
    return (BARS + "".join(rows)).encode()


def test_rows_without_a_rule_are_told_and_neither_pass_nor_fail(
    tmp_path: Path, outcome: Callable[..., tuple[int, list[str]]]
) -> None:
    """One payment of three has all its hours; of two exchanges one is known."""
    write(tmp_path, "binance_umx_premium_index_1h.csv.gz", gzip.compress(bars(range(8))))
    rates = RATES + "".join(f"{DAY_MS + 8 * k * HOUR_MS + 5},8,0.0005,9\n" for k in range(3))
    write(tmp_path, "binance_umx_funding_mark.csv", rates.encode())
    dexes = "coin,time_s,funding_rate,premium_8dp\nhyna:A,1704070800,0.0001,0.0011\n"
    write(tmp_path, "hl_hip3_funding.csv", f"{dexes}new:A,1704070800,5,0.0011\n".encode())
    assert outcome(tmp_path) == (
        0,
        [
            "market R3 hip-3 1/1 (godark funding --compare)",
            "market R8 binance 1/1 (godark funding --compare)",
            (
                "not covered: binance_umx_funding_mark.csv: 2 of its vectors: hours of premium are missing from the "
                "file beside it"
            ),
            (
                "not covered: binance_umx_premium_index_1h.csv.gz: premiums only: an input of market R8, where the "
                "funding file of the same contract lies beside it"
            ),
            "not covered: hl_hip3_funding.csv: 1 of its vectors: the multiplier of the exchange new is not known",
            "2 passed, 0 failed",
        ],
    )


def test_rates_without_their_premiums_are_not_covered(
    tmp_path: Path, outcome: Callable[..., tuple[int, list[str]]]
) -> None:
    write(tmp_path, "binance_um_funding_mark.csv", f"{RATES}{DAY_MS},8,0.0005,9\n".encode())
    status, lines = outcome(tmp_path)
    assert (status, lines[-1]) == (0, "0 passed, 0 failed")
    assert "R8 needs *_premium_index_1h beside" in lines[0]


@pytest.mark.parametrize(
    ("contract", "rate", "fits"),
    [
        ("NEWUSDT", "0.004", True),  # a round cap of a contract that we know nothing of
        ("NEWUSDT", "0.0041", False),
        ("NEWUSDT", "0.002", False),  # below any cap
        ("BTCUSDT", "0.004", False),  # its caps are known
        ("SOLUSDT", "0.0075", True),
    ],
)
def test_binance_s_caps(
    contract: str, rate: str, fits: bool, tmp_path: Path, outcome: Callable[..., tuple[int, list[str]]]
) -> None:
    """A premium of 1 % throughout: 0.95 % are due, unless capped."""
    write(tmp_path, f"binance_um_{contract}_premium_index_1h.csv", bars(range(8), "0.01", "0.01"))
    rows = f"{RATES}{DAY_MS + 8 * HOUR_MS},8,{rate},9\n"
    write(tmp_path, f"binance_um_{contract}_funding_mark.csv", rows.encode())
    assert outcome(tmp_path)[0] == (0 if fits else 1)


@pytest.mark.parametrize(
    ("contract", "rate", "fits"),
    [("SOL", "-0.25", True), ("SOL", "-0.4125", False), ("WIF", "-0.4125", True), ("WIF", "-0.825", True),
     ("WIF", "-0.825000001", False)],
)  # fmt: skip
def test_drift_s_tiers(
    contract: str, rate: str, fits: bool, tmp_path: Path, outcome: Callable[..., tuple[int, list[str]]]
) -> None:
    """A spread far below what a price of 198 admits: 6, 9.9 or 19.8 USD a day."""
    rows = f"ts,fundingRate,oraclePriceTwap,markPriceTwap\n1704070800,{rate},198,100\n"
    write(tmp_path, f"drift_funding_{contract}_PERP.csv", rows.encode())
    assert outcome(tmp_path)[0] == (0 if fits else 1)


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        (
            "hl_full_X.csv",
            "time_s,funding_rate,premium_8dp\n1704070800,0.0000125,0.0001\n1704074400,,0.0001\n",
            "hl_full_X.csv: row 2: '' is not a number",
        ),
        (
            "hl_full_X.csv",
            "premium_8dp,time_s,funding_rate\n",
            "hl_full_X.csv: malformed: it holds no vectors",
        ),
        (
            "driftv2_user_funding_settlements.csv",
            (
                "base_asset_amount_1e9,delta_cumulative_perp_funding_1e6_onchain,cum_funding_before_1e9,"
                "cum_funding_after_1e9\n1,0,0,0\n1,0,x,0\n"
            ),
            "driftv2_user_funding_settlements.csv: malformed: row 2: cum_funding_before_1e9: 'x' is not a number",
        ),
    ],
)
def test_a_wrong_row_is_a_failure_that_names_it(
    name: str, text: str, line: str, tmp_path: Path, outcome: Callable[..., tuple[int, list[str]]]
) -> None:
    write(tmp_path, name, text.encode())
    status, lines = outcome(tmp_path)
    assert status == 1
    assert f"  first mismatch: {line}" in lines


def test_a_byte_order_mark_and_other_columns_do_no_harm(
    tmp_path: Path, outcome: Callable[..., tuple[int, list[str]]]
) -> None:
    text = "\ufefftime_s,note,premium_8dp,funding_rate\r\n1704070800,x,0.0001,0.0000125\r\n"
    write(tmp_path, "hl_full_X.csv", text.encode())
    assert outcome(tmp_path) == (
        0,
        ["market R1 hyperliquid 1/1 (godark funding --compare)", "1 passed, 0 failed"],
    )
