"""Recorded trades from a file to finality, as a user runs it."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relayer.signer.keyfile import KeyfileSigner

from . import running
from .recordings import START_S, binance_raw, binance_trades, hyperliquid
from .running import Result, Room, recorded

pytestmark = pytest.mark.end_to_end

KEYS = {
    "fills_in", "booked", "duplicate", "refused", "liquidations", "funding_hours", "funding_paid_e6",
    "residual", "batches", "log_size", "root", "tx_sent", "tx_finalized", "stages_ms", "checks", "ok",
}  # fmt: skip
CHECKS = {
    "zero_sum", "cash", "funding", "digest", "chain_root", "chain_count", "one_batch", "dag", "published",
}  # fmt: skip
SAME = ("root", "booked", "funding_paid_e6", "funding_hours", "fills_in", "log_size")
LENGTH_S = 5400
ROWS = 300


def assert_whole(result: Result, rows: int | None) -> dict[str, Any]:
    """A replay that went well: one JSON object, all of it there, all of it true."""
    report = result.report()
    assert (result.status, report["ok"]) == (0, True), (report, result.err)
    assert set(report) >= KEYS
    assert report["checks"] == dict.fromkeys(CHECKS, True)
    assert "reasons" not in report
    assert report["fills_in"] == report["booked"] == report["log_size"]
    assert rows is None or report["booked"] == rows
    assert [report[k] for k in ("duplicate", "refused", "liquidations", "residual")] == [0] * 4
    assert report["funding_hours"] >= 1
    assert report["funding_paid_e6"] > 0
    assert report["tx_sent"] == report["tx_finalized"] >= 2 * report["batches"] > 0
    assert re.fullmatch(r"[0-9a-f]{64}", report["root"])
    assert set(report["stages_ms"]) == {"start", "ingest", "settle", "verify", "stop"}
    lines = result.err.splitlines()
    assert all(line.startswith(("godark: ", "{")) for line in lines), result.err
    assert any(f"replayed {report['booked']:,} fills" in line for line in lines)
    assert any(f"settled {report['batches']:,} batches" in line for line in lines)
    return report


def test_handmade_recordings_of_the_other_formats(room: Room, tmp_path: Path) -> None:
    """Two replays at once: a group does not get in the way of another."""
    one = binance_trades(tmp_path / "trades.csv", rows=ROWS, seconds=LENGTH_S)
    two = binance_raw(tmp_path / "raw.ndjson", rows=ROWS, seconds=LENGTH_S)
    for command in [room.start("replay", path, "--json") for path in (one, two)]:
        assert_whole(command.wait(), ROWS)
    assert room.alive() == {}
    assert room.left() == []


RECORDED = [
    "hl_non_mm_trades_2023.csv.gz",
    "binance_um_BTCUSDT_trades_20200222_a.csv.gz",
    "binance_cm_btcusd_perp_raw_20240808.ndjson.gz",
]


def test_the_busiest_hours_of_the_recorded_files(room: Room) -> None:
    paths = [recorded(name) for name in RECORDED]
    for command in [room.start("replay", path, "--hours", 2, "--json") for path in paths]:
        assert assert_whole(command.wait(), None)["booked"] > 2000
    assert room.alive() == {}
    assert room.left() == []


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Room, Path, Result]]:
    """(room, recording, result) of a replay whose data directory was kept under `room/kept`."""
    path = hyperliquid(tmp_path_factory.mktemp("kept") / "trades.csv", rows=ROWS, seconds=LENGTH_S)
    with running.room() as made:
        yield made, path, made.run("replay", path, "--json", "--data-dir", "kept")


def test_the_data_directory_is_kept_if_it_was_named(kept: tuple[Room, Path, Result]) -> None:
    made, _, result = kept
    assert_whole(result, ROWS)
    assert made.alive() == {}
    assert list(made.temporary.iterdir()) == []
    assert {"journal", "relayer", "devnet", "logs"} <= {p.name for p in (made.path / "kept").iterdir()}


def test_the_same_file_gives_the_same_numbers_whatever_the_window(
    room: Room, kept: tuple[Room, Path, Result]
) -> None:
    _, path, first = kept
    one = first.report()
    repeated = room.start("replay", path, "--json")
    widened = room.start("replay", path, "--json", "--batch-window", 600)
    again, wide = assert_whole(repeated.wait(), ROWS), assert_whole(widened.wait(), ROWS)
    exact = (*SAME, "batches", "tx_sent", "digest")
    assert {name: again[name] for name in exact} == {name: one[name] for name in exact}
    assert {name: wide[name] for name in SAME} == {name: one[name] for name in SAME}
    assert wide["batches"] < one["batches"]


def test_what_was_kept_can_be_verified_once_more(kept: tuple[Room, Path, Result]) -> None:
    """Journal and ledger outlive the group: verify says it needs a node, and is content with a new one."""
    made, _, first = kept
    payer = _payer(made.path / "kept" / "relayer" / "key.json")
    alone = made.run("verify", "--data-dir", "kept", "--payer", payer, "--json")
    assert (alone.status, alone.out) == (2, "")
    assert alone.err == "godark: no node to ask: give --rpc, or set relayer.rpc_urls\n"
    with _chain_of(made) as url:
        again = made.run("verify", "--data-dir", "kept", "--payer", payer, "--rpc", url, "--json")
        report = again.report()
        assert (again.status, report["ok"], report["root"]) == (0, True, first.report()["root"])
        stranger = made.run("verify", "--data-dir", "kept", "--payer", "1" * 32, "--rpc", url, "--json")
        assert stranger.status == 5
        assert stranger.err.startswith("godark: these checks are false: chain_count")


def test_a_fill_of_what_was_kept_is_proven_down_to_the_chain(kept: tuple[Room, Path, Result]) -> None:
    made, _, first = kept
    payer = _payer(made.path / "kept" / "relayer" / "key.json")
    rows = (1, first.report()["booked"])
    for row in rows:
        assert made.run("prove", row, "--trade-id", "--data-dir", "kept", "--out", f"{row}.json").status == 0
    with _chain_of(made) as url:
        asked = ("--rpc", url, "--payer", payer, "--json")
        for row in rows:
            proven = made.run("verify-proof", f"{row}.json", *asked).report()
            assert (proven["ok"], proven["index"], proven["committed"]["payer"]) == (
                True,
                str(row - 1),
                payer,
            )
            assert int(proven["committed"]["slot"]) > 0
        assert (proven["root"], proven["size"]) == (first.report()["root"], str(first.report()["log_size"]))
        stranger = made.run("verify-proof", "1.json", "--rpc", url, "--payer", "1" * 32)
        assert (stranger.status, stranger.err.count("\n")) == (5, 1)


@contextlib.contextmanager
def _chain_of(made: Room) -> Iterator[str]:
    """The address of a new node on the chain of what was kept."""
    devnet = made.start("devnet", "--data-dir", "kept", "--set", "devnet.slot_ms=0")
    port = int((made.path / "kept" / "devnet" / "port").read_text())
    devnet.until(lambda: _answers(port))
    yield f"http://127.0.0.1:{port}"
    devnet.process.terminate()
    assert devnet.wait(5).status == 0


def _payer(keyfile: Path) -> str:
    return str(KeyfileSigner.load(keyfile).public_key)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_directory_in_use_is_refused(kept: tuple[Room, Path, Result]) -> None:
    made, path, _ = kept
    before = sorted((made.path / "kept").rglob("*"))
    refused = made.run("replay", path, "--data-dir", "kept")
    assert (refused.status, refused.out) == (2, "")
    assert refused.err == (
        f"godark: {made.path / 'kept'}: not empty; a replay starts on empty books, name a new directory\n"
    )
    assert sorted((made.path / "kept").rglob("*")) == before


def test_speed_10_takes_a_tenth_of_the_time(room: Room, tmp_path: Path) -> None:
    """Twenty seconds to the full hour; without --json a person reads the report."""
    path = hyperliquid(tmp_path / "trades.csv", rows=9, seconds=20, start_s=START_S - 20)
    result = room.run("replay", path, "--speed", 10)
    assert result.status == 0, result.err
    took_ms = int(re.findall(r"^  ingest +(\d+)$", result.out, re.MULTILINE)[0])
    assert 1900 <= took_ms < 6000
    assert re.search(r"^booked +9$", result.out, re.MULTILINE)
    assert re.search(r"^ok +True$", result.out, re.MULTILINE)
    assert room.left() == []
