"""The risk process's page: what it has seen and found, in shared memory, for whoever watches the group."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np

PAGE_BYTES = 4096
MAGIC = 0x474F_4452_0002
PAGE = np.dtype(
    [
        ("magic", "<i8"),
        ("pid", "<i8"),
        ("heartbeat_ns", "<i8"),  # monotonic clock of this machine
        ("ordinal", "<i8"),  # frames folded
        ("lag_frames", "<i8"),  # durable and not folded at the last sweep; group headers count
        ("sweeps", "<i8"),
        ("sweep_ns", "<i8"),  # the last one, ranking included
        ("sweep_max_ns", "<i8"),
        ("units", "<i8"),  # positions and accounts swept
        ("valued", "<i8"),  # of those, looked at one by one
        ("anchors", "<i8"),  # how often rooms were taken anew
        ("checks", "<i8"),  # sweeps of everyone that agreed
        ("check_ns", "<i8"),  # the last of those
        ("found", "<i8"),  # units liquidatable at the last sweep, those at fault included
        ("faults", "<i8"),  # units whose margin cannot be told
        ("candidates", "<i8"),  # sent since this process began
        ("deleverage", "<i8"),  # of those, for deleveraging
        ("unsent", "<i8"),  # lost with an engine that went away: never resent
        ("worst_e6", "<i8"),  # lowest margin ratio seen at the last sweep or check
    ]
)


class RiskPage:
    """The mapped page; `row` is its one record. `create`: begin it anew."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o600)
        try:
            if os.fstat(fd).st_size != PAGE_BYTES:
                # Written, not reserved: storing into a hole on a full disk would end the process by a signal.
                os.pwrite(fd, bytes(PAGE_BYTES), 0)
                os.ftruncate(fd, PAGE_BYTES)
            self._map = mmap.mmap(fd, PAGE_BYTES)
        finally:
            os.close(fd)
        self.row = np.frombuffer(self._map, PAGE, 1)[0]
        if create:
            for name in PAGE.names or ():
                self.row[name] = 0
            self.row["magic"] = MAGIC
            self.row["pid"] = os.getpid()

    def get(self, field: str) -> int:
        """One field as a Python integer."""
        return int(self.row[field])
