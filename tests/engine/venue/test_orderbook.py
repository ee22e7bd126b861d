from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.app.cli import execute
from engine.common.errors import InputFileError
from engine.venue.orderbook import Best, Check, Rebuilt, read_events, rebuild
from kernels.orderbook import ASKS, BIDS

CM = "binance_cm_btcusd_perp_raw_20240808.ndjson.gz"
STAMP = 1723161256172216566


def line(body: object, second: int = 0) -> str:
    return f"{STAMP + second * 10**9} {json.dumps(body)}"


def snapshot(last_id: int, bids: list[list[str]], asks: list[list[str]]) -> dict[str, object]:
    return {"lastUpdateId": last_id, "symbol": "BTCUSDT", "bids": bids, "asks": asks}


def update(
    first: int, last: int, previous: int, bids: list[list[str]], asks: list[list[str]]
) -> dict[str, object]:
    data = {"e": "depthUpdate", "s": "BTCUSDT", "U": first, "u": last, "pu": previous, "b": bids, "a": asks}
    return {"stream": "btcusdt@depth@0ms", "data": data}


def ticker(at: int, bid: str, bid_size: str, ask: str, ask_size: str) -> dict[str, object]:
    data = {"e": "bookTicker", "s": "BTCUSDT", "u": at, "b": bid, "B": bid_size, "a": ask, "A": ask_size}
    return {"stream": "btcusdt@bookTicker", "data": data}


def write(tmp_path: Path, *bodies: object) -> Path:
    path = tmp_path / "capture.ndjson"
    path.write_text("".join(line(body, k) + "\n" for k, body in enumerate(bodies)))
    return path


def checks(*paths: Path) -> tuple[Rebuilt, list[Check]]:
    rebuilt = Rebuilt()
    return rebuilt, [check for _, check in rebuild(paths, rebuilt) if check is not None]


SNAPSHOT = snapshot(100, [["10.5", "2.00"], ["10.4", "9.00"]], [["10.6", "1.00"], ["10.7", "4.00"]])
CAPTURE = (
    update(80, 90, 70, [["10.5", "7.00"]], []),
    update(91, 101, 90, [["10.5", "3.00"]], []),
    SNAPSHOT,
    ticker(110, "10.5", "3.00", "10.7", "4.00"),
    ticker(105, "10.5", "3.00", "10.6", "0.50"),
    update(102, 110, 101, [], [["10.6", "0.00"]]),
    ticker(111, "9.9", "1.00", "10.7", "4.00"),
    update(111, 111, 110, [["10.5", "0"]], []),
)


def test_updates_before_the_snapshot_wait_and_tickers_meet_their_update(tmp_path: Path) -> None:
    """The ticker of 105 lies inside an update, so that there is no book to hold it against; 111's is wrong."""
    rebuilt, found = checks(write(tmp_path, *CAPTURE))
    assert (rebuilt.snapshots, rebuilt.updates, rebuilt.old, rebuilt.gaps, rebuilt.tickers) == (1, 3, 1, 0, 3)
    assert [(c.row, c.update_id, c.published == c.rebuilt) for c in found] == [
        (4, 110, True),
        (7, 111, False),
    ]
    assert found[1].rebuilt == Best(104, 900, 107, 400)


def test_a_missing_update_loses_the_book_until_the_next_snapshot(tmp_path: Path) -> None:
    bodies = (
        SNAPSHOT,
        update(99, 103, 98, [], []),
        update(105, 106, 104, [["10.5", "7.00"]], []),
        update(107, 108, 106, [["10.4", "0.00"]], []),
        snapshot(107, [["9.5", "1.00"]], [["9.7", "1.00"]]),
    )
    rebuilt, _ = checks(write(tmp_path, *bodies[:4]))
    assert (rebuilt.gaps, rebuilt.book.ready) == (1, False)
    rebuilt, _ = checks(write(tmp_path, *bodies))
    assert (rebuilt.gaps, rebuilt.book.ready) == (1, True)
    assert rebuilt.book.best() == Best(95, 100, 97, 100)


