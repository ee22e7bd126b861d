"""The ledger keeps what was written, cuts what was torn and refuses what was damaged."""

import os
from pathlib import Path

import pytest

from engine.common.errors import StoreError, SyncFailed
from relayer.devnet.ledger import HORIZON, TRANSACTION, Ledger

SEED = bytes(range(32))


def made(path: Path, count: int = 5) -> list[int]:
    ledger = Ledger.open(path, SEED)
    offsets = [ledger.append(TRANSACTION, 1000 + k, bytes([k]) * (20 + k)) for k in range(count)]
    ledger.sync()
    ledger.close()
    return offsets


def reopened(path: Path) -> list[tuple[int, bytes]]:
    ledger = Ledger.open(path)
    try:
        return [(record.slot, record.body) for record in ledger.records()]
    finally:
        ledger.close()


EXPECTED = [(1000 + k, bytes([k]) * (20 + k)) for k in range(5)]


def test_records_come_back(tmp_path: Path) -> None:
    offsets = made(tmp_path / "l")
    assert reopened(tmp_path / "l") == EXPECTED
    ledger = Ledger.open(tmp_path / "l")
    assert ledger.seed == SEED
    assert ledger.read(offsets[3]).body == EXPECTED[3][1]
    ledger.close()


def test_durable_follows_sync(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "l", SEED)
    assert ledger.durable == ledger.written
    ledger.append(HORIZON, 1, b"")
    assert ledger.durable < ledger.written
    ledger.sync()
    assert ledger.durable == ledger.written
    ledger.close()


def test_a_tail_torn_anywhere_is_cut_and_written_over(tmp_path: Path) -> None:
    path = tmp_path / "l"
    last = made(path)[-1]
    whole = path.read_bytes()
    for size in range(last, len(whole)):
        path.write_bytes(whole[:size])
        assert reopened(path) == EXPECTED[:4]
        assert path.stat().st_size == last
    path.write_bytes(whole[:last] + bytes(len(whole) - last))
    assert reopened(path) == EXPECTED[:4]


def test_damage_before_sound_records_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "l"
    second = made(path)[1]
    whole = path.read_bytes()
    for at in (second, second + 5, second + 9, second + 30):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        with pytest.raises(StoreError, match="damaged"):
            Ledger.open(path)
        assert path.stat().st_size == len(whole)


def test_a_damaged_header_and_a_strange_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "l"
    made(path)
    path.write_bytes(b"X" + path.read_bytes()[1:])
    with pytest.raises(StoreError, match="not a devnet ledger"):
        Ledger.open(path)


def test_a_header_cut_short_starts_anew(tmp_path: Path) -> None:
    (tmp_path / "l").write_bytes(b"GDKC")
    assert reopened(tmp_path / "l") == []


def test_one_process_at_a_time(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "l", SEED)
    with pytest.raises(StoreError, match="another devnet"):
        Ledger.open(tmp_path / "l")
    ledger.close()


def test_a_failed_sync_and_a_full_disk_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger.open(tmp_path / "l", SEED)
    ledger.append(HORIZON, 1, b"")

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(SyncFailed):
        ledger.sync()
    assert ledger.durable < ledger.written
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: len(data) - 1)
    with pytest.raises(StoreError, match="full"):
        ledger.append(HORIZON, 1, b"")
    ledger.close()
