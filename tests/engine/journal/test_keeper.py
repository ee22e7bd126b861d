"""The keeper: whole, synced, prezeroed segments ahead, and no half ones."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.common.errors import JournalFull
from engine.common.settings import Settings
from engine.journal.keeper import AHEAD, top_up
from engine.journal.segment import write_zeros
from engine.journal.writer import SPARE_DIR
from tests.engine.journal.material import SEGMENT_BYTES, open_writer

ROOT = Path(__file__).resolve().parents[3]


def test_tops_up_once_and_again_after_one_is_taken(tmp_path: Path) -> None:
    assert top_up(tmp_path, SEGMENT_BYTES) == AHEAD
    assert top_up(tmp_path, SEGMENT_BYTES) == 0
    open_writer(tmp_path)
    assert top_up(tmp_path, SEGMENT_BYTES) == 1
    spares = sorted((tmp_path / SPARE_DIR).iterdir())
    assert [p.suffix for p in spares] == [".ready"] * AHEAD
    assert all(p.read_bytes() == bytes(SEGMENT_BYTES) for p in spares)


def test_blocks_are_written_and_not_only_reserved(tmp_path: Path) -> None:
    write_zeros(tmp_path / "x", SEGMENT_BYTES)
    assert (tmp_path / "x").stat().st_blocks * 512 >= SEGMENT_BYTES


def test_spares_of_another_size_are_left_aside(tmp_path: Path) -> None:
    top_up(tmp_path, 2 * SEGMENT_BYTES)
    assert top_up(tmp_path, SEGMENT_BYTES) == AHEAD
    writer = open_writer(tmp_path)
    assert next(tmp_path.glob("*.seg")).stat().st_size == SEGMENT_BYTES
    writer.close()


def test_a_half_written_spare_of_a_crash_is_never_taken(tmp_path: Path) -> None:
    spare = tmp_path / SPARE_DIR
    spare.mkdir()
    (spare / "0000000000000001.part").write_bytes(b"\xff" * 100)
    assert top_up(tmp_path, SEGMENT_BYTES) == AHEAD
    assert {p.name for p in spare.iterdir()} == {"0000000000000001.ready", "0000000000000002.ready"}
    assert (spare / "0000000000000001.ready").read_bytes() == bytes(SEGMENT_BYTES)


def test_no_room_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, written = os.write, []

    def full(fd: int, data: bytes) -> int:
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(real(fd, data[:4096]))
        return written[0]

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(JournalFull, match="No space left"):
        top_up(tmp_path, SEGMENT_BYTES)
    monkeypatch.undo()
    assert list((tmp_path / SPARE_DIR).iterdir()) == []
    assert top_up(tmp_path, SEGMENT_BYTES) == AHEAD


def test_slices_are_small_and_paused_once_a_spare_is_ready(tmp_path: Path) -> None:
    calls = []

    def pause() -> bool:
        calls.append(len(list((tmp_path / SPARE_DIR).glob("*.ready"))))
        return False

    size = 1 << 20
    assert top_up(tmp_path, size, pause=pause) == AHEAD
    assert calls == [1] * (size // (1 << 18))
    assert all(p.read_bytes() == bytes(size) for p in (tmp_path / SPARE_DIR).iterdir())


def test_a_keeper_told_to_stop_leaves_nothing_half_made(tmp_path: Path) -> None:
    assert top_up(tmp_path, 1 << 20, pause=lambda: True) == 1
    assert [p.suffix for p in (tmp_path / SPARE_DIR).iterdir()] == [".ready"]


def test_the_process_keeps_up_and_ends_on_sigterm(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, engine={"segment_bytes": SEGMENT_BYTES})
    code = "from engine.common.settings import load; from engine.journal.keeper import run; run(load())"
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=os.environ | settings.to_env())
    try:
        spare = tmp_path / "journal" / SPARE_DIR
        deadline_s = time.monotonic() + 20

        def ready() -> int:
            return len(list(spare.glob("*.ready")))

        for taken in range(3):
            while ready() < AHEAD:
                assert time.monotonic() < deadline_s and child.poll() is None
                time.sleep(0.01)
            if taken < 2:
                next(spare.glob("*.ready")).unlink()
        child.send_signal(signal.SIGTERM)
        assert child.wait(5) == 0
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def test_told_to_stop_in_its_first_segment_it_ends_and_leaves_nothing(tmp_path: Path) -> None:
    """A segment of 8 GiB takes seconds on any disk: the supervisor would have killed it."""
    settings = Settings(data_dir=tmp_path, engine={"segment_bytes": 1 << 33})
    code = "from engine.common.settings import load; from engine.journal.keeper import run; run(load())"
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=os.environ | settings.to_env())
    try:
        spare, deadline_s = tmp_path / "journal" / SPARE_DIR, time.monotonic() + 20
        while not list(spare.glob("*.part")):
            assert time.monotonic() < deadline_s and child.poll() is None
            time.sleep(0.005)
        child.send_signal(signal.SIGTERM)
        assert child.wait(5) == 0
        assert list(spare.iterdir()) == []
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
