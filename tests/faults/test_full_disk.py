"""A disk that is really full: frames are refused by name, readers are served, and it goes on when there is room."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.common.settings import Settings
from engine.follower import Follower
from tests.engine.gateway.running import SOURCES
from tests.engine.journal.material import flow
from tests.faults import harness
from tests.faults.driver import Driver, Gone
from tests.faults.harness import SEGMENT_BYTES, Judge
from tests.faults.nursery import Nursery

pytestmark = pytest.mark.end_to_end

FRAMES = flow(steps=30, fills=110)
ROOM_BYTES = 5 * SEGMENT_BYTES


@pytest.fixture
def little(place: Path) -> Iterator[Path]:
    """A file system of its own with little room."""
    path = place / "little"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM_BYTES}", "tmpfs", str(path)]
    if subprocess.run(command, capture_output=True, timeout=10, check=False).returncode != 0:
        pytest.skip("not allowed to mount a small file system")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], timeout=10, check=True)


def _fill_up(driver: Driver) -> None:
    """Send until a frame is refused for want of room."""
    with pytest.raises(Gone):
        driver.run()
    assert driver.faults[-1] == "JOURNAL_FULL"


def _ballast(path: Path, bytes_left: int) -> Path:
    """A file that takes all the room but so much."""
    ballast = path / "ballast"
    ballast.write_bytes(bytes(ROOM_BYTES - bytes_left))
    return ballast


@contextmanager
def _served(nursery: Nursery, settings: Settings) -> Iterator[Driver]:
    engine = nursery.start(settings)
    assert engine.ready() is not None, engine.said()
    driver = Driver(settings.engine.socket, FRAMES, timeout_s=10)
    try:
        yield driver
        assert engine.said().count("journal_full") == 1, "told once, not with every frame"
    finally:
        driver.close()
        engine.stop()


def test_a_full_disk_refuses_serves_and_goes_on(nursery: Nursery, little: Path) -> None:
    settings, judge = harness.small(little / "data"), Judge(FRAMES)
    ballast = _ballast(little, 2 * SEGMENT_BYTES)
    with _served(nursery, settings) as driver:
        driver.connect()
        _fill_up(driver)
        booked = driver.acked_frames()
        assert 800 < booked < len(FRAMES) - 1200

        # Others who only ask are answered, a follower reads all that was acknowledged; who sends is refused again.
        driver.connect()
        assert driver.sent == booked and driver.durable.keys() == {int(s) for s in SOURCES}
        judge.check(driver.status())
        follower = Follower(settings.data_dir / "journal", capacity=8192)
        while follower.poll() is not None:
            continue
        assert follower.machine.state.digest() == judge.digest(booked)
        follower.close()
        _fill_up(driver)
        assert driver.acked_frames() == booked

        ballast.unlink()
        driver.connect()
        driver.run()
        harness.check_end(driver, judge)


@pytest.mark.parametrize("bytes_left", [SEGMENT_BYTES // 2, SEGMENT_BYTES], ids=["segment", "head page"])
def test_a_start_without_room_says_so_once_waits_and_goes_on(
    nursery: Nursery, little: Path, bytes_left: int
) -> None:
    """Also where the segment just fits and the page does not: storing into it must not end in a signal."""
    settings, judge = harness.small(little / "data"), Judge(FRAMES)
    ballast = _ballast(little, bytes_left)
    engine = nursery.start(settings)
    told = engine.ready()
    assert told is not None and "No space left" in told["waiting"]
    time.sleep(1.2)
    assert not engine.ended() and engine.said().count("journal_full") == 1, "told once, not with every try"
    ballast.unlink()
    assert engine.serves(), engine.said()
    driver = Driver(settings.engine.socket, FRAMES)
    driver.connect()
    driver.run()
    harness.check_end(driver, judge)
    driver.close()
    engine.stop()
