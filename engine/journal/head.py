"""The head page: what the engine publishes to whoever follows it, in shared memory.

One writer. A reader sees each field whole (aligned eight bytes); `durable` only grows within an epoch.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np

from engine.common.errors import JournalError

MAGIC = 0x4B524144_4F47_0001
PAGE_BYTES = 4096

HEAD = np.dtype(
    [
        ("magic", "<i8"),
        ("epoch", "<i8"),
        ("durable", "<i8"),  # first position that is not durable
        ("ordinal", "<i8"),  # frames applied
        ("heartbeat_ns", "<i8"),  # monotonic clock of this machine
        ("pid", "<i8"),
        ("now_ns", "<i8"),  # the books' time
        ("groups", "<i8"),
        ("booked", "<i8"),
        ("refused", "<i8"),
        ("duplicates", "<i8"),
        ("faults", "<i8"),
        ("sessions", "<i8"),
        ("sync_ns", "<i8"),  # spent in fdatasync, in all
        ("ack_ns", "<i8"),  # of the last group: first byte read to ack written
        ("settled_batch", "<i8"),
        ("pid_started", "<i8"),  # when the process began, see `engine.common.processes.start_ticks`
    ]
)


class HeadPage:
    """The mapped page. `row` is its one record; fields are read and written through it."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        flags = os.O_RDWR | (os.O_CREAT if create else 0)
        try:
            fd = os.open(path, flags, 0o600)
        except FileNotFoundError as error:
            raise JournalError(f"{path}: no engine has run here yet", path=str(path)) from error
        try:
            if os.fstat(fd).st_size != PAGE_BYTES:
                if not create:
                    raise JournalError(f"{path}: not a head page", path=str(path))
                os.ftruncate(fd, PAGE_BYTES)
            self._map = mmap.mmap(fd, PAGE_BYTES)
        finally:
            os.close(fd)
        self.row = np.frombuffer(self._map, HEAD, 1)[0]
        if create:
            self.row["magic"] = MAGIC
        elif int(self.row["magic"]) != MAGIC:
            raise JournalError(f"{path}: not a head page", path=str(path))

    def get(self, field: str) -> int:
        """One field as a Python integer."""
        return int(self.row[field])
