"""Writing the journal: one group per write and sync, new segments ahead, a new epoch at every start."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from engine.common.errors import JournalFull, SyncFailed
from engine.journal.head import HeadPage, slot
from engine.journal.recovery import Tail
from engine.journal.segment import (
    disk_error,
    empty_group,
    segment_path,
    start_writing,
    sync_directory,
    write_zeros,
)
from kernels.crc32c import words_of
from kernels.frames import FRAME, FRAME_BYTES
from kernels.groups import close_group

SPARE_DIR = "ahead"
FIRST_BYTES = 1 << 20
"""A segment that the engine must zero itself begins so small, or as small as a group allows, and doubles as long as
no spare is ready: nobody waits for 64 MiB of zeros before his first ack."""
_EPOCH, _ORDINAL, _DURABLE = slot("epoch"), slot("ordinal"), slot("durable")


class JournalWriter:
    """Appends groups. The caller fills `frames[:count]`, then commits; durable when `commit` returns.

    frames: FRAME[group_frames_max], or fewer where a segment holds fewer; the slot before them is the group's
    header, so a group is one write.
    """

    def __init__(
        self,
        directory: Path,
        tail: Tail,
        *,
        segment_bytes: int,
        group_frames_max: int,
        time_ns: int,
        witness: int,
    ) -> None:
        self.directory = directory
        self.epoch = tail.epoch + 1
        self.position = tail.cursor.position
        self.chain = tail.cursor.chain
        self._spare_bytes = self._room_bytes = segment_bytes
        # A segment begins with a header of its own; what is left takes one group's header and its frames.
        fitting = segment_bytes // FRAME_BYTES - 2
        self._block = np.zeros(min(group_frames_max, fitting) + 1, FRAME)
        self._own_bytes = min(segment_bytes, max(FIRST_BYTES, _pages((len(self._block) + 1) * FRAME_BYTES)))
        header = empty_group(position=0, epoch=self.epoch, time_ns=time_ns, chain=0, witness=0)
        self._block[:1] = header.view(FRAME)
        self._words = words_of(self._block)
        self._bytes = self._block.view(np.uint8).data
        self.frames = self._block[1:]
        self.sync_ns = self.last_sync_ns = 0
        self._fd = -1
        self._first = 0
        self._open_segment(time_ns, witness)

    def commit(self, count: int, time_ns: int, witness: int) -> int:
        """Write `frames[:count]` as one group and sync it. Returns the position behind it.

        witness: of the books before this group. SyncFailed: what is on disk is unknown, the process must end.
        JournalFull: nothing of it counts, the frames may be offered again later.
        """
        self.write(count, time_ns, witness)
        self.sync()
        return self.position

    def write(self, count: int, time_ns: int, witness: int) -> None:
        """The first half of `commit`: the group is on its way to the disk, and durable after `sync`.

        What the caller does in between costs no time while the disk is busy.
        """
        if (self.position - self._first + 1 + count) * FRAME_BYTES > self._room_bytes:
            self._open_segment(time_ns, witness)
        chain = int(close_group(self._words, count, self.position, self.epoch, time_ns, self.chain, witness))
        size, offset = (count + 1) * FRAME_BYTES, (self.position - self._first) * FRAME_BYTES
        _write(self._fd, self._bytes[:size], offset)
        start_writing(self._fd, offset, size)
        self.chain = chain
        self.position += count + 1

    def sync(self) -> None:
        """The second half: everything written is durable when this returns. SyncFailed."""
        began = time.perf_counter_ns()
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise SyncFailed(f"journal sync failed, the engine ends: {error.strerror}") from error
        self.last_sync_ns = time.perf_counter_ns() - began
        self.sync_ns += self.last_sync_ns

    def close(self) -> None:
        """Let go of the segment."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open_segment(self, time_ns: int, witness: int) -> None:
        """Go on in a new segment. JournalFull leaves the writer as it was."""
        path = segment_path(self.directory, self.epoch, self.position)
        room_bytes = self._take_spare(path)
        header = empty_group(
            position=self.position, epoch=self.epoch, time_ns=time_ns, chain=self.chain, witness=witness
        )
        try:
            fd = os.open(path, os.O_RDWR)
        except OSError as error:
            raise SyncFailed(f"{path}: cannot be opened again, the engine ends: {error.strerror}") from error
        try:
            _write(fd, header.view(np.uint8).data, 0)
        except JournalFull:
            os.close(fd)
            raise
        self.close()
        self._fd, self._first, self._room_bytes = fd, self.position, room_bytes
        self.sync()
        try:
            sync_directory(self.directory)
        except OSError as error:
            raise SyncFailed(f"{path}: its name cannot be made durable: {error.strerror}") from error
        self.position += 1

    def _take_spare(self, path: Path) -> int:
        """Move a prezeroed segment into place, or write a smaller one now. Returns its size in bytes."""
        try:
            for spare in sorted((self.directory / SPARE_DIR).glob("*.ready")):
                if spare.stat().st_size == self._spare_bytes:
                    spare.rename(path)
                    return self._spare_bytes
            temporary, size = path.with_suffix(".new"), self._own_bytes
            write_zeros(temporary, size)
            temporary.rename(path)
        except OSError as error:
            raise disk_error(f"{path}: cannot open a new segment", error) from error
        self._own_bytes = min(2 * size, self._spare_bytes)
        return size


def _pages(size: int) -> int:
    """`size` rounded up to whole pages."""
    return -(-size // 4096) * 4096


def _write(fd: int, data: memoryview, offset: int) -> None:
    """All of `data` at `offset`. JournalFull: no room; what part was written is written over by the next try."""
    try:
        done = 0
        while done < len(data):
            done += os.pwrite(fd, data[done:], offset + done)
    except OSError as error:
        raise disk_error("journal write failed", error) from error


def publish(head: HeadPage, writer: JournalWriter, ordinal: int) -> None:
    """Tell followers what is durable. Epoch first: a reader never takes new positions for the old epoch's."""
    words = head.words
    words[_EPOCH] = writer.epoch
    words[_ORDINAL] = ordinal
    words[_DURABLE] = writer.position
