"""`godark funding`: sums worked out here from small files, pictures, formulas, and wrong input in one line."""

from __future__ import annotations

import gzip
import json
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from engine.app.cli import execute
from engine.app.funding_calculator import FORMULAS, Refused, calculate
from engine.app.funding_compare import charged_by, compare
from engine.app.funding_drift import charged_by_sides, parse_imbalance
from engine.app.funding_file import read_stretch
from engine.app.funding_picture import rounds
from kernels.profiles import Profile

SHARED = Path(os.environ.get("GODARK_SHARED", Path(__file__).parents[3].parent / "shared"))
MARKET = SHARED / "data" / "market"
EIGHT = 1_704_067_200
"""Midnight, 1 January 2024: Hyperliquid's dampener is 0.05 %."""


def write(path: Path, *lines: str) -> Path:
    text = "\n".join([*lines, ""]).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def hourly(path: Path, premiums: list[str], first_s: int = EIGHT + 3600) -> Path:
    rows = [f"{first_s + 3600 * k},0.0000125,{premium}" for k, premium in enumerate(premiums)]
    return write(path, "time_s,funding_rate,premium_8dp", *rows)


def by_name(file: Path, coin: str | None = None) -> dict[str, Any]:
    return {row.name: row for row in compare(read_stretch(file, coin), coin)}


def test_a_day_of_one_premium_charges_what_each_rule_says(tmp_path: Path) -> None:
    """Premium 0.1 % throughout, three times eight hours."""
    rows = by_name(hourly(tmp_path / "day.csv", ["0.001"] * 24))
    interest, dampened = 10**8, 10**9 - 5 * 10**8
    expected = {
        "GoDark": 3 * (10**9 + interest),
        "Hyperliquid": 3 * dampened,
        "Binance": 3 * dampened,
        "BitMEX": 2 * dampened,
        "dYdX v4": 3 * 10**9,
        "Drift": 10**9 + 2 * interest,
        "Hyperliquid, published": 24 * 12_500_000,
    }
    assert {name: row.sum_e12 for name, row in rows.items()} == expected
    assert {row.hours for row in rows.values()} == {24}
    assert rows["dYdX v4"].mean_8h_e12 == rows["dYdX v4"].max_8h_e12 == 10**9
    assert rows["GoDark"].coin_e10 is None


def test_weights_rise_within_eight_hours(tmp_path: Path) -> None:
    late = by_name(hourly(tmp_path / "late.csv", ["0"] * 4 + ["0.002"] * 4))
    early = by_name(hourly(tmp_path / "early.csv", ["0.002"] * 4 + ["0"] * 4))
    assert late["dYdX v4"].sum_e12 == early["dYdX v4"].sum_e12
    assert late["Binance"].sum_e12 > early["Binance"].sum_e12


def test_an_hour_that_is_absent_charges_nothing(tmp_path: Path) -> None:
    lines = hourly(tmp_path / "whole.csv", ["0.001"] * 8).read_text().splitlines()
    rows = by_name(write(tmp_path / "gap.csv.gz", *lines[:4], *lines[5:]))
    assert rows["dYdX v4"].sum_e12 == 7 * 10**9 // 8
    assert rows["dYdX v4"].hours == 8


def test_hyperliquid_changes_its_rule_over_time(tmp_path: Path) -> None:
    """A dampener of 0.03 % until 11 December 2023, 23:00, of 0.05 % after."""
    rows = by_name(hourly(tmp_path / "turn.csv", ["0.001"] * 4, 1_702_335_600 - 2 * 3600))
    assert rows["Hyperliquid"].sum_e12 == (2 * 7 + 2 * 5) * 10**8 // 8


