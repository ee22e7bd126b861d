from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from engine.common.errors import InputFileError
from engine.venue.hl_trades import MARKET_MAKER_KEY
from engine.venue.recording import Recording, fills_from_text, load, read_lines

from .conftest import HL_HEADER, USERS

HL = "hl_non_mm_trades_2023.csv.gz"
UM = "binance_um_BTCUSDT_trades_20200222_a.csv.gz"
UM_HEADER = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount"
GOOD = f"2023-02-27T22:22:46Z,{USERS[0]},ARB,Bid,1.5,10,true"


def test_the_four_roles_of_a_user(hl_file: Callable[..., Path]) -> None:
    rows = [
        f"2023-02-27T22:22:46Z,{USERS[0]},ARB,{side},1.5,10,{crossed}"
        for side in ("Bid", "Ask")
        for crossed in ("true", "false")
    ]
    trades = load(hl_file(*rows), seed=1).trades
    roles = [(int(t["maker"]), int(t["taker"]), int(t["size"])) for t in trades]
    assert roles == [(1, 2, 10), (2, 1, -10), (1, 2, -10), (2, 1, 10)]


def test_a_small_recording(small: Recording) -> None:
    assert [tuple(plan) for plan in small.markets] == [("SOL", 2, 9), ("ARB", 0, 8)]
    assert small.accounts == [MARKET_MAKER_KEY, *(bytes(12) + bytes.fromhex(user[2:]) for user in USERS)]
    assert small.rows == len(small.trades) == 8
    assert small.trades["size"].tolist() == [150, -200, -100, 25, 25, -40, -40, 300]
    assert small.trades["price"][:3].tolist() == [205_000_000, 206_000_000, 131_570_000]
    assert small.trades["trade_id"].tolist() == list(range(1, 9))
    assert int(small.trades["time_ns"][1]) % 10**9 == 500_000_000
    assert small.format == "hl_non_mm_trades"


def test_columns_may_stand_in_any_order_with_others_between(hl_file: Callable[..., Path]) -> None:
    path = hl_file(
        f"x,true,10,1.5,Bid,ARB,{USERS[0]},2023-02-27T22:22:46Z", header="n,crossed,sz,px,side,coin,user,time"
    )
    assert load(path, seed=1).trades["size"].tolist() == [10]


def test_gzip_is_known_by_its_bytes_and_not_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "trades.csv"
    path.write_bytes(gzip.compress(f"{HL_HEADER}\r\n{GOOD}\r\n".encode()))
    assert load(path, seed=1).rows == 1


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("quoted", [True, False])
def test_line_ends_and_quotes_do_not_matter(tmp_path: Path, end: str, last: bool, quoted: bool) -> None:
    rows = [GOOD.replace("ARB", '"ARB"') if quoted else GOOD] * 2500
    path = tmp_path / "trades.csv"
    path.write_bytes((end.join([HL_HEADER, *rows]) + (end if last else "")).encode())
    recording = load(path, seed=1)
    assert recording.rows == 2500
    assert recording.markets[0].symbol == "ARB"


def test_a_field_short_is_not_made_up_by_one_too_many_below(hl_file: Callable[..., Path]) -> None:
    path = hl_file(GOOD, GOOD.removesuffix(",true"), GOOD + ",true", GOOD)
    with pytest.raises(InputFileError, match="row 2: has 6 fields"):
        load(path, seed=1)


def test_a_blank_line_is_not_a_row(hl_file: Callable[..., Path]) -> None:
    with pytest.raises(InputFileError, match="row 2: has 1 fields"):
        load(hl_file(GOOD, "", GOOD), seed=1)


def test_equal_rows_are_fills_of_their_own(hl_file: Callable[..., Path]) -> None:
    assert load(hl_file(GOOD, GOOD, GOOD), seed=1).rows == 3


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("1.5", "NaN", "px: 'NaN' is not a number"),
        ("1.5", "1e1", "px: '1e1' has an exponent"),
        ("1.5", "-1.5", "px: '-1.5' is negative"),
        ("1.5", "0", "px: is zero"),
        ("1.5", "", "px: is empty"),
        (",10,", ",ten,", "sz: 'ten' is not a decimal number"),
        (",10,", ",0.0,", "sz: is zero"),
        (",10,", ",90000000000000000,", "size 90000000000000000 is off scale"),
        ("1.5", "1.123456789", "price 1.123456789 is off scale"),
        ("1.5", "0.01", "price 0.01 is off scale"),
        ("1.5", "1500", "price 1500 is off scale"),
        ("Bid", "bid", "side: 'bid' is not a known side (Bid or Ask)"),
        ("true", "yes", "crossed: 'yes' is not a known flag"),
        (USERS[0], "0x12", "user: '0x12' is not an address"),
        ("2023-02-27T22:22:46Z", "1677536566", "time: '1677536566' is not a UTC time"),
        (",true", "", "has 6 fields, the header has 7"),
        (",true", ",true,", "has 8 fields, the header has 7"),
        ("ARB", "A RB", "coin: 'A RB' is not a symbol"),
        ("ARB", '"A"RB', "is not CSV"),
    ],
)
def test_a_bad_row_is_named_with_its_reason(
    hl_file: Callable[..., Path], old: str, new: str, reason: str
) -> None:
    path = hl_file(*[GOOD] * 3000, GOOD.replace(old, new, 1), GOOD)
    with pytest.raises(InputFileError) as caught:
        load(path, seed=1)
    assert caught.value.context["row"] == 3001
    assert reason in caught.value.line()
    assert caught.value.line().startswith(f"{path}: row 3001: ")


