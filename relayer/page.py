"""The relayer's page: how far it is, in shared memory, for whoever watches the group."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np

PAGE_BYTES = 4096
PAGE = np.dtype(
    [
        ("magic", "<i8"),
        ("pid", "<i8"),
        ("heartbeat_ns", "<i8"),
        ("position", "<i8"),  # of the journal, folded
        ("ordinal", "<i8"),
        ("batches", "<i8"),  # closed
        ("settled", "<i8"),  # every transaction finalized, and the engine told
        ("open_fills", "<i8"),
        ("log_size", "<i8"),
        ("planned", "<i8"),  # transactions wanted so far
        ("tx_sent", "<i8"),  # transactions signed and sent, re-signed ones included
        ("tx_confirmed", "<i8"),  # finalized ones included
        ("tx_finalized", "<i8"),
        ("tx_failed", "<i8"),
        ("slot", "<i8"),
        ("outcomes_acked", "<i8"),
        ("resigned", "<i8"),
        ("rpc_errors", "<i8"),
    ]
)
MAGIC = 0x474F_4452_0001


class RelayerPage:
    """The mapped page; `row` is its one record."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
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