def test_impact_of_linear_and_inverse_sizes(tmp_path: Path) -> None:
    """Bids are worth 21 + 93.6 USD; as contracts of 1 USD they are worth 2 + 9."""
    rebuilt, _ = checks(write(tmp_path, SNAPSHOT))
    book = rebuilt.book
    assert (book.impact(BIDS, 21), book.impact(BIDS, 114), book.impact(BIDS, 115)) == (105, 104, 0)
    assert (book.impact(ASKS, 1), book.impact(ASKS, 10**17)) == (106, 0)
    assert [book.impact(BIDS, usd, 1) for usd in (2, 10, 12)] == [105, 104, 0]
    assert book.premium_ppm(book.price("10.0"), 21) == 50_000
    assert book.premium_ppm(book.price("10.0"), 10**17) is None


def test_hyperliquid_and_tardis_snapshots(tmp_path: Path) -> None:
    sides = [[{"n": 1, "px": "10.5", "sz": "2.25"}], [{"n": 2, "px": "10.6", "sz": "1.0"}]]
    body = {"channel": "l2Book", "data": {"coin": "BTC", "time": 7, "levels": sides}}
    rebuilt, _ = checks(write(tmp_path, {"channel": "trades", "data": []}, body))
    assert (rebuilt.symbol, rebuilt.book.best()) == ("BTC", Best(105, 225, 106, 100))
    table = tmp_path / "book.csv"
    table.write_text(
        "symbol,local_timestamp,asks[0].price,asks[0].amount,bids[0].price,bids[0].amount,"
        "bids[1].price,bids[1].amount\nX,1598918403810979,10.6,1,10.5,2.25,,\n"
    )
    rebuilt, _ = checks(table)
    assert rebuilt.book.best() == Best(105, 225, 106, 100)
    assert next(read_events(table)).received_ns == 1598918403810979000


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (snapshot(1, [["1O.5", "2"]], []), "is not a decimal number"),
        (snapshot(1, [["0.0", "2"]], []), "not a level"),
        (snapshot(1, [["1.5"]], []), "is not a book message"),
        (snapshot(1, [[1.5, "2"]], []), "1.5 is not a decimal in quotes"),
        ({"data": {"e": "depthUpdate", "U": 1}}, "is not a book message"),
        ({"lastUpdateId": "x", "bids": [], "asks": []}, "is not a book message"),
    ],
)
def test_what_is_wrong_is_named_by_row(body: object, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=reason) as caught:
        checks(write(tmp_path, SNAPSHOT, body))
    assert "row 2" in str(caught.value)


def test_more_decimals_than_the_snapshot_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="more decimals than the 1 of the snapshot"):
        checks(write(tmp_path, SNAPSHOT, update(99, 101, 98, [["10.55", "1.00"]], [])))


def test_the_command_prints_and_fails_on_a_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["book", str(write(tmp_path, *CAPTURE[:6])), "--notional", "4", "--index", "10.0"]) == 0
    shown = capsys.readouterr().out
    assert "10.5         10.6         10.5         10.6 5.00000000 %" in shown
    assert "equal bookTicker's after 1 of 1 updates" in shown
    capture = str(write(tmp_path, *CAPTURE))
    assert execute(["book", capture, "--premium", "dydx", "--index", "10.0", "--notional", "4"]) == 5
    out = capsys.readouterr()
    assert "2.5641 %" in out.out
    assert "row 7: published" in out.err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--notional", "0"], "must be above 0"),
        (["--index", "0"], "--index must be above 0"),
        (["--index", "1e3"], "--index: '1e3' has an exponent"),
    ],
)
def test_wrong_options_are_one_line(
    arguments: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["book", str(write(tmp_path, SNAPSHOT)), *arguments]) == 2
    assert line in capsys.readouterr().err


def test_a_capture_without_a_snapshot_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["book", str(write(tmp_path, CAPTURE[0]))]) == 2
    assert "has no book snapshot" in capsys.readouterr().err


def test_recorded_books_equal_book_ticker(market_file: Callable[[str], Path]) -> None:
    rebuilt, found = checks(market_file(CM))
    assert len(found) == 1124
    assert [check for check in found if check.published != check.rebuilt] == []
    assert rebuilt.gaps == 0
