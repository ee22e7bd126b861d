from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.common.errors import InputFileError
from engine.venue.binance_raw import linear_size
from engine.venue.recording import load

CM = "binance_cm_btcusd_perp_raw_20240808.ndjson.gz"
BOOK = '1723161256172216566 {"stream":"btcusd_perp@depth@0ms","data":{"e":"depthUpdate"}}'


def line(**changes: object) -> str:
    trade = {"e": "trade", "T": 1723161257679, "s": "BTCUSD_PERP", "t": 849714402, "p": "61804.8"}
    trade |= {"q": "4", "X": "MARKET", "m": False} | changes
    return "1723161256419684465 " + json.dumps({"stream": "btcusd_perp@trade", "data": trade})


def write(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "raw.ndjson"
    path.write_text("\n".join(lines) + "\n")
    return path


@given(st.integers(1, 10**6), st.integers(1, 10**8), st.integers(0, 4))
def test_contracts_turn_linear_half_even(contracts: int, price: int, decimals: int) -> None:
    exact = Fraction(100 * contracts * 10**6 * 10**decimals, price)
    assert linear_size((contracts, 0), price, decimals, 100, 6) == round(exact)


def test_ties_go_to_even() -> None:
    # 100 * 1e6 * q / p = q / 2 at p = 2e8
    assert [linear_size((q, 0), 2 * 10**8, 0, 100, 6) for q in (1, 3, 5)] == [0, 2, 2]


def test_trades_are_taken_and_the_rest_is_skipped(tmp_path: Path) -> None:
    recording = load(write(tmp_path, BOOK, line(), BOOK, line(m=True, q="10"), BOOK), seed=1)
    assert recording.markets == [("BTCUSD_PERP", 6, 9)]
    assert recording.trades["size"].tolist() == [6472, -16180]  # 100 * 4 / 61804.8 = 0.00647199...
    assert recording.trades["price"].tolist() == [61_804_800] * 2
    assert recording.trades["time_ns"].tolist() == [1723161257679000000] * 2
    assert any("inverse contracts of 100 USD turned linear" in remark for remark in recording.remarks)


@pytest.mark.parametrize(
    ("price", "lot_exp", "lots"),
    [("2650.12", 5, 1509), ("142.5", 4, 2807), ("0.5", 1, 800), ("0.004", 0, 10000)],
)
def test_other_coins_have_contracts_of_10_usd(tmp_path: Path, price: str, lot_exp: int, lots: int) -> None:
    recording = load(write(tmp_path, line(s="ETHUSD_PERP", p=price, q="4")), seed=1)
    assert recording.markets[0].lot_exp == lot_exp
    assert recording.trades["size"].tolist() == [lots]
    assert any("contracts of 10 USD" in remark for remark in recording.remarks)


def test_lines_out_of_time_order_are_replayed_in_it(tmp_path: Path) -> None:
    recording = load(write(tmp_path, line(t=1), line(T=1723161257678, t=2), line(t=3)), seed=1)
    assert recording.trades["trade_id"].tolist() == [2, 1, 3]
    assert any("1 rows stand behind later ones" in remark for remark in recording.remarks)


def test_a_linear_market_keeps_its_size(tmp_path: Path) -> None:
    recording = load(write(tmp_path, line(s="BTCUSDT", p="24670.90", q="0.070")), seed=1)
    assert recording.trades["size"].tolist() == [7]
    assert recording.markets[0].lot_exp == 2
    assert not any("inverse" in remark for remark in recording.remarks)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("nonsense", "is not a line of"),
        ("", "is not a line of"),
        (line()[:-1], "is not JSON"),
        (line(p=61804.8), "is not a trade"),
        (line(m="false"), "is not a trade"),
        (line(p="-1"), "p: '-1' is negative"),
        (line(q="0"), "q: is zero"),
        (line(q="NaN"), "q: 'NaN' is not a number"),
        (line(t=-1), "t: -1 is not a trade id"),
        (line(T=-5), "'-5' is not a whole number"),
        (line(T=1723161257679000), "is not a time between 1970 and 2100"),
        (line(q="99999999999999999"), "more than can be kept"),
        (line(p="999999999999999"), "less than half of 1e-6"),
        (line(p="5"), "price 5 is off scale"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, bad: str, reason: str) -> None:
    with pytest.raises(InputFileError) as caught:
        load(write(tmp_path, BOOK, line(), bad, line()), seed=1)
    assert caught.value.context["row"] == 3
    assert reason in caught.value.line()


def test_no_trades_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="has no trades in its 2 lines"):
        load(write(tmp_path, BOOK, BOOK), seed=1)


def test_the_placeholder_of_no_trade_is_skipped(tmp_path: Path) -> None:
    assert load(write(tmp_path, line(X="NA", p="0", q="0"), line()), seed=1).rows == 1


def test_the_recorded_file(market_file: Callable[[str], Path]) -> None:
    path = market_file(CM)
    recording = load(path, seed=7)
    with gzip.open(path, "rt") as text:
        said = [json.loads(raw.split(" ", 1)[1])["data"] for raw in text if '@trade"' in raw]
    assert recording.rows == len(said) == 2_286
    for trade, row in zip(recording.trades, said, strict=True):
        exact = Fraction(100 * 10**6 * int(row["q"])) / Fraction(row["p"])
        assert int(trade["size"]) == round(exact) * (-1 if row["m"] else 1)
        assert Fraction(int(trade["price"]), 10**3) == Fraction(row["p"])
        assert (int(trade["trade_id"]), int(trade["time_ns"])) == (row["t"], row["T"] * 10**6)
