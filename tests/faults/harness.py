"""What the fault tests share: places to work in, and the plain-integer model as the judge of any state."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.common.settings import Settings
from engine.journal.snapshot import list_snapshots, position_of
from kernels.frames import FRAME_BYTES
from relayer.verify.model import Model
from tests.engine.gateway.running import settings_for
from tests.engine.journal.material import Frames
from tests.faults.driver import Driver, Gone, Status
from tests.faults.nursery import Child, Nursery

SEGMENT_BYTES = 1 << 16
_MEMORY = Path("/dev/shm")


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory in memory, where there is one: what is tested here is order, not the disk's own speed."""
    path = Path(tempfile.mkdtemp(prefix="godark-faults-", dir=_MEMORY if _MEMORY.is_dir() else None))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def small(data_dir: Path, **engine: Any) -> Settings:
    """Settings with segments of 64 KiB and a clock that stands still."""
    return settings_for(data_dir, segment_bytes=SEGMENT_BYTES, **engine)


def with_snapshots(settings: Settings, slots: int) -> Settings:
    """The same with a snapshot due every so many slots of journal, and nobody whose word must be waited for."""
    standby = settings.standby.model_copy(update={"snapshot_bytes": slots * FRAME_BYTES, "holders": ()})
    return settings.model_copy(update={"standby": standby})


def snapshots_of(settings: Settings) -> list[int]:
    """Positions of the snapshots that lie there."""
    return [position_of(path) for path in list_snapshots(settings.data_dir / "journal")]


def go_on_elsewhere(driver: Driver, heir: Child, patience_s: float = 20.0) -> None:
    """Say hello to whoever takes the dead engine's place. Gone: `heir` has ended as well; TimeoutError."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return driver.connect()
        except Gone:
            if heir.ended():
                raise
            if time.monotonic() > deadline:
                raise TimeoutError(heir.said()) from None
            time.sleep(0.005)


def wait_for(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Wait until it is true. TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not come about")
        time.sleep(0.002)


class Judge:
    """Digests that frames[:ordinal] must lead to, by the plain-integer model; each computed once, on demand."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self._model, self._at = Model(), 0
        self._digests: dict[int, bytes] = {}

    def digest(self, ordinal: int) -> bytes:
        """The digest behind so many frames. Cheap in rising order."""
        if ordinal not in self._digests:
            if ordinal < self._at:
                self._model, self._at = Model(), 0
            for row in self.frames[self._at : ordinal]:
                self._model.apply(row.tobytes())
            self._at = ordinal
            self._digests[ordinal] = self._model.digest()
        return self._digests[ordinal]

    def check(self, status: Status) -> None:
        """AssertionError unless this is the state behind some prefix."""
        assert 0 <= status.ordinal <= len(self.frames), status.ordinal
        assert status.digest == self.digest(status.ordinal), (
            f"another state than the model's at {status.ordinal}"
        )


def finish(nursery: Nursery, settings: Settings, driver: Driver, judge: Judge) -> Child:
    """Start an engine that nothing happens to: it has all that was acknowledged and the exact state, takes the
    rest, and ends in the model's state. Returns it, still running.
    """
    engine = nursery.start(settings)
    assert engine.ready() is not None, engine.said()
    driver.connect()
    first = driver.status()
    assert first.ordinal == driver.sent
    judge.check(first)
    driver.run()
    check_end(driver, judge)
    return engine


def check_end(driver: Driver, judge: Judge) -> None:
    """All frames are booked, once, and the state is the model's."""
    last = driver.status()
    assert last.ordinal == len(judge.frames), "a frame was lost or booked twice"
    judge.check(last)
