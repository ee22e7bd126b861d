"""Room that is tried for, and a service that begins again when there is some."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from engine.common import room as subject
from engine.common.errors import StoreError, StoreFull
from engine.common.room import has_room, serve_while_full


def test_room_is_tried_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_room(tmp_path) and list(tmp_path.iterdir()) == []
    real = os.write

    def full(fd: int, data: bytes) -> int:
        with open("/dev/full", "wb", buffering=0) as device:
            return real(device.fileno(), data)

    monkeypatch.setattr(os, "write", full)
    assert not has_room(tmp_path) and list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError):
        has_room(tmp_path / "missing")


def test_it_begins_again_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(subject, "_PAUSE_S", 0.001)
    tried = []
    monkeypatch.setattr(subject, "has_room", lambda directory: tried.append(directory) or len(tried) > 30)
    lives = []

    async def serve() -> None:
        lives.append(len(tried))
        if len(lives) == 1:
            raise StoreFull("the record: no space left")

    asyncio.run(serve_while_full(serve, tmp_path, asyncio.Event()))
    assert lives == [0, 31] and set(tried) == {tmp_path}
    told = capfd.readouterr()
    assert (told.out + told.err).count("disk_full") == 1


def test_a_stop_ends_the_waiting_and_other_errors_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "has_room", lambda _: False)

    async def main() -> None:
        stop = asyncio.Event()

        async def full() -> None:
            asyncio.get_running_loop().call_later(0.01, stop.set)
            raise StoreFull("no room")

        async with asyncio.timeout(0.4):
            await serve_while_full(full, tmp_path, stop)

        async def broken() -> None:
            raise StoreError("another payload")

        with pytest.raises(StoreError, match="another payload"):
            await serve_while_full(broken, tmp_path, asyncio.Event())

    asyncio.run(main())