def test_the_first_of_two_bad_rows_is_the_one_named(hl_file: Callable[..., Path]) -> None:
    path = hl_file(GOOD, GOOD.replace(",10,", ",x,"), GOOD.replace("Bid", "Buy"))
    with pytest.raises(InputFileError, match="row 2: sz"):
        load(path, seed=1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "is empty"),
        (HL_HEADER.encode() + b"\n", "has a header but no rows"),
        (
            b"time,user,coin,side,px,crossed\n",
            "misses the column sz; found: time, user, coin, side, px, crossed",
        ),
        (HL_HEADER.encode() + b",px\n" + GOOD.encode() + b",1\n", "has the column px twice"),
        (b"a,b,c\n1,2,3\n", "is in no known trade format; found: a,b,c"),
        (b"\n\n", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
    ],
)
def test_a_file_without_trades_is_refused(tmp_path: Path, text: bytes, reason: str) -> None:
    path = tmp_path / "trades.csv"
    path.write_bytes(text)
    with pytest.raises(InputFileError, match=re.escape(reason)):
        load(path, seed=1)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InputFileError, match="cannot be read"):
            load(path, seed=1)


def test_bytes_that_are_not_utf8_are_placed(tmp_path: Path) -> None:
    path = tmp_path / "trades.csv"
    rows = [GOOD.encode()] * 500
    rows[399] = rows[399].replace(b"ARB", b"AR\xff")
    path.write_bytes(b"\n".join([HL_HEADER.encode(), *rows, b""]))
    with pytest.raises(InputFileError, match="row 400: is not UTF-8"):
        load(path, seed=1)


def test_gzip_that_ends_early_or_is_damaged(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [GOOD.replace(",10,", f",{n},") for n in rng.integers(1, 10**9, 3000)]
    packed = gzip.compress("\n".join([HL_HEADER, *rows, ""]).encode())
    path = tmp_path / "trades.csv.gz"
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(InputFileError, match="cut short") as caught:
        load(path, seed=1)
    assert 1 <= int(str(caught.value.context["row"])) < 3000
    path.write_bytes(packed[:-8] + b"\0" * 8)
    with pytest.raises(InputFileError, match="damaged gzip"):
        load(path, seed=1)


def test_the_tardis_layout(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [
        "binance-futures,BTCUSDT,1582329602111000,1582329602418379,42377944,buy,9682,0.132",
        "binance-futures,BTCUSDT,1582329602111000,1582329602418379,42377944,sell,9682.07,1.0",
    ]
    path.write_text("\n".join([UM_HEADER, *rows]))
    recording = load(path, seed=3)
    assert recording.markets == [("BTCUSDT", 3, 7)]
    assert recording.trades["size"].tolist() == [132, -1000]
    assert recording.trades["price"].tolist() == [96_820_000, 96_820_700]
    assert recording.trades["trade_id"].tolist() == [42377944] * 2
    assert recording.trades["time_ns"].tolist() == [1582329602111000000] * 2
    assert len(recording.accounts) == 64
    path.write_text("\n".join([UM_HEADER, *rows]).replace("sell", "unknown"))
    with pytest.raises(InputFileError, match="row 2: side: 'unknown'"):
        load(path, seed=3)
    path.write_text("\n".join([UM_HEADER, *rows]).replace("binance-futures", "bitmex"))
    with pytest.raises(InputFileError, match="row 1: exchange: 'bitmex'"):
        load(path, seed=3)


@pytest.mark.parametrize(("name", "price", "size"), [(HL, "px", "sz"), (UM, "price", "amount")])
def test_recorded_files_agree_with_decimal_arithmetic(
    market_file: Callable[[str], Path], name: str, price: str, size: str
) -> None:
    path = market_file(name)
    recording = load(path, seed=7)
    with gzip.open(path, "rt") as text:
        rows = list(csv.DictReader(text))
    assert recording.rows == len(rows) == {HL: 23_262, UM: 4_999}[name]
    for row, trade in zip(rows, recording.trades, strict=True):
        plan = recording.markets[int(trade["market"])]
        assert plan.symbol == row.get("coin", row.get("symbol"))
        assert Decimal(int(trade["price"])).scaleb(plan.lot_exp - plan.price_exp) == Decimal(row[price])
        assert Decimal(abs(int(trade["size"]))).scaleb(-plan.lot_exp) == Decimal(row[size])
    assert (np.diff(recording.trades["time_ns"]) >= 0).all()
    assert (recording.trades["maker"] != recording.trades["taker"]).all()
    assert max(recording.trades["maker"].max(), recording.trades["taker"].max()) <= len(recording.accounts)


def test_parsing_again_gives_the_same_trades(market_file: Callable[[str], Path]) -> None:
    for name in (HL, UM, "binance_cm_btcusd_perp_raw_20240808.ndjson.gz"):
        recording = load(market_file(name), seed=7)
        again = np.concatenate(list(fills_from_text(read_lines(recording), recording)))
        assert again.tobytes() == recording.trades.tobytes()
