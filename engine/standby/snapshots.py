"""When the standby writes a snapshot, and what may go once it is verified."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from engine.common.errors import JournalError, JournalFull, SnapshotUnusable
from engine.common.logs import get_logger
from engine.common.sections import StandbySettings
from engine.core.apply import Machine
from engine.journal.reader import Cursor
from engine.journal.retention import holds, keep_from, pinned, unlink_segments, unlink_snapshots
from engine.journal.snapshot import Interrupted, list_snapshots, position_of, verify_snapshot, write_snapshot
from kernels.admission import Gate
from kernels.frames import FRAME_BYTES

_SECOND_NS = 1_000_000_000


class Snapshots:
    """Writes, verifies and thins out the snapshots of one journal, and unlinks segments behind them.

    A full disk is told and tried again when the next is due.
    """

    def __init__(self, directory: Path, settings: StandbySettings, now_ns: int) -> None:
        self._directory = directory
        self._settings = settings
        self._last_ns = now_ns
        self._last_position = max(map(position_of, list_snapshots(directory)), default=0)
        self._verified: set[int] = set()

    def due(self, position: int, now_ns: int) -> bool:
        """True if enough bytes or seconds of journal lie between the last snapshot and `position`."""
        moved = (position - self._last_position) * FRAME_BYTES
        late = now_ns - self._last_ns >= self._settings.snapshot_s * _SECOND_NS
        return moved >= self._settings.snapshot_bytes or (late and moved > 0)

    def write(
        self, machine: Machine, gate: Gate, cursor: Cursor, now_ns: int, broken_off: Callable[[], bool]
    ) -> bool:
        """Write and verify one, then let go of what it makes needless. False if that was broken off or failed."""
        self._last_ns, self._last_position = now_ns, cursor.position
        began = time.perf_counter()
        try:
            path = write_snapshot(self._directory, machine, gate, cursor, broken_off=broken_off)
            verify_snapshot(path, broken_off=broken_off)
        except Interrupted:
            return False
        except (JournalFull, SnapshotUnusable) as error:
            get_logger().error("snapshot_failed", reason=error.line())
            return False
        self._verified.add(cursor.position)
        get_logger().info(
            "snapshot_written",
            position=int(cursor.position),
            bytes=path.stat().st_size,
            seconds=round(time.perf_counter() - began, 3),
        )
        try:
            self._let_go(broken_off)
        except JournalError as error:
            get_logger().error("nothing_unlinked", reason=error.line())
        return True

    def _let_go(self, broken_off: Callable[[], bool]) -> None:
        """Snapshots first: of those that holders can use, verified ones stay."""
        good = [
            position_of(path) for path in list_snapshots(self._directory) if self._is_good(path, broken_off)
        ]
        if broken_off():
            return  # some were not looked at
        pins = pinned(good, holds(self._directory).values())
        dropped = unlink_snapshots(self._directory, self._settings.snapshots_kept, pins)
        good = sorted(set(good) - set(map(position_of, dropped)))
        gone = unlink_segments(self._directory, keep_from(self._directory, good, self._settings.holders))
        if gone:
            get_logger().info("segments_unlinked", count=len(gone), last=gone[-1].path.name)

    def _is_good(self, path: Path, broken_off: Callable[[], bool]) -> bool:
        """Whether a snapshot was verified by this process; one of an earlier process is, now."""
        position = position_of(path)
        if position not in self._verified:
            try:
                verify_snapshot(path, broken_off=broken_off)
            except (Interrupted, SnapshotUnusable):
                return False
            self._verified.add(position)
        return True