def test_an_exchange_on_hyperliquid_has_a_multiplier(tmp_path: Path) -> None:
    coins = ("hyna:A", "para:A")
    lines = [f"{coin},{EIGHT + 3600},0,0.0011" for coin in coins]
    file = write(tmp_path / "dexes.csv", "coin,time_s,funding_rate,premium_8dp", *lines)
    sums = [by_name(file, coin)["Hyperliquid"].sum_e12 for coin in coins]
    assert sums == [8 * 10**8 // 8, 48 * 10**7 // 8]
    alone = write(tmp_path / "alone.csv", "coin,time_s,funding_rate,premium_8dp", lines[1])
    assert by_name(alone)["Hyperliquid"].sum_e12 == sums[1]


def test_prices_give_a_sum_per_coin(tmp_path: Path) -> None:
    file = write(
        tmp_path / "drift.csv",
        "ts,fundingRate,oraclePriceTwap,markPriceTwap",
        *(f"{EIGHT + 3608 * k},0.0125,200,200.2" for k in range(1, 9)),
    )
    rows = by_name(file)
    assert rows["dYdX v4"].sum_e12 == 10**9
    assert rows["dYdX v4"].coin_e10 == 2 * 10**9
    assert rows["Drift, published"].sum_e12 == 8 * 62_500_000


def averages(path: Path, hours: list[tuple[str, str, str]]) -> Path:
    rows = [f"{EIGHT + 3600 * k},{rate},{oracle},{mark}" for k, (rate, oracle, mark) in enumerate(hours, 1)]
    return write(path, "ts,fundingRate,oraclePriceTwap,markPriceTwap", *rows)


def test_drift_is_charged_in_its_own_steps(tmp_path: Path) -> None:
    """(200.5 - 200 + 200 / 5000) / 24 and, past 1/33 of the price, 190 // 33 / 24, both cut to 1e-9."""
    file = averages(tmp_path / "d.csv", [("0.0225", "200", "200.5"), ("-0.239898958", "190", "170.000001")])
    ours, theirs = by_name(file)["Drift"], by_name(file)["Drift, published"]
    rates_e9 = 22_500_000, -(190 * 10**6 // 33 * 1000 // 24)
    assert ours.coin_e10 == 10 * sum(rates_e9)
    assert ours.sum_e12 == theirs.sum_e12 == 112_500_000 - 239_898_958 * 10**12 // (190 * 10**9)
    assert ours.hours == 2


def test_drift_receivers_get_what_the_pool_can_bear(tmp_path: Path) -> None:
    """Longs of 100 pay 0.0225 each; shorts of 900 share that and, in the first hour, a third of 3 USD."""
    file = averages(tmp_path / "d.csv", [("0.0225", "200", "200.5")] * 2)
    (longs, shorts), note = charged_by_sides(read_stretch(file), parse_imbalance("100,900,3,0"))
    paid_e6 = 100 * 22_500
    first = (paid_e6 + 10**6 - 1) * 10**12 // (900 * 10**9)
    second = (paid_e6 + 2 * 10**6 // 3 - 1) * 10**12 // (900 * 10**9)
    assert longs.coin_e10 == 2 * 22_500_000 * 10
    assert shorts.coin_e10 == (first + second) * 10
    assert "in 2 of 2 hours" in note and "from 3.00 to 1.33 USD" in note
    (longs, shorts), note = charged_by_sides(read_stretch(file), parse_imbalance("100,900,3000,0"))
    assert longs.line == shorts.line and "in 0 of 2 hours" in note


def test_drift_sides_of_a_file_of_another_venue_use_its_prices(tmp_path: Path) -> None:
    rows = [f"{EIGHT + 28_800 * k}.0,100,0.0007" for k in (1, 2)]
    file = write(tmp_path / "b.csv", "timestamp,close,funding_rate", *rows)
    (longs, _), _ = charged_by_sides(read_stretch(file), parse_imbalance("1,1,0,0"))
    assert longs.hours == 16
    # A premium of 0.12 % of 100, and 100 / 5000, over 24: USD per coin and hour.
    assert longs.coin_e10 == 16 * (140_000 * 1000 // 24) * 10


def test_hours_without_a_premium_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = hourly(tmp_path / "whole.csv", ["0.001"] * 8).read_text().splitlines()
    file = write(tmp_path / "gap.csv", *lines[:4], *lines[6:])
    assert execute(["funding", "--compare", str(file)]) == 0
    text = capsys.readouterr().out
    assert "gap.csv: Hyperliquid, 2024-01-01 00:00 to 2024-01-01 08:00 UTC, 8 hours" in text
    assert "known in 6 hours, missing from 2024-01-01 03:00 (2 h)\n" in text
    assert "+ longs pay shorts" in text
    assert "the file has no prices" in text
    assert execute(["funding", "--compare", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["missing"] == [{"first_hour": EIGHT // 3600 + 3, "hours": 2}]


@pytest.mark.parametrize(
    ("low", "high", "levels"),
    [
        (0, 0, [0]),
        (-3, 4, [-2, 0, 2, 4]),
        (0, 7 * 10**10, [k * 2 * 10**10 for k in range(4)]),
        (-13 * 10**11, 3 * 10**11, [-10 * 10**11, -5 * 10**11, 0]),
    ],
)
def test_levels_of_a_picture_are_round(low: int, high: int, levels: list[int]) -> None:
    assert rounds(low, high) == levels


def test_binance_needs_both_files(tmp_path: Path) -> None:
    bars = [f"{(EIGHT + 3600 * k) * 1000},0.001,0,0,0.001,720" for k in range(8)]
    write(tmp_path / "x_premium_index_1h.csv", "open_time_ms,open,high,low,close,samples", *bars)
    header = "calc_time_ms,funding_interval_hours,funding_rate,mark_price_open_at_funding_hour"
    file = write(tmp_path / "x_funding_mark.csv", header, f"{(EIGHT + 28_800) * 1000 + 7},8,0.0005,100")
    rows = by_name(file)
    assert rows["Binance"].sum_e12 == rows["Binance, published"].sum_e12 == 5 * 10**8
    assert rows["Binance"].coin_e10 == 5 * 10**8


def test_bitmex_premium_is_the_one_its_rate_came_from(tmp_path: Path) -> None:
    rates = ("0.0001", "0.0007", "-0.0002")
    rows = [f"{EIGHT + 28_800 * k}.0,100,{rate}" for k, rate in enumerate(rates)]
    file = write(tmp_path / "b.csv", "timestamp,close,funding_rate", *rows)
    stretch = read_stretch(file)
    assert stretch.premium_e12[::8].tolist() == [10**8, 12 * 10**8, -7 * 10**8]
    assert [n for _, n in charged_by(Profile.BITMEX, stretch).line] == [0, 10**8, 8 * 10**8]


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        (["a,b", "1,2"], "its columns (a, b)"),
        ([], "its columns (none)"),
        (["time_s,funding_rate,premium_8dp"], "it has no rows"),
        (["time_s,funding_rate,premium_8dp", "1,2"], "row 1: 2 columns, the header has 3"),
        (["time_s,funding_rate,premium_8dp", "1,2,3", "1,2,x"], "row 2: 'x' is not a number"),
        (["time_s,funding_rate,premium_8dp", "1,2,1e99"], "row 1: 1e99 is out of range"),
        (["time_s,funding_rate,premium_8dp", "1,2,NaN"], "row 1: NaN is out of range"),
        (["time_s,funding_rate,premium_8dp", "0,2,3", "9999999999,2,3"], "reach over"),
        (["coin,time_s,funding_rate,premium_8dp", "A,1,2,3", "B,1,2,3"], "choose one with --coin"),
        (["open_time_ms,open,close", "1,2,3"], "come as a pair"),
        (["ts,fundingRate,oraclePriceTwap,markPriceTwap", "1,2,0,4"], "oraclePriceTwap is not positive"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(
    lines: list[str], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "wrong.csv", *lines)
    assert execute(["funding", "--compare", str(file)]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and word in told.err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "--compare FILE"),
        (["--compare", "absent.csv"], "cannot be read"),
        (["--compare", "absent.csv", "--calculate", "dydx_int_mean"], "name one file"),
        (["--compare", "absent.csv", "--picture", "a.bmp"], "saved as .svg"),
        (["--compare", "absent.csv", "--drift-sides", "1,2,3"], "give LONGS,SHORTS,POOL,FEES"),
        (["--compare", "absent.csv", "--drift-sides", "1,2,3,x"], "'x' is not a decimal"),
        (["--compare", "absent.csv", "--drift-sides", "1,-2,3,0"], "no number is below 0"),
        (["--calculate", "nonsense", "{}"], "no formula 'nonsense'"),
        (["--calculate", "dydx_int_mean", "{"], "not JSON"),
        (["--calculate", "dydx_int_mean", "[]"], "not a JSON object"),
        (["--calculate", "dydx_int_mean"], "not JSON"),
        (["--calculate", "dydx_int_mean", "{}"], "the field values is missing"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["funding", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and word in told.err


def test_text_json_and_picture_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, drawn = hourly(tmp_path / "day.csv", ["0.001"] * 24), tmp_path / "day.svg"
    assert execute(["funding", "--compare", str(file), "--picture", str(drawn)]) == 0
    text = capsys.readouterr().out
    assert execute(["funding", "--compare", str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    names = [row["name"] for row in told["rules"]]
    assert names == [
        "GoDark",
        "Hyperliquid",
        "Binance",
        "BitMEX",
        "dYdX v4",
        "Drift",
        "Hyperliquid, published",
    ]
    assert all(f"{row['sum_e12'] / 10**10:+.6f} %" in text for row in told["rules"])
    picture = ElementTree.fromstring(drawn.read_text())
    words = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert set(names) <= set(words)
    assert any(word and "day.csv" in word for word in words)


def test_drift_sides_need_prices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = hourly(tmp_path / "day.csv", ["0.001"])
    assert execute(["funding", "--compare", str(file), "--drift-sides", "1,1,0,0"]) == 2
    assert "has no prices" in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = hourly(tmp_path / "day.csv", ["0.001"])
    assert execute(["funding", "--compare", str(file), "--picture", str(tmp_path / "no" / "a.svg")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_formula_answers_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["funding", "--calculate", "dydx_int_median", '{"values": [1, 2]}']) == 0
    assert json.loads(capsys.readouterr().out) == {"median": 2}
    assert execute(["funding", "--calculate", "list"]) == 0
    assert capsys.readouterr().out.split() == list(FORMULAS)


BEYOND = 2**63
REFUSALS: list[tuple[str, dict[str, Any]]] = [
    ("dydx_int_mean", {"values": [BEYOND]}),
    ("dydx_int_mean", {"values": []}),
    ("dydx_int_mean", {"values": [True]}),
    ("dydx_int_mean", {"values": ["1"]}),
    ("dydx_int_median", {"values": [-BEYOND - 1]}),
    ("dydx_settlement_ppm", {"market_index_ppm": 2**62, "position_index_ppm": 0, "size_base": 4}),
    ("dydx_trim_tails", {"samples": [1], "tail_removal_ppm": 10**6 + 1}),
    ("dydx_padded_median", {"num_rounds": 10**7, "min_votes": 0, "nonzero_votes_ppm": []}),
    (
        "dydx_settle_account",
        {
            "usdc_quantums": BEYOND - 1,
            "positions": [
                {"perp": 0, "size_base": -1, "position_index_ppm": 0, "market_index_ppm": 10**6},
            ],
        },
    ),
    ("drift_max_spread", {"oracle_twap": 1, "max_spread_denominator": 0}),
    ("published_example", {"kind": "unheard"}),
    (
        "published_example",
        {"kind": "bitmex_cap", "factor": "x", "initial_margin": "1", "maintenance_margin": "0"},
    ),
    ("twap_step", {"period_s": 2, "last_before": BEYOND - 1, "updates": [], "excluded": []}),
]


@pytest.mark.parametrize(("formula", "inputs"), REFUSALS)
def test_what_does_not_fit_is_refused(formula: str, inputs: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        calculate(formula, inputs)


@pytest.mark.parametrize(
    ("inputs", "answer"),
    [
        (
            {
                "kind": "dampened_rate_8h",
                "bid": "101",
                "index": "100",
                "interest": "0.0001",
                "dampener": "0.0005",
            },
            {"premium": "0.01", "rate": "0.0095", "rate_8h": "0.0095"},
        ),
        (
            {"kind": "mid_premium_day", "mid": "101", "oracle": "100", "size": "2"},
            {"rate": "0.01", "balance_change": "-2"},
        ),
    ],
)
def test_worked_examples(inputs: dict[str, Any], answer: dict[str, str]) -> None:
    assert calculate("published_example", inputs) == answer


@pytest.mark.parametrize(
    ("name", "rule", "per_row_e12"),
    [
        ("hl_funding_BTC_2024_2025.csv.gz", Profile.HYPERLIQUID, 1),
        ("hl_full_HYPE_2024_2026.csv.gz", Profile.HYPERLIQUID, 100),
        ("drift_funding_SOL_PERP.csv.gz", Profile.DRIFT, 0),
    ],
)
def test_published_sums(name: str, rule: Profile, per_row_e12: int) -> None:
    """A venue's own rule comes to what it published; Drift's to the unit."""
    if not (MARKET / name).is_file():
        pytest.skip(f"{MARKET / name} is absent: set GODARK_SHARED to check against published data")
    stretch = read_stretch(MARKET / name)
    ours, theirs = compare(stretch)[rule], compare(stretch)[-1]
    assert abs(ours.sum_e12 - theirs.sum_e12) <= per_row_e12 * len(stretch.published)
