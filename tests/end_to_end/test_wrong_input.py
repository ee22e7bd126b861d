"""Whatever is wrong with what a user hands over: one line that says so, and nothing half done."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from .recordings import HL_HEADER, hyperliquid
from .running import Command, Room

pytestmark = pytest.mark.end_to_end


@pytest.fixture
def good(tmp_path: Path) -> list[str]:
    """Lines of a recording that could be replayed."""
    return hyperliquid(tmp_path / "good.csv", rows=400, seconds=4000).read_text().splitlines()


def refused(command: Command, *words: str) -> None:
    """It ended by itself with a status for wrong use, silent but for one line that holds the words."""
    result = command.wait(30)
    assert result.status == 2, result
    assert result.out == ""
    assert result.err.startswith("godark: ")
    assert result.err.count("\n") == 1, result.err
    assert "Traceback" not in result.err
    for word in words:
        assert word in result.err


def write(path: Path, content: bytes | list[str]) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else ("\n".join(content) + "\n").encode())
    return path


def nothing_left(room: Room) -> None:
    assert room.alive() == {}
    assert room.left() == []


def test_files_that_are_none(room: Room, tmp_path: Path) -> None:
    commands = [
        (room.start("replay", tmp_path / "absent.csv", "--data-dir", "new"), "absent.csv", "No such file"),
        (room.start("replay", tmp_path), str(tmp_path), "directory"),
        (room.start("replay", write(tmp_path / "empty.csv", b"")), "empty.csv", "empty"),
    ]
    for command, *words in commands:
        refused(command, *words)
    nothing_left(room)


def test_columns_that_nobody_knows(room: Room, tmp_path: Path, good: list[str]) -> None:
    other = write(tmp_path / "other.csv", ["a,b,c", "1,2,3"])
    short = write(tmp_path / "short.csv", [HL_HEADER.replace("crossed", "x"), *good[1:]])
    commands = [room.start("replay", other, "--json"), room.start("replay", short, "--json")]
    refused(commands[0], "other.csv", "columns")
    refused(commands[1], "short.csv", "columns")
    nothing_left(room)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [(",Bid,", ",Bud,", "side"), (",true", ",maybe", "crossed")],
    ids=["side", "flag"],
)
def test_a_bad_row_in_the_middle_is_named(
    room: Room, tmp_path: Path, good: list[str], old: str, new: str, reason: str
) -> None:
    row = next(k for k in range(200, 400) if old in good[k])
    lines = [*good[:row], good[row].replace(old, new), *good[row + 1 :]]
    path = write(tmp_path / "bad.csv", lines)
    refused(room.start("replay", path, "--data-dir", "new"), f"{path}: row {row}: ", reason)
    nothing_left(room)


def test_bytes_that_are_no_text(room: Room, tmp_path: Path, good: list[str]) -> None:
    packed = gzip.compress("\n".join(good).encode())
    commands = [
        (room.start("replay", write(tmp_path / "cut.csv.gz", packed[:-400])), "cut.csv.gz", "gzip", "short"),
        (room.start("replay", write(tmp_path / "junk.csv", bytes(range(256)) * 64)), "junk.csv"),
    ]
    for command, *words in commands:
        refused(command, *words)
    nothing_left(room)


def test_options_that_cannot_be(room: Room, tmp_path: Path) -> None:
    path = hyperliquid(tmp_path / "trades.csv", rows=5, seconds=10)
    commands = [
        (room.start("replay", path, "--hours", 0), "--hours"),
        (room.start("replay", path, "--fast"), "--fast"),
        (room.start("replay", path, "--speed", 3), "--speed"),
        (room.start("replay", path, "--batch-window", "x"), "--batch-window"),
        (room.start("replay", path, "--set", "engine.colour=red"), "engine.colour", "no such setting"),
        (room.start("replay"), "FILE"),
        (room.start("verify", "--payer", "x", "--rpc", "http://127.0.0.1:9", "--digest", "00"), "--digest"),
    ]
    for command, *words in commands:
        refused(command, *words)
    nothing_left(room)


def test_a_directory_that_cannot_be_made(room: Room, tmp_path: Path) -> None:
    path = hyperliquid(tmp_path / "trades.csv", rows=5, seconds=10)
    occupied = write(tmp_path / "file", b"words")
    refused(room.start("replay", path, "--data-dir", occupied), str(occupied))
    assert occupied.read_bytes() == b"words"
    nothing_left(room)
